using System.Net;
using System.Net.Sockets;
using Countersign.Approval.Workflow;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Hosting;

namespace Countersign.Approval.Actors;

/// <summary>How the workflows behave.</summary>
/// <param name="Limits">Limits of requesters.</param>
/// <param name="ReviewWithin">How soon what one person did alone must be reviewed.</param>
/// <param name="Retention">How long requests are kept that are over.</param>
public sealed record WorkflowSettings(RequesterLimits Limits, TimeSpan ReviewWithin, RequestRetention Retention);

/// <summary>Composition of the workflows in one process.</summary>
public static class ApprovalActors
{
    /// <summary>
    /// Hosts the workflows as Orleans grains of this process. Membership is in memory, so that a restart on another port doesn't wait for the dead
    /// member; documents and reminders are in the approval service's state store.
    /// </summary>
    /// <remarks>Needs what <see cref="AddWorkflowParts"/> needs, and the keyed state store.</remarks>
    /// <param name="builder">Builder of the process.</param>
    /// <param name="siloPort">Loopback port of the silo; 0 for a free one.</param>
    /// <param name="settings">How the workflows behave.</param>
    public static IHostApplicationBuilder AddApprovalActors(this IHostApplicationBuilder builder, int siloPort, WorkflowSettings settings)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var services = builder.Services;
        services.AddWorkflowParts(settings);
        services.AddSingleton<OwnProcess>();
        services.AddSingleton<IWorkflowHost, OrleansWorkflowHost>();
        builder.UseOrleans(silo =>
        {
            silo.UseLocalhostClustering(siloPort == 0 ? FreePort() : siloPort, gatewayPort: 0, serviceId: "countersign-approval", clusterId: "countersign");
            silo.AddReminders();
            silo.Services.AddSingleton<IReminderTable, StateStoreReminderTable>();
            silo.AddIncomingGrainCallFilter<OwnProcessFilter>();
            silo.Configure<GrainCollectionOptions>(options => options.CollectionAge = TimeSpan.FromMinutes(5));
        });
        builder.Logging.AddFilter("Orleans", LogLevel.Warning);
        // Says at every start that the machine's uptime was not completed in time.
        builder.Logging.AddFilter("Orleans.Runtime.Watchdog", LogLevel.Error);
        services.AddSingleton<IFinishedRequests, OwnFinishedRequests>();
        // After the silo: it wakes grains.
        services.AddRequestKeeping();
        return builder;
    }

    /// <summary>What shells of workflows need beside their host, whatever hosts them.</summary>
    /// <remarks>
    /// Needs <see cref="IEvidence"/>, <see cref="IGrantSigner"/>, <see cref="IRefusalReports"/>, effects, and an <see cref="IWorkflowHost"/> that reaches
    /// workflows.
    /// </remarks>
    public static IServiceCollection AddWorkflowParts(this IServiceCollection services, WorkflowSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton(settings.Limits);
        services.AddSingleton(settings.Retention);
        services.AddSingleton<RequestIndex>();
        services.AddSingleton(provider => new RequestParts(
            provider.GetRequiredService<IEvidence>(), provider.GetRequiredService<IGrantSigner>(),
            provider.GetRequiredService<IEffects<RequestDocument, RequestEffect>>(), provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<IWorkflowHost>(), provider.GetRequiredService<IRefusalReports>(), settings.ReviewWithin)
        {
            Open = provider.GetRequiredService<RequestIndex>(),
        });
        return services;
    }

    /// <summary>What keeps the index and the store in order, whatever hosts the workflows.</summary>
    internal static IServiceCollection AddRequestKeeping(this IServiceCollection services)
    {
        services.AddSingleton<RequestIndexFeed>();
        services.AddHostedService<RequestRecovery>();
        services.AddHostedService(provider => provider.GetRequiredService<RequestIndexFeed>());
        services.AddSingleton<RequestSweeper>();
        services.AddHostedService(provider => provider.GetRequiredService<RequestSweeper>());
        return services;
    }

    private static int FreePort()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }
}
