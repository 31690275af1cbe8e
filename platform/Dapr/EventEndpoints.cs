using System.Text.Json;
using Countersign.Platform.Hosting;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Countersign.Platform.Dapr;

/// <summary>What the sidecar calls: the list of subscriptions, events one by one or in bulk, and dead letters. All behind the app token.</summary>
internal static class EventEndpoints
{
    private const long LargestEvent = 4 * 1024 * 1024;
    private const long LargestBulk = 32 * 1024 * 1024;

    public static void Map(WebApplication app)
    {
        app.MapGet("/dapr/subscribe", (Subscriptions subscriptions, DaprOptions options, OwnAppId own) =>
            Results.Json(options.DeclarativeSubscriptions ? [] : subscriptions.Topics.SelectMany(topic => Describe(topic, options, own)).ToList())).ExcludeFromDescription();
        app.MapPost("/dapr/events/{topic}", (string topic, JsonElement body, Subscriptions subscriptions, HttpContext context) =>
            TakeAsync(subscriptions, topic, news: false, body, context.RequestAborted)).WithRequestBodyLimit(LargestBulk).ExcludeFromDescription();
        app.MapPost("/dapr/news/{topic}", (string topic, JsonElement body, Subscriptions subscriptions, HttpContext context) =>
            TakeAsync(subscriptions, topic, news: true, body, context.RequestAborted)).WithRequestBodyLimit(LargestEvent).ExcludeFromDescription();
        app.MapPost("/dapr/dead/{topic}", BuryAsync).WithRequestBodyLimit(LargestEvent).ExcludeFromDescription();
    }

    private static IEnumerable<object> Describe(SubscribedTopic topic, DaprOptions options, OwnAppId own)
    {
        var component = topic.News ? options.News : options.PubSub;
        var subscription = new Dictionary<string, object> { ["pubsubname"] = component, ["topic"] = topic.Topic, ["route"] = topic.Route };
        if (topic.DeadTopic(own.Value) is { } dead)
        {
            subscription["deadLetterTopic"] = dead;
        }

        if (topic.Bulk > 0)
        {
            subscription["bulkSubscribe"] = new { enabled = true, maxMessagesCount = topic.Bulk, maxAwaitDurationMs = 100 };
        }

        yield return subscription;
        if (topic.DeadRoute is { } deadRoute)
        {
            yield return new Dictionary<string, object> { ["pubsubname"] = component, ["topic"] = topic.DeadTopic(own.Value)!, ["route"] = deadRoute };
        }
    }

    private static async Task<IResult> TakeAsync(Subscriptions subscriptions, string topic, bool news, JsonElement body, CancellationToken cancellation)
    {
        if (subscriptions.Find(topic, news) is not { } subscribed)
        {
            return Results.NotFound();
        }

        if (body.ValueKind == JsonValueKind.Object && body.TryGetProperty("entries", out var entries) && entries.ValueKind == JsonValueKind.Array)
        {
            // Together: what a handler waits for (the log's next commit) is then waited for once.
            var statuses = await Task.WhenAll(entries.EnumerateArray().Select(async entry => new
            {
                entryId = entry.TryGetProperty("entryId", out var id) ? id.GetString() : "",
                status = entry.TryGetProperty("event", out var envelope) ? await subscriptions.TakeAsync(subscribed, envelope, cancellation) : Delivery.Drop,
            }));
            return Results.Json(new { statuses });
        }

        return Results.Json(new { status = await subscriptions.TakeAsync(subscribed, body, cancellation) });
    }

    private static async Task<IResult> BuryAsync(
        string topic, JsonElement body, Subscriptions subscriptions, EventSignatures signatures, StoredDeadLetters letters, HttpContext context)
    {
        if (subscriptions.Find(topic, news: false) is null)
        {
            return Results.NotFound();
        }

        try
        {
            var envelope = EventEnvelope.Read(body, topic);
            // Forged ones must not crowd out true ones.
            await signatures.VerifyAsync(envelope, context.RequestAborted);
            await letters.KeepAsync(envelope.Event, context.RequestAborted);
            return Results.Json(new { status = Delivery.Success });
        }
        catch (TokenRejectedException error) when (error.IsSignerUnknown)
        {
            return Results.Json(new { status = Delivery.Retry });
        }
        catch (Exception error) when (error is JsonException or TokenRejectedException)
        {
            return Results.Json(new { status = Delivery.Drop });
        }
    }
}
