using System.Net;
using System.Net.Sockets;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Sidecar;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>Sidecars: the double's, or real ones.</summary>
internal interface ISidecarFleet : IAsyncDisposable
{
    /// <summary>Starts one.</summary>
    Task AddAsync(string appId, int appPort, int httpPort, int grpcPort, (string Api, string App) tokens, string configuration);

    /// <summary>Waits until a sidecar has its app's actors and subscriptions.</summary>
    Task AttachedAsync(string appId);
}

/// <summary>Sidecars of the double.</summary>
internal sealed class DoubleFleet(PlaneOptions options) : ISidecarFleet
{
    private readonly Dictionary<string, Sidecar> _sidecars = new(StringComparer.Ordinal);

    // Made anew each time: faults and outages are switched by tests.
    public static PlaneOptions Quick => new()
    {
        RetryPause = TimeSpan.FromMilliseconds(50),
        ProbeInterval = TimeSpan.FromMilliseconds(30),
        Redelivery = TimeSpan.FromMilliseconds(100),
        Inbound = new InboundRetry(TimeSpan.FromMilliseconds(20), 2),
        Secrets =
        [
            new SecretComponent("secrets", ContractApps.Secrets),
            new SecretComponent("target-credentials", new Dictionary<string, string> { ["text"] = ContractApps.TargetAsText })
            {
                Scopes = ["proxy"],
                MultiValued = true,
                Objects = new Dictionary<string, IReadOnlyDictionary<string, string>> { ["values"] = ContractApps.TargetAsValues },
            },
        ],
    };

    public Plane Plane { get; } = new(options);

    public Sidecar this[string appId] => _sidecars[appId];

    public async Task AddAsync(string appId, int appPort, int httpPort, int grpcPort, (string Api, string App) tokens, string configuration)
    {
        if (_sidecars.Remove(appId, out var former))
        {
            await former.DisposeAsync();
        }

        _sidecars.Add(appId, await Plane.AddAsync(new SidecarOptions
        {
            AppId = appId,
            App = new Uri($"http://127.0.0.1:{appPort}"),
            HttpPort = httpPort,
            GrpcPort = grpcPort,
            ApiToken = tokens.Api,
            AppToken = tokens.App,
            HealthPath = "/health/live",
            Configuration = configuration,
            ReadBuffer = 16 * 1024,
            MaxBody = 64 * 1024 * 1024,
        }));
    }

    public Task AttachedAsync(string appId) => Until.TrueAsync(() => _sidecars[appId].IsAppWell);

    public ValueTask DisposeAsync() => Plane.DisposeAsync();
}

/// <summary>Each service with a sidecar of its own.</summary>
internal sealed class SidecarRuntime(ISidecarFleet fleet) : IPlatformRuntime
{
    private readonly Dictionary<string, DaprHost> _hosts = new(StringComparer.Ordinal);

    public string Folder { get; } = Directory.CreateTempSubdirectory("cs-contract-").FullName;

    public static (string Api, string App) Tokens(string appId) => ($"api-token-of-{appId}-1234", $"app-token-of-{appId}-1234");

    public static async Task<SidecarRuntime> StartAsync(ISidecarFleet fleet, params AppSpec[] apps)
    {
        var runtime = new SidecarRuntime(fleet);
        foreach (var app in apps)
        {
            var (port, http, grpc) = (LoopbackPorts.Next(), LoopbackPorts.Next(), LoopbackPorts.Next());
            var tokens = Tokens(app.AppId);
            runtime._hosts.Add(app.AppId, await DaprHost.StartAsync(app, runtime.Folder, port, http, grpc, tokens));
            await fleet.AddAsync(app.AppId, port, http, grpc, tokens, app.AppId == "policy" ? ContractApps.PolicyRules : ContractApps.OtherRules);
        }

        foreach (var app in apps)
        {
            await fleet.AttachedAsync(app.AppId);
        }

        return runtime;
    }

    public IServiceProvider Of(string appId) => _hosts[appId].App.Services;

    public Uri AddressOf(string appId) => _hosts[appId].Address;

    public async ValueTask DisposeAsync()
    {
        foreach (var host in _hosts.Values)
        {
            await host.DisposeAsync();
        }

        await fleet.DisposeAsync();
        Directory.Delete(Folder, recursive: true);
    }
}

/// <summary>The contract on the double of the sidecar.</summary>
public sealed class DoubleContractTests : PlatformContract
{
    private protected override async Task<IPlatformRuntime> StartAsync(params AppSpec[] apps) => await SidecarRuntime.StartAsync(new DoubleFleet(DoubleFleet.Quick), apps);
}

/// <summary>The contract on a bus that duplicates, delays and reorders as a broker may.</summary>
public sealed class FaultyBusContractTests : PlatformContract
{
    private protected override async Task<IPlatformRuntime> StartAsync(params AppSpec[] apps) => await SidecarRuntime.StartAsync(
        new DoubleFleet(DoubleFleet.Quick with { Faults = new BusFaults { Duplicate = 0.3, Delay = 0.5, LongestDelay = TimeSpan.FromMilliseconds(100) } }), apps);
}
