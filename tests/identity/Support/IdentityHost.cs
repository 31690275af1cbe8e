using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Identity.Host;
using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Recorder.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Countersign.Identity.Tests.Support;

/// <summary>Identity with its development issuer on a real socket, beside a scripted approval service with approval's real key.</summary>
internal sealed class IdentityHost : IAsyncDisposable
{
    public static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly WebApplication _app;
    private readonly bool _ownsData;

    private IdentityHost(WebApplication app, string data, bool ownsData, string baseUrl)
    {
        (_app, Data, _ownsData, BaseUrl) = (app, data, ownsData, baseUrl);
        Http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false }) { BaseAddress = new Uri(baseUrl) };
        Approval = app.Services.GetRequiredService<ScriptedApproval>();
        Policy = app.Services.GetRequiredService<ScriptedPolicy>();
        Audit = app.Services.GetRequiredService<AuditLog>();
    }

    public string Data { get; }

    public string BaseUrl { get; }

    public HttpClient Http { get; }

    public ScriptedApproval Approval { get; }

    public ScriptedPolicy Policy { get; }

    public AuditLog Audit { get; }

    public CapturedLogs Logs => Services.GetRequiredService<CapturedLogs>();

    public IServiceProvider Services => _app.Services;

    public string BootstrapFile => Path.Combine(Data, "bootstrap-token");

    public static async Task<IdentityHost> StartAsync(
        string? data = null, int? port = null, IReadOnlyDictionary<string, string?>? configuration = null, string environment = "Development")
    {
        var directory = data ?? Directory.CreateTempSubdirectory("countersign-identity-").FullName;
        var baseUrl = $"http://127.0.0.1:{port ?? FreePort()}";
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { EnvironmentName = environment });
        var logs = new CapturedLogs();
        builder.Logging.ClearProviders().AddProvider(logs);
        builder.Services.AddSingleton(logs);
        builder.WebHost.UseUrls(baseUrl);
        builder.Configuration.AddInMemoryCollection(Defaults(directory, baseUrl));
        builder.Configuration.AddInMemoryCollection(configuration ?? new Dictionary<string, string?>());
        builder.AddCountersignHosting("test");
        builder.AddEmbeddedPlatform(directory);
        builder.AddIdentityService();
        builder.Services.AddSingleton<ScriptedApproval>();
        builder.Services.AddSingleton<ScriptedPolicy>();
        builder.Services.AddSingleton<AuditLog>();
        builder.Services.AddSingleton(provider => new BusSubscription("test", Topics.Audit, (e, _) => provider.GetRequiredService<AuditLog>().Add(e)));
        builder.Services.AddSingleton(provider => new BusSubscription("test", Topics.Identity, (e, _) => provider.GetRequiredService<AuditLog>().AddIdentity(e)));
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapIdentityService();
        app.Services.GetRequiredService<ScriptedApproval>().Map(app);
        app.Services.GetRequiredService<ScriptedPolicy>().Map(app);
        await app.StartAsync();
        return new IdentityHost(app, directory, data is null, baseUrl);
    }

    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>An access token of somebody who logs in at the development issuer now.</summary>
    public async Task<Login> LogInAsync(string name, string audience = AppIds.Identity, string scope = "openid profile email groups")
    {
        using var browser = new Browser(BaseUrl);
        var (idToken, nonce) = await browser.CodeFlowAsync(name, DevPassword(name), scope: scope);
        var tokens = await TokensAsync(new { grant = "id_token", idToken, nonce, audience });
        return new Login(this, tokens.AccessToken, tokens.RefreshToken!);
    }

    public async Task<Tokens> TokensAsync(object ask)
    {
        using var response = await Http.PostAsJsonAsync("/identity/v1/tokens", ask, Json);
        await response.MustSucceedAsync();
        return (await response.Content.ReadFromJsonAsync<Tokens>(Json))!;
    }

    public Task<HttpResponseMessage> SendAsync(string token, HttpMethod method, string path, object? body = null)
    {
        var request = new HttpRequestMessage(method, path) { Content = body is null ? null : JsonContent.Create(body, options: Json) };
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        return Http.SendAsync(request);
    }

    public string ServiceToken(string service, string audience = AppIds.Identity) => Services.GetRequiredKeyedService<ServiceTokens>(service).For(audience);

    public async Task<T> GetAsync<T>(string token, string path)
    {
        using var response = await SendAsync(token, HttpMethod.Get, path);
        await response.MustSucceedAsync();
        return (await response.Content.ReadFromJsonAsync<T>(Json))!;
    }

    public async Task<PersonStanding> StandingAsync(string person)
        => await GetAsync<PersonStanding>(ServiceToken(AppIds.Approval), $"/identity/v1/persons/{person}/standing");

    /// <summary>The first person, by the bootstrap token.</summary>
    public async Task<Login> BootstrapAsync(string name = "alice")
    {
        var login = await LogInAsync(name);
        using var response = await SendAsync(login.AccessToken, HttpMethod.Post, "/identity/v1/bootstrap", new { token = await File.ReadAllTextAsync(BootstrapFile) });
        await response.MustSucceedAsync();
        return await LogInAsync(name);
    }

    public static string DevPassword(string name) => $"{name}-password";

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await _app.DisposeAsync();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        if (_ownsData)
        {
            Directory.Delete(Data, recursive: true);
        }
    }

    private static Dictionary<string, string?> Defaults(string directory, string baseUrl)
    {
        var settings = new Dictionary<string, string?>
        {
            ["Countersign:Data"] = directory,
            ["Countersign:BaseUrl"] = baseUrl,
            ["Countersign:DevIssuer:Enabled"] = "true",
        };
        foreach (var (name, index) in new[] { "alice", "bob", "carol", "dave" }.Select((name, index) => (name, index)))
        {
            settings[$"Countersign:DevIssuer:Users:{index}:Name"] = name;
            settings[$"Countersign:DevIssuer:Users:{index}:Email"] = $"{name}@example.test";
            settings[$"Countersign:DevIssuer:Users:{index}:Password"] = DevPassword(name);
            settings[$"Countersign:DevIssuer:Users:{index}:Groups:0"] = "dba";
            settings[$"Countersign:DevIssuer:Users:{index}:Groups:1"] = $"team-{name}";
        }

        return settings;
    }
}

/// <summary>Answer of the token route.</summary>
internal sealed record Tokens(string AccessToken, int ExpiresIn, string? RefreshToken);

/// <summary>Somebody who is logged in.</summary>
internal sealed class Login(IdentityHost host, string accessToken, string refreshToken)
{
    public string AccessToken => accessToken;

    public string RefreshToken => refreshToken;

    public AccessTokenClaims Claims { get; } = host.VerifyAccess(accessToken);

    public string Person => Claims.Person;

    public Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, object? body = null) => host.SendAsync(accessToken, method, path, body);
}

/// <summary>Everything that identity published.</summary>
internal sealed class AuditLog
{
    public ConcurrentQueue<AuditEvent> Events { get; } = new();

    public ConcurrentQueue<BusEvent> Identity { get; } = new();

    public ValueTask Add(BusEvent published)
    {
        Events.Enqueue(OcsfEvents.Read(published.Data.Span));
        return ValueTask.CompletedTask;
    }

    public ValueTask AddIdentity(BusEvent published)
    {
        Identity.Enqueue(published);
        return ValueTask.CompletedTask;
    }
}

internal static class HttpExtensions
{
    public static async Task MustSucceedAsync(this HttpResponseMessage response)
    {
        if (!response.IsSuccessStatusCode)
        {
            throw new HttpRequestException($"{(int)response.StatusCode} {await response.Content.ReadAsStringAsync()}");
        }
    }

    public static async Task<string?> CodeAsync(this HttpResponseMessage response)
        => (await response.Content.ReadFromJsonAsync<JsonElement>()).GetProperty("code").GetString();

    public static AccessTokenClaims VerifyAccess(this IdentityHost host, string token, string? audience = null)
    {
        var keys = new VerificationKeys([host.Services.GetRequiredKeyedService<SigningKey>(AppIds.Identity).PublicKey]);
        var claimed = new Microsoft.IdentityModel.JsonWebTokens.JsonWebToken(token).Audiences.Single();
        return keys.VerifyAsync<AccessTokenClaims>(token, TokenTypes.Access, AppIds.Identity, audience ?? claimed, DateTimeOffset.UtcNow).AsTask().Result;
    }

    /// <summary>Waits until something is so; the only kind of waiting in these tests.</summary>
    public static async Task UntilAsync(Func<Task<bool>> condition)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (!await condition())
        {
            await Task.Delay(20, deadline.Token);
        }
    }
}
