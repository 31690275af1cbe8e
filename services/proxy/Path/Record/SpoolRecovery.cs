using Countersign.Recorder.Format;

namespace Countersign.Proxy.Path.Record;

/// <summary>What an earlier run left.</summary>
/// <param name="LastSegment">Highest segment number in use.</param>
/// <param name="LastBatch">Highest batch number.</param>
/// <param name="LastSlot">Highest slot.</param>
/// <param name="Segments">Segments that are not shipped, oldest first.</param>
/// <param name="Bytes">Their size.</param>
/// <param name="Sessions">Sessions that are not complete: without end, or with an end that is not sealed.</param>
/// <param name="Healed">Bytes of a torn tail that were cut off.</param>
internal sealed record RecoveredSpool(
    long LastSegment, long LastBatch, uint LastSlot, IReadOnlyList<SpoolSegment> Segments, long Bytes, IReadOnlyList<SpoolSession> Sessions, long Healed);

/// <summary>
/// Reads the spool after a crash: every batch that was synced is there; what a crash left half-written at the very end is cut off. Anything else that
/// is not as it was written is damage, and stops the proxy, since it may be evidence that somebody altered.
/// </summary>
internal sealed class SpoolRecovery(ISpoolStorage storage, SpoolKey key)
{
    private readonly Dictionary<string, SpoolSession> _sessions = new(StringComparer.Ordinal);
    private readonly Dictionary<uint, SpoolSession> _slots = [];
    private readonly Dictionary<uint, byte[]> _lastRecords = [];
    private long _lastBatch;
    private uint _lastSlot;

    public RecoveredSpool Run()
    {
        var numbers = new List<long>();
        long refused = 0;
        foreach (var name in storage.List())
        {
            if (SpoolFormat.TryParseSegmentName(name, out var number))
            {
                numbers.Add(number);
            }
            else if (name.EndsWith(".tmp", StringComparison.Ordinal))
            {
                storage.Delete(name);
            }
            else if (name.EndsWith(".refused", StringComparison.Ordinal))
            {
                using var file = storage.Open(name);
                refused += file.Length;
            }
        }

        numbers.Sort();
        var segments = new List<SpoolSegment>();
        long healed = 0;
        foreach (var number in numbers)
        {
            var segment = new SpoolSegment(number, storage.Open(SpoolFormat.SegmentName(number)));
            segments.Add(segment);
            healed += Read(segment, isLast: number == numbers[^1]);
        }

        foreach (var session in _sessions.Values)
        {
            FindCommitment(session);
        }

        return new RecoveredSpool(
            numbers.Count > 0 ? numbers[^1] : 0, _lastBatch, _lastSlot, segments, refused + segments.Sum(segment => segment.File.Length),
            [.. _sessions.Values.Where(session => !session.IsComplete)], healed);
    }

    private long Read(SpoolSegment segment, bool isLast)
    {
        var reader = new SegmentReader(segment.File, segment.Number);
        var length = segment.File.Length;
        if (!reader.HasHeader())
        {
            throw new SpoolDamagedException($"segment {segment.Number} of the spool has no header");
        }

        while (true)
        {
            var read = reader.TryRead(length, out var records);
            if (read == SegmentRead.Batch)
            {
                if (_lastBatch != 0 && reader.Number != _lastBatch + 1)
                {
                    throw new SpoolDamagedException($"batch {_lastBatch + 1} of the spool is missing before segment {segment.Number}, byte {reader.Offset}");
                }

                _lastBatch = reader.Number;
                Apply(records);
                continue;
            }

            // Writes of one batch may reach the disk in any order: zeros at its beginning can have its rest behind them.
            if (reader.HasLaterBatch(length) || (read == SegmentRead.Torn && !isLast))
            {
                throw new SpoolDamagedException($"segment {segment.Number} of the spool is damaged at byte {reader.Offset}, and not at its end");
            }

            segment.Durable = reader.Offset;
            if (!isLast)
            {
                return 0;
            }

            // Cut, so that the next recovery doesn't find it in the middle; and zeros, too, so that starts beyond the bound don't add up.
            var torn = read != SegmentRead.End || HasRemains(segment, reader.Offset, length);
            segment.File.Truncate(reader.Offset);
            return torn ? length - reader.Offset : 0;
        }
    }

    private static bool HasRemains(SpoolSegment segment, long offset, long length)
    {
        var buffer = new byte[1024 * 1024];
        for (; offset < length; offset += buffer.Length)
        {
            var read = segment.File.Read(buffer, offset);
            if (buffer.AsSpan(0, read).ContainsAnyExcept((byte)0))
            {
                return true;
            }
        }

        return false;
    }

    private void Apply(ReadOnlySpan<byte> records)
    {
        while (!records.IsEmpty)
        {
            var record = SpoolRecordView.Next(ref records);
            switch (record.Kind)
            {
                case SpoolRecordKind.Key:
                    Begin(record, new SpoolSession(record.Slot, record.Session, record.WrappedKey.ToArray()));
                    break;
                case SpoolRecordKind.State:
                    var state = new SpoolSession(record.Slot, record.Session, record.WrappedKey.ToArray())
                    {
                        Sequence = record.StateSequence,
                        Commitment = record.StateCommitment,
                        Ended = record.StateEnded,
                    };
                    state.OpenOperations.UnionWith(record.StateOperations());
                    Begin(record, state);
                    break;
                case SpoolRecordKind.Entry:
                    Apply(record);
                    break;
            }
        }
    }

    private void Begin(in SpoolRecordView record, SpoolSession session)
    {
        _lastSlot = Math.Max(_lastSlot, record.Slot);
        _slots[record.Slot] = session;
        _sessions[session.Id] = session;
    }

    private void Apply(in SpoolRecordView record)
    {
        if (!_slots.TryGetValue(record.Slot, out var session))
        {
            throw new SpoolDamagedException($"an entry of slot {record.Slot} stands before its session");
        }

        var sequence = record.Sequence;
        if (sequence != session.Sequence + 1)
        {
            throw new SpoolDamagedException($"entry {sequence} of session {session.Id} does not follow entry {session.Sequence}");
        }

        session.Apply(sequence, Hash256.Zero, record.Effect, record.Operation);
        if (session.IsComplete)
        {
            _slots.Remove(record.Slot);
            _sessions.Remove(session.Id);
            _lastRecords.Remove(record.Slot);
        }
        else
        {
            _lastRecords[record.Slot] = record.ToArray();
        }
    }

    // The commitment of a session's last entry needs its payload, and is needed only where the session goes on.
    private void FindCommitment(SpoolSession session)
    {
        if (!_lastRecords.TryGetValue(session.Slot, out var bytes))
        {
            return;
        }

        var record = SpoolRecordView.Of(bytes);
        using var cipher = key.Unwrap(session.WrappedKey, System.Text.Encoding.Latin1.GetBytes(session.Id));
        var body = new byte[record.Length];
        session.Commitment = Commitments.Of(body.AsSpan(1, record.Open(cipher, body) - 1));
    }
}
