using Countersign.Fakes.Sidecar;
using Countersign.Approval.Actors;
using Countersign.Approval.Actors.Dapr;
using Countersign.Approval.Workflow;
using Countersign.Fakes.Workflow;
using Countersign.Platform.Ports;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>Workflows as Dapr actors of a process that ends and starts again on other ports, with a sidecar beside it.</summary>
internal sealed class ActorRuntime(ISidecarFleet fleet, ContractWorld world, WorkflowSettings settings) : IWorkflowRuntime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("cs-actors-").FullName;
    private readonly Switch _switch = new();
    private DaprHost? _host;

    public IWorkflowHost Workflows => _host!.App.Services.GetRequiredService<IWorkflowHost>();

    /// <summary>What the process has.</summary>
    public IServiceProvider Services => _host!.App.Services;

    public async Task StartAsync()
    {
        var (port, http, grpc) = (LoopbackPorts.Next(), LoopbackPorts.Next(), LoopbackPorts.Next());
        var tokens = SidecarRuntime.Tokens(AppIds.Approval);
        _host = await DaprHost.StartAsync(new AppSpec(AppIds.Approval), _folder, port, http, grpc, tokens,
            builder =>
            {
                var services = builder.Services;
                services.AddSingleton<TimeProvider>(world.Clock);
                services.AddSingleton<IEvidence>(world.Evidence);
                services.AddSingleton<IGrantSigner>(world.Signer);
                services.AddSingleton<IEffects<RequestDocument, RequestEffect>>(world.Told);
                services.AddSingleton<IRefusalReports>(world.Told);
                builder.AddDaprApprovalActors($"http://127.0.0.1:{http}", tokens.Api, settings);
                services.AddSingleton(_switch);
            },
            app => app.MapDaprApprovalActors(),
            services =>
            {
                var real = services.Last(each => each.ServiceType == typeof(IDocumentStore) && Equals(each.ServiceKey, AppIds.Approval));
                services.AddKeyedSingleton<IDocumentStore>(AppIds.Approval, (provider, key) => new Switched((IDocumentStore)real.KeyedImplementationFactory!(provider, key), _switch));
            });
        await fleet.AddAsync(AppIds.Approval, port, http, grpc, tokens, ContractApps.OtherRules);
        await fleet.AttachedAsync(AppIds.Approval);
    }

    public async Task StopAsync()
    {
        await _host!.DisposeAsync();
        _host = null;
    }

    public void FailStore(bool down) => _switch.Down = down;

    public async ValueTask DisposeAsync()
    {
        if (_host is not null)
        {
            await StopAsync();
        }

        await fleet.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    private sealed class Switch
    {
        private volatile bool _down;

        public bool Down
        {
            get => _down;
            set => _down = value;
        }
    }

    private sealed class Switched(IDocumentStore store, Switch position) : IDocumentStore
    {
        public ValueTask<StateItem?> GetAsync(string collection, string key, CancellationToken cancellation) => Checked().GetAsync(collection, key, cancellation);

        public ValueTask<bool> TrySaveAsync(string collection, string key, ReadOnlyMemory<byte> value, string? etag, CancellationToken cancellation) =>
            Checked().TrySaveAsync(collection, key, value, etag, cancellation);

        public ValueTask<bool> TryDeleteAsync(string collection, string key, string etag, CancellationToken cancellation) =>
            Checked().TryDeleteAsync(collection, key, etag, cancellation);

        private IDocumentStore Checked() => position.Down ? throw new PortUnavailableException("the store is down") : store;
    }
}

/// <summary>The contract of the workflows as Dapr actors on the double.</summary>
public sealed class DoubleWorkflowTests : WorkflowContract
{
    /// <inheritdoc/>
    protected override async Task<IWorkflowRuntime> StartAsync(ContractWorld world, WorkflowSettings settings)
    {
        var runtime = new ActorRuntime(new DoubleFleet(DoubleFleet.Quick), world, settings);
        await runtime.StartAsync();
        return runtime;
    }
}

/// <summary>The same, unchanged, on real Dapr.</summary>
public sealed class DaprWorkflowTests : WorkflowContract
{
    /// <inheritdoc/>
    protected override async Task<IWorkflowRuntime> StartAsync(ContractWorld world, WorkflowSettings settings)
    {
        DaprPrograms.SkipWithout();
        var runtime = new ActorRuntime(await DaprFleet.StartAsync(), world, settings);
        await runtime.StartAsync();
        return runtime;
    }
}
