using System.Security.Cryptography;
using System.Text;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Credentials;

/// <summary>
/// One-time codes by which a service's web page gets the access token of somebody who logged in at the provider. Kept as hashes for a minute, in the store: the code may
/// come to another replica than the login did, and is good for one of them only.
/// </summary>
public sealed class LoginCodes(IStateStore store, TimeProvider time)
{
    /// <summary>How long a code is good.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(60);

    private const int Capacity = 10_000;
    private const string Collection = "login-codes";
    private readonly Documents<Entry> _codes = new(store, Collection);
    private readonly Queue<DateTimeOffset> _made = new();

    /// <summary>Makes a code for one service.</summary>
    public async ValueTask<string> CreateAsync(LoginFacts facts, string audience, CancellationToken cancellation)
    {
        var code = Ids.Random("cod_");
        var now = time.GetUtcNow();
        lock (_made)
        {
            while (_made.TryPeek(out var oldest) && oldest + Lifetime <= now)
            {
                _made.Dequeue();
            }

            if (_made.Count >= Capacity)
            {
                throw new IdentityException(429, "too-many-logins", "Too many logins are under way; try again.");
            }

            _made.Enqueue(now);
        }

        await _codes.TryAddAsync(Hash(code), new Entry(facts, audience, now + Lifetime), cancellation);
        return code;
    }

    /// <summary>Takes a code, which then is worthless, whoever takes it.</summary>
    /// <returns>Null for a code that is unknown, used, expired or another service's.</returns>
    public async ValueTask<LoginFacts?> TakeAsync(string code, string audience, CancellationToken cancellation) =>
        await _codes.TakeAsync(Hash(code), cancellation) is { } entry && entry.Audience == audience && entry.ExpiresAt > time.GetUtcNow() ? entry.Facts : null;

    /// <summary>Forgets those that nobody took.</summary>
    public async ValueTask PruneAsync(CancellationToken cancellation)
    {
        await foreach (var (key, entry) in _codes.ListAsync(cancellation))
        {
            if (entry.ExpiresAt <= time.GetUtcNow())
            {
                await _codes.DeleteAsync(key, cancellation);
            }
        }
    }

    private static string Hash(string code) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(code)));

    private sealed record Entry(LoginFacts Facts, string Audience, DateTimeOffset ExpiresAt);
}
