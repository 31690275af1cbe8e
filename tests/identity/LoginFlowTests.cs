using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;
using Microsoft.AspNetCore.WebUtilities;

namespace Countersign.Identity.Tests;

/// <summary>Code + PKCE, device code and browser login over HTTP against the development issuer as it ships.</summary>
[Trait("group", "identity")]
public sealed class LoginFlowTests : IAsyncLifetime
{
    private IdentityHost _host = null!;

    public async ValueTask InitializeAsync() => _host = await IdentityHost.StartAsync();

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    [Fact]
    public async Task Code_with_pkce_gives_an_access_token_with_what_the_provider_said()
    {
        var login = await _host.LogInAsync("alice", AppIds.Approval);
        var claims = login.Claims;
        Assert.Equal((AppIds.Identity, AppIds.Approval, "alice@example.test", "human"), (claims.Issuer, claims.Audience, claims.Name, claims.Kind));
        Assert.Equal(["dba", "team-alice"], claims.Groups.Order());
        Assert.Equal(["pwd"], claims.Amr);
        Assert.Equal(900, claims.ExpiresAt - claims.IssuedAt);
        Assert.InRange(claims.AuthenticatedAt, claims.IssuedAt - 600, claims.IssuedAt);
        Assert.False(claims.Enrolled);
        Assert.False(claims.Bootstrap);
    }

    [Fact]
    public async Task The_same_login_is_the_same_person_and_another_one_is_not()
    {
        var first = await _host.LogInAsync("alice");
        var again = await _host.LogInAsync("alice");
        var other = await _host.LogInAsync("bob");
        Assert.Equal(first.Person, again.Person);
        Assert.NotEqual(first.Person, other.Person);
    }

    [Fact]
    public async Task Device_code_waits_for_the_person_and_then_gives_a_token()
    {
        using var device = new Browser(_host.BaseUrl);
        using var begun = await device.Http.PostAsync(new Uri("/dev-issuer/device-authorization", UriKind.Relative), Form(("client_id", "countersign-cli"), ("scope", "openid email groups")));
        var codes = await begun.Content.ReadFromJsonAsync<JsonElement>();
        var poll = new Dictionary<string, string>
        {
            ["grant_type"] = "urn:ietf:params:oauth:grant-type:device_code",
            ["client_id"] = "countersign-cli",
            ["device_code"] = codes.GetProperty("device_code").GetString()!,
        };
        Assert.Equal(1, codes.GetProperty("interval").GetInt32());
        Assert.Equal("authorization_pending", (await device.TokenAsync(poll)).GetProperty("error").GetString());

        using var person = new Browser(_host.BaseUrl);
        var (_, page) = await person.FollowAsync(await person.Http.GetAsync(new Uri(codes.GetProperty("verification_uri_complete").GetString()!)));
        (_, page) = await person.FollowAsync(await person.SubmitLoginAsync(page!, "bob", IdentityHost.DevPassword("bob")));
        Assert.Contains(codes.GetProperty("user_code").GetString()!, await page!.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        using var allowed = await person.Http.PostAsync(new Uri("/dev-issuer/device", UriKind.Relative), Form(("user_code", codes.GetProperty("user_code").GetString()!)));
        Assert.True(allowed.IsSuccessStatusCode, await allowed.Content.ReadAsStringAsync());

        var idToken = (await device.TokenAsync(poll)).GetProperty("id_token").GetString();
        var tokens = await _host.TokensAsync(new { grant = "id_token", idToken, audience = AppIds.Proxy });
        Assert.Equal("bob@example.test", _host.VerifyAccess(tokens.AccessToken).Name);
        Assert.Equal("invalid_grant", (await device.TokenAsync(poll)).GetProperty("error").GetString());
    }

    [Fact]
    public async Task A_wrong_device_code_and_a_wrong_password_get_nothing()
    {
        using var person = new Browser(_host.BaseUrl);
        using var page = await person.Http.GetAsync(new Uri("/dev-issuer/login", UriKind.Relative));
        using var wrong = await person.SubmitLoginAsync(page, "alice", "wrong");
        Assert.Equal(HttpStatusCode.Unauthorized, wrong.StatusCode);
        using var right = await person.SubmitLoginAsync(page, "alice", IdentityHost.DevPassword("alice"));
        Assert.Equal(HttpStatusCode.Redirect, right.StatusCode);
        using var device = await person.Http.PostAsync(new Uri("/dev-issuer/device", UriKind.Relative), Form(("user_code", "0000-0000-0000")));
        Assert.False(device.IsSuccessStatusCode && (await device.Content.ReadAsStringAsync()).Contains("logged in", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_development_issuer_insists_on_pkce_with_s256_and_on_known_redirects()
    {
        using var browser = new Browser(_host.BaseUrl);
        var (verifier, challenge) = Browser.Pkce();
        const string Callback = "http://127.0.0.1:45671/callback";
        async Task<string> Try(string redirect, string? sent, string? method)
        {
            var location = await browser.AuthorizeAsync("alice", IdentityHost.DevPassword("alice"), "countersign-cli", redirect, "n", sent, method);
            return location.Query.Contains("code=", StringComparison.Ordinal) ? "code" : "refused";
        }

        Assert.Equal("code", await Try(Callback, challenge, "S256"));
        Assert.Equal("code", await Try("http://127.0.0.1:1234/callback", challenge, "S256"));
        Assert.Equal("refused", await Try(Callback, null, null));
        Assert.Equal("refused", await Try(Callback, verifier, "plain"));
        Assert.Equal("refused", await Try("http://evil.example/callback", challenge, "S256"));
        Assert.Equal("refused", await Try("http://127.0.0.1.evil.example/callback", challenge, "S256"));
        var discovery = await browser.Http.GetFromJsonAsync<JsonElement>("/dev-issuer/.well-known/openid-configuration");
        Assert.Equal(["S256"], discovery.GetProperty("code_challenge_methods_supported").EnumerateArray().Select(method => method.GetString()));
        Assert.Equal(_host.BaseUrl + "/dev-issuer", discovery.GetProperty("issuer").GetString());
    }

    [Fact]
    public async Task A_page_of_a_service_gets_its_own_token_by_a_one_time_code()
    {
        using var browser = new Browser(_host.BaseUrl);
        var code = await BrowserLoginAsync(browser, "/landing?x=1");
        using var other = await ExchangeAsync(AppIds.Policy, await BrowserLoginAsync(browser, "/landing"));
        Assert.Equal(HttpStatusCode.BadRequest, other.StatusCode);
        using var nobody = await _host.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "login_code", code });
        Assert.Equal(HttpStatusCode.Unauthorized, nobody.StatusCode);
        using var first = await ExchangeAsync(AppIds.Approval, code);
        var tokens = (await first.Content.ReadFromJsonAsync<Tokens>(IdentityHost.Json))!;
        var claims = _host.VerifyAccess(tokens.AccessToken, AppIds.Approval);
        Assert.Equal("carol@example.test", claims.Name);
        Assert.Null(tokens.RefreshToken);
        using var second = await ExchangeAsync(AppIds.Approval, code);
        Assert.Equal("login-code-rejected", await second.CodeAsync());
    }

    [Fact]
    public async Task A_callback_in_another_browser_is_refused()
    {
        using var victim = new Browser(_host.BaseUrl);
        using var attacker = new Browser(_host.BaseUrl);
        var (_, page) = await attacker.FollowAsync(await attacker.Http.GetAsync(Begin("/landing")));
        using var submitted = await attacker.SubmitLoginAsync(page!, "dave", IdentityHost.DevPassword("dave"));
        // The attacker stops before the callback and has the victim open it.
        var response = submitted;
        Uri next;
        while (!(next = new Uri(new Uri(_host.BaseUrl), response.Headers.Location!)).AbsolutePath.EndsWith("/identity/callback", StringComparison.Ordinal))
        {
            response = await attacker.Http.GetAsync(next);
        }

        using var refused = await victim.Http.GetAsync(next);
        Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
        using var own = await attacker.Http.GetAsync(next);
        Assert.Equal(HttpStatusCode.Redirect, own.StatusCode);
        using var twice = await attacker.Http.GetAsync(next);
        Assert.Equal(HttpStatusCode.BadRequest, twice.StatusCode);
    }

    [Theory]
    [InlineData("https://evil.example/")]
    [InlineData("//evil.example/")]
    [InlineData("/\\evil.example")]
    [InlineData("\\\\evil.example")]
    [InlineData("/\tevil")]
    [InlineData("javascript:alert(1)")]
    [InlineData("http://127.0.0.1:1/")]
    [InlineData("")]
    public async Task A_login_returns_to_allowed_places_only(string target)
    {
        using var response = await _host.Http.GetAsync(Begin(target));
        Assert.Equal("return-not-allowed", await response.CodeAsync());
        using var user = await _host.Http.GetAsync(Begin(_host.BaseUrl.Replace("//", "//user@", StringComparison.Ordinal) + "/x"));
        Assert.Equal("return-not-allowed", await user.CodeAsync());
        using var good = await _host.Http.GetAsync(Begin(_host.BaseUrl + "/approval/requests/x"));
        Assert.Equal(HttpStatusCode.Redirect, good.StatusCode);
    }

    [Fact]
    public async Task What_a_cli_needs_is_public_and_says_that_this_is_for_development()
    {
        var login = await _host.Http.GetFromJsonAsync<JsonElement>("/identity/v1/login");
        Assert.Equal(_host.BaseUrl + "/dev-issuer", login.GetProperty("issuer").GetString());
        Assert.Equal("countersign-cli", login.GetProperty("clientId").GetString());
        Assert.Contains("openid", login.GetProperty("scopes").EnumerateArray().Select(scope => scope.GetString()));
        Assert.True(login.GetProperty("developmentOnly").GetBoolean());
        Assert.Contains("development only", await _host.Http.GetStringAsync(new Uri("/dev-issuer/login", UriKind.Relative)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task No_token_code_or_password_is_in_the_logs()
    {
        using var browser = new Browser(_host.BaseUrl);
        var code = await BrowserLoginAsync(browser, "/landing");
        using var exchanged = await ExchangeAsync(AppIds.Approval, code);
        var page = (await exchanged.Content.ReadFromJsonAsync<Tokens>(IdentityHost.Json))!;
        var (idToken, nonce) = await browser.CodeFlowAsync("carol", IdentityHost.DevPassword("carol"));
        var tokens = await _host.TokensAsync(new { grant = "id_token", idToken, nonce, audience = AppIds.Identity });
        using var refused = await _host.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "id_token", idToken, nonce = "other", audience = AppIds.Proxy });
        Assert.Contains(_host.Logs.Lines, line => line.Contains("DEVELOPMENT ISSUER", StringComparison.Ordinal));
        foreach (var secret in new[] { code, idToken, page.AccessToken, tokens.AccessToken, tokens.RefreshToken!, IdentityHost.DevPassword("carol"), "code=" })
        {
            Assert.DoesNotContain(_host.Logs.Lines, line => line.Contains(secret, StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task A_nonce_of_another_login_is_refused()
    {
        using var browser = new Browser(_host.BaseUrl);
        var (idToken, _) = await browser.CodeFlowAsync("alice", IdentityHost.DevPassword("alice"));
        using var response = await _host.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "id_token", idToken, nonce = "other", audience = AppIds.Proxy });
        Assert.Equal((HttpStatusCode.Unauthorized, "id-token-rejected"), (response.StatusCode, await response.CodeAsync()));
    }

    private static Uri Begin(string target) => new($"/identity/login?audience={AppIds.Approval}&return={Uri.EscapeDataString(target)}", UriKind.Relative);

    private static FormUrlEncodedContent Form(params (string Name, string Value)[] fields) => new(fields.ToDictionary(field => field.Name, field => field.Value));

    private static async Task<string> BrowserLoginAsync(Browser browser, string target)
    {
        var (location, page) = await browser.FollowAsync(await browser.Http.GetAsync(Begin(target)));
        if (page is not null)
        {
            (location, page) = await browser.FollowAsync(await browser.SubmitLoginAsync(page, "carol", IdentityHost.DevPassword("carol")));
        }

        Assert.Null(page);
        Assert.Equal("/landing", location.AbsolutePath);
        return QueryHelpers.ParseQuery(location.Query)["code"].ToString();
    }

    private Task<HttpResponseMessage> ExchangeAsync(string service, string code)
        => _host.SendAsync(_host.ServiceToken(service), HttpMethod.Post, "/identity/v1/tokens", new { grant = "login_code", code });
}
