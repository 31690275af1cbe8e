using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace Countersign.Cli.Tests;

/// <summary>The OpenID provider of the fake server, with switches for what a bad one could do.</summary>
internal sealed partial class FakeServer
{
    private readonly ConcurrentDictionary<string, string> _idTokens = new();
    private readonly ConcurrentDictionary<string, (string Challenge, string? Nonce, string RedirectUri)> _codes = new();
    private int _polls;

    /// <summary>How many polls of the device login are answered with authorization_pending.</summary>
    public int DevicePending { get; set; } = 2;

    public string? DeviceError { get; set; }

    public string? IssuerName { get; set; }

    /// <summary>Puts another nonce into id_tokens.</summary>
    public string? ForgedNonce { get; set; }

    public string NewIdToken(string person, string? nonce = null)
    {
        var token = AccessToken(person, "countersign-cli", nonce);
        _idTokens[token] = person;
        return token;
    }

    /// <summary>What a browser does with the page: logs in and follows the redirect, with parameters changed by the test.</summary>
    public async Task<HttpResponseMessage> BrowseAsync(Uri page, Action<Dictionary<string, string>> tamper)
    {
        var query = Microsoft.AspNetCore.WebUtilities.QueryHelpers.ParseQuery(page.Query).ToDictionary(pair => pair.Key, pair => pair.Value.ToString());
        Assert.Equal("S256", query["code_challenge_method"]);
        Assert.Contains("openid", query["scope"], StringComparison.Ordinal);
        var code = Convert.ToHexString(RandomNumberGenerator.GetBytes(8));
        _codes[code] = (query["code_challenge"], query["nonce"], query["redirect_uri"]);
        var redirect = new Dictionary<string, string> { ["code"] = code, ["state"] = query["state"], ["iss"] = $"{Address}issuer" };
        tamper(redirect);
        using var client = new HttpClient();
        return await client.GetAsync(new Uri(Microsoft.AspNetCore.WebUtilities.QueryHelpers.AddQueryString(query["redirect_uri"], redirect!)));
    }

    private void MapIssuer(WebApplication app)
    {
        app.MapGet("/issuer/.well-known/openid-configuration", () => new
        {
            issuer = IssuerName ?? $"{Address}issuer",
            authorization_endpoint = $"{Address}issuer/authorize",
            token_endpoint = $"{Address}issuer/token",
            device_authorization_endpoint = $"{Address}issuer/device",
        });
        app.MapPost("/issuer/device", () => new
        {
            device_code = "device-code-secret",
            user_code = "WDJB-MJHT",
            verification_uri = $"{Address}issuer/activate",
            verification_uri_complete = $"{Address}issuer/activate?user_code=WDJB-MJHT",
            expires_in = 60,
            interval = 0,
        });
        app.MapPost("/issuer/token", async (HttpContext context) =>
        {
            var form = await context.Request.ReadFormAsync();
            if (form["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code")
            {
                var error = DeviceError ?? (Interlocked.Increment(ref _polls) <= DevicePending ? "authorization_pending" : null);
                return error is not null || form["device_code"] != "device-code-secret"
                    ? Results.Json(new { error = error ?? "invalid_grant" }, statusCode: 400)
                    : Results.Ok(new { id_token = NewIdToken("alice"), access_token = "of-the-provider", token_type = "Bearer" });
            }

            if (!_codes.TryRemove(form["code"].ToString(), out var code)
                || System.Buffers.Text.Base64Url.EncodeToString(SHA256.HashData(Encoding.ASCII.GetBytes(form["code_verifier"].ToString()))) != code.Challenge
                || form["redirect_uri"] != code.RedirectUri)
            {
                return Results.Json(new { error = "invalid_grant", error_description = "code or verifier" }, statusCode: 400);
            }

            return Results.Ok(new { id_token = NewIdToken("alice", ForgedNonce ?? code.Nonce), access_token = "of-the-provider", token_type = "Bearer" });
        });
    }
}
