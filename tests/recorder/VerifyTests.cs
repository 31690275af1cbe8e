using System.IO.Pipelines;
using System.Text;
using CsCheck;
using Countersign.Recorder.Export;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;
using Countersign.Recorder.Verify;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Recorder.Tests;

/// <summary>Invariant I6: every kind of single change of an export is found, and named by position.</summary>
[Trait("group", "evidence")]
public sealed class VerifyTests : IAsyncLifetime
{
    private readonly TestFolder _folder = new();
    private readonly NoteSigner _key = NoteSigner.Create("test.example/log");
    private readonly TestSigner _proxy = new();
    private readonly TestSigner _own = new(SealKey.Recorder);
    private readonly Dictionary<long, string> _checkpoints = [];
    private RecorderLog _log = null!;
    private byte[] _export = null!;

    private VerifyOptions Options => new() { Key = _key.Verifier.ToString() };

    public async ValueTask InitializeAsync()
    {
        _log = RecorderLog.Open(
            new LogOptions { Directory = Path.Combine(_folder.Path, "log"), SegmentBytes = 8192, CheckpointDelay = TimeSpan.FromMilliseconds(50) }, _key, _own,
            TimeProvider.System, NullLogger.Instance, (note, checkpoint) =>
            {
                lock (_checkpoints)
                {
                    _checkpoints[checkpoint.Size] = note;
                }
            });
        var sessions = Enumerable.Range(0, 4).Select(number => new Queue<Entry>(Make.Session($"ses_{number}", 6, _proxy))).ToList();
        while (sessions.Exists(session => session.Count > 0))
        {
            // Interleaved, as live sessions are.
            foreach (var session in sessions.Where(session => session.Count > 0))
            {
                await _log.AppendAsync([.. Enumerable.Range(0, Math.Min(3, session.Count)).Select(_ => session.Dequeue())], _proxy.Check, default);
            }
        }

        await _log.AppendEventAsync(new Contracts.AuditEvent { Id = "e1", Service = "approval", Action = "request.approved", At = DateTimeOffset.UnixEpoch }, default);
        await _log.AppendAsync(Make.Session("ses_open", 2, _proxy, ended: false), _proxy.Check, default);
        _export = await ExportAsync(new ExportRequest());
    }

    public ValueTask DisposeAsync()
    {
        _log.Dispose();
        _key.Dispose();
        _proxy.Dispose();
        _own.Dispose();
        _folder.Dispose();
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task An_export_verifies_and_says_what_is_open()
    {
        var report = await VerifyAsync(_export);
        Assert.True(report.Verified, Text(report));
        Assert.Equal(_log.Size, report.Summary.Entries);
        Assert.Equal(6, report.Summary.Sessions);
        Assert.Equal(
            [FindingKinds.OpenEnd, FindingKinds.Unsealed], report.Findings.Select(finding => finding.Kind));
        Assert.All(report.Findings, finding => Assert.Equal("ses_open", finding.Session));
    }

    [Fact]
    public async Task Every_part_of_the_log_verifies_by_itself()
    {
        var size = _log.Latest.Size;
        foreach (var (from, to) in new[] { (0L, 10L), (5, 17), (16, 32), (20, size), (7, 7), (0, 0) })
        {
            var report = await VerifyAsync(await ExportAsync(new ExportRequest { From = from, To = to }));
            Assert.True(report.Verified, $"{from} to {to}: {Text(report)}");
            Assert.Equal(to - from, report.Summary.Entries);
        }
    }

    [Fact]
    public async Task A_filtered_export_verifies_and_shows_the_others_hashes_only()
    {
        var export = await ExportAsync(new ExportRequest { Shows = session => session == "ses_2" });
        var report = await VerifyAsync(export);
        Assert.True(report.Verified, Text(report));
        Assert.Equal(Make.Session("ses_2", 6, _proxy).Count, report.Summary.Entries);
        Assert.Equal(_log.Latest.Size - report.Summary.Entries, report.Summary.Omitted);
        Assert.DoesNotContain("ses_1", Encoding.UTF8.GetString(export), StringComparison.Ordinal);

        var lines = Lines(export);
        var omitted = lines.FindIndex(line => !line.Contains("session", StringComparison.Ordinal) && line.StartsWith("{\"index\"", StringComparison.Ordinal));
        lines.RemoveAt(omitted);
        Assert.False((await VerifyAsync(Bytes(lines))).Verified);
    }

    [Fact]
    public async Task Payloads_deleted_by_retention_leave_the_evidence_whole()
    {
        Assert.True(_log.Erase(DateTimeOffset.UtcNow.AddYears(1)) > 0);
        var report = await VerifyAsync(await ExportAsync(new ExportRequest()));
        Assert.True(report.Verified, Text(report));
        Assert.True(report.Summary.Erased > 0);
        Assert.Contains(report.Findings, finding => finding.Kind == FindingKinds.Erased);
    }

    [Fact]
    public async Task Any_flipped_byte_is_found_and_named_by_its_line()
    {
        var starts = new List<int> { 0 };
        for (var index = 0; index < _export.Length - 1; index++)
        {
            if (_export[index] == '\n')
            {
                starts.Add(index + 1);
            }
        }

        await Gen.Select(Gen.Int[0, _export.Length - 1], Gen.Int[0, 7]).SampleAsync(async (at, bit) =>
        {
            var changed = _export.ToArray();
            changed[at] ^= (byte)(1 << bit);
            var report = await VerifyAsync(changed);
            Assert.False(report.Verified);
            var line = starts.FindLastIndex(start => start <= at) + 1;

            // A newline that is no newline any more joins two lines; a new one splits a line. Named is where that is.
            Assert.Contains(report.Findings, finding => finding.Severity == Severity.Error && finding.Line >= line - 1 && finding.Line <= line + 1);
        }, iter: 1500, threads: 1);
    }

    [Fact]
    public async Task A_removed_entry_is_found_at_its_position()
    {
        var lines = Lines(_export);
        for (var index = 1; index < lines.Count; index += 3)
        {
            var less = lines.ToList();
            less.RemoveAt(index);
            var report = await VerifyAsync(Bytes(less));
            var expected = index - 1;
            Assert.Contains(
                report.Findings,
                finding => finding.Severity == Severity.Error && finding.Kind == FindingKinds.Removed && finding.Message.Contains($"positions {expected} to {expected} ", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Swapped_entries_are_found_at_their_positions()
    {
        var lines = Lines(_export);
        for (var index = 1; index + 4 < lines.Count; index += 3)
        {
            var other = lines.ToList();
            (other[index], other[index + 4]) = (other[index + 4], other[index]);
            var report = await VerifyAsync(Bytes(other));
            Assert.False(report.Verified);
            Assert.Contains(report.Findings, finding => finding.Line == index + 1 && finding.Severity == Severity.Error);
        }
    }

    [Fact]
    public async Task Swapped_entries_with_their_positions_rewritten_are_found_too()
    {
        var lines = Lines(_export).Skip(1).Select(line => ExportLine.Read(Encoding.UTF8.GetBytes(line))).ToList();

        // Of different sessions, so that no chain breaks: only the tree knows. Links as a careless and as a careful forger would leave them.
        var at = lines.FindIndex(line => line.Index > 3 && lines[(int)line.Index + 1].Entry!.Session != line.Entry!.Session);
        foreach (var careful in new[] { false, true })
        {
            var forged = lines.ToList();
            (forged[at], forged[at + 1]) = (forged[at + 1] with { Index = at }, forged[at] with { Index = at + 1 });
            var report = await VerifyAsync(Rewrite(forged, careful));
            Assert.False(report.Verified);
            Assert.Contains(report.Findings, finding => careful ? finding.Kind == FindingKinds.Root : finding.Index == at);
        }
    }

    [Fact]
    public async Task An_inserted_entry_is_found_at_its_position()
    {
        var lines = Lines(_export);
        for (var index = 1; index < lines.Count; index += 5)
        {
            var more = lines.ToList();
            more.Insert(index, lines[index]);
            var report = await VerifyAsync(Bytes(more));
            Assert.False(report.Verified);
            Assert.Contains(report.Findings, finding => finding.Index == index - 1 && finding.Severity == Severity.Error);
        }
    }

    [Fact]
    public async Task A_forged_entry_with_every_hash_recomputed_is_found_where_the_chain_breaks()
    {
        var lines = Lines(_export).Skip(1).Select(line => ExportLine.Read(Encoding.UTF8.GetBytes(line))).ToList();
        foreach (var at in lines.Where(line => line.Entry!.Type == EntryType.Operation).Select(line => (int)line.Index).ToList())
        {
            var before = lines[at].Entry!;
            var forgedEntry = Entry.Create(before.Type, before.Id, before.Session, before.Sequence, before.TimeMicroseconds, before.Previous, """{"operation":1,"text":"harmless"}"""u8);
            var forged = lines.ToList();
            forged[at] = forged[at] with { Entry = forgedEntry, Leaf = forgedEntry.LeafHash };
            var report = await VerifyAsync(Rewrite(forged, careful: true));
            Assert.Contains(report.Findings, finding => finding.Kind == FindingKinds.Root);
            Assert.Contains(report.Findings, finding => finding.Kind == FindingKinds.Chain && finding.Session == before.Session && finding.Sequence == before.Sequence + 1);
        }
    }

    [Fact]
    public async Task Anything_behind_the_range_or_missing_at_its_end_is_found()
    {
        var lines = Lines(_export);
        Assert.Contains((await VerifyAsync(Bytes(lines[..^1]))).Findings, finding => finding.Kind == FindingKinds.Removed && finding.Index == lines.Count - 2);
        Assert.False((await VerifyAsync(_export[..^1])).Verified);
        Assert.False((await VerifyAsync(_export[..(_export.Length / 2)])).Verified);
        Assert.False((await VerifyAsync([.. _export, (byte)'\n'])).Verified);
        Assert.False((await VerifyAsync([])).Verified);
    }

    [Fact]
    public async Task Another_key_verifies_nothing()
    {
        using var other = NoteSigner.Create("test.example/log");
        var report = await ExportVerifier.VerifyAsync(new MemoryStream(_export), new VerifyOptions { Key = other.Verifier.ToString() });
        Assert.False(report.Verified);
        Assert.Contains(report.Findings, finding => finding.Kind == FindingKinds.Signature);
    }

    [Fact]
    public async Task A_seal_by_a_key_that_was_not_pinned_is_found()
    {
        var report = await ExportVerifier.VerifyAsync(new MemoryStream(_export), Options with { PinnedSealKeys = [_own.KeyId] });
        Assert.Contains(report.Findings, finding => finding.Kind == FindingKinds.Seal && finding.Session == "ses_1");
        Assert.True((await ExportVerifier.VerifyAsync(new MemoryStream(_export), Options with { PinnedSealKeys = [_own.KeyId, _proxy.KeyId] })).Verified);
    }

    [Fact]
    public async Task A_recorder_that_rewrites_a_session_and_its_own_log_is_found_by_the_proxy_s_seal()
    {
        // The recorder has its own key and makes a whole new log; what it doesn't have is the proxy's key.
        using var stranger = new TestSigner();
        var rewritten = Make.Session("ses_0", 6, stranger);
        var tree = new CompactRange();
        ulong link = 0;
        var output = new System.Buffers.ArrayBufferWriter<byte>();
        foreach (var entry in rewritten)
        {
            tree.Append(entry.LeafHash);
        }

        new ExportHeader
        {
            From = 0,
            To = rewritten.Count,
            Checkpoint = new Checkpoint("test.example/log", rewritten.Count, tree.Root()).Sign(_key),
            Left = [],
            Right = [],
            Keys = SealKeys.Sign([_proxy.Key, _own.Key], _key),
        }.Write(output);
        foreach (var (entry, index) in rewritten.Select((entry, index) => (entry, index)))
        {
            link = ExportLine.LinkOf(link, index, entry.LeafHash);
            new ExportLine(index, entry.LeafHash, link, entry).Write(output);
        }

        var report = await VerifyAsync(output.WrittenSpan.ToArray());
        Assert.False(report.Verified);
        Assert.All(report.Findings.Where(finding => finding.Severity == Severity.Error), finding => Assert.Equal(FindingKinds.Seal, finding.Kind));
    }

    [Fact]
    public async Task A_pinned_checkpoint_finds_roll_back_and_forks()
    {
        string[] notes;
        lock (_checkpoints)
        {
            notes = [.. _checkpoints.Values];
        }

        foreach (var note in notes)
        {
            var report = await ExportVerifier.VerifyAsync(new MemoryStream(_export), Options with { PinnedCheckpoint = note });
            Assert.True(report.Verified, Text(report));
        }

        var size = _log.Latest.Size;
        var ahead = new Checkpoint("test.example/log", size + 1, Hash256.Zero).Sign(_key);
        Assert.Contains((await ExportVerifier.VerifyAsync(new MemoryStream(_export), Options with { PinnedCheckpoint = ahead })).Findings, finding => finding.Kind == FindingKinds.RolledBack);
        foreach (var at in new[] { 1, size / 2, size })
        {
            var fork = new Checkpoint("test.example/log", at, Hash256.Zero).Sign(_key);
            Assert.Contains((await ExportVerifier.VerifyAsync(new MemoryStream(_export), Options with { PinnedCheckpoint = fork })).Findings, finding => finding.Kind == FindingKinds.Fork);
        }

        // A part of the log is compared through a proof that was asked for.
        var pinned = new Checkpoint("test.example/log", size / 2, CompactRange.Load(_log.Nodes, 0, size / 2).Root());
        var part = new ExportRequest { From = size - 3, To = size - 1 };
        var pinnedNote = pinned.Sign(_key);
        Assert.Contains(
            (await ExportVerifier.VerifyAsync(new MemoryStream(await ExportAsync(part)), Options with { PinnedCheckpoint = pinnedNote })).Findings,
            finding => finding.Kind == FindingKinds.NotComparable);
        var proven = await ExportAsync(part with { Since = pinned.Size });
        Assert.True((await ExportVerifier.VerifyAsync(new MemoryStream(proven), Options with { PinnedCheckpoint = pinnedNote })).Verified);
        var forked = new Checkpoint("test.example/log", pinned.Size, Hash256.Zero).Sign(_key);
        Assert.Contains(
            (await ExportVerifier.VerifyAsync(new MemoryStream(proven), Options with { PinnedCheckpoint = forked })).Findings, finding => finding.Kind == FindingKinds.Fork);
    }

    [Fact]
    public async Task A_line_of_an_export_is_frozen()
    {
        var entry = Entry.Create(
            EntryType.Completion, new byte[16], "ses_1", 2, 1_764_000_000_000_000, Hash256.Zero, new byte[16], """{"operation":1,"outcome":"ok"}"""u8);
        var output = new System.Buffers.ArrayBufferWriter<byte>();
        new ExportLine(5, entry.LeafHash, ExportLine.LinkOf(0, 5, entry.LeafHash), entry).Write(output);
        Assert.Equal(
            $$$"""{"index":5,"leaf":"{{{entry.LeafHash}}}","link":"{{{ExportLine.LinkOf(0, 5, entry.LeafHash):x16}}}","id":"00000000000000000000000000000000","session":"ses_1","sequence":2,"type":"completion","time":1764000000000000,"previous":"0000000000000000000000000000000000000000000000000000000000000000","salt":"00000000000000000000000000000000","payload":{"operation":1,"outcome":"ok"}}""" + "\n",
            Encoding.UTF8.GetString(output.WrittenSpan));
        Assert.StartsWith(
            """{"format":"countersign-export/v1","from":0,"to":""", Encoding.UTF8.GetString(_export), StringComparison.Ordinal);
        await Task.CompletedTask;
    }

    [Fact]
    public void Payloads_of_any_bytes_survive_the_way_through_a_line() =>
        Gen.OneOf(Gen.Byte.Array[0, 300], Gen.String.Select(Encoding.UTF8.GetBytes), Gen.String.Select(text => System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(new { text }))).Sample(payload =>
        {
            var entry = Entry.Create(EntryType.Operation, new byte[16], "ses_1", 1, 1, Hash256.Zero, payload);
            var output = new System.Buffers.ArrayBufferWriter<byte>();
            new ExportLine(0, entry.LeafHash, 0, entry).Write(output);
            Assert.Equal(1, output.WrittenSpan.Count((byte)'\n'));
            Assert.Equal(payload, ExportLine.Read(output.WrittenMemory[..^1]).Entry!.Payload.ToArray());
        }, iter: 1000);

    private static string Text(VerifyReport report) => string.Join('\n', report.Findings.Select(finding => $"{finding.Severity} {finding.Kind} line {finding.Line}: {finding.Message}"));

    private static List<string> Lines(byte[] export) => [.. Encoding.UTF8.GetString(export).TrimEnd('\n').Split('\n')];

    private static byte[] Bytes(IEnumerable<string> lines) => Encoding.UTF8.GetBytes(string.Concat(lines.Select(line => line + "\n")));

    private byte[] Rewrite(List<ExportLine> lines, bool careful)
    {
        var output = new System.Buffers.ArrayBufferWriter<byte>();
        System.Buffers.BuffersExtensions.Write(output, _export.AsSpan(0, Array.IndexOf(_export, (byte)'\n') + 1));
        ulong link = 0;
        foreach (var line in lines)
        {
            link = ExportLine.LinkOf(link, line.Index, line.Leaf);
            (careful ? line with { Link = link } : line).Write(output);
        }

        return output.WrittenSpan.ToArray();
    }

    private async Task<VerifyReport> VerifyAsync(byte[] export) => await ExportVerifier.VerifyAsync(new MemoryStream(export), Options);

    private async Task<byte[]> ExportAsync(ExportRequest request)
    {
        using var stream = new MemoryStream();
        var writer = PipeWriter.Create(stream);
        await LogExporter.WriteAsync(_log, SealKeys.Sign([_proxy.Key, _own.Key], _key), request, writer, default);
        await writer.CompleteAsync();
        return stream.ToArray();
    }
}
