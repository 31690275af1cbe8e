using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;
using Microsoft.AspNetCore.WebUtilities;

namespace Countersign.Identity.Tests;

/// <summary>Logins through a provider that others wrote (Glewlwyd from Debian): RS256, opaque subjects, auth_time 0, another set of habits.</summary>
[Trait("group", "identity")]
public sealed class ForeignProviderTests : IAsyncLifetime
{
    private const string CliCallback = "http://127.0.0.1:45671/callback";
    private Glewlwyd _provider = null!;
    private IdentityHost _host = null!;

    public async ValueTask InitializeAsync()
    {
        Assert.SkipUnless(Glewlwyd.IsInstalled, "Debian's glewlwyd is not installed (apt-get install glewlwyd).");
        var port = IdentityHost.FreePort();
        _provider = await Glewlwyd.StartAsync($"http://127.0.0.1:{port}/identity/callback", CliCallback);
        _host = await StartAsync(port, "web", Glewlwyd.BasicSecret, "client_secret_basic");
    }

    private Task<IdentityHost> StartAsync(int port, string client, string secret, string method)
        => IdentityHost.StartAsync(port: port, environment: "Production", configuration: new Dictionary<string, string?>
        {
            ["Countersign:DevIssuer:Enabled"] = "false",
            ["Countersign:Identity:Provider:Issuer"] = _provider.Issuer,
            ["Countersign:Identity:Provider:ClientId"] = "cli",
            ["Countersign:Identity:Provider:WebClientId"] = client,
            ["Countersign:Identity:Provider:WebClientSecret"] = secret,
            ["Countersign:Identity:Provider:WebClientAuthentication"] = method,
            ["Countersign:Identity:Provider:VouchedNameClaims:0"] = "email",
            ["Countersign:Identity:Provider:Scopes:0"] = "openid",
            ["Countersign:Identity:Provider:Scopes:1"] = "groups",
        });

    public async ValueTask DisposeAsync()
    {
        if (_host is not null)
        {
            await _host.DisposeAsync();
        }

        if (_provider is not null)
        {
            await _provider.DisposeAsync();
        }
    }

    [Fact]
    public async Task Code_with_pkce_as_the_cli_does_it()
    {
        var login = await _host.Http.GetFromJsonAsync<JsonElement>("/identity/v1/login");
        Assert.Equal((_provider.Issuer, "cli", false), (login.GetProperty("issuer").GetString(), login.GetProperty("clientId").GetString(), login.GetProperty("developmentOnly").GetBoolean()));
        using var browser = await _provider.LogInAsync("cli");
        var (verifier, challenge) = Browser.Pkce();
        using var authorized = await browser.GetAsync(QueryHelpers.AddQueryString(_provider.Issuer + "/auth", new Dictionary<string, string?>
        {
            ["client_id"] = "cli",
            ["response_type"] = "code",
            ["redirect_uri"] = CliCallback,
            ["scope"] = "openid groups",
            ["state"] = "s",
            ["nonce"] = "n1",
            ["code_challenge"] = challenge,
            ["code_challenge_method"] = "S256",
            ["g_continue"] = "",
        }));
        var answer = await TokenAsync(new Dictionary<string, string>
        {
            ["grant_type"] = "authorization_code",
            ["code"] = Query(authorized.Headers.Location!, "code"),
            ["redirect_uri"] = CliCallback,
            ["client_id"] = "cli",
            ["code_verifier"] = verifier,
        });
        var idToken = answer.GetProperty("id_token").GetString();
        var tokens = await _host.TokensAsync(new { grant = "id_token", idToken, nonce = "n1", audience = AppIds.Approval });
        var claims = _host.VerifyAccess(tokens.AccessToken);
        Assert.Equal("alice@corp.test", claims.Name);
        Assert.Equal(["dba", "oncall"], claims.Groups.Order());
        Assert.InRange(claims.AuthenticatedAt, claims.IssuedAt - 120, claims.IssuedAt + 5);
        using var wrong = await _host.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "id_token", idToken, nonce = "n2", audience = AppIds.Approval });
        Assert.Equal(HttpStatusCode.Unauthorized, wrong.StatusCode);
    }

    [Fact]
    public async Task Device_code_as_the_cli_does_it()
    {
        using var device = new HttpClient();
        using var begun = await device.PostAsync(
            _provider.Issuer + "/device_authorization", new FormUrlEncodedContent(new Dictionary<string, string> { ["client_id"] = "cli", ["scope"] = "openid groups" }));
        await begun.MustSucceedAsync();
        var codes = await begun.Content.ReadFromJsonAsync<JsonElement>();
        using var browser = await _provider.LogInAsync("cli");
        using var allowed = await browser.GetAsync($"{_provider.Issuer}/device?code={codes.GetProperty("user_code").GetString()}&g_continue");
        Assert.True((int)allowed.StatusCode < 400, allowed.StatusCode.ToString());
        JsonElement answer = default;
        await HttpExtensions.UntilAsync(async () =>
        {
            answer = await TokenAsync(new Dictionary<string, string>
            {
                ["grant_type"] = "urn:ietf:params:oauth:grant-type:device_code",
                ["client_id"] = "cli",
                ["device_code"] = codes.GetProperty("device_code").GetString()!,
            });
            return answer.TryGetProperty("id_token", out _);
        });
        var tokens = await _host.TokensAsync(new { grant = "id_token", idToken = answer.GetProperty("id_token").GetString(), audience = AppIds.Policy });
        Assert.Equal("alice@corp.test", _host.VerifyAccess(tokens.AccessToken).Name);
    }

    [Theory]
    [InlineData("web", Glewlwyd.BasicSecret, "client_secret_basic")]
    [InlineData("web-post", Glewlwyd.PostSecret, "client_secret_post")]
    public async Task Login_in_a_browser_with_a_client_that_has_a_secret(string client, string secret, string method)
    {
        if (client != "web")
        {
            await _host.DisposeAsync();
            _host = await StartAsync(new Uri(_host.BaseUrl).Port, client, secret, method);
        }

        using var browser = new Browser(_host.BaseUrl);
        using var atProvider = await _provider.LogInAsync(client);
        using var begun = await browser.Http.GetAsync(new Uri($"/identity/login?audience={AppIds.Approval}&return=/landing", UriKind.Relative));
        using var authorized = await atProvider.GetAsync(begun.Headers.Location + "&g_continue");
        var (landing, page) = await browser.FollowAsync(await browser.Http.GetAsync(authorized.Headers.Location));
        Assert.True(page is null, page is null ? "" : await page.Content.ReadAsStringAsync());
        using var exchanged = await _host.SendAsync(
            _host.ServiceToken(AppIds.Approval), HttpMethod.Post, "/identity/v1/tokens", new { grant = "login_code", code = Query(landing, "code") });
        await exchanged.MustSucceedAsync();
        var tokens = (await exchanged.Content.ReadFromJsonAsync<Tokens>(IdentityHost.Json))!;
        Assert.Equal(["dba", "oncall"], _host.VerifyAccess(tokens.AccessToken, AppIds.Approval).Groups.Order());
        using var dev = await _host.Http.GetAsync(new Uri("/dev-issuer/login", UriKind.Relative));
        Assert.Equal(HttpStatusCode.NotFound, dev.StatusCode);
    }

    private static string Query(Uri location, string name) => QueryHelpers.ParseQuery(location.Query)[name].ToString();

    private async Task<JsonElement> TokenAsync(Dictionary<string, string> form)
    {
        using var http = new HttpClient();
        using var response = await http.PostAsync(_provider.Issuer + "/token", new FormUrlEncodedContent(form));
        return JsonDocument.Parse(await response.Content.ReadAsStringAsync()).RootElement;
    }
}
