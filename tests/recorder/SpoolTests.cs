using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Recorder.Tests;

[Trait("group", "unit")]
public sealed class SpoolTests : IDisposable
{
    private readonly TestSigner _signer = new();
    private readonly byte[] _key = System.Security.Cryptography.RandomNumberGenerator.GetBytes(SpoolKey.KeySize);
    private readonly FaultyStorage _storage = new();

    public void Dispose() => _signer.Dispose();

    [Fact]
    public async Task A_session_reaches_the_recorder_whole_chained_and_sealed()
    {
        var transport = new CollectingTransport(_signer);
        await using var spool = Open(transport);
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        var receipt = recording.Append(Make.Operation(1, "SELECT 'ü'"), RecordLevel.Durable);
        await receipt.WaitAsync(default);
        Assert.True(receipt.IsDurable);
        recording.Complete(Make.Completion(1));
        recording.RecordGateway("catalog-columns");
        await recording.RecordHoldAsync(new HoldEntry(2, "apr_1", "d", "DELETE", "began"), default);
        await recording.EndAsync(new SessionEndEntry("client", 1, 10, 20), default);
        await recording.DisposeAsync();
        await transport.UntilAsync(collected => collected.IsComplete("ses_1"));
        var entries = transport.Sessions["ses_1"];
        Assert.Equal(
            [EntryType.SessionStart, EntryType.Operation, EntryType.Completion, EntryType.Gateway, EntryType.Hold, EntryType.SessionEnd],
            entries.Where(entry => entry.Type != EntryType.Seal).Select(entry => entry.Type));
        Assert.Contains("SELECT 'ü'", System.Text.Encoding.UTF8.GetString(entries.First(entry => entry.Type == EntryType.Operation).Payload.Span), StringComparison.Ordinal);
        Assert.Empty(transport.Refused);
        Assert.Equal(entries.Count, entries.Select(entry => entry.IdText).Distinct().Count());
    }

    [Fact]
    public async Task Nothing_of_a_payload_is_readable_on_the_disk()
    {
        await using var spool = Open(new CollectingTransport(_signer) { Away = true });
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        await recording.Append(Make.Operation(1, "SELECT 'a-secret-literal'"), RecordLevel.Durable).WaitAsync(default);
        foreach (var content in _storage.List().Select(_storage.Content))
        {
            Assert.Equal(-1, content.AsSpan().IndexOf("a-secret-literal"u8));
            Assert.Equal(-1, content.AsSpan().IndexOf("per_alice"u8));
        }
    }

    [Fact]
    public async Task A_proxy_lets_entries_gather_for_as_long_as_the_recorder_asks_but_not_those_that_somebody_waits_for()
    {
        var transport = new CollectingTransport(_signer) { GatherMilliseconds = int.MaxValue };
        await using var spool = Open(transport, options => options with { ShipInterval = TimeSpan.FromMilliseconds(1), SealInterval = TimeSpan.FromHours(1) });
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        await transport.UntilAsync(collected => collected.Batches == 1);
        for (var number = 1; number <= 50; number++)
        {
            await recording.Append(Make.Operation(number), RecordLevel.Durable).WaitAsync(default);
        }

        // The seal of the start may have come by itself.
        Assert.InRange(transport.Batches, 1, 2);
        await recording.Append(Make.Operation(51), RecordLevel.Acknowledged).WaitAsync(default);
        Assert.InRange(transport.Batches, 2, 4);
    }

    [Fact]
    public async Task A_buffered_receipt_is_complete_at_once_and_is_written_all_the_same()
    {
        var transport = new CollectingTransport(_signer);
        await using var spool = Open(transport);
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        _storage.Running.Reset();
        var receipt = recording.Append(Make.Operation(1), RecordLevel.Buffered);
        Assert.True(receipt.IsDurable);
        Assert.True(receipt.WaitAsync(default).AsTask().IsCompletedSuccessfully);
        _storage.Running.Set();
        await transport.UntilAsync(collected => collected.Sessions.TryGetValue("ses_1", out var entries) && entries.Exists(entry => entry.Type == EntryType.Operation));
    }

    [Fact]
    public async Task A_durable_receipt_waits_for_the_sync()
    {
        await using var spool = Open(new CollectingTransport(_signer));
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        _storage.Running.Reset();
        var receipt = recording.Append(Make.Operation(1), RecordLevel.Durable);
        var wait = receipt.WaitAsync(default).AsTask();
        using var cancelled = new CancellationTokenSource();
        var impatient = receipt.WaitAsync(cancelled.Token).AsTask();
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => impatient);
        Assert.False(receipt.IsDurable);
        Assert.False(wait.IsCompleted);
        _storage.Running.Set();
        await wait;
        Assert.True(receipt.IsDurable);
        await receipt.WaitAsync(default);
    }

    [Fact]
    public async Task One_sync_covers_all_that_run_beside_the_first_that_is_waited_for()
    {
        await using var spool = Open(new CollectingTransport(_signer), options => options with { LazyDelay = TimeSpan.FromMinutes(1) });
        var recordings = await SeveralAtOnceAsync(spool);
        _storage.Running.Reset();
        var receipts = recordings.Select(recording => recording.Append(Make.Operation(1000), RecordLevel.Durable)).ToList();
        var first = receipts[0].WaitAsync(default).AsTask();
        Assert.All(receipts, receipt => Assert.False(receipt.IsDurable));
        _storage.Running.Set();
        await first;
        Assert.All(receipts, receipt => Assert.True(receipt.IsDurable));
    }

    [Fact]
    public async Task What_is_not_waited_for_is_written_soon_all_the_same()
    {
        await using var spool = Open(new CollectingTransport(_signer));
        var recordings = await SeveralAtOnceAsync(spool);
        var receipts = recordings.Select(recording => recording.Append(Make.Operation(1000), RecordLevel.Durable)).ToList();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        while (!receipts.TrueForAll(receipt => receipt.IsDurable))
        {
            await Task.Delay(1, limit.Token);
        }
    }

    /// <summary>Sessions whose entries were waited for together, so that the writer expects more of them at once.</summary>
    private async Task<List<ISessionRecording>> SeveralAtOnceAsync(Spool spool)
    {
        var recordings = new List<ISessionRecording>();
        for (var number = 1; number <= 3; number++)
        {
            recordings.Add(await spool.OpenAsync($"ses_{number}", Make.Start(), default));
        }

        for (var operation = 1; spool.Writer.IsEager; operation++)
        {
            _storage.Running.Reset();
            var waits = recordings.Select(recording => recording.Append(Make.Operation(operation), RecordLevel.Durable).WaitAsync(default).AsTask()).ToList();
            _storage.Running.Set();
            await Task.WhenAll(waits);
        }

        return recordings;
    }

    [Fact]
    public async Task An_acknowledged_receipt_waits_for_the_recorder()
    {
        var transport = new CollectingTransport(_signer) { Away = true };
        await using var spool = Open(transport);
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        var receipt = recording.Append(Make.Operation(1, decision: "approved"), RecordLevel.Acknowledged);
        await recording.Append(Make.Operation(2), RecordLevel.Durable).WaitAsync(default);
        Assert.False(receipt.IsDurable);
        transport.Away = false;
        await receipt.WaitAsync(default);
        Assert.True(receipt.IsDurable);
        Assert.Contains(transport.Sessions["ses_1"], entry => entry.Sequence == receipt.Sequence);
    }

    [Fact]
    public async Task Without_the_recorder_an_acknowledged_receipt_fails_in_time()
    {
        await using var spool = Open(new CollectingTransport(_signer) { Away = true }, options => options with { AcknowledgeTimeout = TimeSpan.FromMilliseconds(50) });
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        var receipt = recording.Append(Make.Operation(1), RecordLevel.Acknowledged);
        await Assert.ThrowsAsync<RecordingFailedException>(async () => await receipt.WaitAsync(default));
    }

    [Fact]
    public async Task An_answer_that_gets_lost_makes_no_entry_twice()
    {
        var transport = new CollectingTransport(_signer) { LoseAnswers = 3 };
        await using var spool = Open(transport);
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        for (var operation = 1; operation <= 20; operation++)
        {
            await recording.Append(Make.Operation(operation), RecordLevel.Acknowledged).WaitAsync(default);
        }

        await recording.EndAsync(new SessionEndEntry("client", 20, 0, 0), default);
        await transport.UntilAsync(collected => collected.IsComplete("ses_1"));
        Assert.Equal(20, transport.Sessions["ses_1"].Count(entry => entry.Type == EntryType.Operation));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task When_the_disk_fails_every_wait_fails_and_every_session_ends(bool write)
    {
        await using var spool = Open(new CollectingTransport(_signer));
        var one = await spool.OpenAsync("ses_1", Make.Start(), default);
        var two = await spool.OpenAsync("ses_2", Make.Start(), default);
        _storage.Running.Reset();
        var first = one.Append(Make.Operation(1), RecordLevel.Durable).WaitAsync(default).AsTask();
        var second = two.Append(Make.Operation(1), RecordLevel.Durable).WaitAsync(default).AsTask();
        if (write)
        {
            _storage.FailWriteAfter = 0;
        }
        else
        {
            _storage.FailSyncAfter = 0;
        }

        _storage.Running.Set();
        await Assert.ThrowsAsync<RecordingFailedException>(() => first);
        await Assert.ThrowsAsync<RecordingFailedException>(() => second);
        await SignalledAsync(one.Failed);
        await SignalledAsync(two.Failed);
        Assert.Throws<RecordingFailedException>(() => one.Append(Make.Operation(2), RecordLevel.Buffered));
        await Assert.ThrowsAsync<RecordingFailedException>(async () => await spool.OpenAsync("ses_3", Make.Start(), default));
        Assert.NotNull(spool.Problem);
    }

    [Fact]
    public async Task A_full_disk_ends_sessions_but_their_ends_are_still_recorded()
    {
        var transport = new CollectingTransport(_signer) { Away = true };
        await using var spool = Open(transport, options => options with { MaxBytes = 3 * options.SegmentBytes });
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        long operations = 0;
        var full = await Assert.ThrowsAsync<RecordingFailedException>(async () =>
        {
            while (operations < 100_000)
            {
                var receipt = recording.Append(Make.Operation(++operations, new string('x', 2000)), RecordLevel.Durable);
                await receipt.WaitAsync(default);
                recording.Complete(Make.Completion(operations));
            }
        });
        Assert.StartsWith("The spool is full", full.Message, StringComparison.Ordinal);
        Assert.True(spool.DiskBytes <= 3 * 256 * 1024);
        await SignalledAsync(recording.Failed);
        await recording.EndAsync(new SessionEndEntry("record-failed", operations - 1, 0, 0), default);
        await Assert.ThrowsAsync<RecordingFailedException>(async () => await spool.OpenAsync("ses_2", Make.Start(), default));
        transport.Away = false;
        await transport.UntilAsync(collected => collected.IsComplete("ses_1"));
        Assert.Equal(operations - 1, transport.Sessions["ses_1"].Count(entry => entry.Type == EntryType.Operation));

        // What the recorder has is deleted, and there is room again.
        await transport.UntilAsync(_ => spool.Problem is null);
        await spool.OpenAsync("ses_3", Make.Start(), default);
    }

    [Fact]
    public async Task A_full_spool_opens_again_however_often_and_empties_itself()
    {
        var transport = new CollectingTransport(_signer) { Away = true };
        SpoolOptions Small(SpoolOptions options) => options with { MaxBytes = 3 * options.SegmentBytes };
        long operations = 0;
        await using (var spool = Open(transport, Small))
        {
            var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
            await Assert.ThrowsAsync<RecordingFailedException>(async () =>
            {
                while (operations < 100_000)
                {
                    await recording.Append(Make.Operation(++operations, new string('x', 2000)), RecordLevel.Durable).WaitAsync(default);
                }
            });
        }

        for (var start = 0; start < 5; start++)
        {
            await using var spool = Open(transport, Small);
            Assert.NotNull(spool.Problem);
            Assert.True(spool.DiskBytes <= 4 * 256 * 1024 + 64 * 1024, $"{spool.DiskBytes} bytes");
        }

        await using var last = Open(transport, Small);
        transport.Away = false;
        await transport.UntilAsync(collected => collected.IsComplete("ses_1"));
        await transport.UntilAsync(_ => last.Problem is null);
        await last.OpenAsync("ses_2", Make.Start(), default);
        Assert.Equal(operations - 1, transport.Sessions["ses_1"].Count(entry => entry.Type == EntryType.Operation));
    }

    [Fact]
    public async Task Segments_are_deleted_only_when_the_recorder_has_all_of_them()
    {
        var transport = new CollectingTransport(_signer) { Away = true };
        await using var spool = Open(transport);
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        for (var operation = 1; operation <= 400; operation++)
        {
            await recording.Append(Make.Operation(operation, new string('y', 2000)), RecordLevel.Durable).WaitAsync(default);
        }

        var before = Segments();
        Assert.True(before.Count >= 3);
        transport.Away = false;
        await transport.UntilAsync(_ => Segments().Count == 1);
        Assert.Equal(400, transport.Sessions["ses_1"].Count(entry => entry.Type == EntryType.Operation));
        Assert.DoesNotContain(before[0], Segments());
    }

    [Fact]
    public async Task A_session_that_the_recorder_refuses_ends_and_its_entries_are_kept()
    {
        using var other = new TestSigner();
        var transport = new CollectingTransport(other);
        await using var spool = Open(transport);
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        await SignalledAsync(recording.Failed);
        Assert.Contains("not good", transport.Refused["ses_1"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Hundreds_of_sessions_share_few_syncs()
    {
        var transport = new CollectingTransport(_signer);
        await using var spool = Open(transport, options => options with { SegmentBytes = 4 * 1024 * 1024, InlineWakes = 4 });
        var recordings = await Task.WhenAll(Enumerable.Range(0, 300).Select(async number => await spool.OpenAsync($"ses_{number}", Make.Start(), default)));
        _storage.Running.Reset();
        var waits = recordings.Select(recording => recording.Append(Make.Operation(1), RecordLevel.Durable).WaitAsync(default).AsTask()).ToArray();
        var syncs = _storage.Syncs;
        _storage.Running.Set();
        await Task.WhenAll(waits);
        Assert.InRange(_storage.Syncs - syncs, 1, 30);
    }

    [Fact]
    public async Task Damage_of_what_was_durable_stops_the_start()
    {
        await using (var spool = Open(new CollectingTransport(_signer) { Away = true }))
        {
            var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
            for (var operation = 1; operation <= 5; operation++)
            {
                await recording.Append(Make.Operation(operation), RecordLevel.Durable).WaitAsync(default);
            }
        }

        // The second batch behind the segment's prologue: many follow it, so it was durable once.
        _storage.Flip(Segments()[0], 512 + 512 + 100);
        Assert.Throws<SpoolDamagedException>(() => Open(new CollectingTransport(_signer)));
    }

    [Fact]
    public async Task An_entry_too_large_to_be_recorded_is_refused()
    {
        await using var spool = Open(new CollectingTransport(_signer));
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        Assert.Throws<RecordingFailedException>(() => recording.Append(Make.Operation(1, new string('z', Entry.MaxPayload + 1)), RecordLevel.Durable));
    }

    private static async Task SignalledAsync(CancellationToken token)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var registration = token.Register(() => done.TrySetResult());
        await done.Task.WaitAsync(TimeSpan.FromSeconds(60), CancellationToken.None);
    }

    private List<string> Segments() => [.. _storage.List().Where(name => name.EndsWith(".seg", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];

    [Fact]
    public async Task A_drain_that_is_asked_for_behind_a_look_at_the_disk_waits_for_what_was_written_meanwhile()
    {
        var transport = new CollectingTransport(_signer);
        using var clock = new ShipperClock();
        await using var spool = Open(transport, clock: clock);

        // The shipper has looked, and there was nothing.
        Assert.True(clock.Reached.Wait(TimeSpan.FromSeconds(30)));
        var recording = await spool.OpenAsync("ses_1", Make.Start(), default);
        await recording.Append(Make.Operation(1), RecordLevel.Durable).WaitAsync(default);
        await recording.EndAsync(new SessionEndEntry("client", 1, 1, 2), default);
        await recording.DisposeAsync();
        var drained = spool.DrainAsync(TimeSpan.FromMinutes(1));
        clock.Running.Set();
        await drained;
        Assert.True(transport.IsComplete("ses_1"));
    }

    private Spool Open(IEntryTransport transport, Func<SpoolOptions, SpoolOptions>? change = null, TimeProvider? clock = null) =>
        Spool.Open((change ?? (options => options))(Options), _storage, SpoolKey.Of([.. _key]), _signer, transport, clock ?? TimeProvider.System, NullLogger.Instance);

    /// <summary>Stops the shipper between its look at the disk and what it does about it.</summary>
    private sealed class ShipperClock : TimeProvider, IDisposable
    {
        public ManualResetEventSlim Reached { get; } = new();

        public ManualResetEventSlim Running { get; } = new();

        public override long GetTimestamp()
        {
            if (!Running.IsSet && new System.Diagnostics.StackTrace().ToString().Contains("SpoolShipper.Seal()", StringComparison.Ordinal))
            {
                Reached.Set();
                Running.Wait(TimeSpan.FromMinutes(1));
            }

            return base.GetTimestamp();
        }

        public void Dispose()
        {
            Running.Set();
            Reached.Dispose();
            Running.Dispose();
        }
    }

    internal static SpoolOptions Options => new()
    {
        Directory = "",
        Proxy = "proxy-1",
        SegmentBytes = 256 * 1024,
        ShipInterval = TimeSpan.FromMilliseconds(5),
        SealInterval = TimeSpan.FromMilliseconds(20),
        LazyDelay = TimeSpan.FromMilliseconds(2),
        FirstPause = TimeSpan.FromMilliseconds(2),
        LongestPause = TimeSpan.FromMilliseconds(20),
    };
}
