using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Path.Record;

namespace Countersign.Proxy.Path;

/// <summary>What a session is, as far as the path needs to know. One per client connection, made after login.</summary>
public sealed class PathSession
{
    /// <summary>Session id, <c>ses_…</c>.</summary>
    public required string Id { get; init; }
    /// <summary>Verified claims of the session assertion.</summary>
    public required SessionAssertionClaims Claims { get; init; }
    /// <summary>The assertion itself, for approval.</summary>
    public required string Assertion { get; init; }
    /// <summary>The principal as policies see it; made from the claims once.</summary>
    public required PrincipalFacts Principal { get; init; }
    /// <summary>Connection.</summary>
    public required string Connection { get; init; }
    /// <summary>Database at the target.</summary>
    public required string Database { get; init; }
    /// <summary>Role at the target.</summary>
    public required string DatabaseRole { get; init; }
    /// <summary>Client address without port.</summary>
    public required string ClientAddress { get; init; }
    /// <summary>The recording.</summary>
    public required ISessionRecording Recording { get; init; }

    /// <summary>What of it runs under approvals. The adapter releases what is over, closes it at the end, and ends the session when it says so.</summary>
    public SessionGrants Grants { get; init; } = new();

    /// <summary>Decisions of this session under the bundle in force; only its own loop uses it.</summary>
    internal DecisionCache Decisions { get; } = new();
}

/// <summary>The smallest thing that is decided. Owns its bytes: it outlives read buffers. Protocol adapters derive from it.</summary>
public abstract class Operation
{
    /// <summary>Number in the session, from 1.</summary>
    public required long Number { get; init; }
    /// <summary><c>query</c>, <c>bind</c>, …: see <see cref="Recorder.Contracts.OperationEntry.Kind"/>.</summary>
    public required string Kind { get; init; }
    /// <summary>Where it waits, once it was asked for together with others of its pipeline.</summary>
    public PendingApproval? Pending { get; internal set; }
}

/// <summary>A place in an approval request.</summary>
/// <param name="Request">Request id.</param>
/// <param name="Index">Index among its operations.</param>
/// <param name="Digest">Digest that was asked for.</param>
public sealed record PendingApproval(string Request, int Index, string Digest);

/// <summary>What a protocol adapter must be able to do for the path. All members are called from the session's own loop.</summary>
public interface IOperationPeer
{
    /// <summary>Step 2. Facts of the operation; served from a cache where the text is known.</summary>
    ValueTask<UnderstoodOperation> UnderstandAsync(Operation operation, CancellationToken cancellation);

    /// <summary>Before step 4, only where approval is required: everything the digest covers, with the context read from the target now.</summary>
    ValueTask<OperationIdentity> IdentifyAsync(Operation operation, CancellationToken cancellation);

    /// <summary>
    /// Before an access window lets an operation pass, which no digest covers: whether the session, read from the target now, still means by an operation what
    /// it meant when it began, as the login it was made with.
    /// </summary>
    ValueTask<bool> IsInOwnContextAsync(Operation operation, CancellationToken cancellation);

    /// <summary>Whether a transaction block is open at the target, and its earlier statements.</summary>
    TransactionView Transaction { get; }

    /// <summary>Further operations that the client has already sent up to the end of its pipeline (one Sync), in order; bounded, may be empty.</summary>
    ValueTask<IReadOnlyList<Operation>> GatherAsync(CancellationToken cancellation);

    /// <summary>Before step 4: what operations would do, as far as that can be found out in short time without doing it. Null where the protocol can't tell.</summary>
    ValueTask<RequestImpact?> ForeseeAsync(IReadOnlyList<ForeseenOperation> operations, CancellationToken cancellation) => ValueTask.FromResult<RequestImpact?>(null);

    /// <summary>Step 4. Tells the client in its protocol that it is held, and begins to keep it alive until the returned scope is disposed.</summary>
    ValueTask<IHoldScope> HeldAsync(Operation operation, RequestView request, bool attached, CancellationToken cancellation);

    /// <summary>Step 7. Writes the operation to the target. Throws without a permit that is its own.</summary>
    ValueTask ForwardAsync(Operation operation, Permit permit, CancellationToken cancellation);

    /// <summary>Refuses in the client's own protocol, leaving the connection in sync.</summary>
    ValueTask RefuseAsync(Operation operation, Refusal refusal, CancellationToken cancellation);
}

/// <summary>An operation that somebody will be asked about.</summary>
/// <param name="Operation">The operation.</param>
/// <param name="Decision">What was decided: whether it may be tried (<see cref="ApprovalTerms.DryRun"/>), and what must be masked.</param>
public sealed record ForeseenOperation(Operation Operation, Decision Decision);

/// <summary>What understanding an operation gives.</summary>
/// <param name="Facts">For the policy.</param>
/// <param name="RecordedText">Exact text with secrets masked, for the record.</param>
/// <param name="RecordedParameters">Parameters as text, for the record.</param>
/// <param name="Masking">Asked whether the operation reads what must be masked.</param>
public sealed record UnderstoodOperation(OperationFacts Facts, string RecordedText, IReadOnlyList<string?> RecordedParameters, IMaskAnalysis Masking);

/// <summary>State of the target's transaction.</summary>
/// <param name="Open">Whether a block is open.</param>
/// <param name="Statements">Earlier statements in it, oldest first, secrets masked.</param>
public sealed record TransactionView(bool Open, IReadOnlyList<string> Statements)
{
    /// <summary>No open transaction.</summary>
    public static TransactionView None { get; } = new(false, []);
}

/// <summary>A client that is being held.</summary>
public interface IHoldScope : IAsyncDisposable
{
    /// <summary>Signalled when the client cancels (Ctrl-C): the request is withdrawn.</summary>
    CancellationToken Cancelled { get; }

    /// <summary>Signalled when the client goes away: the request stays.</summary>
    CancellationToken Disconnected { get; }

    /// <summary>Tells the client how far it has come. Returns at once.</summary>
    void Progress(RequestView request)
    {
    }
}

/// <summary>Why an operation does not pass.</summary>
/// <param name="Reason">Class of the refusal.</param>
/// <param name="Message">For the person.</param>
/// <param name="Hint">What to do.</param>
public sealed record Refusal(RefusalReason Reason, string Message, string Hint);

/// <summary>Classes of refusals; each protocol maps them to its codes.</summary>
public enum RefusalReason
{
    /// <summary>Policy says no (PostgreSQL 42501).</summary>
    Policy,
    /// <summary>A person said no, or nobody said yes in time (42501).</summary>
    Approval,
    /// <summary>The client cancelled the hold (57014).</summary>
    Cancelled,
    /// <summary>Something the decision needs is unavailable (58000).</summary>
    Unavailable,
    /// <summary>A hold in a transaction is not allowed, or took too long (25P03).</summary>
    InTransaction,
}
