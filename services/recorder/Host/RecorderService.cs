using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Postgres;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Log;
using Countersign.Recorder.Search;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Countersign.Recorder.Host;

/// <summary>Composition of the recorder.</summary>
public static class RecorderService
{
    /// <summary>Largest body of a batch: one entry of the largest size, and some.</summary>
    internal const long MaxBatch = 48L * 1024 * 1024;

    /// <summary>Registers the recorder. Needs <c>IEventBus</c>, <c>ITrustedKeys</c> and <c>SigningKey</c> keyed by its app id.</summary>
    public static IHostApplicationBuilder AddRecorderService(this IHostApplicationBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var services = builder.Services;
        services.AddOptions<RecorderOptions>().BindChecked(builder.Configuration.GetSection(RecorderOptions.Section))
            .Configure(options =>
            {
                if (options.Data.Length == 0)
                {
                    options.Data = Path.Combine(builder.Configuration["Countersign:Data"] ?? ".countersign", "recorder");
                }
            })
            .ValidateOnStart();
        services.AddSingleton<IValidateOptions<RecorderOptions>, RecorderOptionsValidator>();
        builder.AddPostgresStorage(AppIds.Recorder, LogSchema.Component, SearchSchema.Component);
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton<ReaderStanding>();
        services.AddSingleton<ApprovedRetention>();
        services.AddSingleton<LogHost>();
        services.AddHostedService(provider => provider.GetRequiredService<LogHost>());
        services.AddMetrics();
        services.AddSingleton<RecorderMetrics>();
        services.AddHostedService(provider => provider.GetRequiredService<RecorderMetrics>());
        services.AddSingleton<AuditIntake>();
        services.AddSingleton(provider => new BusSubscription(
            AppIds.Recorder, Topics.Audit, (audit, cancellation) => provider.GetRequiredService<AuditIntake>().TakeAsync(audit, cancellation)));
        services.AddReadiness("recorder-log", (provider, _) => ValueTask.FromResult(provider.GetRequiredService<LogHost>().Log.Problem));
        return builder;
    }

    /// <summary>Maps <c>/recorder/v1/…</c>.</summary>
    public static IEndpointRouteBuilder MapRecorderService(this IEndpointRouteBuilder app)
    {
        ArgumentNullException.ThrowIfNull(app);
        var group = app.MapGroup("/recorder/v1");
        group.MapPost("/batches", BatchEndpoint.TakeAsync).RequireCaller(AppIds.Recorder, Callers.Services, AppIds.Proxy).WithRequestBodyLimit(MaxBatch);
        group.MapGet("/sessions", EvidenceEndpoints.SessionsAsync).RequireCaller(AppIds.Recorder, Callers.Persons);
        group.MapGet("/operations", EvidenceEndpoints.OperationsAsync).RequireCaller(AppIds.Recorder, Callers.Persons);
        group.MapGet("/sessions/{id}/entries", EvidenceEndpoints.EntriesAsync).RequireCaller(AppIds.Recorder, Callers.Persons);
        group.MapGet("/export", EvidenceEndpoints.ExportAsync).RequireCaller(AppIds.Recorder, Callers.Persons);

        // Public by nature: whoever pins a checkpoint must not need an account here.
        group.MapGet("/checkpoint", (LogHost host) => Results.Text(host.Log.CheckpointNote, "text/plain; charset=utf-8"));
        group.MapGet("/key", (LogHost host) => Results.Text(host.Log.Verifier + "\n", "text/plain; charset=utf-8"));
        TileEndpoints.Map(group);
        return app;
    }
}

/// <summary>Audit events of the services, from the bus into the log.</summary>
internal sealed partial class AuditIntake(LogHost host, RecorderMetrics metrics, TimeProvider clock, ILogger<AuditIntake> logger)
{
    private const int MaxLength = 256 * 1024;

    public async ValueTask TakeAsync(BusEvent received, CancellationToken cancellation)
    {
        // The recorder's own news on the same topic.
        if (received.Type == LogHost.CheckpointEvent)
        {
            return;
        }

        AuditEvent? audit = null;
        try
        {
            audit = received.Data.Length <= MaxLength ? OcsfEvents.Read(received.Data.Span) : null;
        }
        catch (JsonException)
        {
            // Said below: delivering it again would not make it readable.
        }

        if (audit is not { Id.Length: > 0 and <= 512, Service.Length: > 0 and <= 32, Action.Length: > 0 })
        {
            LogUnreadable(received.Id, received.Type);
            return;
        }

        // A service says what it did itself, not what another one did, and doesn't use up the ids of another one's events. That it was tried is recorded.
        if (received.Publisher is { } publisher && publisher != audit.Service)
        {
            LogForeign(received.Id, publisher, audit.Service.Length <= 32 ? audit.Service : "");
            await host.Log.AppendEventAsync(Refused(audit, publisher), cancellation);
            metrics.Taken(1, "foreign");
            return;
        }

        await host.Log.AppendEventAsync(audit, cancellation);
        metrics.Taken(1, "audit");
    }

    private AuditEvent Refused(AuditEvent foreign, string publisher) => new()
    {
        Id = $"event-refused:{publisher}:{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{foreign.Service}\n{foreign.Id}")))}",
        Service = AppIds.Recorder,
        Action = "event.refused",
        At = clock.GetUtcNow(),
        Subject = publisher,
        Success = false,
        Details = new Dictionary<string, string>
        {
            ["severity"] = "high",
            ["service"] = foreign.Service,
            ["event"] = foreign.Id,
            ["action"] = foreign.Action.Length <= 128 ? foreign.Action : foreign.Action[..128],
        },
    };

    [LoggerMessage(4012, LogLevel.Error, "Event {Id} on the audit topic is signed by {Publisher} and speaks of what {Service} did: it is not recorded, only that it was tried")]
    private partial void LogForeign(string id, string publisher, string service);

    [LoggerMessage(4011, LogLevel.Error, "Event {Id} of type {Type} on the audit topic can't be read and is not recorded")]
    private partial void LogUnreadable(string id, string type);
}
