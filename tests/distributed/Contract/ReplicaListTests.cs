using Countersign.Approval.Actors;
using Countersign.Approval.Actors.Dapr;
using Countersign.Approval.Workflow;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Sidecar;
using Countersign.Fakes.Workflow;
using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>Two replicas of approval over one store: what one did is in the lists of the other.</summary>
public sealed class ReplicaListTests : IAsyncLifetime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("cs-replicas-").FullName;
    private readonly Plane _plane = new(DoubleFleet.Quick);
    private readonly ContractWorld _world = new();
    private readonly List<DaprHost> _hosts = [];
    private SqliteStateStore _store = null!;

    public ValueTask InitializeAsync()
    {
        _store = new SqliteStateStore(Path.Combine(_folder, "shared.db"));
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var host in _hosts)
        {
            await host.DisposeAsync();
        }

        await _plane.DisposeAsync();
        _store.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task What_one_replica_did_is_in_the_lists_of_the_other_by_its_event()
    {
        var (one, other) = (await StartAsync(), await StartAsync());
        for (var number = 0; number < 8; number++)
        {
            // Where an actor lives is placement's business: some of them at each.
            var id = $"apr_{number}";
            Good(await AskAsync(number % 2 == 0 ? one : other, Spec(id)));
            await Until.TrueAsync(() => Knows(one, id, WorkflowState.Pending) && Knows(other, id, WorkflowState.Pending), 4);
        }

        Good(await SendAsync(other, "apr_3", new DecideMessage(false, "d3", "no", "bob")));
        await Until.TrueAsync(() => Knows(one, "apr_3", WorkflowState.Denied) && Knows(other, "apr_3", WorkflowState.Denied), 4);
    }

    [Fact]
    public async Task Without_events_it_is_there_within_the_interval_and_after_a_restart_at_once()
    {
        var (one, other) = (await StartAsync(), await StartAsync());
        _plane.Faults.Down = true;
        for (var number = 0; number < 6; number++)
        {
            Good(await AskAsync(one, Spec($"apr_{number}")));
        }

        await Until.TrueAsync(() => States(other).Count == 6 && States(one).Count == 6, 30);
        var third = await StartAsync();
        Assert.Equal(6, States(third).Count);
    }

    [Fact]
    public async Task A_write_that_becomes_visible_late_is_not_passed_over()
    {
        var store = new LateStore(_store);
        var reader = new ChangeReader(store, "c", _world.Clock);
        await _store.TrySaveAsync("c", "a", "1"u8.ToArray(), null, default);
        await _store.TrySaveAsync("c", "late", "1"u8.ToArray(), null, default);
        await _store.TrySaveAsync("c", "b", "1"u8.ToArray(), null, default);
        store.Hidden = "late";
        Assert.Equal(["a", "b"], await KeysAsync(reader, again: false));
        store.Hidden = "";
        Assert.Empty(await KeysAsync(reader, again: false));
        Assert.Contains("late", await KeysAsync(reader, again: true));

        // What is certain is not read again and again.
        _world.Clock.Shift += StateKeys.LongestWrite + TimeSpan.FromSeconds(1);
        await KeysAsync(reader, again: true);
        Assert.Empty(await KeysAsync(reader, again: true));
        await _store.TrySaveAsync("c", "c", "1"u8.ToArray(), null, default);
        Assert.Equal(["c"], await KeysAsync(reader, again: false));
    }

    [Fact]
    public async Task More_than_a_page_is_read_to_the_end()
    {
        for (var number = 0; number < 1_203; number++)
        {
            await _store.TrySaveAsync("c", $"k{number}", "1"u8.ToArray(), null, default);
        }

        var reader = new ChangeReader(_store, "c", _world.Clock);
        Assert.Equal(Enumerable.Range(0, 1_203).Select(number => $"k{number}"), await KeysAsync(reader, again: false));
        Assert.Empty(await KeysAsync(reader, again: false));
    }

    private static async Task<List<string>> KeysAsync(ChangeReader reader, bool again)
    {
        var keys = new List<string>();
        await foreach (var item in reader.ReadAsync(again, TestContext.Current.CancellationToken))
        {
            keys.Add(item.Key);
        }

        return keys;
    }

    private async Task<DaprHost> StartAsync()
    {
        var (port, http, grpc) = (LoopbackPorts.Next(), LoopbackPorts.Next(), LoopbackPorts.Next());
        var tokens = SidecarRuntime.Tokens(AppIds.Approval);
        var settings = new WorkflowSettings(new RequesterLimits(100, TimeSpan.FromMinutes(1), TimeSpan.FromHours(1)), TimeSpan.FromHours(1), new RequestRetention(null));
        var host = await DaprHost.StartAsync(new AppSpec(AppIds.Approval), _folder, port, http, grpc, tokens,
            builder =>
            {
                var services = builder.Services;
                services.AddSingleton<TimeProvider>(_world.Clock);
                services.AddSingleton<IEvidence>(_world.Evidence);
                services.AddSingleton<IGrantSigner>(_world.Signer);
                services.AddSingleton<IEffects<RequestDocument, RequestEffect>>(provider => new Telling(provider.GetRequiredService<IEventBus>()));
                services.AddSingleton<IRefusalReports>(_world.Told);
                services.AddKeyedSingleton<IStateStore>(AppIds.Approval, _store);
                builder.AddDaprApprovalActors($"http://127.0.0.1:{http}", tokens.Api, settings);
            },
            app => app.MapDaprApprovalActors());
        _hosts.Add(host);
        var sidecar = await _plane.AddAsync(new SidecarOptions
        {
            AppId = AppIds.Approval,
            App = host.Address,
            HttpPort = http,
            GrpcPort = grpc,
            ApiToken = tokens.Api,
            AppToken = tokens.App,
            HealthPath = "/health/live",
            Configuration = ContractApps.OtherRules,
            ReadBuffer = 16 * 1024,
        });
        await Until.TrueAsync(() => sidecar.IsAppWell);
        return host;
    }

    private Dictionary<string, WorkflowState> States(DaprHost host)
    {
        var now = _world.Clock.GetUtcNow();
        return host.App.Services.GetRequiredService<RequestIndex>().Find(now, null, null).ToDictionary(request => request.Id, request => request.StateAt(now));
    }

    private bool Knows(DaprHost host, string id, WorkflowState state) => States(host).TryGetValue(id, out var known) && known == state;

    private static async Task<ActorAnswer> AskAsync(DaprHost host, RequestSpec spec) =>
        await SendAsync<RequesterMessage>(host, WorkflowTypes.Requester, "alice", new AskMessage(spec, "session:alice"));

    private static Task<ActorAnswer> SendAsync(DaprHost host, string request, RequestMessage message) => SendAsync(host, WorkflowTypes.Request, request, message);

    private static async Task<ActorAnswer> SendAsync<T>(DaprHost host, string type, string id, T message)
    {
        var answer = await host.App.Services.GetRequiredService<IWorkflowHost>().SendAsync(
            type, id, System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(message, WorkflowJson.Options), TestContext.Current.CancellationToken);
        return System.Text.Json.JsonSerializer.Deserialize<ActorAnswer>(answer.Span, WorkflowJson.Options)!;
    }

    private static void Good(ActorAnswer answer) => Assert.True(answer.Refusal is null, answer.Refusal?.Message);

    private static RequestSpec Spec(string id) => new()
    {
        Id = id,
        Kind = WorkflowKind.Operation,
        AskedBy = "proxy",
        Requester = new SpecRequester("", "", []),
        Connection = "shop",
        Operations = [new SpecOperation("d" + id[4..], "DELETE", [])],
        Digest = "d" + id[4..],
        AllOf = [new SpecRequirement(["dba"], 1)],
        Timeout = TimeSpan.FromHours(1),
        GrantLifetime = TimeSpan.FromHours(1),
    };

    /// <summary>Publishes changes as approval does; an event that can't be published is lost here, which is what the look at the store is for.</summary>
    private sealed class Telling(IEventBus bus) : IEffects<RequestDocument, RequestEffect>
    {
        public async ValueTask<bool> RunAsync(RequestDocument document, IReadOnlyList<RequestEffect> effects, CancellationToken cancellation)
        {
            foreach (var effect in effects)
            {
                try
                {
                    var json = System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(new { id = $"{document.Spec.Id}:{effect.Version}", request = document.Spec.Id, version = effect.Version, state = "pending" });
                    await bus.PublishAsync(Topics.Approvals, $"{document.Spec.Id}:{effect.Version}", "countersign.request.changed", json, cancellation);
                }
                catch (PortUnavailableException)
                {
                    // Lost.
                }
            }

            return true;
        }
    }

    /// <summary>A store in which a write is committed after others that have a later place.</summary>
    private sealed class LateStore(IStateStore store) : IStateStore
    {
        public string Hidden { get; set; } = "";

        public ValueTask<StateItem?> GetAsync(string collection, string key, CancellationToken cancellation) => store.GetAsync(collection, key, cancellation);

        public ValueTask<bool> TrySaveAsync(string collection, string key, ReadOnlyMemory<byte> value, string? etag, CancellationToken cancellation) =>
            store.TrySaveAsync(collection, key, value, etag, cancellation);

        public ValueTask<bool> TryDeleteAsync(string collection, string key, string etag, CancellationToken cancellation) => store.TryDeleteAsync(collection, key, etag, cancellation);

        public IAsyncEnumerable<StateItem> ListAsync(string collection, CancellationToken cancellation) => store.ListAsync(collection, cancellation);

        public async ValueTask<IReadOnlyList<StateItem>> ReadChangesAsync(string collection, string? after, int limit, CancellationToken cancellation) =>
            [.. (await store.ReadChangesAsync(collection, after, limit, cancellation)).Where(item => item.Key != Hidden)];
    }
}
