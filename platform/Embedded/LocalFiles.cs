using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;

namespace Countersign.Platform.Embedded;

/// <summary>What every process has on its own disk, however it is composed: the keys of its services, and the public keys of those that it trusts.</summary>
public static class LocalFiles
{
    /// <summary>Setting: a folder with the public keys of all services, <c>&lt;folder&gt;/&lt;appid&gt;/&lt;instance&gt;.jwks.json</c>.</summary>
    public const string TrustSetting = "Countersign:Trust:Directory";

    /// <summary>Setting: names this process among those of its app id.</summary>
    public const string InstanceSetting = "Countersign:Instance";

    /// <summary>
    /// Registers <see cref="SigningKey"/> and <see cref="ServiceTokens"/> keyed by app id, and <see cref="EmbeddedData"/>, <see cref="ITrustedKeys"/>,
    /// <see cref="KeyEnrolment"/> and <see cref="TimeProvider"/> without key. May be called several times.
    /// </summary>
    public static IHostApplicationBuilder AddLocalFiles(this IHostApplicationBuilder builder, string dataDirectory, params string[] appIds)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var data = new EmbeddedData(Path.GetFullPath(dataDirectory));
        var services = builder.Services;
        var known = services.FirstOrDefault(service => service.ServiceType == typeof(EmbeddedData))?.ImplementationInstance as EmbeddedData;
        if (known is not null && known.Directory != data.Directory)
        {
            throw new InvalidOperationException($"This process has its data in {known.Directory} already, not {data.Directory}.");
        }

        services.TryAddSingleton(data);
        services.TryAddSingleton(TimeProvider.System);
        if (known is null)
        {
            // Made first: folders above one that is made with a mode would get the usual one.
            PrivateFiles.CreateDirectory(data.Directory);
            PrivateFiles.CreateDirectory(data.Keys);
            var trust = builder.Configuration[TrustSetting] is { Length: > 0 } folder
                ? new TrustFolder(Path.GetFullPath(folder), builder.Configuration[InstanceSetting] is { Length: > 0 } name ? name : "1")
                : null;
            services.TryAddSingleton<ITrustedKeys>(trust is null ? new FileTrustedKeys(data.Keys) : trust);
            services.TryAddSingleton(new KeyEnrolment(data.Keys, trust));
            services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, EnrolledAtStart>());

            // Cookies of a login survive a restart.
            services.AddDataProtection().SetApplicationName("countersign")
                .PersistKeysToFileSystem(Directory.CreateDirectory(Path.Combine(data.Keys, "data-protection"), PrivateFiles.OwnerDirectory));
        }

        foreach (var appId in appIds)
        {
            if (services.Any(service => service.ServiceType == typeof(LocalService) && ((LocalService)service.ImplementationInstance!).AppId == appId))
            {
                continue;
            }

            services.AddSingleton(new LocalService(appId));
            services.TryAddKeyedSingleton(appId, (_, _) =>
            {
                PrivateFiles.CreateDirectory(data.Keys);
                return SigningKey.LoadOrCreate(Path.Combine(data.Keys, appId + ".key"));
            });
            services.TryAddKeyedSingleton(appId, (provider, _) =>
                new ServiceTokens(appId, provider.GetRequiredKeyedService<SigningKey>(appId), provider.GetRequiredService<TimeProvider>()));
        }

        return builder;
    }
}

/// <summary>A service that runs in this process.</summary>
internal sealed record LocalService(string AppId);

/// <summary>Enrols the keys of the services of this process before any of them starts.</summary>
internal sealed class EnrolledAtStart(IServiceProvider provider, IEnumerable<LocalService> local, EmbeddedData data, KeyEnrolment enrolment) : IHostedLifecycleService
{
    public Task StartingAsync(CancellationToken cancellationToken)
    {
        PrivateFiles.CreateDirectory(data.Directory);
        foreach (var service in local)
        {
            enrolment.Publish(service.AppId, KeyHistory.Note(data.Keys, service.AppId, provider.GetRequiredKeyedService<SigningKey>(service.AppId).PublicKey).ToJson());
        }

        return Task.CompletedTask;
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
