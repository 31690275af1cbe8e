using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Recorder.Tests;

[Trait("group", "unit")]
public sealed class LogTests : IDisposable
{
    private readonly TestFolder _folder = new();
    private readonly NoteSigner _key = NoteSigner.Create("test.example/log");
    private readonly TestSigner _proxy = new();
    private readonly TestSigner _own = new(SealKey.Recorder);
    private readonly List<Checkpoint> _signed = [];

    public void Dispose()
    {
        _key.Dispose();
        _proxy.Dispose();
        _own.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task Entries_get_into_the_tree_in_order_and_every_one_has_a_proof()
    {
        using var log = Open();
        var all = new List<Entry>();
        for (var number = 0; number < 12; number++)
        {
            var session = Make.Session($"ses_{number}", 30, _proxy);
            all.AddRange(session);
            var result = await log.AppendAsync(session, _proxy.Check, default);
            Assert.Equal(session.Count, result.Acknowledged[$"ses_{number}"]);
            Assert.Empty(result.Refused);
        }

        await SignedAsync(all.Count);
        var tree = new NaiveTree(all.Select(entry => entry.LeafHash));
        var checkpoint = Checkpoint.Open(log.CheckpointNote, _key.Verifier);
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
    public async Task Tiles_on_disk_are_those_of_tlog_tiles()
    {
        using (var log = Open())
        {
            await log.AppendAsync(Make.Session("ses_1", 400, _proxy), _proxy.Check, default);
            await SignedAsync(log.Size);
            var size = (int)log.Size;
            var leaves = Enumerable.Range(0, size).Select(index => log.Read(index, 1, 1)[0]).ToList();
            var tree = new NaiveTree(leaves.Select(entry => entry.LeafHash));
            var tile = await File.ReadAllBytesAsync(InLog("tile/0/002"));
            Assert.Equal(256 * 32, tile.Length);
            Assert.Equal(leaves[512].LeafHash.ToArray(), tile[..32]);
            Assert.Equal(tree.Node(8, 1).ToArray(), (await File.ReadAllBytesAsync(InLog($"tile/1/000.p/{size / 256}")))[32..64]);
            Assert.Equal(size % 256 * 32, new FileInfo(InLog($"tile/0/{size / 256:000}.p/{size % 256}")).Length);
            var bundle = await File.ReadAllBytesAsync(InLog("tile/entries/000"));
            var length = (bundle[0] << 8) | bundle[1];
            Assert.Equal(leaves[0].LeafHash, Merkle.HashLeaf(bundle.AsSpan(2, length)));
        }
    }

    [Fact]
    public async Task An_entry_sent_again_is_acknowledged_and_not_doubled()
    {
        using var log = Open();
        var session = Make.Session("ses_1", 5, _proxy);
        await log.AppendAsync(session[..6], _proxy.Check, default);
        await log.AppendAsync(session, _proxy.Check, default);
        var result = await log.AppendAsync(session, _proxy.Check, default);
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
        var session = Make.Session("ses_1", 4, what is "key" ? stranger : _proxy);
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
        var result = await log.AppendAsync(more, _proxy.Check, default);
        Assert.NotEmpty(result.Refused["ses_1"]);
        var again = await log.AppendAsync(more, _proxy.Check, default);
        Assert.NotEmpty(again.Refused["ses_1"]);
        var audited = Enumerable.Range(0, (int)log.Size).Select(index => log.Read(index, 1, 1)[0]).Where(entry => entry.Session == "evt_recorder" && entry.Type == EntryType.Event).ToList();
        Assert.Contains("entries.refused", System.Text.Encoding.UTF8.GetString(Assert.Single(audited).Payload.Span), StringComparison.Ordinal);

        // Others are not affected.
        Assert.Empty((await log.AppendAsync(Make.Session("ses_2", 2, _proxy), _proxy.Check, default)).Refused);
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
        Assert.All(entries.Where(entry => entry.Type == EntryType.Seal), entry => Assert.True(_own.Check(entry.Session, Seal.Read(entry.Payload.Span))));
    }

    [Fact]
    public async Task A_restart_goes_on_where_it_was_with_and_without_a_snapshot()
    {
        var first = Make.Session("ses_1", 200, _proxy);
        var open = Make.Session("ses_2", 300, _proxy, ended: false);
        using (var log = Open())
        {
            await log.AppendEventAsync(new AuditEvent { Id = "e1", Service = "approval", Action = "a", At = DateTimeOffset.UnixEpoch }, default);
            await log.AppendAsync(first, _proxy.Check, default);
            await log.AppendAsync(open[..100], _proxy.Check, default);
        }

        foreach (var withSnapshot in new[] { true, false })
        {
            if (!withSnapshot)
            {
                File.Delete(InLog("state"));
                Directory.Delete(InLog("tile"), recursive: true);
            }

            using var log = Open();
            var before = log.Size;
            var result = await log.AppendAsync([.. first, .. open[..100]], _proxy.Check, default);
            await log.AppendEventAsync(new AuditEvent { Id = "e1", Service = "approval", Action = "a", At = DateTimeOffset.UnixEpoch }, default);
            Assert.Equal(before, log.Size);
            Assert.Equal(100, result.Acknowledged["ses_2"]);
            Assert.Empty(result.Refused);
            Assert.NotEmpty((await log.AppendAsync(Make.Session("ses_1", 300, _proxy)[403..], _proxy.Check, default)).Refused);
        }

        using var last = Open();
        Assert.Equal(open.Count, (await last.AppendAsync(open, _proxy.Check, default)).Acknowledged["ses_2"]);
        var tree = new NaiveTree(last.Read(0, 10_000, int.MaxValue).Select(entry => entry.LeafHash));
        Assert.Equal(tree.Root((int)last.Size), CompactRange.Load(last.Nodes, 0, last.Size).Root());
    }

    [Fact]
    public async Task A_torn_tail_is_cut_off_and_written_again()
    {
        var session = Make.Session("ses_1", 20, _proxy);
        using (var log = Open(delay: 1000))
        {
            await log.AppendAsync(session[..10], _proxy.Check, default);
        }

        // As a crash leaves it: more than the last checkpoint covers, and the last frame only in part.
        var path = Directory.GetFiles(InLog("entries"), "*.seg").Single();
        await using (var file = new FileStream(path, FileMode.Append))
        {
            var frame = new System.Buffers.ArrayBufferWriter<byte>();
            EntryFrame.Write(frame, session[10]);
            EntryFrame.Write(frame, session[11]);
            await file.WriteAsync(frame.WrittenMemory[..^5]);
        }

        using var again = Open();
        Assert.Equal(11, again.Size);
        Assert.Equal(session.Count, (await again.AppendAsync(session, _proxy.Check, default)).Acknowledged["ses_1"]);
        Assert.Equal(session.Count, again.Size);
    }

    [Fact]
    public async Task A_log_that_is_not_what_its_checkpoint_says_does_not_open()
    {
        using (var log = Open())
        {
            await log.AppendAsync(Make.Session("ses_1", 20, _proxy), _proxy.Check, default);
        }

        var path = Directory.GetFiles(InLog("entries"), "*.seg").Single();
        var whole = await File.ReadAllBytesAsync(path);
        await File.WriteAllBytesAsync(path, whole[..(whole.Length / 2)]);
        Assert.Contains("missing", Assert.Throws<LogFailedException>(() => Open()).Message, StringComparison.Ordinal);

        // The same number of entries, one of them another, with the right checksum.
        var entries = EntryFrame.ReadAll(whole).ToList();
        entries[4] = Entry.Create(entries[4].Type, entries[4].Id, "ses_1", entries[4].Sequence, 7, entries[4].Previous, entries[4].Payload.Span);
        var forged = new System.Buffers.ArrayBufferWriter<byte>();
        entries.ForEach(entry => EntryFrame.Write(forged, entry));
        await File.WriteAllBytesAsync(path, forged.WrittenSpan.ToArray());
        File.Delete(InLog("state"));
        Assert.Contains("not those", Assert.Throws<LogFailedException>(() => Open()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Retention_deletes_payloads_and_nothing_else()
    {
        using var log = RecorderLog.Open(
            new LogOptions { Directory = InLog(""), SegmentBytes = 4096, CheckpointDelay = TimeSpan.FromMilliseconds(50) }, _key, _own, TimeProvider.System, NullLogger.Instance, (_, checkpoint) => Add(checkpoint));
        for (var number = 0; number < 5; number++)
        {
            await log.AppendAsync(Make.Session($"ses_{number}", 10, _proxy), _proxy.Check, default);
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
        Assert.Equal(-1, (await File.ReadAllBytesAsync(Directory.GetFiles(InLog("entries"), "*.seg").Order(StringComparer.Ordinal).First())).AsSpan().IndexOf("SELECT"u8));
    }

    private Entry Sealed(Entry last, Hash256 commitment) => Entry.Create(
        EntryType.Seal, last.Id, last.Session, last.Sequence + 1, 1, last.Commitment, Seal.Create(last.Session, last.Sequence, commitment, _proxy).ToPayload());

    private string InLog(string path) => Path.Combine(_folder.Path, "log", path);

    private RecorderLog Open(int delay = 50) => RecorderLog.Open(
        new LogOptions { Directory = InLog(""), CheckpointDelay = TimeSpan.FromMilliseconds(delay) }, _key, _own, TimeProvider.System, NullLogger.Instance, (_, checkpoint) => Add(checkpoint));

    private void Add(Checkpoint checkpoint)
    {
        lock (_signed)
        {
            _signed.Add(checkpoint);
        }
    }

    private async Task SignedAsync(long size)
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
}
