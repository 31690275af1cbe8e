namespace Countersign.Approval.Workflow;

/// <summary>One row of the table: a command that moves a request from one state to another, or keeps it with something added.</summary>
/// <param name="From">State before; null where there is no request yet.</param>
/// <param name="Command">Name of the command.</param>
/// <param name="To">State after.</param>
/// <param name="Action">Action of the audit event.</param>
public sealed record Transition(WorkflowState? From, string Command, WorkflowState To, string Action);

/// <summary>All that can happen to a request. <see cref="RequestWorkflow"/> makes no step that isn't here; docs/formats/approval-request.md shows the same table.</summary>
public static class Transitions
{
    /// <summary>Action of an approval that gives another request more time.</summary>
    public const string ExtensionApproved = "request.extension-approved";

    /// <summary>The table.</summary>
    public static IReadOnlyList<Transition> Table { get; } =
    [
        new(null, "open", WorkflowState.Pending, "request.opened"),
        new(null, "report", WorkflowState.Consumed, "request.in-effect"),
        new(WorkflowState.Pending, "explain", WorkflowState.Pending, "request.explained"),
        new(WorkflowState.Pending, "approve", WorkflowState.Pending, "request.agreed"),
        new(WorkflowState.Pending, "approve", WorkflowState.Approved, "request.approved"),
        new(WorkflowState.Pending, "approve", WorkflowState.Consumed, ExtensionApproved),
        new(WorkflowState.Pending, "break-glass", WorkflowState.Approved, "request.break-glass"),
        new(WorkflowState.Pending, "deny", WorkflowState.Denied, "request.denied"),
        new(WorkflowState.Pending, "withdraw", WorkflowState.Cancelled, "request.cancelled"),
        new(WorkflowState.Pending, "deadline", WorkflowState.Expired, "request.expired"),
        new(WorkflowState.Approved, "redeem", WorkflowState.Approved, "request.redeemed"),
        new(WorkflowState.Approved, "redeem", WorkflowState.Consumed, "request.consumed"),
        new(WorkflowState.Approved, "begin", WorkflowState.Approved, "request.window-began"),
        new(WorkflowState.Approved, "extend", WorkflowState.Approved, "request.extended"),
        new(WorkflowState.Approved, "withdraw", WorkflowState.Cancelled, "request.cancelled"),
        new(WorkflowState.Approved, "revoke", WorkflowState.Revoked, "request.revoked"),
        new(WorkflowState.Approved, "deadline", WorkflowState.Expired, "request.expired"),
        new(WorkflowState.Consumed, "revoke", WorkflowState.Revoked, "request.revoked"),
        new(WorkflowState.Expired, "revoke", WorkflowState.Revoked, "request.revoked"),
        new(WorkflowState.Cancelled, "revoke", WorkflowState.Revoked, "request.revoked"),
        .. Reviewed.Select(state => new Transition(state, "review", state, "request.reviewed")),
        .. Reviewed.Select(state => new Transition(state, "overdue", state, "request.review-overdue")),
    ];

    /// <summary>States in which a review may be open.</summary>
    private static WorkflowState[] Reviewed =>
        [WorkflowState.Approved, WorkflowState.Expired, WorkflowState.Cancelled, WorkflowState.Consumed, WorkflowState.Revoked];

    /// <summary>Whether time leads out of a state no more. A revocation still does, while something that was redeemed may run.</summary>
    public static bool IsTerminal(WorkflowState state) => state is not (WorkflowState.Pending or WorkflowState.Approved);

    internal static Transition Find(WorkflowState? from, string command, WorkflowState to) =>
        Table.FirstOrDefault(row => row.From == from && row.Command == command && row.To == to)
        ?? throw new InvalidOperationException($"There is no transition from {from} to {to} by {command}.");
}
