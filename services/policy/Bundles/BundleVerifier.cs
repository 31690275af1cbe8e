using Countersign.Approval.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;
using Countersign.Policy.Language;

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
    private const long MaxBefore = 2L * BundleCodec.MaxPayload;

    /// <summary>Most bundles in a row that one person alone put into force by taking away; then others must agree to one.</summary>
    public const int MaxRemovals = 16;

    /// <summary>Verifies an envelope.</summary>
    /// <param name="envelope">As it came.</param>
    /// <param name="highest">The highest bundle seen so far; null for none.</param>
    /// <param name="now">The verifier's clock.</param>
    /// <param name="cancellation">Cancels the wait for keys.</param>
    /// <param name="control">
    /// Who must agree by what the verifier enforces until now; null where it enforces nothing yet. Policy's word alone for whom it had to ask would else be enough to
    /// need one accomplice only.
    /// </param>
    /// <exception cref="BundleRejectedException">It must not be enforced. What was enforced before stays.</exception>
    public async ValueTask<VerifiedBundle> VerifyAsync(
        BundleEnvelope envelope, BundleMark? highest, DateTimeOffset now, CancellationToken cancellation, ControlTerms? control = null)
    {
        ArgumentNullException.ThrowIfNull(envelope);
        var before = envelope.Before ?? [];
        Require(before.Count <= MaxRemovals && before.All(each => each is { Before: null or { Count: 0 } }), "it follows too many bundles, or in the wrong way");
        Require(before.Sum(each => (long)(each.Payload?.Length ?? 0)) <= MaxBefore, "the bundles that it follows are too large");
        var line = new List<VerifiedBundle>(before.Count + 1);
        foreach (var each in before.Append(envelope))
        {
            var verified = await VerifyOneAsync(each, now, cancellation).ConfigureAwait(false);
            RequireLine(line.LastOrDefault(), verified);

            // What took away only left the settings as they were: the terms of before hold across it.
            Require(
                verified.Grant.Removal || control is null || verified.Bundle.Version <= control.Version || control.AreMetBy(verified.Grant),
                $"version {verified.Bundle.Version} was approved on weaker terms than version {control?.Version} asks for");
            line.Add(verified);
        }

        var last = line[^1];
        if (highest is not null)
        {
            Require(last.Bundle.Version >= highest.Version, $"version {last.Bundle.Version} is older than {highest.Version}, which was seen before");
            var same = line.Find(each => each.Bundle.Version == highest.Version);
            Require(same is null || same.Digest == highest.Digest, $"it is another bundle of version {highest.Version} than the one seen before");

            // A removal is one from what was in force: passing over one that was seen would give back what that one took.
            Require(same is not null || line[0].Bundle.Version > highest.Version, $"it doesn't follow version {highest.Version}, which was seen before");
        }

        return last;
    }

    /// <summary>I3: what others approved stands for itself; what one person put into force alone must follow it and take away only.</summary>
    private static void RequireLine(VerifiedBundle? before, VerifiedBundle next)
    {
        if (before is null)
        {
            Require(!next.Grant.Removal, "it says that it only takes away, but not from which bundle");
            return;
        }

        Require(next.Grant.Removal, "it was approved and follows nothing");
        Require(next.Bundle.Version > before.Bundle.Version && next.InForceSince >= before.InForceSince, "the bundles are not in their order");
        string? more;
        try
        {
            more = Removal.WhyNot(before.Bundle, next.Bundle);
        }
        catch (PolicyFormatException error)
        {
            throw new BundleRejectedException("its documents can't be compared with those before", error);
        }

        Require(more is null, $"it does more than taking away: {more}");
    }

    private async ValueTask<VerifiedBundle> VerifyOneAsync(BundleEnvelope envelope, DateTimeOffset now, CancellationToken cancellation)
    {
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
        RequireGrant(grant, digest);

        // The grant need not be good now: what counts is that it was when policy put the bundle into force.
        var since = DateTimeOffset.FromUnixTimeSeconds(signature.IssuedAt);
        Require(since <= now + VerificationKeys.Leeway, "it comes into force in the future: a clock is wrong");
        Require(
            since >= DateTimeOffset.FromUnixTimeSeconds(grant.IssuedAt) - VerificationKeys.Leeway && since <= DateTimeOffset.FromUnixTimeSeconds(grant.ExpiresAt) + VerificationKeys.Leeway,
            "it was put into force outside the time of its grant");

        var bundle = BundleCodec.Decode(payload);
        Require(bundle.Version == signature.Version && bundle.Version > 0, "the version signed is another one than the payload's");
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

        RequireGrant(claims, digest);
        return claims;
    }

    private static void RequireGrant(GrantClaims grant, string digest)
    {
        Require(grant.Kind == RequestKind.Bundle, "the grant is for something else than a bundle");
        Require(grant.Digests is [var approved] && approved == digest, "another payload was approved");
        Require(!grant.BreakGlass && grant.Window is null && grant.Extends is null, "the grant is for something else than a bundle");
        if (!grant.Removal)
        {
            RequireApprovers(grant);
        }
    }

    /// <summary>I2: as many others as all requirements have seats, since each person fills one; nobody alone, except the first person before anybody else is enrolled, and then the grant says so.</summary>
    private static void RequireApprovers(GrantClaims grant)
    {
        var others = grant.Approvers.Select(approver => approver.Person).Where(person => person.Length > 0 && person != grant.Person).Distinct(StringComparer.Ordinal).Count();
        var needed = Math.Max(1, grant.AllOf.Sum(requirement => (long)requirement.Quorum));
        Require(grant.AllOf.All(requirement => requirement.Quorum >= 1), "it says not who had to agree");
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
