using System.Text;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>A log in the files of one process (docs/formats/log.md). After the first error of the disk nothing is written any more.</summary>
internal sealed class FileLogStorage : ILogStorage
{
    private const string CheckpointFile = "checkpoint";
    private const string StateFile = "state";
    private readonly string _directory;
    private readonly EntryStore _entries;
    private string _checkpoint;

    /// <summary>Opens the folder, or makes it.</summary>
    /// <exception cref="LogFailedException">The entries are damaged.</exception>
    public FileLogStorage(LogOptions options)
    {
        _directory = options.Directory;
        Directory.CreateDirectory(_directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _entries = EntryStore.Open(Path.Combine(_directory, "entries"), options.SegmentBytes);
        Tiles = new FileTiles(_directory);
        var path = Path.Combine(_directory, CheckpointFile);
        _checkpoint = File.Exists(path) ? File.ReadAllText(path) : "";
    }

    public bool IsShared => false;

    public ITileStorage Tiles { get; }

    public StoredHead Open() => Look();

    public StoredHead Look() => new(_entries.Count, null, _checkpoint);

    public byte[]? ReadState()
    {
        var path = Path.Combine(_directory, StateFile);
        return File.Exists(path) ? File.ReadAllBytes(path) : null;
    }

    public StoredHead Begin() => Look();

    public void End()
    {
        // Nobody else has turns.
    }

    public void Append(ReadOnlyMemory<byte> frames, IReadOnlyList<int> lengths, IReadOnlyList<Entry> entries) => _entries.Append(frames.Span, [.. lengths]);

    public void Commit(StoredHead before, long size, in Hash256 root)
    {
        // Appending was durable.
    }

    public void SaveCheckpoint(string note, Checkpoint checkpoint)
    {
        Durable.Replace(Path.Combine(_directory, CheckpointFile), Encoding.UTF8.GetBytes(note));
        _checkpoint = note;
    }

    public void SaveState(byte[] state, long size)
    {
        Tiles.Sync();
        Durable.Replace(Path.Combine(_directory, StateFile), state);
    }

    public IReadOnlyList<Entry> Read(long from, int maxEntries, int maxBytes) => _entries.Read(from, maxEntries, maxBytes);

    public long Erase(DateTimeOffset before) => _entries.Erase(before);

    public void Dispose() => _entries.Dispose();
}
