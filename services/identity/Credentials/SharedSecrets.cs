using System.Security.Cryptography;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Credentials;

/// <summary>Secrets that all replicas of identity need to have alike, in their store: whoever needs one first makes it.</summary>
internal static class SharedSecrets
{
    private const string Collection = "secrets";

    /// <summary>Gets or makes one: 32 random bytes.</summary>
    /// <exception cref="PortUnavailableException">The store can't be reached.</exception>
    public static async ValueTask<byte[]> GetAsync(IStateStore store, string name, CancellationToken cancellation)
    {
        await store.TrySaveAsync(Collection, name, RandomNumberGenerator.GetBytes(32), null, cancellation);
        return (await store.GetAsync(Collection, name, cancellation) ?? throw new PortUnavailableException("the store forgets what it was given")).Value.ToArray();
    }
}

/// <summary>What the cookies of logins under way are protected with: a browser begins at one replica and ends at another, and each has a signing key of its own.</summary>
public sealed class LoginCookieSecret(IStateStore store)
{
    private byte[]? _secret;

    /// <summary>The secret, once it was loaded.</summary>
    /// <exception cref="InvalidOperationException">It wasn't yet.</exception>
    public byte[] Value => _secret ?? throw new InvalidOperationException("Identity has not started.");

    /// <summary>Reads it, or makes it.</summary>
    /// <exception cref="PortUnavailableException">The store can't be reached.</exception>
    public async ValueTask LoadAsync(CancellationToken cancellation) => _secret = await SharedSecrets.GetAsync(store, "login-cookies", cancellation);
}
