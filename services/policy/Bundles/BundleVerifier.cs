using Countersign.Approval.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Bundles;

/// <summary>The highest bundle that somebody has seen; kept on disk, so that a restart doesn't forget it (I8).</summary>
/// <param name="Version">Its version.</param>
/// <param name="Digest">Its digest.</param>
public sealed record BundleMark(long Version, string Digest);

/// <summary>A bundle whose signature and grant were verified.</summary>
/// <param name="Bundle">The bundle.</param>
/// <param name="Digest">SHA-256 of its payload.</param>
/// <param name="Grant">Who approved it.</param>
/// <param name="InForceSince">When policy put it into force.</param>
public sealed record VerifiedBundle(Bundle Bundle, string Digest, GrantClaims Grant, DateTimeOffset InForceSince)
{
    /// <summary>What to keep as the highest one seen.</summary>
    public BundleMark Mark => new(Bundle.Version, Digest);
}

/// <summary>
/// What everybody does who enforces a bundle (I3): policy's signature <em>and</em> approval's grant over the digest of exactly these bytes, given by
/// somebody else than who asked, in force while the grant was good, and not older than what was seen before.
/// </summary>
public sealed class BundleVerifier(ITrustedKeys trusted)
{
    /// <summary>Verifies an envelope.</summary>
    /// <param name="envelope">As it came.</param>
    /// <param name="highest">The highest bundle seen so far; null for none.</param>
    /// <param name="now">The verifier's clock.</param>
    /// <param name="cancellation">Cancels the wait for keys.</param>
    /// <exception cref="BundleRejectedException">It must not be enforced. What was enforced before stays.</exception>
    public async ValueTask<VerifiedBundle> VerifyAsync(BundleEnvelope envelope, BundleMark? highest, DateTimeOffset now, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(envelope);
        var payload = BundleCodec.Payload(envelope);
        var digest = BundleCodec.Digest(payload);
        BundleSignatureClaims signature;
        GrantClaims grant;
        try
        {
            var policy = await trusted.GetAsync(AppIds.Policy, cancellation).ConfigureAwait(false);
            signature = await policy.VerifyAsync<BundleSignatureClaims>(envelope.Signature, TokenTypes.Bundle, AppIds.Policy, null, now, requireExpiry: false).ConfigureAwait(false);
            var approval = await trusted.GetAsync(AppIds.Approval, cancellation).ConfigureAwait(false);
            grant = await approval.VerifyAsync<GrantClaims>(envelope.Grant, TokenTypes.Grant, AppIds.Approval, null, now, requireExpiry: false).ConfigureAwait(false);
        }
        catch (TokenRejectedException error)
        {
            throw new BundleRejectedException($"signature or grant: {error.Message}", error);
        }

        Require(signature.Digest == digest, "policy signed another payload");
        Require(grant.Kind == RequestKind.Bundle, "the grant is for something else than a bundle");
        Require(grant.Digests is [var approved] && approved == digest, "another payload was approved");
        RequireApprovers(grant);

        // The grant need not be good now: what counts is that it was when policy put the bundle into force.
        var since = DateTimeOffset.FromUnixTimeSeconds(signature.IssuedAt);
        Require(since <= now + VerificationKeys.Leeway, "it comes into force in the future: a clock is wrong");
        Require(
            since >= DateTimeOffset.FromUnixTimeSeconds(grant.IssuedAt) - VerificationKeys.Leeway && since <= DateTimeOffset.FromUnixTimeSeconds(grant.ExpiresAt) + VerificationKeys.Leeway,
            "it was put into force outside the time of its grant");

        var bundle = BundleCodec.Decode(payload);
        Require(bundle.Version == signature.Version && bundle.Version > 0, "the version signed is another one than the payload's");
        if (highest is not null)
        {
            Require(bundle.Version >= highest.Version, $"version {bundle.Version} is older than {highest.Version}, which was seen before");
            Require(bundle.Version > highest.Version || digest == highest.Digest, $"it is another bundle of version {bundle.Version} than the one seen before");
        }

        return new VerifiedBundle(bundle, digest, grant, since);
    }

    /// <summary>Checks a grant before a bundle is put into force under it.</summary>
    /// <exception cref="BundleRejectedException">It isn't for this digest, or not good now.</exception>
    public async ValueTask<GrantClaims> VerifyGrantAsync(string grant, string digest, DateTimeOffset now, CancellationToken cancellation)
    {
        GrantClaims claims;
        try
        {
            var approval = await trusted.GetAsync(AppIds.Approval, cancellation).ConfigureAwait(false);
            claims = await approval.VerifyAsync<GrantClaims>(grant, TokenTypes.Grant, AppIds.Approval, null, now).ConfigureAwait(false);
        }
        catch (TokenRejectedException error)
        {
            throw new BundleRejectedException($"grant: {error.Message}", error);
        }

        Require(claims.Kind == RequestKind.Bundle, "the grant is for something else than a bundle");
        Require(claims.Digests is [var approved] && approved == digest, "another payload was approved");
        RequireApprovers(claims);
        return claims;
    }

    /// <summary>I2: nobody alone, except the first person before anybody else is enrolled, and then the grant says so.</summary>
    private static void RequireApprovers(GrantClaims grant)
    {
        var others = grant.Approvers.Select(approver => approver.Person).Where(person => person.Length > 0 && person != grant.Person).Distinct(StringComparer.Ordinal).Count();
        var needed = Math.Max(1, grant.AllOf.Count == 0 ? 1 : grant.AllOf.Max(requirement => requirement.Quorum));
        Require(grant.Bootstrap || others >= needed, "it was not approved by enough other persons");
        Require(grant.Approvers.Count > 0, "nobody approved it");
    }

    private static void Require(bool holds, string message)
    {
        if (!holds)
        {
            throw new BundleRejectedException(message);
        }
    }
}
