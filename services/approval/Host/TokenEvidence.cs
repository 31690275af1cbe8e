using Countersign.Approval.Actors;
using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.IdentityModel.JsonWebTokens;

namespace Countersign.Approval.Host;

/// <summary>Verifies identity's tokens inside the workflow, whoever brought them, and asks identity and policy about the persons in them.</summary>
internal sealed class TokenEvidence(ITrustedKeys trusted, Directory directory, TimeProvider clock) : IEvidence
{
    private const string SessionAudience = "session";
    private const string Human = "human";

    public async ValueTask<SpecRequester> RequesterAsync(RequestSpec spec, string assertion, CancellationToken cancellation)
    {
        var (person, guises) = await AskerAsync(spec, assertion, cancellation);
        var standing = await directory.StandingAsync(person, cancellation) ?? throw new EvidenceRejectedException("identity does not know the requester");
        if (standing.Disabled)
        {
            throw new EvidenceRejectedException("the requester is disabled");
        }

        if (spec.InEffect && !standing.Enrolled && !standing.BootstrapOpen)
        {
            throw new EvidenceRejectedException("only an enrolled person takes access away from others alone");
        }

        var actors = new List<string>();
        foreach (var guise in guises.Where(guise => guise != person))
        {
            // Whoever acts in another one's name, or owns the account, asks too, under all of their accounts.
            actors.AddRange((await directory.StandingAsync(guise, cancellation))?.SameAs ?? []);
        }

        return new SpecRequester(person, standing.Name, [.. standing.SameAs.Concat(guises).Concat(actors).Append(person).Distinct(StringComparer.Ordinal)]);
    }

    public async ValueTask<Decider> DeciderAsync(RequestSpec spec, string token, bool groups, CancellationToken cancellation)
    {
        var claims = await AccessAsync(token, AppIds.Approval, cancellation);
        var standing = await directory.StandingAsync(claims.Person, cancellation) ?? throw new EvidenceRejectedException("identity does not know this person");
        var member = groups && standing.Enrolled ? await directory.GroupsAsync(standing, spec.AllOf.SelectMany(requirement => requirement.AnyOf), cancellation) : [];
        return Describe(spec, standing, claims, await RequesterStandingAsync(spec, cancellation), member);
    }

    public async ValueTask<ExtensionGrant> ExtensionAsync(string grant, CancellationToken cancellation)
    {
        try
        {
            // Not expired or not: the outbox may be late, and what the time is worth then is the workflow's to say.
            var claims = await (await trusted.GetAsync(AppIds.Approval, cancellation))
                .VerifyAsync<GrantClaims>(grant, TokenTypes.Grant, AppIds.Approval, null, clock.GetUtcNow(), requireExpiry: false);
            return claims is { Extends: { } other, ExtendsDigest: { } digest }
                ? new ExtensionGrant(
                    claims.Request, other, claims.Person, claims.Connection, digest,
                    DateTimeOffset.FromUnixTimeSeconds(claims.IssuedAt), DateTimeOffset.FromUnixTimeSeconds(claims.ExpiresAt))
                : throw new EvidenceRejectedException("the grant extends nothing");
        }
        catch (TokenRejectedException error)
        {
            throw new EvidenceRejectedException(error.Message, error);
        }
    }

    /// <summary>The same for somebody whose token, standing and groups are known already.</summary>
    public static Decider Describe(
        RequestSpec spec, PersonStanding standing, AccessTokenClaims claims, PersonStanding? requester, IReadOnlyCollection<string> groups)
    {
        // A token of a service account can't decide, whatever is enrolled: nobody would have looked.
        var human = claims.Kind == Human;
        var enrolled = standing.Enrolled && human;
        return new Decider
        {
            Person = standing.Person,
            Name = standing.Name,
            SameAs = [.. standing.SameAs.Concat(claims.Owners).Append(standing.Person).Distinct(StringComparer.Ordinal)],
            Enrolled = enrolled,
            Disabled = standing.Disabled,
            Groups = enrolled ? [.. spec.AllOf.SelectMany(requirement => requirement.AnyOf).Distinct(StringComparer.Ordinal).Where(groups.Contains)] : [],
            BootstrapOpen = standing.BootstrapOpen && human,
            RequesterSameAs = requester?.SameAs ?? [],
            AuthenticatedAt = DateTimeOffset.FromUnixTimeSeconds(claims.AuthenticatedAt),
            Amr = claims.Amr,
            Human = human,
        };
    }

    /// <summary>How the requester stands now; null where identity has forgotten them, which leaves what it said when the request was made.</summary>
    public ValueTask<PersonStanding?> RequesterStandingAsync(RequestSpec spec, CancellationToken cancellation) =>
        directory.StandingAsync(spec.Requester.Person, cancellation);

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<string>> GoneAsync(RequestSpec spec, IEnumerable<string> approvers, CancellationToken cancellation)
    {
        var gone = new List<string>();
        var standing = await RequesterStandingAsync(spec, cancellation);
        if (standing is { Disabled: true })
        {
            gone.Add(spec.Requester.Person);
        }

        IReadOnlyList<string> requester = standing?.SameAs ?? [];
        foreach (var person in approvers)
        {
            if (requester.Contains(person, StringComparer.Ordinal)
                || await directory.StandingAsync(person, cancellation) is not { Enrolled: true, Disabled: false } approver
                || approver.SameAs.Contains(spec.Requester.Person, StringComparer.Ordinal))
            {
                gone.Add(person);
            }
        }

        return gone;
    }

    public async ValueTask<string> PersonAsync(string token, CancellationToken cancellation) =>
        (await AccessAsync(token, AppIds.Approval, cancellation)).Person;

    public async ValueTask<string> ServiceAsync(string token, CancellationToken cancellation)
    {
        try
        {
            // The issuer chooses the key that must verify the token; it is nobody's word until then.
            var issuer = new JsonWebToken(token).Issuer;
            var keys = await trusted.GetAsync(issuer, cancellation);
            await keys.VerifyAsync<ServiceTokenClaims>(token, TokenTypes.Service, issuer, AppIds.Approval, clock.GetUtcNow());
            return issuer;
        }
        catch (Exception error) when (error is TokenRejectedException or ArgumentException)
        {
            throw new EvidenceRejectedException("the service's token does not verify", error);
        }
    }

    public async ValueTask CheckSealAsync(RequestSpec spec, string seal, CancellationToken cancellation) =>
        CheckHash((await SealedAsync<SealClaims>(GrantSigner.SealType, seal, cancellation)).Hash, SpecHash.Compute(spec));

    public async ValueTask CheckDocumentAsync(string hash, string? seal, CancellationToken cancellation) =>
        CheckHash((await SealedAsync<DocumentClaims>(GrantSigner.DocumentType, seal ?? throw new EvidenceRejectedException("it has no seal"), cancellation)).Hash, hash);

    public async ValueTask<SessionEvidence> SessionAsync(string assertion, CancellationToken cancellation)
    {
        var claims = await SessionClaimsAsync(assertion, cancellation);
        return new SessionEvidence(claims.Person, claims.Name, claims.Connection) { Guises = Guises(claims.Owners, claims.Actor) };
    }

    /// <summary>The person who asks, as the evidence of a request says; nothing is looked up.</summary>
    public async ValueTask<string> AskerPersonAsync(RequestSpec spec, string assertion, CancellationToken cancellation) =>
        (await AskerAsync(spec, assertion, cancellation)).Person;

    /// <summary>Claims of an access token of a person who acts for themselves.</summary>
    public async ValueTask<AccessTokenClaims> AccessAsync(string token, string audience, CancellationToken cancellation)
    {
        var claims = await VerifyAsync<AccessTokenClaims>(token, TokenTypes.Access, audience, cancellation);
        return claims.Actor is null ? claims : throw new EvidenceRejectedException("somebody else uses this token in the person's name");
    }

    /// <summary>The person who asks, and those whose guise it may be: owners of the account, and who acts in its name.</summary>
    private async ValueTask<(string Person, IReadOnlyList<string> Guises)> AskerAsync(RequestSpec spec, string assertion, CancellationToken cancellation)
    {
        // The type is nobody's word until the token is verified as such.
        if (spec.IsControl || IsAccessToken(assertion))
        {
            // The person's own token for the service that asks: that service can't make one up.
            var claims = await VerifyAsync<AccessTokenClaims>(assertion, TokenTypes.Access, spec.AskedBy, cancellation);
            return (claims.Person, Guises(claims.Owners, claims.Actor));
        }

        var session = await SessionClaimsAsync(assertion, cancellation);
        return session.Connection == spec.Connection
            ? (session.Person, Guises(session.Owners, session.Actor))
            : throw new EvidenceRejectedException("the session is for another connection");
    }

    private static IReadOnlyList<string> Guises(IReadOnlyList<string> owners, TokenActor? actor) => actor switch
    {
        null => owners,
        { Person.Length: > 0 } => [.. owners, actor.Person],
        _ => throw new EvidenceRejectedException("the token doesn't say who acts in the person's name"),
    };

    private static bool IsAccessToken(string token)
    {
        try
        {
            return new JsonWebToken(token).Typ == TokenTypes.Access;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    private async ValueTask<SessionAssertionClaims> SessionClaimsAsync(string assertion, CancellationToken cancellation) =>
        await VerifyAsync<SessionAssertionClaims>(assertion, TokenTypes.Session, SessionAudience, cancellation);

    private async ValueTask<TClaims> VerifyAsync<TClaims>(string token, string type, string audience, CancellationToken cancellation)
    {
        try
        {
            var keys = await trusted.GetAsync(AppIds.Identity, cancellation);
            return await keys.VerifyAsync<TClaims>(token, type, AppIds.Identity, audience, clock.GetUtcNow());
        }
        catch (TokenRejectedException error)
        {
            throw new EvidenceRejectedException(error.Message, error);
        }
    }

    private static void CheckHash(string said, string hash)
    {
        if (said != hash)
        {
            throw new EvidenceRejectedException("the seal is of something else");
        }
    }

    private async ValueTask<TClaims> SealedAsync<TClaims>(string type, string seal, CancellationToken cancellation)
    {
        try
        {
            return await (await trusted.GetAsync(AppIds.Approval, cancellation)).VerifyAsync<TClaims>(seal, type, AppIds.Approval, null, clock.GetUtcNow(), requireExpiry: false);
        }
        catch (TokenRejectedException error)
        {
            throw new EvidenceRejectedException(error.Message, error);
        }
    }
}
