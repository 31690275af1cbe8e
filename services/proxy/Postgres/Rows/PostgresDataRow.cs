using System.Buffers;
using System.Buffers.Binary;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>Rewrites one DataRow that is held whole.</summary>
internal static class PostgresDataRow
{
    /// <summary>Masks columns, then runs detectors over what is left. Where nothing changes, nothing is written.</summary>
    /// <exception cref="InvalidDataException">The row doesn't fit its columns.</exception>
    public static (int Masked, int Found, bool Changed) Rewrite(
        ReadOnlySpan<byte> body, ReadOnlySpan<ColumnMaskAction> columns, DetectorSet detectors, MaskKey key, IBufferWriter<byte> output)
    {
        if (body.Length < 2 || BinaryPrimitives.ReadUInt16BigEndian(body) != columns.Length)
        {
            throw new InvalidDataException("DataRow has another number of fields than its columns.");
        }

        var literals = false;
        var replaces = false;
        var scans = false;
        foreach (ref readonly var column in columns)
        {
            literals |= column.Literals;
            replaces |= column.Strategy != MaskStrategy.None || column.Literals;
            scans |= column.Form == TypeForm.Int8 && column.Binary;
        }

        // One vectorised look at the whole row decides whether fields are looked at one by one. A binary int8 has no digits to be seen.
        var detect = detectors.Kinds != Detectors.None && ((scans && (detectors.Kinds & Detectors.Card) != 0) || detectors.MayContain(body));
        if (!replaces && (!detect || !Finds(body, columns, detectors)))
        {
            return (0, 0, false);
        }

        var target = output.GetSpan(MaskedField.Bound(body.Length, columns.Length, literals));
        var (masked, found) = (0, 0);
        var written = 7;
        var rest = body[2..];
        foreach (ref readonly var column in columns)
        {
            var field = Next(ref rest, out var isNull);
            if (isNull)
            {
                BinaryPrimitives.WriteInt32BigEndian(target[written..], -1);
                written += 4;
            }
            else if (column.Strategy != MaskStrategy.None)
            {
                written += MaskedField.Write(column, field, key, target[written..]);
                masked++;
            }
            else if (column.Literals)
            {
                var length = MaskedField.Literals(field, target[(written + 4)..]);
                BinaryPrimitives.WriteInt32BigEndian(target[written..], length);
                written += 4 + length;
            }
            else
            {
                BinaryPrimitives.WriteInt32BigEndian(target[written..], field.Length);
                field.CopyTo(target[(written + 4)..]);
                if (detect && column.Scan)
                {
                    found += MaskedField.Detect(column, target.Slice(written + 4, field.Length), detectors);
                }

                written += 4 + field.Length;
            }
        }

        if (!rest.IsEmpty)
        {
            throw new InvalidDataException("DataRow is longer than its fields.");
        }

        target[0] = (byte)'D';
        BinaryPrimitives.WriteInt32BigEndian(target[1..], written - 1);
        BinaryPrimitives.WriteInt16BigEndian(target[5..], (short)columns.Length);
        output.Advance(written);
        return (masked, found, true);
    }

    private static bool Finds(ReadOnlySpan<byte> body, ReadOnlySpan<ColumnMaskAction> columns, DetectorSet detectors)
    {
        var rest = body[2..];
        Span<byte> number = stackalloc byte[8];
        foreach (ref readonly var column in columns)
        {
            var field = Next(ref rest, out _);
            if (!column.Scan || field.IsEmpty)
            {
                continue;
            }

            if (column.Form == TypeForm.Int8 && column.Binary)
            {
                if (field.Length == 8)
                {
                    field.CopyTo(number);
                    if (MaskedField.Detect(column, number, detectors) > 0)
                    {
                        return true;
                    }
                }
            }
            else if (detectors.Finds(field))
            {
                return true;
            }
        }

        return false;
    }

    private static ReadOnlySpan<byte> Next(ref ReadOnlySpan<byte> rest, out bool isNull)
    {
        if (rest.Length < 4)
        {
            throw new InvalidDataException("DataRow is truncated.");
        }

        var length = BinaryPrimitives.ReadInt32BigEndian(rest);
        isNull = length == -1;
        if (isNull)
        {
            rest = rest[4..];
            return default;
        }

        if (length < 0 || length > rest.Length - 4)
        {
            throw new InvalidDataException("DataRow is truncated.");
        }

        var field = rest.Slice(4, length);
        rest = rest[(4 + length)..];
        return field;
    }
}
