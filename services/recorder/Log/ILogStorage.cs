using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>What a storage says of the log: only what is committed.</summary>
/// <param name="Size">Entries.</param>
/// <param name="Root">Root over them; null where the storage doesn't keep it.</param>
/// <param name="Checkpoint">The latest signed checkpoint, empty for none.</param>
internal readonly record struct StoredHead(long Size, Hash256? Root, string Checkpoint);

/// <summary>
/// Where a log is kept. There are two: files of one process, and PostgreSQL, which several replicas share. What the log is made of (sequence, chains, tree,
/// checkpoints) is <see cref="RecorderLog"/>'s and the same over both. Used by the log's thread alone, but for <see cref="Read"/>, <see cref="Erase"/> and the tiles.
/// </summary>
/// <remarks>
/// The turn is what keeps replicas from forking the log: between <see cref="Begin"/> and <see cref="Commit"/> nobody else can append, and a commit by whoever has
/// lost the turn meanwhile fails. All throw <see cref="LogFailedException"/> or <see cref="Platform.Ports.PortUnavailableException"/>.
/// </remarks>
internal interface ILogStorage : IDisposable
{
    /// <summary>Whether others may append too; then a failure may pass, and the log is loaded anew after it.</summary>
    bool IsShared { get; }

    /// <summary>Tiles of the tree.</summary>
    ITileStorage Tiles { get; }

    /// <summary>Begins, also again after a failure.</summary>
    StoredHead Open();

    /// <summary>The committed head, without a turn.</summary>
    StoredHead Look();

    /// <summary>The latest snapshot of the log's state; null for none.</summary>
    byte[]? ReadState();

    /// <summary>Takes the turn.</summary>
    /// <returns>The committed head, which stays so until the turn ends.</returns>
    StoredHead Begin();

    /// <summary>Gives the turn back; what was not committed is gone.</summary>
    void End();

    /// <summary>Appends in a turn. <see cref="Commit"/> makes it durable at the latest.</summary>
    /// <param name="frames">Frames one behind the other.</param>
    /// <param name="lengths">Bytes of each.</param>
    /// <param name="entries">The entries in them.</param>
    void Append(ReadOnlyMemory<byte> frames, IReadOnlyList<int> lengths, IReadOnlyList<Entry> entries);

    /// <summary>Ends the turn with what was appended; durable when it returns.</summary>
    /// <param name="before">What <see cref="Begin"/> returned.</param>
    /// <param name="size">Entries now.</param>
    /// <param name="root">Root over them.</param>
    void Commit(StoredHead before, long size, in Hash256 root);

    /// <summary>Ends a turn, in which nothing was appended, with a signed checkpoint of the committed head; durable when it returns.</summary>
    void SaveCheckpoint(string note, Checkpoint checkpoint);

    /// <summary>Keeps a snapshot of the state, and all tiles up to it.</summary>
    void SaveState(byte[] state, long size);

    /// <summary>Reads entries one behind the other.</summary>
    IReadOnlyList<Entry> Read(long from, int maxEntries, int maxBytes);

    /// <summary>Deletes salts and payloads that are older than a time. Seals keep theirs: they hold nothing of anybody.</summary>
    /// <returns>Entries erased.</returns>
    long Erase(DateTimeOffset before);
}

/// <summary>Where tiles of the tree are kept. All can be made again from the entries.</summary>
internal interface ITileStorage
{
    /// <summary>A full tile of hashes; null where it is missing.</summary>
    byte[]? Read(int level, long tile);

    /// <summary>Keeps a full tile of hashes.</summary>
    void Write(int level, long tile, ReadOnlySpan<byte> hashes);

    /// <summary>Keeps a full bundle of leaf data.</summary>
    void WriteBundle(long tile, ReadOnlySpan<byte> bundle);

    /// <summary>Keeps the unfinished tile of a checkpoint.</summary>
    void WritePartial(int level, long tile, int width, ReadOnlySpan<byte> hashes);

    /// <summary>Keeps the unfinished bundle of a checkpoint.</summary>
    void WritePartialBundle(long tile, int width, ReadOnlySpan<byte> bundle);

    /// <summary>Makes every full tile durable.</summary>
    void Sync();
}
