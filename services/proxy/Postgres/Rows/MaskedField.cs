using System.Buffers.Binary;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>Writes what takes a field's place: always something that its type and format allow, NULL where nothing else is certain.</summary>
internal static class MaskedField
{
    /// <summary>Longest field that is written here, its length word included. Literals of plans are bounded by <see cref="Bound"/>.</summary>
    public const int Longest = 4 + MaskedText.Longest + 4;

    private static ReadOnlySpan<byte> Json => "\"***\""u8;

    /// <summary>Upper bound of what a row becomes.</summary>
    public static int Bound(int body, int columns, bool literals) => 7 + (literals ? 3 * body : body) + (columns * Longest);

    /// <summary>Writes a masked field, length word included. Returns the bytes written.</summary>
    public static int Write(in ColumnMaskAction column, ReadOnlySpan<byte> value, MaskKey key, Span<byte> output)
    {
        var length = column.Strategy == MaskStrategy.Null ? -1 : column.Form switch
        {
            TypeForm.Text => MaskedText.Write(column.Strategy, value, key, output[4..]),
            TypeForm.Json => Copy(Json, output[4..]),
            TypeForm.Jsonb when !column.Binary => Copy(Json, output[4..]),
            TypeForm.Jsonb => JsonbBinary(output[4..]),
            _ => -1,
        };
        BinaryPrimitives.WriteInt32BigEndian(output, length);
        return 4 + Math.Max(length, 0);
    }

    /// <summary>Runs detectors over a field already copied to the output.</summary>
    public static int Detect(in ColumnMaskAction column, Span<byte> value, DetectorSet detectors)
    {
        if (column.Form == TypeForm.Int8 && column.Binary)
        {
            return DetectInt8(value, detectors);
        }

        return detectors.MaskInPlace(value, column.Form is TypeForm.Number or TypeForm.Int8 ? (byte)'0' : (byte)'*');
    }

    /// <summary>Replaces quoted literals in a line of a plan. Returns the bytes written.</summary>
    public static int Literals(ReadOnlySpan<byte> value, Span<byte> output)
    {
        var written = 0;
        while (true)
        {
            var quote = value.IndexOf((byte)'\'');
            if (quote < 0)
            {
                value.CopyTo(output[written..]);
                return written + value.Length;
            }

            value[..quote].CopyTo(output[written..]);
            written += quote;
            "'***'"u8.CopyTo(output[written..]);
            written += 5;
            value = value[(quote + 1)..];
            // The end is a quote that isn't doubled; without one the rest of the line belongs to the literal.
            while (true)
            {
                var end = value.IndexOf((byte)'\'');
                if (end < 0)
                {
                    return written;
                }

                var doubled = end + 1 < value.Length && value[end + 1] == (byte)'\'';
                value = value[(end + (doubled ? 2 : 1))..];
                if (!doubled)
                {
                    break;
                }
            }
        }
    }

    private static int DetectInt8(Span<byte> value, DetectorSet detectors)
    {
        Span<byte> digits = stackalloc byte[20];
        if (value.Length != 8 || !BinaryPrimitives.ReadInt64BigEndian(value).TryFormat(digits, out var length) || !detectors.Finds(digits[..length]))
        {
            return 0;
        }

        value.Clear();
        return 1;
    }

    private static int Copy(ReadOnlySpan<byte> text, Span<byte> output)
    {
        text.CopyTo(output);
        return text.Length;
    }

    private static int JsonbBinary(Span<byte> output)
    {
        output[0] = 1;
        return 1 + Copy(Json, output[1..]);
    }
}
