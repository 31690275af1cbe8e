using System.Buffers;
using System.Buffers.Binary;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>
/// The Merkle tree in tlog-tiles files (https://c2sp.org/tlog-tiles), and its right edge in memory. Tiles can always be made again from the entries, so they
/// are synced only when a snapshot of the state says that they need not be.
/// </summary>
internal sealed class TileStore : IMerkleNodes
{
    private const int CacheSize = 512;
    private readonly string _root;
    private readonly Lock _gate = new();
    private readonly List<List<Hash256>> _edges = [];
    private readonly Dictionary<(int Level, long Index), Hash256[]> _cache = [];
    private readonly HashSet<string> _unsynced = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _partials = new(StringComparer.Ordinal);
    private readonly HashSet<string> _made = new(StringComparer.Ordinal);
    private readonly ArrayBufferWriter<byte> _bundle = new(40_000);

    /// <summary>An empty tree.</summary>
    /// <param name="root">Folder that has <c>tile/</c>.</param>
    public TileStore(string root) => _root = root;

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
                    var index = (Size >> (Tiles.Height * level)) / Tiles.Width;
                    WritePartial(Tiles.HashPath(level, index), Tiles.HashPath(level, index, _edges[level].Count), Bytes(_edges[level]));
                }
            }

            if (_bundle.WrittenCount > 0)
            {
                var index = Size / Tiles.Width;
                WritePartial(Tiles.EntriesPath(index), Tiles.EntriesPath(index, (int)(Size % Tiles.Width)), _bundle.WrittenSpan);
            }
        }
    }

    /// <summary>Makes every full tile durable.</summary>
    public void Sync()
    {
        string[] paths;
        lock (_gate)
        {
            paths = [.. _unsynced];
            _unsynced.Clear();
        }

        foreach (var path in paths)
        {
            using var handle = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            Durable.Data(handle);
        }

        foreach (var directory in paths.Select(path => Path.GetDirectoryName(path)!).Distinct(StringComparer.Ordinal))
        {
            Durable.Directory(directory);
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
            Write(Tiles.EntriesPath(index / Tiles.Width), _bundle.WrittenSpan);
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
        Write(Tiles.HashPath(level, index), Bytes(edge));
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

        var path = Path.Combine(_root, Tiles.HashPath(level, tile));
        var bytes = File.Exists(path) ? File.ReadAllBytes(path) : [];
        if (bytes.Length != Tiles.Width * Hash256.Size)
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

    private void Write(string relative, ReadOnlySpan<byte> bytes)
    {
        var path = Path.Combine(_root, relative);
        var directory = Path.GetDirectoryName(path)!;
        if (_made.Count > 64)
        {
            _made.Clear();
        }

        if (_made.Add(directory))
        {
            Directory.CreateDirectory(directory);
        }

        WriteWhole(path, bytes);
        _unsynced.Add(path);
        _partials.Remove(relative);
        var partials = path + ".p";
        if (Directory.Exists(partials))
        {
            Directory.Delete(partials, recursive: true);
        }
    }

    // A file that is cut to nothing first is written back when it is closed (ext4), and nobody needs that here.
    private static void WriteWhole(string path, ReadOnlySpan<byte> bytes)
    {
        if (File.Exists(path))
        {
            File.WriteAllBytes(path, bytes);
            return;
        }

        using var handle = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write);
        RandomAccess.Write(handle, bytes, 0);
    }

    // The one before stays until its tile is full or a second one replaces it: somebody may just be reading the checkpoint before.
    private void WritePartial(string tile, string relative, ReadOnlySpan<byte> bytes)
    {
        var path = Path.Combine(_root, relative);
        if (File.Exists(path))
        {
            return;
        }

        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, bytes);
        foreach (var old in Directory.GetFiles(Path.GetDirectoryName(path)!))
        {
            if (old != path && (!_partials.TryGetValue(tile, out var previous) || old != previous))
            {
                File.Delete(old);
            }
        }

        _partials[tile] = path;
    }
}
