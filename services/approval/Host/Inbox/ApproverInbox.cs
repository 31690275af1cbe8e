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

    /// <summary>Everything is looked at with the workflow's own rules; in one call no more than this: the counts say so, and the next page goes on from there.</summary>
    internal int MostLookedAt { get; set; } = 2_000;

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
        if (await MineAsync(caller, decide, review, now, cancellation) is not { } mine)
        {
            return new InboxView([], new InboxCounts(0, 0, 0, true), null);
        }

        bool Asked(InboxItem item) => !overdue || IsLate(item, now);
        var (counts, page) = await LookAsync(mine, query, kind, Asked, null, after is null ? limit : 0, count: true, now, cancellation);
        if (after is not null)
        {
            (_, page) = await LookAsync(mine, query, kind, Asked, after, limit, count: false, now, cancellation);
        }

        return new InboxView(page.Items, counts, page.Next);
    }

    /// <summary>Looks at what comes behind a place, the newest first: for a page of it, and for the counts.</summary>
    /// <param name="mine">Whose inbox.</param>
    /// <param name="query">What is asked for.</param>
    /// <param name="kind">Its kind.</param>
    /// <param name="asked">What else must hold.</param>
    /// <param name="after">The place; null for the beginning.</param>
    /// <param name="limit">Most of the page; 0 for the counts alone.</param>
    /// <param name="count">Whether to go on when the page is full, so that all are counted.</param>
    /// <param name="now">The clock.</param>
    /// <param name="cancellation">Ends it.</param>
    private async Task<(InboxCounts Counts, Page Page)> LookAsync(
        Mine mine, InboxQuery query, WorkflowKind? kind, Func<InboxItem, bool> asked, RequestPlace? after, int limit, bool count, DateTimeOffset now,
        CancellationToken cancellation)
    {
        var page = new List<InboxItem>();
        var (toDecide, toReview, late, looked) = (0, 0, 0, 0);
        var (isLonger, isWhole) = (false, true);
        RequestSummary? last = null;
        foreach (var summary in mine.Find(now, after))
        {
            if (looked++ == MostLookedAt)
            {
                // What is left is for the next pages.
                isWhole = false;
                break;
            }

            last = summary;
            if (await ItemAsync(mine, summary, query, kind, now, cancellation) is not { } item || !asked(item))
            {
                continue;
            }

            _ = item.Task == InboxTask.Decide ? toDecide++ : toReview++;
            late += IsLate(item, now) ? 1 : 0;
            if (page.Count < limit)
            {
                page.Add(item);
                continue;
            }

            isLonger = limit > 0;
            if (!count)
            {
                break;
            }
        }

        var next = isLonger ? Place(page[^1].Request) : isWhole ? null : Place(last!);
        return (new InboxCounts(toDecide, toReview, late, isWhole), new Page(page, next));
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

    /// <summary>How the person stands to all requests that they could have something to do with; null where there are none.</summary>
    private async ValueTask<Mine?> MineAsync(Caller caller, bool decide, bool review, DateTimeOffset now, CancellationToken cancellation)
    {
        var person = caller.Person!;
        if (await directory.StandingAsync(person.Person, cancellation) is not { Disabled: false } standing || !(standing.Enrolled || standing.BootstrapOpen))
        {
            return null;
        }

        var pending = new HashSet<WorkflowState> { WorkflowState.Pending };
        // Each group is asked for once, not once a request.
        var groups = decide && standing.Enrolled ? (await directory.GroupsAsync(standing, index.Groups(now, pending), cancellation)).ToHashSet(StringComparer.Ordinal) : [];
        return new Mine(
            person, standing, groups,
            (at, after) => index.Find(
                at, null, null,
                request => (decide && request.StateAt(at) == WorkflowState.Pending && (standing.BootstrapOpen || request.Groups.Any(groups.Contains)))
                    || (review && standing.Enrolled && request.AwaitsReview),
                after));
    }

    private async ValueTask<InboxItem?> ItemAsync(
        Mine mine, RequestSummary summary, InboxQuery query, WorkflowKind? kind, DateTimeOffset now, CancellationToken cancellation)
    {
        // Of each requester one request is read to know how they are called; then nothing of those who aren't asked for.
        var requester = Empty(query.Requester);
        if (requester is not null && mine.Names.TryGetValue(summary.Requester, out var name) && !IsCalled(requester, summary.Requester, name))
        {
            return null;
        }

        if (await store.LoadAsync<RequestDocument>(Collections.Requests, summary.Id, cancellation) is not { Document: { } document })
        {
            return null;
        }

        mine.Names.TryAdd(summary.Requester, document.Spec.Requester.Name);
        if ((Empty(query.Connection) is { } connection && document.Spec.Connection != connection)
            || (kind is { } one && document.Spec.Kind != one)
            || (requester is not null && !IsCalled(requester, document.Spec.Requester.Person, document.Spec.Requester.Name)))
        {
            return null;
        }

        if (!mine.Requesters.TryGetValue(summary.Requester, out var standing))
        {
            standing = await evidence.RequesterStandingAsync(document.Spec, cancellation);
            mine.Requesters.Add(summary.Requester, standing);
        }

        return Item(document, TokenEvidence.Describe(document.Spec, mine.Standing, mine.Person, standing, mine.Groups), now);
    }

    private static bool IsCalled(string requester, string person, string name) => requester == person || string.Equals(requester, name, StringComparison.OrdinalIgnoreCase);

    private static bool IsLate(InboxItem item, DateTimeOffset now) => item.Task == InboxTask.Review && item.Request.Review!.DueAt <= now;

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

    private static string Place(RequestView request) => Place(request.CreatedAt, request.Id);

    private static string Place(RequestSummary request) => Place(request.CreatedAt, request.Id);

    private static string Place(DateTimeOffset createdAt, string id) => string.Create(CultureInfo.InvariantCulture, $"{createdAt.UtcTicks}.{id}");

    private static RequestPlace? After(string? after)
    {
        if (string.IsNullOrEmpty(after))
        {
            return null;
        }

        var dot = after.IndexOf('.', StringComparison.Ordinal);
        return dot > 0 && long.TryParse(after.AsSpan(0, dot), NumberStyles.None, CultureInfo.InvariantCulture, out var ticks) && ticks <= DateTimeOffset.MaxValue.UtcTicks
            ? new RequestPlace(new DateTimeOffset(ticks, TimeSpan.Zero), after[(dot + 1)..])
            : throw Invalid("after: what the page before said");
    }

    private static WorkflowKind? Kind(string? kind) => Empty(kind) is not { } name
        ? null
        : Enum.GetValues<WorkflowKind>().Cast<WorkflowKind?>().FirstOrDefault(each => JsonNamingPolicy.SnakeCaseLower.ConvertName(each!.Value.ToString()) == name)
            ?? throw Invalid("kind: " + string.Join(", ", Enum.GetNames<WorkflowKind>().Select(JsonNamingPolicy.SnakeCaseLower.ConvertName)));

    private static string? Empty(string? text) => string.IsNullOrEmpty(text) ? null : text;

    private static ProblemException Invalid(string detail) => new(StatusCodes.Status400BadRequest, RefusalCodes.Invalid, detail);

    private sealed record Page(IReadOnlyList<InboxItem> Items, string? Next);

    /// <summary>A person before an inbox.</summary>
    private sealed record Mine(AccessTokenClaims Person, PersonStanding Standing, HashSet<string> Groups, Func<DateTimeOffset, RequestPlace?, IReadOnlyList<RequestSummary>> Find)
    {
        /// <summary>How requesters stand now, each asked for once.</summary>
        public Dictionary<string, PersonStanding?> Requesters { get; } = new(StringComparer.Ordinal);

        /// <summary>How requesters are called.</summary>
        public Dictionary<string, string> Names { get; } = new(StringComparer.Ordinal);
    }
}
