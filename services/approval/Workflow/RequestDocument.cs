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
public sealed record RequestDocument : IWorkflowDocument<RequestDocument, RequestEffect>
{
    /// <summary>How many command ids are remembered.</summary>
    public const int MaxSeen = 64;

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
    /// <summary>The grant, a compact JWS; signed once, when the request becomes approved.</summary>
    public string? Grant { get; init; }
    /// <summary>Ids of commands that had an effect, the latest last.</summary>
    public IReadOnlyList<string> Seen { get; init; } = [];
    /// <inheritdoc/>
    public IReadOnlyList<RequestEffect> Outbox { get; init; } = [];

    /// <summary>Whether no command can change the state any more.</summary>
    [JsonIgnore]
    public bool IsTerminal => Transitions.IsTerminal(State);

    /// <inheritdoc/>
    [JsonIgnore]
    public DateTimeOffset? WakeAt => IsTerminal ? null : Deadline;

    /// <summary>The state at a time: a deadline that has passed counts, whether or not somebody has noticed.</summary>
    public WorkflowState StateAt(DateTimeOffset now) => !IsTerminal && now >= Deadline ? WorkflowState.Expired : State;

    /// <inheritdoc/>
    public RequestDocument WithOutbox(IReadOnlyList<RequestEffect> outbox) => this with { Outbox = outbox };
}
