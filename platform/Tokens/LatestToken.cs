namespace Countersign.Platform.Tokens;

/// <summary>Signs the same claims once for all who ask for them: a beacon of one second for a thousand proxies.</summary>
/// <param name="key">Key that signs.</param>
/// <param name="type">One of <see cref="TokenTypes"/>.</param>
/// <typeparam name="TClaims">Claims, which compare by value.</typeparam>
public sealed class LatestToken<TClaims>(SigningKey key, string type)
    where TClaims : class, IEquatable<TClaims>
{
    private Signed? _latest;

    /// <summary>A token with these claims: that of before where they are the same.</summary>
    public string Sign(TClaims claims)
    {
        if (Volatile.Read(ref _latest) is { } latest && latest.Claims.Equals(claims))
        {
            return latest.Token;
        }

        var token = key.Sign(type, claims);
        Volatile.Write(ref _latest, new Signed(claims, token));
        return token;
    }

    private sealed record Signed(TClaims Claims, string Token);
}
