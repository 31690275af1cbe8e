using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Http.Resilience;
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
        var data = new EmbeddedData(Path.GetFullPath(dataDirectory));
        var services = builder.Services;
        var known = services.FirstOrDefault(service => service.ServiceType == typeof(EmbeddedData))?.ImplementationInstance as EmbeddedData;
        if (known is not null && known.Directory != data.Directory)
        {
            throw new InvalidOperationException($"The embedded platform has its data in {known.Directory} already, not {data.Directory}.");
        }

        services.TryAddSingleton(data);
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<ITrustedKeys>(new FileTrustedKeys(data.Keys));
        services.TryAddSingleton<BusLimits>();
        services.TryAddSingleton(_ => new EventJournal(Path.Combine(data.State, "bus.db"), Topics.Audit));
        services.TryAddSingleton<InProcessEventBus>();
        services.TryAddSingleton<IEventBus>(provider => provider.GetRequiredService<InProcessEventBus>());
        services.TryAddSingleton<ServiceAddresses>();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, EmbeddedLifetime>());
        if (known is null)
        {
            // Made first: folders above one that is made with a mode would get the usual one.
            PrivateFiles.CreateDirectory(data.Directory);
            PrivateFiles.CreateDirectory(data.Keys);

            // Cookies of a login survive a restart.
            services.AddDataProtection().SetApplicationName("countersign")
                .PersistKeysToFileSystem(Directory.CreateDirectory(Path.Combine(data.Keys, "data-protection"), PrivateFiles.OwnerDirectory));
        }

        foreach (var appId in appIds.Length == 0 ? All : appIds)
        {
            AddService(services, data, appId);
        }

        return builder;
    }

    private static void AddService(IServiceCollection services, EmbeddedData data, string appId)
    {
        if (services.Any(service => service.ServiceType == typeof(EmbeddedService) && ((EmbeddedService)service.ImplementationInstance!).AppId == appId))
        {
            return;
        }

        services.AddSingleton(new EmbeddedService(appId));
        services.TryAddKeyedSingleton<IStateStore>(appId, (_, _) => new SqliteStateStore(Path.Combine(data.State, appId + ".db")));
        services.TryAddKeyedSingleton(appId, (_, _) =>
        {
            PrivateFiles.CreateDirectory(data.Keys);
            return SigningKey.LoadOrCreate(Path.Combine(data.Keys, appId + ".key"));
        });
        services.TryAddKeyedSingleton(appId, (provider, _) =>
            new ServiceTokens(appId, provider.GetRequiredKeyedService<SigningKey>(appId), provider.GetRequiredService<TimeProvider>()));
        services.TryAddKeyedSingleton<IServiceClients>(appId, (provider, _) =>
            new LoopbackServiceClients(appId, provider.GetRequiredService<IHttpClientFactory>(), provider.GetRequiredService<ServiceAddresses>()));
        foreach (var receiver in All)
        {
            AddClient(services, appId, receiver);
        }
    }

    private static void AddClient(IServiceCollection services, string caller, string receiver)
    {
        var client = services.AddHttpClient(LoopbackServiceClients.Name(caller, receiver))
            .ConfigurePrimaryHttpMessageHandler(() => new SocketsHttpHandler
            {
                AllowAutoRedirect = false,
                UseCookies = false,
                UseProxy = false,
                ConnectTimeout = TimeSpan.FromSeconds(5),
                PooledConnectionLifetime = TimeSpan.FromMinutes(5),
            })
            .AddHttpMessageHandler(() => new UnavailableHandler());
        client.AddStandardResilienceHandler(options =>
        {
            options.AttemptTimeout.Timeout = TimeSpan.FromSeconds(15);
            options.TotalRequestTimeout.Timeout = TimeSpan.FromSeconds(40);
            options.CircuitBreaker.SamplingDuration = TimeSpan.FromSeconds(30);
            options.Retry.MaxRetryAttempts = 2;
            options.Retry.Delay = TimeSpan.FromMilliseconds(200);
            options.Retry.DisableForUnsafeHttpMethods();
        });
        client.AddHttpMessageHandler(provider => new ServiceTokenHandler(provider.GetRequiredKeyedService<ServiceTokens>(caller), receiver));
    }
}

/// <summary>The data directory and what is where in it.</summary>
/// <param name="Directory">Absolute path.</param>
public sealed record EmbeddedData(string Directory)
{
    /// <summary>State of the services, <c>state/&lt;appid&gt;.db</c>.</summary>
    public string State => Path.Combine(Directory, "state");

    /// <summary>Private keys <c>keys/&lt;appid&gt;.key</c> and enrolled public keys <c>keys/&lt;appid&gt;.jwks.json</c>.</summary>
    public string Keys => Path.Combine(Directory, "keys");
}

/// <summary>A service that runs in this process.</summary>
internal sealed record EmbeddedService(string AppId);

/// <summary>Enrols the keys of the services of this process before any of them starts, and starts and ends the bus around them.</summary>
internal sealed partial class EmbeddedLifetime(
    IServiceProvider provider, IEnumerable<EmbeddedService> embedded, EmbeddedData data, InProcessEventBus bus, ILogger<EmbeddedLifetime> logger)
    : IHostedLifecycleService
{
    public Task StartingAsync(CancellationToken cancellationToken)
    {
        PrivateFiles.CreateDirectory(data.Directory);
        foreach (var service in embedded)
        {
            FileTrustedKeys.Publish(data.Keys, service.AppId, provider.GetRequiredKeyedService<SigningKey>(service.AppId));
        }

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
