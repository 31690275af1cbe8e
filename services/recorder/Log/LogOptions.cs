namespace Countersign.Recorder.Log;

/// <summary>Bounds and times of the log.</summary>
public sealed record LogOptions
{
    /// <summary>Folder of a log in files; not used by one in a database.</summary>
    public string Directory { get; init; } = "";
    /// <summary>File for the highest checkpoint made known, away from the log's storage; null for none.</summary>
    public string? HighestCheckpointFile { get; init; }
    /// <summary>Files with checkpoints that were kept elsewhere: the log must contain them.</summary>
    public IReadOnlyList<string> PinnedCheckpointFiles { get; init; } = [];
    /// <summary>How often a replica looks at what others have appended.</summary>
    public TimeSpan FollowInterval { get; init; } = TimeSpan.FromMilliseconds(200);
    /// <summary>Longest wait between two attempts to load a log whose database failed.</summary>
    public TimeSpan RetryInterval { get; init; } = TimeSpan.FromSeconds(5);
    /// <summary>Bytes after which a new file of entries is begun.</summary>
    public long SegmentBytes { get; init; } = 64L * 1024 * 1024;
    /// <summary>How long entries may wait for a signed checkpoint.</summary>
    public TimeSpan CheckpointDelay { get; init; } = TimeSpan.FromMilliseconds(500);
    /// <summary>Most bytes that wait to be written; callers wait for room.</summary>
    public int MaxPendingBytes { get; init; } = 64 * 1024 * 1024;
    /// <summary>Entries between two snapshots of the state, which bound what a start must read again.</summary>
    public int SnapshotEntries { get; init; } = 65_536;
    /// <summary>Most entries of a session without a seal.</summary>
    public int MaxUnsealed { get; init; } = 262_144;
    /// <summary>Ids of audit events that are remembered, to find those delivered twice.</summary>
    public int MaxEventIds { get; init; } = 131_072;
}

/// <summary>The log can't be written, or isn't what it must be. Nothing is acknowledged any more.</summary>
public sealed class LogFailedException : Exception
{
    /// <summary>Says what is wrong.</summary>
    public LogFailedException(string message, Exception? inner)
        : base(message, inner)
    {
    }

    /// <summary>Says what is wrong.</summary>
    public LogFailedException(string message)
        : base(message)
    {
    }

    /// <summary>Without a message.</summary>
    public LogFailedException()
    {
    }
}
