using System.Collections;
using System.Text;
using Countersign.Approval.Contracts;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>Parameters of a Bind as text for people and the record; made when somebody reads them.</summary>
internal sealed class BoundParameters(PostgresOperation operation) : IReadOnlyList<string?>
{
    public int Count => operation.Bind.Values.Length;

    public string? this[int index]
    {
        get
        {
            var value = ValueOf(operation, index);
            return value is null ? null : ParameterText.Of(TypeOf(operation, index), operation.Bind.FormatOf(index), value.Value.Span, out _);
        }
    }

    /// <summary>Whether every parameter can be shown as text; an approver must see what runs.</summary>
    public static bool AreReadable(PostgresOperation operation)
    {
        for (var index = 0; index < operation.Bind.Values.Length; index++)
        {
            if (ValueOf(operation, index) is { } value && !ParameterText.IsReadable(TypeOf(operation, index), operation.Bind.FormatOf(index), value.Span))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>For the digest: exactly what was sent.</summary>
    public static IReadOnlyList<OperationParameter> ForDigest(PostgresOperation operation)
    {
        var parameters = new OperationParameter[operation.Bind.Values?.Length ?? 0];
        for (var index = 0; index < parameters.Length; index++)
        {
            parameters[index] = new OperationParameter(TypeOf(operation, index), operation.Bind.FormatOf(index), ValueOf(operation, index));
        }

        return parameters;
    }

    public IEnumerator<string?> GetEnumerator()
    {
        for (var index = 0; index < Count; index++)
        {
            yield return this[index];
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private static uint TypeOf(PostgresOperation operation, int index) =>
        operation.Statement is { } statement && index < statement.Types.Length ? statement.Types[index] : 0;

    private static ReadOnlyMemory<byte>? ValueOf(PostgresOperation operation, int index)
    {
        var value = operation.Bind.Values[index];
        return value.Length < 0 ? null : operation.Message.Slice(5 + value.Offset, value.Length);
    }
}

/// <summary>One parameter as text.</summary>
internal static class ParameterText
{
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);
    private static readonly DateTime Epoch = new(2000, 1, 1, 0, 0, 0, DateTimeKind.Unspecified);

    /// <summary>Whether <see cref="Of"/> shows what the value is.</summary>
    public static bool IsReadable(uint type, short format, ReadOnlySpan<byte> value)
    {
        if (format == 0)
        {
            return System.Text.Unicode.Utf8.IsValid(value) && value.IndexOf((byte)0) < 0;
        }

        Of(type, format, value, out var readable);
        return readable;
    }

    /// <summary>The value as text: as it came in text format, the usual form of common types in binary, else <c>\x</c> and hex.</summary>
    public static string Of(uint type, short format, ReadOnlySpan<byte> value, out bool readable)
    {
        readable = true;
        if (format == 0)
        {
            readable = System.Text.Unicode.Utf8.IsValid(value);
            return Encoding.UTF8.GetString(value);
        }

        try
        {
            var text = Binary(type, value);
            if (text is not null)
            {
                return text;
            }
        }
        catch (Exception error) when (error is ArgumentException or OverflowException or FormatException)
        {
            // Not what its type promises: shown as it is.
        }

        readable = type == 17;
        return $"\\x{Convert.ToHexStringLower(value)}";
    }

    private static string? Binary(uint type, ReadOnlySpan<byte> value)
    {
        var invariant = System.Globalization.CultureInfo.InvariantCulture;
        switch (type)
        {
            case 16 when value.Length == 1:
                return value[0] == 0 ? "f" : "t";
            case 20 when value.Length == 8:
                return Int64(value).ToString(invariant);
            case 21 when value.Length == 2:
                return System.Buffers.Binary.BinaryPrimitives.ReadInt16BigEndian(value).ToString(invariant);
            case 23 when value.Length == 4:
                return System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(value).ToString(invariant);
            case 26 or 2205 or 24 when value.Length == 4:
                return System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(value).ToString(invariant);
            case 18 or 19 or 25 or 114 or 142 or 705 or 1042 or 1043:
                return value.IndexOf((byte)0) < 0 ? Strict.GetString(value) : null;
            case 3802 when value.Length >= 1 && value[0] == 1:
                return Strict.GetString(value[1..]);
            case 700 when value.Length == 4:
                return System.Buffers.Binary.BinaryPrimitives.ReadSingleBigEndian(value).ToString("R", invariant);
            case 701 when value.Length == 8:
                return System.Buffers.Binary.BinaryPrimitives.ReadDoubleBigEndian(value).ToString("R", invariant);
            case 1082 when value.Length == 4:
                return Epoch.AddDays(System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(value)).ToString("yyyy-MM-dd", invariant);
            case 1083 when value.Length == 8:
                return new TimeOnly(checked(Int64(value) * 10)).ToString("HH:mm:ss.ffffff", invariant);
            case 1114 when value.Length == 8:
                return Epoch.AddTicks(checked(Int64(value) * 10)).ToString("yyyy-MM-dd HH:mm:ss.ffffff", invariant);
            case 1184 when value.Length == 8:
                return Epoch.AddTicks(checked(Int64(value) * 10)).ToString("yyyy-MM-dd HH:mm:ss.ffffff", invariant) + "+00";
            case 2950 when value.Length == 16:
                return new Guid(value, bigEndian: true).ToString("D");
            case 1700:
                return Numeric(value);
            case 1000 or 1005 or 1007 or 1009 or 1014 or 1015 or 1016 or 1021 or 1022 or 1115 or 1182 or 1185 or 1231 or 2951 or 199 or 3807:
                return Array(value);
            default:
                return null;
        }
    }

    private static long Int64(ReadOnlySpan<byte> value) => System.Buffers.Binary.BinaryPrimitives.ReadInt64BigEndian(value);

    private static string? Array(ReadOnlySpan<byte> value)
    {
        var reader = new Messages.MessageReader(value);
        try
        {
            var dimensions = reader.ReadInt32();
            reader.ReadInt32();
            var element = reader.ReadUInt32();
            if (dimensions == 0)
            {
                return "{}";
            }

            if (dimensions != 1)
            {
                return null;
            }

            var count = reader.ReadInt32();
            reader.ReadInt32();
            if (count < 0 || (long)count * 4 > reader.Remaining)
            {
                return null;
            }

            var text = new StringBuilder("{");
            for (var index = 0; index < count; index++)
            {
                var length = reader.ReadInt32();
                var item = length < 0 ? "NULL" : Binary(element, reader.Take(length));
                if (item is null)
                {
                    return null;
                }

                text.Append(index == 0 ? "" : ",");
                text.Append(length < 0 ? item : $"\"{item.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"");
            }

            reader.ExpectEnd();
            return text.Append('}').ToString();
        }
        catch (Messages.MalformedMessageException)
        {
            return null;
        }
    }

    private static string? Numeric(ReadOnlySpan<byte> value)
    {
        if (value.Length < 8)
        {
            return null;
        }

        int Word(ReadOnlySpan<byte> from, int at) => System.Buffers.Binary.BinaryPrimitives.ReadUInt16BigEndian(from[at..]);
        var digits = Word(value, 0);
        var weight = (short)Word(value, 2);
        var sign = Word(value, 4);
        var scale = Word(value, 6);
        if (value.Length != 8 + (digits * 2) || weight > 1000 || weight < -1000 || scale > 2000)
        {
            return null;
        }

        switch (sign)
        {
            case 0xC000:
                return "NaN";
            case 0xD000:
                return "Infinity";
            case 0xF000:
                return "-Infinity";
            case 0 or 0x4000:
                break;
            default:
                return null;
        }

        var text = new StringBuilder(sign == 0x4000 ? "-" : "");
        for (var place = Math.Max((int)weight, 0); place >= 0; place--)
        {
            var index = weight - place;
            var digit = index >= 0 && index < digits ? Word(value, 8 + (index * 2)) : 0;
            text.Append(place == Math.Max((int)weight, 0) ? digit.ToString(System.Globalization.CultureInfo.InvariantCulture) : digit.ToString("D4", System.Globalization.CultureInfo.InvariantCulture));
        }

        if (scale > 0)
        {
            var fraction = new StringBuilder();
            for (var place = -1; fraction.Length < scale; place--)
            {
                var index = weight - place;
                var digit = index >= 0 && index < digits ? Word(value, 8 + (index * 2)) : 0;
                fraction.Append(digit.ToString("D4", System.Globalization.CultureInfo.InvariantCulture));
            }

            text.Append('.').Append(fraction.ToString(0, scale));
        }

        return text.ToString();
    }
}
