using System.Collections.Concurrent;
using System.Collections.Immutable;
using Countersign.Approval.Workflow;

namespace Countersign.Approval.Actors;

/// <summary>What lists need of a request before they read it. Small, since one is kept of every open request.</summary>
public sealed record RequestSummary(
    string Id, long Version, WorkflowState State, DateTimeOffset Deadline, DateTimeOffset CreatedAt, string Requester)
{
    /// <summary>Groups of which somebody may decide it.</summary>
    public required IReadOnlyList<string> Groups { get; init; }
    /// <summary>When its review is overdue; null where there is none.</summary>
    public DateTimeOffset? ReviewDueAt { get; init; }
    /// <summary>Whether its review is open.</summary>
    public bool AwaitsReview { get; init; }

    /// <summary>The state at a time.</summary>
    public WorkflowState StateAt(DateTimeOffset now) => !Transitions.IsTerminal(State) && now >= Deadline ? WorkflowState.Expired : State;

    /// <summary>Whether nothing is left to do about it.</summary>
    public bool IsOver => Transitions.IsTerminal(State) && !AwaitsReview;
}

/// <summary>A place in a list of the newest first: of the request with this id, whether it is still there or not.</summary>
/// <param name="CreatedAt">When it was made.</param>
/// <param name="Id">Request id.</param>
public readonly record struct RequestPlace(DateTimeOffset CreatedAt, string Id)
{
    /// <summary>Whether a request comes later in the list.</summary>
    public bool IsBefore(RequestSummary request)
    {
        ArgumentNullException.ThrowIfNull(request);
        return request.CreatedAt == CreatedAt ? string.CompareOrdinal(request.Id, Id) > 0 : request.CreatedAt < CreatedAt;
    }
}

/// <summary>
/// All open requests of this process and the latest of those that are over, in memory: filled from the store at start, and by every save after that, so
/// it is never behind what was answered.
/// </summary>
public sealed class RequestIndex : IOpenRequests
{
    /// <summary>How many requests are kept that are over; older ones are in the store, and in the recorder for ever.</summary>
    public const int MaxOver = 5_000;

    private readonly ConcurrentDictionary<string, RequestSummary> _requests = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, ImmutableArray<string>> _byRequester = new(StringComparer.Ordinal);

    // Requests share few sets of groups and few requesters: one array and one text each.
    private readonly ConcurrentDictionary<string, string[]> _groups = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, string> _persons = new(StringComparer.Ordinal);
    private readonly PriorityQueue<string, DateTimeOffset> _over = new();
    private readonly Lock _gate = new();

    /// <summary>How many are known.</summary>
    public int Count => _requests.Count;

    /// <summary>Takes a document over; an older version than the one known changes nothing.</summary>
    public void Update(RequestDocument document)
    {
        ArgumentNullException.ThrowIfNull(document);
        var summary = new RequestSummary(
            document.Spec.Id, document.Version, document.State, document.Deadline, document.CreatedAt, Shared(document.Spec.Requester.Person))
        {
            Groups = Shared(document.Spec.AllOf),
            ReviewDueAt = document.Review?.DueAt,
            AwaitsReview = document.AwaitsReview,
        };
        var added = false;
        var over = false;
        _requests.AddOrUpdate(
            summary.Id,
            _ =>
            {
                (added, over) = (true, summary.IsOver);
                return summary;
            },
            (_, known) =>
            {
                var newer = known.Version <= summary.Version;
                (added, over) = (false, newer && summary.IsOver && !known.IsOver);
                return newer ? summary : known;
            });
        if (added)
        {
            _byRequester.AddOrUpdate(summary.Requester, _ => [summary.Id], (_, ids) => ids.Contains(summary.Id) ? ids : ids.Add(summary.Id));
        }

        if (over)
        {
            Over(summary);
        }
    }

    /// <summary>Forgets a request that was deleted.</summary>
    public void Remove(string request)
    {
        if (!_requests.TryRemove(request, out var summary))
        {
            return;
        }

        var left = _byRequester.AddOrUpdate(summary.Requester, _ => [], (_, ids) => ids.Remove(request));
        if (left.IsEmpty)
        {
            _byRequester.TryRemove(KeyValuePair.Create(summary.Requester, left));
        }
    }

    /// <summary>Groups that some request in some states asks for.</summary>
    public IReadOnlySet<string> Groups(DateTimeOffset now, IReadOnlySet<WorkflowState> states) =>
        _requests.Select(entry => entry.Value).Where(request => states.Contains(request.StateAt(now))).SelectMany(request => request.Groups).ToHashSet(StringComparer.Ordinal);

    /// <summary>Requests in one of some states, the newest first.</summary>
    /// <param name="now">The clock.</param>
    /// <param name="states">States; null for all.</param>
    /// <param name="requester">Person id; null for all.</param>
    /// <param name="where">What else must hold; null for nothing.</param>
    /// <param name="after">Only what comes later in this order than a place in it; null for all.</param>
    public IReadOnlyList<RequestSummary> Find(
        DateTimeOffset now, IReadOnlySet<WorkflowState>? states, string? requester, Func<RequestSummary, bool>? where = null, RequestPlace? after = null) =>
    [
        .. Of(requester)
            .Where(request => (states is null || states.Contains(request.StateAt(now))) && after?.IsBefore(request) != false && where?.Invoke(request) != false)
            .OrderByDescending(request => request.CreatedAt).ThenBy(request => request.Id, StringComparer.Ordinal),
    ];

    /// <inheritdoc/>
    public IReadOnlyList<string> Pending(IEnumerable<string> requesters, int most)
    {
        ArgumentNullException.ThrowIfNull(requesters);
        return [.. requesters.SelectMany(Of).Where(request => request.State == WorkflowState.Pending).OrderByDescending(request => request.CreatedAt).Take(most).Select(request => request.Id)];
    }

    private IEnumerable<RequestSummary> Of(string? requester)
    {
        if (requester is null)
        {
            // Unlike Values the enumerator copies nothing and takes no lock.
            return _requests.Select(entry => entry.Value);
        }

        return _byRequester.TryGetValue(requester, out var ids)
            ? ids.Select(id => _requests.GetValueOrDefault(id)).OfType<RequestSummary>()
            : [];
    }

    private void Over(RequestSummary summary)
    {
        string? oldest = null;
        lock (_gate)
        {
            _over.Enqueue(summary.Id, summary.Deadline);
            if (_over.Count > MaxOver)
            {
                oldest = _over.Dequeue();
            }
        }

        if (oldest is not null)
        {
            Remove(oldest);
        }
    }

    private string Shared(string person) => _persons.Count < 100_000 ? _persons.GetOrAdd(person, person) : person;

    private string[] Shared(IReadOnlyList<SpecRequirement> allOf)
    {
        string[] groups = [.. allOf.SelectMany(requirement => requirement.AnyOf).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
        return _groups.Count < 10_000 ? _groups.GetOrAdd(string.Join('\n', groups), groups) : groups;
    }
}
