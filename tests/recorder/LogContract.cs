using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;

namespace Countersign.Recorder.Tests;

/// <summary>What the log does, whatever it is kept in.</summary>
public abstract class LogContract : IDisposable
{
    private readonly List<Checkpoint> _signed = [];

    private protected NoteSigner LogKey { get; } = NoteSigner.Create("test.example/log");

    private protected TestSigner Proxy { get; } = new();

    private protected TestSigner Own { get; } = new(SealKey.Recorder);

    public virtual void Dispose()
    {
        LogKey.Dispose();
        Proxy.Dispose();
        Own.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Opens the log; again, the same one.</summary>
    private protected abstract RecorderLog Open(int delay = 50);

    /// <summary>Deletes all that only saves time.</summary>
    private protected abstract Task ForgetSnapshotAsync();

    /// <summary>Where the oldest entries are kept.</summary>
    private protected abstract Task<byte[]> OldestFramesAsync();

    [Fact]
    public async Task Entries_get_into_the_tree_in_order_and_every_one_has_a_proof()
    {
        using var log = Open();
        var all = new List<Entry>();
        for (var number = 0; number < 12; number++)
        {
            var session = Make.Session($"ses_{number}", 30, Proxy);
            all.AddRange(session);
            var result = await log.AppendAsync(session, Proxy.Check, default);
            Assert.Equal(session.Count, result.Acknowledged[$"ses_{number}"]);
            Assert.Empty(result.Refused);
        }

        await SignedAsync(all.Count);
        var tree = new NaiveTree(all.Select(entry => entry.LeafHash));
        var checkpoint = Checkpoint.Open(log.CheckpointNote, LogKey.Verifier);
        Assert.Equal(tree.Root(all.Count), checkpoint.Root);
        for (var index = 0; index < all.Count; index += 7)
        {
            var proof = MerkleProofs.Inclusion(log.Nodes, index, all.Count);
            Assert.True(MerkleProofs.VerifyInclusion(all[index].LeafHash, index, all.Count, proof, checkpoint.Root));
            Assert.True(MerkleProofs.VerifyConsistency(index, all.Count, tree.Root(index), checkpoint.Root, MerkleProofs.Consistency(log.Nodes, index, all.Count)));
            Assert.Equal(all[index].Body, log.Read(index, 1, 1)[0].Body);
        }
    }

    [Fact]
    public async Task An_entry_sent_again_is_acknowledged_and_not_doubled()
    {
        using var log = Open();
        var session = Make.Session("ses_1", 5, Proxy);
        await log.AppendAsync(session[..6], Proxy.Check, default);
        await log.AppendAsync(session, Proxy.Check, default);
        var result = await log.AppendAsync(session, Proxy.Check, default);
        Assert.Equal(session.Count, result.Acknowledged["ses_1"]);
        Assert.Equal(session.Count, log.Size);
    }

    [Theory]
    [InlineData("gap")]
    [InlineData("chain")]
    [InlineData("seal")]
    [InlineData("key")]
    [InlineData("after end")]
    [InlineData("no start")]
    [InlineData("erased")]
    public async Task What_does_not_follow_is_refused_and_audited(string what)
    {
        using var log = Open();
        using var stranger = new TestSigner();
        var session = Make.Session("ses_1", 4, what is "key" ? stranger : Proxy);
        var more = what switch
        {
            "gap" => session.Where(entry => entry.Sequence != 4).ToList(),
            "chain" => [.. session[..3], Entry.Create(session[3].Type, session[3].Id, "ses_1", 4, 1, Hash256.Zero, session[3].Payload.Span)],
            "seal" => [.. session[..3], Sealed(session[2], Hash256.Zero)],
            "after end" => [.. session[..^1], Entry.Create(EntryType.Operation, session[3].Id, "ses_1", session[^1].Sequence, 1, session[^2].Commitment, session[3].Payload.Span)],
            "no start" => [Entry.Create(EntryType.Operation, session[3].Id, "ses_1", 1, 1, Hash256.Zero, session[3].Payload.Span)],
            "erased" => [session[0], session[1].Erase(), .. session[2..]],
            _ => session,
        };
        var result = await log.AppendAsync(more, Proxy.Check, default);
        Assert.NotEmpty(result.Refused["ses_1"]);
        var again = await log.AppendAsync(more, Proxy.Check, default);
        Assert.NotEmpty(again.Refused["ses_1"]);
        var audited = Enumerable.Range(0, (int)log.Size).Select(index => log.Read(index, 1, 1)[0]).Where(entry => entry.Session == "evt_recorder" && entry.Type == EntryType.Event).ToList();
        Assert.Contains("entries.refused", System.Text.Encoding.UTF8.GetString(Assert.Single(audited).Payload.Span), StringComparison.Ordinal);

        // Others are not affected.
        Assert.Empty((await log.AppendAsync(Make.Session("ses_2", 2, Proxy), Proxy.Check, default)).Refused);
    }

    [Fact]
    public async Task Audit_events_become_sealed_entries_once()
    {
        using var log = Open();
        var audit = new AuditEvent { Id = "e1", Service = "approval", Action = "request.approved", At = DateTimeOffset.UnixEpoch, Person = "per_bob" };
        await log.AppendEventAsync(audit, default);
        await log.AppendEventAsync(audit, default);
        await log.AppendEventAsync(audit with { Service = "policy" }, default);
        await SignedAsync(4);
        var entries = log.Read(0, 10, 100_000);
        Assert.Equal(
            ["evt_approval event", "evt_policy event", "evt_approval seal", "evt_policy seal"],
            entries.Select(entry => $"{entry.Session} {EntryTypeNames.Of(entry.Type)}").OrderBy(text => text.EndsWith("seal", StringComparison.Ordinal)).ThenBy(text => text, StringComparer.Ordinal));
        Assert.All(entries.Where(entry => entry.Type == EntryType.Seal), entry => Assert.True(Own.Check(entry.Session, Seal.Read(entry.Payload.Span))));
    }

    [Fact]
    public async Task A_restart_goes_on_where_it_was_with_and_without_a_snapshot()
    {
        var first = Make.Session("ses_1", 200, Proxy);
        var open = Make.Session("ses_2", 300, Proxy, ended: false);
        using (var log = Open())
        {
            await log.AppendEventAsync(new AuditEvent { Id = "e1", Service = "approval", Action = "a", At = DateTimeOffset.UnixEpoch }, default);
            await log.AppendAsync(first, Proxy.Check, default);
            await log.AppendAsync(open[..100], Proxy.Check, default);
        }

        foreach (var withSnapshot in new[] { true, false })
        {
            if (!withSnapshot)
            {
                await ForgetSnapshotAsync();
            }

            using var log = Open();
            var before = log.Size;
            var result = await log.AppendAsync([.. first, .. open[..100]], Proxy.Check, default);
            await log.AppendEventAsync(new AuditEvent { Id = "e1", Service = "approval", Action = "a", At = DateTimeOffset.UnixEpoch }, default);
            Assert.Equal(before, log.Size);
            Assert.Equal(100, result.Acknowledged["ses_2"]);
            Assert.Empty(result.Refused);
            Assert.NotEmpty((await log.AppendAsync(Make.Session("ses_1", 300, Proxy)[403..], Proxy.Check, default)).Refused);
        }

        using var last = Open();
        Assert.Equal(open.Count, (await last.AppendAsync(open, Proxy.Check, default)).Acknowledged["ses_2"]);
        var all = new List<Entry>();
        while (all.Count < last.Size)
        {
            all.AddRange(last.Read(all.Count, 10_000, int.MaxValue));
        }

        var tree = new NaiveTree(all.Select(entry => entry.LeafHash));
        Assert.Equal(tree.Root((int)last.Size), CompactRange.Load(last.Nodes, 0, last.Size).Root());
    }

    [Fact]
    public async Task Retention_deletes_payloads_and_nothing_else()
    {
        using var log = Open();
        for (var number = 0; number < 5; number++)
        {
            await log.AppendAsync(Make.Session($"ses_{number}", 10, Proxy), Proxy.Check, default);
        }

        var root = CompactRange.Load(log.Nodes, 0, log.Size).Root();
        var erased = log.Erase(DateTimeOffset.UtcNow.AddYears(10));
        Assert.True(erased > 0);
        Assert.Equal(0, log.Erase(DateTimeOffset.UtcNow.AddYears(10)));
        var entries = log.Read(0, 1000, int.MaxValue).ToList();
        while (entries.Count < log.Size)
        {
            entries.AddRange(log.Read(entries.Count, 1000, int.MaxValue));
        }

        Assert.Equal(root, new NaiveTree(entries.Select(entry => entry.LeafHash)).Root(entries.Count));
        Assert.Equal(erased, entries.Count(entry => entry.IsErased));
        Assert.DoesNotContain(entries, entry => entry.IsErased && entry.Type == EntryType.Seal);
        Assert.Equal(-1, (await OldestFramesAsync()).AsSpan().IndexOf("SELECT"u8));
    }

    private protected void Add(Checkpoint checkpoint)
    {
        lock (_signed)
        {
            _signed.Add(checkpoint);
        }
    }

    private protected async Task SignedAsync(long size)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (true)
        {
            lock (_signed)
            {
                if (_signed.Count > 0 && _signed[^1].Size >= size)
                {
                    return;
                }
            }

            await Task.Delay(5, timeout.Token);
        }
    }

    private Entry Sealed(Entry last, Hash256 commitment) => Entry.Create(
        EntryType.Seal, last.Id, last.Session, last.Sequence + 1, 1, last.Commitment, Seal.Create(last.Session, last.Sequence, commitment, Proxy).ToPayload());
}
