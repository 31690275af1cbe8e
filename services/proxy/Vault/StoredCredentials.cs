using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Vault;

/// <summary>
/// Credentials of targets from the secret store of the proxies (docs/formats/target-credential.md), read anew for each session, so that the next session after a rotation
/// has the new password. A secret says itself which address and which trust it is for, and is good for no other: whoever re-points a connection gets nothing.
/// </summary>
public sealed class StoredCredentials(ITargetSecrets secrets)
{
    private const int MaxLength = 64 * 1024;
    private const int MaxPassword = 4096;

    // What PostgreSQL cuts names to.
    private const int MaxUser = 63;

    private static readonly JsonDocumentOptions Json = new() { AllowDuplicateProperties = false, MaxDepth = 2 };

    /// <summary>The credential of a connection; it lives in the caller's memory only (I7).</summary>
    /// <exception cref="CredentialUnavailableException">There is none, it can't be read, or it is for another target.</exception>
    public async ValueTask<TargetCredential> ReadAsync(Connection connection, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(connection);
        IReadOnlyDictionary<string, string>? found;
        try
        {
            found = await secrets.GetAsync(connection.Name, cancellation).ConfigureAwait(false);
        }
        catch (PortUnavailableException error)
        {
            throw new CredentialUnavailableException(
                $"The credential of {connection.Name} can't be read from the secret store now. Try again; if it stays so, whoever runs the proxies must see that the store answers, "
                + $"and that it has a secret named {connection.Name} which nobody else can read.",
                error);
        }
        catch (ArgumentException)
        {
            throw new CredentialUnavailableException($"The connection {connection.Name} has a name that no secret can have.");
        }

        if (found is null)
        {
            throw new CredentialUnavailableException($"The secret store has no credential of {connection.Name}, or the proxies may not read it: whoever runs them must put one there.");
        }

        try
        {
            var credential = new SecretFields(found.Count == 1 && found.TryGetValue(connection.Name, out var text) ? Members(text) : found);
            return credential.For(connection);
        }
        catch (RefusedSecretException refused)
        {
            throw new CredentialUnavailableException($"The credential of {connection.Name} in the secret store is not used: {refused.Message} Whoever runs the proxies must correct it there.");
        }
    }

    /// <summary>The members of a secret that is one text. Nothing of the text gets into an error: a parser would quote what it could not read.</summary>
    private static Dictionary<string, string> Members(string text)
    {
        if (text.Length > MaxLength)
        {
            throw new RefusedSecretException("it is too large.");
        }

        var bytes = Encoding.UTF8.GetBytes(text);
        try
        {
            using var document = JsonDocument.Parse(bytes, Json);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                throw new RefusedSecretException("it is not a JSON object.");
            }

            var members = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var member in document.RootElement.EnumerateObject())
            {
                members.Add(member.Name, member.Value.ValueKind switch
                {
                    JsonValueKind.String => member.Value.GetString()!,
                    JsonValueKind.Number when member.NameEquals("port") => member.Value.GetRawText(),
                    _ => throw new RefusedSecretException("its members must be strings, and the port may be a number."),
                });
            }

            return members;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new RefusedSecretException("it is not a JSON object with each member once.");
        }
        finally
        {
            CryptographicOperations.ZeroMemory(bytes);
        }
    }

    /// <summary>Members of a secret, all of them known ones.</summary>
    private sealed class SecretFields
    {
        private static readonly string[] Known = ["user", "password", "host", "port", "tls", "trust"];

        private readonly IReadOnlyDictionary<string, string> _members;

        public SecretFields(IReadOnlyDictionary<string, string> members)
        {
            if (members.Keys.Except(Known, StringComparer.Ordinal).Any())
            {
                // Not its name: where somebody mixed them up, that is the password.
                throw new RefusedSecretException($"it has a member that isn't one of {string.Join(", ", Known)}.");
            }

            _members = members;
        }

        /// <summary>The credential, if it is for exactly this target.</summary>
        public TargetCredential For(Connection connection)
        {
            var user = Text("user", MaxUser);
            var password = Text("password", MaxPassword);
            Require(!user.Any(char.IsControl) && Encoding.UTF8.GetByteCount(user) <= MaxUser, $"its user is not a role name of at most {MaxUser} bytes.");
            Require(!password.Contains('\0', StringComparison.Ordinal), "its password can't be sent.");
            Require(
                int.TryParse(Text("port", 5), NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port is > 0 and < 65536,
                "its port is not a number of 1 to 65535.");
            var tls = _members.GetValueOrDefault("tls", "verify-full");
            Require(tls is "verify-full" or "disable", "its tls is neither verify-full nor disable.");
            Require(string.Equals(Text("host", 253), connection.Host, StringComparison.Ordinal), "it is for another host than the connection has.");
            Require(port == connection.Port, "it is for another port than the connection has.");
            Require(tls == connection.Tls, $"it is for tls {tls}, and the connection has another.");
            Require(
                string.Equals(_members.GetValueOrDefault("trust", "system"), Trust(connection), StringComparison.Ordinal),
                "it is for other trusted certificates than the connection has (trust: their SHA-256, left out for the system's).");
            return new TargetCredential(user, password);
        }

        private string Text(string name, int most)
        {
            var value = _members.GetValueOrDefault(name, "");
            Require(value.Length > 0 && value.Length <= most, $"its {name} is missing or too long.");
            return value;
        }

        private static string Trust(Connection connection) => connection.TrustedCertificates is { } pem ? Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(pem))) : "system";

        private static void Require(bool good, string problem)
        {
            if (!good)
            {
                throw new RefusedSecretException(problem);
            }
        }
    }

    /// <summary>What is wrong with a secret, without a word of what is in it.</summary>
    private sealed class RefusedSecretException(string message) : Exception(message);
}

/// <summary>A target's credential can't be had. The message is for the person and whoever runs the proxies, and holds no secret.</summary>
public sealed class CredentialUnavailableException : Exception
{
    /// <summary>Says why, and what to do.</summary>
    public CredentialUnavailableException(string message)
        : base(message)
    {
    }

    /// <summary>Says why, and what to do.</summary>
    public CredentialUnavailableException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public CredentialUnavailableException()
    {
    }
}
