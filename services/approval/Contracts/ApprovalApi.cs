using System.Text.Json.Serialization;

namespace Countersign.Approval.Contracts;

/// <summary>States of an approval request (docs/formats/approval-request.md has the transition table).</summary>
[JsonConverter(typeof(JsonStringEnumConverter<RequestState>))]
public enum RequestState
{
    /// <summary>Waits for people.</summary>
    [JsonStringEnumMemberName("pending")] Pending,
    /// <summary>Agreed; a grant can be redeemed until it expires.</summary>
    [JsonStringEnumMemberName("approved")] Approved,
    /// <summary>Somebody who may decide said no. Terminal.</summary>
    [JsonStringEnumMemberName("denied")] Denied,
    /// <summary>Nobody decided, or nobody redeemed, in time. Terminal.</summary>
    [JsonStringEnumMemberName("expired")] Expired,
    /// <summary>Withdrawn by its requester. Terminal.</summary>
    [JsonStringEnumMemberName("cancelled")] Cancelled,
    /// <summary>All of its digests were redeemed. Terminal.</summary>
    [JsonStringEnumMemberName("consumed")] Consumed,
    /// <summary>Taken back after approval. Terminal.</summary>
    [JsonStringEnumMemberName("revoked")] Revoked,
}

/// <summary>What a request is about.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<RequestKind>))]
public enum RequestKind
{
    /// <summary>One operation or an ordered list of them.</summary>
    [JsonStringEnumMemberName("operation")] Operation,
    /// <summary>A policy bundle (invariant I3): the digest is its payload's SHA-256.</summary>
    [JsonStringEnumMemberName("bundle")] Bundle,
    /// <summary>Admission of a person as possible approver, or a link between principals: the digest is of the change document.</summary>
    [JsonStringEnumMemberName("enrolment")] Enrolment,
    /// <summary>Time in which a person may run whatever lies in a scope, without asking for each operation.</summary>
    [JsonStringEnumMemberName("access_window")] AccessWindow,
    /// <summary>A link between persons or principals, or who owns a service account: the digest is of the change document.</summary>
    [JsonStringEnumMemberName("identity_link")] IdentityLink,
    /// <summary>A key that others trust (enrolled, replaced): the digest is of the change document.</summary>
    [JsonStringEnumMemberName("key")] Key,
}

/// <summary>An operation as an approver sees it.</summary>
/// <param name="Digest">Operation digest, 64 hexadecimal digits.</param>
/// <param name="Text">The exact text.</param>
/// <param name="Parameters">Parameters as text, null for NULL.</param>
public sealed record RequestedOperation(string Digest, string Text, IReadOnlyList<string?> Parameters);

/// <summary>Names of approver groups and how many distinct persons they must give.</summary>
/// <param name="AnyOf">Group names.</param>
/// <param name="Quorum">At least 1.</param>
public sealed record RequestRequirement(IReadOnlyList<string> AnyOf, int Quorum);

/// <summary><c>POST /approval/v1/requests</c>. Callers: proxy (with a session assertion, or ahead of time the requester's own token for the proxy), policy and identity (with the requester's own token).</summary>
public sealed record CreateRequest
{
    /// <summary>What it is about.</summary>
    public required RequestKind Kind { get; init; }
    /// <summary>Session assertion (operation), or the requester's own access token for the service that asks (ahead of time, control requests). Requester and executor are taken from it.</summary>
    public required string Assertion { get; init; }
    /// <summary>Connection; empty for control requests.</summary>
    public string Connection { get; init; } = "";
    /// <summary>Database at the target; empty for control requests.</summary>
    public string Database { get; init; } = "";
    /// <summary>What is to run, in order; for a control request one element whose text is the readable change (a diff).</summary>
    public required IReadOnlyList<RequestedOperation> Operations { get; init; }
    /// <summary>Who must agree.</summary>
    public required IReadOnlyList<RequestRequirement> AllOf { get; init; }
    /// <summary>Names of the rules that hold it, for people.</summary>
    public IReadOnlyList<string> Rules { get; init; } = [];
    /// <summary>The rule's message.</summary>
    public string Message { get; init; } = "";
    /// <summary>The requester's reason.</summary>
    public string Reason { get; init; } = "";
    /// <summary>Version of the bundle under which it was held.</summary>
    public long BundleVersion { get; init; }
    /// <summary>Context the digest covers, shown to the approver.</summary>
    public IReadOnlyDictionary<string, string> Context { get; init; } = new Dictionary<string, string>();
    /// <summary>Earlier statements of the open transaction, oldest first; they may hold locks. Empty outside a transaction.</summary>
    public IReadOnlyList<string> Transaction { get; init; } = [];
    /// <summary>Seconds until it expires undecided, at most 7 days.</summary>
    public required int TimeoutSeconds { get; init; }
    /// <summary>Seconds the grant may be redeemed after approval, at most 1 day.</summary>
    public required int GrantLifetimeSeconds { get; init; }
    /// <summary>Whether an approver may decide it that lacks a reason from the requester.</summary>
    public bool ReasonRequired { get; init; }
    /// <summary>How an approver must have logged in; null for any login.</summary>
    public RequestAssurance? Assurance { get; init; }
    /// <summary>Exactly for <see cref="RequestKind.AccessWindow"/>.</summary>
    public AccessWindow? Window { get; init; }
    /// <summary>Whether the requester may go ahead alone (policy says so for every rule that holds it).</summary>
    public bool BreakGlassAllowed { get; init; }
    /// <summary>What it would do, as far as that could be found out without doing it; null where nothing could.</summary>
    public RequestImpact? Impact { get; init; }
    /// <summary>True for a change that only takes access away: it has taken effect, and is only reviewed.</summary>
    public bool InEffect { get; init; }
    /// <summary>The approved request whose time this one asks to extend; null otherwise.</summary>
    public string? Extends { get; init; }
}

/// <summary>Assurance that an approver's login must have.</summary>
/// <param name="MaxAgeSeconds">Oldest login (<c>auth_time</c>) in seconds; null for any.</param>
/// <param name="Amr">Authentication methods that must all have been used.</param>
public sealed record RequestAssurance(
    [property: JsonPropertyName("max_age"), JsonIgnore(Condition = JsonIgnoreCondition.Never)] int? MaxAgeSeconds, [property: JsonPropertyName("amr")] IReadOnlyList<string> Amr);

/// <summary>An access window: how long, and what lies in it. An operation lies in it if it was understood completely, all of its command tags
/// are in <paramref name="Statements"/> and all relations that it reads or writes are in <paramref name="Relations"/>.</summary>
/// <param name="Seconds">Its length, counted from the first use.</param>
/// <param name="Statements">Command tags, exactly as facts name them.</param>
/// <param name="Relations">Relations as <c>schema.name</c>, exactly.</param>
public sealed record AccessWindow(
    [property: JsonPropertyName("seconds")] int Seconds,
    [property: JsonPropertyName("statements")] IReadOnlyList<string> Statements,
    [property: JsonPropertyName("relations")] IReadOnlyList<string> Relations);

/// <summary>What an operation would do: an estimate for the approver, never part of what is approved.</summary>
/// <param name="Relations">Relations touched, with how: <c>write public.orders</c>.</param>
/// <param name="EstimatedRows">The planner's estimate of rows, or null.</param>
/// <param name="Notes">Sentences for the approver: locks, rewrites, why there is no estimate.</param>
/// <param name="DryRun">What a run that was rolled back showed; null where policy doesn't allow one or it failed (a note says why).</param>
public sealed record RequestImpact(IReadOnlyList<string> Relations, long? EstimatedRows, IReadOnlyList<string> Notes, DryRunResult? DryRun);

/// <summary>Result of a run that was rolled back.</summary>
/// <param name="Rows">Rows that it affected.</param>
/// <param name="Columns">Names of the sample's columns.</param>
/// <param name="Before">Sample of rows before, masked; null for NULL.</param>
/// <param name="After">The same rows after.</param>
public sealed record DryRunResult(
    long Rows, IReadOnlyList<string> Columns, IReadOnlyList<IReadOnlyList<string?>> Before, IReadOnlyList<IReadOnlyList<string?>> After);

/// <summary>The review that follows what was done by one person alone (break-glass, a removal of access).</summary>
/// <param name="DueAt">From then on it is reported as overdue.</param>
/// <param name="ClosedBy">Person id of the reviewer, never the requester; null while it is open.</param>
/// <param name="ClosedByName">Reviewer's name.</param>
/// <param name="ClosedAt">When it was closed.</param>
/// <param name="Justified">What the reviewer found.</param>
/// <param name="Comment">What the reviewer wrote.</param>
public sealed record RequestReview(
    DateTimeOffset DueAt, string? ClosedBy = null, string? ClosedByName = null, DateTimeOffset? ClosedAt = null, bool? Justified = null, string Comment = "");

/// <summary><c>POST /approval/v1/requests/{id}/break-glass</c>, by the requester with their own token, while it is pending.</summary>
/// <param name="Digest">Digest of the request.</param>
/// <param name="Reason">Not empty.</param>
public sealed record BreakGlassRequest(string Digest, string Reason);

/// <summary><c>POST /approval/v1/requests/{id}/review</c>, by an enrolled person who isn't the requester.</summary>
/// <param name="Digest">Digest of the request.</param>
/// <param name="Justified">False where it should not have been done.</param>
/// <param name="Comment">Not empty.</param>
public sealed record ReviewRequest(string Digest, bool Justified, string Comment);

/// <summary>One person's word on a request.</summary>
/// <param name="Person">Person id.</param>
/// <param name="Name">Display name at that time.</param>
/// <param name="Approved">False for a denial.</param>
/// <param name="At">Workflow's clock.</param>
/// <param name="Comment">May be empty.</param>
public sealed record RequestDecision(string Person, string Name, bool Approved, DateTimeOffset At, string Comment);

/// <summary>A request as the REST API shows it.</summary>
public sealed record RequestView
{
    /// <summary>Unguessable id, <c>apr_</c> and 26 base32 characters.</summary>
    public required string Id { get; init; }
    /// <summary>What it is about.</summary>
    public required RequestKind Kind { get; init; }
    /// <summary>State now.</summary>
    public required RequestState State { get; init; }
    /// <summary>Grows with every change.</summary>
    public required long Version { get; init; }
    /// <summary>Digest over the list of operation digests: what an approver must send back (docs/formats/approval-request.md).</summary>
    public required string Digest { get; init; }
    /// <summary>Person id of the requester, who is the executor too.</summary>
    public required string Requester { get; init; }
    /// <summary>Display name of the requester.</summary>
    public required string RequesterName { get; init; }
    /// <summary>Connection, or empty.</summary>
    public required string Connection { get; init; }
    /// <summary>Database, or empty.</summary>
    public required string Database { get; init; }
    /// <summary>What is to run.</summary>
    public required IReadOnlyList<RequestedOperation> Operations { get; init; }
    /// <summary>How many of the operations were redeemed.</summary>
    public required int Redeemed { get; init; }
    /// <summary>Who must agree.</summary>
    public required IReadOnlyList<RequestRequirement> AllOf { get; init; }
    /// <summary>Who has decided.</summary>
    public required IReadOnlyList<RequestDecision> Decisions { get; init; }
    /// <summary>Rules that hold it.</summary>
    public required IReadOnlyList<string> Rules { get; init; }
    /// <summary>Rule's message.</summary>
    public required string Message { get; init; }
    /// <summary>Requester's reason.</summary>
    public required string Reason { get; init; }
    /// <summary>Context the digest covers.</summary>
    public required IReadOnlyDictionary<string, string> Context { get; init; }
    /// <summary>Earlier statements of the open transaction.</summary>
    public required IReadOnlyList<string> Transaction { get; init; }
    /// <summary>When it was made.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
    /// <summary>When it expires in its present state; the workflow's clock decides.</summary>
    public required DateTimeOffset ExpiresAt { get; init; }
    /// <summary>The grant, a compact JWS; only for the proxy, policy or identity that asked, and only while approved.</summary>
    public string? Grant { get; init; }
    /// <summary>Where a person decides it: the HTML page.</summary>
    public required string Link { get; init; }
    /// <summary>How an approver must have logged in; null for any login.</summary>
    public RequestAssurance? Assurance { get; init; }
    /// <summary>The access window that is asked for, or null.</summary>
    public AccessWindow? Window { get; init; }
    /// <summary>When the access window began to run; null before its first use.</summary>
    public DateTimeOffset? WindowBeganAt { get; init; }
    /// <summary>What it would do, or null.</summary>
    public RequestImpact? Impact { get; init; }
    /// <summary>Whether the requester may go ahead alone.</summary>
    public bool BreakGlassAllowed { get; init; }
    /// <summary>Whether the requester went ahead alone.</summary>
    public bool BreakGlass { get; init; }
    /// <summary>The review that must follow, or null.</summary>
    public RequestReview? Review { get; init; }
    /// <summary>Earlier requests of the same person, newest first, at most five, as one line each.</summary>
    public IReadOnlyList<string> Earlier { get; init; } = [];
    /// <summary>The request whose time this one extends, or null.</summary>
    public string? Extends { get; init; }
    /// <summary>Who took the approval back; null where nobody did.</summary>
    public RequestRevocation? Revocation { get; init; }
}

/// <summary>An approval that was taken back.</summary>
/// <param name="Person">Person id.</param>
/// <param name="Name">Display name at that time.</param>
/// <param name="At">Workflow's clock.</param>
/// <param name="Comment">May be empty.</param>
public sealed record RequestRevocation(string Person, string Name, DateTimeOffset At, string Comment);

/// <summary>Answer to <see cref="CreateRequest"/>.</summary>
/// <param name="Request">The request.</param>
/// <param name="Attached">True where an earlier one of the same person was found instead of making one: with the same digests, or a list in which they come next.</param>
/// <param name="Index">Which of the request's operations is the first of those that were asked for: what <see cref="RedeemRequest.Index"/> must say.</param>
public sealed record CreateRequestResult(RequestView Request, bool Attached, int Index = 0);

/// <summary><c>POST /approval/v1/requests/usable</c>, by the proxy: what a session's person may use on its connection and hasn't used up.</summary>
/// <param name="Assertion">Session assertion.</param>
public sealed record UsableRequests(string Assertion);

/// <summary><c>POST /approval/v1/requests/{id}/approve</c> and <c>/deny</c>, with the approver's own token.</summary>
/// <param name="Digest">The digest that the approver was shown; another one is a 409.</param>
/// <param name="Comment">May be empty; required to deny.</param>
public sealed record DecideRequest(string Digest, string Comment = "");

/// <summary><c>POST /approval/v1/requests/{id}/redeem</c>, by the proxy.</summary>
/// <param name="Index">Which of the operations, in order; an earlier or later one than the next is a 409.</param>
/// <param name="Digest">Its digest, as the proxy computed it now.</param>
/// <param name="RedemptionId">Stable id of this attempt: the same id again gets the same answer.</param>
/// <param name="Assertion">Session assertion of the executor.</param>
public sealed record RedeemRequest(int Index, string Digest, string RedemptionId, string Assertion);

/// <summary>Answer to <see cref="RedeemRequest"/>.</summary>
/// <param name="Grant">The grant, a compact JWS; the same bytes for the same redemption.</param>
public sealed record RedeemResult(string Grant);

/// <summary><c>POST /approval/v1/requests/{id}/withdraw</c>: a person sends nothing, the proxy the session assertion of the requester.</summary>
/// <param name="Assertion">Session assertion; null from a person.</param>
public sealed record WithdrawRequest(string? Assertion = null);

/// <summary><c>POST /approval/v1/requests/{id}/reason</c>, by the requester, while it is pending and has none.</summary>
/// <param name="Reason">Not empty.</param>
public sealed record ExplainRequest(string Reason);

/// <summary><c>POST /approval/v1/requests/{id}/revoke</c>, by the requester or any enrolled person.</summary>
/// <param name="Comment">May be empty.</param>
public sealed record RevokeRequest(string Comment = "");

/// <summary>Claims of a grant: ES256 JWS, typ <c>cs-grant+jwt</c> (docs/formats/grant.md).</summary>
public sealed record GrantClaims
{
    /// <summary>Grant id.</summary>
    [JsonPropertyName("jti")] public required string Id { get; init; }
    /// <summary>Always <c>approval</c>.</summary>
    [JsonPropertyName("iss")] public required string Issuer { get; init; }
    /// <summary>Approval request.</summary>
    [JsonPropertyName("request")] public required string Request { get; init; }
    /// <summary>What was approved.</summary>
    [JsonPropertyName("kind")] public required RequestKind Kind { get; init; }
    /// <summary>Person who may execute it.</summary>
    [JsonPropertyName("person")] public required string Person { get; init; }
    /// <summary>Connection; empty for control requests.</summary>
    [JsonPropertyName("connection")] public required string Connection { get; init; }
    /// <summary>Operation digests in order, or the digest of the bundle or change.</summary>
    [JsonPropertyName("digests")] public required IReadOnlyList<string> Digests { get; init; }
    /// <summary>What the approvers agreed to, for the check that the current decision is not stricter.</summary>
    [JsonPropertyName("all_of")] public required IReadOnlyList<RequestRequirement> AllOf { get; init; }
    /// <summary>Who agreed.</summary>
    [JsonPropertyName("approvers")] public required IReadOnlyList<GrantApprover> Approvers { get; init; }
    /// <summary>True where it was given alone by the first person during bootstrap.</summary>
    [JsonPropertyName("bootstrap")] public bool Bootstrap { get; init; }
    /// <summary>True where the requester went ahead alone; then there may be no approvers, and policy must still allow it.</summary>
    [JsonPropertyName("break_glass"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] public bool BreakGlass { get; init; }
    /// <summary>
    /// True for a change that only takes access away, asked for with <see cref="CreateRequest.InEffect"/> by one enrolled person: then there are no approvers, and
    /// who enforces it must see for themselves that it takes away only. It is in <see cref="RequestView.Grant"/> of the answer to the service that asked.
    /// </summary>
    [JsonPropertyName("removal"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] public bool Removal { get; init; }
    /// <summary>The access window, or null; then <see cref="Digests"/> is empty.</summary>
    [JsonPropertyName("window"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public AccessWindow? Window { get; init; }
    /// <summary>When the window ends, Unix seconds; present with <see cref="Window"/>.</summary>
    [JsonPropertyName("window_ends"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public long? WindowEndsAt { get; init; }
    /// <summary>Assurance that the approvers' logins had to have, or null.</summary>
    [JsonPropertyName("assurance"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public RequestAssurance? Assurance { get; init; }
    /// <summary>Of an extension, the request whose time it extends; nothing is redeemed under it. Null otherwise.</summary>
    [JsonPropertyName("extends"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public string? Extends { get; init; }
    /// <summary>Digest of the request, with <see cref="Extends"/>.</summary>
    [JsonPropertyName("extends_digest"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public string? ExtendsDigest { get; init; }
    /// <summary>Requests that have extended this one, null for none.</summary>
    [JsonPropertyName("extended_by"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public IReadOnlyList<string>? ExtendedBy { get; init; }
    /// <summary>Issued, Unix seconds.</summary>
    [JsonPropertyName("iat")] public required long IssuedAt { get; init; }
    /// <summary>Expires, Unix seconds. For a bundle the time by which policy must have put it into force.</summary>
    [JsonPropertyName("exp")] public required long ExpiresAt { get; init; }
}

/// <summary>One approver in a grant.</summary>
/// <param name="Person">Person id.</param>
/// <param name="Name">Display name.</param>
/// <param name="At">When, Unix seconds.</param>
public sealed record GrantApprover(
    [property: JsonPropertyName("person")] string Person, [property: JsonPropertyName("name")] string Name, [property: JsonPropertyName("at")] long At);

/// <summary>Event on topic <c>approvals</c>: a request changed. Carries no grant: who needs one asks for it.</summary>
/// <param name="Id"><c>{request}:{version}</c>, for deduplication.</param>
/// <param name="Request">Request id.</param>
/// <param name="Version">Its version.</param>
/// <param name="State">Its state.</param>
public sealed record RequestChanged(string Id, string Request, long Version, RequestState State);
