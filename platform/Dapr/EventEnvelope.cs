using System.Buffers;
using System.Text.Json;
using Countersign.Platform.Ports;

namespace Countersign.Platform.Dapr;

/// <summary>An event as it crosses the broker: CloudEvents 1.0 in JSON (docs/formats/event.md).</summary>
/// <param name="Event">The event.</param>
/// <param name="Source">App id of the publisher, as it says itself.</param>
/// <param name="Signature">Its signature; null where there is none.</param>
internal sealed record EventEnvelope(BusEvent Event, string Source, string? Signature)
{
    public const string ContentType = "application/cloudevents+json";
    private const string Attribute = "countersignature";

    public static byte[] Write(BusEvent published, string source, string signature)
    {
        var buffer = new ArrayBufferWriter<byte>(published.Data.Length + signature.Length + 256);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("specversion", "1.0");
            json.WriteString("id", published.Id);
            json.WriteString("source", source);
            json.WriteString("type", published.Type);
            json.WriteString("topic", published.Topic);
            json.WriteString("datacontenttype", "application/json");
            json.WritePropertyName("data");
            json.WriteRawValue(published.Data.Span);
            json.WriteString(Attribute, signature);
            json.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Reads an envelope that was delivered for a topic.</summary>
    /// <param name="envelope">JSON.</param>
    /// <param name="topic">Topic of the subscription: what the envelope says of it is not asked.</param>
    /// <exception cref="JsonException">Not an envelope.</exception>
    public static EventEnvelope Read(JsonElement envelope, string topic)
    {
        if (envelope.ValueKind != JsonValueKind.Object
            || Text("id") is not { Length: > 0 and <= 512 } id || Text("type") is not { Length: > 0 and <= 200 } type || Text("source") is not { Length: > 0 and <= 200 } source
            || !envelope.TryGetProperty("data", out var data))
        {
            throw new JsonException("not an event of ours");
        }

        return new EventEnvelope(new BusEvent(topic, id, type, JsonSerializer.SerializeToUtf8Bytes(data)) { Publisher = source }, source, Text(Attribute));

        string? Text(string name) => envelope.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
    }
}
