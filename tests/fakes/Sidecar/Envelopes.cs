using System.Text.Json;
using System.Text.Json.Nodes;

namespace Countersign.Fakes.Sidecar;

/// <summary>CloudEvents 1.0, structured JSON, as the runtime makes them.</summary>
internal static class Envelopes
{
    public static byte[] Make(string appId, string component, string topic, byte[] data, string? contentType, IEnumerable<KeyValuePair<string, string>> metadata)
    {
        var type = (contentType ?? "").Split(';')[0].Trim();
        JsonObject envelope;
        if (type == "application/cloudevents+json")
        {
            envelope = JsonNode.Parse(data)!.AsObject();
            foreach (var required in new[] { "id", "source", "type", "specversion" })
            {
                if ((string?)envelope[required] is not { Length: > 0 })
                {
                    throw new JsonException($"cloud event lacks {required}");
                }
            }
        }
        else
        {
            envelope = new JsonObject
            {
                ["specversion"] = "1.0",
                ["id"] = Guid.NewGuid().ToString(),
                ["source"] = appId,
                ["type"] = "com.dapr.event.sent",
                ["datacontenttype"] = type.Length == 0 ? "text/plain" : type,
            };
            if (type is "application/json" or "")
            {
                envelope["data"] = data.Length == 0 ? null : JsonNode.Parse(data);
            }
            else if (type.StartsWith("text/", StringComparison.Ordinal))
            {
                envelope["data"] = System.Text.Encoding.UTF8.GetString(data);
            }
            else
            {
                envelope["data_base64"] = Convert.ToBase64String(data);
            }
        }

        foreach (var (name, value) in metadata)
        {
            if (name.StartsWith("cloudevent.", StringComparison.OrdinalIgnoreCase))
            {
                envelope[name["cloudevent.".Length..].ToLowerInvariant()] = value;
            }
        }

        envelope["topic"] = topic;
        envelope["pubsubname"] = component;
        envelope["traceid"] ??= "00-00000000000000000000000000000000-0000000000000000-00";
        envelope["tracestate"] ??= "";
        return JsonSerializer.SerializeToUtf8Bytes(envelope);
    }
}
