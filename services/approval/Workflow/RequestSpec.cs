using System.Text.Json.Serialization;

namespace Countersign.Approval.Workflow;

/// <summary>States of an approval request. The names are persisted: never rename one.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<WorkflowState>))]
public enum WorkflowState
{
    /// <summary>Waits for people.</summary>
    [JsonStringEnumMemberName("pending")] Pending,
    /// <summary>Agreed; may be redeemed until the deadline.</summary>
    [JsonStringEnumMemberName("approved")] Approved,
    /// <summary>Somebody who may decide said no. Terminal.</summary>
    [JsonStringEnumMemberName("denied")] Denied,
    /// <summary>Not decided or not redeemed in time. Terminal.</summary>
    [JsonStringEnumMemberName("expired")] Expired,
    /// <summary>Withdrawn by its requester. Terminal.</summary>
    [JsonStringEnumMemberName("cancelled")] Cancelled,
    /// <summary>All of it was redeemed. Terminal.</summary>
    [JsonStringEnumMemberName("consumed")] Consumed,
    /// <summary>Taken back after approval. Terminal.</summary>
    [JsonStringEnumMemberName("revoked")] Revoked,
}

/// <summary>What a request is about. The names are persisted.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<WorkflowKind>))]
public enum WorkflowKind
{
    /// <summary>One operation or an ordered list of them.</summary>
    [JsonStringEnumMemberName("operation")] Operation,
    /// <summary>A policy bundle.</summary>
    [JsonStringEnumMemberName("bundle")] Bundle,
    /// <summary>An enrolment.</summary>
    [JsonStringEnumMemberName("enrolment")] Enrolment,
    /// <summary>Time in which a scope may be used.</summary>
    [JsonStringEnumMemberName("access_window")] AccessWindow,
    /// <summary>A link between persons or principals, or an owner of a service account.</summary>
    [JsonStringEnumMemberName("identity_link")] IdentityLink,
    /// <summary>A key that others trust.</summary>
    [JsonStringEnumMemberName("key")] Key,
}

/// <summary>One thing that is to happen.</summary>
/// <param name="Digest">Its digest, 64 lower-case hexadecimal digits.</param>
/// <param name="Text">The exact text.</param>
/// <param name="Parameters">Parameters as text; null for NULL.</param>
public sealed record SpecOperation(string Digest, string Text, IReadOnlyList<string?> Parameters);

/// <summary>A number of distinct persons out of any of some approver groups.</summary>
/// <param name="AnyOf">Names of groups.</param>
/// <param name="Quorum">At least 1.</param>
public sealed record SpecRequirement(IReadOnlyList<string> AnyOf, int Quorum);

/// <summary>Who asks and executes, as identity says.</summary>
/// <param name="Person">Person id.</param>
/// <param name="Name">Display name.</param>
/// <param name="SameAs">Persons who count as the same one when the request was made, <paramref name="Person"/> included.</param>
public sealed record SpecRequester(string Person, string Name, IReadOnlyList<string> SameAs);

/// <summary>How an approver must have logged in.</summary>
/// <param name="MaxAge">Oldest login; null for any.</param>
/// <param name="Amr">Methods that must all have been used.</param>
public sealed record SpecAssurance(TimeSpan? MaxAge, IReadOnlyList<string> Amr);

/// <summary>An access window.</summary>
/// <param name="Length">How long it is, from its first use.</param>
/// <param name="Statements">Command tags that lie in it.</param>
/// <param name="Relations">Relations that lie in it.</param>
public sealed record SpecWindow(TimeSpan Length, IReadOnlyList<string> Statements, IReadOnlyList<string> Relations);

/// <summary>An estimate of what it would do, for the approver; never part of what is approved.</summary>
/// <param name="Relations">Relations touched, with how.</param>
/// <param name="EstimatedRows">The planner's estimate, or null.</param>
/// <param name="Notes">Sentences.</param>
/// <param name="DryRun">What a run that was rolled back showed, or null.</param>
public sealed record SpecImpact(IReadOnlyList<string> Relations, long? EstimatedRows, IReadOnlyList<string> Notes, SpecDryRun? DryRun);

/// <summary>Result of a run that was rolled back.</summary>
/// <param name="Rows">Rows affected.</param>
/// <param name="Columns">Columns of the sample.</param>
/// <param name="Before">Sample before, masked.</param>
/// <param name="After">The same rows after.</param>
public sealed record SpecDryRun(
    long Rows, IReadOnlyList<string> Columns, IReadOnlyList<IReadOnlyList<string?>> Before, IReadOnlyList<IReadOnlyList<string?>> After);

/// <summary>What is asked for. Never changes once the request is open, except for a reason that is supplied later.</summary>
public sealed record RequestSpec
{
    /// <summary>Unguessable id.</summary>
    public required string Id { get; init; }
    /// <summary>What it is about.</summary>
    public required WorkflowKind Kind { get; init; }
    /// <summary>App id of the service that asked; only it may redeem a control request.</summary>
    public required string AskedBy { get; init; }
    /// <summary>Requester, who is the executor too.</summary>
    public required SpecRequester Requester { get; init; }
    /// <summary>Connection, or empty.</summary>
    public string Connection { get; init; } = "";
    /// <summary>Database, or empty.</summary>
    public string Database { get; init; } = "";
    /// <summary>What is to happen, in order.</summary>
    public required IReadOnlyList<SpecOperation> Operations { get; init; }
    /// <summary>Digest over the list of digests: what an approver is shown and sends back.</summary>
    public required string Digest { get; init; }
    /// <summary>Requirements, all of which must be met by distinct persons.</summary>
    public required IReadOnlyList<SpecRequirement> AllOf { get; init; }
    /// <summary>Rules that hold it.</summary>
    public IReadOnlyList<string> Rules { get; init; } = [];
    /// <summary>The rule's message.</summary>
    public string Message { get; init; } = "";
    /// <summary>The requester's reason.</summary>
    public string Reason { get; init; } = "";
    /// <summary>Whether nobody may approve it without a reason.</summary>
    public bool ReasonRequired { get; init; }
    /// <summary>Version of the bundle under which it was held.</summary>
    public long BundleVersion { get; init; }
    /// <summary>Context the digests cover.</summary>
    public IReadOnlyDictionary<string, string> Context { get; init; } = new Dictionary<string, string>();
    /// <summary>Earlier statements of the open transaction.</summary>
    public IReadOnlyList<string> Transaction { get; init; } = [];
    /// <summary>How long it may wait.</summary>
    public required TimeSpan Timeout { get; init; }
    /// <summary>How long it may be redeemed after the approval.</summary>
    public required TimeSpan GrantLifetime { get; init; }

    /// <summary>How an approver must have logged in; null for any login.</summary>
    public SpecAssurance? Assurance { get; init; }
    /// <summary>Exactly for <see cref="WorkflowKind.AccessWindow"/>.</summary>
    public SpecWindow? Window { get; init; }
    /// <summary>Whether the requester may go ahead alone.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool BreakGlassAllowed { get; init; }
    /// <summary>What it would do, or null.</summary>
    public SpecImpact? Impact { get; init; }
    /// <summary>True where it has taken effect already and is only reviewed.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool InEffect { get; init; }
    /// <summary>The request whose time this one asks to extend, or null.</summary>
    public string? Extends { get; init; }

    /// <summary>True where it changes what is enforced (invariant I3).</summary>
    [JsonIgnore]
    public bool IsControl => Kind is not (WorkflowKind.Operation or WorkflowKind.AccessWindow);
}
