using System.Security.Cryptography;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Verify;

/// <summary>Follows every session through the range: numbers, chain, seals, begin and end.</summary>
internal sealed class SessionChains : IDisposable
{
    /// <summary>Commitments kept while they wait for a seal; the writers seal far more often.</summary>
    private const int MaxUnsealed = 1 << 20;

    private readonly FindingList _findings;
    private readonly Dictionary<string, Chain> _chains = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Owner, string KeyId), ECDsa> _keys = [];
    private readonly bool _fromStart;

    public SessionChains(FindingList findings, IEnumerable<SealKey> keys, bool fromStart)
    {
        _findings = findings;
        _fromStart = fromStart;
        foreach (var key in keys)
        {
            _keys.TryAdd((key.Owner, key.KeyId), key.ToECDsa());
        }
    }

    public long Count => _chains.Count;

    public long Seals { get; private set; }

    public void Add(Entry entry, long line, long index)
    {
        if (!_chains.TryGetValue(entry.Session, out var chain))
        {
            chain = new Chain { FirstIndex = index, FirstSequence = entry.Sequence };
            _chains.Add(entry.Session, chain);
            Begin(entry, line, index);
        }
        else if (!Follows(chain, entry, line, index))
        {
            return;
        }

        if (chain.Ended && entry.Type != EntryType.Seal)
        {
            Report(FindingKinds.Inserted, $"entry {Name(entry, index)} stands behind the end of its session", entry, line, index);
        }

        if ((entry.Type == EntryType.Event) != (SealKey.OwnerOf(entry.Session) == SealKey.Recorder) && entry.Type != EntryType.Seal)
        {
            Report(FindingKinds.Inserted, $"entry {Name(entry, index)} is of a kind that its session can't have", entry, line, index);
        }

        chain.Sequence = entry.Sequence;
        chain.Commitment = entry.Commitment;
        chain.LastIndex = index;
        if (entry.Type == EntryType.Seal)
        {
            CheckSeal(chain, entry, line, index);
        }
        else
        {
            chain.Ended |= entry.Type == EntryType.SessionEnd;
        }

        chain.Unsealed.Enqueue((entry.Sequence, entry.Commitment, entry.Type));
        if (chain.Unsealed.Count > MaxUnsealed)
        {
            chain.Unsealed.Dequeue();
        }
    }

    public void Finish()
    {
        foreach (var (session, chain) in _chains.OrderBy(chain => chain.Value.FirstIndex))
        {
            if (!chain.Ended && SealKey.OwnerOf(session) == SealKey.Proxy)
            {
                _findings.Add(new Finding(
                    Severity.Notice, FindingKinds.OpenEnd, $"session {session} has no end in the range; its last entry is number {chain.Sequence}", Session: session,
                    Index: chain.LastIndex, Sequence: chain.Sequence));
            }

            // Seals don't need a seal of their own.
            if (chain.Unsealed.Any(entry => entry.Type != EntryType.Seal && entry.Sequence > chain.SealedUpTo))
            {
                _findings.Add(new Finding(
                    Severity.Notice, FindingKinds.Unsealed, $"session {session} is sealed up to entry number {chain.SealedUpTo} of {chain.Sequence}", Session: session,
                    Index: chain.LastIndex, Sequence: chain.SealedUpTo));
            }
        }
    }

    public void Dispose()
    {
        foreach (var key in _keys.Values)
        {
            key.Dispose();
        }
    }

    private static string Name(Entry entry, long index) => $"{entry.IdText} (position {index}, number {entry.Sequence} of session {entry.Session})";

    private void Begin(Entry entry, long line, long index)
    {
        if (entry.Sequence == 1)
        {
            if (entry.Previous != Hash256.Zero)
            {
                Report(FindingKinds.Chain, $"entry {Name(entry, index)} is the first of its session but points to another", entry, line, index);
            }

            if (SealKey.OwnerOf(entry.Session) == SealKey.Proxy && entry.Type != EntryType.SessionStart)
            {
                Report(FindingKinds.Chain, $"entry {Name(entry, index)} is the first of its session but does not start it", entry, line, index);
            }
        }
        else if (_fromStart)
        {
            Report(FindingKinds.Removed, $"session {entry.Session} begins with entry {Name(entry, index)}: those before it are missing", entry, line, index);
        }
        else
        {
            _findings.Add(new Finding(
                Severity.Notice, FindingKinds.OpenBegin, $"session {entry.Session} began before the range", line, index, entry.IdText, entry.Session, entry.Sequence));
        }
    }

    private bool Follows(Chain chain, Entry entry, long line, long index)
    {
        if (entry.Sequence <= chain.Sequence)
        {
            Report(
                FindingKinds.Inserted, $"entry {Name(entry, index)} stands behind number {chain.Sequence} of its session: it is a duplicate, inserted or moved", entry,
                line, index);
            return false;
        }

        if (entry.Sequence > chain.Sequence + 1)
        {
            Report(
                FindingKinds.Removed,
                $"numbers {chain.Sequence + 1} to {entry.Sequence - 1} of session {entry.Session} are missing before entry {Name(entry, index)}", entry, line, index);
            chain.Unsealed.Clear();
        }
        else if (entry.Previous != chain.Commitment)
        {
            Report(
                FindingKinds.Chain,
                $"entry {Name(entry, index)} does not follow number {chain.Sequence} of its session at position {chain.LastIndex}: one of the two was altered", entry,
                line, index);
        }

        return true;
    }

    private void CheckSeal(Chain chain, Entry entry, long line, long index)
    {
        if (entry.IsErased)
        {
            return;
        }

        Seal seal;
        try
        {
            seal = Seal.Read(entry.Payload.Span);
        }
        catch (EntryFormatException error)
        {
            Report(FindingKinds.Seal, $"seal {Name(entry, index)} can't be read: {error.Message}", entry, line, index);
            return;
        }

        if (!_keys.TryGetValue((SealKey.OwnerOf(entry.Session), seal.KeyId), out var key))
        {
            Report(FindingKinds.Seal, $"seal {Name(entry, index)} is by a key that is not enrolled", entry, line, index);
            return;
        }

        if (seal.Sequence >= entry.Sequence || seal.Sequence < chain.SealedUpTo || !seal.Verify(entry.Session, key))
        {
            Report(FindingKinds.Seal, $"seal {Name(entry, index)} does not verify", entry, line, index);
            return;
        }

        while (chain.Unsealed.TryPeek(out var oldest) && oldest.Sequence < seal.Sequence)
        {
            chain.Unsealed.Dequeue();
        }

        if (chain.Unsealed.TryPeek(out var covered) && covered.Sequence == seal.Sequence)
        {
            if (covered.Commitment != seal.Commitment)
            {
                Report(
                    FindingKinds.Seal, $"seal {Name(entry, index)} was given to another entry number {seal.Sequence} than the one in this range", entry, line, index);
                return;
            }
        }
        else if (chain.FirstSequence <= seal.Sequence)
        {
            // The entry it covers should be here: a gap was reported where it is missing.
            return;
        }

        chain.SealedUpTo = seal.Sequence;
        Seals++;
    }

    private void Report(string kind, string message, Entry entry, long line, long index) =>
        _findings.Add(new Finding(Severity.Error, kind, message, line, index, entry.IdText, entry.Session, entry.Sequence));

    private sealed class Chain
    {
        public long FirstIndex { get; init; }

        public long FirstSequence { get; init; }

        public long LastIndex { get; set; }

        public long Sequence { get; set; }

        public long SealedUpTo { get; set; }

        public Hash256 Commitment { get; set; }

        public bool Ended { get; set; }

        public Queue<(long Sequence, Hash256 Commitment, EntryType Type)> Unsealed { get; } = new();
    }
}
