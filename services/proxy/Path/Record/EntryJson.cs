using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Path.Record;

/// <summary>
/// Payloads of entries. The two kinds that every statement makes are written by hand, without reflection and garbage; the frozen tests hold them to what the
/// serialiser would write.
/// </summary>
internal static class EntryJson
{
    public static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    private static readonly JsonEncodedText Operation = JsonEncodedText.Encode("operation");
    private static readonly JsonEncodedText Kind = JsonEncodedText.Encode("kind");
    private static readonly JsonEncodedText Text = JsonEncodedText.Encode("text");
    private static readonly JsonEncodedText Parameters = JsonEncodedText.Encode("parameters");
    private static readonly JsonEncodedText Decision = JsonEncodedText.Encode("decision");
    private static readonly JsonEncodedText Rules = JsonEncodedText.Encode("rules");
    private static readonly JsonEncodedText BundleVersion = JsonEncodedText.Encode("bundleVersion");
    private static readonly JsonEncodedText Message = JsonEncodedText.Encode("message");
    private static readonly JsonEncodedText Digest = JsonEncodedText.Encode("digest");
    private static readonly JsonEncodedText Request = JsonEncodedText.Encode("request");
    private static readonly JsonEncodedText Grant = JsonEncodedText.Encode("grant");
    private static readonly JsonEncodedText Approvers = JsonEncodedText.Encode("approvers");
    private static readonly JsonEncodedText BreakGlass = JsonEncodedText.Encode("breakGlass");
    private static readonly JsonEncodedText Person = JsonEncodedText.Encode("person");
    private static readonly JsonEncodedText Name = JsonEncodedText.Encode("name");
    private static readonly JsonEncodedText At = JsonEncodedText.Encode("at");
    private static readonly JsonEncodedText Outcome = JsonEncodedText.Encode("outcome");
    private static readonly JsonEncodedText Rows = JsonEncodedText.Encode("rows");
    private static readonly JsonEncodedText Bytes = JsonEncodedText.Encode("bytes");
    private static readonly JsonEncodedText Duration = JsonEncodedText.Encode("durationMicroseconds");
    private static readonly JsonEncodedText ErrorCode = JsonEncodedText.Encode("errorCode");
    private static readonly JsonEncodedText CopySha256 = JsonEncodedText.Encode("copySha256");
    private static readonly JsonEncodedText Masked = JsonEncodedText.Encode("masked");

    /// <summary>Members that are null or empty are left out.</summary>
    public static void Write(Utf8JsonWriter writer, OperationEntry entry)
    {
        writer.WriteStartObject();
        writer.WriteNumber(Operation, entry.Operation);
        writer.WriteString(Kind, entry.Kind);
        writer.WriteString(Text, entry.Text);
        WriteList(writer, Parameters, entry.Parameters);
        writer.WriteString(Decision, entry.Decision);
        WriteList(writer, Rules, entry.Rules);
        writer.WriteNumber(BundleVersion, entry.BundleVersion);
        WriteIfPresent(writer, Message, entry.Message);
        WriteIfPresent(writer, Digest, entry.Digest);
        WriteIfPresent(writer, Request, entry.Request);
        WriteIfPresent(writer, Grant, entry.Grant);
        if (entry.Approvers.Count > 0)
        {
            writer.WriteStartArray(Approvers);
            for (var index = 0; index < entry.Approvers.Count; index++)
            {
                var approver = entry.Approvers[index];
                writer.WriteStartObject();
                writer.WriteString(Person, approver.Person);
                writer.WriteString(Name, approver.Name);
                writer.WriteString(At, approver.At);
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
        }

        if (entry.BreakGlass)
        {
            writer.WriteBoolean(BreakGlass, true);
        }

        writer.WriteEndObject();
    }

    /// <summary>Members that are null are left out, and masked where it is 0.</summary>
    public static void Write(Utf8JsonWriter writer, CompletionEntry entry)
    {
        writer.WriteStartObject();
        writer.WriteNumber(Operation, entry.Operation);
        writer.WriteString(Outcome, entry.Outcome);
        writer.WriteNumber(Rows, entry.Rows);
        writer.WriteNumber(Bytes, entry.Bytes);
        writer.WriteNumber(Duration, entry.DurationMicroseconds);
        WriteIfPresent(writer, ErrorCode, entry.ErrorCode);
        WriteIfPresent(writer, CopySha256, entry.CopySha256);
        if (entry.Masked != 0)
        {
            writer.WriteNumber(Masked, entry.Masked);
        }

        writer.WriteEndObject();
    }

    private static void WriteIfPresent(Utf8JsonWriter writer, JsonEncodedText name, string? value)
    {
        if (value is not null)
        {
            writer.WriteString(name, value);
        }
    }

    private static void WriteList(Utf8JsonWriter writer, JsonEncodedText name, IReadOnlyList<string?> values)
    {
        if (values.Count == 0)
        {
            return;
        }

        writer.WriteStartArray(name);
        for (var index = 0; index < values.Count; index++)
        {
            writer.WriteStringValue(values[index]);
        }

        writer.WriteEndArray();
    }
}

/// <summary>Body of a <see cref="EntryTypes.Gateway"/> entry.</summary>
internal sealed record GatewayBody(string Statement);

/// <summary>Body of a <see cref="EntryTypes.SessionHeartbeat"/> entry.</summary>
internal sealed record HeartbeatBody(long Operations);

/// <summary>The kinds of payload that are rare.</summary>
[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(SessionStartEntry))]
[JsonSerializable(typeof(SessionEndEntry))]
[JsonSerializable(typeof(HoldEntry))]
[JsonSerializable(typeof(GatewayBody))]
[JsonSerializable(typeof(HeartbeatBody))]
internal sealed partial class EntryJsonContext : JsonSerializerContext;
