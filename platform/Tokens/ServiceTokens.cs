using System.Collections.Concurrent;

namespace Countersign.Platform.Tokens;

/// <summary>Makes the tokens by which one service shows itself to another, and keeps each for as long as it is good.</summary>
/// <param name="appId">The service that they speak for; becomes <c>iss</c>.</param>
/// <param name="key">Its own key.</param>
/// <param name="time">Clock.</param>
public sealed class ServiceTokens(string appId, SigningKey key, TimeProvider time)
{
    /// <summary>How long a token is good.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(1);

    /// <summary>A token with less than this left isn't handed out any more.</summary>
    public static readonly TimeSpan Renewal = TimeSpan.FromSeconds(20);

    private readonly ConcurrentDictionary<string, Entry> _tokens = new(StringComparer.Ordinal);

    /// <summary>A token for one receiver, good for at least <see cref="Renewal"/>.</summary>
    /// <param name="audience">App id of the receiver.</param>
    public string For(string audience)
    {
        var now = time.GetUtcNow();
        if (_tokens.TryGetValue(audience, out var kept) && kept.ExpiresAt - now > Renewal && kept.IssuedAt <= now)
        {
            return kept.Token;
        }

        var expires = now + Lifetime;
        var claims = new ServiceTokenClaims(appId, audience, now.ToUnixTimeSeconds(), expires.ToUnixTimeSeconds());
        var token = key.Sign(TokenTypes.Service, claims);
        _tokens[audience] = new Entry(token, now, expires);
        return token;
    }

    private sealed record Entry(string Token, DateTimeOffset IssuedAt, DateTimeOffset ExpiresAt);
}
