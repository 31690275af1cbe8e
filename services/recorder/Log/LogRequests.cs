using System.Diagnostics.Metrics;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>Something that waits for the log's thread.</summary>
internal abstract class Request
{
    public TaskCompletionSource<BatchResult> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public int Bytes { get; set; }

    public abstract BatchResult ToResult(SessionHeads heads);
}

/// <summary>Entries of a proxy.</summary>
/// <param name="entries">The entries.</param>
/// <param name="seals">By index: the seal in the entry, where its signature is good.</param>
internal sealed class EntriesRequest(IReadOnlyList<Entry> entries, Seal?[] seals) : Request
{
    public IReadOnlyList<Entry> Entries => entries;

    public Seal?[] Seals => seals;

    public HashSet<string> Sessions { get; } = new(StringComparer.Ordinal);

    public Dictionary<string, string> Refused { get; } = new(StringComparer.Ordinal);

    public override BatchResult ToResult(SessionHeads heads) => new(Sessions.ToDictionary(session => session, heads.Reached), Refused);
}

/// <summary>An audit event.</summary>
internal sealed class EventRequest(AuditEvent audit, byte[] payload) : Request
{
    private static readonly BatchResult Nothing = new(new Dictionary<string, long>(), new Dictionary<string, string>());

    public AuditEvent Event => audit;

    public byte[] Payload => payload;

    public override BatchResult ToResult(SessionHeads heads) => Nothing;
}

/// <summary>How audit events are serialised in the log.</summary>
internal static class EventJson
{
    public static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };
}

/// <summary>Figures of the log.</summary>
internal static class LogMetrics
{
    private static readonly Meter Meter = new("Countersign.Recorder.Log");
    private static readonly Counter<long> Entries = Meter.CreateCounter<long>("countersign.log.entries", "{entry}", "Entries appended to the log");
    private static readonly Histogram<int> Batches = Meter.CreateHistogram<int>("countersign.log.batch", "{entry}", "Entries made durable by one sync");

    public static void Appended(int entries)
    {
        Entries.Add(entries);
        Batches.Record(entries);
    }
}
