using Countersign.Platform.Tokens;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>Whether the proxy knows enough of the present to act (I8).</summary>
internal interface IFreshness
{
    /// <summary>Whether new sessions and redemptions are possible.</summary>
    bool IsFresh { get; }

    /// <summary>Whether running sessions must end.</summary>
    bool IsDead { get; }

    /// <summary>For people: what is missing, and since when.</summary>
    string Problem { get; }
}

/// <summary>Ages of the two halves of the beacon: policy's and identity's.</summary>
internal sealed class Freshness(IOptions<ProxyOptions> options, TimeProvider clock) : IFreshness
{
    private readonly ProxyOptions _options = options.Value;
    private long _policy;
    private long _identity;

    public bool IsFresh => Age(Oldest) <= _options.StaleAfter;

    // A proxy that has just started has had no beacon yet: it has no sessions that could end either.
    public bool IsDead => Age(Oldest) > _options.DeadAfter;

    public string Problem =>
        Volatile.Read(ref _policy) <= Volatile.Read(ref _identity)
            ? "The gateway has had no word from the policy service; it does not go on without."
            : "The gateway has had no word from the identity service; it does not go on without.";

    /// <summary>Age of policy's latest beacon; null before the first.</summary>
    public TimeSpan? PolicyAge => Volatile.Read(ref _policy) is > 0 and var at ? Age(at) : null;

    /// <summary>Age of identity's latest beacon; null before the first.</summary>
    public TimeSpan? IdentityAge => Volatile.Read(ref _identity) is > 0 and var at ? Age(at) : null;

    private long Oldest => Math.Min(Volatile.Read(ref _policy), Volatile.Read(ref _identity));

    /// <summary>Takes the time at which policy signed its latest beacon, Unix seconds.</summary>
    /// <exception cref="TokenRejectedException">It lies in the future.</exception>
    public void PolicyAt(long issuedAt) => Raise(ref _policy, Checked(issuedAt));

    /// <summary>Takes the time at which identity signed its latest beacon, Unix seconds.</summary>
    /// <exception cref="TokenRejectedException">It lies in the future.</exception>
    public void IdentityAt(long issuedAt) => Raise(ref _identity, Checked(issuedAt));

    /// <summary>Whether what was signed then can be taken at all.</summary>
    /// <exception cref="TokenRejectedException">It lies in the future.</exception>
    public void ThrowIfFuture(long issuedAt) => Checked(issuedAt);

    private TimeSpan Age(long issuedAt) => TimeSpan.FromSeconds(clock.GetUtcNow().ToUnixTimeSeconds() - issuedAt);

    /// <summary>A beacon of the future would keep the proxy fresh long after the last word, and clocks that differ so much stop redemptions anyway.</summary>
    private long Checked(long issuedAt) => issuedAt <= (clock.GetUtcNow() + VerificationKeys.Leeway).ToUnixTimeSeconds()
        ? issuedAt
        : throw new TokenRejectedException("the beacon lies in the future: clocks differ");

    private static void Raise(ref long field, long value)
    {
        // Beacons may arrive out of order: an older one never makes the proxy less fresh.
        var seen = Volatile.Read(ref field);
        while (value > seen)
        {
            var before = Interlocked.CompareExchange(ref field, value, seen);
            if (before == seen)
            {
                return;
            }

            seen = before;
        }
    }
}
