using System.Net;
using System.Security.Cryptography.X509Certificates;
using System.Text.RegularExpressions;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Connections;

/// <summary>One thing that is wrong with a connection.</summary>
/// <param name="Connection">Its name as given.</param>
/// <param name="Code">Stable code.</param>
/// <param name="Message">For the author.</param>
public sealed record ConnectionProblem(string Connection, string Code, string Message);

/// <summary>What a registered target must look like.</summary>
public static partial class ConnectionRules
{
    /// <summary>Most connections of a bundle.</summary>
    public const int MaxConnections = 5000;

    private const int MaxCertificates = 256 * 1024;

    /// <summary>Checks all connections of a bundle, alone and against one another.</summary>
    /// <returns>Everything that is wrong.</returns>
    public static IReadOnlyList<ConnectionProblem> Check(IReadOnlyList<Connection> connections)
    {
        ArgumentNullException.ThrowIfNull(connections);
        var problems = new List<ConnectionProblem>();
        if (connections.Count > MaxConnections)
        {
            problems.Add(new ConnectionProblem("", "too-many", $"A bundle has at most {MaxConnections} connections."));
        }

        foreach (var connection in connections)
        {
            Check(connection, problems);
        }

        foreach (var same in connections.GroupBy(connection => connection.Name, StringComparer.Ordinal).Where(same => same.Count() > 1))
        {
            problems.Add(new ConnectionProblem(same.Key, "duplicate-name", $"There is more than one connection '{same.Key}'."));
        }

        return problems;
    }

    /// <summary>Whether a host is certainly this machine: a loopback address, or <c>localhost</c>.</summary>
    public static bool IsLoopback(string host) =>
        host == "localhost" || (IPAddress.TryParse(host, out var address) && IPAddress.IsLoopback(address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address));

    private static void Check(Connection connection, List<ConnectionProblem> problems)
    {
        void Must(bool holds, string code, string message)
        {
            if (!holds)
            {
                problems.Add(new ConnectionProblem(connection.Name, code, message));
            }
        }

        Must(NameShape().IsMatch(connection.Name), "name", "A name has lower-case letters, digits and hyphens, begins with a letter or digit, and has at most 63 characters.");
        Must(connection.Protocol == "postgres", "protocol", "The protocol must be postgres.");
        Must(HostShape().IsMatch(connection.Host) || IPAddress.TryParse(connection.Host, out _), "host", "The host must be a host name or an IP address.");
        Must(connection.Port is > 0 and < 65536, "port", "The port must lie between 1 and 65535.");
        Must(
            connection.Database.Length is > 0 and <= 63 && !connection.Database.Any(c => char.IsControl(c) || c == '/'),
            "database", "The database must be a name of at most 63 characters, without control characters and slashes.");
        Must(connection.Tls is "verify-full" or "disable", "tls", "tls must be verify-full, or disable for a loopback target.");
        Must(connection.Tls != "disable" || IsLoopback(connection.Host), "tls", "tls can be disabled for loopback targets only: what crosses a network must be encrypted and verified.");
        Must(connection.TrustedCertificates is null || connection.Tls == "verify-full", "trusted-certificates", "Trusted certificates are for tls verify-full only.");
        Must(connection.TrustedCertificates is null || AreCertificates(connection.TrustedCertificates), "trusted-certificates", "Trusted certificates must be PEM of one or more certificates.");
        Must(NameShape().IsMatch(connection.ProxyGroup), "proxy-group", "The proxy group must be a name.");
        Must(connection.Labels.Count <= 64, "labels", "A connection has at most 64 labels.");
        Must(
            connection.Labels.All(label => LabelShape().IsMatch(label.Key) && label.Value.Length is > 0 and <= 200 && !label.Value.Any(char.IsControl)),
            "labels", "A label has a name of letters, digits, dots, slashes, hyphens and underscores, and a value of 1 to 200 characters.");
        Must(
            connection.Credential is not { } credential || (IsBase64Url(credential.Encapsulated, 256) && IsBase64Url(credential.Ciphertext, 128 * 1024) && credential.Suite.Length <= 100 && credential.KeyId.Length <= 100),
            "credential", "The sealed credential is malformed: seal it with the command line.");
        Must(
            connection.CredentialFrom is null or CredentialProviders.SecretStore, "credential-from",
            $"A credential comes sealed along, or from the provider {CredentialProviders.SecretStore}; there is no other.");
        Must(
            connection.CredentialFrom is null || connection.Credential is null, "credential-from",
            "A connection has a sealed credential or a provider of one, not both: else nobody could say which counts.");
    }

    private static bool IsBase64Url(string text, int most) => text.Length > 0 && text.Length <= most && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_');

    private static bool AreCertificates(string pem)
    {
        if (pem.Length > MaxCertificates)
        {
            return false;
        }

        try
        {
            var collection = new X509Certificate2Collection();
            collection.ImportFromPem(pem);
            foreach (var certificate in collection)
            {
                certificate.Dispose();
            }

            return collection.Count > 0 && !pem.Contains("PRIVATE KEY", StringComparison.Ordinal);
        }
        catch (System.Security.Cryptography.CryptographicException)
        {
            return false;
        }
    }

    [GeneratedRegex(@"\A[a-z0-9][a-z0-9-]{0,62}\z", RegexOptions.CultureInvariant)]
    private static partial Regex NameShape();

    [GeneratedRegex(@"\A(?=.{1,253}\z)[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.?\z", RegexOptions.CultureInvariant)]
    private static partial Regex HostShape();

    [GeneratedRegex(@"\A[a-zA-Z0-9][a-zA-Z0-9._/-]{0,62}\z", RegexOptions.CultureInvariant)]
    private static partial Regex LabelShape();
}
