using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Postgres.Ports;

/// <summary>Registered targets of the bundle in force, with their credentials opened.</summary>
public interface IConnections
{
    /// <summary>Everything needed to reach a target; null where there is no PostgreSQL connection of that name.</summary>
    /// <exception cref="TargetUnavailableException">Its credential can't be opened.</exception>
    ValueTask<TargetAccess?> OpenAsync(string connection, SessionAssertionClaims claims, CancellationToken cancellation);
}

/// <summary>How to reach a target.</summary>
public sealed record TargetAccess
{
    /// <summary>Name of the connection.</summary>
    public required string Connection { get; init; }
    /// <summary>Host name or IP address.</summary>
    public required string Host { get; init; }
    /// <summary>TCP port.</summary>
    public required int Port { get; init; }
    /// <summary>Database where the client names none.</summary>
    public required string Database { get; init; }
    /// <summary>True for <c>verify-full</c>; false for no TLS, which is accepted for loopback addresses only.</summary>
    public required bool VerifyTls { get; init; }
    /// <summary>PEM of the authorities trusted for it; null for the system's.</summary>
    public string? TrustedCertificates { get; init; }
    /// <summary>Role and password (I7: in memory only).</summary>
    public required TargetCredential Credential { get; init; }

    /// <summary>Never prints the credential.</summary>
    public override string ToString() => $"TargetAccess {{ {Connection} }}";
}

/// <summary>The target can't be reached, or doesn't take the login. The message is for the person and holds no secret.</summary>
public sealed class TargetUnavailableException : Exception
{
    /// <summary>Says why, with the SQLSTATE for the client.</summary>
    public TargetUnavailableException(string code, string message, Exception? inner = null)
        : base(message, inner) => Code = code;

    /// <summary>Without a message.</summary>
    public TargetUnavailableException()
    {
    }

    /// <summary>Says why.</summary>
    public TargetUnavailableException(string message)
        : base(message)
    {
    }

    /// <summary>Says why.</summary>
    public TargetUnavailableException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>SQLSTATE.</summary>
    public string Code { get; } = "08001";
}
