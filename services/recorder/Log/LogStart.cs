using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>How a log is opened: from its last snapshot, or, where that doesn't fit, from its entries alone.</summary>
internal static class LogStart
{
    public const string CheckpointFile = "checkpoint";
    public const string StateFile = "state";
    private const int ReadEntries = 8192;
    private const int ReadBytes = 4 * 1024 * 1024;

    public static (TileStore Tiles, LogState State) Load(LogOptions options, EntryStore store)
    {
        var state = LogState.Load(Path.Combine(options.Directory, StateFile), options);
        var tiles = TryLoadTiles(options, store, state);
        if (tiles is null)
        {
            state = new LogState(options);
            tiles = new TileStore(options.Directory);
        }

        while (tiles.Size < store.Count)
        {
            var entries = store.Read(tiles.Size, ReadEntries, ReadBytes);
            foreach (var entry in entries)
            {
                state.Replay(entry);
            }

            tiles.Append(entries);
        }

        return (tiles, state);
    }

    /// <summary>A log that is shorter than its own checkpoint, or another, is evidence of tampering or of a wrong restore: it must not go on.</summary>
    public static void CompareWithCheckpoint(LogOptions options, TileStore tiles, NoteVerifier verifier)
    {
        var path = Path.Combine(options.Directory, CheckpointFile);
        if (!File.Exists(path))
        {
            return;
        }

        Checkpoint checkpoint;
        try
        {
            checkpoint = Checkpoint.Open(File.ReadAllText(path), verifier);
        }
        catch (EntryFormatException error)
        {
            throw new LogFailedException("the log's checkpoint is not signed by its key", error);
        }

        if (checkpoint.Size > tiles.Size)
        {
            throw new LogFailedException($"the log has {tiles.Size} entries, but its checkpoint covers {checkpoint.Size}: entries are missing");
        }

        if (CompactRange.Load(tiles, 0, checkpoint.Size).Root() != checkpoint.Root)
        {
            throw new LogFailedException($"the log's first {checkpoint.Size} entries are not those that its checkpoint covers");
        }
    }

    private static TileStore? TryLoadTiles(LogOptions options, EntryStore store, LogState state)
    {
        if (state.Size == 0 || state.Size > store.Count)
        {
            return null;
        }

        try
        {
            var rightmost = new List<Entry>();
            for (var index = state.Size / Tiles.Width * Tiles.Width; index < state.Size;)
            {
                var entries = store.Read(index, (int)(state.Size - index), ReadBytes);
                rightmost.AddRange(entries);
                index += entries.Count;
            }

            var tiles = new TileStore(options.Directory);
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
