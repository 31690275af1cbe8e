using System.Globalization;
using System.Text.Json;
using Countersign.Approval.Actors;
using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host.Inbox;

/// <summary>What of an inbox is asked for.</summary>
/// <param name="State"><c>pending</c>, <c>review</c>, <c>overdue</c>; null for all.</param>
/// <param name="Connection">Connection; null for all.</param>
/// <param name="Requester">Person id or display name; null for all.</param>
/// <param name="Kind">Kind of requests; null for all.</param>
/// <param name="Limit">Largest number.</param>
/// <param name="After"><see cref="InboxView.Next"/> of the page before.</param>
internal sealed record InboxQuery(string? State = null, string? Connection = null, string? Requester = null, string? Kind = null, int? Limit = null, string? After = null);

/// <summary>What a person may decide and review, and several decisions at once.</summary>
internal sealed class ApproverInbox(
    RequestIndex index, [FromKeyedServices(AppIds.Approval)] IStateStore store, RequestViews views, TokenEvidence evidence, Directory directory, RequestService service,
    TimeProvider clock)
{
    /// <summary>Most decisions of one call.</summary>
    public const int MaxDecisions = 50;

    private const int DefaultLimit = 50;
    private const int MaxLimit = 200;

    // Everything is looked at with the workflow's own rules; more than this isn't, and the counts say so.
    private const int MaxLookedAt = 2_000;

    public async Task<InboxView> ListAsync(Caller caller, InboxQuery query, CancellationToken cancellation)
    {
        var now = clock.GetUtcNow();
        var limit = query.Limit is null ? DefaultLimit : query.Limit is > 0 and <= MaxLimit ? query.Limit.Value : throw Invalid($"limit: 1 to {MaxLimit}");
        var after = After(query.After);
        var kind = Kind(query.Kind);
        var (decide, review, overdue) = Empty(query.State) switch
        {
            null => (true, true, false),
            "pending" => (true, false, false),
            "review" => (false, true, false),
            "overdue" => (false, true, true),
            _ => throw Invalid("state: pending, review or overdue"),
        };
        var items = new List<InboxItem>();
        var (toDecide, toReview, late, looked, more) = (0, 0, 0, 0, false);
        await foreach (var (document, by) in MineAsync(caller, decide, review, now, cancellation))
        {
            if (++looked > MaxLookedAt)
            {
                more = true;
                break;
            }

            if ((Empty(query.Connection) is { } connection && document.Spec.Connection != connection)
                || (kind is { } one && document.Spec.Kind != one)
                || (Empty(query.Requester) is { } requester && requester != document.Spec.Requester.Person
                    && !string.Equals(requester, document.Spec.Requester.Name, StringComparison.OrdinalIgnoreCase))
                || Item(document, by, now) is not { } item)
            {
                continue;
            }

            var isLate = item.Task == InboxTask.Review && document.Review!.DueAt <= now;
            if (overdue && !isLate)
            {
                continue;
            }

            _ = item.Task == InboxTask.Decide ? toDecide++ : toReview++;
            late += isLate ? 1 : 0;
            if (items.Count <= limit && (after is not { } place || Compare(document, place) > 0))
            {
                items.Add(item);
            }
        }

        var page = items.Take(limit).ToList();
        return new InboxView(page, new InboxCounts(toDecide, toReview, late, !more), items.Count > limit ? Place(page[^1].Request) : null);
    }

    public async Task<InboxDecisionResults> DecideAsync(Caller caller, InboxDecisions decisions, CancellationToken cancellation)
    {
        if (decisions.Decisions is not { Count: > 0 and <= MaxDecisions } several || several.Any(each => each is null or { Id: null }))
        {
            throw Invalid($"decisions: 1 to {MaxDecisions}");
        }

        if (several.DistinctBy(decision => decision.Id, StringComparer.Ordinal).Count() < several.Count)
        {
            throw Invalid("decisions: one request is named twice");
        }

        var results = new List<InboxDecisionResult>();
        foreach (var decision in several)
        {
            results.Add(await DecideAsync(caller, decision, cancellation));
        }

        return new InboxDecisionResults(results);
    }

    private async Task<InboxDecisionResult> DecideAsync(Caller caller, InboxDecision decision, CancellationToken cancellation)
    {
        try
        {
            var after = await service.DecideAsync(caller, decision.Id, decision.Approve, new DecideRequest(decision.Digest, decision.Comment), cancellation);
            return new InboxDecisionResult(decision.Id, StatusCodes.Status200OK, after.State, null, null);
        }
        catch (RefusalException refused)
        {
            return new InboxDecisionResult(decision.Id, RefusalException.Status(refused.Refusal.Code), null, refused.Refusal.Code, refused.Refusal.Message);
        }
        catch (ProblemException problem)
        {
            return new InboxDecisionResult(decision.Id, problem.Status, null, problem.Code, problem.Message);
        }
        catch (PortUnavailableException error)
        {
            return new InboxDecisionResult(decision.Id, StatusCodes.Status503ServiceUnavailable, null, RefusalCodes.Unavailable, error.Message);
        }
    }

    /// <summary>Requests that the person could have something to do with, the newest first, with how the person stands to each.</summary>
    private async IAsyncEnumerable<(RequestDocument Document, Decider By)> MineAsync(
        Caller caller, bool decide, bool review, DateTimeOffset now, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellation)
    {
        var person = caller.Person!;
        if (await directory.StandingAsync(person.Person, cancellation) is not { Disabled: false } standing || !(standing.Enrolled || standing.BootstrapOpen))
        {
            yield break;
        }

        var pending = new HashSet<WorkflowState> { WorkflowState.Pending };
        // Each group is asked for once, not once a request.
        var groups = decide && standing.Enrolled ? (await directory.GroupsAsync(standing, index.Groups(now, pending), cancellation)).ToHashSet(StringComparer.Ordinal) : [];
        var requesters = new Dictionary<string, PersonStanding?>(StringComparer.Ordinal);
        var found = index.Find(now, null, null, request =>
            (decide && request.StateAt(now) == WorkflowState.Pending && (standing.BootstrapOpen || request.Groups.Any(groups.Contains)))
            || (review && standing.Enrolled && request.AwaitsReview));
        foreach (var summary in found)
        {
            if (await store.LoadAsync<RequestDocument>(Collections.Requests, summary.Id, cancellation) is not { Document: { } document })
            {
                continue;
            }

            if (!requesters.TryGetValue(summary.Requester, out var requester))
            {
                requester = await evidence.RequesterStandingAsync(document.Spec, cancellation);
                requesters.Add(summary.Requester, requester);
            }

            yield return (document, TokenEvidence.Describe(document.Spec, standing, person, requester, groups));
        }
    }

    // Asks the workflow itself, with the right digest: what the inbox shows is what a decision or a review would do.
    private InboxItem? Item(RequestDocument document, Decider by, DateTimeOffset now)
    {
        var workflow = new RequestWorkflow();
        var judges = Eligibility.CheckOther(document, by) is null;
        if (document.StateAt(now) == WorkflowState.Pending)
        {
            var step = workflow.Apply(document, new Approve("", by, document.Spec.Digest, ""), now);
            var blocked = step.Refusal?.Code is RefusalCodes.ReasonRequired or RefusalCodes.AssuranceTooLow ? step.Refusal.Code : null;
            return step.Fresh || blocked is not null
                ? new InboxItem(InboxTask.Decide, views.Of(document, now, null, judges: judges), Quorum.Missing(document.Spec.AllOf, document.Votes), blocked)
                : null;
        }

        return document.AwaitsReview && workflow.Apply(document, new CloseReview("", by, document.Spec.Digest, true, "reviewed"), now).Fresh
            ? new InboxItem(InboxTask.Review, views.Of(document, now, null, judges: judges), 0, null)
            : null;
    }

    private static string Place(RequestView request) => string.Create(CultureInfo.InvariantCulture, $"{request.CreatedAt.UtcTicks}.{request.Id}");

    private static (long Ticks, string Id)? After(string? after)
    {
        if (string.IsNullOrEmpty(after))
        {
            return null;
        }

        var dot = after.IndexOf('.', StringComparison.Ordinal);
        return dot > 0 && long.TryParse(after.AsSpan(0, dot), NumberStyles.None, CultureInfo.InvariantCulture, out var ticks)
            ? (ticks, after[(dot + 1)..])
            : throw Invalid("after: what the page before said");
    }

    // Positive: comes later in a list of the newest first.
    private static int Compare(RequestDocument document, (long Ticks, string Id) place) =>
        document.CreatedAt.UtcTicks == place.Ticks ? string.CompareOrdinal(document.Spec.Id, place.Id) : place.Ticks.CompareTo(document.CreatedAt.UtcTicks);

    private static WorkflowKind? Kind(string? kind) => Empty(kind) is not { } name
        ? null
        : Enum.GetValues<WorkflowKind>().Cast<WorkflowKind?>().FirstOrDefault(each => JsonNamingPolicy.SnakeCaseLower.ConvertName(each!.Value.ToString()) == name)
            ?? throw Invalid("kind: " + string.Join(", ", Enum.GetNames<WorkflowKind>().Select(JsonNamingPolicy.SnakeCaseLower.ConvertName)));

    private static string? Empty(string? text) => string.IsNullOrEmpty(text) ? null : text;

    private static ProblemException Invalid(string detail) => new(StatusCodes.Status400BadRequest, RefusalCodes.Invalid, detail);
}
