using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres.Scram;

/// <summary>The gateway's login at a target (RFC 5802, RFC 7677). Also proves that the target knows the verifier.</summary>
internal sealed class ScramClientExchange
{
    // A target that names more would only burn the gateway's processor.
    private const int MaxIterations = 1_000_000;
    private readonly string _header;
    private readonly byte[]? _binding;
    private readonly string _nonce;
    private readonly string _firstBare;
    private byte[] _serverSignature = [];

    /// <param name="binding">tls-server-end-point where the mechanism is -PLUS.</param>
    /// <param name="couldBind">Whether the connection has TLS, so that -PLUS would have been taken.</param>
    /// <param name="nonce">For tests; else 24 random bytes.</param>
    public ScramClientExchange(byte[]? binding, bool couldBind, string? nonce = null)
    {
        _binding = binding;
        _header = binding is not null ? "p=tls-server-end-point,," : couldBind ? "y,," : "n,,";
        _nonce = nonce ?? Convert.ToBase64String(RandomNumberGenerator.GetBytes(24));
        _firstBare = $"n=,r={_nonce}";
    }

    /// <summary>client-first-message.</summary>
    public string First => _header + _firstBare;

    /// <summary>Answers server-first-message with client-final-message.</summary>
    /// <exception cref="MalformedMessageException">Not SCRAM, or not our nonce.</exception>
    public string Final(ReadOnlySpan<byte> serverFirst, string password)
    {
        if (_serverSignature.Length > 0)
        {
            // Each answer costs many hashes: a target that asks again and again would burn the gateway's processor.
            throw new MalformedMessageException("The target asks for a second SCRAM answer.");
        }

        var text = ScramText.Decode(serverFirst);
        var rest = text.AsSpan();
        var nonce = ScramText.Expect(ref rest, 'r');
        var salt = ScramText.FromBase64(ScramText.Expect(ref rest, 's'));
        var count = ScramText.Expect(ref rest, 'i');
        if (!nonce.StartsWith(_nonce, StringComparison.Ordinal) || nonce.Length == _nonce.Length)
        {
            throw new MalformedMessageException("The target's SCRAM nonce does not match.");
        }

        if (!int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var iterations) || iterations is < 1 or > MaxIterations || salt.Length == 0)
        {
            throw new MalformedMessageException("The target's SCRAM iteration count or salt is not acceptable.");
        }

        var header = Encoding.ASCII.GetBytes(_header);
        var bound = Convert.ToBase64String(_binding is null ? header : [.. header, .. _binding]);
        var withoutProof = $"c={bound},r={nonce}";
        var authMessage = Encoding.ASCII.GetBytes($"{_firstBare},{text},{withoutProof}");
        var salted = Rfc2898DeriveBytes.Pbkdf2(Encoding.UTF8.GetBytes(Prepared(password)), salt, iterations, HashAlgorithmName.SHA256, SHA256.HashSizeInBytes);
        try
        {
            var clientKey = HMACSHA256.HashData(salted, "Client Key"u8);
            var storedKey = SHA256.HashData(clientKey);
            var signature = HMACSHA256.HashData(storedKey, authMessage);
            for (var index = 0; index < clientKey.Length; index++)
            {
                clientKey[index] ^= signature[index];
            }

            _serverSignature = HMACSHA256.HashData(HMACSHA256.HashData(salted, "Server Key"u8), authMessage);
            return $"{withoutProof},p={Convert.ToBase64String(clientKey)}";
        }
        finally
        {
            CryptographicOperations.ZeroMemory(salted);
        }
    }

    /// <summary>Checks server-final-message.</summary>
    /// <exception cref="MalformedMessageException">The target does not know the verifier: it isn't who it should be.</exception>
    public void Verify(ReadOnlySpan<byte> serverFinal)
    {
        var rest = ScramText.Decode(serverFinal).AsSpan();
        var signature = ScramText.FromBase64(ScramText.Expect(ref rest, 'v'));
        if (_serverSignature.Length == 0 || !CryptographicOperations.FixedTimeEquals(_serverSignature, signature))
        {
            throw new MalformedMessageException("The target's SCRAM signature is wrong.", "28000");
        }
    }

    // SASLprep (RFC 4013) is NFKC for what normal passwords hold; like the server, fall back to the raw text where that is impossible.
    private static string Prepared(string password) => Ascii.IsValid(password) || !password.IsNormalized() ? password : password.Normalize(NormalizationForm.FormKC);
}
