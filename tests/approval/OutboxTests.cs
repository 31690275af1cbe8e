using System.Runtime.CompilerServices;
using Countersign.Approval.Notify;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Tests;

/// <summary>Messages that wait: one sender each, none lost, none for ever.</summary>
[Trait("group", "unit")]
public sealed class OutboxTests : IDisposable
{
    private readonly List<NotificationOutbox> _outboxes = [];
    private readonly MemoryStore _store = new();
    private readonly ShiftedClock _clock = new();

    [Fact]
    public async Task Of_two_replicas_one_sends_and_the_other_takes_over_when_it_died()
    {
        var (one, other) = (Outbox(), Outbox());
        Assert.True(await one.EnqueueAsync("m", "t", null, Some, default));
        var leases = await Task.WhenAll(one.LeaseAsync("m", default).AsTask(), other.LeaseAsync("m", default).AsTask());
        var winner = Assert.Single(leases, lease => lease is not null)!;
        Assert.Empty(await one.DueAsync(default));

        _clock.Shift += TimeSpan.FromSeconds(61);
        var (loser, late) = leases[0] is null ? (one, other) : (other, one);
        Assert.NotNull(await loser.LeaseAsync("m", default));
        // Whose lease ran out decides nothing any more.
        Assert.False(await late.BuryAsync(winner, "late", default));
        await late.AgainAsync(winner, _clock.GetUtcNow().AddHours(1), "late", default);
        Assert.Empty(await one.DeadAsync(default));
        _clock.Shift += TimeSpan.FromSeconds(61);
        Assert.Equal(0, Assert.Single(await one.DueAsync(default)).Attempts);
    }

    [Fact]
    public async Task What_was_sent_or_waits_or_is_dead_is_not_taken_twice()
    {
        var outbox = Outbox();
        await outbox.EnqueueAsync("m", "t", null, Some, default);
        await outbox.EnqueueAsync("m", "t", null, Some, default);
        Assert.Single(await outbox.DueAsync(default));
        await outbox.DoneAsync((await outbox.LeaseAsync("m", default))!, default);
        await outbox.EnqueueAsync("m", "t", null, Some, default);
        Assert.Empty(await outbox.DueAsync(default));

        await outbox.EnqueueAsync("d", "t", null, Some, default);
        Assert.True(await outbox.BuryAsync((await outbox.LeaseAsync("d", default))!, "why", default));
        await outbox.EnqueueAsync("d", "t", null, Some, default);
        Assert.Empty(await outbox.DueAsync(default));
        var dead = Assert.Single(await outbox.DeadAsync(default));
        Assert.Equal(("why", 1), (dead.Error, dead.Attempts));

        Assert.Null(await outbox.RetryAsync("m", default));
        Assert.NotNull(await outbox.RetryAsync("d", default));
        Assert.Empty(await outbox.DeadAsync(default));
        Assert.Equal("d", Assert.Single(await outbox.DueAsync(default)).Id);

        _clock.Shift += TimeSpan.FromHours(25);
        await outbox.SweepAsync(default);
        Assert.Equal(0, _store.Count(NotificationOutbox.Sent));
    }

    [Fact]
    public async Task No_more_wait_or_are_kept_than_may()
    {
        var outbox = Outbox();
        for (var number = 0; number < 10; number++)
        {
            Assert.True(await outbox.EnqueueAsync($"m{number}", "t", null, Some, default));
        }

        Assert.False(await outbox.EnqueueAsync("m10", "t", null, Some, default));
        Assert.True(await outbox.EnqueueAsync("m3", "t", null, Some, default));
        foreach (var message in await outbox.DueAsync(default))
        {
            _clock.Shift += TimeSpan.FromSeconds(1);
            await outbox.BuryAsync((await outbox.LeaseAsync(message.Id, default))!, "why", default);
        }

        Assert.True(await outbox.EnqueueAsync("m10", "t", null, Some, default));
        await outbox.BuryAsync((await outbox.LeaseAsync("m10", default))!, "why", default);
        Assert.Equal(1, await outbox.SweepAsync(default));
        Assert.Equal(10, (await outbox.DeadAsync(default)).Count);
        Assert.Equal("m10", (await outbox.DeadAsync(default))[0].Id);
    }

    public void Dispose() => _outboxes.ForEach(outbox => outbox.Dispose());

    private NotificationOutbox Outbox()
    {
        var outbox = new NotificationOutbox(_store, _clock, 10);
        _outboxes.Add(outbox);
        return outbox;
    }

    private static Notification Some => Sample.Notification;

    private sealed class MemoryStore : IStateStore
    {
        private readonly Lock _gate = new();
        private readonly SortedDictionary<string, (byte[] Value, string ETag)> _items = new(StringComparer.Ordinal);
        private int _version;

        public int Count(string collection)
        {
            lock (_gate)
            {
                return _items.Keys.Count(key => key.StartsWith(collection + "/", StringComparison.Ordinal));
            }
        }

        public ValueTask<StateItem?> GetAsync(string collection, string key, CancellationToken cancellation)
        {
            lock (_gate)
            {
                return ValueTask.FromResult(_items.TryGetValue($"{collection}/{key}", out var item) ? new StateItem(key, item.Value, item.ETag) : null);
            }
        }

        public ValueTask<bool> TrySaveAsync(string collection, string key, ReadOnlyMemory<byte> value, string? etag, CancellationToken cancellation)
        {
            lock (_gate)
            {
                var known = _items.TryGetValue($"{collection}/{key}", out var item) ? item.ETag : null;
                if (known == etag)
                {
                    _items[$"{collection}/{key}"] = (value.ToArray(), $"{++_version}");
                }

                return ValueTask.FromResult(known == etag);
            }
        }

        public ValueTask<bool> TryDeleteAsync(string collection, string key, string etag, CancellationToken cancellation)
        {
            lock (_gate)
            {
                return ValueTask.FromResult(
                    _items.TryGetValue($"{collection}/{key}", out var item) && item.ETag == etag && _items.Remove($"{collection}/{key}"));
            }
        }

        public ValueTask<IReadOnlyList<StateItem>> ReadChangesAsync(string collection, string? after, int limit, CancellationToken cancellation) => throw new NotSupportedException();

        public async IAsyncEnumerable<StateItem> ListAsync(string collection, [EnumeratorCancellation] CancellationToken cancellation)
        {
            List<StateItem> items;
            lock (_gate)
            {
                var prefix = collection + "/";
                items = [.. _items.Where(item => item.Key.StartsWith(prefix, StringComparison.Ordinal)).Select(item => new StateItem(item.Key[prefix.Length..], item.Value.Value, item.Value.ETag))];
            }

            await Task.CompletedTask;
            foreach (var item in items)
            {
                yield return item;
            }
        }
    }
}
