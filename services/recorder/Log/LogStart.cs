using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>How a log is opened: from its last snapshot, or, where that doesn't fit, from its entries alone.</summary>
internal static class LogStart
{
    private const int ReadEntries = 8192;
    private const int ReadBytes = 4 * 1024 * 1024;

    /// <summary>State and tree up to the committed head.</summary>
    public static (TileStore Tiles, LogState State) Load(LogOptions options, ILogStorage storage, StoredHead head)
    {
        var state = LogState.Read(storage.ReadState(), options);
        var tiles = TryLoadTiles(storage, state, head);
        if (tiles is null)
        {
            state = new LogState(options);
            tiles = new TileStore(storage.Tiles);
        }

        CatchUp(storage, tiles, state, head, _ => { });
        return (tiles, state);
    }

    /// <summary>Takes over what the storage has and the tree has not: own entries at start, those of other replicas afterwards.</summary>
    /// <param name="storage">Storage.</param>
    /// <param name="tiles">The tree.</param>
    /// <param name="state">The state.</param>
    /// <param name="head">What is committed.</param>
    /// <param name="taken">Called with each entry.</param>
    /// <exception cref="LogFailedException">The storage has another history.</exception>
    public static void CatchUp(ILogStorage storage, TileStore tiles, LogState state, StoredHead head, Action<Entry> taken)
    {
        if (head.Size < tiles.Size)
        {
            throw new LogFailedException($"the log was rolled back: it had {tiles.Size} entries, and has {head.Size} now");
        }

        while (tiles.Size < head.Size)
        {
            var entries = storage.Read(tiles.Size, (int)Math.Min(ReadEntries, head.Size - tiles.Size), ReadBytes);
            if (entries.Count == 0)
            {
                throw new LogFailedException($"the log has lost entry {tiles.Size}");
            }

            foreach (var entry in entries)
            {
                state.Replay(entry);
                taken(entry);
            }

            tiles.Append(entries);
        }

        if (head.Root is { } root && tiles.Root() != root)
        {
            throw new LogFailedException($"the log's {head.Size} entries are not those that its head says");
        }
    }

    /// <summary>A log that is shorter than a checkpoint of it, or another, is evidence of tampering or of a wrong restore: it must not go on.</summary>
    public static void Compare(TileStore tiles, Checkpoint checkpoint, string what)
    {
        if (checkpoint.Size > tiles.Size)
        {
            throw new LogFailedException($"the log has {tiles.Size} entries, but {what} covers {checkpoint.Size}: entries are missing, or it was rolled back");
        }

        if (CompactRange.Load(tiles, 0, checkpoint.Size).Root() != checkpoint.Root)
        {
            throw new LogFailedException($"the log's first {checkpoint.Size} entries are not those that {what} covers");
        }
    }

    /// <summary>The checkpoint of a note.</summary>
    public static Checkpoint Open(string note, NoteVerifier verifier)
    {
        try
        {
            return Checkpoint.Open(note, verifier);
        }
        catch (EntryFormatException error)
        {
            throw new LogFailedException("the log's checkpoint is not signed by its key", error);
        }
    }

    private static TileStore? TryLoadTiles(ILogStorage storage, LogState state, StoredHead head)
    {
        if (state.Size == 0 || state.Size > head.Size)
        {
            return null;
        }

        try
        {
            var rightmost = new List<Entry>();
            for (var index = state.Size / Tiles.Width * Tiles.Width; index < state.Size;)
            {
                var entries = storage.Read(index, (int)(state.Size - index), ReadBytes);
                if (entries.Count == 0)
                {
                    return null;
                }

                rightmost.AddRange(entries);
                index += entries.Count;
            }

            var tiles = new TileStore(storage.Tiles);
            tiles.Load(state.Size, rightmost);
            return tiles.Root() == state.Root ? tiles : null;
        }
        catch (LogFailedException)
        {
            // Tiles can be made again; if it is the entries that are damaged, reading them will say so.
            return null;
        }
    }
}
