using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Approval.Host;
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

namespace Countersign.Approval.Tests;

/// <summary>The approval service as it runs: Kestrel, Orleans, SQLite, keys in files. Can be stopped and started again on the same data.</summary>
public sealed class ApprovalServer : IAsyncDisposable
{
    private readonly string _directory = Path.Combine(Path.GetTempPath(), "cs-approval-" + Guid.NewGuid().ToString("N"));
    private readonly Dictionary<string, SigningKey> _services = new() { ["proxy"] = SigningKey.Create(), ["recorder"] = SigningKey.Create() };
    private readonly Dictionary<string, string?> _settings;
    private WebApplication? _app;
    private int _sequence;

    private ApprovalServer(FakePeers peers, ShiftedClock clock, Dictionary<string, string?>? settings)
    {
        Peers = peers;
        Clock = clock;
        _settings = settings ?? [];
    }

    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web);

    public FakePeers Peers { get; }
    public ShiftedClock Clock { get; }
    public HttpClient Http { get; private set; } = null!;
    public string Data => _directory;
    public IServiceProvider Services => _app!.Services;
    public ConcurrentQueue<AuditEvent> Audits { get; } = new();
    public ConcurrentQueue<RequestChanged> Changes { get; } = new();

    public static async Task<ApprovalServer> StartAsync(Dictionary<string, string?>? settings = null)
    {
        var clock = new ShiftedClock();
        var peers = await FakePeers.StartAsync(clock);
        foreach (var person in new[] { "alice", "bob", "carol", "dave" })
        {
            peers.Person(person);
        }

        peers.Groups["dba"] = (["bob", "carol@example.com", "alice"], null);
        peers.Groups["security"] = (["carol", "dave"], null);
        var server = new ApprovalServer(peers, clock, settings);
        var keys = Path.Combine(server._directory, "keys");
        FileTrustedKeys.Publish(keys, "identity", peers.IdentityKey);
        FileTrustedKeys.Publish(keys, "policy", peers.PolicyKey);
        foreach (var (name, key) in server._services)
        {
            FileTrustedKeys.Publish(keys, name, key);
        }

        await server.StartHostAsync();
        return server;
    }

    public async Task RestartAsync()
    {
        await StopHostAsync();
        await StartHostAsync();
    }

    public async Task StopHostAsync()
    {
        Http.Dispose();
        await _app!.StopAsync();
        await _app.DisposeAsync();
        _app = null;
    }

    public async Task StartHostAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        if (Environment.GetEnvironmentVariable("CS_TEST_LOG") is { Length: > 0 })
        {
            builder.Logging.AddSimpleConsole();
        }

        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Configuration.AddInMemoryCollection(_settings);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Countersign:Services:identity"] = Peers.Address,
            ["Countersign:Services:policy"] = Peers.Address,
            ["Countersign:PublicUrl"] = "https://countersign.example",
        });
        builder.Services.AddSingleton<TimeProvider>(Clock);
        builder.AddCountersignHosting("approval-test");
        builder.AddEmbeddedPlatform(_directory, AppIds.Approval);
        builder.Services.AddSingleton(new BusSubscription("test", Topics.Audit, (published, _) =>
        {
            Audits.Enqueue(OcsfEvents.Read(published.Data.Span));
            return ValueTask.CompletedTask;
        }));
        builder.Services.AddSingleton(new BusSubscription("test", Topics.Approvals, (published, _) =>
        {
            Changes.Enqueue(JsonSerializer.Deserialize<RequestChanged>(published.Data.Span, Json)!);
            return ValueTask.CompletedTask;
        }));
        builder.AddApprovalService();
        _app = builder.Build();
        _app.UseCountersignHosting();
        _app.MapApprovalService();
        await _app.StartAsync();
        Http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false }) { BaseAddress = new Uri(_app.Urls.Single()) };
    }

    public string Service(string name, string audience = "approval") =>
        new ServiceTokens(name, name switch { "identity" => Peers.IdentityKey, "policy" => Peers.PolicyKey, _ => _services[name] }, Clock).For(audience);

    public async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, string? token, object? body = null)
    {
        using var request = new HttpRequestMessage(method, path);
        if (token is not null)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        }

        if (body is not null)
        {
            request.Content = JsonContent.Create(body, body.GetType(), options: Json);
        }

        return await Http.SendAsync(request);
    }

    public Task<HttpResponseMessage> PostAsync(string path, string? token, object? body = null) =>
        SendAsync(HttpMethod.Post, "/approval/v1/requests" + path, token, body ?? new { });

    public async Task<T> GetAsync<T>(string path, string token)
    {
        using var response = await SendAsync(HttpMethod.Get, "/approval/v1/requests" + path, token);
        return await ReadAsync<T>(response);
    }

    public static async Task<T> ReadAsync<T>(HttpResponseMessage response)
    {
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{(int)response.StatusCode} {text}");
        return JsonSerializer.Deserialize<T>(text, Json)!;
    }

    public static async Task<string> ProblemAsync(HttpResponseMessage response, HttpStatusCode status)
    {
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == status, $"{(int)response.StatusCode} {text}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        return JsonDocument.Parse(text).RootElement.GetProperty("code").GetString()!;
    }

    /// <summary>A digest that nobody else uses.</summary>
    public string Digest() => Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(BitConverter.GetBytes(Interlocked.Increment(ref _sequence))));

    public CreateRequest Create(string person = "alice", string[]? digests = null, RequestRequirement[]? allOf = null) => new()
    {
        Kind = RequestKind.Operation,
        Assertion = Peers.Session(person),
        Connection = "shop",
        Database = "shop",
        Operations = [.. (digests ?? [Digest()]).Select(digest => new RequestedOperation(digest, "DELETE FROM orders WHERE id = $1", ["7"]))],
        AllOf = allOf ?? [new RequestRequirement(["dba"], 1)],
        Rules = ["production/no-delete"],
        Message = "Deletes need a second person.",
        Context = new Dictionary<string, string> { ["search_path"] = "public" },
        TimeoutSeconds = 1800,
        GrantLifetimeSeconds = 600,
    };

    public async Task<RequestView> OpenAsync(CreateRequest? create = null)
    {
        using var response = await PostAsync("", Service("proxy"), create ?? Create());
        return (await ReadAsync<CreateRequestResult>(response)).Request;
    }

    public Task<HttpResponseMessage> DecideAsync(RequestView request, string person, bool approve = true, string? digest = null, string comment = "because") =>
        PostAsync($"/{request.Id}/{(approve ? "approve" : "deny")}", Peers.Token(person), new DecideRequest(digest ?? request.Digest, comment));

    public async Task<RequestView> ApproveAsync(RequestView request, string person = "bob")
    {
        using var response = await DecideAsync(request, person);
        return await ReadAsync<RequestView>(response);
    }

    public Task<HttpResponseMessage> RedeemAsync(RequestView request, string redemption, int index = 0, string person = "alice", string? digest = null, string? assertion = null) =>
        PostAsync(
            $"/{request.Id}/redeem", Service("proxy"),
            new RedeemRequest(index, digest ?? request.Operations[Math.Clamp(index, 0, request.Operations.Count - 1)].Digest, redemption, assertion ?? Peers.Session(person)));

    /// <summary>The claims of the grant that a redemption gives.</summary>
    public async Task<GrantClaims> GrantAsync(HttpResponseMessage redeemed) => await VerifyAsync((await ReadAsync<RedeemResult>(redeemed)).Grant);

    /// <summary>The claims of a grant.</summary>
    public async Task<GrantClaims> VerifyAsync(string grant)
    {
        var keys = await new FileTrustedKeys(Path.Combine(Data, "keys")).GetAsync("approval", default);
        return await keys.VerifyAsync<GrantClaims>(grant, TokenTypes.Grant, "approval", null, Clock.GetUtcNow());
    }

    /// <summary>Sends something that must work.</summary>
    public async Task<T> DoAsync<T>(string path, string token, object? body = null)
    {
        using var response = await PostAsync(path, token, body);
        return await ReadAsync<T>(response);
    }

    /// <summary>Sends something that must be refused, and reported as such.</summary>
    public async Task RefusedAsync(string code, HttpStatusCode status, string action, string path, string token, object? body = null)
    {
        var known = Audits.Count(audit => audit.Action == action && !audit.Success);
        using var response = await PostAsync(path, token, body);
        Assert.Equal(code, await ProblemAsync(response, status));
        await UntilAsync(() => Audits.Count(audit => audit.Action == action && !audit.Success) > known, $"an audit event {action}");
    }

    /// <summary>Waits for a condition that comes true by itself.</summary>
    public static async Task UntilAsync(Func<bool> condition, string what)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (!condition())
        {
            Assert.False(limit.IsCancellationRequested, $"waited in vain for {what}");
            await Task.Delay(20);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_app is not null)
        {
            await StopHostAsync();
        }

        await Peers.DisposeAsync();
        foreach (var key in _services.Values)
        {
            key.Dispose();
        }

        System.IO.Directory.Delete(_directory, recursive: true);
    }
}
