using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Countersign.Policy.Contracts;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;

namespace Countersign.Proxy.Path.Record;

/// <summary>The recording of one session: numbers, chains, seals at rest and hands to the writer. Heartbeats and seals come in beside the session's own loop.</summary>
internal sealed class SpoolRecording : ISessionRecording
{
    private readonly Lock _gate = new();
    private readonly Spool _spool;
    private readonly SpoolSession _session;
    private readonly byte[] _sessionBytes;
    private readonly AesGcm _cipher;
    private readonly CancellationTokenSource _failed = new();
    private readonly HashSet<long> _open;
    private readonly ulong _idPrefix;
    private byte[] _keyRecord;
    private long _sequence;
    private long _operations;
    private Hash256 _previous;
    private bool _ended;
    private bool _closed;
    private Exception? _failure;

    /// <summary>A session that begins, or, where it has entries already, one that goes on after a crash.</summary>
    /// <param name="spool">The spool.</param>
    /// <param name="session">Where it stands.</param>
    /// <param name="cipher">Its key.</param>
    /// <param name="keyRecord">Record of its key, where the segment doesn't have it.</param>
    public SpoolRecording(Spool spool, SpoolSession session, AesGcm cipher, byte[] keyRecord)
    {
        (_spool, _session, _cipher, _keyRecord) = (spool, session, cipher, keyRecord);
        _sessionBytes = Encoding.Latin1.GetBytes(session.Id);
        (_sequence, _previous, _ended, _operations) = (session.Sequence, session.Commitment, session.Ended, session.Operations);
        IsContinued = session.Sequence > 0;
        _open = [.. session.OpenOperations];
        Span<byte> random = stackalloc byte[8];
        RandomNumberGenerator.Fill(random);
        _idPrefix = BinaryPrimitives.ReadUInt64BigEndian(random);
        Acknowledgements = new Acknowledgements(spool.Options.AcknowledgeTimeout, spool.Clock);
    }

    public string Id => _session.Id;

    /// <summary>Whether an earlier run began it.</summary>
    public bool IsContinued { get; }

    public Acknowledgements Acknowledgements { get; }

    public CancellationToken Failed => _failed.Token;

    /// <summary>Appends the start.</summary>
    public SpoolBatch Start(SessionStartEntry entry) => AppendRare(EntryType.SessionStart, entry, EntryJsonContext.Default.SessionStartEntry, SpoolHaste.Now);

    public RecordReceipt Append(OperationEntry entry, RecordLevel level)
    {
        ArgumentNullException.ThrowIfNull(entry);
        var scratch = EntryScratch.Begin(_sessionBytes.Length);
        EntryJson.Write(scratch.Json, entry);
        scratch.Json.Flush();
        var effect = entry.Decision == "deny" ? SpoolEffect.None : SpoolEffect.OpensOperation;
        var batch = Commit(
            scratch, EntryType.Operation, effect, entry.Operation, Haste(level), ship: level == RecordLevel.Acknowledged, reserve: false,
            out var sequence);
        return level switch
        {
            RecordLevel.Buffered => new BufferedReceipt(sequence),
            RecordLevel.Acknowledged => new AcknowledgedReceipt(sequence, this),
            _ => new DurableReceipt(sequence, batch),
        };
    }

    public void Complete(CompletionEntry entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        var scratch = EntryScratch.Begin(_sessionBytes.Length);
        EntryJson.Write(scratch.Json, entry);
        scratch.Json.Flush();
        Commit(scratch, EntryType.Completion, SpoolEffect.ClosesOperation, entry.Operation, SpoolHaste.None, ship: false, reserve: true, out _);
    }

    public ValueTask RecordHoldAsync(HoldEntry entry, CancellationToken cancellation) =>
        AppendRare(EntryType.Hold, entry, EntryJsonContext.Default.HoldEntry, SpoolHaste.Now).WaitAsync(cancellation);

    public void RecordGateway(string statement) =>
        AppendRare(EntryType.Gateway, new GatewayBody(statement), EntryJsonContext.Default.GatewayBody, SpoolHaste.None);

    public ValueTask EndAsync(SessionEndEntry entry, CancellationToken cancellation) => End(entry).WaitAsync(cancellation);

    /// <summary>Appends the end. What was let through and has not ended gets the outcome <c>unknown</c>: nobody can say.</summary>
    public SpoolBatch End(SessionEndEntry entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        long[] open;
        lock (_gate)
        {
            open = [.. _open.Order()];
        }

        foreach (var operation in open)
        {
            Complete(new CompletionEntry { Operation = operation, Outcome = "unknown" });
        }

        return AppendRare(EntryType.SessionEnd, entry, EntryJsonContext.Default.SessionEndEntry, SpoolHaste.Now, reserve: true, effect: SpoolEffect.EndsSession);
    }

    /// <summary>End of a session that a crash cut off.</summary>
    public SpoolBatch EndAfterCrash() => End(new SessionEndEntry("crash", _operations, 0, 0));

    /// <summary>Says that the session is still open.</summary>
    public void Heartbeat()
    {
        lock (_gate)
        {
            if (_ended || _failure is not null)
            {
                return;
            }
        }

        try
        {
            AppendRare(EntryType.SessionHeartbeat, new HeartbeatBody(_operations), EntryJsonContext.Default.HeartbeatBody, SpoolHaste.None);
        }
        catch (RecordingFailedException)
        {
            // It ended meanwhile, or its next entry will say so.
        }
    }

    /// <summary>Appends a seal, by the shipper.</summary>
    /// <param name="seal">The seal.</param>
    /// <param name="last">Whether it covers the end: then nothing more comes.</param>
    public void AppendSeal(Seal seal, bool last)
    {
        var scratch = EntryScratch.Begin(_sessionBytes.Length);
        scratch.Json.WriteRawValue(seal.ToPayload(), skipInputValidation: true);
        scratch.Json.Flush();
        Commit(scratch, EntryType.Seal, last ? SpoolEffect.ClosesSession : SpoolEffect.Seals, 0, SpoolHaste.None, ship: false, reserve: true, out _);
        if (last)
        {
            _spool.Forget(this);
            Close();
        }
    }

    /// <summary>Ends the session for its holders: nothing more can be recorded.</summary>
    public void Fail(Exception failure)
    {
        lock (_gate)
        {
            _failure ??= failure;
        }

        Acknowledgements.Fail(failure);
        ThreadPool.UnsafeQueueUserWorkItem(static source => source.Cancel(), _failed, preferLocal: false);
    }

    public async ValueTask DisposeAsync()
    {
        bool open;
        lock (_gate)
        {
            open = !_ended && _failure is null;
        }

        if (open)
        {
            try
            {
                await EndAsync(new SessionEndEntry("shutdown", _operations, 0, 0), CancellationToken.None).ConfigureAwait(false);
            }
            catch (RecordingFailedException)
            {
                // The next start finds the session without an end, and says so in it.
            }
        }
    }

    private static SpoolHaste Haste(RecordLevel level) => level switch
    {
        RecordLevel.Buffered => SpoolHaste.None,
        RecordLevel.Durable => SpoolHaste.Awaited,
        _ => SpoolHaste.Now,
    };

    private SpoolBatch AppendRare<T>(
        EntryType type, T body, JsonTypeInfo<T> json, SpoolHaste haste, bool reserve = false, SpoolEffect effect = SpoolEffect.None)
    {
        var scratch = EntryScratch.Begin(_sessionBytes.Length);
        JsonSerializer.Serialize(scratch.Json, body, json);
        scratch.Json.Flush();
        return Commit(scratch, type, effect, 0, haste, ship: false, reserve, out _);
    }

    private SpoolBatch Commit(
        EntryScratch scratch, EntryType type, SpoolEffect effect, long operation, SpoolHaste haste, bool ship, bool reserve, out long sequence)
    {
        if (scratch.PayloadLength > Entry.MaxPayload)
        {
            throw new RecordingFailedException($"An operation of {scratch.PayloadLength} bytes is too large to be recorded.");
        }

        lock (_gate)
        {
            if (_failure is { } failure)
            {
                throw new RecordingFailedException("The recording has failed; nothing goes on without its record.", failure);
            }

            if (_closed || (_ended && type != EntryType.Seal))
            {
                throw new RecordingFailedException("The recording of the session has ended.");
            }

            sequence = _sequence + 1;
            var record = scratch.Seal(
                type, _idPrefix, sequence, SpoolClock.Microseconds(_spool.Clock), _previous, _sessionBytes, _cipher, _session.Slot, effect, operation,
                out var commitment);
            SpoolBatch batch;
            try
            {
                batch = _spool.Writer.Append(_keyRecord, record, new SpoolChange(_session, sequence, commitment, effect, operation), haste, ship, reserve);
            }
            catch (RecordingFailedException)
            {
                // Nothing was written, so the chain is whole and can still be ended; but what can't record must not go on.
                if (!reserve)
                {
                    ThreadPool.UnsafeQueueUserWorkItem(static source => source.Cancel(), _failed, preferLocal: false);
                }

                throw;
            }

            _keyRecord = [];
            _sequence = sequence;
            _previous = commitment;
            Follow(effect, operation);
            return batch;
        }
    }

    private void Follow(SpoolEffect effect, long operation)
    {
        switch (effect)
        {
            case SpoolEffect.OpensOperation:
                _open.Add(operation);
                break;
            case SpoolEffect.ClosesOperation:
                _open.Remove(operation);
                break;
            case SpoolEffect.EndsSession:
                _ended = true;
                break;
        }

        _operations = Math.Max(_operations, operation);
    }

    private void Close()
    {
        lock (_gate)
        {
            _closed = true;
            _cipher.Dispose();
        }
    }
}
