using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Replay;

/// <summary>One entry of a session, to be read by people and programs.</summary>
/// <param name="Index">Index in the log.</param>
/// <param name="Id">Entry id, hex.</param>
/// <param name="Session">Session id.</param>
/// <param name="Sequence">Number in the session.</param>
/// <param name="Type">One of <c>EntryTypes</c>.</param>
/// <param name="At">When, by the proxy's clock.</param>
/// <param name="Body">The payload; default where retention has deleted it.</param>
public sealed record ReplayEntry(long Index, string Id, string Session, long Sequence, string Type, DateTimeOffset At, ReadOnlyMemory<byte> Body)
{
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    /// <summary>Whether retention has deleted the payload.</summary>
    public bool IsErased => Body.IsEmpty;

    /// <summary>Writes it as one JSON line: <c>index, id, session, sequence, type, at, body</c>.</summary>
    public void WriteLine(IBufferWriter<byte> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        using (var writer = new Utf8JsonWriter(output, Options))
        {
            writer.WriteStartObject();
            writer.WriteNumber("index"u8, Index);
            writer.WriteString("id"u8, Id);
            writer.WriteString("session"u8, Session);
            writer.WriteNumber("sequence"u8, Sequence);
            writer.WriteString("type"u8, Type);
            writer.WriteString("at"u8, At);
            if (IsErased)
            {
                writer.WriteBoolean("erased"u8, true);
            }
            else if (IsLine(Body.Span))
            {
                writer.WritePropertyName("body"u8);
                writer.WriteRawValue(Body.Span, skipInputValidation: true);
            }
            else
            {
                writer.WriteBase64String("bodyBase64"u8, Body.Span);
            }

            writer.WriteEndObject();
        }

        output.Write("\n"u8);
    }

    // A payload comes from a proxy: it must not be able to write lines of its own.
    private static bool IsLine(ReadOnlySpan<byte> body)
    {
        if (body.IndexOfAny((byte)'\n', (byte)'\r') >= 0)
        {
            return false;
        }

        try
        {
            var reader = new Utf8JsonReader(body);
            while (reader.Read())
            {
            }

            return System.Text.Unicode.Utf8.IsValid(body);
        }
        catch (JsonException)
        {
            return false;
        }
    }
}

/// <summary>Reads the entries of one session out of the log.</summary>
public static class SessionReplay
{
    private const int ReadEntries = 2048;
    private const int ReadBytes = 2 * 1024 * 1024;

    /// <summary>The entries in their order.</summary>
    /// <param name="log">The log.</param>
    /// <param name="session">Session id.</param>
    /// <param name="ranges">Where in the log it has entries; others lie between them.</param>
    public static IEnumerable<ReplayEntry> Read(IEntryLog log, string session, IEnumerable<(long First, long Last)> ranges)
    {
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(ranges);
        foreach (var (first, last) in ranges)
        {
            for (var index = first; index <= last;)
            {
                var entries = log.Read(index, (int)Math.Min(last - index + 1, ReadEntries), ReadBytes);
                if (entries.Count == 0)
                {
                    break;
                }

                foreach (var entry in entries)
                {
                    if (entry.Session == session)
                    {
                        yield return new ReplayEntry(index, entry.IdText, session, entry.Sequence, EntryTypeNames.Of(entry.Type), entry.Time, entry.Payload);
                    }

                    index++;
                }
            }
        }
    }
}
