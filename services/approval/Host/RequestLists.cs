using System.Text.Json;
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
    private const int MaxEarlier = 5;
    private const int MaxLine = 160;

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
        var count = Limit(limit);
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
                return await ToDecideAsync(person, states, count, now, cancellation);
            default:
                throw Invalid("filter: to-decide, mine or all");
        }
    }

    /// <summary>Requests that one person's word alone let pass, and what somebody else found. Enrolled persons see all, others their own.</summary>
    /// <param name="caller">A person.</param>
    /// <param name="state"><c>open</c> (the default), <c>overdue</c> (open, and due before now) or <c>closed</c> (the latest).</param>
    /// <param name="limit">Largest number.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public async Task<IReadOnlyList<RequestView>> ReviewsAsync(Caller caller, string? state, int? limit, CancellationToken cancellation)
    {
        var now = clock.GetUtcNow();
        var count = Limit(limit);
        Func<RequestSummary, bool> where = (state ?? "open") switch
        {
            "open" => request => request.AwaitsReview,
            "overdue" => request => request.AwaitsReview && request.ReviewDueAt <= now,
            "closed" => request => request is { ReviewDueAt: not null, AwaitsReview: false },
            _ => throw Invalid("state: open, overdue or closed"),
        };
        var enrolled = await directory.StandingAsync(caller.Person!.Person, cancellation) is { Enrolled: true, Disabled: false };
        return await ReadAsync(index.Find(now, null, enrolled ? null : caller.Person.Person, where), count, now, cancellation);
    }

    /// <summary>What a session's person may use on its connection and hasn't used up: approved operations and access windows.</summary>
    /// <param name="assertion">Session assertion.</param>
    /// <param name="service">App id of the service that asks; what another one asked for isn't shown.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public async Task<IReadOnlyList<RequestView>> UsableAsync(string assertion, string service, CancellationToken cancellation)
    {
        var now = clock.GetUtcNow();
        var session = await evidence.SessionAsync(assertion, cancellation);
        var usable = new List<RequestView>();
        foreach (var summary in index.Find(now, new HashSet<WorkflowState> { WorkflowState.Approved }, session.Person))
        {
            if (await store.LoadAsync<RequestDocument>(Collections.Requests, summary.Id, cancellation) is { Document: { } document }
                && document.StateAt(now) == WorkflowState.Approved && !document.Spec.IsControl && document.Spec.Connection == session.Connection
                && document.Spec.AskedBy == service)
            {
                usable.Add(views.Of(document, now, service));
            }
        }

        return usable;
    }

    /// <summary>Earlier requests of the same person, the newest first, a line each.</summary>
    public async Task<IReadOnlyList<string>> EarlierAsync(RequestDocument request, CancellationToken cancellation)
    {
        var now = clock.GetUtcNow();
        var lines = new List<string>();
        var earlier = index.Find(now, null, request.Spec.Requester.Person, each => each.CreatedAt < request.CreatedAt && each.Id != request.Spec.Id);
        foreach (var summary in earlier.Take(MaxEarlier))
        {
            if (await store.LoadAsync<RequestDocument>(Collections.Requests, summary.Id, cancellation) is { Document: { } document })
            {
                var text = string.Join(' ', document.Spec.Operations[0].Text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
                var more = document.Spec.Operations.Count > 1 ? $" (and {document.Spec.Operations.Count - 1} more)" : "";
                lines.Add(string.Create(
                    System.Globalization.CultureInfo.InvariantCulture,
                    $"{document.CreatedAt.UtcDateTime:yyyy-MM-dd HH:mm} UTC {JsonNamingPolicy.CamelCase.ConvertName(document.StateAt(now).ToString())} {document.Spec.Connection}: {(text.Length <= MaxLine ? text : text[..MaxLine] + " …")}{more}"));
            }
        }

        return lines;
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
        AccessTokenClaims person, IReadOnlySet<WorkflowState> states, int count, DateTimeOffset now, CancellationToken cancellation)
    {
        var read = new List<RequestView>();
        if (await directory.StandingAsync(person.Person, cancellation) is not { Disabled: false } standing || !(standing.Enrolled || standing.BootstrapOpen))
        {
            return read;
        }

        // Each group is asked for once, not once a request.
        var groups = standing.Enrolled ? (await directory.GroupsAsync(standing, index.Groups(now, states), cancellation)).ToHashSet(StringComparer.Ordinal) : [];
        var requesters = new Dictionary<string, PersonStanding?>(StringComparer.Ordinal);
        foreach (var summary in index.Find(now, states, null, request => standing.BootstrapOpen || request.Groups.Any(groups.Contains)))
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

            var by = TokenEvidence.Describe(document.Spec, standing, person, requester, groups);
            if (CouldDecide(document, by, now))
            {
                read.Add(views.Of(document, now, null, judges: Eligibility.CheckOther(document, by) is null));
            }
        }

        return read;
    }

    // Asks the workflow itself, with the right digest: what the list shows is what an approval would do.
    private static bool CouldDecide(RequestDocument document, Decider by, DateTimeOffset now)
    {
        var step = new RequestWorkflow().Apply(document, new Approve("", by, document.Spec.Digest, ""), now);
        return step.Fresh || step.Refusal?.Code is RefusalCodes.ReasonRequired or RefusalCodes.AssuranceTooLow;
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

    private static int Limit(int? limit) => limit is null ? DefaultLimit : limit is > 0 and <= MaxLimit ? limit.Value : throw Invalid($"limit: 1 to {MaxLimit}");

    private static ProblemException Invalid(string detail) => new(StatusCodes.Status400BadRequest, RefusalCodes.Invalid, detail);
}
