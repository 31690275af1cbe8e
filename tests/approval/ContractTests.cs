using Countersign.Approval.Actors;
using Countersign.Approval.Workflow;
using Countersign.Fakes.Workflow;
using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Tests;

/// <summary>The contract of the workflows without any host.</summary>
[Trait("group", "unit")]
public sealed class InMemoryContractTests : WorkflowContract
{
    /// <inheritdoc/>
    protected override async Task<IWorkflowRuntime> StartAsync(ContractWorld world, WorkflowSettings settings)
    {
        var runtime = new InMemoryRuntime(world, settings);
        await runtime.StartAsync();
        return runtime;
    }
}

/// <summary>The contract of the workflows as Orleans grains over SQLite, restarted on another port each time.</summary>
[Trait("group", "approval")]
public sealed class OrleansContractTests : WorkflowContract
{
    /// <inheritdoc/>
    protected override async Task<IWorkflowRuntime> StartAsync(ContractWorld world, WorkflowSettings settings)
    {
        var runtime = new OrleansRuntime(world, settings);
        await runtime.StartAsync();
        return runtime;
    }

    private sealed class OrleansRuntime(ContractWorld world, WorkflowSettings settings) : IWorkflowRuntime
    {
        private readonly string _directory = System.IO.Directory.CreateTempSubdirectory("cs-contract").FullName;
        private IHost? _host;
        private SqliteStateStore? _sqlite;
        private FaultyStore? _store;

        public IWorkflowHost Workflows => _host!.Services.GetRequiredService<IWorkflowHost>();

        public async Task StartAsync()
        {
            _sqlite = new SqliteStateStore(Path.Combine(_directory, "approval.db"));
            _store = new FaultyStore(_sqlite);
            var builder = Microsoft.Extensions.Hosting.Host.CreateEmptyApplicationBuilder(null);
            builder.Logging.ClearProviders();
            builder.Services.AddSingleton<TimeProvider>(world.Clock);
            builder.Services.AddSingleton<IEvidence>(world.Evidence);
            builder.Services.AddSingleton<IGrantSigner>(world.Signer);
            builder.Services.AddSingleton<IEffects<RequestDocument, RequestEffect>>(world.Told);
            builder.Services.AddSingleton<IRefusalReports>(world.Told);
            builder.Services.AddKeyedSingleton<IStateStore>(AppIds.Approval, _store);
            builder.AddApprovalActors(0, settings);
            _host = builder.Build();
            await _host.StartAsync();
        }

        public async Task StopAsync()
        {
            await _host!.StopAsync();
            _host.Dispose();
            _host = null;
            _sqlite!.Dispose();
        }

        public void FailStore(bool down) => _store!.Down = down;

        public async ValueTask DisposeAsync()
        {
            if (_host is not null)
            {
                await StopAsync();
            }

            System.IO.Directory.Delete(_directory, recursive: true);
        }
    }
}
