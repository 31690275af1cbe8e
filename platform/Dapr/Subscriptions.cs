using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Countersign.Platform.Dapr;

/// <summary>What became of an event, in the words of the sidecar.</summary>
internal static class Delivery
{
    public const string Success = "SUCCESS";
    public const string Retry = "RETRY";
    public const string Drop = "DROP";
}

/// <summary>One route: all handlers of this process for a topic, of one kind of delivery.</summary>
/// <param name="Topic">Topic.</param>
/// <param name="News">Whether every instance gets it.</param>
/// <param name="Handlers">Handlers.</param>
internal sealed record SubscribedTopic(string Topic, bool News, IReadOnlyList<BusSubscription> Handlers)
{
    /// <summary>Most events of one delivery; 0 where they come one by one.</summary>
    public int Bulk => Topic == Topics.Audit && !News ? 100 : 0;

    public string Route => News ? $"/dapr/news/{Topic}" : $"/dapr/events/{Topic}";

    // News aren't kept: who needs them polls as well.
    public string? DeadRoute => News ? null : $"/dapr/dead/{Topic}";

    public string? DeadTopic(string subscriber) => News ? null : $"dead.{subscriber}.{Topic}";
}

/// <summary>The subscriptions of this process, and what is done with what they bring: checked, handled, answered.</summary>
internal sealed partial class Subscriptions(
    IServiceProvider provider, EventSignatures signatures, DaprMetrics metrics, ILogger<Subscriptions> logger)
{
    private readonly Lazy<IReadOnlyList<SubscribedTopic>> _topics = new(() =>
    [
        .. provider.GetServices<BusSubscription>().GroupBy(each => (each.Topic, each.EveryInstance))
            .Select(group => new SubscribedTopic(group.Key.Topic, group.Key.EveryInstance, [.. group])),
    ]);

    // Handlers publish themselves, so they are made when they are first needed and not with the bus.
    public IReadOnlyList<SubscribedTopic> Topics => _topics.Value;

    public SubscribedTopic? Find(string topic, bool news) => Topics.FirstOrDefault(each => each.Topic == topic && each.News == news);

    /// <summary>Handles one event. Drops what nobody may have said; whatever else goes wrong, an unknown key too, means "again".</summary>
    public async Task<string> TakeAsync(SubscribedTopic topic, JsonElement delivered, CancellationToken cancellation)
    {
        EventEnvelope envelope;
        try
        {
            envelope = EventEnvelope.Read(delivered, topic.Topic);
            await signatures.VerifyAsync(envelope, cancellation);
        }
        catch (TokenRejectedException error) when (error.IsSignerUnknown)
        {
            // A key that was made just now may be known here later; a forger's never is, and then the attempts end.
            LogUnknown(topic.Topic, error.Message);
            metrics.Handled(topic.Topic, "unknown-key");
            return Delivery.Retry;
        }
        catch (Exception error) when (error is JsonException or TokenRejectedException)
        {
            LogRejected(topic.Topic, error.Message);
            metrics.Handled(topic.Topic, "rejected");
            return Delivery.Drop;
        }

        if (await HandleAsync(topic, envelope.Event, cancellation) is { } reason)
        {
            LogFailed(topic.Topic, envelope.Event.Type, envelope.Event.Id, reason);
            metrics.Handled(topic.Topic, "failed");
            return Delivery.Retry;
        }

        metrics.Handled(topic.Topic, "ok");
        return Delivery.Success;
    }

    /// <summary>Null where all handlers took it, else the type of the error.</summary>
    public static async Task<string?> HandleAsync(SubscribedTopic topic, BusEvent happened, CancellationToken cancellation)
    {
        try
        {
            foreach (var handler in topic.Handlers)
            {
                await handler.HandleAsync(happened, cancellation);
            }

            return null;
        }
#pragma warning disable CA1031 // whatever a handler throws means "deliver again"
        catch (Exception error)
#pragma warning restore CA1031
        {
            return error.GetType().Name;
        }
    }

    [LoggerMessage(1201, LogLevel.Error, "An event on topic {Topic} is not what it says and is dropped: {Reason}")]
    private partial void LogRejected(string topic, string reason);

    [LoggerMessage(1204, LogLevel.Warning, "An event on topic {Topic} comes again, since its signer isn't known here (yet): {Reason}")]
    private partial void LogUnknown(string topic, string reason);

    [LoggerMessage(1202, LogLevel.Warning, "An event on topic {Topic} of type {Type} ({Id}) could not be handled and comes again: {Reason}")]
    private partial void LogFailed(string topic, string type, string id, string reason);
}
