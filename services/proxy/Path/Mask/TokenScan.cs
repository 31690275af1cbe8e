using System.Buffers;

namespace Countersign.Proxy.Path.Mask;

/// <summary>Finds bearer tokens and API keys: JSON Web Tokens, keys with a well-known prefix, and high entropy after the word <c>Bearer</c>.</summary>
internal static class TokenScan
{
    private const int Shortest = 16;
    private static readonly SearchValues<byte> Units = SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.~+/="u8);

    /// <summary>Whether there are at least 16 characters of a token in a row. Such a run covers a multiple of 16, so only these are looked at first.</summary>
    public static bool HasLongRun(ReadOnlySpan<byte> row)
    {
        for (var probe = Shortest - 1; probe < row.Length; probe += Shortest)
        {
            if (Units.Contains(row[probe]) && Run(row, probe, 0, out _) >= Shortest)
            {
                return true;
            }
        }

        return false;
    }

    public static bool Next(ReadOnlySpan<byte> text, int from, out int at, out int length)
    {
        var probe = from + Shortest - 1;
        while (probe < text.Length)
        {
            if (!Units.Contains(text[probe]))
            {
                probe += Shortest;
                continue;
            }

            var run = Run(text, probe, from, out var start);
            if (run >= Shortest && InRun(text, start, run, out at, out length))
            {
                return true;
            }

            probe = Math.Max(probe + 1, start + run + Shortest);
        }

        (at, length) = (0, 0);
        return false;
    }

    private static int Run(ReadOnlySpan<byte> text, int probe, int from, out int start)
    {
        start = text[from..probe].LastIndexOfAnyExcept(Units) + from + 1;
        var stop = text[probe..].IndexOfAnyExcept(Units);
        return (stop < 0 ? text.Length : probe + stop) - start;
    }

    private static bool InRun(ReadOnlySpan<byte> text, int start, int run, out int at, out int length)
    {
        var end = start + run;
        if (AfterBearer(text, start) && run >= Shortest && Entropy(text.Slice(start, run)) >= 3.0)
        {
            (at, length) = (start, run);
            return true;
        }

        for (var index = start; end - index >= Shortest; index++)
        {
            if (index > start && char.IsAsciiLetterOrDigit((char)text[index - 1]))
            {
                continue;
            }

            length = Known(text[index..end]);
            if (length > 0)
            {
                at = index;
                return true;
            }
        }

        (at, length) = (0, 0);
        return false;
    }

    /// <summary>Length of the token that the text begins with, 0 where there is none.</summary>
    private static int Known(ReadOnlySpan<byte> text) => text[0] switch
    {
        (byte)'e' => Jwt(text),
        (byte)'A' => Max(Fixed(text, "AKIA"u8, 16), Fixed(text, "ASIA"u8, 16), Fixed(text, "AIza"u8, 35)),
        (byte)'g' => Max(
            Fixed(text, "ghp_"u8, 36), Fixed(text, "gho_"u8, 36), Fixed(text, "ghu_"u8, 36), Fixed(text, "ghs_"u8, 36), Fixed(text, "ghr_"u8, 36),
            Random(text, "github_pat_"u8, 22), Random(text, "glpat-"u8, 20)),
        (byte)'s' => Max(Random(text, "sk_live_"u8, 16), Random(text, "sk_test_"u8, 16), Random(text, "sk-"u8, 20), Random(text, "shpat_"u8, 32)),
        (byte)'r' => Random(text, "rk_live_"u8, 16),
        (byte)'S' => Random(text, "SG."u8, 40),
        (byte)'x' => Max(Random(text, "xoxb-"u8, 16), Random(text, "xoxp-"u8, 16), Random(text, "xoxa-"u8, 16), Random(text, "xoxr-"u8, 16), Random(text, "xoxs-"u8, 16)),
        (byte)'n' => Fixed(text, "npm_"u8, 36),
        (byte)'h' => Random(text, "hvs."u8, 24),
        (byte)'d' => Random(text, "dop_v1_"u8, 40),
        (byte)'y' => Random(text, "ya29."u8, 20),
        _ => 0,
    };

    private static int Jwt(ReadOnlySpan<byte> text)
    {
        if (!text.StartsWith("eyJ"u8))
        {
            return 0;
        }

        var first = Word(text, 0);
        if (first < 10 || first + 1 >= text.Length || text[first] != (byte)'.' || !text[(first + 1)..].StartsWith("eyJ"u8))
        {
            return 0;
        }

        var second = Word(text, first + 1);
        return second < text.Length && text[second] == (byte)'.' ? Word(text, second + 1) : second;
    }

    private static int Fixed(ReadOnlySpan<byte> text, ReadOnlySpan<byte> prefix, int count)
    {
        if (!text.StartsWith(prefix) || text.Length < prefix.Length + count)
        {
            return 0;
        }

        var end = Word(text, prefix.Length);
        return end - prefix.Length >= count && end - prefix.Length <= count + 4 ? end : 0;
    }

    // A slug such as sk-some-name-of-a-thing begins the same way: what follows must look random.
    private static int Random(ReadOnlySpan<byte> text, ReadOnlySpan<byte> prefix, int count)
    {
        if (!text.StartsWith(prefix))
        {
            return 0;
        }

        var end = Word(text, prefix.Length);
        if (end < text.Length && text[end] == (byte)'.' && prefix[^1] == (byte)'.')
        {
            end = Word(text, end + 1);
        }

        var secret = text[prefix.Length..end];
        return secret.Length >= count && secret.ContainsAnyInRange((byte)'0', (byte)'9') && Entropy(secret) >= 3.2 ? end : 0;
    }

    private static int Word(ReadOnlySpan<byte> text, int at)
    {
        while (at < text.Length && (NumberScan.IsWord(text[at]) || text[at] == (byte)'-'))
        {
            at++;
        }

        return at;
    }

    private static bool AfterBearer(ReadOnlySpan<byte> text, int start)
    {
        var before = text[..start].TrimEnd(" :\t"u8);
        return start > before.Length && before.Length >= 6 && System.Text.Ascii.EqualsIgnoreCase(before[^6..], "bearer"u8);
    }

    /// <summary>Shannon entropy in bits a character.</summary>
    internal static double Entropy(ReadOnlySpan<byte> text)
    {
        Span<int> counts = stackalloc int[256];
        counts.Clear();
        text = text[..Math.Min(text.Length, 256)];
        foreach (var unit in text)
        {
            counts[unit]++;
        }

        var entropy = 0.0;
        foreach (var count in counts)
        {
            if (count > 0)
            {
                var share = (double)count / text.Length;
                entropy -= share * Math.Log2(share);
            }
        }

        return entropy;
    }

    private static int Max(params ReadOnlySpan<int> lengths)
    {
        var largest = 0;
        foreach (var length in lengths)
        {
            largest = Math.Max(largest, length);
        }

        return largest;
    }
}
