namespace Countersign.Approval.Notify;

/// <summary>A part of a text, with everything invisible made visible, and how much isn't in it.</summary>
/// <param name="Text">The part.</param>
/// <param name="MoreCharacters">UTF-16 units of the visible text that are left out; 0 where it is whole.</param>
public sealed record Excerpt(string Text, int MoreCharacters);

/// <summary>A person in a notification.</summary>
/// <param name="Person">Person id; empty for the clock.</param>
/// <param name="Name">Display name.</param>
public sealed record NotifiedPerson(string Person, string Name);

/// <summary>A number of persons out of any of some groups.</summary>
/// <param name="AnyOf">Names of groups.</param>
/// <param name="Quorum">At least 1.</param>
public sealed record NotifiedRequirement(IReadOnlyList<string> AnyOf, int Quorum);

/// <summary>
/// What others are told of a request (docs/formats/webhook.md). All texts are bounded excerpts in which everything is visible. Parameters, digests and
/// grants are never in it: whoever decides must open the request, and log in for it.
/// </summary>
public sealed record Notification
{
    /// <summary>What happened: the action of the audit event, e.g. <c>request.opened</c>.</summary>
    public required string Event { get; init; }
    /// <summary>When.</summary>
    public required DateTimeOffset At { get; init; }
    /// <summary>Request id.</summary>
    public required string Request { get; init; }
    /// <summary>Its version.</summary>
    public required long Version { get; init; }
    /// <summary>What it is about, as <c>RequestKind</c> is written.</summary>
    public required string Kind { get; init; }
    /// <summary>Its state, as <c>RequestState</c> is written.</summary>
    public required string State { get; init; }
    /// <summary>Who asks.</summary>
    public required NotifiedPerson Requester { get; init; }
    /// <summary>Who did what happened; null for the clock.</summary>
    public NotifiedPerson? By { get; init; }
    /// <summary>Connection, or empty.</summary>
    public string Connection { get; init; } = "";
    /// <summary>Database, or empty.</summary>
    public string Database { get; init; } = "";
    /// <summary>Rules that hold it.</summary>
    public IReadOnlyList<string> Rules { get; init; } = [];
    /// <summary>The requester's reason.</summary>
    public Excerpt Reason { get; init; } = new("", 0);
    /// <summary>What was said to what happened.</summary>
    public Excerpt Comment { get; init; } = new("", 0);
    /// <summary>Who must agree.</summary>
    public IReadOnlyList<NotifiedRequirement> Needs { get; init; } = [];
    /// <summary>The first of the statements, or what changes.</summary>
    public IReadOnlyList<Excerpt> Statements { get; init; } = [];
    /// <summary>How many further ones there are.</summary>
    public int MoreStatements { get; init; }
    /// <summary>When the state ends by itself.</summary>
    public required DateTimeOffset ExpiresAt { get; init; }
    /// <summary>The request's page, which asks for a login.</summary>
    public required string Link { get; init; }

    /// <summary>What happened, for people.</summary>
    public static string Title(string name) => name switch
    {
        "request.opened" => "Approval needed",
        "request.explained" => "A reason was given",
        "request.agreed" => "One of several approvals was given",
        "request.approved" or "request.extension-approved" => "Approved",
        "request.denied" => "Denied",
        "request.expired" => "Expired",
        "request.cancelled" => "Withdrawn",
        "request.break-glass" => "Break-glass: somebody went ahead alone",
        "request.in-effect" => "Access was taken away: to be reviewed",
        "request.review-overdue" => "A review is overdue",
        "request.reviewed" => "Reviewed",
        "request.revoked" => "Approval taken back",
        _ => name,
    };
}
