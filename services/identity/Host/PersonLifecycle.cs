using Countersign.Identity.Contracts;
using Countersign.Identity.Credentials;
using Countersign.Identity.Persons;

namespace Countersign.Identity.Host;

/// <summary>Steps in a person's life that touch persons, credentials and tokens together.</summary>
internal sealed class PersonLifecycle(
    Bootstrap bootstrap, PersonDirectory persons, AccessCredentials credentials, AccessTokens tokens, RevocationFeed revocations, RemovalReviews reviews,
    AuditTrail audit)
{
    /// <summary>The bootstrap token names the first person.</summary>
    public async Task<PersonStanding> BootstrapAsync(AccessTokenClaims caller, string token, CancellationToken cancellation)
    {
        if (caller.Kind != PersonKinds.Human)
        {
            throw new IdentityException(403, "not-a-human", "Only a human can be the first person.");
        }

        try
        {
            await bootstrap.UseAsync(token, caller.Person, cancellation);
        }
        catch (IdentityException refused)
        {
            await audit.RecordAsync(
                "bootstrap.refused", caller.Person, caller.Name, caller.Person, cancellation, success: false,
                new Dictionary<string, string> { ["reason"] = refused.Code });
            throw;
        }

        await persons.EnrolFirstAsync(caller.Person, cancellation);
        await audit.RecordAsync("bootstrap.used", caller.Person, caller.Name, caller.Person, cancellation);
        return await persons.StandingAsync(caller.Person, cancellation);
    }

    /// <summary>Takes everything from a person at once: one person is enough for that (I3), sessions end within seconds (I8).</summary>
    public async Task<PersonStanding> DisableAsync(AccessTokenClaims caller, string token, string person, string reason, CancellationToken cancellation)
    {
        await RequireEnrolledAsync(caller, cancellation, unless: person);
        var before = await persons.AllAsync(cancellation);
        // In this order a crash leaves somebody who can do less than is recorded, never more; doing it again completes it.
        var all = await persons.DisableAsync(person, cancellation);
        foreach (var each in all)
        {
            await tokens.EndAllAsync(each, cancellation);
            await credentials.RevokeAllAsync(each, cancellation);
            await revocations.AddAsync("person", each, cancellation);
        }

        if (all.Any(each => before.TryGetValue(each, out var known) && !known.Disabled))
        {
            foreach (var each in all)
            {
                await audit.RecordAsync("person.disabled", caller.Person, caller.Name, each, cancellation);
            }

            await ReviewAsync(caller, token, new IdentityChange(ChangeKinds.Disable, all, before[person].Name), reason, cancellation);
        }

        return await persons.StandingAsync(person, cancellation);
    }

    /// <summary>Takes only the right to decide.</summary>
    public async Task<PersonStanding> WithdrawEnrolmentAsync(AccessTokenClaims caller, string token, string person, string reason, CancellationToken cancellation)
    {
        await RequireEnrolledAsync(caller, cancellation, unless: person);
        if (await persons.WithdrawEnrolmentAsync(person, cancellation))
        {
            await audit.RecordAsync("person.enrolment-withdrawn", caller.Person, caller.Name, person, cancellation);
            var record = await persons.GetAsync(person, cancellation);
            await ReviewAsync(caller, token, new IdentityChange(ChangeKinds.WithdrawEnrolment, [person], record.Name), reason, cancellation);
        }

        return await persons.StandingAsync(person, cancellation);
    }

    /// <summary>Ends one session within seconds: taking access away needs one enrolled person.</summary>
    public async Task<Revocation> EndSessionAsync(AccessTokenClaims caller, string token, string session, string reason, CancellationToken cancellation)
    {
        await RequireEnrolledAsync(caller, cancellation);
        if (session.Length is 0 or > 128 || session.Any(c => c is < '!' or > '~'))
        {
            throw new IdentityException(400, "session-malformed", "This is no session id.");
        }

        var revocation = await revocations.AddAsync("session", session, cancellation);
        await audit.RecordAsync("session.revoked", caller.Person, caller.Name, session, cancellation);
        await reviews.OpenAsync(caller, token, new IdentityChange(ChangeKinds.EndSession, [], session), reason, cancellation);
        return revocation;
    }

    /// <summary>Takes back a credential at once.</summary>
    public async Task<CredentialView> RevokeCredentialAsync(AccessTokenClaims caller, string token, string credential, string reason, CancellationToken cancellation)
    {
        var (view, isNew) = await credentials.RevokeAsync(caller, credential, cancellation);
        if (isNew)
        {
            await ReviewAsync(caller, token, new IdentityChange(ChangeKinds.RevokeCredential, [view.Person], view.Id), reason, cancellation);
        }

        return view;
    }

    /// <summary>What somebody took from others is reviewed; what they gave up themselves, or their own account, needn't be.</summary>
    private async ValueTask ReviewAsync(AccessTokenClaims caller, string token, IdentityChange change, string reason, CancellationToken cancellation)
    {
        var own = await persons.SameAsync(caller.Person, cancellation);
        if (change.Persons.Any(person => !own.Contains(person)))
        {
            await reviews.OpenAsync(caller, token, change, reason, cancellation);
        }
    }

    /// <summary>What the token says about enrolment may be 15 minutes old; this asks now.</summary>
    public async Task RequireEnrolledAsync(AccessTokenClaims caller, CancellationToken cancellation, string? unless = null)
    {
        if (caller.Person != unless && !(await persons.StandingAsync(caller.Person, cancellation)).Enrolled)
        {
            throw new IdentityException(403, "not-enrolled", "Only an enrolled person can do this.");
        }
    }
}
