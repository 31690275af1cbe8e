using System.Threading.Channels;
using Countersign.Platform.Ports;
using Microsoft.Extensions.Logging;

namespace Countersign.Platform.Embedded;

/// <summary>Bounds of the bus.</summary>
public sealed record BusLimits
{
    /// <summary>Events waiting for one subscription.</summary>
    public int Capacity { get; init; } = 1024;
    /// <summary>How long a publisher waits for a subscription that is full before it is told that the event was not taken.</summary>
    public TimeSpan PublishTimeout { get; init; } = TimeSpan.FromSeconds(5);
    /// <summary>Attempts to deliver one event to one subscription.</summary>
    public int Attempts { get; init; } = 6;
    /// <summary>Pause after the first failed attempt; doubles each time.</summary>
    public TimeSpan FirstPause { get; init; } = TimeSpan.FromMilliseconds(50);
    /// <summary>Longest pause.</summary>
    public TimeSpan LongestPause { get; init; } = TimeSpan.FromSeconds(2);
    /// <summary>Dead letters kept; the oldest goes first.</summary>
    public int DeadLetters { get; init; } = 1000;
}

/// <summary>
/// Publish and subscribe inside one process: a bounded queue and one pump for each subscription. At least once: for the topics of the journal also
/// across the end of the process, for the others while it lives (their subscribers poll, as with any broker that may lose an event).
/// </summary>
public sealed partial class InProcessEventBus : IEventBus, IDeadLetters, IAsyncDisposable
{
    private readonly BusLimits _limits;
    private readonly TimeProvider _time;
    private readonly ILogger<InProcessEventBus> _logger;
    private readonly EventJournal? _journal;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Lock _gate = new();
    private readonly Queue<BusEvent> _early = new();
    private readonly Queue<DeadLetter> _deadLetters = new();
    private IReadOnlyList<Pump>? _pumps;
    private bool _closed;
    private int _disposed;

    /// <summary>A bus without subscriptions yet: events published before <see cref="Attach"/> wait for it.</summary>
    /// <param name="limits">Bounds.</param>
    /// <param name="time">Clock.</param>
    /// <param name="logger">Logger.</param>
    /// <param name="journal">Keeps events of its topics; null for a bus that forgets with its process.</param>
    public InProcessEventBus(BusLimits limits, TimeProvider time, ILogger<InProcessEventBus> logger, EventJournal? journal = null)
    {
        _journal = journal;
        _limits = limits;
        _time = time;
        _logger = logger;
    }

    /// <summary>What could not be delivered, oldest first.</summary>
    public IReadOnlyList<DeadLetter> DeadLetters
    {
        get
        {
            lock (_gate)
            {
                return [.. _deadLetters];
            }
        }
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<DeadLetter>> ListAsync(CancellationToken cancellation) => ValueTask.FromResult(DeadLetters);

    /// <inheritdoc/>
    public ValueTask<DeadLetter?> FindAsync(string subscriber, string id, CancellationToken cancellation) =>
        ValueTask.FromResult(DeadLetters.FirstOrDefault(each => each.Subscriber == subscriber && each.Id == id));

    /// <inheritdoc/>
    public async ValueTask<string?> ReplayAsync(string subscriber, string id, CancellationToken cancellation)
    {
        var letter = await FindAsync(subscriber, id, cancellation) ?? throw new KeyNotFoundException("there is no such dead letter");
        try
        {
            foreach (var pump in Interested(letter.Event.Topic).Where(pump => pump.Subscription.Subscriber == letter.Subscriber))
            {
                await pump.Subscription.HandleAsync(letter.Event, cancellation);
            }
        }
#pragma warning disable CA1031 // whatever a handler throws means that it stays
        catch (Exception error) when (!cancellation.IsCancellationRequested)
#pragma warning restore CA1031
        {
            return error.GetType().Name;
        }

        await DiscardAsync(subscriber, id, cancellation);
        return null;
    }

    /// <inheritdoc/>
    public ValueTask<bool> DiscardAsync(string subscriber, string id, CancellationToken cancellation)
    {
        lock (_gate)
        {
            // Another subscriber's letter about the same event is another letter.
            var left = _deadLetters.Where(each => each.Subscriber != subscriber || each.Id != id).ToList();
            var found = left.Count < _deadLetters.Count;
            _deadLetters.Clear();
            left.ForEach(_deadLetters.Enqueue);
            return ValueTask.FromResult(found);
        }
    }

    /// <summary>Begins to deliver. Once only.</summary>
    public void Attach(IEnumerable<BusSubscription> subscriptions)
    {
        lock (_gate)
        {
            if (_pumps is not null)
            {
                throw new InvalidOperationException("The bus has its subscriptions already.");
            }

            var ordinals = new Dictionary<string, int>(StringComparer.Ordinal);
            _pumps = [.. subscriptions.Select(subscription => new Pump(subscription, Name(subscription), _limits.Capacity))];
            foreach (var pump in _pumps)
            {
                pump.LeftOver = _journal?.LeftOver(pump.Name) ?? [];
            }

            while (_early.TryDequeue(out var early))
            {
                var interested = Interested(early.Topic);
                var sequence = Keep(early, interested);
                interested.ForEach(pump => pump.Queue.Writer.TryWrite((sequence, early)));
            }

            foreach (var pump in _pumps)
            {
                pump.Running = Task.Run(() => RunAsync(pump));
            }

            // Stable across restarts as long as a service registers its subscriptions in the same order.
            string Name(BusSubscription subscription)
            {
                var name = $"{subscription.Subscriber}/{subscription.Topic}";
                ordinals[name] = ordinals.GetValueOrDefault(name) + 1;
                return $"{name}/{ordinals[name]}";
            }
        }
    }

    /// <inheritdoc/>
    public async ValueTask PublishAsync(string topic, string id, string type, ReadOnlyMemory<byte> data, CancellationToken cancellation)
    {
        ArgumentException.ThrowIfNullOrEmpty(topic);
        ArgumentException.ThrowIfNullOrEmpty(id);
        ArgumentException.ThrowIfNullOrEmpty(type);
        // The publisher may reuse its buffer as soon as this returns.
        var published = new BusEvent(topic, id, type, data.ToArray());
        List<Pump> pumps;
        lock (_gate)
        {
            if (_closed)
            {
                throw new PortUnavailableException("the bus has stopped");
            }

            if (_pumps is null)
            {
                if (_early.Count >= _limits.Capacity)
                {
                    throw new PortUnavailableException("the bus has not started and its queue is full");
                }

                _early.Enqueue(published);
                return;
            }

            pumps = Interested(topic);
        }

        var sequence = Keep(published, pumps);
        var full = false;
        foreach (var pump in pumps)
        {
            if (!pump.Queue.Writer.TryWrite((sequence, published)))
            {
                full |= !await TryWaitAsync(pump, (sequence, published), cancellation);
            }
        }

        if (full)
        {
            throw new PortUnavailableException($"a subscriber of {topic} does not keep up");
        }
    }

    /// <summary>Takes no more events, delivers what waits within the time given, and ends.</summary>
    public async Task StopAsync(CancellationToken deadline)
    {
        IReadOnlyList<Pump> pumps;
        lock (_gate)
        {
            _closed = true;
            pumps = _pumps ?? [];
        }

        foreach (var pump in pumps)
        {
            pump.Queue.Writer.TryComplete();
        }

        try
        {
            await Task.WhenAll(pumps.Select(pump => pump.Running)).WaitAsync(deadline);
        }
        catch (OperationCanceledException)
        {
            LogUndelivered(pumps.Sum(pump => pump.Queue.Reader.Count));
        }

        await _stopping.CancelAsync();
        await Task.WhenAll(pumps.Select(pump => pump.Running));
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        // A container disposes it once under each name that it is registered by.
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        await StopAsync(new CancellationToken(canceled: true));
        _stopping.Dispose();
    }

    private async ValueTask<bool> TryWaitAsync(Pump pump, (long? Sequence, BusEvent Event) published, CancellationToken cancellation)
    {
        using var timeout = new CancellationTokenSource(_limits.PublishTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellation);
        try
        {
            await pump.Queue.Writer.WriteAsync(published, either.Token);
            return true;
        }
        catch (ChannelClosedException)
        {
            return false;
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return false;
        }
    }

    private async Task RunAsync(Pump pump)
    {
        try
        {
            foreach (var (sequence, left) in pump.LeftOver)
            {
                await DeliverAsync(pump, sequence, left);
            }

            pump.LeftOver = [];
            await foreach (var (sequence, next) in pump.Queue.Reader.ReadAllAsync(_stopping.Token))
            {
                await DeliverAsync(pump, sequence, next);
            }
        }
        catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
        {
        }
    }

    private List<Pump> Interested(string topic) => [.. _pumps!.Where(pump => pump.Subscription.Topic == topic)];

    private long? Keep(BusEvent published, List<Pump> pumps)
        => _journal is { } journal && pumps.Count > 0 && journal.Topics.Contains(published.Topic) ? journal.Append(published, pumps.Select(pump => pump.Name)) : null;

    private async Task DeliverAsync(Pump pump, long? sequence, BusEvent next)
    {
        var subscription = pump.Subscription;
        var pause = _limits.FirstPause;
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await subscription.HandleAsync(next, _stopping.Token);
                if (sequence is { } kept)
                {
                    _journal!.Delivered(kept, pump.Name);
                }

                return;
            }
            catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
            {
                throw;
            }
#pragma warning disable CA1031 // whatever a handler throws means "deliver again"
            catch (Exception error)
#pragma warning restore CA1031
            {
                if (attempt >= _limits.Attempts)
                {
                    // In the journal it stays, for the next start to try again.
                    Bury(subscription, next, error);
                    return;
                }

                LogRetry(subscription.Subscriber, next.Type, next.Id, attempt, error.GetType().Name);
            }

            await Task.Delay(pause, _time, _stopping.Token);
            pause = pause * 2 < _limits.LongestPause ? pause * 2 : _limits.LongestPause;
        }
    }

    private void Bury(BusSubscription subscription, BusEvent dead, Exception error)
    {
        LogDead(error, subscription.Subscriber, dead.Type, dead.Id);
        lock (_gate)
        {
            _deadLetters.Enqueue(new DeadLetter(subscription.Subscriber, dead, error.GetType().Name, _time.GetUtcNow()));
            while (_deadLetters.Count > _limits.DeadLetters)
            {
                _deadLetters.Dequeue();
            }
        }
    }

    [LoggerMessage(1101, LogLevel.Warning, "{Subscriber} failed on {Type} {Id}, attempt {Attempt}: {Reason}; it is delivered again")]
    private partial void LogRetry(string subscriber, string type, string id, int attempt, string reason);

    [LoggerMessage(1102, LogLevel.Error, "{Subscriber} could not handle {Type} {Id}; it is a dead letter now")]
    private partial void LogDead(Exception error, string subscriber, string type, string id);

    [LoggerMessage(1103, LogLevel.Warning, "{Count} events were not delivered before the end")]
    private partial void LogUndelivered(int count);

    private sealed class Pump(BusSubscription subscription, string name, int capacity)
    {
        public BusSubscription Subscription { get; } = subscription;

        public string Name { get; } = name;

        public IReadOnlyList<(long Sequence, BusEvent Event)> LeftOver { get; set; } = [];

        public Channel<(long? Sequence, BusEvent Event)> Queue { get; } =
            Channel.CreateBounded<(long? Sequence, BusEvent Event)>(new BoundedChannelOptions(capacity) { SingleReader = true });

        public Task Running { get; set; } = Task.CompletedTask;
    }
}
