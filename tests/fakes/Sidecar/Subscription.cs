using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Countersign.Fakes.Sidecar;

/// <summary>A subscription of an app: posts events to its route and reads what it says.</summary>
internal sealed class Subscription(Sidecar sidecar, string component, string topic, string route, string? deadLetterTopic, int bulk) : ISubscriber
{
    public string? DeadLetterTopic => deadLetterTopic;

    public int MaxMessages => Math.Max(1, bulk);

    public string Component => component;

    public string Topic => topic;

    public string Route => route;

    public async Task<IReadOnlyList<Outcome>> DeliverAsync(IReadOnlyList<Message> messages, CancellationToken cancellation)
    {
        if (bulk == 0)
        {
            var single = await PostAsync(messages[0].Envelope, "application/cloudevents+json", cancellation);
            return [Whole(single)];
        }

        var body = new JsonObject
        {
            ["id"] = Guid.NewGuid().ToString(),
            ["entries"] = new JsonArray([.. messages.Select(message => new JsonObject
            {
                ["entryId"] = message.Key,
                ["event"] = JsonNode.Parse(message.Envelope),
                ["contentType"] = "application/cloudevents+json",
                ["metadata"] = new JsonObject(),
            })]),
            ["metadata"] = new JsonObject(),
            ["topic"] = topic,
            ["pubsubname"] = component,
            ["type"] = "com.dapr.event.sent.bulk",
        };
        var answer = await PostAsync(JsonSerializer.SerializeToUtf8Bytes(body), "application/json", cancellation);
        if (answer.Status != HttpStatusCode.OK || answer.Body.Length == 0)
        {
            return [.. messages.Select(_ => Whole(answer))];
        }

        var statuses = JsonNode.Parse(answer.Body)?["statuses"]?.AsArray() ?? [];
        return [.. messages.Select(message => Status(
            (string?)statuses.FirstOrDefault(status => (string?)status?["entryId"] == message.Key)?["status"] ?? "RETRY"))];
    }

    private Task<AppAnswer> PostAsync(byte[] body, string contentType, CancellationToken cancellation) => sidecar.App.SendAsync(
        HttpMethod.Post, route, body, [KeyValuePair.Create("Content-Type", contentType), KeyValuePair.Create("pubsubname", component)], cancellation);

    private static Outcome Whole(AppAnswer answer)
    {
        if (answer.Status == HttpStatusCode.NotFound)
        {
            return Outcome.Dropped;
        }

        if ((int)answer.Status is < 200 or >= 300)
        {
            return Outcome.Retry;
        }

        try
        {
            return answer.Body.Length == 0 ? Outcome.Acknowledged : Status((string?)JsonNode.Parse(answer.Body)?["status"] ?? "SUCCESS");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            return Outcome.Acknowledged;
        }
    }

    private static Outcome Status(string status) => status switch
    {
        "SUCCESS" => Outcome.Acknowledged,
        "DROP" => Outcome.Dropped,
        _ => Outcome.Retry,
    };
}
