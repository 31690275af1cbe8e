using System.Security.Cryptography;
using System.Text;

namespace Countersign.Proxy.Path.Mask;

/// <summary>What a masked value becomes. Ordered by strictness: where two rules meet, the larger wins.</summary>
public enum MaskStrategy
{
    /// <summary>Not masked.</summary>
    None = 0,
    /// <summary>The last four characters stay.</summary>
    Last4 = 1,
    /// <summary>A keyed hash: equal values stay equal within a session.</summary>
    Hash = 2,
    /// <summary>Replaced whole.</summary>
    Redact = 3,
    /// <summary>NULL.</summary>
    Null = 4,
}

/// <summary>What a session needs to mask: the key of its hashes. Made once a session, never leaves the process.</summary>
public sealed class MaskKey
{
    private readonly byte[] _key = RandomNumberGenerator.GetBytes(32);

    /// <summary>Writes 16 hexadecimal digits for a value; the same for the same value within a session.</summary>
    /// <param name="value">The value.</param>
    /// <param name="output">At least 16 bytes.</param>
    public void Hash(ReadOnlySpan<byte> value, Span<byte> output)
    {
        Span<byte> hash = stackalloc byte[32];
        HMACSHA256.HashData(_key, value, hash);
        Convert.TryToHexStringLower(hash[..8], output, out _);
    }
}

/// <summary>Makes masked text out of text. Independent of protocols.</summary>
public static class MaskedText
{
    /// <summary>The text that replaces a value whole. ASCII, so that it is valid in every encoding.</summary>
    public static ReadOnlySpan<byte> Redacted => "***"u8;

    /// <summary>Longest masked text, in bytes.</summary>
    public const int Longest = 24;

    /// <summary>Reads a strategy's name. A name that isn't known means the strictest.</summary>
    public static MaskStrategy Parse(string name) => name switch
    {
        "redact" => MaskStrategy.Redact,
        "last4" => MaskStrategy.Last4,
        "hash" => MaskStrategy.Hash,
        _ => MaskStrategy.Null,
    };

    /// <summary>Writes what a textual value becomes; returns the length, -1 for NULL.</summary>
    /// <param name="strategy">The strategy; <see cref="MaskStrategy.None"/> isn't allowed.</param>
    /// <param name="value">The value in UTF-8.</param>
    /// <param name="key">The session's key.</param>
    /// <param name="output">At least <see cref="Longest"/> bytes.</param>
    public static int Write(MaskStrategy strategy, ReadOnlySpan<byte> value, MaskKey key, Span<byte> output)
    {
        ArgumentNullException.ThrowIfNull(key);
        switch (strategy)
        {
            case MaskStrategy.Last4:
                return Last4(value, output);
            case MaskStrategy.Hash:
                key.Hash(value, output);
                return 16;
            case MaskStrategy.Redact:
                Redacted.CopyTo(output);
                return Redacted.Length;
            default:
                return -1;
        }
    }

    // Of a short value four characters would be most of it: it goes whole.
    private static int Last4(ReadOnlySpan<byte> value, Span<byte> output)
    {
        Redacted.CopyTo(output);
        var start = value.Length;
        for (var kept = 0; kept < 4 && start > 0; kept++)
        {
            if (Rune.DecodeLastFromUtf8(value[..start], out _, out var consumed) != System.Buffers.OperationStatus.Done)
            {
                return Redacted.Length;
            }

            start -= consumed;
        }

        if (start < 4)
        {
            return Redacted.Length;
        }

        value[start..].CopyTo(output[Redacted.Length..]);
        return Redacted.Length + value.Length - start;
    }
}
