using Countersign.Approval.Actors;
using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host;

/// <summary>Lists of requests for a person.</summary>
internal sealed class RequestLists(
    RequestIndex index, [FromKeyedServices(AppIds.Approval)] IStateStore store, RequestViews views, TokenEvidence evidence, Directory directory, TimeProvider clock)
{
    private const int DefaultLimit = 200;
    private const int MaxLimit = 1000;

    /// <summary>A list, the newest first.</summary>
    /// <param name="caller">A person.</param>
    /// <param name="filter"><c>to-decide</c> (what the caller could decide now), <c>mine</c> or <c>all</c> (enrolled persons only).</param>
    /// <param name="state">State, or several separated by commas; null for pending where to decide, else for all.</param>
    /// <param name="limit">Largest number.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public async Task<IReadOnlyList<RequestView>> ListAsync(Caller caller, string? filter, string? state, int? limit, CancellationToken cancellation)
    {
        var now = clock.GetUtcNow();
        var person = caller.Person!;
        var states = States(state);
        var count = limit is null ? DefaultLimit : limit is > 0 and <= MaxLimit ? limit.Value : throw Invalid($"limit: 1 to {MaxLimit}");
        switch (filter ?? "to-decide")
        {
            case "mine":
                return await ReadAsync(index.Find(now, states, person.Person), count, now, cancellation);
            case "all":
                if (await directory.StandingAsync(person.Person, cancellation) is not { Enrolled: true, Disabled: false })
                {
                    throw new RefusalException(new Refusal(RefusalCodes.NotEnrolled, "Only enrolled persons see the requests of others."));
                }

                return await ReadAsync(index.Find(now, states, null), count, now, cancellation);
            case "to-decide":
                states ??= new HashSet<WorkflowState> { WorkflowState.Pending };
                states.IntersectWith([WorkflowState.Pending]);
                return await ToDecideAsync(person, index.Find(now, states, null), count, now, cancellation);
            default:
                throw Invalid("filter: to-decide, mine or all");
        }
    }

    private async Task<List<RequestView>> ReadAsync(IReadOnlyList<RequestSummary> found, int count, DateTimeOffset now, CancellationToken cancellation)
    {
        var read = new List<RequestView>();
        foreach (var summary in found.Take(count))
        {
            if (await store.LoadAsync<RequestDocument>(Collections.Requests, summary.Id, cancellation) is { Document: { } document })
            {
                read.Add(views.Of(document, now, null));
            }
        }

        return read;
    }

    private async Task<List<RequestView>> ToDecideAsync(
        AccessTokenClaims person, IReadOnlyList<RequestSummary> pending, int count, DateTimeOffset now, CancellationToken cancellation)
    {
        var read = new List<RequestView>();
        if (await directory.StandingAsync(person.Person, cancellation) is not { Disabled: false } standing || !(standing.Enrolled || standing.BootstrapOpen))
        {
            return read;
        }

        var requesters = new Dictionary<string, PersonStanding?>(StringComparer.Ordinal);
        foreach (var summary in pending)
        {
            if (read.Count == count)
            {
                break;
            }

            if (await store.LoadAsync<RequestDocument>(Collections.Requests, summary.Id, cancellation) is not { Document: { } document })
            {
                continue;
            }

            if (!requesters.TryGetValue(summary.Requester, out var requester))
            {
                requester = await evidence.RequesterStandingAsync(document.Spec, cancellation);
                requesters.Add(summary.Requester, requester);
            }

            var by = await evidence.DescribeAsync(document.Spec, standing, person, requester, cancellation);
            if (CouldDecide(document, by, now))
            {
                read.Add(views.Of(document, now, null));
            }
        }

        return read;
    }

    // Asks the workflow itself, with the right digest: what the list shows is what an approval would do.
    private static bool CouldDecide(RequestDocument document, Decider by, DateTimeOffset now)
    {
        var step = new RequestWorkflow().Apply(document, new Approve("", by, document.Spec.Digest, ""), now);
        return step.Fresh || step.Refusal?.Code == RefusalCodes.ReasonRequired;
    }

    private static HashSet<WorkflowState>? States(string? state)
    {
        if (string.IsNullOrEmpty(state))
        {
            return null;
        }

        var states = new HashSet<WorkflowState>();
        foreach (var name in state.Split(',', StringSplitOptions.TrimEntries))
        {
            states.Add(Enum.GetNames<WorkflowState>().FirstOrDefault(known => string.Equals(known, name, StringComparison.OrdinalIgnoreCase)) is { } found
                ? Enum.Parse<WorkflowState>(found)
                : throw Invalid("state: pending, approved, denied, expired, cancelled, consumed or revoked"));
        }

        return states;
    }

    private static ProblemException Invalid(string detail) => new(StatusCodes.Status400BadRequest, RefusalCodes.Invalid, detail);
}
