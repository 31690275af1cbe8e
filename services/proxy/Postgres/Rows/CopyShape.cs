using System.Buffers;
using System.Text;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>The format of a COPY in text or csv: what separates, quotes and escapes its fields.</summary>
internal sealed class CopyShape
{
    private readonly byte[] _null;

    private CopyShape(bool known, bool csv, bool binary, byte delimiter, byte quote, byte escape, bool header, byte[] nullText)
    {
        IsKnown = known;
        Csv = csv;
        Binary = binary;
        Delimiter = delimiter;
        Quote = quote;
        Escape = escape;
        Header = header;
        _null = nullText;
    }

    /// <summary>False where an option wasn't understood: nothing of such a COPY can be masked.</summary>
    public bool IsKnown { get; }
    public bool Csv { get; }
    public bool Binary { get; }
    public byte Delimiter { get; }
    public byte Quote { get; }
    public byte Escape { get; }
    public bool Header { get; }
    public ReadOnlySpan<byte> Null => _null;

    public static CopyShape Of(SqlCopy copy)
    {
        var csv = copy.Format == "csv";
        var known = copy.Format is "text" or "csv" or "binary";
        var delimiter = csv ? (byte)',' : (byte)'\t';
        byte quote = (byte)'"';
        byte? escape = null;
        var header = false;
        var nullText = csv ? "" : "\\N";
        foreach (var (name, value) in copy.Options)
        {
            switch (name)
            {
                case "delimiter":
                    known &= Single(value, ref delimiter);
                    break;
                case "quote":
                    known &= Single(value, ref quote);
                    break;
                case "escape":
                    byte given = 0;
                    known &= Single(value, ref given);
                    escape = given;
                    break;
                case "null":
                    nullText = value ?? "";
                    break;
                case "header":
                    header = value is null || value.ToUpperInvariant() is "TRUE" or "ON" or "1" or "T" or "MATCH";
                    break;
                case "encoding":
                    known &= value is not null && value.Replace("-", "", StringComparison.Ordinal).Equals("utf8", StringComparison.OrdinalIgnoreCase);
                    break;
                case "format" or "force_quote" or "freeze" or "force_null" or "force_not_null" or "csv" or "binary" or "oids" or "default":
                    break;
                default:
                    known = false;
                    break;
            }
        }

        return new CopyShape(known, csv, copy.Format == "binary", delimiter, quote, escape ?? quote, header, Encoding.UTF8.GetBytes(nullText));
    }

    /// <summary>Whether a field's text is quoted.</summary>
    public bool IsQuoted(ReadOnlySpan<byte> raw) => Csv && !raw.IsEmpty && raw[0] == Quote;

    /// <summary>The value that a field's text stands for.</summary>
    public byte[] Decode(ReadOnlySpan<byte> raw) => Csv ? DecodeCsv(raw) : DecodeText(raw);

    /// <summary>A value as field text, as the server would write it: quoted in csv where it would be taken for something else, or where the original was.</summary>
    public byte[] Encode(ReadOnlySpan<byte> value, bool quoted)
    {
        var output = new ArrayBufferWriter<byte>(value.Length + 8);
        if (Csv)
        {
            var plain = !quoted && !value.SequenceEqual(_null) && !value.ContainsAny([Delimiter, Quote, (byte)'\n']) && !value.Contains((byte)'\r');
            if (plain && !value.SequenceEqual("\\."u8))
            {
                output.Write(value);
                return output.WrittenSpan.ToArray();
            }

            output.Write([Quote]);
            foreach (var unit in value)
            {
                output.Write(unit == Quote || unit == Escape ? [Escape, unit] : [unit]);
            }

            output.Write([Quote]);
            return output.WrittenSpan.ToArray();
        }

        foreach (var unit in value)
        {
            var letter = unit switch
            {
                8 => (byte)'b',
                12 => (byte)'f',
                10 => (byte)'n',
                13 => (byte)'r',
                9 => (byte)'t',
                11 => (byte)'v',
                (byte)'\\' => (byte)'\\',
                _ => unit == Delimiter ? unit : (byte)0,
            };
            output.Write(letter == 0 ? [unit] : [(byte)'\\', letter]);
        }

        return output.WrittenSpan.ToArray();
    }

    private byte[] DecodeCsv(ReadOnlySpan<byte> raw)
    {
        var output = new byte[raw.Length];
        var written = 0;
        var quoted = false;
        for (var index = 0; index < raw.Length; index++)
        {
            var unit = raw[index];
            if (quoted && unit == Escape && index + 1 < raw.Length && (raw[index + 1] == Quote || raw[index + 1] == Escape))
            {
                output[written++] = raw[++index];
            }
            else if (unit == Quote)
            {
                quoted = !quoted;
            }
            else
            {
                output[written++] = unit;
            }
        }

        return output[..written];
    }

    private static byte[] DecodeText(ReadOnlySpan<byte> raw)
    {
        var output = new byte[raw.Length];
        var written = 0;
        for (var index = 0; index < raw.Length; index++)
        {
            if (raw[index] != (byte)'\\' || index + 1 == raw.Length)
            {
                output[written++] = raw[index];
                continue;
            }

            output[written++] = raw[++index] switch
            {
                (byte)'b' => 8,
                (byte)'f' => 12,
                (byte)'n' => 10,
                (byte)'r' => 13,
                (byte)'t' => 9,
                (byte)'v' => 11,
                var other => other,
            };
        }

        return output[..written];
    }

    private static bool Single(string? value, ref byte target)
    {
        if (value is not { Length: 1 } || value[0] > 0x7F)
        {
            return false;
        }

        target = (byte)value[0];
        return true;
    }
}
