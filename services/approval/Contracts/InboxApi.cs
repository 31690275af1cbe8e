using System.Text.Json.Serialization;

namespace Countersign.Approval.Contracts;

/// <summary>What somebody is asked to do about a request.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<InboxTask>))]
public enum InboxTask
{
    /// <summary>Approve or deny it.</summary>
    [JsonStringEnumMemberName("decide")] Decide,
    /// <summary>Review what one person did alone.</summary>
    [JsonStringEnumMemberName("review")] Review,
}

/// <summary>One entry of an inbox.</summary>
/// <param name="Task">What to do.</param>
/// <param name="Request">The request, whole.</param>
/// <param name="Missing">Persons still needed; 0 for a review.</param>
/// <param name="Blocked">Code of what must happen first (<c>reason-required</c>, <c>assurance-too-low</c>); null for nothing.</param>
public sealed record InboxItem(InboxTask Task, RequestView Request, int Missing, string? Blocked);

/// <summary>How much there is that matches the filter.</summary>
/// <param name="ToDecide">Requests to decide.</param>
/// <param name="ToReview">Open reviews.</param>
/// <param name="Overdue">Those of them that are overdue.</param>
/// <param name="Complete">False where there is so much that not all of it was looked at.</param>
public sealed record InboxCounts(int ToDecide, int ToReview, int Overdue, bool Complete);

/// <summary><c>GET /approval/v1/inbox</c>: what the caller may decide and review, the newest first.</summary>
/// <param name="Items">A page of it.</param>
/// <param name="Counts">All of it.</param>
/// <param name="Next">For <c>after</c> of the next page; null on the last.</param>
public sealed record InboxView(IReadOnlyList<InboxItem> Items, InboxCounts Counts, string? Next);

/// <summary>One of several decisions.</summary>
/// <param name="Id">Request id.</param>
/// <param name="Digest">The digest that was shown.</param>
/// <param name="Approve">False to deny.</param>
/// <param name="Comment">May be empty; required to deny.</param>
public sealed record InboxDecision(string Id, string Digest, bool Approve, string Comment = "");

/// <summary><c>POST /approval/v1/inbox/decisions</c>.</summary>
/// <param name="Decisions">1 to 50, of different requests.</param>
public sealed record InboxDecisions(IReadOnlyList<InboxDecision> Decisions);

/// <summary>What became of one decision.</summary>
/// <param name="Id">Request id.</param>
/// <param name="Status">HTTP status that the decision alone would have had: 200 where it counts.</param>
/// <param name="State">State of the request after it; null where the decision was refused.</param>
/// <param name="Code">Code of the refusal, or null.</param>
/// <param name="Detail">For people, or null.</param>
public sealed record InboxDecisionResult(string Id, int Status, RequestState? State, string? Code, string? Detail);

/// <summary>Answer to <see cref="InboxDecisions"/>, in the same order. A refused one changes nothing about the others.</summary>
/// <param name="Results">One for each.</param>
public sealed record InboxDecisionResults(IReadOnlyList<InboxDecisionResult> Results);

/// <summary>A notification that was given up.</summary>
/// <param name="Id">Id of the message.</param>
/// <param name="Target">Name of the webhook, or <c>mail</c>.</param>
/// <param name="Event">What it was about, e.g. <c>request.opened</c>.</param>
/// <param name="Request">Request id.</param>
/// <param name="Attempts">How often it was tried.</param>
/// <param name="CreatedAt">When it came.</param>
/// <param name="DiedAt">When it was given up.</param>
/// <param name="Error">Why the last attempt failed.</param>
public sealed record DeadNotification(
    string Id, string Target, string Event, string Request, int Attempts, DateTimeOffset CreatedAt, DateTimeOffset DiedAt, string Error);

/// <summary><c>GET /approval/v1/notifications/dead</c>.</summary>
/// <param name="Items">The latest, at most 1,000.</param>
/// <param name="Count">All.</param>
public sealed record DeadNotifications(IReadOnlyList<DeadNotification> Items, int Count);
