using System.Collections.Concurrent;
using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Platform.Tests;

[Trait("group", "unit")]
public sealed class InProcessEventBusTests
{
    private static readonly BusLimits Quick = new() { FirstPause = TimeSpan.FromMilliseconds(1), LongestPause = TimeSpan.FromMilliseconds(2), Attempts = 4 };
    private static readonly byte[] Data = "{}"u8.ToArray();

    [Fact]
    public async Task Every_subscription_of_the_topic_gets_the_event_and_no_other()
    {
        await using var bus = Bus(Quick);
        var (one, first) = Collector("recorder", Topics.Audit);
        var (two, second) = Collector("policy", Topics.Audit);
        var (three, other) = Collector("policy", Topics.Identity);
        bus.Attach([one, two, three]);
        await bus.PublishAsync(Topics.Audit, "1", "t", Data, default);
        await bus.StopAsync(default);
        Assert.Equal(["1"], first.Select(e => e.Id));
        Assert.Equal(["1"], second.Select(e => e.Id));
        Assert.Empty(other);
    }

    [Fact]
    public async Task Two_subscribers_letters_of_one_event_are_two()
    {
        await using var bus = Bus(Quick);
        var broken = true;
        var handled = new List<string>();
        BusSubscription Failing(string subscriber) => new(subscriber, "t", (_, _) =>
        {
            if (broken)
            {
                throw new InvalidOperationException();
            }

            handled.Add(subscriber);
            return ValueTask.CompletedTask;
        });
        bus.Attach([Failing("identity"), Failing("policy")]);
        await bus.PublishAsync("t", "1", "x", Data, default);
        await bus.StopAsync(default);
        Assert.Equal(2, bus.DeadLetters.Count);
        broken = false;
        Assert.Null(await bus.ReplayAsync("policy", "t:1", default));
        Assert.Equal(["policy"], handled);
        Assert.Equal("identity", Assert.Single(bus.DeadLetters).Subscriber);
        Assert.False(await bus.DiscardAsync("policy", "t:1", default));
        Assert.NotNull(await bus.FindAsync("identity", "t:1", default));
    }

    [Fact]
    public async Task A_failing_handler_is_asked_again_until_it_succeeds()
    {
        await using var bus = Bus(Quick);
        var attempts = 0;
        var done = new TaskCompletionSource();
        bus.Attach([new BusSubscription("a", "t", (_, _) =>
        {
            if (++attempts < 3)
            {
                throw new InvalidOperationException();
            }

            done.SetResult();
            return ValueTask.CompletedTask;
        })]);
        await bus.PublishAsync("t", "1", "t", Data, default);
        await done.Task.WaitAsync(TimeSpan.FromSeconds(30));
        await bus.StopAsync(default);
        Assert.Equal(3, attempts);
        Assert.Empty(bus.DeadLetters);
    }

    [Fact]
    public async Task After_the_last_attempt_it_is_a_dead_letter_and_the_next_event_is_delivered()
    {
        await using var bus = Bus(Quick);
        var attempts = 0;
        var later = new TaskCompletionSource();
        bus.Attach([new BusSubscription("a", "t", (e, _) =>
        {
            if (e.Id == "bad")
            {
                attempts++;
                throw new InvalidOperationException("secret words");
            }

            later.SetResult();
            return ValueTask.CompletedTask;
        })]);
        await bus.PublishAsync("t", "bad", "t", Data, default);
        await bus.PublishAsync("t", "good", "t", Data, default);
        await later.Task.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(Quick.Attempts, attempts);
        var letter = Assert.Single(bus.DeadLetters);
        Assert.Equal(("a", "bad", nameof(InvalidOperationException)), (letter.Subscriber, letter.Event.Id, letter.Reason));
    }

    [Fact]
    public async Task The_same_id_published_twice_is_delivered_twice_since_handlers_are_idempotent()
    {
        await using var bus = Bus(Quick);
        var (subscription, seen) = Collector("a", "t");
        bus.Attach([subscription]);
        await bus.PublishAsync("t", "1", "t", Data, default);
        await bus.PublishAsync("t", "1", "t", Data, default);
        await bus.StopAsync(default);
        Assert.Equal(["1", "1"], seen.Select(e => e.Id));
    }

    [Fact]
    public async Task A_publisher_is_told_in_time_that_a_full_subscription_did_not_take_it()
    {
        await using var bus = Bus(Quick with { Capacity = 1, PublishTimeout = TimeSpan.FromMilliseconds(20) });
        var entered = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        var (open, seen) = Collector("b", "t");
        bus.Attach([new BusSubscription("a", "t", async (_, _) =>
        {
            entered.TrySetResult();
            await release.Task;
        }), open]);
        await bus.PublishAsync("t", "1", "t", Data, default);
        await entered.Task;
        await bus.PublishAsync("t", "2", "t", Data, default);
        await Assert.ThrowsAsync<PortUnavailableException>(async () => await bus.PublishAsync("t", "3", "t", Data, default));
        release.SetResult();
        await bus.StopAsync(default);
        // The one that keeps up isn't punished for the other.
        Assert.Equal(["1", "2", "3"], seen.Select(e => e.Id));
    }

    [Fact]
    public async Task Events_published_before_the_start_wait_for_it()
    {
        await using var bus = Bus(Quick);
        await bus.PublishAsync("t", "early", "t", Data, default);
        var (subscription, seen) = Collector("a", "t");
        bus.Attach([subscription]);
        await bus.StopAsync(default);
        Assert.Equal(["early"], seen.Select(e => e.Id));
        await Assert.ThrowsAsync<PortUnavailableException>(async () => await bus.PublishAsync("t", "late", "t", Data, default));
    }

    [Fact]
    public async Task Ending_does_not_wait_for_a_handler_that_hangs()
    {
        var bus = Bus(Quick);
        var entered = new TaskCompletionSource();
        bus.Attach([new BusSubscription("a", "t", async (_, cancellation) =>
        {
            entered.SetResult();
            await Task.Delay(Timeout.Infinite, cancellation);
        })]);
        await bus.PublishAsync("t", "1", "t", Data, default);
        await entered.Task;
        await bus.StopAsync(new CancellationToken(canceled: true)).WaitAsync(TimeSpan.FromSeconds(30));
        await bus.DisposeAsync();
        await bus.DisposeAsync();
    }

    [Fact]
    public async Task The_publishers_buffer_may_be_reused()
    {
        await using var bus = Bus(Quick);
        var (subscription, seen) = Collector("a", "t");
        bus.Attach([subscription]);
        var buffer = "one"u8.ToArray();
        await bus.PublishAsync("t", "1", "t", buffer, default);
        buffer[0] = (byte)'X';
        await bus.StopAsync(default);
        Assert.Equal("one"u8.ToArray(), seen.Single().Data.ToArray());
    }

    [Fact]
    public async Task What_was_not_handled_when_the_process_ended_is_delivered_by_the_next_one_and_only_to_who_lacks_it()
    {
        using var directory = new TemporaryDirectory();
        var (good, seen) = Collector("a", "kept");
        using (var journal = new EventJournal(directory.File("bus.db"), "kept"))
        {
            var bus = new InProcessEventBus(Quick, TimeProvider.System, NullLogger<InProcessEventBus>.Instance, journal);
            bus.Attach([good, new BusSubscription("b", "kept", (_, _) => throw new InvalidOperationException()), Collector("b", "other").Subscription]);
            await bus.PublishAsync("kept", "1", "t", Data, default);
            await bus.PublishAsync("other", "2", "t", Data, default);
            await bus.StopAsync(default);
            await bus.DisposeAsync();
        }

        Assert.Equal(["1"], seen.Select(e => e.Id));
        using (var journal = new EventJournal(directory.File("bus.db"), "kept"))
        {
            await using var bus = new InProcessEventBus(Quick, TimeProvider.System, NullLogger<InProcessEventBus>.Instance, journal);
            var (b, later) = Collector("b", "kept");
            bus.Attach([good, b]);
            await bus.StopAsync(default);
            Assert.Equal("1", Assert.Single(later).Id);
            Assert.Equal(Data, later.Single().Data.ToArray());
        }

        Assert.Equal(["1"], seen.Select(e => e.Id));
        using (var journal = new EventJournal(directory.File("bus.db"), "kept"))
        {
            await using var bus = new InProcessEventBus(Quick, TimeProvider.System, NullLogger<InProcessEventBus>.Instance, journal);
            var (b, again) = Collector("b", "kept");
            bus.Attach([b]);
            await bus.StopAsync(default);
            Assert.Empty(again);
        }
    }

    private static InProcessEventBus Bus(BusLimits limits) => new(limits, TimeProvider.System, NullLogger<InProcessEventBus>.Instance);

    private static (BusSubscription Subscription, ConcurrentQueue<BusEvent> Seen) Collector(string subscriber, string topic)
    {
        var seen = new ConcurrentQueue<BusEvent>();
        return (new BusSubscription(subscriber, topic, (e, _) =>
        {
            seen.Enqueue(e);
            return ValueTask.CompletedTask;
        }), seen);
    }
}
