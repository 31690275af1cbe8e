using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Countersign.Policy.Contracts.Sealing;

/// <summary>Public key of a proxy group that target credentials are sealed to: <c>GET /proxy/v1/sealing-key</c>.</summary>
/// <param name="KeyId">First 16 hexadecimal digits of the SHA-256 of the point.</param>
/// <param name="Suite">The only suite: <see cref="CredentialSealing.Suite"/>.</param>
/// <param name="PublicKey">Uncompressed P-256 point, base64url.</param>
public sealed record SealingKey(string KeyId, string Suite, string PublicKey);

/// <summary>
/// Seals target credentials to a proxy group (I7), bound to the connection they are for: with another name, address, port or TLS trust they
/// don't open, so that re-pointing a connection doesn't harvest its credential (docs/formats/bundle.md).
/// </summary>
public static class CredentialSealing
{
    /// <summary>The HPKE suite (RFC 9180): DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.</summary>
    public const string Suite = "DHKEM-P256-HKDF-SHA256+HKDF-SHA256+AES-256-GCM";

    private const int KeyLength = 32;
    private const int MaxPlaintext = 64 * 1024;

    /// <summary>Not TargetCredential's own serialisation: the names are part of the sealed format.</summary>
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        RespectRequiredConstructorParameters = true,
        RespectNullableAnnotations = true,
    };

    private static ReadOnlySpan<byte> Info => "countersign target credential v1"u8;

    /// <summary>Describes the public part of a proxy group's key.</summary>
    public static SealingKey Describe(ECDiffieHellmanPublicKey key)
    {
        ArgumentNullException.ThrowIfNull(key);
        var point = Hpke.Serialize(key);
        return new SealingKey(Convert.ToHexStringLower(SHA256.HashData(point))[..16], Suite, Base64Url.EncodeToString(point));
    }

    /// <summary>Seals a credential for one connection.</summary>
    /// <exception cref="CryptographicException">The key isn't one.</exception>
    public static SealedCredential Seal(SealingKey key, Connection connection, TargetCredential credential)
    {
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(connection);
        ArgumentNullException.ThrowIfNull(credential);
        if (key.Suite != Suite)
        {
            throw new CryptographicException($"Unknown suite '{key.Suite}'.");
        }

        using var recipient = Hpke.Deserialize(Decode(key.PublicKey));
        var plaintext = JsonSerializer.SerializeToUtf8Bytes(new Body(credential.User, credential.Password), Json);
        try
        {
            var (encapsulated, ciphertext) = Hpke.Seal(KeyLength, recipient.PublicKey, Info, AssociatedData(connection), plaintext);
            return new SealedCredential(Suite, Describe(recipient.PublicKey).KeyId, Base64Url.EncodeToString(encapsulated), Base64Url.EncodeToString(ciphertext));
        }
        finally
        {
            CryptographicOperations.ZeroMemory(plaintext);
        }
    }

    /// <summary>Opens the credential of a connection with the private key of its proxy group.</summary>
    /// <exception cref="CryptographicException">Sealed for another connection, address, port, trust or key, or damaged. The message holds no secret.</exception>
    public static TargetCredential Open(ECDiffieHellman key, Connection connection)
    {
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(connection);
        var credential = connection.Credential ?? throw new CryptographicException($"Connection '{connection.Name}' has no sealed credential.");
        if (credential.Suite != Suite || credential.Ciphertext.Length > MaxPlaintext * 2)
        {
            throw new CryptographicException($"The credential of '{connection.Name}' is sealed in an unknown way.");
        }

        if (credential.KeyId != Describe(key.PublicKey).KeyId)
        {
            throw new CryptographicException($"The credential of '{connection.Name}' is sealed to another key: seal it again to this proxy group's.");
        }

        byte[] plaintext;
        try
        {
            plaintext = Hpke.Open(KeyLength, key, Decode(credential.Encapsulated), Info, AssociatedData(connection), Decode(credential.Ciphertext));
        }
        catch (CryptographicException error)
        {
            throw new CryptographicException(
                $"The credential of '{connection.Name}' does not open: it was sealed for another address, port or TLS trust, or is damaged. Seal it again.", error);
        }

        try
        {
            var body = JsonSerializer.Deserialize<Body>(plaintext, Json) ?? throw new CryptographicException($"The credential of '{connection.Name}' is empty.");
            return new TargetCredential(body.User, body.Password);
        }
        catch (JsonException)
        {
            // The exception would quote what it could not read.
            throw new CryptographicException($"The credential of '{connection.Name}' is not what was expected.");
        }
        finally
        {
            CryptographicOperations.ZeroMemory(plaintext);
        }
    }

    /// <summary>
    /// The canonical encoding of what a credential is bound to: the domain line, then name, protocol, host, port (decimal), TLS mode and trusted
    /// certificates (empty for the system's), each as big-endian 32-bit byte count and UTF-8 bytes.
    /// </summary>
    public static byte[] AssociatedData(Connection connection)
    {
        ArgumentNullException.ThrowIfNull(connection);
        using var stream = new MemoryStream();
        stream.Write("countersign connection v1\n"u8);
        string[] parts =
        [
            connection.Name, connection.Protocol, connection.Host, connection.Port.ToString(System.Globalization.CultureInfo.InvariantCulture), connection.Tls,
            connection.TrustedCertificates ?? "",
        ];
        Span<byte> count = stackalloc byte[4];
        foreach (var part in parts)
        {
            var bytes = Encoding.UTF8.GetBytes(part);
            System.Buffers.Binary.BinaryPrimitives.WriteInt32BigEndian(count, bytes.Length);
            stream.Write(count);
            stream.Write(bytes);
        }

        return stream.ToArray();
    }

    private static byte[] Decode(string base64url)
    {
        try
        {
            return Base64Url.DecodeFromChars(base64url);
        }
        catch (FormatException error)
        {
            throw new CryptographicException("Not base64url.", error);
        }
    }

    private sealed record Body(string User, string? Password = null);
}
