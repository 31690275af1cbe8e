using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Countersign.Recorder.Format;

/// <summary>A SHA-256 value (32 bytes) without an allocation of its own.</summary>
[StructLayout(LayoutKind.Sequential)]
public readonly struct Hash256 : IEquatable<Hash256>
{
    /// <summary>Length in bytes.</summary>
    public const int Size = 32;

    private readonly ulong _a;
    private readonly ulong _b;
    private readonly ulong _c;
    private readonly ulong _d;

    /// <summary>32 zero bytes: the "previous commitment" of a session's first entry.</summary>
    public static Hash256 Zero => default;

    /// <summary>Takes exactly 32 bytes.</summary>
    /// <exception cref="ArgumentException">Not 32 bytes.</exception>
    public static Hash256 From(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length != Size)
        {
            throw new ArgumentException("A hash has 32 bytes.", nameof(bytes));
        }

        return MemoryMarshal.Read<Hash256>(bytes);
    }

    /// <summary>SHA-256 of data.</summary>
    public static Hash256 Of(ReadOnlySpan<byte> data)
    {
        Span<byte> hash = stackalloc byte[Size];
        SHA256.HashData(data, hash);
        return From(hash);
    }

    /// <summary>Reads lower-case hex; upper case is refused, since a value has one text only.</summary>
    public static bool TryParse(string? hex, out Hash256 hash)
    {
        Span<byte> bytes = stackalloc byte[Size];
        hash = default;
        if (!LowerHex.TryDecode(hex, bytes))
        {
            return false;
        }

        hash = From(bytes);
        return true;
    }

    /// <summary>Writes the 32 bytes.</summary>
    public void CopyTo(Span<byte> destination) => MemoryMarshal.Write(destination, in this);

    /// <summary>The 32 bytes as a new array.</summary>
    public byte[] ToArray()
    {
        var bytes = new byte[Size];
        CopyTo(bytes);
        return bytes;
    }

    /// <summary>Lower-case hex.</summary>
    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[Size];
        CopyTo(bytes);
        return Convert.ToHexStringLower(bytes);
    }

    /// <inheritdoc/>
    public bool Equals(Hash256 other) => _a == other._a && _b == other._b && _c == other._c && _d == other._d;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Hash256 other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(_a, _b);

    /// <summary>Equality.</summary>
    public static bool operator ==(Hash256 left, Hash256 right) => left.Equals(right);

    /// <summary>Inequality.</summary>
    public static bool operator !=(Hash256 left, Hash256 right) => !left.Equals(right);
}

/// <summary>Hex with one spelling: lower case, exact length.</summary>
internal static class LowerHex
{
    private static readonly System.Buffers.SearchValues<char> Digits = System.Buffers.SearchValues.Create("0123456789abcdef");

    public static bool TryDecode(string? hex, Span<byte> destination)
    {
        if (hex is null || hex.Length != destination.Length * 2 || hex.AsSpan().ContainsAnyExcept(Digits))
        {
            return false;
        }

        return Convert.FromHexString(hex, destination, out _, out var written) == System.Buffers.OperationStatus.Done && written == destination.Length;
    }
}
