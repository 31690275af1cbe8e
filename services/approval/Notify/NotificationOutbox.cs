using System.Text.Json;
using System.Text.Json.Serialization;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Notify;

/// <summary>Who is sending a message, and until when nobody else may.</summary>
/// <param name="Owner">Sender's own id.</param>
/// <param name="Until">Then another one may.</param>
public sealed record SendLease(string Owner, DateTimeOffset Until);

/// <summary>A message that waits to be sent, as persisted.</summary>
public sealed record QueuedNotification
{
    /// <summary>Version of the format.</summary>
    public int Format { get; init; } = 1;
    /// <summary>Stable id, also the receiver's: <c>{request}:{version}:{target}</c>, of mail with a hash of the recipient behind it.</summary>
    public required string Id { get; init; }
    /// <summary>Name of the target.</summary>
    public required string Target { get; init; }
    /// <summary>Address that it goes to; null where the target is one by itself, or where its recipients aren't known yet.</summary>
    public string? Recipient { get; init; }
    /// <summary>What is said.</summary>
    public required Notification Notification { get; init; }
    /// <summary>Attempts so far.</summary>
    public int Attempts { get; init; }
    /// <summary>When it came; after a retry by hand, when that was.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
    /// <summary>Not before.</summary>
    public required DateTimeOffset NextAt { get; init; }
    /// <summary>Who is sending it.</summary>
    public SendLease? Lease { get; init; }
    /// <summary>Why the last attempt failed; no contents, no address.</summary>
    public string? Error { get; init; }
    /// <summary>When it was given up; only of dead letters.</summary>
    public DateTimeOffset? DiedAt { get; init; }
}

/// <summary>
/// Messages in the service's state: waiting, dead, and for a day the ids of those that were sent. At least once: a crash between sending and
/// remembering it sends again, with the same id.
/// </summary>
/// <param name="store">State of the service.</param>
/// <param name="clock">The clock.</param>
/// <param name="max">Most that wait, and most that are dead.</param>
/// <param name="lease">For how long a message belongs to who sends it; null for a minute.</param>
public sealed class NotificationOutbox(IStateStore store, TimeProvider clock, int max, TimeSpan? lease = null) : IDisposable
{
    /// <summary>Collection of what waits.</summary>
    public const string Waiting = "notifications";

    /// <summary>Collection of what was given up.</summary>
    public const string Dead = "notifications-dead";

    /// <summary>Collection of ids that were sent.</summary>
    public const string Sent = "notifications-sent";

    private static readonly TimeSpan Remembered = TimeSpan.FromDays(1);
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };
    private readonly TimeSpan _lease = lease ?? TimeSpan.FromMinutes(1);
    private readonly string _owner = Guid.NewGuid().ToString("N");
    private readonly SemaphoreSlim _came = new(0, 1);
    private int _waiting;

    /// <summary>Takes a message; the same one again changes nothing.</summary>
    /// <returns>False where as many wait as may.</returns>
    /// <exception cref="PortUnavailableException">The store can't be reached.</exception>
    public async ValueTask<bool> EnqueueAsync(string id, string target, string? recipient, Notification notification, CancellationToken cancellation)
    {
        if (await store.GetAsync(Sent, id, cancellation) is not null || await store.GetAsync(Dead, id, cancellation) is not null)
        {
            return true;
        }

        if (Volatile.Read(ref _waiting) >= max)
        {
            return await store.GetAsync(Waiting, id, cancellation) is not null;
        }

        var now = clock.GetUtcNow();
        var message = new QueuedNotification { Id = id, Target = target, Recipient = recipient, Notification = notification, CreatedAt = now, NextAt = now };
        if (await store.TrySaveAsync(Waiting, id, Write(message), null, cancellation))
        {
            Interlocked.Increment(ref _waiting);
        }

        Wake();
        return true;
    }

    /// <summary>Waits until something came, or a time has passed.</summary>
    public Task WaitAsync(TimeSpan longest, CancellationToken cancellation) => _came.WaitAsync(longest, cancellation);

    /// <summary>What waited when somebody last looked: number and age of the oldest in seconds, by target.</summary>
    public IReadOnlyDictionary<string, (int Count, double Oldest)> Backlog { get; private set; } = new Dictionary<string, (int, double)>();

    /// <summary>What may be sent now, the longest due first.</summary>
    public async Task<IReadOnlyList<QueuedNotification>> DueAsync(CancellationToken cancellation)
    {
        var now = clock.GetUtcNow();
        var due = new List<QueuedNotification>();
        var count = 0;
        var backlog = new Dictionary<string, (int Count, double Oldest)>(StringComparer.Ordinal);
        await foreach (var item in store.ListAsync(Waiting, cancellation))
        {
            count++;
            if (Read(item) is not { } message)
            {
                continue;
            }

            var (number, oldest) = backlog.GetValueOrDefault(message.Target);
            backlog[message.Target] = (number + 1, Math.Max(oldest, (now - message.CreatedAt).TotalSeconds));
            if (message.NextAt <= now && (message.Lease is not { } held || held.Until <= now))
            {
                due.Add(message);
            }
        }

        Backlog = backlog;

        Volatile.Write(ref _waiting, count);
        due.Sort((one, other) => one.NextAt.CompareTo(other.NextAt));
        return due;
    }

    /// <summary>Makes this process the only one that sends a message.</summary>
    /// <returns>The message as it is now; null where somebody else was faster, or it isn't due any more.</returns>
    public async ValueTask<QueuedNotification?> LeaseAsync(string id, CancellationToken cancellation)
    {
        var now = clock.GetUtcNow();
        if (await store.GetAsync(Waiting, id, cancellation) is not { } item || Read(item) is not { } message
            || message.NextAt > now || message.Lease is { } held && held.Until > now)
        {
            return null;
        }

        var leased = message with { Lease = new SendLease(_owner, now + _lease) };
        return await store.TrySaveAsync(Waiting, id, Write(leased), item.ETag, cancellation) ? leased : null;
    }

    /// <summary>It was sent.</summary>
    public async ValueTask DoneAsync(QueuedNotification message, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(message);
        await store.TrySaveAsync(Sent, message.Id, JsonSerializer.SerializeToUtf8Bytes(new SentMark(clock.GetUtcNow()), Json), null, cancellation);
        await RemoveAsync(message, cancellation);
    }

    /// <summary>It wasn't, and is tried again.</summary>
    public async ValueTask AgainAsync(QueuedNotification message, DateTimeOffset at, string error, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (await OwnAsync(message, cancellation) is { } item)
        {
            var later = message with { Attempts = message.Attempts + 1, NextAt = at, Lease = null, Error = error };
            await store.TrySaveAsync(Waiting, message.Id, Write(later), item.ETag, cancellation);
        }
    }

    /// <summary>It is given up.</summary>
    /// <returns>False where it was another sender's by then.</returns>
    public async ValueTask<bool> BuryAsync(QueuedNotification message, string error, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (await OwnAsync(message, cancellation) is null)
        {
            return false;
        }

        var dead = message with { Attempts = message.Attempts + 1, Lease = null, Error = error, DiedAt = clock.GetUtcNow() };
        var buried = await store.TrySaveAsync(Dead, message.Id, Write(dead), null, cancellation);
        await RemoveAsync(message, cancellation);
        return buried;
    }

    /// <summary>What was given up, the latest first.</summary>
    public async Task<IReadOnlyList<QueuedNotification>> DeadAsync(CancellationToken cancellation)
    {
        var dead = new List<QueuedNotification>();
        await foreach (var item in store.ListAsync(Dead, cancellation))
        {
            if (Read(item) is { } message)
            {
                dead.Add(message);
            }
        }

        dead.Sort((one, other) => Nullable.Compare(other.DiedAt, one.DiedAt));
        return dead;
    }

    /// <summary>Puts a dead letter back, as if it came now.</summary>
    /// <returns>Null where there is none of that id.</returns>
    public async ValueTask<QueuedNotification?> RetryAsync(string id, CancellationToken cancellation)
    {
        if (await store.GetAsync(Dead, id, cancellation) is not { } item || Read(item) is not { } dead)
        {
            return null;
        }

        var now = clock.GetUtcNow();
        var message = dead with { Attempts = 0, CreatedAt = now, NextAt = now, Error = null, DiedAt = null };
        await store.TrySaveAsync(Waiting, id, Write(message), null, cancellation);
        await store.TryDeleteAsync(Dead, id, item.ETag, cancellation);
        Wake();
        return message;
    }

    /// <summary>Forgets ids that were sent long ago, and the oldest dead letters where there are too many.</summary>
    /// <returns>Dead letters that were forgotten.</returns>
    public async Task<int> SweepAsync(CancellationToken cancellation)
    {
        var before = clock.GetUtcNow() - Remembered;
        await foreach (var item in store.ListAsync(Sent, cancellation))
        {
            if (JsonSerializer.Deserialize<SentMark>(item.Value.Span, Json) is not { } mark || mark.At < before)
            {
                await store.TryDeleteAsync(Sent, item.Key, item.ETag, cancellation);
            }
        }

        var forgotten = 0;
        foreach (var dead in (await DeadAsync(cancellation)).Skip(max))
        {
            if (await store.GetAsync(Dead, dead.Id, cancellation) is { } item && await store.TryDeleteAsync(Dead, dead.Id, item.ETag, cancellation))
            {
                forgotten++;
            }
        }

        return forgotten;
    }

    /// <inheritdoc/>
    public void Dispose() => _came.Dispose();

    /// <summary>Has somebody look at once.</summary>
    public void Wake()
    {
        try
        {
            _came.Release();
        }
        catch (SemaphoreFullException)
        {
            // It is awake already.
        }
    }

    private async ValueTask RemoveAsync(QueuedNotification message, CancellationToken cancellation)
    {
        if (await store.GetAsync(Waiting, message.Id, cancellation) is { } item && await store.TryDeleteAsync(Waiting, message.Id, item.ETag, cancellation))
        {
            Interlocked.Decrement(ref _waiting);
        }
    }

    // A lease that ran out may be another one's by now: then that one decides what becomes of the message.
    private async ValueTask<StateItem?> OwnAsync(QueuedNotification message, CancellationToken cancellation) =>
        await store.GetAsync(Waiting, message.Id, cancellation) is { } item && Read(item)?.Lease?.Owner == _owner ? item : null;

    private static byte[] Write(QueuedNotification message) => JsonSerializer.SerializeToUtf8Bytes(message, Json);

    private static QueuedNotification? Read(StateItem item)
    {
        try
        {
            return JsonSerializer.Deserialize<QueuedNotification>(item.Value.Span, Json);
        }
        catch (JsonException error)
        {
            throw new PortUnavailableException($"the message {item.Key} can't be read", error);
        }
    }

    private sealed record SentMark(DateTimeOffset At);
}
