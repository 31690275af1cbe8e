using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Countersign.Policy.Contracts.Sealing;

/// <summary>
/// HPKE (RFC 9180), base mode, single shot: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-GCM. .NET has the primitives but not their composition.
/// </summary>
internal static class Hpke
{
    internal const int EncapsulatedLength = 65;
    internal const int TagLength = 16;
    private const int SecretLength = 32;
    private const int NonceLength = 12;
    private const ushort Kem = 0x0010;
    private const ushort Kdf = 0x0001;

    /// <summary>Seals to a public key (RFC 9180, section 6.1).</summary>
    /// <param name="keyLength">Of the AES key in bytes: 32 is what Countersign uses, 16 is what the RFC has test vectors for.</param>
    /// <param name="recipient">Receiver's public key.</param>
    /// <param name="info">Info of the key schedule.</param>
    /// <param name="associated">Associated data.</param>
    /// <param name="plaintext">What is sealed.</param>
    internal static (byte[] Encapsulated, byte[] Ciphertext) Seal(
        int keyLength, ECDiffieHellmanPublicKey recipient, ReadOnlySpan<byte> info, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> plaintext)
    {
        using var ephemeral = ECDiffieHellman.Create(ECCurve.NamedCurves.nistP256);
        return Seal(keyLength, ephemeral, recipient, info, associated, plaintext);
    }

    /// <summary>As above with the ephemeral key given: for test vectors only, since a key used twice breaks AES-GCM.</summary>
    internal static (byte[] Encapsulated, byte[] Ciphertext) Seal(
        int keyLength, ECDiffieHellman ephemeral, ECDiffieHellmanPublicKey recipient, ReadOnlySpan<byte> info, ReadOnlySpan<byte> associated,
        ReadOnlySpan<byte> plaintext)
    {
        var encapsulated = Serialize(ephemeral.PublicKey);
        var shared = SharedSecret(ephemeral, recipient, encapsulated, Serialize(recipient));
        var (key, nonce) = Schedule(keyLength, shared, info);
        try
        {
            using var aes = new AesGcm(key, TagLength);
            var sealedBytes = new byte[plaintext.Length + TagLength];
            aes.Encrypt(nonce, plaintext, sealedBytes.AsSpan(0, plaintext.Length), sealedBytes.AsSpan(plaintext.Length), associated);
            return (encapsulated, sealedBytes);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(shared);
            CryptographicOperations.ZeroMemory(key);
        }
    }

    /// <summary>Opens what was sealed to the public key of <paramref name="recipient"/>.</summary>
    /// <exception cref="CryptographicException">Another key, other associated data, or damaged bytes.</exception>
    internal static byte[] Open(
        int keyLength, ECDiffieHellman recipient, ReadOnlySpan<byte> encapsulated, ReadOnlySpan<byte> info, ReadOnlySpan<byte> associated,
        ReadOnlySpan<byte> ciphertext)
    {
        if (ciphertext.Length < TagLength)
        {
            throw new CryptographicException("The ciphertext is shorter than its tag.");
        }

        using var sender = Deserialize(encapsulated);
        var shared = SharedSecret(recipient, sender.PublicKey, encapsulated, Serialize(recipient.PublicKey));
        var (key, nonce) = Schedule(keyLength, shared, info);
        try
        {
            using var aes = new AesGcm(key, TagLength);
            var plaintext = new byte[ciphertext.Length - TagLength];
            aes.Decrypt(nonce, ciphertext[..^TagLength], ciphertext[^TagLength..], plaintext, associated);
            return plaintext;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(shared);
            CryptographicOperations.ZeroMemory(key);
        }
    }

    /// <summary>Uncompressed point (SEC 1, section 2.3.3).</summary>
    internal static byte[] Serialize(ECDiffieHellmanPublicKey key)
    {
        var point = key.ExportParameters().Q;
        return [0x04, .. point.X!, .. point.Y!];
    }

    /// <summary>A public key out of an uncompressed point; the import checks that it is on the curve.</summary>
    /// <exception cref="CryptographicException">Not a point of P-256.</exception>
    internal static ECDiffieHellman Deserialize(ReadOnlySpan<byte> point)
    {
        if (point.Length != EncapsulatedLength || point[0] != 0x04)
        {
            throw new CryptographicException("Not an uncompressed point of P-256.");
        }

        var parameters = new ECParameters
        {
            Curve = ECCurve.NamedCurves.nistP256,
            Q = new ECPoint { X = point[1..33].ToArray(), Y = point[33..].ToArray() },
        };
        return ECDiffieHellman.Create(parameters);
    }

    /// <summary>ExtractAndExpand of DHKEM (section 4.1).</summary>
    private static byte[] SharedSecret(ECDiffieHellman own, ECDiffieHellmanPublicKey other, ReadOnlySpan<byte> encapsulated, ReadOnlySpan<byte> recipient)
    {
        var secret = own.DeriveRawSecretAgreement(other);
        Span<byte> suite = stackalloc byte[5];
        "KEM"u8.CopyTo(suite);
        BinaryPrimitives.WriteUInt16BigEndian(suite[3..], Kem);
        var extracted = LabeledExtract(suite, [], "eae_prk"u8, secret);
        CryptographicOperations.ZeroMemory(secret);
        return LabeledExpand(suite, extracted, "shared_secret"u8, [.. encapsulated, .. recipient], SecretLength);
    }

    /// <summary>Key schedule of base mode (section 5.1).</summary>
    private static (byte[] Key, byte[] Nonce) Schedule(int keyLength, ReadOnlySpan<byte> shared, ReadOnlySpan<byte> info)
    {
        Span<byte> suite = stackalloc byte[10];
        "HPKE"u8.CopyTo(suite);
        BinaryPrimitives.WriteUInt16BigEndian(suite[4..], Kem);
        BinaryPrimitives.WriteUInt16BigEndian(suite[6..], Kdf);
        BinaryPrimitives.WriteUInt16BigEndian(suite[8..], (ushort)(keyLength == 32 ? 2 : 1));
        byte[] context = [0, .. LabeledExtract(suite, [], "psk_id_hash"u8, []), .. LabeledExtract(suite, [], "info_hash"u8, info)];
        var secret = LabeledExtract(suite, shared, "secret"u8, []);
        return (LabeledExpand(suite, secret, "key"u8, context, keyLength), LabeledExpand(suite, secret, "base_nonce"u8, context, NonceLength));
    }

    private static byte[] LabeledExtract(ReadOnlySpan<byte> suite, ReadOnlySpan<byte> salt, ReadOnlySpan<byte> label, ReadOnlySpan<byte> material)
    {
        byte[] labeled = [.. "HPKE-v1"u8, .. suite, .. label, .. material];
        var extracted = new byte[32];
        HKDF.Extract(HashAlgorithmName.SHA256, labeled, salt, extracted);
        CryptographicOperations.ZeroMemory(labeled);
        return extracted;
    }

    private static byte[] LabeledExpand(ReadOnlySpan<byte> suite, ReadOnlySpan<byte> secret, ReadOnlySpan<byte> label, ReadOnlySpan<byte> info, int length)
    {
        byte[] labeled = [(byte)(length >> 8), (byte)length, .. "HPKE-v1"u8, .. suite, .. label, .. info];
        var expanded = new byte[length];
        HKDF.Expand(HashAlgorithmName.SHA256, secret, expanded, labeled);
        return expanded;
    }
}
