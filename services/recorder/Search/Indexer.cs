using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Text.Json;
using System.Text.Json.Serialization;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging;

namespace Countersign.Recorder.Search;

/// <summary>
/// Fills the index from the log, in large transactions, on a thread that yields to all others, and rests after each piece for three times as long as it took when it is
/// behind: search may lag, the data path must not notice.
/// </summary>
public sealed partial class Indexer(ISearchIndex index, IEntryLog log, ILogger<Indexer> logger)
{
    private const int TransactionEntries = 4096;
    private const int MaxSessions = 100_000;
    private const int TransactionBytes = 4 * 1024 * 1024;
    private static readonly TimeSpan Gather = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestRest = TimeSpan.FromSeconds(1);
    private static readonly Meter Meter = new("Countersign.Recorder.Search");
    private static long _lag;

    private readonly ILogger _logger = logger;
    private readonly Dictionary<string, (string Person, string Name, string Connection)> _sessions = new(StringComparer.Ordinal);
    private long _position = -1;

    static Indexer() => Meter.CreateObservableGauge("countersign.search.lag", () => Volatile.Read(ref _lag), "{entry}", "Entries of the log that search does not show yet");

    /// <summary>Entries that search does not show yet.</summary>
    public long Lag => Math.Max(0, log.Size - Math.Max(0, Volatile.Read(ref _position)));

    /// <summary>Indexes until it is cancelled.</summary>
    public Task RunAsync(CancellationToken cancellation) => QuietThread.RunAsync("recorder search", () => Run(cancellation));

    private void Run(CancellationToken cancellation)
    {
        Volatile.Write(ref _position, index.IndexedTo);
        if (_position > log.Size && !index.IsShared)
        {
            throw new InvalidDataException("The index covers more than the log has: delete it, and it is made again.");
        }

        while (true)
        {
            log.WaitBeyondAsync(_position, cancellation).GetAwaiter().GetResult();
            var began = Stopwatch.GetTimestamp();
            IndexOnce();
            var behind = log.Size - _position;
            Volatile.Write(ref _lag, behind);
            var rest = behind > 0 ? Stopwatch.GetElapsedTime(began) * 3 : Gather;
            cancellation.WaitHandle.WaitOne(rest < LongestRest ? rest : LongestRest);
            cancellation.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Indexes one piece.</summary>
    /// <returns>Entries indexed.</returns>
    public int IndexOnce()
    {
        using var rows = index.Begin();
        if (rows is null)
        {
            // Another replica is at it.
            Volatile.Write(ref _position, index.IndexedTo);
            return 0;
        }

        var from = rows.IndexedTo;
        var entries = log.Read(from, TransactionEntries, TransactionBytes);
        if (entries.Count == 0)
        {
            Volatile.Write(ref _position, from);
            return 0;
        }

        var ranges = new Dictionary<string, Range>(StringComparer.Ordinal);
        for (var offset = 0; offset < entries.Count; offset++)
        {
            var entry = entries[offset];
            if (!ranges.TryGetValue(entry.Session, out var range))
            {
                ranges.Add(entry.Session, range = new Range(from + offset, entry.TimeMicroseconds));
            }

            range.Extend(from + offset, entry.TimeMicroseconds);
            if (entry.IsErased)
            {
                continue;
            }

            try
            {
                Take(entry, rows);
            }
            catch (JsonException error)
            {
                // It stays in the log and in the replay; search can't show what it can't read.
                LogUnreadable(error, from + offset);
            }
        }

        foreach (var (session, range) in ranges)
        {
            rows.Range(session, range.First, range.Last, range.MinAt, range.MaxAt);
        }

        rows.Commit(from + entries.Count);
        Volatile.Write(ref _position, from + entries.Count);
        return entries.Count;
    }

    private void Take(Entry entry, IIndexWriter rows)
    {
        var payload = entry.Payload.Span;
        switch (entry.Type)
        {
            case EntryType.SessionStart:
                var start = JsonSerializer.Deserialize<SessionStartEntry>(payload, JsonSerializerOptions.Web)!;
                _sessions[entry.Session] = (start.Person, start.Name, start.Connection);
                rows.Start(entry, start);
                break;
            case EntryType.SessionEnd:
                var end = JsonSerializer.Deserialize<SessionEndEntry>(payload, JsonSerializerOptions.Web)!;
                _sessions.Remove(entry.Session);
                rows.End(entry, end);
                break;
            case EntryType.Operation:
                var operation = JsonSerializer.Deserialize<OperationEntry>(payload, JsonSerializerOptions.Web)!;
                rows.Operation(entry, operation, Session(entry.Session, rows));
                break;
            case EntryType.Completion:
                rows.Completion(entry.Session, JsonSerializer.Deserialize(payload, IndexJson.Default.CompletionEntry)!);
                break;
        }
    }

    private (string Person, string Name, string Connection) Session(string session, IIndexWriter rows)
    {
        if (!_sessions.TryGetValue(session, out var known))
        {
            if (_sessions.Count >= MaxSessions)
            {
                // Some have ended while another replica was at it.
                _sessions.Clear();
            }

            _sessions[session] = known = rows.FindSession(session);
        }

        return known;
    }

    [LoggerMessage(4201, LogLevel.Warning, "Entry {Index} of the log can't be shown by search")]
    private partial void LogUnreadable(Exception error, long index);

    private sealed class Range(long first, long at)
    {
        public long First { get; } = first;

        public long Last { get; private set; } = first;

        public long MinAt { get; private set; } = at;

        public long MaxAt { get; private set; } = at;

        public void Extend(long index, long time)
        {
            Last = index;
            MinAt = Math.Min(MinAt, time);
            MaxAt = Math.Max(MaxAt, time);
        }
    }
}

/// <summary>
/// Reads half of all entries without reflection. Not those whose members have initial values: generated code sets what is missing to null.
/// </summary>
[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(CompletionEntry))]
internal sealed partial class IndexJson : JsonSerializerContext;
