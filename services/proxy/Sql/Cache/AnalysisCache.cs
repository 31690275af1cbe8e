using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.IO.Hashing;
using System.Security.Cryptography;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Cache;

/// <summary>
/// Analyses by exact text. Bounded in entries and bytes. A hit takes no lock and allocates nothing; what was not hit since the
/// hand came round last (second chance) goes first, so that a flood of one-off texts doesn't push out what is in use.
/// </summary>
internal sealed class AnalysisCache
{
    private readonly ConcurrentDictionary<byte[], Entry> entries;
    private readonly ConcurrentDictionary<byte[], Entry>.AlternateLookup<ReadOnlySpan<byte>> lookup;
    private readonly Queue<Entry> clock = new();
    private readonly Lock gate = new();
    private readonly int maxEntries;
    private readonly long maxBytes;
    private readonly long seed = BitConverter.ToInt64(RandomNumberGenerator.GetBytes(8));
    private readonly ulong[] seen = new ulong[1 << 15];
    private long bytes;

    public AnalysisCache(int maxEntries, long maxBytes)
    {
        this.maxEntries = maxEntries;
        this.maxBytes = maxBytes;
        entries = new ConcurrentDictionary<byte[], Entry>(Environment.ProcessorCount, Math.Min(maxEntries, 1024), new TextComparer());
        lookup = entries.GetAlternateLookup<ReadOnlySpan<byte>>();
    }

    public int Count => entries.Count;

    public long Bytes => Interlocked.Read(ref bytes);

    public bool TryGet(ReadOnlySpan<byte> text, [NotNullWhen(true)] out SqlAnalysis? analysis)
    {
        if (lookup.TryGetValue(text, out var entry))
        {
            // Written only where it changes: a shared cache line that every hit writes costs more than the hit.
            if (!entry.Used)
            {
                entry.Used = true;
            }

            analysis = entry.Analysis;
            return true;
        }

        analysis = null;
        return false;
    }

    /// <summary>
    /// Whether a text is worth keeping: it was seen before, not long ago. What comes once only (a simple query with its literals) would live just long
    /// enough to be expensive for the garbage collector: keeping those made a miss three times as slow.
    /// </summary>
    public bool IsSeenAgain(ReadOnlySpan<byte> text)
    {
        var hash = XxHash3.HashToUInt64(text, seed) | 1;
        ref var slot = ref seen[hash >> 49];
        if (Volatile.Read(ref slot) == hash)
        {
            return true;
        }

        // Two threads may overwrite one another: then a text is kept one time later.
        Volatile.Write(ref slot, hash);
        return false;
    }

    /// <summary>Adds an analysis; does nothing where it alone would take more than a sixteenth of the room.</summary>
    public void Add(ReadOnlySpan<byte> text, SqlAnalysis analysis, long size)
    {
        if (size > maxBytes / 16)
        {
            return;
        }

        var entry = new Entry(text.ToArray(), analysis, size);
        if (!entries.TryAdd(entry.Text, entry))
        {
            return;
        }

        lock (gate)
        {
            clock.Enqueue(entry);
            bytes += size;
            while (clock.Count > maxEntries || bytes > maxBytes)
            {
                var oldest = clock.Dequeue();
                if (oldest.Used)
                {
                    oldest.Used = false;
                    clock.Enqueue(oldest);
                    continue;
                }

                entries.TryRemove(oldest.Text, out _);
                bytes -= oldest.Size;
            }
        }
    }

    private sealed class Entry(byte[] text, SqlAnalysis analysis, long size)
    {
        public readonly byte[] Text = text;
        public readonly SqlAnalysis Analysis = analysis;
        public readonly long Size = size;
        public volatile bool Used;
    }

    /// <summary>Compares by bytes; the hash is seeded per process, so that nobody can prepare texts that collide.</summary>
    private sealed class TextComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
    {
        private readonly long seed = BitConverter.ToInt64(RandomNumberGenerator.GetBytes(8));

        public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

        public int GetHashCode(byte[] text) => GetHashCode(text.AsSpan());

        public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

        public int GetHashCode(ReadOnlySpan<byte> alternate)
        {
            var hash = XxHash3.HashToUInt64(alternate, seed);
            return (int)(hash ^ (hash >> 32));
        }

        public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();
    }
}
