using Countersign.Identity.Contracts;
using Countersign.Identity.Credentials;
using Countersign.Identity.Persons;

namespace Countersign.Identity.Host;

/// <summary>Steps in a person's life that touch persons, credentials and tokens together.</summary>
internal sealed class PersonLifecycle(
    Bootstrap bootstrap, PersonDirectory persons, AccessCredentials credentials, AccessTokens tokens, RevocationFeed revocations, AuditTrail audit)
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
    public async Task<PersonStanding> DisableAsync(AccessTokenClaims caller, string person, CancellationToken cancellation)
    {
        await RequireEnrolledAsync(caller, cancellation, unless: person);
        // In this order a crash leaves somebody who can do less than is recorded, never more; doing it again completes it.
        var changed = await persons.DisableAsync(person, cancellation);
        await tokens.EndAllAsync(person, cancellation);
        await credentials.RevokeAllAsync(person, cancellation);
        await revocations.AddAsync("person", person, cancellation);
        if (changed)
        {
            await audit.RecordAsync("person.disabled", caller.Person, caller.Name, person, cancellation);
        }

        return await persons.StandingAsync(person, cancellation);
    }

    /// <summary>Takes only the right to decide.</summary>
    public async Task<PersonStanding> WithdrawEnrolmentAsync(AccessTokenClaims caller, string person, CancellationToken cancellation)
    {
        await RequireEnrolledAsync(caller, cancellation, unless: person);
        if (await persons.WithdrawEnrolmentAsync(person, cancellation))
        {
            await audit.RecordAsync("person.enrolment-withdrawn", caller.Person, caller.Name, person, cancellation);
        }

        return await persons.StandingAsync(person, cancellation);
    }

    /// <summary>Ends one session within seconds: taking access away needs one enrolled person.</summary>
    public async Task<Revocation> EndSessionAsync(AccessTokenClaims caller, string session, CancellationToken cancellation)
    {
        await RequireEnrolledAsync(caller, cancellation);
        if (session.Length is 0 or > 128 || session.Any(c => c is < '!' or > '~'))
        {
            throw new IdentityException(400, "session-malformed", "This is no session id.");
        }

        var revocation = await revocations.AddAsync("session", session, cancellation);
        await audit.RecordAsync("session.revoked", caller.Person, caller.Name, session, cancellation);
        return revocation;
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
