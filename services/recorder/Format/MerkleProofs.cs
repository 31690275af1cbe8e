using System.Numerics;

namespace Countersign.Recorder.Format;

/// <summary>Inclusion and consistency proofs: made as in RFC 6962, section 2.1.1 and 2.1.2, verified as in RFC 9162, section 2.1.3.2 and 2.1.4.2.</summary>
public static class MerkleProofs
{
    /// <summary>Audit path of a leaf in the tree over the first <paramref name="size"/> leaves.</summary>
    public static IReadOnlyList<Hash256> Inclusion(IMerkleNodes nodes, long index, long size)
    {
        ArgumentNullException.ThrowIfNull(nodes);
        if (index < 0 || index >= size)
        {
            throw new ArgumentOutOfRangeException(nameof(index));
        }

        var proof = new List<Hash256>();
        Path(nodes, index, 0, size, proof);
        return proof;
    }

    /// <summary>Proof that the tree over the first <paramref name="first"/> leaves is a prefix of the one over <paramref name="second"/>.</summary>
    public static IReadOnlyList<Hash256> Consistency(IMerkleNodes nodes, long first, long second)
    {
        ArgumentNullException.ThrowIfNull(nodes);
        if (first < 0 || first > second)
        {
            throw new ArgumentOutOfRangeException(nameof(first));
        }

        var proof = new List<Hash256>();
        if (first > 0 && first < second)
        {
            SubProof(nodes, first, 0, second, whole: true, proof);
        }

        return proof;
    }

    /// <summary>Whether a leaf is at <paramref name="index"/> of the tree with this root.</summary>
    public static bool VerifyInclusion(in Hash256 leafHash, long index, long size, IReadOnlyList<Hash256> proof, in Hash256 root)
    {
        ArgumentNullException.ThrowIfNull(proof);
        if (index < 0 || index >= size)
        {
            return false;
        }

        var (node, last, hash) = (index, size - 1, leafHash);
        foreach (var sibling in proof)
        {
            if (last == 0)
            {
                return false;
            }

            if ((node & 1) == 1 || node == last)
            {
                hash = Merkle.HashChildren(sibling, hash);
                while ((node & 1) == 0 && node != 0)
                {
                    node >>= 1;
                    last >>= 1;
                }
            }
            else
            {
                hash = Merkle.HashChildren(hash, sibling);
            }

            node >>= 1;
            last >>= 1;
        }

        return last == 0 && hash == root;
    }

    /// <summary>Whether the tree with the first root is a prefix of the one with the second.</summary>
    public static bool VerifyConsistency(long first, long second, in Hash256 firstRoot, in Hash256 secondRoot, IReadOnlyList<Hash256> proof)
    {
        ArgumentNullException.ThrowIfNull(proof);
        if (first < 0 || first > second)
        {
            return false;
        }

        if (first == 0 || first == second)
        {
            // Everything follows from the empty tree; a tree is consistent with itself only.
            return proof.Count == 0 && (first == 0 ? firstRoot == Merkle.EmptyRoot && (second != 0 || secondRoot == firstRoot) : firstRoot == secondRoot);
        }

        var start = 0;
        Hash256 seed;
        if (BitOperations.IsPow2(first))
        {
            seed = firstRoot;
        }
        else if (proof.Count == 0)
        {
            return false;
        }
        else
        {
            seed = proof[start++];
        }

        var (node, last) = (first - 1, second - 1);
        while ((node & 1) == 1)
        {
            node >>= 1;
            last >>= 1;
        }

        var (left, right) = (seed, seed);
        for (; start < proof.Count; start++)
        {
            if (last == 0)
            {
                return false;
            }

            var sibling = proof[start];
            if ((node & 1) == 1 || node == last)
            {
                left = Merkle.HashChildren(sibling, left);
                right = Merkle.HashChildren(sibling, right);
                while ((node & 1) == 0 && node != 0)
                {
                    node >>= 1;
                    last >>= 1;
                }
            }
            else
            {
                right = Merkle.HashChildren(right, sibling);
            }

            node >>= 1;
            last >>= 1;
        }

        return last == 0 && left == firstRoot && right == secondRoot;
    }

    private static void Path(IMerkleNodes nodes, long index, long begin, long end, List<Hash256> proof)
    {
        if (end - begin == 1)
        {
            return;
        }

        var split = begin + Split(end - begin);
        if (index < split)
        {
            Path(nodes, index, begin, split, proof);
            proof.Add(Subtree(nodes, split, end));
        }
        else
        {
            Path(nodes, index, split, end, proof);
            proof.Add(Subtree(nodes, begin, split));
        }
    }

    private static void SubProof(IMerkleNodes nodes, long first, long begin, long end, bool whole, List<Hash256> proof)
    {
        if (first == end)
        {
            if (!whole)
            {
                proof.Add(Subtree(nodes, begin, end));
            }

            return;
        }

        var split = begin + Split(end - begin);
        if (first <= split)
        {
            SubProof(nodes, first, begin, split, whole, proof);
            proof.Add(Subtree(nodes, split, end));
        }
        else
        {
            SubProof(nodes, first, split, end, whole: false, proof);
            proof.Add(Subtree(nodes, begin, split));
        }
    }

    // Largest power of two below the number of leaves.
    private static long Split(long leaves) => 1L << (63 - BitOperations.LeadingZeroCount((ulong)(leaves - 1)));

    private static Hash256 Subtree(IMerkleNodes nodes, long begin, long end)
    {
        var cover = CompactRange.Cover(begin, end);
        var hash = nodes.Node(cover[^1].Level, cover[^1].Index);
        for (var index = cover.Count - 2; index >= 0; index--)
        {
            hash = Merkle.HashChildren(nodes.Node(cover[index].Level, cover[index].Index), hash);
        }

        return hash;
    }
}
