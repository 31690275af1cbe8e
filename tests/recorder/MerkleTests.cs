using System.Security.Cryptography;
using CsCheck;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Tests;

[Trait("group", "unit")]
public sealed class MerkleTests
{
    // The reference tree of Certificate Transparency (google/certificate-transparency, merkletree tests).
    private static readonly string[] Leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

    private static readonly string[] Roots =
    [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    [Fact]
    public void Roots_are_those_of_the_reference_tree()
    {
        var range = new CompactRange();
        Assert.Equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", range.Root().ToString());
        for (var index = 0; index < Leaves.Length; index++)
        {
            range.Append(Merkle.HashLeaf(Convert.FromHexString(Leaves[index])));
            Assert.Equal(Roots[index], range.Root().ToString());
        }
    }

    [Fact]
    public void Proofs_are_those_of_the_reference_tree()
    {
        var tree = new NaiveTree(Leaves.Select(leaf => Merkle.HashLeaf(Convert.FromHexString(leaf))));
        Assert.Equal(
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7", "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
            MerkleProofs.Inclusion(tree, 0, 8).Select(hash => hash.ToString()));
        Assert.Equal(
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a", "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
            MerkleProofs.Consistency(tree, 6, 8).Select(hash => hash.ToString()));
    }

    [Fact]
    public void Every_inclusion_and_consistency_proof_of_small_trees_verifies_and_none_for_another_place()
    {
        var tree = new NaiveTree(Enumerable.Range(0, 40).Select(number => Merkle.HashLeaf([(byte)number])));
        for (var size = 1; size <= 40; size++)
        {
            var root = tree.Root(size);
            for (var index = 0; index < size; index++)
            {
                var proof = MerkleProofs.Inclusion(tree, index, size);
                Assert.True(MerkleProofs.VerifyInclusion(tree.Leaf(index), index, size, proof, root));
                Assert.False(MerkleProofs.VerifyInclusion(tree.Leaf(index), (index + 1) % size, size, proof, root) && size > 1);
                Assert.False(MerkleProofs.VerifyInclusion(Hash256.Zero, index, size, proof, root));
            }

            for (var first = 0; first <= size; first++)
            {
                var proof = MerkleProofs.Consistency(tree, first, size);
                Assert.True(MerkleProofs.VerifyConsistency(first, size, tree.Root(first), root, proof));
                Assert.False(first > 0 && first < size && MerkleProofs.VerifyConsistency(first, size, Hash256.Zero, root, proof));
                Assert.False(first > 0 && first < size && MerkleProofs.VerifyConsistency(first, size, tree.Root(first), Hash256.Zero, proof));
            }
        }
    }

    [Fact]
    public void A_changed_proof_never_verifies() =>
        Gen.Select(Gen.Int[2, 300], Gen.Int[0, 10_000], Gen.Int[0, 10_000], Gen.Int[0, 255]).Sample((size, at, flip, bit) =>
        {
            var tree = new NaiveTree(Enumerable.Range(0, size).Select(number => Merkle.HashLeaf(BitConverter.GetBytes(number))));
            var index = at % size;
            var inclusion = MerkleProofs.Inclusion(tree, index, size).ToList();
            inclusion[flip % inclusion.Count] = Flip(inclusion[flip % inclusion.Count], bit);
            Assert.False(MerkleProofs.VerifyInclusion(tree.Leaf(index), index, size, inclusion, tree.Root(size)));
            var first = 1 + (at % (size - 1));
            var consistency = MerkleProofs.Consistency(tree, first, size).ToList();
            consistency[flip % consistency.Count] = Flip(consistency[flip % consistency.Count], bit);
            Assert.False(MerkleProofs.VerifyConsistency(first, size, tree.Root(first), tree.Root(size), consistency));
        }, iter: 200);

    [Fact]
    public void A_range_put_together_from_its_pieces_has_the_root_of_the_whole() =>
        Gen.Select(Gen.Int[0, 600], Gen.Int[0, 600], Gen.Int[0, 600]).Sample((one, two, three) =>
        {
            var cuts = new[] { one, two, three }.Order().ToArray();
            var tree = new NaiveTree(Enumerable.Range(0, cuts[2]).Select(number => Merkle.HashLeaf(BitConverter.GetBytes(number))));
            var range = new CompactRange();
            foreach (var (begin, end) in new[] { (0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], cuts[2]) })
            {
                foreach (var (level, index) in CompactRange.Cover(begin, end))
                {
                    range.AppendNode(level, tree.Node(level, index));
                }
            }

            Assert.Equal(tree.Root(cuts[2]), range.Root());
        }, iter: 300);

    internal static Hash256 Flip(Hash256 hash, int bit)
    {
        var bytes = hash.ToArray();
        bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        return Hash256.From(bytes);
    }
}

/// <summary>RFC 6962's definition, word for word: the oracle.</summary>
internal sealed class NaiveTree(IEnumerable<Hash256> leaves) : IMerkleNodes
{
    private readonly Hash256[] _leaves = [.. leaves];

    public Hash256 Leaf(int index) => _leaves[index];

    public Hash256 Root(int size) => Of(_leaves.AsSpan(0, size));

    public Hash256 Node(int level, long index) => Of(_leaves.AsSpan((int)(index << level), 1 << level));

    private static Hash256 Of(ReadOnlySpan<Hash256> leaves)
    {
        if (leaves.Length == 0)
        {
            return Hash256.From(SHA256.HashData([]));
        }

        if (leaves.Length == 1)
        {
            return leaves[0];
        }

        var split = 1;
        while (split * 2 < leaves.Length)
        {
            split *= 2;
        }

        byte[] node = [1, .. Of(leaves[..split]).ToArray(), .. Of(leaves[split..]).ToArray()];
        return Hash256.From(SHA256.HashData(node));
    }
}
