namespace Countersign.Recorder.Log;

/// <summary>Bounds and times of the log.</summary>
public sealed record LogOptions
{
    /// <summary>Folder of the log.</summary>
    public required string Directory { get; init; }
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
