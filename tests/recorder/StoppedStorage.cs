using Countersign.Platform.Ports;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;

namespace Countersign.Recorder.Tests;

/// <summary>A storage of a log that can stand still in the middle of a turn, or whose answer to a commit gets lost.</summary>
internal sealed class StoppedStorage(PostgresLogStorage inner) : ILogStorage
{
    /// <summary>While set, commits stand still.</summary>
    public ManualResetEventSlim StopBeforeCommit { get; } = new(false);

    /// <summary>Lets it go on.</summary>
    public ManualResetEventSlim GoOn { get; } = new(false);

    /// <summary>It stands.</summary>
    public TaskCompletionSource Stopped { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The server's process of the turn.</summary>
    public int Backend { get; private set; }

    /// <summary>Commits that happen, and say that they failed.</summary>
    public int LoseAnswers { get; set; }

    public bool IsShared => inner.IsShared;

    public ITileStorage Tiles => inner.Tiles;

    public StoredHead Open() => inner.Open();

    public StoredHead Look() => inner.Look();

    public byte[]? ReadState() => inner.ReadState();

    public StoredHead Begin() => inner.Begin();

    public void End() => inner.End();

    public void Append(ReadOnlyMemory<byte> frames, IReadOnlyList<int> lengths, IReadOnlyList<Entry> entries) => inner.Append(frames, lengths, entries);

    public void Commit(StoredHead before, long size, in Hash256 root)
    {
        if (StopBeforeCommit.IsSet)
        {
            Backend = inner.Backend;
            Stopped.TrySetResult();
            GoOn.Wait();
        }

        inner.Commit(before, size, root);
        if (LoseAnswers-- > 0)
        {
            throw new PortUnavailableException("the answer got lost");
        }
    }

    public void SaveCheckpoint(string note, Checkpoint checkpoint) => inner.SaveCheckpoint(note, checkpoint);

    public void SaveState(byte[] state, long size) => inner.SaveState(state, size);

    public IReadOnlyList<Entry> Read(long from, int maxEntries, int maxBytes) => inner.Read(from, maxEntries, maxBytes);

    public long Erase(DateTimeOffset before) => inner.Erase(before);

    public void Dispose() => inner.Dispose();
}
