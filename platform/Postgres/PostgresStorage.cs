using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Postgres;

/// <summary>Composition: the state of a service in PostgreSQL, where <c>Countersign:Storage</c> says so.</summary>
public static class PostgresStorage
{
    /// <summary>Schema of a service.</summary>
    public static string SchemaOf(string appId) => "countersign_" + appId;

    /// <summary>
    /// Puts <see cref="IStateStore"/> and <see cref="PostgresDatabase"/>, keyed by the app id, into the container, in place of what the platform has put there. Does
    /// nothing where no database is configured. Call it after the platform, or before.
    /// </summary>
    /// <param name="builder">Builder of the process.</param>
    /// <param name="appId">Service.</param>
    /// <param name="components">What the service has in its schema beside its state.</param>
    /// <returns>Whether PostgreSQL is used.</returns>
    public static bool AddPostgresStorage(this IHostApplicationBuilder builder, string appId, params SchemaComponent[] components)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var settings = PostgresSettings.Read(builder.Configuration);
        if (!settings.IsSet && settings.PostgresSecret.Length == 0)
        {
            return false;
        }

        var services = builder.Services;
        var errors = settings.Errors();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<PostgresSettings>>(new PostgresSettingsCheck(errors)));
        services.AddOptions<PostgresSettings>().ValidateOnStart();
        services.AddSingleton<IStoragePreparation>(provider => new PostgresPreparation(errors, () => provider.GetRequiredKeyedService<PostgresDatabase>(appId)));
        if (errors.Count > 0 || services.Any(service => service.ServiceType == typeof(PostgresDatabase) && Equals(service.ServiceKey, appId)))
        {
            return true;
        }

        services.AddKeyedSingleton(appId, (provider, _) => new PostgresDatabase(
            settings, SchemaOf(appId), [PostgresStateStore.Component, .. components], provider.GetRequiredService<ILogger<PostgresDatabase>>()));
        services.RemoveAllKeyed<IStateStore>(appId);
        services.AddKeyedSingleton<IStateStore>(appId, (provider, _) => new PostgresStateStore(provider.GetRequiredKeyedService<PostgresDatabase>(appId)));
        services.AddReadiness($"{appId}-postgres", (provider, cancellation) => provider.GetRequiredKeyedService<PostgresDatabase>(appId).ProblemAsync(cancellation));

        // First of all: services read their state when they start.
        services.Insert(0, ServiceDescriptor.Singleton<IHostedService>(provider => new PostgresStart(provider.GetRequiredKeyedService<PostgresDatabase>(appId))));
        return true;
    }

    /// <summary>Whether a database is configured.</summary>
    public static bool UsesPostgres(this IHostApplicationBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return PostgresSettings.Read(builder.Configuration).IsSet;
    }

    private sealed class PostgresSettingsCheck(IReadOnlyList<string> errors) : IValidateOptions<PostgresSettings>
    {
        public ValidateOptionsResult Validate(string? name, PostgresSettings options) =>
            errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }

    private sealed class PostgresPreparation(IReadOnlyList<string> errors, Func<PostgresDatabase> database) : IStoragePreparation
    {
        public Task PrepareAsync(CancellationToken cancellation) => errors.Count > 0
            ? throw new OptionsValidationException(PostgresSettings.Section, typeof(PostgresSettings), errors)
            : Task.Run(() => database().WaitUntilReady(cancellation), cancellation);
    }

    /// <summary>Waits for the database and brings the schema up to date before any service starts.</summary>
    private sealed class PostgresStart(PostgresDatabase database) : IHostedLifecycleService
    {
        public Task StartingAsync(CancellationToken cancellationToken) => Task.Run(() => database.WaitUntilReady(cancellationToken), cancellationToken);

        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
