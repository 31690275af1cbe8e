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
    private static readonly TimeSpan CountedFor = TimeSpan.FromMinutes(1);
    private int _count;
    private long _counted;
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
        if (await CountAsync(cancellation) >= Max)
        {
            throw new PortUnavailableException("there are too many dead letters");
        }

        // One that is known already came twice.
        var kept = new Kept(dead.Topic, dead.Id, dead.Type, JsonSerializer.Deserialize<JsonElement>(dead.Data.Span), letter.Reason, letter.At, dead.Publisher);
        if (await _store.TrySaveAsync(Collection, Key(letter.Id), JsonSerializer.SerializeToUtf8Bytes(kept, JsonSerializerOptions.Web), null, cancellation))
        {
            Interlocked.Increment(ref _count);
            metrics.Handled(dead.Topic, "dead");
            LogDead(dead.Topic, dead.Type, dead.Id);
        }
    }

    public async ValueTask<DeadLetter?> FindAsync(string subscriber, string id, CancellationToken cancellation) =>
        await GetAsync(subscriber, id, cancellation) is { } item ? Read(item) : null;

    public async ValueTask<string?> ReplayAsync(string subscriber, string id, CancellationToken cancellation)
    {
        var item = await GetAsync(subscriber, id, cancellation) ?? throw new KeyNotFoundException("there is no such dead letter");
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

    public async ValueTask<bool> DiscardAsync(string subscriber, string id, CancellationToken cancellation) =>
        await GetAsync(subscriber, id, cancellation) is { } item && await _store.TryDeleteAsync(Collection, item.Key, item.ETag, cancellation);

    private ValueTask<StateItem?> GetAsync(string subscriber, string id, CancellationToken cancellation) =>
        subscriber == own.Value ? _store.GetAsync(Collection, Key(id), cancellation) : ValueTask.FromResult<StateItem?>(null);

    // Counted now and then, not with each: they come by the thousand when they come.
    private async ValueTask<int> CountAsync(CancellationToken cancellation)
    {
        if (_counted == 0 || time.GetElapsedTime(_counted) > CountedFor)
        {
            Volatile.Write(ref _count, (await ListAsync(cancellation)).Count);
            _counted = time.GetTimestamp();
        }

        return Volatile.Read(ref _count);
    }

    private static string Key(string id) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(id)));

    private DeadLetter Read(StateItem item)
    {
        var kept = JsonSerializer.Deserialize<Kept>(item.Value.Span, JsonSerializerOptions.Web) ?? throw new PortUnavailableException("a dead letter can't be read");
        return new DeadLetter(own.Value, new BusEvent(kept.Topic, kept.Id, kept.Type, JsonSerializer.SerializeToUtf8Bytes(kept.Data)) { Publisher = kept.Publisher }, kept.Reason, kept.At);
    }

    [LoggerMessage(1203, LogLevel.Error, "An event on topic {Topic} of type {Type} ({Id}) is a dead letter now; it can be replayed")]
    private partial void LogDead(string topic, string type, string id);

    private sealed record Kept(string Topic, string Id, string Type, JsonElement Data, string Reason, DateTimeOffset At, string? Publisher = null);
}
