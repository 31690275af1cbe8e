using System.Collections.Concurrent;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;
using Countersign.Policy.Host;
using Countersign.Recorder.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Countersign.Policy.Tests.Host;

/// <summary>The real policy service over HTTP and SQLite, with an approval service and a proxy's parser that the test is.</summary>
internal sealed class PolicyWorld : IAsyncDisposable
{
    private readonly string _directory;
    private readonly WebApplication _app;
    private bool _stopped;

    private PolicyWorld(string directory, WebApplication app)
    {
        _directory = directory;
        _app = app;
    }

    public ConcurrentDictionary<string, RequestView> Requests { get; private init; } = new();
    public ConcurrentQueue<CreateRequest> Asked { get; } = new();
    public ConcurrentQueue<AuditEvent> Audit { get; } = new();
    public ConcurrentQueue<BusEvent> PolicyEvents { get; } = new();

    /// <summary>Where the grant of a request is something else than approval would give.</summary>
    public Func<string, GrantClaims, GrantClaims> Forge { get; set; } = (_, claims) => claims;

    /// <summary>Persons who are enrolled, as identity would say.</summary>
    public HashSet<string> Enrolled { get; } = ["per_alice", "per_bob"];

    /// <summary>Who answers for identity.</summary>
    public string Answerer { get; private init; } = AppIds.Identity;

    /// <summary>Everybody, as identity would list them.</summary>
    public List<PersonView> Persons { get; } = [];

    public HttpClient Client { get; private set; } = null!;

    public IServiceProvider Services => _app.Services;

    /// <summary>Starts a replica: of the same store, with the same keys, beside the same approval service.</summary>
    public static async Task<PolicyWorld> StartReplicaAsync(string storage, PolicyWorld? first = null)
    {
        var directory = Directory.CreateTempSubdirectory("cs-policy-").FullName;
        if (first is not null)
        {
            var keys = Directory.CreateDirectory(Path.Combine(directory, "keys"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute).FullName;
            foreach (var file in Directory.GetFiles(Path.Combine(first._directory, "keys")))
            {
                File.Copy(file, Path.Combine(keys, Path.GetFileName(file)));
            }
        }

        return await StartAsync(directory, null, storage, first?.Requests);
    }

    public static async Task<PolicyWorld> StartAsync(
        string? directory = null, ConcurrentDictionary<string, RequestView>? requests = null, string? storage = null, ConcurrentDictionary<string, RequestView>? shared = null,
        string answerer = AppIds.Identity)
    {
        directory ??= Directory.CreateTempSubdirectory("cs-policy-").FullName;
        var builder = WebApplication.CreateSlimBuilder();
        builder.Configuration["Countersign:Policy:PollSeconds"] = "0.1";
        builder.Configuration["Countersign:Policy:BeaconSeconds"] = "0.1";
        builder.Configuration["urls"] = "http://127.0.0.1:0";
        builder.Configuration["Countersign:Storage:Postgres"] = storage;
        builder.Logging.ClearProviders();
        builder.AddCountersignHosting("policy-test");
        builder.AddEmbeddedPlatform(directory);
        builder.AddPolicyService();
        PolicyWorld? world = null;
        builder.Services.AddSingleton(new BusSubscription("test", Topics.Audit, (happened, _) =>
        {
            world!.Audit.Enqueue(OcsfEvents.Read(happened.Data.Span));
            return ValueTask.CompletedTask;
        }));
        builder.Services.AddSingleton(new BusSubscription("test", Topics.Policy, (happened, _) =>
        {
            world!.PolicyEvents.Enqueue(happened);
            return ValueTask.CompletedTask;
        }));
        var app = builder.Build();
        world = new PolicyWorld(directory, app) { Requests = shared ?? new ConcurrentDictionary<string, RequestView>(), Answerer = answerer };
        foreach (var request in requests ?? [])
        {
            world.Requests[request.Key] = request.Value;
        }

        app.UseCountersignHosting();
        app.MapPolicyService();
        world.MapOthers(app);
        await app.StartAsync();
        world.Client = new HttpClient { BaseAddress = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()) };
        return world;
    }

    /// <summary>Ends the process and starts another one on the same data.</summary>
    public async Task<PolicyWorld> RestartAsync()
    {
        await StopAsync();
        return await StartAsync(_directory, Requests);
    }

    public string Person(string name, string audience = AppIds.Policy, params string[] groups) => Services.GetRequiredKeyedService<SigningKey>(AppIds.Identity).Sign(
        TokenTypes.Access,
        new AccessTokenClaims
        {
            Issuer = AppIds.Identity,
            Audience = audience,
            Subject = "prn_" + name,
            Id = Guid.NewGuid().ToString("N"),
            IssuedAt = DateTimeOffset.UtcNow.ToUnixTimeSeconds(),
            ExpiresAt = DateTimeOffset.UtcNow.AddMinutes(5).ToUnixTimeSeconds(),
            Person = "per_" + name,
            Name = name + "@example.com",
            Kind = "human",
            Groups = groups,
            AuthenticatedAt = DateTimeOffset.UtcNow.ToUnixTimeSeconds(),
        });

    public string Service(string appId) => Services.GetRequiredKeyedService<SigningKey>(appId).Sign(
        TokenTypes.Service,
        new ServiceTokenClaims(appId, AppIds.Policy, DateTimeOffset.UtcNow.ToUnixTimeSeconds(), DateTimeOffset.UtcNow.AddMinutes(1).ToUnixTimeSeconds()));

    public async Task<HttpResponseMessage> SendAsync(string token, HttpMethod method, string path, object? body = null)
    {
        using var request = new HttpRequestMessage(method, path) { Content = body is null ? null : body is string json ? new StringContent(json) : JsonContent.Create(body) };
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        return await Client.SendAsync(request);
    }

    public async Task<T> GetAsync<T>(string token, string path)
    {
        using var response = await SendAsync(token, HttpMethod.Get, path);
        Assert.True(response.IsSuccessStatusCode, $"{path}: {(int)response.StatusCode} {await response.Content.ReadAsStringAsync()}");
        return (await response.Content.ReadFromJsonAsync<T>())!;
    }

    public async Task<T> PostAsync<T>(string token, string path, object body)
    {
        using var response = await SendAsync(token, HttpMethod.Post, path, body);
        Assert.True(response.IsSuccessStatusCode, $"{path}: {(int)response.StatusCode} {await response.Content.ReadAsStringAsync()}");
        return (await response.Content.ReadFromJsonAsync<T>())!;
    }

    public Task<PolicyChangeResult> AskAsync(string person, PolicyChangeRequest change) => PostAsync<PolicyChangeResult>(Person(person), "/policy/v1/changes", change);

    /// <summary>Decides a request as somebody else; tells the service by the bus, or lets it find out by itself.</summary>
    public async Task DecideAsync(string request, RequestState state, bool tell = true, string comment = "")
    {
        var view = Requests[request];
        Requests[request] = view with
        {
            State = state,
            Version = view.Version + 1,
            Decisions = [new RequestDecision("per_bob", "bob@example.com", state == RequestState.Approved, DateTimeOffset.UtcNow, comment)],
        };
        if (tell)
        {
            var data = JsonSerializer.SerializeToUtf8Bytes(new RequestChanged($"{request}:2", request, 2, state), JsonSerializerOptions.Web);
            await Services.GetRequiredService<IEventBus>().PublishAsync(Topics.Approvals, $"{request}:2", "countersign.request.changed", data, CancellationToken.None);
        }
    }

    public async Task<PolicyChangeView> EndedAsync(string request)
    {
        PolicyChangeView? view = null;
        await UntilAsync(async () => (view = await GetAsync<PolicyChangeView>(Person("alice"), $"/policy/v1/changes/{request}")).State != "pending");
        return view!;
    }

    public static async Task UntilAsync(Func<Task<bool>> condition)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        while (!await condition())
        {
            limit.Token.ThrowIfCancellationRequested();
            await Task.Delay(10, CancellationToken.None);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        Directory.Delete(_directory, recursive: true);
    }

    private async Task StopAsync()
    {
        if (_stopped)
        {
            return;
        }

        _stopped = true;
        Client.Dispose();
        await _app.StopAsync();
        await _app.DisposeAsync();
    }

    private void MapOthers(WebApplication app)
    {
        app.MapPost("/approval/v1/requests", (CreateRequest create) =>
        {
            Asked.Enqueue(create);
            var view = new RequestView
            {
                Id = $"apr_{Guid.NewGuid():N}",
                Kind = create.Kind,
                State = RequestState.Pending,
                Version = 1,
                Digest = "d",
                Requester = "per_alice",
                RequesterName = "alice@example.com",
                Connection = "",
                Database = "",
                Operations = create.Operations,
                Redeemed = 0,
                AllOf = create.AllOf,
                Decisions = [],
                Rules = [],
                Message = create.Message,
                Reason = create.Reason,
                Context = new Dictionary<string, string>(),
                Transaction = [],
                CreatedAt = DateTimeOffset.UtcNow,
                ExpiresAt = DateTimeOffset.UtcNow.AddHours(1),
                Link = "http://approval/1",
            };
            if (create.InEffect)
            {
                // Born at its end, with a review, and with a grant that names no approver.
                view = view with { State = RequestState.Consumed, Review = new RequestReview(DateTimeOffset.UtcNow.AddDays(3)) };
                view = view with { Grant = Sign(Forge(view.Id, Grant(view) with { Approvers = [], Removal = true })) };
            }

            Requests[view.Id] = view;
            return Results.Json(new CreateRequestResult(view, false));
        });
        app.MapGet("/approval/v1/requests/{id}", (string id) => Requests.TryGetValue(id, out var view) ? Results.Json(view) : Results.NotFound());
        app.MapPost("/approval/v1/requests/{id}/redeem", (string id, RedeemRequest redeem) =>
        {
            var view = Requests[id];
            if (view.State is not (RequestState.Approved or RequestState.Consumed) || redeem.RedemptionId != $"bundle:{id}")
            {
                return Results.Problem(statusCode: 409, detail: "not approved", extensions: new Dictionary<string, object?> { ["code"] = "wrong-state" });
            }

            Requests[id] = view with { State = RequestState.Consumed };
            return Results.Json(new RedeemResult(Sign(Forge(id, Grant(view)))));
        });
        app.MapGet("/identity/v1/persons", () => Results.Json(Persons)).SignsAnswers(AppIds.Identity).RequireCaller(AppIds.Identity, Callers.Services, AppIds.Policy);
        app.MapGet("/identity/v1/persons/{id}/standing", (string id) => id.StartsWith("per_", StringComparison.Ordinal)
            ? Results.Json(new PersonStanding(id, id[4..] + "@example.com", Enrolled.Contains(id), false, [], [id], false))
            : Results.NotFound()).SignsAnswers(Answerer).RequireCaller(AppIds.Identity, Callers.Services, AppIds.Policy);
        app.MapPost("/proxy/v1/facts", (FactsRequest asked) => Results.Json(new OperationFacts
        {
            Protocol = asked.Protocol,
            Grammar = "test",
            Statements = [new StatementFacts { Kinds = [asked.Text.Split(' ')[0].ToUpperInvariant()], WhereAbsent = asked.Text.StartsWith("delete", StringComparison.OrdinalIgnoreCase) && !asked.Text.Contains("where", StringComparison.OrdinalIgnoreCase) }],
        }));
    }

    private static GrantClaims Grant(RequestView view)
    {
        var now = DateTimeOffset.UtcNow;
        return new GrantClaims
        {
            Id = "grt_" + view.Id,
            Issuer = AppIds.Approval,
            Request = view.Id,
            Kind = RequestKind.Bundle,
            Person = "per_alice",
            Connection = "",
            Digests = [view.Operations[0].Digest],
            AllOf = view.AllOf,
            Approvers = [new GrantApprover("per_bob", "bob@example.com", now.ToUnixTimeSeconds())],
            IssuedAt = now.ToUnixTimeSeconds(),
            ExpiresAt = now.AddMinutes(5).ToUnixTimeSeconds(),
        };
    }

    private string Sign(GrantClaims claims) => Services.GetRequiredKeyedService<SigningKey>(AppIds.Approval).Sign(TokenTypes.Grant, claims);
}
