using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Identity.Persons;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.WebUtilities;

namespace Countersign.Identity.Federation;

/// <summary>A login that a browser is in the middle of: kept in a protected cookie of that browser, so that no other can finish it.</summary>
/// <param name="State">Value of <c>state</c>.</param>
/// <param name="Nonce">Value of <c>nonce</c>.</param>
/// <param name="Verifier">PKCE verifier.</param>
/// <param name="Audience">Service that the login is for.</param>
/// <param name="Return">Where to go then; checked again when it is used.</param>
/// <param name="ExpiresAt">Unix seconds.</param>
public sealed record LoginAttempt(string State, string Nonce, string Verifier, string Audience, string Return, long ExpiresAt);

/// <summary>Authorization code flow with PKCE (RFC 7636, S256 only) for the HTML pages of the services.</summary>
public sealed class BrowserLogin
{
    /// <summary>How long somebody may take to log in.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(10);

    private readonly ProviderOptions _options;
    private readonly ProviderMetadata _metadata;
    private readonly IdTokens _tokens;
    private readonly HttpClient _http;
    private readonly IDataProtector _protector;
    private readonly TimeProvider _time;

    /// <summary>With everything it needs.</summary>
    public BrowserLogin(ProviderOptions options, ProviderMetadata metadata, IdTokens tokens, HttpClient http, IDataProtectionProvider protection, TimeProvider time)
    {
        (_options, _metadata, _tokens, _http, _time) = (options, metadata, tokens, http, time);
        _protector = protection.CreateProtector("Countersign.Identity.BrowserLogin.v1");
    }

    /// <summary>Begins: where to send the browser, and what its cookie holds.</summary>
    /// <exception cref="ProviderUnavailableException">The provider can't be asked.</exception>
    public async ValueTask<(string Location, string Cookie, string State)> BeginAsync(
        string audience, string returnTo, string redirectUri, CancellationToken cancellation)
    {
        var configuration = await _metadata.GetAsync(cancellation);
        if (!Uri.TryCreate(configuration.AuthorizationEndpoint, UriKind.Absolute, out var endpoint) || !ProviderMetadata.IsSafe(endpoint))
        {
            throw new ProviderUnavailableException("The provider has no login by browser.");
        }

        var attempt = new LoginAttempt(Random(), Random(), Random(), audience, returnTo, (_time.GetUtcNow() + Lifetime).ToUnixTimeSeconds());
        var challenge = WebEncoders.Base64UrlEncode(SHA256.HashData(Encoding.ASCII.GetBytes(attempt.Verifier)));
        var location = QueryHelpers.AddQueryString(endpoint.AbsoluteUri, new Dictionary<string, string?>
        {
            ["response_type"] = "code",
            ["client_id"] = _options.WebClientId,
            ["redirect_uri"] = redirectUri,
            ["scope"] = string.Join(' ', _options.EffectiveScopes()),
            ["state"] = attempt.State,
            ["nonce"] = attempt.Nonce,
            ["code_challenge"] = challenge,
            ["code_challenge_method"] = "S256",
        });
        return (location, _protector.Protect(JsonSerializer.Serialize(attempt)), attempt.State);
    }

    /// <summary>Reads the cookie of the attempt that a callback belongs to.</summary>
    /// <returns>Null for no cookie, another browser's, a changed one, or one that is too old.</returns>
    public LoginAttempt? Find(string? cookie, string? state)
    {
        if (string.IsNullOrEmpty(cookie) || string.IsNullOrEmpty(state))
        {
            return null;
        }

        try
        {
            var attempt = JsonSerializer.Deserialize<LoginAttempt>(_protector.Unprotect(cookie))!;
            return CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(attempt.State), Encoding.UTF8.GetBytes(state))
                && attempt.ExpiresAt > _time.GetUtcNow().ToUnixTimeSeconds() ? attempt : null;
        }
        catch (Exception error) when (error is CryptographicException or FormatException or JsonException)
        {
            return null;
        }
    }

    /// <summary>Exchanges the code at the provider and checks the id_token.</summary>
    /// <param name="attempt">The attempt.</param>
    /// <param name="code">Code of the callback.</param>
    /// <param name="issuer"><c>iss</c> of the callback (RFC 9207), null where the provider sent none.</param>
    /// <param name="redirectUri">The same as at the beginning.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <exception cref="TokenRejectedException">The provider refused, or its token does not verify.</exception>
    public async ValueTask<ProviderIdentity> CompleteAsync(
        LoginAttempt attempt, string code, string? issuer, string redirectUri, CancellationToken cancellation)
    {
        if (issuer is not null && issuer != _metadata.Issuer)
        {
            throw new TokenRejectedException("the answer came from another provider");
        }

        var configuration = await _metadata.GetAsync(cancellation);
        var form = new Dictionary<string, string>
        {
            ["grant_type"] = "authorization_code",
            ["code"] = code,
            ["redirect_uri"] = redirectUri,
            ["code_verifier"] = attempt.Verifier,
            ["client_id"] = _options.WebClientId,
        };
        var isSecret = _options.WebClientSecret.Length > 0;
        if (isSecret && _options.WebClientAuthentication == ProviderOptions.Post)
        {
            form["client_secret"] = _options.WebClientSecret;
        }

        using var request = new HttpRequestMessage(HttpMethod.Post, configuration.TokenEndpoint) { Content = new FormUrlEncodedContent(form) };
        if (isSecret && _options.WebClientAuthentication == ProviderOptions.Basic)
        {
            // RFC 6749, section 2.3.1: both parts are form-encoded first.
            var pair = $"{Uri.EscapeDataString(_options.WebClientId)}:{Uri.EscapeDataString(_options.WebClientSecret)}";
            request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.ASCII.GetBytes(pair)));
        }

        try
        {
            using var response = await _http.SendAsync(request, cancellation);
            var body = await response.Content.ReadAsByteArrayAsync(cancellation);
            using var answer = JsonDocument.Parse(body);
            if (!response.IsSuccessStatusCode || !answer.RootElement.TryGetProperty("id_token", out var token) || token.ValueKind != JsonValueKind.String)
            {
                throw new TokenRejectedException("the provider did not accept the login");
            }

            return await _tokens.VerifyAsync(token.GetString()!, _options.WebClientId, attempt.Nonce, cancellation);
        }
        catch (JsonException error)
        {
            throw new TokenRejectedException("the provider's answer is not JSON", error);
        }
        catch (Exception error) when (error is HttpRequestException || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new ProviderUnavailableException("The provider can't be asked.", error);
        }
    }

    private static string Random() => WebEncoders.Base64UrlEncode(RandomNumberGenerator.GetBytes(32));
}
