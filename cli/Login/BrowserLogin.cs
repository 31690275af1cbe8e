using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace Countersign.Cli.Login;

/// <summary>Login in the browser: authorization code with PKCE (RFC 7636) and a loopback redirect (RFC 8252, section 7.3).</summary>
internal static class BrowserLogin
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);

    /// <param name="provider">The provider.</param>
    /// <param name="open">Opens the page; false where the person has to.</param>
    /// <param name="show">Shows the page's address.</param>
    /// <param name="time">Clock.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <returns>The id_token and the nonce it carries.</returns>
    public static async Task<(string IdToken, string Nonce)> RunAsync(
        OidcProvider provider, Func<Uri, bool> open, Action<Uri> show, TimeProvider time, CancellationToken cancellation)
    {
        var endpoint = provider.Configuration.AuthorizationEndpoint
            ?? throw new CliException(ExitCodes.Refused, "The provider has no login by browser.", "Use: countersign login --device", "no-browser-login");
        var state = RandomText();
        var nonce = RandomText();
        var verifier = RandomText();
        using var listener = LoopbackListener.Start();
        var query = new Dictionary<string, string>
        {
            ["response_type"] = "code",
            ["client_id"] = provider.Login.ClientId,
            ["redirect_uri"] = listener.RedirectUri,
            ["scope"] = provider.Scope,
            ["state"] = state,
            ["nonce"] = nonce,
            ["code_challenge"] = Base64Url(SHA256.HashData(Encoding.ASCII.GetBytes(verifier))),
            ["code_challenge_method"] = "S256",
        };
        var page = new UriBuilder(endpoint)
        {
            Query = string.Join('&', query.Select(pair => $"{pair.Key}={Uri.EscapeDataString(pair.Value)}").Prepend(endpoint.Query.TrimStart('?')).Where(part => part.Length > 0)),
        }.Uri;
        show(page);
        open(page);

        using var deadline = new CancellationTokenSource(Patience, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellation);
        string code;
        try
        {
            code = await listener.WaitAsync(redirect => Check(redirect, state, provider), either.Token);
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested)
        {
            throw new CliException(ExitCodes.Refused, "Nobody logged in in time.", "Run: countersign login", "expired");
        }

        var answer = await provider.PostAsync(
            provider.Configuration.TokenEndpoint!,
            new Dictionary<string, string>
            {
                ["grant_type"] = "authorization_code",
                ["code"] = code,
                ["redirect_uri"] = listener.RedirectUri,
                ["client_id"] = provider.Login.ClientId,
                ["code_verifier"] = verifier,
            },
            cancellation);
        if (answer.Error is not null)
        {
            throw answer.Refusal("The login was not completed");
        }

        var idToken = answer.IdToken ?? throw new CliException(ExitCodes.Refused, "The provider gave no id_token.", code: "no-id-token");
        if (!Matches(NonceOf(idToken), nonce))
        {
            throw new CliException(ExitCodes.Refused, "The id_token belongs to another login (its nonce differs).", code: "wrong-nonce");
        }

        return (idToken, nonce);
    }

    // The redirect's parameters come from whoever reaches the port; only our own state makes them ours.
    private static RedirectVerdict Check(IReadOnlyDictionary<string, string> redirect, string state, OidcProvider provider)
    {
        if (!redirect.TryGetValue("state", out var given) || !Matches(given, state))
        {
            return RedirectVerdict.Ignore("This is not the login that countersign waits for.");
        }

        // RFC 9207: which provider answers; guards against mix-up.
        var hasIssuer = redirect.TryGetValue("iss", out var issuer);
        if (hasIssuer ? !string.Equals(issuer, provider.Configuration.Issuer, StringComparison.Ordinal) : provider.Configuration.IssuerInResponse)
        {
            return RedirectVerdict.Fail(new CliException(ExitCodes.Refused, "Another provider answered the login.", code: "wrong-issuer"));
        }

        if (redirect.TryGetValue("error", out var error))
        {
            redirect.TryGetValue("error_description", out var description);
            return RedirectVerdict.Fail(new CliException(
                ExitCodes.Refused, $"The login was not completed: {error}{(string.IsNullOrEmpty(description) ? "" : $" ({description})")}", code: error));
        }

        return redirect.TryGetValue("code", out var code) && code.Length > 0
            ? RedirectVerdict.Accept(code)
            : RedirectVerdict.Fail(new CliException(ExitCodes.Refused, "The provider gave no code.", code: "no-code"));
    }

    private static bool Matches(string? given, string expected) =>
        given is not null && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(given), Encoding.UTF8.GetBytes(expected));

    // The signature is identity's to check; the token came over TLS from the token endpoint itself (OIDC Core, 3.1.3.7 item 6).
    private static string? NonceOf(string idToken)
    {
        try
        {
            using var claims = JsonDocument.Parse(Jwt.Payload(idToken));
            return claims.RootElement.TryGetProperty("nonce", out var nonce) ? nonce.GetString() : null;
        }
        catch (Exception error) when (error is JsonException or FormatException or InvalidOperationException)
        {
            return null;
        }
    }

    private static string RandomText() => Base64Url(RandomNumberGenerator.GetBytes(32));

    private static string Base64Url(ReadOnlySpan<byte> bytes) => System.Buffers.Text.Base64Url.EncodeToString(bytes);
}

/// <summary>Reading of compact JWS (RFC 7515) without checking it: for what the tool shows its own user, never for a decision.</summary>
internal static class Jwt
{
    /// <exception cref="FormatException">Not a compact JWS.</exception>
    public static byte[] Payload(string token)
    {
        var parts = token.Split('.');
        return parts.Length == 3 ? System.Buffers.Text.Base64Url.DecodeFromChars(parts[1]) : throw new FormatException("not a compact JWS");
    }
}
