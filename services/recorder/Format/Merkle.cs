namespace Countersign.Recorder.Format;

/// <summary>Hashing of RFC 6962, section 2.1 (also RFC 9162).</summary>
public static class Merkle
{
    /// <summary>Root of the empty tree: SHA-256 of nothing.</summary>
    public static Hash256 EmptyRoot { get; } = Hash256.Of([]);

    /// <summary>Hash of a leaf: SHA-256(0x00, data).</summary>
    public static Hash256 HashLeaf(ReadOnlySpan<byte> data)
    {
        const int Small = 512;
        if (data.Length < Small)
        {
            Span<byte> small = stackalloc byte[Small];
            small[0] = 0;
            data.CopyTo(small[1..]);
            return Hash256.Of(small[..(data.Length + 1)]);
        }

        var bytes = new byte[data.Length + 1];
        data.CopyTo(bytes.AsSpan(1));
        return Hash256.Of(bytes);
    }

    /// <summary>Hash of an inner node: SHA-256(0x01, left, right).</summary>
    public static Hash256 HashChildren(in Hash256 left, in Hash256 right)
    {
        Span<byte> bytes = stackalloc byte[1 + (2 * Hash256.Size)];
        bytes[0] = 1;
        left.CopyTo(bytes[1..]);
        right.CopyTo(bytes[(1 + Hash256.Size)..]);
        return Hash256.Of(bytes);
    }
}

/// <summary>The roots of complete subtrees, e.g. from tiles.</summary>
public interface IMerkleNodes
{
    /// <summary>Root of the complete subtree over leaves [index * 2^level, (index + 1) * 2^level).</summary>
    Hash256 Node(int level, long index);
}

/// <summary>
/// The fewest complete subtrees over leaves [begin, end): all that is needed to go on appending, and, where begin is 0, to know the root. At most
/// two nodes a level.
/// </summary>
public sealed class CompactRange
{
    private readonly List<(int Level, Hash256 Hash)> _nodes = [];

    /// <summary>An empty range.</summary>
    /// <param name="begin">Where it begins.</param>
    public CompactRange(long begin = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(begin);
        Begin = begin;
        End = begin;
    }

    /// <summary>First leaf.</summary>
    public long Begin { get; }

    /// <summary>Leaf after the last.</summary>
    public long End { get; private set; }

    /// <summary>Hashes of the subtrees from left to right.</summary>
    public IReadOnlyList<Hash256> Hashes => [.. _nodes.Select(node => node.Hash)];

    /// <summary>Appends a leaf.</summary>
    public void Append(in Hash256 leafHash) => AppendNode(0, leafHash);

    /// <summary>Appends a complete subtree.</summary>
    /// <exception cref="ArgumentException">A subtree of that level can't begin here.</exception>
    public void AppendNode(int level, in Hash256 hash)
    {
        if (level is < 0 or > 62 || (End & ((1L << level) - 1)) != 0)
        {
            throw new ArgumentException("A subtree of that level can't begin here.", nameof(level));
        }

        var top = (Level: level, Hash: hash);
        var start = End;
        End += 1L << level;
        while (_nodes.Count > 0 && _nodes[^1].Level == top.Level && ((start >> top.Level) & 1) == 1)
        {
            start -= 1L << top.Level;
            top = (top.Level + 1, Merkle.HashChildren(_nodes[^1].Hash, top.Hash));
            _nodes.RemoveAt(_nodes.Count - 1);
        }

        _nodes.Add(top);
    }

    /// <summary>Root of the tree over [0, end).</summary>
    /// <exception cref="InvalidOperationException">The range doesn't begin at 0.</exception>
    public Hash256 Root()
    {
        if (Begin != 0)
        {
            throw new InvalidOperationException("Only a range from 0 has a root.");
        }

        if (_nodes.Count == 0)
        {
            return Merkle.EmptyRoot;
        }

        var root = _nodes[^1].Hash;
        for (var index = _nodes.Count - 2; index >= 0; index--)
        {
            root = Merkle.HashChildren(_nodes[index].Hash, root);
        }

        return root;
    }

    /// <summary>The subtrees that make up [begin, end), from left to right.</summary>
    public static IReadOnlyList<(int Level, long Index)> Cover(long begin, long end)
    {
        if (begin < 0 || end < begin)
        {
            throw new ArgumentOutOfRangeException(nameof(end));
        }

        var nodes = new List<(int, long)>();
        while (begin < end)
        {
            var level = begin == 0 ? 62 : System.Numerics.BitOperations.TrailingZeroCount(begin);
            while ((1L << level) > end - begin)
            {
                level--;
            }

            nodes.Add((level, begin >> level));
            begin += 1L << level;
        }

        return nodes;
    }

    /// <summary>The range [begin, end) out of stored nodes.</summary>
    public static CompactRange Load(IMerkleNodes nodes, long begin, long end)
    {
        ArgumentNullException.ThrowIfNull(nodes);
        var range = new CompactRange(begin);
        foreach (var (level, index) in Cover(begin, end))
        {
            range.AppendNode(level, nodes.Node(level, index));
        }

        return range;
    }
}
