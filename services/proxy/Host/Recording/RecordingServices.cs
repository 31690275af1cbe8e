using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.Recording;

/// <summary>Options of the spool, section <c>Countersign:Proxy:Spool</c>.</summary>
public sealed class SpoolSettings
{
    /// <summary>Name of the section.</summary>
    public const string Section = "Countersign:Proxy:Spool";

    /// <summary>Folder; empty: <c>spool</c> in <see cref="ProxyOptions.Data"/>. A disk of its own makes <c>durable</c> faster.</summary>
    public string Directory { get; set; } = "";

    /// <summary>Most bytes on disk while the recorder is away; when they are used up, sessions end.</summary>
    public long MaxBytes { get; set; } = 4L * 1024 * 1024 * 1024;

    /// <summary>Bytes of one segment.</summary>
    public long SegmentBytes { get; set; } = 64L * 1024 * 1024;

    /// <summary>How many waiting sessions the sync thread wakes itself; 0 leaves all to the thread pool.</summary>
    public int InlineWakes { get; set; } = 32;

    /// <summary>Write with O_DSYNC instead of a write and an fdatasync.</summary>
    public bool WriteThrough { get; set; } = true;
}

/// <summary>Lists every error of the options at once.</summary>
internal sealed class SpoolSettingsValidator : IValidateOptions<SpoolSettings>
{
    public ValidateOptionsResult Validate(string? name, SpoolSettings options)
    {
        var errors = new List<string>();
        if (options.SegmentBytes is < 1024 * 1024 or > 1024L * 1024 * 1024)
        {
            errors.Add($"{SpoolSettings.Section}:SegmentBytes must be 1 MiB to 1 GiB.");
        }

        if (options.MaxBytes < 3 * options.SegmentBytes)
        {
            errors.Add($"{SpoolSettings.Section}:MaxBytes must be three segments at least.");
        }

        if (options.InlineWakes is < 0 or > 10_000)
        {
            errors.Add($"{SpoolSettings.Section}:InlineWakes must be 0 to 10000.");
        }

        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }
}

/// <summary>Composition of the proxy's recording.</summary>
internal static class RecordingServices
{
    /// <summary>Registers <see cref="ISessionRecorder"/>, its spool and its way to the recorder. Needs <see cref="IServiceClients"/> and <see cref="SigningKey"/> keyed by the proxy's app id.</summary>
    public static IServiceCollection AddRecording(this IServiceCollection services, IConfiguration configuration)
    {
        services.AddOptions<SpoolSettings>().BindChecked(configuration.GetSection(SpoolSettings.Section)).ValidateOnStart();
        services.AddSingleton<IValidateOptions<SpoolSettings>, SpoolSettingsValidator>();
        services.AddSingleton<IEntryTransport, HttpEntryTransport>();
        services.AddSingleton<ISealSigner, ProxySealer>();
        services.AddSingleton(Open);
        services.AddSingleton<ISessionRecorder>(provider => new MeasuredRecorder(provider.GetRequiredService<Spool>()));
        services.AddHostedService<SpoolLifetime>();
        services.AddReadiness("proxy-spool", (provider, _) => ValueTask.FromResult(provider.GetRequiredService<Spool>().Problem));
        return services;
    }

    private static Spool Open(IServiceProvider provider)
    {
        var proxy = provider.GetRequiredService<IOptions<ProxyOptions>>().Value;
        var settings = provider.GetRequiredService<IOptions<SpoolSettings>>().Value;
        var options = new SpoolOptions
        {
            Directory = settings.Directory.Length > 0 ? settings.Directory : System.IO.Path.Combine(proxy.Data, "spool"),
            Proxy = proxy.Id,
            MaxBytes = settings.MaxBytes,
            SegmentBytes = settings.SegmentBytes,
            InlineWakes = settings.InlineWakes,
            WriteThrough = settings.WriteThrough,
        };
        return Spool.Open(
            options, provider.GetRequiredService<ISealSigner>(), provider.GetRequiredService<IEntryTransport>(), provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<ILogger<Spool>>());
    }

    /// <summary>The proxy's enrolled key, for seals.</summary>
    private sealed class ProxySealer([FromKeyedServices(AppIds.Proxy)] SigningKey key) : ISealSigner
    {
        public string KeyId => key.KeyId;

        public byte[] Sign(ReadOnlySpan<byte> data) => key.SignData(data);
    }

    /// <summary>Opens the spool before the listeners start, which heals it, and ships the rest before the process stops.</summary>
    private sealed class SpoolLifetime(Spool spool) : IHostedLifecycleService
    {
        private static readonly TimeSpan DrainTimeout = TimeSpan.FromSeconds(3);

        public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        // Before anything stops: in one process the recorder is reached over the same web server.
        public Task StoppingAsync(CancellationToken cancellationToken) => spool.DrainAsync(DrainTimeout);

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
