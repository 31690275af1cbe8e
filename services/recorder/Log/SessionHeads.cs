using System.Security.Cryptography;
using System.Text;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>What became of an entry on its way in.</summary>
internal enum Sequenced
{
    /// <summary>It follows: it becomes part of the log.</summary>
    New,
    /// <summary>The log has it already.</summary>
    Known,
    /// <summary>It doesn't follow: nothing more of its session is taken.</summary>
    Refused,
}

/// <summary>Where a session stands in the log.</summary>
internal sealed class SessionHead
{
    public long Sequence { get; set; }

    public Hash256 Commitment { get; set; }

    /// <summary>Number of the entry that ended it; 0 while it is open.</summary>
    public long EndedAt { get; set; }

    /// <summary>Number of the first commitment in <see cref="Unsealed"/>.</summary>
    public long UnsealedFrom { get; set; } = 1;

    /// <summary>Commitments that no seal covers yet, and those of seals.</summary>
    public Queue<Hash256> Unsealed { get; } = new();

    /// <summary>Why it was refused; audited once.</summary>
    public string? Refused { get; set; }

    /// <summary>Whether anything but seals waits for a seal.</summary>
    public bool Dirty { get; set; }
}

/// <summary>The chains of all sessions, as far as the log has them. Sessions that are complete are remembered by a short hash and their last number.</summary>
internal sealed class SessionHeads(int maxUnsealed)
{
    private readonly Dictionary<string, SessionHead> _open = new(StringComparer.Ordinal);
    private readonly Dictionary<UInt128, long> _complete = [];

    public int Open => _open.Count;

    public SessionHead? Find(string session) => _open.GetValueOrDefault(session);

    public IEnumerable<KeyValuePair<string, SessionHead>> All => _open;

    /// <summary>How far the log has a session.</summary>
    public long Reached(string session) =>
        _open.TryGetValue(session, out var head) ? head.Sequence : _complete.GetValueOrDefault(Short(session));

    /// <summary>Takes an entry if it follows.</summary>
    /// <param name="entry">The entry.</param>
    /// <param name="seal">The seal in the entry, where its signature was found good.</param>
    /// <param name="reason">Why it is refused.</param>
    public Sequenced Take(Entry entry, Seal? seal, out string reason)
    {
        reason = "";
        if (!_open.TryGetValue(entry.Session, out var head))
        {
            if (_complete.TryGetValue(Short(entry.Session), out var last))
            {
                return entry.Sequence <= last ? Sequenced.Known : Refuse(null, "the session has ended", out reason);
            }

            head = new SessionHead();
            _open.Add(entry.Session, head);
        }

        if (entry.Sequence <= head.Sequence)
        {
            return Sequenced.Known;
        }

        if (head.Refused is not null)
        {
            return Refuse(head, head.Refused, out reason);
        }

        if (Check(entry, head, seal) is { } wrong)
        {
            return Refuse(head, wrong, out reason);
        }

        Apply(entry, head);
        return Sequenced.New;
    }

    /// <summary>Takes an entry that the log has already checked, when it is read again at start.</summary>
    public void Replay(Entry entry)
    {
        if (!_open.TryGetValue(entry.Session, out var head))
        {
            head = new SessionHead();
            _open.Add(entry.Session, head);
        }

        Apply(entry, head);
    }

    public void Write(BinaryWriter writer)
    {
        writer.Write(_open.Count);
        Span<byte> hash = stackalloc byte[Hash256.Size];
        foreach (var (session, head) in _open)
        {
            writer.Write(session);
            writer.Write(head.Sequence);
            head.Commitment.CopyTo(hash);
            writer.Write(hash);
            writer.Write(head.EndedAt);
            writer.Write(head.Dirty);
            writer.Write(head.UnsealedFrom);
            writer.Write(head.Unsealed.Count);
            foreach (var commitment in head.Unsealed)
            {
                commitment.CopyTo(hash);
                writer.Write(hash);
            }
        }

        writer.Write(_complete.Count);
        foreach (var (key, last) in _complete)
        {
            writer.Write((ulong)(key >> 64));
            writer.Write((ulong)key);
            writer.Write(last);
        }
    }

    public void Read(BinaryReader reader)
    {
        for (var count = reader.ReadInt32(); count > 0; count--)
        {
            var session = reader.ReadString();
            var head = new SessionHead
            {
                Sequence = reader.ReadInt64(),
                Commitment = Hash256.From(reader.ReadBytes(Hash256.Size)),
                EndedAt = reader.ReadInt64(),
                Dirty = reader.ReadBoolean(),
                UnsealedFrom = reader.ReadInt64(),
            };
            for (var unsealed = reader.ReadInt32(); unsealed > 0; unsealed--)
            {
                head.Unsealed.Enqueue(Hash256.From(reader.ReadBytes(Hash256.Size)));
            }

            _open.Add(session, head);
        }

        for (var count = reader.ReadInt32(); count > 0; count--)
        {
            var high = reader.ReadUInt64();
            _complete.Add(new UInt128(high, reader.ReadUInt64()), reader.ReadInt64());
        }
    }

    private static Sequenced Refuse(SessionHead? head, string why, out string reason)
    {
        reason = why;
        if (head is not null)
        {
            head.Refused = why;
        }

        return Sequenced.Refused;
    }

    private static UInt128 Short(string session)
    {
        Span<byte> hash = stackalloc byte[Hash256.Size];
        SHA256.HashData(Encoding.UTF8.GetBytes(session), hash);
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt128BigEndian(hash);
    }

    private string? Check(Entry entry, SessionHead head, Seal? seal)
    {
        if (entry.Sequence > head.Sequence + 1)
        {
            return $"entries {head.Sequence + 1} to {entry.Sequence - 1} are missing";
        }

        if (entry.Previous != head.Commitment)
        {
            return $"entry {entry.Sequence} does not follow the entry before it";
        }

        if (entry.IsErased)
        {
            return $"entry {entry.Sequence} has no payload";
        }

        if (head.EndedAt > 0 && entry.Type != EntryType.Seal)
        {
            return $"entry {entry.Sequence} stands behind the end of the session";
        }

        if (SealKey.OwnerOf(entry.Session) == SealKey.Proxy && (entry.Type == EntryType.Event || (entry.Sequence == 1) != (entry.Type == EntryType.SessionStart)))
        {
            return $"entry {entry.Sequence} is of a kind that can't stand there";
        }

        if (entry.Type != EntryType.Seal)
        {
            return head.Unsealed.Count < maxUnsealed ? null : "too many entries are not sealed";
        }

        var offset = (seal?.Sequence ?? 0) - head.UnsealedFrom;
        return seal is null || offset < 0 || offset >= head.Unsealed.Count || head.Unsealed.ElementAt((int)offset) != seal.Commitment
            ? $"seal {entry.Sequence} is not good"
            : null;
    }

    private void Apply(Entry entry, SessionHead head)
    {
        head.Sequence = entry.Sequence;
        head.Commitment = entry.Commitment;
        head.Unsealed.Enqueue(entry.Commitment);
        head.Dirty = entry.Type != EntryType.Seal;
        if (entry.Type == EntryType.SessionEnd)
        {
            head.EndedAt = entry.Sequence;
        }

        if (entry.Type != EntryType.Seal)
        {
            return;
        }

        // Kept from the sealed entry on, so that the next seal may cover the same one.
        var covered = Seal.Read(entry.Payload.Span).Sequence;
        for (; head.UnsealedFrom < covered && head.Unsealed.Count > 0; head.UnsealedFrom++)
        {
            head.Unsealed.Dequeue();
        }

        if (head.EndedAt > 0 && covered >= head.EndedAt)
        {
            _open.Remove(entry.Session);
            _complete[Short(entry.Session)] = entry.Sequence;
        }
    }
}
