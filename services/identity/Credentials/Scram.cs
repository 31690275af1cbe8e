using System.Security.Cryptography;
using System.Text;

namespace Countersign.Identity.Credentials;

/// <summary>What is kept of a secret: the SCRAM-SHA-256 verifier (RFC 5802, section 3; RFC 7677). It lets nobody log in.</summary>
/// <param name="Salt">16 bytes.</param>
/// <param name="Iterations">PBKDF2 iterations.</param>
/// <param name="StoredKey">SHA-256 of the client key.</param>
/// <param name="ServerKey">Key of the server's signature.</param>
public sealed record ScramVerifier(byte[] Salt, int Iterations, byte[] StoredKey, byte[] ServerKey)
{
    /// <summary>Iterations of new verifiers. Secrets have 160 random bits, so that more would only cost the clients time.</summary>
    public const int DefaultIterations = 4096;

    /// <summary>Length of a salt in bytes.</summary>
    public const int SaltLength = 16;

    /// <summary>Makes the verifier of an ASCII secret (for which SASLprep, RFC 4013, changes nothing).</summary>
    public static ScramVerifier Of(string secret, byte[] salt, int iterations = DefaultIterations)
    {
        var salted = Rfc2898DeriveBytes.Pbkdf2(Encoding.ASCII.GetBytes(secret), salt, iterations, HashAlgorithmName.SHA256, 32);
        var storedKey = SHA256.HashData(HMACSHA256.HashData(salted, "Client Key"u8));
        var serverKey = HMACSHA256.HashData(salted, "Server Key"u8);
        CryptographicOperations.ZeroMemory(salted);
        return new ScramVerifier(salt, iterations, storedKey, serverKey);
    }

    /// <summary>Checks the client's proof in constant time.</summary>
    /// <param name="authMessage">client-first-message-bare, server-first-message, client-final-message-without-proof, joined by commas.</param>
    /// <param name="proof">ClientProof; of any length.</param>
    /// <returns>The server's signature, or null for a wrong proof.</returns>
    public byte[]? Verify(string authMessage, ReadOnlySpan<byte> proof)
    {
        var message = Encoding.UTF8.GetBytes(authMessage);
        Span<byte> clientKey = stackalloc byte[32];
        HMACSHA256.HashData(StoredKey, message, clientKey);
        var complete = proof.Length == clientKey.Length;
        for (var index = 0; index < clientKey.Length; index++)
        {
            clientKey[index] ^= complete ? proof[index] : (byte)0;
        }

        var signature = HMACSHA256.HashData(ServerKey, message);
        var matches = CryptographicOperations.FixedTimeEquals(SHA256.HashData(clientKey), StoredKey);
        CryptographicOperations.ZeroMemory(clientKey);
        return matches & complete ? signature : null;
    }
}

/// <summary>The attributes of SCRAM messages that identity checks itself, because the proxy that relays them isn't trusted to make up a login.</summary>
public static class ScramMessages
{
    /// <summary>Longest message accepted, in characters.</summary>
    public const int MaxLength = 2048;

    private const int MinNonceLength = 8;

    /// <summary>Builds AuthMessage from an exchange that belongs to this challenge, or returns null.</summary>
    /// <param name="clientFirstBare">client-first-message-bare, e.g. <c>n=,r=…</c>; PostgreSQL clients leave the name empty, since the startup message has it.</param>
    /// <param name="serverFirst">server-first-message.</param>
    /// <param name="clientFinalWithoutProof">client-final-message-without-proof.</param>
    /// <param name="nonce">Server part of the nonce, as identity made it.</param>
    /// <param name="salt">Salt of the challenge.</param>
    /// <param name="iterations">Iterations of the challenge.</param>
    public static string? AuthMessage(string clientFirstBare, string serverFirst, string clientFinalWithoutProof, string nonce, byte[] salt, int iterations)
    {
        if (clientFirstBare is null || serverFirst is null || clientFinalWithoutProof is null
            || clientFirstBare.Length > MaxLength || serverFirst.Length > MaxLength || clientFinalWithoutProof.Length > MaxLength)
        {
            return null;
        }

        // Mandatory extensions (m=) are unknown ones: RFC 5802, section 5.1, has them fail.
        var first = clientFirstBare.Split(',');
        if (first.Length < 2 || !first[0].StartsWith("n=", StringComparison.Ordinal) || !first[1].StartsWith("r=", StringComparison.Ordinal))
        {
            return null;
        }

        var clientNonce = first[1][2..];
        if (clientNonce.Length < MinNonceLength || clientNonce.Any(c => c is < '!' or > '~'))
        {
            return null;
        }

        var whole = clientNonce + nonce;
        if (serverFirst != $"r={whole},s={Convert.ToBase64String(salt)},i={iterations.ToString(System.Globalization.CultureInfo.InvariantCulture)}")
        {
            return null;
        }

        var final = clientFinalWithoutProof.Split(',');
        if (final.Length != 2 || !final[0].StartsWith("c=", StringComparison.Ordinal) || final[1] != "r=" + whole)
        {
            return null;
        }

        return $"{clientFirstBare},{serverFirst},{clientFinalWithoutProof}";
    }
}
