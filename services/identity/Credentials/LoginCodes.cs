using System.Security.Cryptography;
using System.Text;
using Countersign.Identity.Persons;

namespace Countersign.Identity.Credentials;

/// <summary>One-time codes by which a service's web page gets the access token of somebody who logged in at the provider. Kept as hashes, in memory, for a minute.</summary>
public sealed class LoginCodes(TimeProvider time)
{
    /// <summary>How long a code is good.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(60);

    private const int Capacity = 10_000;
    private readonly Dictionary<string, Entry> _codes = new(StringComparer.Ordinal);

    /// <summary>Makes a code for one service.</summary>
    public string Create(LoginFacts facts, string audience)
    {
        var code = Ids.Random("cod_");
        var now = time.GetUtcNow();
        lock (_codes)
        {
            foreach (var expired in _codes.Where(pair => pair.Value.ExpiresAt <= now).Select(pair => pair.Key).ToList())
            {
                _codes.Remove(expired);
            }

            if (_codes.Count >= Capacity)
            {
                throw new IdentityException(429, "too-many-logins", "Too many logins are under way; try again.");
            }

            _codes[Hash(code)] = new Entry(facts, audience, now + Lifetime);
        }

        return code;
    }

    /// <summary>Takes a code, which then is worthless, whoever takes it.</summary>
    /// <returns>Null for a code that is unknown, used, expired or another service's.</returns>
    public LoginFacts? Take(string code, string audience)
    {
        lock (_codes)
        {
            return _codes.Remove(Hash(code), out var entry) && entry.Audience == audience && entry.ExpiresAt > time.GetUtcNow() ? entry.Facts : null;
        }
    }

    private static string Hash(string code) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(code)));

    private sealed record Entry(LoginFacts Facts, string Audience, DateTimeOffset ExpiresAt);
}
