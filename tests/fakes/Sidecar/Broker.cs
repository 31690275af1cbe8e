using System.Collections.Concurrent;
using System.Text.Json;
using System.Threading.Channels;

namespace Countersign.Fakes.Sidecar;

/// <summary>What an app said to an event.</summary>
internal enum Outcome
{
    Acknowledged,
    Retry,
    Dropped,
}

/// <summary>An event in the broker.</summary>
/// <param name="Key">Unique a group and delivery.</param>
/// <param name="Envelope">CloudEvents, structured JSON.</param>
internal sealed record Message(string Key, string Topic, byte[] Envelope);

/// <summary>A subscription of one app instance.</summary>
internal interface ISubscriber
{
    string? DeadLetterTopic { get; }

    /// <summary>Most events of one delivery; 1 where the app did not ask for bulk.</summary>
    int MaxMessages { get; }

    Task<IReadOnlyList<Outcome>> DeliverAsync(IReadOnlyList<Message> messages, CancellationToken cancellation);
}

/// <summary>
/// A broker like Redis streams: consumer groups, each of which gets every event of its topic, at least once, ten at a time and so in no order. A
/// new group begins with what the topic still has.
/// </summary>
internal sealed class Broker : IAsyncDisposable
{
    private const int Concurrency = 10;
    private const int Retained = 1000;
    private const string GroupKind = "group";
    private const string MessageKind = "message";
    private readonly PlaneOptions _options;
    private readonly Journal _journal;
    private readonly Random _dice;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Group> _groups = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Queue<byte[]>> _topics = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<Task, bool> _running = [];

    public Broker(PlaneOptions options, Journal journal)
    {
        _options = options;
        _journal = journal;
        _dice = new Random(options.Faults.Seed);
        foreach (var (name, topic) in journal.Of(GroupKind))
        {
            Open(name, System.Text.Encoding.UTF8.GetString(topic), durable: true);
        }

        foreach (var (_, value) in journal.Of(MessageKind))
        {
            var kept = JsonSerializer.Deserialize<Kept>(value)!;
            if (_groups.TryGetValue(kept.Group, out var group))
            {
                group.Queue.Writer.TryWrite(kept.Message);
            }
        }
    }

    private sealed record Kept(string Group, Message Message);

    /// <summary>How many events groups still have to acknowledge.</summary>
    public int Pending => _groups.Values.Sum(group => group.Pending.Count);

    public void Publish(string topic, byte[] envelope)
    {
        if (_options.Faults.Down)
        {
            throw new IOException("the broker is down");
        }

        lock (_gate)
        {
            var log = _topics.TryGetValue(topic, out var known) ? known : _topics[topic] = new Queue<byte[]>();
            log.Enqueue(envelope);
            while (log.Count > Retained)
            {
                log.Dequeue();
            }

            foreach (var group in _groups.Values.Where(group => group.Topic == topic))
            {
                Enqueue(group, envelope);
            }
        }
    }

    /// <summary>Joins a group, which is made where there is none.</summary>
    public void Join(string groupName, string topic, bool durable, ISubscriber subscriber)
    {
        lock (_gate)
        {
            var name = $"{groupName}/{topic}";
            if (!_groups.TryGetValue(name, out var group))
            {
                group = Open(name, topic, durable);
                foreach (var envelope in _topics.TryGetValue(topic, out var log) ? log : [])
                {
                    Enqueue(group, envelope);
                }
            }

            group.Join(subscriber);
        }
    }

    /// <summary>Leaves all groups.</summary>
    public void Leave(IReadOnlyCollection<ISubscriber> subscribers)
    {
        lock (_gate)
        {
            foreach (var group in _groups.Values.ToList())
            {
                group.Leave(subscribers);
                if (!group.Durable && group.IsEmpty)
                {
                    group.Ended.Cancel();
                    _groups.Remove(group.Name);
                }
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        await Task.WhenAll(_running.Keys.ToList());
        _stopping.Dispose();
    }

    private Group Open(string name, string topic, bool durable)
    {
        var group = new Group(name, topic, durable);
        _groups.Add(name, group);
        if (durable)
        {
            _journal.Put(GroupKind, name, System.Text.Encoding.UTF8.GetBytes(topic));
        }

        for (var i = 0; i < Concurrency; i++)
        {
            Run(() => WorkAsync(group));
        }

        return group;
    }

    private void Enqueue(Group group, byte[] envelope)
    {
        var faults = _options.Faults;
        var copies = _dice.NextDouble() < faults.Duplicate ? 2 : 1;
        for (var i = 0; i < copies; i++)
        {
            var message = new Message(Guid.NewGuid().ToString("N"), group.Topic, envelope);
            group.Pending[message.Key] = true;
            if (group.Durable)
            {
                _journal.Put(MessageKind, message.Key, JsonSerializer.SerializeToUtf8Bytes(new Kept(group.Name, message)));
            }

            if (_dice.NextDouble() < faults.Delay)
            {
                Later(group, message, faults.LongestDelay * _dice.NextDouble());
            }
            else
            {
                group.Queue.Writer.TryWrite(message);
            }
        }
    }

    private void Later(Group group, Message message, TimeSpan pause) => Run(async () =>
    {
        await Task.Delay(pause, _stopping.Token);
        group.Queue.Writer.TryWrite(message);
    });

    private async Task WorkAsync(Group group)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token, group.Ended.Token);
        await foreach (var first in group.Queue.Reader.ReadAllAsync(ended.Token))
        {
            var subscriber = await group.NextAsync(ended.Token);
            var batch = new List<Message> { first };
            while (batch.Count < subscriber.MaxMessages && group.Queue.Reader.TryRead(out var more))
            {
                batch.Add(more);
            }

            while (_options.Faults.Down)
            {
                await Task.Delay(_options.ProbeInterval, ended.Token);
            }

            var outcomes = await TryDeliverAsync(subscriber, batch, ended.Token);
            for (var i = 0; i < batch.Count; i++)
            {
                await SettleAsync(group, batch[i], subscriber, outcomes[i], ended.Token);
            }
        }
    }

    private async Task SettleAsync(Group group, Message message, ISubscriber subscriber, Outcome outcome, CancellationToken cancellation)
    {
        for (var retries = 0; outcome == Outcome.Retry; retries++)
        {
            if (_options.Inbound is not { } policy || (policy.MaxRetries >= 0 && retries >= policy.MaxRetries))
            {
                break;
            }

            await Task.Delay(policy.Pause, cancellation);
            subscriber = await group.NextAsync(cancellation);
            outcome = (await TryDeliverAsync(subscriber, [message], cancellation))[0];
        }

        if (_options.Faults.Down && outcome != Outcome.Acknowledged)
        {
            // It can't be put anywhere else now either.
            Later(group, message, _options.Redelivery);
            return;
        }

        if (outcome != Outcome.Acknowledged && subscriber.DeadLetterTopic is { } dead)
        {
            Publish(dead, message.Envelope);
        }
        else if (outcome == Outcome.Retry)
        {
            Later(group, message, _options.Redelivery);
            return;
        }

        group.Pending.TryRemove(message.Key, out _);
        _journal.Remove(MessageKind, message.Key);
    }

    private static async Task<IReadOnlyList<Outcome>> TryDeliverAsync(ISubscriber subscriber, IReadOnlyList<Message> messages, CancellationToken cancellation)
    {
        try
        {
            return await subscriber.DeliverAsync(messages, cancellation);
        }
        catch (Exception error) when (error is HttpRequestException or IOException or ObjectDisposedException or JsonException or TaskCanceledException && !cancellation.IsCancellationRequested)
        {
            return [.. messages.Select(_ => Outcome.Retry)];
        }
    }

    private void Run(Func<Task> work)
    {
        var task = Task.Run(async () =>
        {
            try
            {
                await work();
            }
            catch (OperationCanceledException)
            {
            }
        });
        _running[task] = true;
        _ = task.ContinueWith(done => _running.TryRemove(done, out _), TaskScheduler.Default);
    }

    private sealed class Group(string name, string topic, bool durable)
    {
        private readonly Lock _gate = new();
        private readonly List<ISubscriber> _members = [];
        private TaskCompletionSource _joined = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _turn;

        public string Name { get; } = name;

        public string Topic { get; } = topic;

        public bool Durable { get; } = durable;

        public Channel<Message> Queue { get; } = Channel.CreateUnbounded<Message>();

        public ConcurrentDictionary<string, bool> Pending { get; } = new(StringComparer.Ordinal);

        public CancellationTokenSource Ended { get; } = new();

        public bool IsEmpty
        {
            get
            {
                lock (_gate)
                {
                    return _members.Count == 0;
                }
            }
        }

        public void Join(ISubscriber subscriber)
        {
            lock (_gate)
            {
                _members.Add(subscriber);
                _joined.TrySetResult();
            }
        }

        public void Leave(IReadOnlyCollection<ISubscriber> subscribers)
        {
            lock (_gate)
            {
                _members.RemoveAll(subscribers.Contains);
                if (_members.Count == 0 && _joined.Task.IsCompleted)
                {
                    _joined = new(TaskCreationOptions.RunContinuationsAsynchronously);
                }
            }
        }

        public async Task<ISubscriber> NextAsync(CancellationToken cancellation)
        {
            while (true)
            {
                Task joined;
                lock (_gate)
                {
                    if (_members.Count > 0)
                    {
                        return _members[(_turn++ & int.MaxValue) % _members.Count];
                    }

                    joined = _joined.Task;
                }

                await joined.WaitAsync(cancellation);
            }
        }
    }
}
