using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using Countersign.Recorder.Format;

namespace Countersign.Proxy.Path.Record;

/// <summary>How far a session has come in what the shipper has read.</summary>
internal sealed class ShippedSession(string id)
{
    public string Id => id;

    public long Sequence { get; set; }

    public Hash256 Commitment { get; set; }

    public bool Ended { get; set; }

    /// <summary>Whether the seal over its end was read: nothing more comes.</summary>
    public bool Closed { get; set; }

    public bool SealedForGood { get; set; }

    public bool Refused { get; set; }

    public int Unsealed { get; set; }

    public long SealedAt { get; set; }

    /// <summary>Where its last entry of the current batch lies.</summary>
    public (int Offset, int Length) LastBody { get; set; }
}

/// <summary>What the shipper sends at once.</summary>
internal sealed class ShipBatch
{
    public ArrayBufferWriter<byte> Frames { get; } = new(64 * 1024);

    public HashSet<ShippedSession> Sessions { get; } = [];

    public int Entries { get; set; }

    public bool IsEmpty => Entries == 0;

    public void Clear()
    {
        Frames.ResetWrittenCount();
        Sessions.Clear();
        Entries = 0;
    }
}

/// <summary>Reads the durable part of the spool once, from its oldest segment on, and opens the entries for the recorder.</summary>
internal sealed class SpoolCursor(SpoolSegments segments, SpoolKey key) : IDisposable
{
    private readonly Dictionary<uint, (ShippedSession Session, AesGcm Cipher)> _slots = [];
    private readonly Dictionary<string, ShippedSession> _sessions = new(StringComparer.Ordinal);
    private SpoolSegment? _segment;
    private SegmentReader? _reader;

    /// <summary>Segments that were read to their end, with those behind them begun.</summary>
    public Queue<SpoolSegment> Passed { get; } = new();

    /// <summary>Reads whole batches of the spool until there are enough bytes or no more.</summary>
    public void Read(ShipBatch batch, int bytes)
    {
        while (batch.Frames.WrittenCount < bytes && Next(out var records))
        {
            while (!records.IsEmpty)
            {
                Take(SpoolRecordView.Next(ref records), batch);
            }
        }

        foreach (var session in batch.Sessions)
        {
            var (offset, length) = session.LastBody;
            session.Commitment = Commitments.Of(batch.Frames.WrittenSpan.Slice(offset + 1, length - 1));
        }
    }

    /// <summary>Lets go of a session of which nothing more comes.</summary>
    public void Forget(ShippedSession session)
    {
        _sessions.Remove(session.Id);
        foreach (var (slot, known) in _slots.Where(slot => ReferenceEquals(slot.Value.Session, session)).ToArray())
        {
            known.Cipher.Dispose();
            _slots.Remove(slot);
        }
    }

    public IEnumerable<ShippedSession> Sessions => _sessions.Values;

    public void Dispose()
    {
        foreach (var (_, cipher) in _slots.Values)
        {
            cipher.Dispose();
        }
    }

    private bool Next(out ReadOnlySpan<byte> records)
    {
        records = default;
        if (_segment is null)
        {
            if (segments.Oldest is not { } oldest)
            {
                return false;
            }

            Begin(oldest);
        }

        while (true)
        {
            // Looked at before reading: if there is a next segment now, nothing more comes into this one.
            var after = segments.After(_segment!);
            switch (_reader!.TryRead(_segment!.Durable, out records))
            {
                case SegmentRead.Batch:
                    return true;
                case SegmentRead.Torn:
                    throw new SpoolDamagedException($"segment {_segment.Number} of the spool is damaged at byte {_reader.Offset}");
            }

            if (after is null)
            {
                return false;
            }

            Passed.Enqueue(_segment);
            Begin(after);
        }
    }

    private void Begin(SpoolSegment segment)
    {
        _segment = segment;
        _reader = new SegmentReader(segment.File, segment.Number);
    }

    private void Take(in SpoolRecordView record, ShipBatch batch)
    {
        if (record.Kind != SpoolRecordKind.Entry)
        {
            Know(record);
            return;
        }

        if (!_slots.TryGetValue(record.Slot, out var known))
        {
            throw new SpoolDamagedException($"an entry of slot {record.Slot} stands before its session");
        }

        var (session, cipher) = known;
        var frames = batch.Frames;
        var span = frames.GetSpan(EntryFrame.PrefixSize + record.Length);
        var body = record.Open(cipher, span[EntryFrame.PrefixSize..]);
        var frame = EntryFrame.Close(span, body);
        session.LastBody = (frames.WrittenCount + EntryFrame.PrefixSize, body);
        frames.Advance(frame);
        batch.Entries++;
        batch.Sessions.Add(session);
        session.Sequence = record.Sequence;
        session.Closed = record.Effect == SpoolEffect.ClosesSession;
        session.Ended |= record.Effect == SpoolEffect.EndsSession;
        session.Unsealed += record.Effect is SpoolEffect.Seals or SpoolEffect.ClosesSession ? 0 : 1;
    }

    private void Know(in SpoolRecordView record)
    {
        if (_slots.ContainsKey(record.Slot))
        {
            return;
        }

        var id = record.Session;
        if (!_sessions.TryGetValue(id, out var session))
        {
            session = new ShippedSession(id);
            if (record.Kind == SpoolRecordKind.State)
            {
                session.Sequence = record.StateSequence;
                session.Commitment = record.StateCommitment;
                session.Ended = record.StateEnded;
                session.Unsealed = 1;
            }

            _sessions.Add(id, session);
        }

        _slots.Add(record.Slot, (session, key.Unwrap(record.WrappedKey, Encoding.Latin1.GetBytes(id))));
    }
}
