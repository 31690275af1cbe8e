using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Countersign.Proxy.Path.Record;

/// <summary>The segments on disk that are not shipped yet, oldest first.</summary>
internal sealed class SpoolSegments
{
    private readonly Lock _gate = new();
    private readonly List<SpoolSegment> _segments = [];

    public SpoolSegment? Oldest
    {
        get
        {
            lock (_gate)
            {
                return _segments.Count > 0 ? _segments[0] : null;
            }
        }
    }

    public void Add(SpoolSegment segment)
    {
        lock (_gate)
        {
            _segments.Add(segment);
        }
    }

    /// <summary>The segment behind this one; null while there is none.</summary>
    public SpoolSegment? After(SpoolSegment segment)
    {
        lock (_gate)
        {
            var index = _segments.IndexOf(segment);
            return index >= 0 && index + 1 < _segments.Count ? _segments[index + 1] : null;
        }
    }

    public void Remove(SpoolSegment segment)
    {
        lock (_gate)
        {
            _segments.Remove(segment);
        }
    }

    public IReadOnlyList<SpoolSegment> Clear()
    {
        lock (_gate)
        {
            var all = _segments.ToArray();
            _segments.Clear();
            return all;
        }
    }
}

/// <summary>Time as entries have it.</summary>
internal static class SpoolClock
{
    public static long Microseconds(TimeProvider clock) => (clock.GetUtcNow().Ticks - DateTimeOffset.UnixEpoch.Ticks) / TimeSpan.TicksPerMicrosecond;
}

/// <summary>Figures of the spool.</summary>
internal static class SpoolMetrics
{
    private static readonly Meter Meter = new("Countersign.Proxy.Spool");
    private static readonly Histogram<double> SyncTime = Meter.CreateHistogram<double>("countersign.spool.sync", "s", "Write and sync of one batch");
    private static readonly Histogram<int> BatchRecords = Meter.CreateHistogram<int>("countersign.spool.batch", "{record}", "Records made durable by one sync");
    private static readonly Counter<long> WrittenBytes = Meter.CreateCounter<long>("countersign.spool.written", "By", "Bytes written, padding included");
    private static readonly Counter<long> ShippedEntries = Meter.CreateCounter<long>("countersign.spool.shipped", "{entry}", "Entries acknowledged by the recorder");
    private static readonly Counter<long> RefusedSessions = Meter.CreateCounter<long>("countersign.spool.refused", "{session}", "Sessions that the recorder refused");
    private static long _lag;

    static SpoolMetrics() => Meter.CreateObservableGauge("countersign.spool.unshipped", () => Volatile.Read(ref _lag), "By", "Bytes on disk that the recorder has not acknowledged");

    public static void Synced(TimeSpan took, int records, int bytes)
    {
        SyncTime.Record(took.TotalSeconds);
        BatchRecords.Record(records);
        WrittenBytes.Add(bytes);
    }

    public static void Shipped(long entries, long unshipped)
    {
        ShippedEntries.Add(entries);
        Volatile.Write(ref _lag, unshipped);
    }

    public static void Refused() => RefusedSessions.Add(1);
}
