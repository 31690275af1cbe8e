using System.Text.Json;
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
        var recorder = new CollectingTransport(signer) { Away = random.Next(2) == 0 };
        var storage = new FaultyStorage();
        var mortal = new MortalTransport(recorder);
        var spool = Open(storage, key, signer, mortal);
        var written = new List<Written>();
        for (var number = 0; number < sessions; number++)
        {
            var id = $"ses_{number}";
            written.Add(new Written(id, await spool.OpenAsync(id, Make.Start(), default)));
        }

        for (var step = 0; step < steps; step++)
        {
            await StepAsync(written[random.Next(sessions)], recorder, random);
        }

        // In the middle of whatever the threads are doing: what they then still do is lost.
        foreach (var session in written)
        {
            session.Durable = session.Pending.Where(receipt => receipt.IsDurable).Select(receipt => receipt.Sequence).Append(1).Max();
        }

        mortal.Die();
        var after = storage.Crash(random);
        await spool.DisposeAsync();
        for (var crash = 0; crash < moreCrashes; crash++)
        {
            // Healing can be cut off too.
            mortal = new MortalTransport(recorder);
            var healing = Open(after, key, signer, mortal);
            mortal.Die();
            var next = after.Crash(random);
            await healing.DisposeAsync();
            after = next;
        }

        recorder.Away = false;
        await using var healed = Open(after, key, signer, recorder);
        await recorder.UntilAsync(collected => written.TrueForAll(session => collected.IsComplete(session.Id)));
        Assert.Empty(recorder.Refused);
        written.ForEach(session => Compare(session, recorder.Sessions[session.Id]));
    }

    private static async Task StepAsync(Written session, CollectingTransport recorder, Random random)
    {
        if (session.Ended)
        {
            recorder.Away = random.Next(2) == 0;
            return;
        }

        if (random.Next(25) == 0)
        {
            session.Ended = true;
            var end = session.Recording.EndAsync(new SessionEndEntry("client", session.Operations, 0, 0), default).AsTask();
            if (random.Next(2) == 0)
            {
                await end;
                session.EndIsDurable = true;
            }

            return;
        }

        var operation = ++session.Operations;
        var receipt = session.Recording.Append(Make.Operation(operation, new string('q', random.Next(3000))), RecordLevel.Durable);
        session.Pending.Add(receipt);
        if (random.Next(3) == 0)
        {
            session.Recording.Complete(Make.Completion(operation));
            session.Completed.Add(operation);
        }

        if (random.Next(4) == 0)
        {
            await receipt.WaitAsync(default);
        }
    }

    private static void Compare(Written session, List<Entry> entries)
    {
        Assert.True(entries[^1].Sequence >= session.Durable);
        var recorded = entries.Where(entry => entry.Type == EntryType.Operation).Select(entry => Body<OperationEntry>(entry).Operation).ToList();
        Assert.Equal(Enumerable.Range(1, recorded.Count).Select(number => (long)number), recorded);
        Assert.True(recorded.Count <= session.Operations);

        // Each recorded operation has exactly one outcome, and only those whose own was lost are unknown.
        var outcomes = entries.Where(entry => entry.Type == EntryType.Completion).Select(Body<CompletionEntry>).ToList();
        Assert.Equal(recorded, outcomes.Select(outcome => outcome.Operation).Order());
        Assert.All(outcomes, outcome => Assert.True(outcome.Outcome == "unknown" || session.Completed.Contains(outcome.Operation)));
        var reason = Body<SessionEndEntry>(entries.Single(entry => entry.Type == EntryType.SessionEnd)).Reason;
        Assert.True(reason == (session.EndIsDurable ? "client" : "crash") || (session.Ended && reason == "client"), reason);
    }

    private static T Body<T>(Entry entry) => JsonSerializer.Deserialize<T>(entry.Payload.Span, JsonSerializerOptions.Web)!;

    private static Spool Open(FaultyStorage storage, byte[] key, TestSigner signer, IEntryTransport transport) =>
        Spool.Open(SpoolTests.Options, storage, SpoolKey.Of([.. key]), signer, transport, TimeProvider.System, NullLogger.Instance);

    private sealed class Written(string id, ISessionRecording recording)
    {
        public string Id => id;

        public ISessionRecording Recording => recording;

        public long Operations { get; set; }

        public List<RecordReceipt> Pending { get; } = [];

        public HashSet<long> Completed { get; } = [];

        public long Durable { get; set; }

        public bool Ended { get; set; }

        public bool EndIsDurable { get; set; }
    }

    /// <summary>Belongs to a process that dies: from then on nothing of it reaches the recorder.</summary>
    private sealed class MortalTransport(CollectingTransport recorder) : IEntryTransport
    {
        private readonly Lock _gate = new();
        private bool _dead;

        public void Die()
        {
            lock (_gate)
            {
                _dead = true;
            }
        }

        public ValueTask<BatchResult> SendAsync(ReadOnlyMemory<byte> batch, CancellationToken cancellation)
        {
            lock (_gate)
            {
                return _dead ? throw new IOException("dead") : recorder.SendAsync(batch, cancellation);
            }
        }
    }
}
