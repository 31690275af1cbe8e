using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;

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
            claims.Kind != RequestKind.Operation || claims.Window is not null ? "is not for an operation"
            : Common(claims, request, expected, now) is { } common ? common
            : redeem.Index < 0 || redeem.Index >= claims.Digests.Count || !Same(claims.Digests[redeem.Index], redeem.Digest) ? "is for another operation"
            : null;
        return problem is null ? new RedeemedGrant(claims, redeem.Digest) : throw new RedemptionRefusedException($"The grant {problem}.");
    }

    /// <summary>Compares the grant of an access window with who wants to open it.</summary>
    /// <param name="claims">Claims of a grant whose signature, type and issuer were verified with approval's keys.</param>
    /// <param name="request">Approval request that was redeemed.</param>
    /// <param name="redeem">What was redeemed.</param>
    /// <param name="expected">Who opens it, and where; its decision is that of the operation that needs it.</param>
    /// <param name="now">The proxy's clock.</param>
    /// <exception cref="RedemptionRefusedException">The grant is for something else, or is over.</exception>
    public static OpenWindow VerifyWindow(
        GrantClaims claims, string request, RedeemRequest redeem, RedemptionExpectation expected, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(claims);
        ArgumentNullException.ThrowIfNull(redeem);
        ArgumentNullException.ThrowIfNull(expected);
        var ends = claims.WindowEndsAt is { } at ? DateTimeOffset.FromUnixTimeSeconds(at) : (DateTimeOffset?)null;
        var problem =
            claims.Kind != RequestKind.AccessWindow || claims.Window is null || ends is null || claims.Digests.Count > 0 || claims.BreakGlass ? "is not for an access window"
            : Common(claims, request, expected, now) is { } common ? common
            : now >= ends ? "is for a window that is over"
            : claims.Window.Statements.Count == 0 || claims.Window.Relations.Count == 0 ? "is for a window without a scope"
            : !Same(AccessWindowDigest.Compute(expected.Person, expected.Connection, expected.Database, claims.Window), redeem.Digest) ? "is for another window"
            : null;
        return problem is null ? new OpenWindow(claims, redeem.Digest, ends!.Value, now) : throw new RedemptionRefusedException($"The grant {problem}.");
    }

    /// <summary>The proof for one operation in an open window; null where the window doesn't cover it now.</summary>
    public static RedeemedGrant? Within(OpenWindow window, OperationFacts facts, Decision current, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(window);
        ArgumentNullException.ThrowIfNull(current);
        return now < window.Ends && window.Covers(facts) && GrantTerms.Cover(current, window.Claims) ? new RedeemedGrant(window.Claims, window.Digest) : null;
    }

    private static string? Common(GrantClaims claims, string request, RedemptionExpectation expected, DateTimeOffset now) =>
        !Same(claims.Request, request) ? "is for another request"
        : !Same(claims.Person, expected.Person) ? "is for another person"
        : !Same(claims.Connection, expected.Connection) ? "is for another connection"
        : now >= DateTimeOffset.FromUnixTimeSeconds(claims.ExpiresAt) ? "has expired"
        : DateTimeOffset.FromUnixTimeSeconds(claims.IssuedAt) > now + Leeway ? "lies in the future: clocks differ"
        : claims.Bootstrap ? "was given during bootstrap"
        : claims.Removal || claims.Extends is not null ? "lets nothing run by itself"
        : claims.Approvers.Any(approver => Same(approver.Person, expected.Person)) ? "names the executor as approver"
        : claims.BreakGlass ? (GrantTerms.Cover(expected.Current, claims) ? null : "was taken by its requester alone, which the policy doesn't allow here")
        : claims.Approvers.Count == 0 ? "names no approver"
        : claims.AllOf.Count == 0 || claims.AllOf.Any(each => each.Quorum < 1) ? "says not who had to agree"
        : claims.Approvers.DistinctBy(approver => approver.Person, StringComparer.Ordinal).Count() < claims.AllOf.Sum(each => (long)each.Quorum)
            ? "names fewer approvers than had to agree"
        : !GrantTerms.Cover(expected.Current, claims) ? "was given on weaker terms than the policy asks for now"
        : null;

    private static bool Same(string left, string right) => string.Equals(left, right, StringComparison.Ordinal);
}
