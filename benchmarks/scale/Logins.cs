using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Benchmarks.Scale;

/// <summary>An access credential with what a client computes from its secret once (RFC 5802 lets it keep the salted password).</summary>
internal sealed class Credential(string id, string user, string secret)
{
    private byte[]? _salted;

    public string Id => id;

    public string User => user;

    public byte[] Salted(byte[] salt, int iterations) => _salted ??= Rfc2898DeriveBytes.Pbkdf2(Encoding.ASCII.GetBytes(secret), salt, iterations, HashAlgorithmName.SHA256, 32);
}

/// <summary>Logins as a proxy relays them: two messages to identity, the proof by SCRAM-SHA-256.</summary>
internal static class Logins
{
    /// <summary>One login.</summary>
    /// <returns>The session assertion.</returns>
    public static async Task<string> LogInAsync(SimulatedProxy proxy, Credential credential, string connection)
    {
        var identity = proxy.Create(AppIds.Identity);
        var client = Convert.ToBase64String(RandomNumberGenerator.GetBytes(18));
        using var begun = await identity.PostAsJsonAsync("v1/native-logins", new BeginNativeLogin(credential.User, connection, $"10.{Random.Shared.Next(200)}.{Random.Shared.Next(200)}.7:40000"), TokenJson.Options);
        begun.EnsureSuccessStatusCode();
        var challenge = (await begun.Content.ReadFromJsonAsync<NativeLoginChallenge>(TokenJson.Options))!;
        var nonce = client + challenge.Nonce;
        var (first, server, final) = ($"n=,r={client}", $"r={nonce},s={challenge.Salt},i={challenge.Iterations}", $"c=biws,r={nonce}");
        var key = HMACSHA256.HashData(credential.Salted(Convert.FromBase64String(challenge.Salt), challenge.Iterations), "Client Key"u8);
        var signature = HMACSHA256.HashData(SHA256.HashData(key), Encoding.ASCII.GetBytes($"{first},{server},{final}"));
        for (var index = 0; index < key.Length; index++)
        {
            key[index] ^= signature[index];
        }

        using var done = await identity.PostAsJsonAsync(
            $"v1/native-logins/{challenge.LoginId}", new CompleteNativeLogin(first, server, final, Convert.ToBase64String(key), $"ses_{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(12))}"), TokenJson.Options);
        done.EnsureSuccessStatusCode();
        return (await done.Content.ReadFromJsonAsync<NativeLoginResult>(TokenJson.Options))!.Assertion;
    }

    /// <summary>Claims of an assertion that identity has just signed.</summary>
    public static SessionAssertionClaims Read(string assertion) =>
        JsonSerializer.Deserialize<SessionAssertionClaims>(System.Buffers.Text.Base64Url.DecodeFromChars(assertion.Split('.')[1]), TokenJson.Options)!;
}
