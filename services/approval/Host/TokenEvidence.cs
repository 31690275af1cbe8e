using Countersign.Approval.Actors;
using Countersign.Approval.Workflow;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Approval.Host;

/// <summary>Verifies identity's tokens inside the workflow, whoever brought them, and asks identity and policy about the persons in them.</summary>
internal sealed class TokenEvidence(ITrustedKeys trusted, Directory directory, TimeProvider clock) : IEvidence
{
    private const string SessionAudience = "session";
    private const string Human = "human";

    public async ValueTask<SpecRequester> RequesterAsync(RequestSpec spec, string assertion, CancellationToken cancellation)
    {
        string person;
        IReadOnlyList<string> owners;
        if (spec.IsControl)
        {
            // The person's own token for the service that asks: that service can't make one up.
            var claims = await AccessAsync(assertion, spec.AskedBy, cancellation);
            (person, owners) = (claims.Person, claims.Owners);
        }
        else
        {
            var claims = await SessionClaimsAsync(assertion, cancellation);
            if (claims.Connection != spec.Connection)
            {
                throw new EvidenceRejectedException("the session is for another connection");
            }

            (person, owners) = (claims.Person, claims.Owners);
        }

        var standing = await directory.StandingAsync(person, cancellation) ?? throw new EvidenceRejectedException("identity does not know the requester");
        return standing.Disabled
            ? throw new EvidenceRejectedException("the requester is disabled")
            : new SpecRequester(person, standing.Name, [.. standing.SameAs.Concat(owners).Append(person).Distinct(StringComparer.Ordinal)]);
    }

    public async ValueTask<Decider> DeciderAsync(RequestSpec spec, string token, CancellationToken cancellation)
    {
        var claims = await AccessAsync(token, AppIds.Approval, cancellation);
        var standing = await directory.StandingAsync(claims.Person, cancellation) ?? throw new EvidenceRejectedException("identity does not know this person");
        return await DescribeAsync(spec, standing, claims, await RequesterStandingAsync(spec, cancellation), cancellation);
    }

    /// <summary>The same for somebody whose token and standing are known already.</summary>
    public async ValueTask<Decider> DescribeAsync(
        RequestSpec spec, PersonStanding standing, AccessTokenClaims claims, PersonStanding? requester, CancellationToken cancellation)
    {
        // A token of a service account can't decide, whatever is enrolled: nobody would have looked.
        var enrolled = standing.Enrolled && claims.Kind == Human;
        return new Decider
        {
            Person = standing.Person,
            Name = standing.Name,
            SameAs = [.. standing.SameAs.Concat(claims.Owners).Append(standing.Person).Distinct(StringComparer.Ordinal)],
            Enrolled = enrolled,
            Disabled = standing.Disabled,
            Groups = enrolled ? await directory.GroupsAsync(standing, spec.AllOf.SelectMany(requirement => requirement.AnyOf), cancellation) : [],
            BootstrapOpen = standing.BootstrapOpen && claims.Kind == Human,
            RequesterSameAs = requester?.SameAs ?? [],
        };
    }

    /// <summary>How the requester stands now; null where identity has forgotten them, which leaves what it said when the request was made.</summary>
    public ValueTask<PersonStanding?> RequesterStandingAsync(RequestSpec spec, CancellationToken cancellation) =>
        directory.StandingAsync(spec.Requester.Person, cancellation);

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<string>> GoneAsync(RequestSpec spec, IEnumerable<string> approvers, CancellationToken cancellation)
    {
        var gone = new List<string>();
        IReadOnlyList<string>? requester = null;
        foreach (var person in approvers)
        {
            requester ??= (await RequesterStandingAsync(spec, cancellation))?.SameAs ?? [];
            if (requester.Contains(person, StringComparer.Ordinal)
                || await directory.StandingAsync(person, cancellation) is not { Enrolled: true, Disabled: false } standing
                || standing.SameAs.Contains(spec.Requester.Person, StringComparer.Ordinal))
            {
                gone.Add(person);
            }
        }

        return gone;
    }

    public async ValueTask<string> PersonAsync(string token, CancellationToken cancellation) =>
        (await AccessAsync(token, AppIds.Approval, cancellation)).Person;

    public async ValueTask<SessionEvidence> SessionAsync(string assertion, CancellationToken cancellation)
    {
        var claims = await SessionClaimsAsync(assertion, cancellation);
        return new SessionEvidence(claims.Person, claims.Name, claims.Connection);
    }

    private async ValueTask<SessionAssertionClaims> SessionClaimsAsync(string assertion, CancellationToken cancellation) =>
        await VerifyAsync<SessionAssertionClaims>(assertion, TokenTypes.Session, SessionAudience, cancellation);

    /// <summary>Claims of an access token.</summary>
    public ValueTask<AccessTokenClaims> AccessAsync(string token, string audience, CancellationToken cancellation) =>
        VerifyAsync<AccessTokenClaims>(token, TokenTypes.Access, audience, cancellation);

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
}
