namespace Countersign.Recorder.Contracts;

/// <summary>Kinds of entries in a recording. The names are frozen: they stand in exports that outlive the software.</summary>
public static class EntryTypes
{
    /// <summary>A session was accepted and authenticated.</summary>
    public const string SessionStart = "session.start";
    /// <summary>The session is still open; sent every minute.</summary>
    public const string SessionHeartbeat = "session.heartbeat";
    /// <summary>The session was closed.</summary>
    public const string SessionEnd = "session.end";
    /// <summary>An operation and what was decided about it, before it has any effect.</summary>
    public const string Operation = "operation";
    /// <summary>How an operation ended.</summary>
    public const string Completion = "completion";
    /// <summary>An operation began to wait for approval, or stopped waiting.</summary>
    public const string Hold = "hold";
    /// <summary>Something the gateway itself sent to a target.</summary>
    public const string Gateway = "gateway";
    /// <summary>The proxy's signature over the session's chain up to here.</summary>
    public const string Seal = "seal";
    /// <summary>An audit event of a service (decisions on requests, refused attempts, changes of what is enforced).</summary>
    public const string Event = "event";
}

/// <summary>Body of a <see cref="EntryTypes.SessionStart"/> entry.</summary>
public sealed record SessionStartEntry
{
    /// <summary>Principal id.</summary>
    public required string Principal { get; init; }
    /// <summary>Person id: requester and executor of everything in the session.</summary>
    public required string Person { get; init; }
    /// <summary>Display name.</summary>
    public required string Name { get; init; }
    /// <summary>Access credential id.</summary>
    public required string Credential { get; init; }
    /// <summary>Connection.</summary>
    public required string Connection { get; init; }
    /// <summary>Database at the target.</summary>
    public required string Database { get; init; }
    /// <summary>Role at the target.</summary>
    public required string DatabaseRole { get; init; }
    /// <summary>Protocol.</summary>
    public required string Protocol { get; init; }
    /// <summary>Client address with port.</summary>
    public required string Client { get; init; }
    /// <summary>application_name of the client.</summary>
    public string Application { get; init; } = "";
    /// <summary>Proxy id.</summary>
    public required string Proxy { get; init; }
}

/// <summary>Body of an <see cref="EntryTypes.Operation"/> entry.</summary>
public sealed record OperationEntry
{
    /// <summary>Number of the operation in its session, from 1.</summary>
    public required long Operation { get; init; }
    /// <summary><c>query</c>, <c>bind</c>, <c>copy</c>, <c>parse</c> (refused ones only), <c>function-call</c>.</summary>
    public required string Kind { get; init; }
    /// <summary>The text, with secrets masked.</summary>
    public required string Text { get; init; }
    /// <summary>Parameters as text; null for NULL; binary ones as <c>\x</c> hex.</summary>
    public IReadOnlyList<string?> Parameters { get; init; } = [];
    /// <summary><c>allow</c>, <c>deny</c> or <c>approved</c>.</summary>
    public required string Decision { get; init; }
    /// <summary>Rules that led to it, <c>policy/rule</c>.</summary>
    public IReadOnlyList<string> Rules { get; init; } = [];
    /// <summary>Bundle version.</summary>
    public required long BundleVersion { get; init; }
    /// <summary>Message shown to the person, for refusals.</summary>
    public string? Message { get; init; }
    /// <summary>Operation digest; present where approval was required.</summary>
    public string? Digest { get; init; }
    /// <summary>Approval request.</summary>
    public string? Request { get; init; }
    /// <summary>Grant id.</summary>
    public string? Grant { get; init; }
    /// <summary>Who agreed, with time.</summary>
    public IReadOnlyList<RecordedApprover> Approvers { get; init; } = [];
    /// <summary>True where its requester went ahead alone, which somebody else must review.</summary>
    public bool BreakGlass { get; init; }
}

/// <summary>An approver in a recording.</summary>
public sealed record RecordedApprover(string Person, string Name, DateTimeOffset At);

/// <summary>Body of a <see cref="EntryTypes.Completion"/> entry.</summary>
public sealed record CompletionEntry
{
    /// <summary>Which operation.</summary>
    public required long Operation { get; init; }
    /// <summary><c>ok</c>, <c>error</c>, <c>cancelled</c>, <c>disconnected</c> or <c>unknown</c>.</summary>
    public required string Outcome { get; init; }
    /// <summary>Rows returned or changed.</summary>
    public long Rows { get; init; }
    /// <summary>Bytes of results sent to the client.</summary>
    public long Bytes { get; init; }
    /// <summary>Microseconds from forwarding to the end.</summary>
    public long DurationMicroseconds { get; init; }
    /// <summary>SQLSTATE or the protocol's error code.</summary>
    public string? ErrorCode { get; init; }
    /// <summary>SHA-256 of data sent by COPY IN, lower-case hex.</summary>
    public string? CopySha256 { get; init; }
    /// <summary>How many fields were masked.</summary>
    public long Masked { get; init; }
}

/// <summary>Body of a <see cref="EntryTypes.Hold"/> entry.</summary>
/// <param name="Operation">Which operation.</param>
/// <param name="Request">Approval request.</param>
/// <param name="Digest">What an approver is asked about.</param>
/// <param name="Text">The text, with secrets masked.</param>
/// <param name="Phase"><c>began</c>, <c>attached</c>, <c>approved</c>, <c>denied</c>, <c>expired</c>, <c>cancelled</c>, <c>disconnected</c>, <c>refused</c>; <c>revoked</c> where it was ended while it ran, since its approval was taken back or isn't enough any more.</param>
public sealed record HoldEntry(long Operation, string Request, string Digest, string Text, string Phase);

/// <summary>Body of a <see cref="EntryTypes.SessionEnd"/> entry.</summary>
/// <param name="Reason"><c>client</c>, <c>target</c>, <c>revoked</c>, <c>stale</c>, <c>protocol</c>, <c>shutdown</c>, <c>record-failed</c>, <c>crash</c> (written by the next start).</param>
/// <param name="Operations">How many operations the session had.</param>
/// <param name="BytesIn">Bytes from the client.</param>
/// <param name="BytesOut">Bytes to the client.</param>
public sealed record SessionEndEntry(string Reason, long Operations, long BytesIn, long BytesOut);

/// <summary>An audit event of a service on topic <c>audit</c>, and the body of an <see cref="EntryTypes.Event"/> entry.</summary>
public sealed record AuditEvent
{
    /// <summary>Stable id, for deduplication.</summary>
    public required string Id { get; init; }
    /// <summary>Service that says so.</summary>
    public required string Service { get; init; }
    /// <summary>What happened, e.g. <c>request.approved</c>, <c>request.decision-refused</c>, <c>bundle.activated</c>, <c>person.enrolled</c>, <c>credential.revoked</c>.</summary>
    public required string Action { get; init; }
    /// <summary>When.</summary>
    public required DateTimeOffset At { get; init; }
    /// <summary>Person id of who did it, empty for the system.</summary>
    public string Person { get; init; } = "";
    /// <summary>Display name.</summary>
    public string Name { get; init; } = "";
    /// <summary>What it was done to.</summary>
    public string Subject { get; init; } = "";
    /// <summary>Whether it succeeded.</summary>
    public bool Success { get; init; } = true;
    /// <summary>More, by name; no secrets.</summary>
    public IReadOnlyDictionary<string, string> Details { get; init; } = new Dictionary<string, string>();
}

/// <summary>A session as search shows it.</summary>
public sealed record SessionView(
    string Id, string Person, string Name, string Connection, string Database, string Client, DateTimeOffset StartedAt, DateTimeOffset? EndedAt,
    string? EndReason, long Operations);

/// <summary>An operation as search shows it.</summary>
public sealed record OperationView(
    string Session, long Operation, DateTimeOffset At, string Person, string Name, string Connection, string Text, IReadOnlyList<string?> Parameters,
    string Decision, IReadOnlyList<string> Rules, string? Request, IReadOnlyList<RecordedApprover> Approvers, string? Outcome, long? Rows, string? ErrorCode,
    long? DurationMicroseconds);

/// <summary>State of the log.</summary>
/// <param name="Size">Entries in the log.</param>
/// <param name="RootHash">Base64 of the RFC 6962 root hash.</param>
/// <param name="Checkpoint">The signed note (C2SP tlog-checkpoint).</param>
public sealed record LogView(long Size, string RootHash, string Checkpoint);

/// <summary>Answer to a batch of entries.</summary>
/// <param name="Acknowledged">By session: the highest number up to which the recorder has every entry durably.</param>
/// <param name="Refused">By session: why nothing more of it is taken (gap, wrong chain, bad seal). For good.</param>
public sealed record BatchResult(IReadOnlyDictionary<string, long> Acknowledged, IReadOnlyDictionary<string, string> Refused)
{
    /// <summary>
    /// How long, in milliseconds, the proxy should let entries gather that nobody waits for, at least: with many proxies the recorder would else have many small batches.
    /// A proxy takes no more than 5 s of it.
    /// </summary>
    public int GatherMilliseconds { get; init; }
}
