using System.Text;

namespace Countersign.Platform.Ports;

/// <summary>What every <see cref="IStateStore"/> takes, so that a service that works with one works with all.</summary>
public static class StateKeys
{
    /// <summary>Longest collection or key, in UTF-16 units.</summary>
    public const int MaxKeyLength = 512;

    /// <summary>Longest value, in bytes.</summary>
    public const int MaxValueLength = 32 * 1024 * 1024;

    /// <summary>Most values of one page.</summary>
    public const int MaxPage = 1_000;

    /// <summary>A write that has not been seen after this time has not happened and won't: more than any store's timeout.</summary>
    public static readonly TimeSpan LongestWrite = TimeSpan.FromMinutes(6);

    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Checks a collection or key.</summary>
    /// <param name="text">The collection or key.</param>
    /// <param name="name">What it is.</param>
    /// <exception cref="ArgumentException">It is empty, too long, or would not come back from a database as it was given.</exception>
    public static void Check(string text, string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(text, name);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(text.Length, MaxKeyLength, name);
        try
        {
            // A lone surrogate would be stored as U+FFFD, and two keys would become one.
            Strict.GetByteCount(text);
        }
        catch (EncoderFallbackException error)
        {
            throw new ArgumentException("not well-formed Unicode", name, error);
        }

        if (text.Contains('\0', StringComparison.Ordinal))
        {
            throw new ArgumentException("contains NUL", name);
        }
    }
}
