using System.Security.Cryptography;
using System.Text;

namespace Countersign.Identity.Tests.Support;

/// <summary>The client's half of SCRAM-SHA-256, written from RFC 5802 for the tests.</summary>
internal sealed class ScramClient(string secret)
{
    private readonly string _nonce = Convert.ToBase64String(RandomNumberGenerator.GetBytes(18));
    private byte[] _serverKey = [];
    private string _message = "";

    public string First => $"n=,r={_nonce}";

    public string ServerFirst(string nonce, string salt, int iterations) => $"r={_nonce}{nonce},s={salt},i={iterations}";

    public string FinalWithoutProof(string nonce) => $"c=biws,r={_nonce}{nonce}";

    public string Proof(string nonce, string salt, int iterations)
    {
        var salted = Hi(Encoding.UTF8.GetBytes(secret), Convert.FromBase64String(salt), iterations);
        var clientKey = HMACSHA256.HashData(salted, "Client Key"u8);
        _serverKey = HMACSHA256.HashData(salted, "Server Key"u8);
        _message = $"{First},{ServerFirst(nonce, salt, iterations)},{FinalWithoutProof(nonce)}";
        var signature = HMACSHA256.HashData(SHA256.HashData(clientKey), Encoding.UTF8.GetBytes(_message));
        return Convert.ToBase64String([.. clientKey.Zip(signature, (left, right) => (byte)(left ^ right))]);
    }

    public bool Accepts(string serverSignature)
        => Convert.ToBase64String(HMACSHA256.HashData(_serverKey, Encoding.UTF8.GetBytes(_message))) == serverSignature;

    private static byte[] Hi(byte[] text, byte[] salt, int iterations)
    {
        var block = HMACSHA256.HashData(text, (byte[])[.. salt, 0, 0, 0, 1]);
        var result = block.ToArray();
        for (var iteration = 1; iteration < iterations; iteration++)
        {
            block = HMACSHA256.HashData(text, block);
            for (var index = 0; index < result.Length; index++)
            {
                result[index] ^= block[index];
            }
        }

        return result;
    }
}
