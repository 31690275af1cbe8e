using System.Collections.Immutable;
using System.Diagnostics.Metrics;

namespace Countersign.Approval.Notify;

/// <summary>Figures of notifications (docs/operations/telemetry.md). Tags are names of targets, as configured, and words: nobody is in them.</summary>
public sealed class NotificationMetrics
{
    private const string Target = "countersign.notification.target";
    private static readonly string[] Results = ["sent", "again", "dead", "dropped", "nobody", "retried"];
    private readonly Counter<long> _messages;
    private ImmutableDictionary<string, (int Count, double Oldest)> _waiting = ImmutableDictionary<string, (int, double)>.Empty;
    private long _dead;

    /// <summary>Figures that begin at 0, so that the first of its kind is a change that a rule sees.</summary>
    /// <param name="meters">Makes the meter.</param>
    /// <param name="targets">Names of all targets.</param>
    public NotificationMetrics(IMeterFactory meters, IEnumerable<string> targets)
    {
        ArgumentNullException.ThrowIfNull(meters);
        ArgumentNullException.ThrowIfNull(targets);
        var meter = meters.Create("Countersign.Notifications");
        _messages = meter.CreateCounter<long>("countersign.notification.messages", "{message}", "What became of attempts to tell somebody");
        meter.CreateObservableGauge(
            "countersign.notification.waiting", () => _waiting.Select(each => new Measurement<long>(each.Value.Count, Tag(each.Key))), "{message}", "Messages that wait");
        meter.CreateObservableGauge(
            "countersign.notification.oldest", () => _waiting.Select(each => new Measurement<double>(each.Value.Oldest, Tag(each.Key))), "s", "Age of the oldest message that waits");
        meter.CreateObservableGauge("countersign.notification.dead", () => Interlocked.Read(ref _dead), "{message}", "Dead letters that are kept");
        Targets = [.. targets];
        Waits(ImmutableDictionary<string, (int, double)>.Empty);
        foreach (var target in Targets)
        {
            foreach (var result in Results)
            {
                Became(target, result, 0);
            }
        }
    }

    private IReadOnlyList<string> Targets { get; }

    /// <summary>Something became of a message.</summary>
    /// <param name="target">Name of its target.</param>
    /// <param name="result"><c>sent</c>, <c>again</c> (failed, and tried again), <c>dead</c>, <c>dropped</c>, <c>nobody</c> (who could be told) or <c>retried</c> (by hand).</param>
    /// <param name="count">How often.</param>
    public void Became(string target, string result, long count = 1) => _messages.Add(count, Tag(target), new("countersign.result", result));

    /// <summary>What waits now, of all replicas.</summary>
    /// <param name="waiting">Number and age of the oldest in seconds, by target.</param>
    public void Waits(IReadOnlyDictionary<string, (int Count, double Oldest)> waiting)
    {
        ArgumentNullException.ThrowIfNull(waiting);
        // A target for which nothing waits says 0 rather than nothing.
        _waiting = Targets.Where(target => !waiting.ContainsKey(target)).Select(target => KeyValuePair.Create(target, (0, 0.0))).Concat(waiting)
            .ToImmutableDictionary(StringComparer.Ordinal);
    }

    /// <summary>Dead letters that are kept, of all replicas.</summary>
    public void Keeps(long dead) => Interlocked.Exchange(ref _dead, dead);

    private static KeyValuePair<string, object?> Tag(string target) => new(Target, target);
}
