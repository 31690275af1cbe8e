using Countersign.Cli.Output;
using Countersign.Cli.Profiles;
using Countersign.Cli.Server;

namespace Countersign.Cli.Login;

/// <summary>Access tokens of a profile, cached per audience. A refresh token is spent once: under the profile's lock, its successor stored before use.</summary>
internal sealed class AccessTokens(Profile profile, Func<TokenRequest, CancellationToken, Task<TokenResponse>> exchange, TimeProvider time) : IAccessTokens
{
    /// <summary>A token with less left than this is not begun with.</summary>
    private static readonly TimeSpan Reserve = TimeSpan.FromSeconds(30);

    public async Task<string> GetAsync(string audience, string? unlike, CancellationToken cancellation)
    {
        if (Cached(audience, unlike) is { } cached)
        {
            return cached;
        }

        using var profileLock = await profile.LockAsync(cancellation);

        // Another process may have fetched one while this one waited for the lock.
        if (Cached(audience, unlike) is { } fresh)
        {
            return fresh;
        }

        var refreshToken = profile.ReadRefreshToken() ?? throw NotLoggedIn(null);
        TokenResponse response;
        try
        {
            response = await exchange(new TokenRequest("refresh", audience, RefreshToken: refreshToken), cancellation);
        }
        catch (CliException error) when (error.ExitCode is ExitCodes.NotLoggedIn or ExitCodes.Refused)
        {
            throw NotLoggedIn(error);
        }

        return Store(audience, response);
    }

    /// <summary>Exchanges a provider's id_token and keeps what comes back, bound to the server that gave it before it is written.</summary>
    public async Task<string> LogInAsync(string audience, string idToken, string? nonce, Uri server, CancellationToken cancellation)
    {
        using var profileLock = await profile.LockAsync(cancellation);
        var response = await exchange(new TokenRequest("id_token", audience, IdToken: idToken, Nonce: nonce), cancellation);
        profile.Forget();
        profile.WriteSettings(new ProfileSettings(server.AbsoluteUri));
        return Store(audience, response);
    }

    /// <summary>Drops the cached access tokens, so that the next ones show what has changed (enrolment, bootstrap).</summary>
    public async Task RenewAsync(CancellationToken cancellation)
    {
        using var profileLock = await profile.LockAsync(cancellation);
        profile.WriteAccessTokens(new Dictionary<string, CachedToken>());
    }

    private string? Cached(string audience, string? unlike) =>
        profile.ReadAccessTokens().TryGetValue(audience, out var cached) && cached.Token != unlike && cached.ExpiresAt - Reserve > time.GetUtcNow()
            ? cached.Token
            : null;

    private string Store(string audience, TokenResponse response)
    {
        if (response.RefreshToken is { Length: > 0 } next)
        {
            profile.WriteRefreshToken(next);
        }

        var tokens = profile.ReadAccessTokens().Where(pair => pair.Value.ExpiresAt > time.GetUtcNow()).ToDictionary();
        tokens[audience] = new CachedToken(response.AccessToken, time.GetUtcNow().AddSeconds(response.ExpiresIn));
        profile.WriteAccessTokens(tokens);
        return response.AccessToken;
    }

    private CliException NotLoggedIn(CliException? cause) => new(
        ExitCodes.NotLoggedIn,
        cause is null ? $"Profile '{profile.Name}' is not logged in." : $"The login of profile '{profile.Name}' is over: {cause.Message}",
        profile.Name == "default" ? "Run: countersign login" : $"Run: countersign login --profile {TerminalText.Line(profile.Name)}",
        cause?.Code ?? "not-logged-in", cause);
}
