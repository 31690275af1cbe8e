using System.Buffers;
using System.Buffers.Binary;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>
/// The Merkle tree in tiles (https://c2sp.org/tlog-tiles), and its right edge in memory. Tiles can always be made again from the entries, so they
/// are synced only when a snapshot of the state says that they need not be.
/// </summary>
internal sealed class TileStore : IMerkleNodes
{
    private const int CacheSize = 512;
    private readonly ITileStorage _storage;
    private readonly Lock _gate = new();
    private readonly List<List<Hash256>> _edges = [];
    private readonly Dictionary<(int Level, long Index), Hash256[]> _cache = [];
    private readonly ArrayBufferWriter<byte> _bundle = new(40_000);

    /// <summary>An empty tree.</summary>
    /// <param name="storage">Where tiles are kept.</param>
    public TileStore(ITileStorage storage) => _storage = storage;

    /// <summary>Leaves.</summary>
    public long Size { get; private set; }

    /// <summary>Goes on from a tree of which all full tiles are on disk.</summary>
    /// <param name="size">Its size.</param>
    /// <param name="rightmost">The leaves of its unfinished tile of level 0.</param>
    public void Load(long size, IReadOnlyList<Entry> rightmost)
    {
        lock (_gate)
        {
            for (var level = 0; size >> (Tiles.Height * level) > 0; level++)
            {
                var count = size >> (Tiles.Height * level);
                var begin = count / Tiles.Width * Tiles.Width;
                var edge = new List<Hash256>(Tiles.Width);
                for (var index = begin; index < count && level > 0; index++)
                {
                    edge.Add(Fold(ReadTile(level - 1, index)));
                }

                _edges.Add(edge);
            }

            Size = size - rightmost.Count;
            foreach (var entry in rightmost)
            {
                Append(entry);
            }

            if (Size != size)
            {
                throw new LogFailedException("the right edge of the tree can't be loaded");
            }
        }
    }

    /// <summary>Appends leaves.</summary>
    public void Append(IReadOnlyList<Entry> entries)
    {
        lock (_gate)
        {
            foreach (var entry in entries)
            {
                Append(entry);
            }
        }
    }

    /// <summary>Root over all leaves.</summary>
    public Hash256 Root()
    {
        lock (_gate)
        {
            return CompactRange.Load(this, 0, Size).Root();
        }
    }

    /// <inheritdoc/>
    public Hash256 Node(int level, long index)
    {
        lock (_gate)
        {
            var tileLevel = level / Tiles.Height;
            var inside = level % Tiles.Height;
            var first = index << inside;
            var tile = first / Tiles.Width;
            var hashes = ReadTileOrEdge(tileLevel, tile);
            var offset = (int)(first % Tiles.Width);
            return Fold(hashes.Slice(offset, 1 << inside));
        }
    }

    /// <summary>Writes the unfinished tiles, for readers of the checkpoint of this size.</summary>
    public void WritePartials()
    {
        lock (_gate)
        {
            for (var level = 0; level < _edges.Count; level++)
            {
                if (_edges[level].Count > 0)
                {
                    _storage.WritePartial(level, (Size >> (Tiles.Height * level)) / Tiles.Width, _edges[level].Count, Bytes(_edges[level]));
                }
            }

            if (_bundle.WrittenCount > 0)
            {
                _storage.WritePartialBundle(Size / Tiles.Width, (int)(Size % Tiles.Width), _bundle.WrittenSpan);
            }
        }
    }

    private static Hash256 Fold(ReadOnlySpan<Hash256> hashes)
    {
        if (hashes.Length == 1)
        {
            return hashes[0];
        }

        Span<Hash256> level = stackalloc Hash256[Tiles.Width];
        hashes.CopyTo(level);
        for (var count = hashes.Length; count > 1; count /= 2)
        {
            for (var index = 0; index < count / 2; index++)
            {
                level[index] = Merkle.HashChildren(level[2 * index], level[(2 * index) + 1]);
            }
        }

        return level[0];
    }

    private static byte[] Bytes(List<Hash256> hashes)
    {
        var bytes = new byte[hashes.Count * Hash256.Size];
        for (var index = 0; index < hashes.Count; index++)
        {
            hashes[index].CopyTo(bytes.AsSpan(index * Hash256.Size));
        }

        return bytes;
    }

    private void Append(Entry entry)
    {
        Span<byte> leaf = stackalloc byte[Commitments.MaxLeafData];
        leaf = leaf[..entry.WriteLeafData(leaf)];
        var prefix = _bundle.GetSpan(2 + leaf.Length);
        BinaryPrimitives.WriteUInt16BigEndian(prefix, (ushort)leaf.Length);
        leaf.CopyTo(prefix[2..]);
        _bundle.Advance(2 + leaf.Length);
        var index = Size++;
        if (Size % Tiles.Width == 0)
        {
            _storage.WriteBundle(index / Tiles.Width, _bundle.WrittenSpan);
            _bundle.ResetWrittenCount();
        }

        AppendHash(0, Merkle.HashLeaf(leaf));
    }

    private void AppendHash(int level, in Hash256 hash)
    {
        if (_edges.Count == level)
        {
            _edges.Add(new List<Hash256>(Tiles.Width));
        }

        var edge = _edges[level];
        edge.Add(hash);
        if (edge.Count < Tiles.Width)
        {
            return;
        }

        var tile = edge.ToArray();
        var index = ((Size >> (Tiles.Height * level)) / Tiles.Width) - 1;
        _storage.Write(level, index, Bytes(edge));
        Remember(level, index, tile);
        edge.Clear();
        AppendHash(level + 1, Fold(tile));
    }

    private ReadOnlySpan<Hash256> ReadTileOrEdge(int level, long tile)
    {
        if (level < _edges.Count && tile == (Size >> (Tiles.Height * level)) / Tiles.Width)
        {
            return System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_edges[level]);
        }

        return ReadTile(level, tile);
    }

    private Hash256[] ReadTile(int level, long tile)
    {
        if (_cache.TryGetValue((level, tile), out var kept))
        {
            return kept;
        }

        var bytes = _storage.Read(level, tile);
        if (bytes is null || bytes.Length != Tiles.Width * Hash256.Size)
        {
            throw new LogFailedException($"{Tiles.HashPath(level, tile)} is missing or damaged");
        }

        var hashes = new Hash256[Tiles.Width];
        for (var index = 0; index < hashes.Length; index++)
        {
            hashes[index] = Hash256.From(bytes.AsSpan(index * Hash256.Size, Hash256.Size));
        }

        Remember(level, tile, hashes);
        return hashes;
    }

    private void Remember(int level, long tile, Hash256[] hashes)
    {
        if (_cache.Count >= CacheSize)
        {
            _cache.Clear();
        }

        _cache[(level, tile)] = hashes;
    }
}
