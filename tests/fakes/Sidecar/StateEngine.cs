using System.Globalization;
using System.Text.Json;

namespace Countersign.Fakes.Sidecar;

/// <summary>One write.</summary>
/// <param name="Key">Whole key with its prefix.</param>
/// <param name="Value">Null to delete.</param>
/// <param name="ETag">Null or empty for a blind write.</param>
/// <param name="FirstWrite">Concurrency first-write: without an etag, the key must not exist.</param>
/// <param name="Lifetime">Time to live.</param>
internal sealed record StateWrite(string Key, byte[]? Value, string? ETag, bool FirstWrite, TimeSpan? Lifetime);

internal enum StateFailure
{
    /// <summary>Somebody else was faster: gRPC Aborted, HTTP 409.</summary>
    Mismatch,

    /// <summary>Not an etag of this store: gRPC InvalidArgument, HTTP 400.</summary>
    BadETag,

    /// <summary>A first write of a key that exists. Not Aborted: the component reports it like any other error.</summary>
    NotInserted,

    /// <summary>A transaction failed as a whole.</summary>
    Transaction,

    /// <summary>The database is away.</summary>
    Unreachable,
}

internal sealed class StateException(StateFailure failure, string message) : Exception(message)
{
    public StateFailure Failure { get; } = failure;
}

/// <summary>Key-value state as <c>state.postgresql</c> v2 has it: etags are UUIDs, an empty etag is none, an update with an etag never inserts.</summary>
internal sealed class StateEngine
{
    private const string Kind = "state";
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Row> _rows = new(StringComparer.Ordinal);
    private readonly Journal _journal;
    private readonly PlaneOutages _outages;

    public StateEngine(Journal journal, PlaneOutages outages)
    {
        _journal = journal;
        _outages = outages;
        foreach (var (key, value) in journal.Of(Kind))
        {
            _rows[key] = JsonSerializer.Deserialize<Row>(value)!;
        }
    }

    public sealed record Row(byte[] Value, string ETag, DateTimeOffset? Expires);

    public Row? Get(string key)
    {
        CheckReachable();
        lock (_gate)
        {
            return Find(key);
        }
    }

    /// <summary>Writes in order; without a transaction what came before a failure stays.</summary>
    public void Write(IReadOnlyList<StateWrite> writes, bool transaction)
    {
        CheckReachable();
        lock (_gate)
        {
            var before = transaction ? writes.Select(write => write.Key).Distinct().ToDictionary(key => key, Find) : null;
            try
            {
                foreach (var write in writes)
                {
                    Write(write);
                }
            }
            catch (StateException error) when (before is not null)
            {
                foreach (var (key, row) in before)
                {
                    Set(key, row);
                }

                throw new StateException(StateFailure.Transaction, "failed executing state transaction: " + error.Message);
            }
        }
    }

    private void Write(StateWrite write)
    {
        var current = Find(write.Key);
        if (!string.IsNullOrEmpty(write.ETag))
        {
            if (!Guid.TryParse(write.ETag, out _))
            {
                throw new StateException(StateFailure.BadETag, "invalid etag value: " + write.ETag);
            }

            if (current?.ETag != write.ETag)
            {
                throw new StateException(StateFailure.Mismatch, "possible etag mismatch. error from state store: no item was updated");
            }
        }
        else if (write is { FirstWrite: true, Value: not null } && current is not null)
        {
            throw new StateException(StateFailure.NotInserted, "failed saving state in state store: no item was updated");
        }

        Set(write.Key, write.Value is null ? null : new Row(write.Value, Guid.NewGuid().ToString(), write.Lifetime is { } life ? DateTimeOffset.UtcNow + life : null));
    }

    private void CheckReachable()
    {
        if (_outages.State)
        {
            throw new StateException(StateFailure.Unreachable, "failed to connect to `host=postgres`: dial error: connection refused");
        }
    }

    private Row? Find(string key) => _rows.TryGetValue(key, out var row) && !(row.Expires <= DateTimeOffset.UtcNow) ? row : null;

    private void Set(string key, Row? row)
    {
        if (row is null)
        {
            _rows.Remove(key);
            _journal.Remove(Kind, key);
        }
        else
        {
            _rows[key] = row;
            _journal.Put(Kind, key, JsonSerializer.SerializeToUtf8Bytes(row));
        }
    }

    /// <summary>Time to live of a request's metadata.</summary>
    public static TimeSpan? Lifetime(IEnumerable<KeyValuePair<string, string>> metadata) =>
        metadata.FirstOrDefault(item => string.Equals(item.Key, "ttlInSeconds", StringComparison.OrdinalIgnoreCase)).Value is { } text
        && long.Parse(text, CultureInfo.InvariantCulture) is > 0 and var seconds
            ? TimeSpan.FromSeconds(seconds)
            : null;
}
