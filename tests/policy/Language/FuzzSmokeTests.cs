using System.Text;
using Countersign.Policy.Language;

namespace Countersign.Policy.Tests.Language;

/// <summary>The fuzz target of the decoder over its seed corpus and mutations of it: whatever the bytes, nothing but the named exception.</summary>
[Trait("group", "unit")]
public sealed class FuzzSmokeTests
{
    private static readonly string[] Fragments =
        ["&a ", "*a", "!!int ", "? ", ": ", "- ", "---\n", "...\n", "{", "}", "[", "]", "|\n", ">\n", "\"", "'", "#", "%YAML 1.1\n", "\t", "\r", "\0", "\u2028", "\ufeff", "~", "<<: *a\n", "99999999999999999999", "\\x41"];

    [Fact]
    public void Nothing_but_the_named_exception_comes_out()
    {
        var corpus = Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "corpus"), "*.yaml", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Select(File.ReadAllBytes).ToList();
        Assert.True(corpus.Count >= 5, "the seed corpus is there");
        var random = new Random(20260504);
        var decoded = 0;
        foreach (var seed in corpus)
        {
            decoded += Target(seed);
            for (var round = 0; round < 60; round++)
            {
                decoded += Target(Mutate(seed, random));
            }
        }

        Assert.True(decoded > corpus.Count / 2, "some inputs decode, so that the target tests more than the first error");
    }

    private static int Target(byte[] bytes)
    {
        try
        {
            PolicyDecoder.Decode(bytes);
            return 1;
        }
        catch (PolicyFormatException error)
        {
            Assert.NotEmpty(error.Diagnostics);
            return 0;
        }
    }

    private static byte[] Mutate(byte[] seed, Random random)
    {
        var bytes = seed.ToList();
        for (var change = random.Next(1, 6); change > 0; change--)
        {
            var at = random.Next(bytes.Count + 1);
            switch (random.Next(5))
            {
                case 0 when bytes.Count > 0:
                    bytes[Math.Min(at, bytes.Count - 1)] = (byte)random.Next(256);
                    break;
                case 1:
                    bytes.RemoveRange(at, Math.Min(random.Next(40), bytes.Count - at));
                    break;
                case 2:
                    bytes.InsertRange(at, Encoding.UTF8.GetBytes(Fragments[random.Next(Fragments.Length)]));
                    break;
                case 3:
                    bytes.InsertRange(at, [.. bytes.Skip(random.Next(bytes.Count + 1)).Take(random.Next(200))]);
                    break;
                default:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
            }
        }

        return [.. bytes];
    }
}
