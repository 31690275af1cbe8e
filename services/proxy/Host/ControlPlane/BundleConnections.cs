using System.Security.Cryptography;
using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Vault;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>Targets of the bundle in force; credentials are opened for the session that needs one and kept nowhere else (I7).</summary>
internal sealed class BundleConnections(IBundleSource bundles, GroupKey key, IOptions<ProxyOptions> options) : IConnections
{
    public ValueTask<TargetAccess?> OpenAsync(string connection, SessionAssertionClaims claims, CancellationToken cancellation)
    {
        if (bundles.Current is not { } bundle
            || !bundle.Connections.TryGetValue(connection, out var registered)
            || registered.Protocol != "postgres")
        {
            return ValueTask.FromResult<TargetAccess?>(null);
        }

        if (registered.ProxyGroup != options.Value.Group)
        {
            throw new TargetUnavailableException("08001", $"The connection {connection} belongs to another proxy group.");
        }

        return ValueTask.FromResult<TargetAccess?>(new TargetAccess
        {
            Connection = registered.Name,
            Host = registered.Host,
            Port = registered.Port,
            Database = registered.Database,
            VerifyTls = registered.Tls == "verify-full",
            TrustedCertificates = registered.TrustedCertificates,
            Credential = Open(registered),
        });
    }

    private TargetCredential Open(Connection connection)
    {
        if (connection.Credential is null)
        {
            throw new TargetUnavailableException("08001", $"The connection {connection.Name} has no credential.");
        }

        try
        {
            return key.Open(connection);
        }
        catch (CryptographicException error)
        {
            throw new TargetUnavailableException(
                "08001", $"The credential of {connection.Name} doesn't open: it was sealed for another address or proxy group.", error);
        }
    }
}
