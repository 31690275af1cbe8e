using System.Text.Json.Serialization;

namespace Countersign.Approval.Workflow;

/// <summary>One person's word on a request.</summary>
/// <param name="Person">Person id.</param>
/// <param name="Name">Display name at that time.</param>
/// <param name="SameAs">Persons who counted as the same one at that time.</param>
/// <param name="Groups">Those of the required groups that the person was in at that time.</param>
/// <param name="Approved">False for a denial.</param>
/// <param name="At">Workflow's clock.</param>
/// <param name="Comment">May be empty.</param>
public sealed record Vote(
    string Person, string Name, IReadOnlyList<string> SameAs, IReadOnlyList<string> Groups, bool Approved, DateTimeOffset At, string Comment);

/// <summary>An operation that was redeemed.</summary>
/// <param name="Id">Stable id of the attempt: the same again gets the same answer.</param>
/// <param name="Index">Which operation.</param>
/// <param name="Digest">Its digest.</param>
/// <param name="At">Workflow's clock.</param>
public sealed record Redemption(string Id, int Index, string Digest, DateTimeOffset At);

/// <summary>The requester went ahead alone.</summary>
/// <param name="Reason">Why; never empty.</param>
/// <param name="At">Workflow's clock.</param>
public sealed record BreakGlassUse(string Reason, DateTimeOffset At);

/// <summary>The review of what one person did alone.</summary>
/// <param name="DueAt">When it is overdue.</param>
public sealed record Review(DateTimeOffset DueAt)
{
    /// <summary>Whether that it is overdue has been told.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool Overdue { get; init; }
    /// <summary>Person id of the reviewer; null while it is open.</summary>
    public string? ClosedBy { get; init; }
    /// <summary>Reviewer's name.</summary>
    public string? ClosedByName { get; init; }
    /// <summary>When it was closed.</summary>
    public DateTimeOffset? ClosedAt { get; init; }
    /// <summary>What the reviewer found.</summary>
    public bool? Justified { get; init; }
    /// <summary>What the reviewer wrote.</summary>
    public string? Comment { get; init; }

    /// <summary>Whether somebody must still look at it.</summary>
    [JsonIgnore]
    public bool IsOpen => ClosedBy is null;
}

/// <summary>More time, by another request that was approved.</summary>
/// <param name="Request">That request.</param>
/// <param name="Until">Until when, at least.</param>
/// <param name="At">When it was added.</param>
public sealed record Extension(string Request, DateTimeOffset Until, DateTimeOffset At);

/// <summary>An approval that was taken back: whoever's session ends by it is told by whom.</summary>
/// <param name="Person">Person id.</param>
/// <param name="Name">Display name at that time.</param>
/// <param name="At">Workflow's clock.</param>
/// <param name="Comment">May be empty.</param>
public sealed record Revocation(string Person, string Name, DateTimeOffset At, string Comment);

/// <summary>What must be told to others once the document that holds it is saved. Its id is <c>{request}:{version}</c>.</summary>
/// <param name="Version">Version of the document that it tells about.</param>
/// <param name="State">State then.</param>
/// <param name="Action">What happened, e.g. <c>request.approved</c>.</param>
/// <param name="Person">Person id of who did it; empty for the clock.</param>
/// <param name="Name">Display name.</param>
/// <param name="At">When.</param>
/// <param name="Comment">May be empty.</param>
public sealed record RequestEffect(
    long Version, WorkflowState State, string Action, string Person, string Name, DateTimeOffset At, string Comment) : IEffect;

/// <summary>Everything that is known of one request: the one document that is persisted (docs/formats/approval-request.md).</summary>
public sealed record RequestDocument : IWorkflowDocument<RequestDocument, RequestEffect>, ISealedDocument<RequestDocument>
{
    /// <summary>How many command ids are remembered.</summary>
    public const int MaxSeen = 64;

    /// <summary>How long after its redemption an operation may run: as long as an access credential lives, and its session with it.</summary>
    public static readonly TimeSpan MaxRun = TimeSpan.FromHours(12);

    /// <summary>How often one request may be extended.</summary>
    public const int MaxExtensions = 32;

    /// <summary>Version of the format.</summary>
    public int Format { get; init; } = 1;
    /// <summary>Grows by one with every change.</summary>
    public required long Version { get; init; }
    /// <summary>What is asked for.</summary>
    public required RequestSpec Spec { get; init; }
    /// <summary>State; what counts is <see cref="StateAt"/>.</summary>
    public required WorkflowState State { get; init; }
    /// <summary>When it was opened.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
    /// <summary>When the present state ends by itself. In a terminal state: when that was reached.</summary>
    public required DateTimeOffset Deadline { get; init; }
    /// <summary>When the last requirement was met.</summary>
    public DateTimeOffset? ApprovedAt { get; init; }
    /// <summary>True where the first person agreed alone during bootstrap.</summary>
    public bool Bootstrap { get; init; }
    /// <summary>Who said what, in order.</summary>
    public IReadOnlyList<Vote> Votes { get; init; } = [];
    /// <summary>What was redeemed, in order.</summary>
    public IReadOnlyList<Redemption> Redemptions { get; init; } = [];
    /// <summary>The grant, a compact JWS; signed when the request becomes approved (an access window: when it begins), and anew when its time is extended.</summary>
    public string? Grant { get; init; }
    /// <summary>When the access window began, at its first redemption.</summary>
    public DateTimeOffset? WindowBeganAt { get; init; }
    /// <summary>Where the requester went ahead alone; null where others agreed.</summary>
    public BreakGlassUse? BreakGlass { get; init; }
    /// <summary>The review that must follow, or null.</summary>
    public Review? Review { get; init; }
    /// <summary>Who took the approval back, or null.</summary>
    public Revocation? Revocation { get; init; }
    /// <summary>Extensions, in order; null for none.</summary>
    public IReadOnlyList<Extension>? Extensions { get; init; }
    /// <summary>Ids of commands that had an effect, the latest last.</summary>
    public IReadOnlyList<string> Seen { get; init; } = [];
    /// <inheritdoc/>
    public IReadOnlyList<RequestEffect> Outbox { get; init; } = [];
    /// <inheritdoc/>
    public string? Seal { get; init; }

    /// <summary>Whether the state is one that time doesn't end.</summary>
    [JsonIgnore]
    public bool IsTerminal => Transitions.IsTerminal(State);

    /// <summary>Whether somebody must still review it.</summary>
    [JsonIgnore]
    public bool AwaitsReview => Review is { IsOpen: true };

    /// <inheritdoc/>
    [JsonIgnore]
    public DateTimeOffset? WakeAt => (IsTerminal, Review) switch
    {
        (true, { IsOpen: true, Overdue: false } review) => review.DueAt,
        (true, _) => null,
        (false, { IsOpen: true, Overdue: false } review) when review.DueAt < Deadline => review.DueAt,
        _ => Deadline,
    };

    /// <summary>Whether a grant must be signed before it is saved: of what was approved, a window that began, an extension, and what is in effect.</summary>
    [JsonIgnore]
    public bool NeedsGrant => Grant is null && State switch
    {
        WorkflowState.Approved => Spec.Window is null || WindowBeganAt is not null,
        WorkflowState.Consumed => Spec.InEffect || (Spec.Extends is not null && ApprovedAt is not null),
        _ => false,
    };

    /// <summary>Whether something that was redeemed may still run, so that a revocation has something to end.</summary>
    public bool MayRun(DateTimeOffset now) =>
        !Spec.IsControl && Redemptions.Count > 0 && now < (Spec.Window is null ? Redemptions[^1].At : Deadline) + MaxRun;

    /// <summary>The state at a time: a deadline that has passed counts, whether or not somebody has noticed.</summary>
    public WorkflowState StateAt(DateTimeOffset now) => !IsTerminal && now >= Deadline ? WorkflowState.Expired : State;

    /// <inheritdoc/>
    public RequestDocument WithOutbox(IReadOnlyList<RequestEffect> outbox) => this with { Outbox = outbox };

    /// <inheritdoc/>
    public RequestDocument WithSeal(string? seal) => this with { Seal = seal };
}
