using Countersign.Approval.Contracts;

namespace Countersign.Proxy.Path.Hold;

/// <summary>The proxy's view of the approval service. It can ask, wait, redeem and withdraw; it can't decide.</summary>
public interface IApprovals
{
    /// <summary>Makes a request, or attaches to the one that the same person already has for the same digests.</summary>
    /// <exception cref="ApprovalUnavailableException">Approval can't be reached or refused (too many pending): the operation is refused.</exception>
    ValueTask<CreateRequestResult> RequestAsync(CreateRequest request, CancellationToken cancellation);

    /// <summary>Completes when the request has left the state pending. Woken by the bus, with a poll as safety net; goes on waiting while approval is down.</summary>
    ValueTask<RequestView> WaitAsync(string request, CancellationToken cancellation);

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
public sealed record RedemptionExpectation(string Person, string Connection);

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
