using System.Buffers;
using System.Buffers.Binary;
using System.Text.Json;

namespace Countersign.Recorder.Format;

/// <summary>
/// One line of an export after the first: an entry, an entry whose payload was deleted, or the hash of an entry that was left out. Its link chains the
/// lines, so that what was moved is found where it was moved; the proof is the root hash, the link only says where.
/// </summary>
/// <param name="Index">Index in the log.</param>
/// <param name="Leaf">RFC 6962 leaf hash as stated.</param>
/// <param name="Link">First 8 bytes of SHA-256(link before, index, leaf), as stated.</param>
/// <param name="Entry">The entry, null where it was left out.</param>
public sealed record ExportLine(long Index, Hash256 Leaf, ulong Link, Entry? Entry)
{
    /// <summary>Longest line in bytes: a payload in base64, and the rest.</summary>
    public const int MaxLength = (Entry.MaxPayload / 3 * 4) + 8192;

    /// <summary>Link of a line.</summary>
    /// <param name="before">Link of the line before; 0 for the first.</param>
    /// <param name="index">Index.</param>
    /// <param name="leaf">Leaf hash.</param>
    public static ulong LinkOf(ulong before, long index, in Hash256 leaf)
    {
        Span<byte> bytes = stackalloc byte[16 + Hash256.Size];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, before);
        BinaryPrimitives.WriteInt64BigEndian(bytes[8..], index);
        leaf.CopyTo(bytes[16..]);
        Span<byte> hash = stackalloc byte[Hash256.Size];
        Hash256.Of(bytes).CopyTo(hash);
        return BinaryPrimitives.ReadUInt64BigEndian(hash);
    }

    /// <summary>Writes the line, with its newline.</summary>
    public void Write(IBufferWriter<byte> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        using (var writer = new Utf8JsonWriter(output, ExportHeader.WriterOptions))
        {
            writer.WriteStartObject();
            writer.WriteNumber("index"u8, Index);
            writer.WriteString("leaf"u8, Leaf.ToString());
            writer.WriteString("link"u8, Link.ToString("x16", System.Globalization.CultureInfo.InvariantCulture));
            if (Entry is { } entry)
            {
                writer.WriteString("id"u8, entry.IdText);
                writer.WriteString("session"u8, entry.Session);
                writer.WriteNumber("sequence"u8, entry.Sequence);
                writer.WriteString("type"u8, EntryTypeNames.Of(entry.Type));
                writer.WriteNumber("time"u8, entry.TimeMicroseconds);
                writer.WriteString("previous"u8, entry.Previous.ToString());
                if (entry.IsErased)
                {
                    writer.WriteString("commitment"u8, entry.Commitment.ToString());
                }
                else
                {
                    writer.WriteString("salt"u8, Convert.ToHexStringLower(entry.Salt));
                    WritePayload(writer, entry.Payload.Span);
                }
            }

            writer.WriteEndObject();
        }

        output.Write("\n"u8);
    }

    /// <summary>Reads a line, which must be in its one spelling.</summary>
    /// <param name="line">Without the newline.</param>
    /// <exception cref="EntryFormatException">Not a line of an export.</exception>
    public static ExportLine Read(ReadOnlyMemory<byte> line)
    {
        try
        {
            var parsed = Parse(line);
            var again = new ArrayBufferWriter<byte>(line.Length + 64);
            parsed.Write(again);
            return again.WrittenSpan[..^1].SequenceEqual(line.Span) ? parsed : throw new EntryFormatException("the line is not in its one spelling");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException)
        {
            throw new EntryFormatException("the line is not the JSON expected", error);
        }
    }

    private static ExportLine Parse(ReadOnlyMemory<byte> line)
    {
        var reader = new Utf8JsonReader(line.Span, ExportHeader.ReaderOptions);
        var fields = new Fields();
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
        {
            throw new EntryFormatException("the line is not a JSON object");
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            reader.Read();
            switch (name)
            {
                case "index":
                    fields.Index = reader.GetInt64();
                    break;
                case "sequence":
                    fields.Sequence = reader.GetInt64();
                    break;
                case "time":
                    fields.Time = reader.GetInt64();
                    break;
                case "payload":
                    var start = checked((int)reader.TokenStartIndex);
                    reader.Skip();
                    fields.Payload = line[start..checked((int)reader.BytesConsumed)];
                    break;
                case "payloadBase64":
                    fields.Payload = reader.GetBytesFromBase64();
                    break;
                default:
                    fields.Set(name, reader.GetString());
                    break;
            }
        }

        if (reader.TokenType != JsonTokenType.EndObject || reader.Read())
        {
            throw new EntryFormatException("the line does not end with its object");
        }

        return fields.ToLine();
    }

    private static void WritePayload(Utf8JsonWriter writer, ReadOnlySpan<byte> payload)
    {
        if (IsPlainObject(payload))
        {
            writer.WritePropertyName("payload"u8);
            writer.WriteRawValue(payload, skipInputValidation: true);
        }
        else
        {
            writer.WriteBase64String("payloadBase64"u8, payload);
        }
    }

    // A JSON object on one line can stand in the line as it is: people can read it, and its exact bytes can be cut out again.
    private static bool IsPlainObject(ReadOnlySpan<byte> payload)
    {
        if (payload.Length < 2 || payload[0] != '{' || payload[^1] != '}' || payload.IndexOfAny((byte)'\n', (byte)'\r') >= 0
            || !System.Text.Unicode.Utf8.IsValid(payload))
        {
            return false;
        }

        try
        {
            var reader = new Utf8JsonReader(payload, new JsonReaderOptions { MaxDepth = 64 });
            while (reader.Read())
            {
            }

            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private sealed class Fields
    {
        private string? _leaf;
        private string? _link;
        private string? _id;
        private string? _session;
        private string? _type;
        private string? _previous;
        private string? _commitment;
        private string? _salt;

        public long Index { get; set; } = -1;

        public long Sequence { get; set; }

        public long Time { get; set; }

        public ReadOnlyMemory<byte>? Payload { get; set; }

        public void Set(string name, string? value)
        {
            ref var field = ref _leaf;
            switch (name)
            {
                case "leaf":
                    break;
                case "link":
                    field = ref _link;
                    break;
                case "id":
                    field = ref _id;
                    break;
                case "session":
                    field = ref _session;
                    break;
                case "type":
                    field = ref _type;
                    break;
                case "previous":
                    field = ref _previous;
                    break;
                case "commitment":
                    field = ref _commitment;
                    break;
                case "salt":
                    field = ref _salt;
                    break;
                default:
                    throw new EntryFormatException("the line has a member that is unknown");
            }

            field = value;
        }

        public ExportLine ToLine()
        {
            Span<byte> link = stackalloc byte[8];
            if (Index < 0 || !Hash256.TryParse(_leaf, out var leaf) || !LowerHex.TryDecode(_link, link))
            {
                throw new EntryFormatException("the line lacks its index, leaf or link");
            }

            return new ExportLine(Index, leaf, BinaryPrimitives.ReadUInt64BigEndian(link), _id is null ? null : ToEntry());
        }

        private Entry ToEntry()
        {
            Span<byte> id = stackalloc byte[EntryHeader.IdSize];
            if (!LowerHex.TryDecode(_id, id) || _session is null || !EntryHeader.IsSessionId(_session)
                || !EntryTypeNames.TryParse(_type, out var type) || !Hash256.TryParse(_previous, out var previous))
            {
                throw new EntryFormatException("the line has a malformed header");
            }

            if (Payload is { } payload)
            {
                Span<byte> salt = stackalloc byte[Entry.SaltSize];
                return LowerHex.TryDecode(_salt, salt) ? Entry.Create(type, id, _session, Sequence, Time, previous, salt, payload.Span)
                    : throw new EntryFormatException("the line has a malformed salt");
            }

            if (!Hash256.TryParse(_commitment, out var commitment))
            {
                throw new EntryFormatException("the line has neither payload nor commitment");
            }

            return Entry.Create(type, id, _session, Sequence, Time, previous, stackalloc byte[Entry.SaltSize], default).WithCommitment(commitment);
        }
    }
}
