using System.Diagnostics.Metrics;

namespace Countersign.Recorder.Host;

/// <summary>Figures of the log (docs/operations/telemetry.md). How far search is behind is measured by the indexer itself.</summary>
internal sealed class RecorderMetrics : IHostedService
{
    private readonly Counter<long> _entries;

    public RecorderMetrics(IMeterFactory meters, LogHost host, TimeProvider clock)
    {
        var meter = meters.Create("Countersign.Recorder");
        _entries = meter.CreateCounter<long>("countersign.recorder.entries", "{entry}", "Entries taken, those that came twice included");
        meter.CreateObservableGauge("countersign.recorder.log.size", () => host.Log.Size, "{entry}", "Entries in the log");
        meter.CreateObservableGauge("countersign.recorder.log.failed", () => host.Log.Problem is null ? 0 : 1, null, "1 while the log takes no entries");
        meter.CreateObservableGauge("countersign.recorder.checkpoint.age", () => (clock.GetUtcNow() - host.CheckpointAt).TotalSeconds, "s", "Since the latest checkpoint was signed; grows while nothing is recorded");
        meter.CreateObservableGauge("countersign.recorder.checkpoint.lag", () => host.Log.Size - host.Log.Latest.Size, "{entry}", "Entries that no checkpoint covers yet");
        meter.CreateObservableGauge("countersign.recorder.index.lag", () => host.Indexer.Lag, "{entry}", "Entries that search does not show yet");
    }

    /// <summary>Counts entries that are durable.</summary>
    /// <param name="count">How many.</param>
    /// <param name="source"><c>proxy</c> or <c>audit</c>.</param>
    public void Taken(int count, string source) => _entries.Add(count, new KeyValuePair<string, object?>("countersign.source", source));

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
