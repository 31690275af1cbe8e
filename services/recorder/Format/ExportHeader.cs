using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Countersign.Recorder.Format;

/// <summary>First line of an export (docs/formats/export.md).</summary>
public sealed record ExportHeader
{
    /// <summary>Value of <c>format</c>.</summary>
    public const string FormatName = "countersign-export/v1";

    internal static readonly JsonWriterOptions WriterOptions = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        MaxDepth = 128,
        SkipValidation = true,
    };

    internal static readonly JsonReaderOptions ReaderOptions = new() { MaxDepth = 128 };

    /// <summary>Index of the first entry.</summary>
    public required long From { get; init; }
    /// <summary>Index after the last entry.</summary>
    public required long To { get; init; }
    /// <summary>Signed checkpoint that the range lies under.</summary>
    public required string Checkpoint { get; init; }
    /// <summary>Subtrees of the leaves before the range, left to right (<see cref="CompactRange.Cover"/>).</summary>
    public required IReadOnlyList<Hash256> Left { get; init; }
    /// <summary>Subtrees of the leaves between the range and the checkpoint.</summary>
    public required IReadOnlyList<Hash256> Right { get; init; }
    /// <summary>Note of the recorder: the public keys that seal sessions (<see cref="SealKeys"/>).</summary>
    public required string Keys { get; init; }
    /// <summary>Proof that an earlier head is a prefix, where one was asked for.</summary>
    public ExportSince? Since { get; init; }

    /// <summary>Writes the line, with its newline.</summary>
    public void Write(IBufferWriter<byte> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        using (var writer = new Utf8JsonWriter(output, WriterOptions))
        {
            writer.WriteStartObject();
            writer.WriteString("format"u8, FormatName);
            writer.WriteNumber("from"u8, From);
            writer.WriteNumber("to"u8, To);
            writer.WriteString("checkpoint"u8, Checkpoint);
            WriteHashes(writer, "left", Left);
            WriteHashes(writer, "right", Right);
            writer.WriteString("keys"u8, Keys);
            if (Since is { } since)
            {
                writer.WriteStartObject("since"u8);
                writer.WriteNumber("size"u8, since.Size);
                writer.WriteString("root"u8, since.Root.ToString());
                WriteHashes(writer, "proof", since.Proof);
                writer.WriteEndObject();
            }

            writer.WriteEndObject();
        }

        output.Write("\n"u8);
    }

    /// <summary>Reads the line, which must be in its one spelling.</summary>
    /// <param name="line">Without the newline.</param>
    /// <exception cref="EntryFormatException">Not the first line of an export.</exception>
    public static ExportHeader Read(ReadOnlySpan<byte> line)
    {
        try
        {
            var raw = JsonSerializer.Deserialize<Raw>(line, RawOptions);
            if (raw is not { Format: FormatName, Checkpoint: not null, Keys: not null, Left: not null, Right: not null } || raw.From < 0 || raw.To < raw.From)
            {
                throw new EntryFormatException("the first line is not the header of an export");
            }

            var header = new ExportHeader
            {
                From = raw.From,
                To = raw.To,
                Checkpoint = raw.Checkpoint,
                Left = Hashes(raw.Left),
                Right = Hashes(raw.Right),
                Keys = raw.Keys,
                Since = raw.Since is { Root: not null, Proof: not null } since ? new ExportSince(since.Size, Hash(since.Root), Hashes(since.Proof)) : null,
            };
            var again = new ArrayBufferWriter<byte>(line.Length + 1);
            header.Write(again);
            return again.WrittenSpan[..^1].SequenceEqual(line) ? header : throw new EntryFormatException("the header is not in its one spelling");
        }
        catch (JsonException error)
        {
            throw new EntryFormatException("the first line is not the header of an export", error);
        }
    }

    private static readonly JsonSerializerOptions RawOptions = new(JsonSerializerDefaults.Web)
    {
        PropertyNameCaseInsensitive = false,
        UnmappedMemberHandling = System.Text.Json.Serialization.JsonUnmappedMemberHandling.Disallow,
    };

    private static void WriteHashes(Utf8JsonWriter writer, string name, IReadOnlyList<Hash256> hashes)
    {
        writer.WriteStartArray(name);
        foreach (var hash in hashes)
        {
            writer.WriteStringValue(hash.ToString());
        }

        writer.WriteEndArray();
    }

    private static List<Hash256> Hashes(List<string> texts) =>
        texts.Count <= 256 ? texts.ConvertAll(Hash) : throw new EntryFormatException("the header has too many hashes");

    private static Hash256 Hash(string text) => Hash256.TryParse(text, out var hash) ? hash : throw new EntryFormatException("the header has a malformed hash");

    private sealed record Raw(
        string? Format, long From, long To, string? Checkpoint, List<string>? Left, List<string>? Right, string? Keys, RawSince? Since);

    private sealed record RawSince(long Size, string? Root, List<string>? Proof);
}

/// <summary>Proof in an export that the log has only grown since an earlier head.</summary>
/// <param name="Size">Size of the earlier head.</param>
/// <param name="Root">Its root.</param>
/// <param name="Proof">RFC 6962 consistency proof to the export's checkpoint.</param>
public sealed record ExportSince(long Size, Hash256 Root, IReadOnlyList<Hash256> Proof);
