using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Path.Hold;

/// <summary>The proxy's view of the approval service. It can ask, wait, redeem and withdraw; it can't decide.</summary>
public interface IApprovals
{
    /// <summary>Makes a request, or attaches to the one that the same person already has for the same digests.</summary>
    /// <exception cref="ApprovalUnavailableException">Approval can't be reached or refused (too many pending): the operation is refused.</exception>
    ValueTask<CreateRequestResult> RequestAsync(CreateRequest request, CancellationToken cancellation);

    /// <summary>Completes when the request has left the state pending. Woken by the bus, with a poll as safety net; goes on waiting while approval is down.</summary>
    ValueTask<RequestView> WaitAsync(string request, CancellationToken cancellation);

    /// <summary>The same, and says of every change on the way: somebody agreed, a reason was given.</summary>
    /// <param name="request">Request id.</param>
    /// <param name="changed">Called one at a time, never once the wait is over.</param>
    /// <param name="cancellation">Ends the wait.</param>
    ValueTask<RequestView> WaitAsync(string request, Action<RequestView> changed, CancellationToken cancellation) => WaitAsync(request, cancellation);

    /// <summary>What this session's person may use on its connection and hasn't used up: operations that were approved ahead of time, and access windows. Makes nothing.</summary>
    /// <param name="assertion">Session assertion.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <exception cref="ApprovalUnavailableException">Approval can't be reached.</exception>
    ValueTask<IReadOnlyList<RequestView>> ApprovedAsync(string assertion, CancellationToken cancellation) => ValueTask.FromResult<IReadOnlyList<RequestView>>([]);

    /// <summary>Opens an access window: its first redemption starts its clock, a later one gets the same end. Verified here.</summary>
    /// <exception cref="RedemptionRefusedException">Over, revoked, or a grant that doesn't verify.</exception>
    /// <exception cref="ApprovalUnavailableException">Approval can't be reached.</exception>
    ValueTask<OpenWindow> OpenWindowAsync(string request, RedeemRequest redeem, RedemptionExpectation expected, CancellationToken cancellation) =>
        throw new RedemptionRefusedException("Access windows are not known here.");

    /// <summary>Redeems one operation of an approved request: at most once, checked by the workflow, then verified here (signature, request, person, connection, expiry, digest).</summary>
    /// <exception cref="RedemptionRefusedException">Already redeemed, expired, revoked, or a grant that doesn't verify.</exception>
    /// <exception cref="ApprovalUnavailableException">Approval can't be reached.</exception>
    ValueTask<RedeemedGrant> RedeemAsync(string request, RedeemRequest redeem, RedemptionExpectation expected, CancellationToken cancellation);

    /// <summary>Withdraws a request (Ctrl-C). Failing to is not an error: the request expires by itself.</summary>
    ValueTask WithdrawAsync(string request, string assertion, CancellationToken cancellation);
}

/// <summary>What the proxy compares a grant with.</summary>
/// <param name="Person">Executing person.</param>
/// <param name="Connection">Connection.</param>
/// <param name="Database">Database at the target.</param>
/// <param name="Current">The decision under the bundle of now: what was agreed to must be enough for it.</param>
public sealed record RedemptionExpectation(string Person, string Connection, string Database, Decision Current);

/// <summary>Proof that a grant was verified by this proxy and redeemed for the first time (I1). Made only by <see cref="IApprovals"/>' implementation in this assembly.</summary>
public sealed class RedeemedGrant
{
    internal RedeemedGrant(GrantClaims claims, string digest)
    {
        Claims = claims;
        Digest = digest;
    }

    /// <summary>The verified claims.</summary>
    public GrantClaims Claims { get; }

    /// <summary>The digest that was redeemed.</summary>
    public string Digest { get; }
}

/// <summary>Approval can't be reached, or took no request. The message is for the person.</summary>
public sealed class ApprovalUnavailableException : Exception
{
    /// <summary>Says why.</summary>
    public ApprovalUnavailableException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public ApprovalUnavailableException()
    {
    }

    /// <summary>Says why.</summary>
    public ApprovalUnavailableException(string message)
        : base(message)
    {
    }
}

/// <summary>The grant can't be redeemed. The message is for the person.</summary>
public sealed class RedemptionRefusedException : Exception
{
    /// <summary>Says why.</summary>
    public RedemptionRefusedException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public RedemptionRefusedException()
    {
    }

    /// <summary>Says why.</summary>
    public RedemptionRefusedException(string message)
        : base(message)
    {
    }
}
