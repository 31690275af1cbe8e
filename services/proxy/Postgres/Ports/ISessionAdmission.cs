using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Postgres.Ports;

/// <summary>Says whether a session may begin, and when it must end (invariant I8: revocation, freshness, shutdown).</summary>
public interface ISessionAdmission
{
    /// <summary>Admits a session that has logged in, or says why not.</summary>
    AdmittedSession Admit(string session, SessionAssertionClaims claims);

    /// <summary>The principal as policies see it.</summary>
    PrincipalFacts Principal(SessionAssertionClaims claims);
}

/// <summary>A session's place among those that can be ended from outside. Disposed when the session is over.</summary>
public abstract class AdmittedSession : IDisposable
{
    /// <summary>Not null where the session may not begin: the reason, for the person.</summary>
    public string? Refused { get; protected init; }

    /// <summary>Signalled when the session must end.</summary>
    public abstract CancellationToken Ended { get; }

    /// <summary>Why it must end; read once <see cref="Ended"/> is signalled.</summary>
    public abstract SessionEnding Ending { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the place back.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>Why a session is ended from outside.</summary>
/// <param name="Reason">As recorded: <c>revoked</c>, <c>stale</c> or <c>shutdown</c>.</param>
/// <param name="Message">For the person.</param>
public sealed record SessionEnding(string Reason, string Message);
