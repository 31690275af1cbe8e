using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Countersign.Platform.Dapr;

/// <summary>Dead letters of this service in its own store (collection <c>dead-letters</c>), so that they are seen by whichever instance is asked.</summary>
internal sealed partial class StoredDeadLetters(
    IServiceProvider provider, OwnAppId own, Subscriptions subscriptions, DaprMetrics metrics, TimeProvider time, ILogger<StoredDeadLetters> logger) : IDeadLetters
{
    /// <summary>More than this are not kept: the sidecar is told to come again, so that the broker keeps them.</summary>
    internal const int Max = 10_000;
    private const string Collection = "dead-letters";
    private readonly IStateStore _store = provider.GetRequiredKeyedService<IStateStore>(own.Value);

    public async ValueTask<IReadOnlyList<DeadLetter>> ListAsync(CancellationToken cancellation)
    {
        var letters = new List<DeadLetter>();
        await foreach (var item in _store.ListAsync(Collection, cancellation))
        {
            letters.Add(Read(item));
        }

        return [.. letters.OrderBy(letter => letter.At)];
    }

    public async ValueTask KeepAsync(BusEvent dead, CancellationToken cancellation)
    {
        var letter = new DeadLetter(own.Value, dead, "not handled in all attempts", time.GetUtcNow());
        if ((await ListAsync(cancellation)).Count >= Max)
        {
            throw new PortUnavailableException("there are too many dead letters");
        }

        // One that is known already came twice.
        var kept = new Kept(dead.Topic, dead.Id, dead.Type, JsonSerializer.Deserialize<JsonElement>(dead.Data.Span), letter.Reason, letter.At);
        if (await _store.TrySaveAsync(Collection, Key(letter.Id), JsonSerializer.SerializeToUtf8Bytes(kept, JsonSerializerOptions.Web), null, cancellation))
        {
            metrics.Handled(dead.Topic, "dead");
            LogDead(dead.Topic, dead.Type, dead.Id);
        }
    }

    public async ValueTask<string?> ReplayAsync(string id, CancellationToken cancellation)
    {
        var item = await _store.GetAsync(Collection, Key(id), cancellation) ?? throw new KeyNotFoundException("there is no such dead letter");
        var letter = Read(item);
        if (subscriptions.Find(letter.Event.Topic, news: false) is not { } topic)
        {
            return "this service does not subscribe to that topic any more";
        }

        if (await Subscriptions.HandleAsync(topic, letter.Event, cancellation) is { } reason)
        {
            return reason;
        }

        await _store.TryDeleteAsync(Collection, item.Key, item.ETag, cancellation);
        return null;
    }

    public async ValueTask<bool> DiscardAsync(string id, CancellationToken cancellation) =>
        await _store.GetAsync(Collection, Key(id), cancellation) is { } item && await _store.TryDeleteAsync(Collection, item.Key, item.ETag, cancellation);

    private static string Key(string id) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(id)));

    private DeadLetter Read(StateItem item)
    {
        var kept = JsonSerializer.Deserialize<Kept>(item.Value.Span, JsonSerializerOptions.Web) ?? throw new PortUnavailableException("a dead letter can't be read");
        return new DeadLetter(own.Value, new BusEvent(kept.Topic, kept.Id, kept.Type, JsonSerializer.SerializeToUtf8Bytes(kept.Data)), kept.Reason, kept.At);
    }

    [LoggerMessage(1203, LogLevel.Error, "An event on topic {Topic} of type {Type} ({Id}) is a dead letter now; it can be replayed")]
    private partial void LogDead(string topic, string type, string id);

    private sealed record Kept(string Topic, string Id, string Type, JsonElement Data, string Reason, DateTimeOffset At);
}
