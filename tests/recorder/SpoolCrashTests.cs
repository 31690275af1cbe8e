using CsCheck;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Recorder.Tests;

/// <summary>The power is cut at any moment: what was acknowledged is there, in order, and what is there is a prefix of what was written.</summary>
[Trait("group", "unit")]
public sealed class SpoolCrashTests
{
    [Fact]
    public void After_any_crash_nothing_acknowledged_is_lost_and_every_session_is_ended_and_sealed() =>
        Gen.Select(Gen.Int[0, int.MaxValue - 1], Gen.Int[1, 5], Gen.Int[1, 120], Gen.Int[0, 2]).Sample(
            (seed, sessions, steps, crashes) => RunAsync(new Random(seed), sessions, steps, crashes).GetAwaiter().GetResult(), iter: 60, threads: 2);

    private static async Task RunAsync(Random random, int sessions, int steps, int moreCrashes)
    {
        using var signer = new TestSigner();
        var key = System.Security.Cryptography.RandomNumberGenerator.GetBytes(SpoolKey.KeySize);
        var storage = new FaultyStorage();
        var written = new Dictionary<string, List<long>>(StringComparer.Ordinal);
        var durable = new Dictionary<string, long>(StringComparer.Ordinal);
        var completed = new HashSet<(string, long)>();
        var spool = Spool.Open(SpoolTests.Options, storage, SpoolKey.Of([.. key]), signer, new CollectingTransport(signer) { Away = true }, TimeProvider.System, NullLogger.Instance);
        var recordings = new List<(string Id, ISessionRecording Recording)>();
        for (var number = 0; number < sessions; number++)
        {
            var id = $"ses_{number}";
            recordings.Add((id, await spool.OpenAsync(id, Make.Start(), default)));
            written[id] = [];
            durable[id] = 1;
        }

        var pending = new List<(string Id, RecordReceipt Receipt)>();
        for (var step = 0; step < steps; step++)
        {
            var (id, recording) = recordings[random.Next(sessions)];
            var operation = written[id].Count + 1;
            var receipt = recording.Append(Make.Operation(operation, new string('q', random.Next(3000))), RecordLevel.Durable);
            written[id].Add(operation);
            pending.Add((id, receipt));
            if (random.Next(3) == 0)
            {
                recording.Complete(Make.Completion(operation));
                completed.Add((id, operation));
            }

            if (random.Next(4) == 0)
            {
                await receipt.WaitAsync(default);
            }
        }

        // In the middle of whatever the sync thread is doing: what it then still does is lost.
        foreach (var (id, receipt) in pending)
        {
            if (receipt.IsDurable)
            {
                durable[id] = Math.Max(durable[id], receipt.Sequence);
            }
        }

        var after = storage.Crash(random);
        await spool.DisposeAsync();
        for (var crash = 0; crash < moreCrashes; crash++)
        {
            // Healing can be cut off too.
            var healing = Spool.Open(SpoolTests.Options, after, SpoolKey.Of([.. key]), signer, new CollectingTransport(signer) { Away = true }, TimeProvider.System, NullLogger.Instance);
            var next = after.Crash(random);
            await healing.DisposeAsync();
            after = next;
        }

        var transport = new CollectingTransport(signer);
        await using var healed = Spool.Open(SpoolTests.Options, after, SpoolKey.Of([.. key]), signer, transport, TimeProvider.System, NullLogger.Instance);
        await transport.UntilAsync(collected => written.Keys.All(collected.IsComplete));
        Assert.Empty(transport.Refused);
        foreach (var (id, operations) in written)
        {
            var entries = transport.Sessions[id];
            Assert.True(entries[^1].Sequence >= durable[id]);
            var recorded = entries.Where(entry => entry.Type == EntryType.Operation).Select(Operation).ToList();
            Assert.Equal(operations.Take(recorded.Count), recorded);
            var outcomes = entries.Where(entry => entry.Type == EntryType.Completion)
                .Select(entry => System.Text.Json.JsonSerializer.Deserialize<CompletionEntry>(entry.Payload.Span, System.Text.Json.JsonSerializerOptions.Web)!).ToList();

            // Each recorded operation has exactly one outcome, and only those whose own was lost are unknown.
            Assert.Equal(recorded, outcomes.Select(outcome => outcome.Operation).Order());
            Assert.All(outcomes, outcome => Assert.True(outcome.Outcome == "unknown" || completed.Contains((id, outcome.Operation))));
            var end = entries.Single(entry => entry.Type == EntryType.SessionEnd);
            Assert.Equal("crash", System.Text.Json.JsonSerializer.Deserialize<SessionEndEntry>(end.Payload.Span, System.Text.Json.JsonSerializerOptions.Web)!.Reason);
        }
    }

    private static long Operation(Entry entry) =>
        System.Text.Json.JsonSerializer.Deserialize<OperationEntry>(entry.Payload.Span, System.Text.Json.JsonSerializerOptions.Web)!.Operation;
}
