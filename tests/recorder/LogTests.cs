using Countersign.Recorder.Format;
using Countersign.Recorder.Log;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Recorder.Tests;

/// <summary>The log in files.</summary>
[Trait("group", "unit")]
public sealed class LogTests : LogContract
{
    private readonly TestFolder _folder = new();

    public override void Dispose()
    {
        base.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task Tiles_on_disk_are_those_of_tlog_tiles()
    {
        using (var log = Open())
        {
            await log.AppendAsync(Make.Session("ses_1", 400, Proxy), Proxy.Check, default);
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
    public async Task A_torn_tail_is_cut_off_and_written_again()
    {
        var session = Make.Session("ses_1", 20, Proxy);
        using (var log = Open(delay: 1000))
        {
            await log.AppendAsync(session[..10], Proxy.Check, default);
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
        Assert.Equal(session.Count, (await again.AppendAsync(session, Proxy.Check, default)).Acknowledged["ses_1"]);
        Assert.Equal(session.Count, again.Size);
    }

    [Fact]
    public async Task A_log_that_is_not_what_its_checkpoint_says_does_not_open()
    {
        using (var log = Open())
        {
            await log.AppendAsync(Make.Session("ses_1", 20, Proxy), Proxy.Check, default);
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
    public async Task A_log_that_was_set_back_together_with_its_checkpoint_is_noticed_by_a_file_elsewhere()
    {
        var options = new LogOptions { Directory = InLog(""), HighestCheckpointFile = Path.Combine(_folder.Path, "highest"), CheckpointDelay = TimeSpan.FromMilliseconds(50) };
        RecorderLog OpenWith(LogOptions given) => RecorderLog.Open(given, LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, _) => { });
        using (var log = OpenWith(options))
        {
            await log.AppendAsync(Make.Session("ses_1", 20, Proxy), Proxy.Check, default);
        }

        var backup = Path.Combine(_folder.Path, "backup");
        await CopyAsync(InLog(""), backup);
        string later;
        using (var log = OpenWith(options))
        {
            await log.AppendAsync(Make.Session("ses_2", 20, Proxy), Proxy.Check, default);
            while (log.Latest.Size < log.Size)
            {
                await Task.Delay(5);
            }

            later = log.CheckpointNote;
        }

        Directory.Delete(InLog(""), recursive: true);
        await CopyAsync(backup, InLog(""));
        Assert.Contains("rolled back", Assert.Throws<LogFailedException>(() => OpenWith(options)).Message, StringComparison.Ordinal);

        // The same by what somebody else has pinned.
        var pinned = Path.Combine(_folder.Path, "pinned");
        await File.WriteAllTextAsync(pinned, later);
        Assert.Throws<LogFailedException>(() => OpenWith(options with { HighestCheckpointFile = null, PinnedCheckpointFiles = [pinned] }));
        await File.WriteAllTextAsync(pinned, "nothing of the kind");
        Assert.Throws<LogFailedException>(() => OpenWith(options with { HighestCheckpointFile = null, PinnedCheckpointFiles = [pinned] }));
    }

    private protected override RecorderLog Open(int delay = 50) => RecorderLog.Open(
        new LogOptions { Directory = InLog(""), SegmentBytes = 4096, CheckpointDelay = TimeSpan.FromMilliseconds(delay) }, LogKey, Own, TimeProvider.System, NullLogger.Instance,
        (_, checkpoint) => Add(checkpoint));

    private protected override Task ForgetSnapshotAsync()
    {
        File.Delete(InLog("state"));
        Directory.Delete(InLog("tile"), recursive: true);
        return Task.CompletedTask;
    }

    private protected override Task<byte[]> OldestFramesAsync() => File.ReadAllBytesAsync(Directory.GetFiles(InLog("entries"), "*.seg").Order(StringComparer.Ordinal).First());

    private static Task CopyAsync(string from, string to)
    {
        foreach (var file in Directory.GetFiles(from, "*", SearchOption.AllDirectories))
        {
            var target = Path.Combine(to, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }

        return Task.CompletedTask;
    }

    private string InLog(string path) => Path.Combine(_folder.Path, "log", path);
}
