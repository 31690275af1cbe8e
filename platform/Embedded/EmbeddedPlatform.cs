using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Platform.Embedded;

/// <summary>Composition of the embedded platform: everything a service needs in one process and one directory.</summary>
public static class EmbeddedPlatform
{
    private static readonly string[] All = [AppIds.Identity, AppIds.Policy, AppIds.Approval, AppIds.Recorder, AppIds.Proxy];

    /// <summary>
    /// Registers <see cref="IStateStore"/>, <see cref="SigningKey"/>, <see cref="ServiceTokens"/> and <see cref="IServiceClients"/> keyed by app id, and
    /// <see cref="IEventBus"/>, <see cref="ITrustedKeys"/>, <see cref="EmbeddedData"/> and <see cref="TimeProvider"/> without key. May be called several times.
    /// </summary>
    /// <param name="builder">Builder of the process.</param>
    /// <param name="dataDirectory">Where state and keys are kept; made with mode 0700.</param>
    /// <param name="appIds">Services that run in this process, and whose keys it therefore makes and enrols; none means all.</param>
    public static IHostApplicationBuilder AddEmbeddedPlatform(this IHostApplicationBuilder builder, string dataDirectory, params string[] appIds)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var all = appIds.Length == 0 ? All : appIds;
        builder.AddLocalFiles(dataDirectory, all);
        var services = builder.Services;
        services.TryAddSingleton<BusLimits>();
        services.TryAddSingleton(provider => new EventJournal(Path.Combine(provider.GetRequiredService<EmbeddedData>().State, "bus.db"), Topics.Audit));
        services.TryAddSingleton<InProcessEventBus>();
        services.TryAddSingleton<IEventBus>(provider => provider.GetRequiredService<InProcessEventBus>());
        services.TryAddSingleton<IDeadLetters>(provider => provider.GetRequiredService<InProcessEventBus>());
        services.TryAddSingleton<ServiceAddresses>();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, EmbeddedLifetime>());
        foreach (var appId in all)
        {
            services.TryAddKeyedSingleton<IStateStore>(appId, (provider, _) =>
                new SqliteStateStore(Path.Combine(provider.GetRequiredService<EmbeddedData>().State, appId + ".db")));
            services.TryAddKeyedSingleton<IDocumentStore>(appId, (provider, _) => provider.GetRequiredKeyedService<IStateStore>(appId));
            services.TryAddKeyedSingleton<ISecrets>(appId, (provider, _) => new FileSecrets(provider.GetRequiredService<EmbeddedData>().Secrets));
            if (appId == AppIds.Proxy)
            {
                services.TryAddKeyedSingleton<ITargetSecrets>(appId, (provider, _) => new FileTargetSecrets(provider.GetRequiredService<EmbeddedData>().TargetCredentials));
            }

            if (services.Any(service => service.IsKeyedService && service.ServiceType == typeof(IServiceClients) && appId.Equals(service.ServiceKey)))
            {
                continue;
            }

            services.AddKeyedSingleton<IServiceClients>(appId, (provider, _) =>
                new LoopbackServiceClients(appId, provider.GetRequiredService<IHttpClientFactory>(), provider.GetRequiredService<ServiceAddresses>()));
            foreach (var receiver in All)
            {
                services.AddServiceClient(appId, receiver);
            }
        }

        return builder;
    }
}

/// <summary>The data directory and what is where in it.</summary>
/// <param name="Directory">Absolute path.</param>
public sealed record EmbeddedData(string Directory)
{
    /// <summary>State of the services, <c>state/&lt;appid&gt;.db</c>.</summary>
    public string State => Path.Combine(Directory, "state");

    /// <summary>Private keys <c>keys/&lt;appid&gt;.key</c> and, where no other place is configured for them, enrolled public keys <c>keys/&lt;appid&gt;.jwks.json</c>.</summary>
    public string Keys => Path.Combine(Directory, "keys");

    /// <summary>Secrets, one file each.</summary>
    public string Secrets => Path.Combine(Directory, "secrets");

    /// <summary>Credentials of targets that don't travel sealed, one file for each connection; an operator puts them there.</summary>
    public string TargetCredentials => Path.Combine(Directory, "target-credentials");
}

/// <summary>Starts and ends the bus around the services of this process.</summary>
internal sealed partial class EmbeddedLifetime(IServiceProvider provider, EmbeddedData data, InProcessEventBus bus, ILogger<EmbeddedLifetime> logger)
    : IHostedLifecycleService
{
    public Task StartingAsync(CancellationToken cancellationToken)
    {
        // Only now: subscriptions are made by services that publish themselves.
        bus.Attach(provider.GetServices<BusSubscription>());
        LogData(data.Directory);
        return Task.CompletedTask;
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StoppedAsync(CancellationToken cancellationToken)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        deadline.CancelAfter(TimeSpan.FromSeconds(5));
        await bus.StopAsync(deadline.Token);
    }

    [LoggerMessage(1110, LogLevel.Information, "State and keys are in {Directory}")]
    private partial void LogData(string directory);
}
