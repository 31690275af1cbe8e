using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;

namespace Countersign.Identity.Tests.Support;

/// <summary>Glewlwyd, an OpenID provider that others wrote, with a directory, port and database of its own.</summary>
internal sealed class Glewlwyd : IAsyncDisposable
{
    public const string Program = "/usr/bin/glewlwyd";
    public const string BasicSecret = "a-plain-secret-0123456789";
    public const string PostSecret = "a secret with: signs & umlaut + %41";
    private const string Schema = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";
    private readonly string _directory = Directory.CreateTempSubdirectory("countersign-glewlwyd-").FullName;
    private readonly CookieContainer _admin = new();
    private readonly HttpClient _http;
    private Process? _process;

    private Glewlwyd(int port)
    {
        BaseUrl = $"http://127.0.0.1:{port}";
        _http = new HttpClient(new SocketsHttpHandler { CookieContainer = _admin, AllowAutoRedirect = false });
    }

    public string BaseUrl { get; }

    public string Issuer => BaseUrl + "/api/oidc";

    public static bool IsInstalled => File.Exists(Program) && File.Exists(Schema);

    /// <summary>Starts it with a user alice in the groups dba and oncall, and the clients of Countersign.</summary>
    public static async Task<Glewlwyd> StartAsync(string webCallback, string cliCallback)
    {
        var provider = new Glewlwyd(IdentityHost.FreePort());
        try
        {
            provider.Launch();
            await provider.ConfigureAsync(webCallback, cliCallback);
            return provider;
        }
        catch
        {
            await provider.DisposeAsync();
            throw;
        }
    }

    /// <summary>A browser in which alice is logged in and has agreed to a client's scopes.</summary>
    public async Task<HttpClient> LogInAsync(params string[] clients)
    {
        var browser = new HttpClient(new SocketsHttpHandler { CookieContainer = new CookieContainer(), AllowAutoRedirect = false });
        await MustAsync(browser.PostAsJsonAsync(BaseUrl + "/api/auth/", new { username = "alice", password = "alice-password-12" }));
        foreach (var client in clients)
        {
            await MustAsync(browser.PutAsJsonAsync($"{BaseUrl}/api/auth/grant/{client}", new { scope = "openid groups" }));
        }

        return browser;
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        if (_process is { } process)
        {
            if (!process.HasExited)
            {
                process.Kill();
                await process.WaitForExitAsync();
            }

            process.Dispose();
        }

        Directory.Delete(_directory, recursive: true);
    }

    private void Launch()
    {
        var database = Path.Combine(_directory, "glewlwyd.db");
        using (var connection = new SqliteConnection($"Data Source={database};Pooling=False"))
        {
            connection.Open();
            using var command = connection.CreateCommand();
#pragma warning disable CA2100 // the package's own schema
            command.CommandText = File.ReadAllText(Schema);
#pragma warning restore CA2100
            command.ExecuteNonQuery();
        }

        var configuration = Path.Combine(_directory, "glewlwyd.conf");
        File.WriteAllText(configuration, $$"""
            port={{new Uri(BaseUrl).Port}}
            bind_address="127.0.0.1"
            external_url="{{BaseUrl}}"
            login_url="login.html"
            api_prefix="api"
            log_mode="file"
            log_level="ERROR"
            log_file="{{Path.Combine(_directory, "glewlwyd.log")}}"
            cookie_secure=0
            session_expiration=3600
            session_key="GLEWLWYD2_SESSION_ID"
            admin_scope="g_admin"
            profile_scope="g_profile"
            user_module_path="/usr/lib/glewlwyd/user"
            client_module_path="/usr/lib/glewlwyd/client"
            user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
            plugin_module_path="/usr/lib/glewlwyd/plugin"
            hash_algorithm="SHA512"
            database={ type="sqlite3"; path="{{database}}"; };
            """);
        _process = Process.Start(new ProcessStartInfo(Program, [$"--config-file={configuration}"]) { RedirectStandardOutput = true, RedirectStandardError = true });
        _process!.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    private async Task ConfigureAsync(string webCallback, string cliCallback)
    {
        await HttpExtensions.UntilAsync(async () =>
        {
            Assert.False(_process!.HasExited, "glewlwyd ended");
            try
            {
                using var response = await PostAsync("auth/", new { username = "admin", password = "password" });
                return response.IsSuccessStatusCode;
            }
            catch (HttpRequestException)
            {
                return false;
            }
        });
        var module = (await _http.GetFromJsonAsync<JsonObject>(BaseUrl + "/api/mod/user/database"))!;
        module["parameters"]!["data-format"]!["groups"] = JsonSerializer.SerializeToNode(
            new Dictionary<string, bool> { ["multiple"] = true, ["read"] = true, ["write"] = true, ["profile-read"] = true, ["profile-write"] = false });
        await MustAsync(_http.PutAsJsonAsync(BaseUrl + "/api/mod/user/database", module));
        await MustAsync(_http.PutAsJsonAsync(BaseUrl + "/api/mod/reload", new { }));
        await MustAsync(PostAsync("auth/", new { username = "admin", password = "password" }));
        await MustAsync(PostAsync("scope", new { name = "groups", display_name = "groups", description = "groups", password_required = false, scheme = new { } }));
        await MustAsync(PostAsync("mod/plugin", Plugin()));
        await MustAsync(PostAsync("user", new
        {
            username = "alice",
            name = "Alice A",
            email = "alice@corp.test",
            enabled = true,
            scope = new[] { "openid", "groups", "g_profile" },
            groups = new[] { "dba", "oncall" },
            password = "alice-password-12",
        }));
        foreach (var (id, secret, method) in new[] { ("web", BasicSecret, "client_secret_basic"), ("web-post", PostSecret, "client_secret_post") })
        {
            await MustAsync(PostAsync("client", new
            {
                client_id = id,
                name = id,
                enabled = true,
                confidential = true,
                password = secret,
                redirect_uri = new[] { webCallback },
                authorization_type = new[] { "code" },
                scope = new[] { "openid", "groups" },
                token_endpoint_auth_method = new[] { method },
            }));
        }

        await MustAsync(PostAsync("client", new
        {
            client_id = "cli",
            name = "cli",
            enabled = true,
            confidential = false,
            redirect_uri = new[] { cliCallback },
            authorization_type = new[] { "code", "device_authorization" },
            scope = new[] { "openid", "groups" },
            token_endpoint_auth_method = new[] { "none" },
        }));
    }

    private object Plugin()
    {
        using var key = RSA.Create(2048);
        return new
        {
            module = "oidc",
            name = "oidc",
            display_name = "oidc",
            parameters = new Dictionary<string, object>
            {
                ["iss"] = Issuer,
                ["jwt-type"] = "rsa",
                ["jwt-key-size"] = "256",
                ["key"] = key.ExportPkcs8PrivateKeyPem(),
                ["cert"] = key.ExportSubjectPublicKeyInfoPem(),
                ["jwks-show"] = true,
                ["code-duration"] = 600,
                ["access-token-duration"] = 300,
                ["refresh-token-duration"] = 1209600,
                ["refresh-token-rolling"] = true,
                ["allow-non-oidc"] = true,
                ["auth-type-code-enabled"] = true,
                ["auth-type-token-enabled"] = false,
                ["auth-type-id-token-enabled"] = false,
                ["auth-type-none-enabled"] = false,
                ["auth-type-password-enabled"] = false,
                ["auth-type-client-enabled"] = true,
                ["auth-type-device-enabled"] = true,
                ["auth-type-refresh-enabled"] = true,
                ["device-authorization-expiration"] = 600,
                ["device-authorization-interval"] = 1,
                ["pkce-allowed"] = true,
                ["pkce-method-plain-allowed"] = false,
                ["subject-type"] = "public",
                ["name-claim"] = "mandatory",
                ["email-claim"] = "mandatory",
                ["introspection-revocation-allowed"] = true,
                ["introspection-revocation-allow-target-client"] = true,
                ["claims"] = new[] { new Dictionary<string, object> { ["name"] = "groups", ["user-property"] = "groups", ["type"] = "string", ["mandatory"] = true } },
            },
        };
    }

    private Task<HttpResponseMessage> PostAsync(string path, object body) => _http.PostAsJsonAsync($"{BaseUrl}/api/{path}", body);

    private static async Task MustAsync(Task<HttpResponseMessage> sending)
    {
        using var response = await sending;
        await response.MustSucceedAsync();
    }
}
