using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.WebUtilities;

namespace Countersign.Identity.Tests.Support;

/// <summary>Someone with cookies who follows links and fills in forms.</summary>
internal sealed partial class Browser : IDisposable
{
    private readonly CookieContainer _cookies = new();
    private readonly string _baseUrl;

    public Browser(string baseUrl)
    {
        _baseUrl = baseUrl;
        Http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, CookieContainer = _cookies }) { BaseAddress = new Uri(baseUrl) };
    }

    public HttpClient Http { get; }

    public static (string Verifier, string Challenge) Pkce()
    {
        var verifier = WebEncoders.Base64UrlEncode(RandomNumberGenerator.GetBytes(32));
        return (verifier, WebEncoders.Base64UrlEncode(SHA256.HashData(Encoding.ASCII.GetBytes(verifier))));
    }

    /// <summary>Follows redirects while they stay on the host; returns the first address that leads away, or the last page's.</summary>
    public async Task<(Uri Location, HttpResponseMessage? Page)> FollowAsync(HttpResponseMessage response)
    {
        while (response.StatusCode is HttpStatusCode.Redirect or HttpStatusCode.SeeOther or HttpStatusCode.Found)
        {
            var next = new Uri(response.RequestMessage!.RequestUri!, response.Headers.Location!);
            if (!next.AbsoluteUri.StartsWith(_baseUrl, StringComparison.Ordinal) || next.AbsolutePath.StartsWith("/landing", StringComparison.Ordinal))
            {
                return (next, null);
            }

            response.Dispose();
            response = await Http.GetAsync(next);
        }

        return (response.RequestMessage!.RequestUri!, response);
    }

    /// <summary>Sends the login form that a page holds.</summary>
    public async Task<HttpResponseMessage> SubmitLoginAsync(HttpResponseMessage page, string name, string password)
    {
        var html = await page.Content.ReadAsStringAsync();
        var returnTo = WebUtility.HtmlDecode(Hidden().Match(html).Groups[1].Value);
        return await Http.PostAsync(new Uri("/dev-issuer/login", UriKind.Relative), new FormUrlEncodedContent(new Dictionary<string, string>
        {
            ["return"] = returnTo,
            ["name"] = name,
            ["password"] = password,
        }));
    }

    /// <summary>Code + PKCE as the CLI does it, with a loopback redirect.</summary>
    public async Task<(string IdToken, string Nonce)> CodeFlowAsync(
        string name, string password, string client = "countersign-cli", string redirect = "http://127.0.0.1:45671/callback",
        string scope = "openid profile email groups")
    {
        var (verifier, challenge) = Pkce();
        var nonce = Guid.NewGuid().ToString("N");
        var location = await AuthorizeAsync(name, password, client, redirect, nonce, challenge, "S256", scope);
        var query = QueryHelpers.ParseQuery(location.Query);
        if (!query.TryGetValue("code", out var code))
        {
            throw new HttpRequestException($"no code: {location}");
        }

        var answer = await TokenAsync(new Dictionary<string, string>
        {
            ["grant_type"] = "authorization_code",
            ["code"] = code.ToString(),
            ["redirect_uri"] = redirect,
            ["client_id"] = client,
            ["code_verifier"] = verifier,
        });
        return (answer.GetProperty("id_token").GetString()!, nonce);
    }

    public async Task<Uri> AuthorizeAsync(
        string name, string password, string client, string redirect, string nonce, string? challenge, string? method, string scope = "openid profile email groups")
    {
        var parameters = new Dictionary<string, string?>
        {
            ["response_type"] = "code",
            ["client_id"] = client,
            ["redirect_uri"] = redirect,
            ["scope"] = scope,
            ["state"] = "s",
            ["nonce"] = nonce,
            ["code_challenge"] = challenge,
            ["code_challenge_method"] = method,
        };
        var (location, page) = await FollowAsync(await Http.GetAsync(new Uri(QueryHelpers.AddQueryString("/dev-issuer/authorize", parameters), UriKind.Relative)));
        if (page is { StatusCode: HttpStatusCode.OK })
        {
            (location, page) = await FollowAsync(await SubmitLoginAsync(page, name, password));
        }

        page?.Dispose();
        return location;
    }

    public async Task<JsonElement> TokenAsync(Dictionary<string, string> form)
    {
        using var response = await Http.PostAsync(new Uri("/dev-issuer/token", UriKind.Relative), new FormUrlEncodedContent(form));
        return JsonDocument.Parse(await response.Content.ReadAsStringAsync()).RootElement;
    }

    public void Dispose() => Http.Dispose();

    [GeneratedRegex("name=\"return\" value=\"([^\"]*)\"")]
    private static partial Regex Hidden();
}
