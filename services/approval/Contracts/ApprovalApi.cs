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

/// <summary><c>POST /approval/v1/requests</c>. Callers: proxy (with a session assertion), policy and identity (with the requester's own token).</summary>
public sealed record CreateRequest
{
    /// <summary>What it is about.</summary>
    public required RequestKind Kind { get; init; }
    /// <summary>Session assertion (operation) or the requester's Countersign token (bundle, enrolment). Requester and executor are taken from it.</summary>
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
}

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
}

/// <summary>Answer to <see cref="CreateRequest"/>.</summary>
/// <param name="Request">The request.</param>
/// <param name="Attached">True where an earlier one of the same person with the same digests was found instead of making one.</param>
public sealed record CreateRequestResult(RequestView Request, bool Attached);

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
