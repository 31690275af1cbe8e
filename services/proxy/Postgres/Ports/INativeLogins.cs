using Countersign.Identity.Contracts;

namespace Countersign.Proxy.Postgres.Ports;

/// <summary>Logins of native clients, checked by identity: the proxy sees neither a secret nor a verifier.</summary>
public interface INativeLogins
{
    /// <summary>Begins a SCRAM-SHA-256 login. Unknown user names get a challenge too.</summary>
    /// <exception cref="LoginUnavailableException">Identity can't be reached.</exception>
    ValueTask<NativeLoginChallenge> BeginAsync(BeginNativeLogin request, CancellationToken cancellation);

    /// <summary>Has the client's proof checked, and the returned assertion verified (signature, audience, expiry).</summary>
    /// <exception cref="LoginUnavailableException">Identity can't be reached.</exception>
    ValueTask<NativeLoginOutcome> CompleteAsync(string loginId, CompleteNativeLogin request, CancellationToken cancellation);
}

/// <summary>How a login ended.</summary>
/// <param name="Failure">Why it failed.</param>
/// <param name="Result">Identity's answer; null where it failed.</param>
/// <param name="Claims">Verified claims of the assertion in <paramref name="Result"/>; null where it failed.</param>
public sealed record NativeLoginOutcome(LoginFailure Failure, NativeLoginResult? Result, SessionAssertionClaims? Claims)
{
    /// <summary>A failed login.</summary>
    public static NativeLoginOutcome Failed(LoginFailure failure) => new(failure, null, null);
}

/// <summary>Why a login failed. Identity tells more than <see cref="Rejected"/> only to who proved to know the secret.</summary>
public enum LoginFailure
{
    /// <summary>It didn't.</summary>
    None,
    /// <summary>Unknown name or wrong secret.</summary>
    Rejected,
    /// <summary>The credential has expired.</summary>
    Expired,
    /// <summary>The credential was revoked, or its person disabled.</summary>
    Revoked,
    /// <summary>The credential isn't good for this connection.</summary>
    ConnectionNotAllowed,
}

/// <summary>Identity can't be reached: nobody can log in.</summary>
public sealed class LoginUnavailableException : Exception
{
    /// <summary>Says why.</summary>
    public LoginUnavailableException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public LoginUnavailableException()
    {
    }

    /// <summary>Says why.</summary>
    public LoginUnavailableException(string message)
        : base(message)
    {
    }
}
