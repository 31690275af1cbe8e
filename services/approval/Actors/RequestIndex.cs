using System.Collections.Concurrent;
using Countersign.Approval.Workflow;

namespace Countersign.Approval.Actors;

/// <summary>What lists need of a request before they read it.</summary>
public sealed record RequestSummary(
    string Id, long Version, WorkflowState State, DateTimeOffset Deadline, DateTimeOffset CreatedAt, string Requester)
{
    /// <summary>The state at a time.</summary>
    public WorkflowState StateAt(DateTimeOffset now) => !Transitions.IsTerminal(State) && now >= Deadline ? WorkflowState.Expired : State;
}

/// <summary>All requests of this process, in memory: filled from the store at start, and by every save after that, so it is never behind what was answered.</summary>
public sealed class RequestIndex
{
    private readonly ConcurrentDictionary<string, RequestSummary> _requests = new(StringComparer.Ordinal);

    /// <summary>Takes a document over; an older version than the one known changes nothing.</summary>
    public void Update(RequestDocument document)
    {
        ArgumentNullException.ThrowIfNull(document);
        var summary = new RequestSummary(
            document.Spec.Id, document.Version, document.State, document.Deadline, document.CreatedAt, document.Spec.Requester.Person);
        _requests.AddOrUpdate(summary.Id, summary, (_, known) => known.Version > summary.Version ? known : summary);
    }

    /// <summary>Requests in one of some states, the newest first.</summary>
    /// <param name="now">The clock.</param>
    /// <param name="states">States; null for all.</param>
    /// <param name="requester">Person id; null for all.</param>
    public IReadOnlyList<RequestSummary> Find(DateTimeOffset now, IReadOnlySet<WorkflowState>? states, string? requester) =>
    [
        .. _requests.Values
            .Where(request => (states is null || states.Contains(request.StateAt(now))) && (requester is null || request.Requester == requester))
            .OrderByDescending(request => request.CreatedAt).ThenBy(request => request.Id, StringComparer.Ordinal),
    ];
}
