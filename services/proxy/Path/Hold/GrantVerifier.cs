using Countersign.Approval.Contracts;

namespace Countersign.Proxy.Path.Hold;

/// <summary>Turns claims whose signature was checked into the proof that lets an operation pass, or refuses (I1). The one place that makes it.</summary>
internal static class GrantVerifier
{
    /// <summary>Clocks may differ by this much; more stops redemptions.</summary>
    public static readonly TimeSpan Leeway = TimeSpan.FromSeconds(5);

    /// <summary>Compares a grant with what is about to run.</summary>
    /// <param name="claims">Claims of a grant whose signature, type and issuer were verified with approval's keys.</param>
    /// <param name="request">Approval request that was redeemed.</param>
    /// <param name="redeem">What was redeemed.</param>
    /// <param name="expected">Who is about to run it, and where.</param>
    /// <param name="now">The proxy's clock.</param>
    /// <exception cref="RedemptionRefusedException">The grant is for something else, or has expired.</exception>
    public static RedeemedGrant Verify(
        GrantClaims claims, string request, RedeemRequest redeem, RedemptionExpectation expected, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(claims);
        ArgumentNullException.ThrowIfNull(redeem);
        ArgumentNullException.ThrowIfNull(expected);
        var problem =
            claims.Kind != RequestKind.Operation ? "is not for an operation"
            : !Same(claims.Request, request) ? "is for another request"
            : !Same(claims.Person, expected.Person) ? "is for another person"
            : !Same(claims.Connection, expected.Connection) ? "is for another connection"
            : redeem.Index < 0 || redeem.Index >= claims.Digests.Count || !Same(claims.Digests[redeem.Index], redeem.Digest) ? "is for another operation"
            : now >= DateTimeOffset.FromUnixTimeSeconds(claims.ExpiresAt) ? "has expired"
            : DateTimeOffset.FromUnixTimeSeconds(claims.IssuedAt) > now + Leeway ? "lies in the future: clocks differ"
            : claims.Bootstrap ? "was given during bootstrap"
            : claims.Approvers.Any(approver => Same(approver.Person, expected.Person)) ? "names the executor as approver"
            : claims.Approvers.Count == 0 ? "names no approver"
            : null;
        return problem is null ? new RedeemedGrant(claims, redeem.Digest) : throw new RedemptionRefusedException($"The grant {problem}.");
    }

    private static bool Same(string left, string right) => string.Equals(left, right, StringComparison.Ordinal);
}
