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
    /// <summary>The table.</summary>
    public static IReadOnlyList<Transition> Table { get; } =
    [
        new(null, "open", WorkflowState.Pending, "request.opened"),
        new(WorkflowState.Pending, "explain", WorkflowState.Pending, "request.explained"),
        new(WorkflowState.Pending, "approve", WorkflowState.Pending, "request.agreed"),
        new(WorkflowState.Pending, "approve", WorkflowState.Approved, "request.approved"),
        new(WorkflowState.Pending, "deny", WorkflowState.Denied, "request.denied"),
        new(WorkflowState.Pending, "withdraw", WorkflowState.Cancelled, "request.cancelled"),
        new(WorkflowState.Pending, "deadline", WorkflowState.Expired, "request.expired"),
        new(WorkflowState.Approved, "redeem", WorkflowState.Approved, "request.redeemed"),
        new(WorkflowState.Approved, "redeem", WorkflowState.Consumed, "request.consumed"),
        new(WorkflowState.Approved, "withdraw", WorkflowState.Cancelled, "request.cancelled"),
        new(WorkflowState.Approved, "revoke", WorkflowState.Revoked, "request.revoked"),
        new(WorkflowState.Approved, "deadline", WorkflowState.Expired, "request.expired"),
    ];

    /// <summary>Whether nothing leads out of a state.</summary>
    public static bool IsTerminal(WorkflowState state) => state is not (WorkflowState.Pending or WorkflowState.Approved);

    internal static Transition Find(WorkflowState? from, string command, WorkflowState to) =>
        Table.FirstOrDefault(row => row.From == from && row.Command == command && row.To == to)
        ?? throw new InvalidOperationException($"There is no transition from {from} to {to} by {command}.");
}
