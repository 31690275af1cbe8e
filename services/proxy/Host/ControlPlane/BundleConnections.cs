using System.Security.Cryptography;
using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Vault;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>Targets of the bundle in force; credentials are opened, or asked for, for the session that needs one and kept nowhere else (I7).</summary>
internal sealed partial class BundleConnections(
    IBundleSource bundles, GroupKey key, StoredCredentials stored, IOptions<ProxyOptions> options, ILogger<BundleConnections> logger) : IConnections
{
    public async ValueTask<TargetAccess?> OpenAsync(string connection, SessionAssertionClaims claims, CancellationToken cancellation)
    {
        if (bundles.Current is not { } bundle
            || !bundle.Connections.TryGetValue(connection, out var registered)
            || registered.Protocol != "postgres")
        {
            return null;
        }

        if (registered.ProxyGroup != options.Value.Group)
        {
            throw new TargetUnavailableException("08001", $"The connection {connection} belongs to another proxy group.");
        }

        return new TargetAccess
        {
            Connection = registered.Name,
            Host = registered.Host,
            Port = registered.Port,
            Database = registered.Database,
            VerifyTls = registered.Tls == "verify-full",
            TrustedCertificates = registered.TrustedCertificates,
            Credential = await CredentialAsync(registered, cancellation),
        };
    }

    private async ValueTask<TargetCredential> CredentialAsync(Connection connection, CancellationToken cancellation)
    {
        try
        {
            return (connection.Credential, connection.CredentialFrom) switch
            {
                ({ }, null) => key.Open(connection),
                (null, CredentialProviders.SecretStore) => await stored.ReadAsync(connection, cancellation),
                (null, null) => throw new CredentialUnavailableException($"The connection {connection.Name} has no credential."),

                // Policy's rules let neither pass; a proxy doesn't guess which one counts.
                _ => throw new CredentialUnavailableException($"Where the credential of {connection.Name} comes from is not clear: the connection must be registered again."),
            };
        }
        catch (CryptographicException error)
        {
            LogRefused(connection.Name, error.Message);
            throw new TargetUnavailableException(
                "08001", $"The credential of {connection.Name} doesn't open: it was sealed for another address or proxy group.", error);
        }
        catch (CredentialUnavailableException error)
        {
            LogRefused(connection.Name, error.Message);
            throw new TargetUnavailableException("08001", error.Message, error);
        }
    }

    [LoggerMessage(3131, LogLevel.Warning, "No session on {Connection}: {Reason}")]
    private partial void LogRefused(string connection, string reason);
}
