namespace Countersign.Proxy.Path.Record;

/// <summary>Bounds and times of the spool.</summary>
public sealed record SpoolOptions
{
    /// <summary>Folder of the spool; made with mode 0700. One process at a time.</summary>
    public required string Directory { get; init; }
    /// <summary>Proxy id, for the ends that are written after a crash.</summary>
    public required string Proxy { get; init; }
    /// <summary>Bytes of one segment; written with zeros before it is used, since a sync that changes no size and no blocks is a third cheaper.</summary>
    public long SegmentBytes { get; init; } = 64L * 1024 * 1024;
    /// <summary>Most bytes on disk. When the recorder is away for so long that this is reached, sessions end.</summary>
    public long MaxBytes { get; init; } = 4L * 1024 * 1024 * 1024;
    /// <summary>Most bytes that wait for the disk.</summary>
    public int MaxPendingBytes { get; init; } = 16 * 1024 * 1024;
    /// <summary>How long what nobody waits for (completions, buffered reads) may wait for a sync that somebody waits for.</summary>
    public TimeSpan LazyDelay { get; init; } = TimeSpan.FromMilliseconds(20);
    /// <summary>
    /// How many waiting sessions the sync thread itself wakes, which is twice as fast as a thread of the pool (benchmarks/spool). More are woken by the pool, so
    /// that the next sync can begin. What a session does next must not block: it holds up every other session.
    /// </summary>
    public int InlineWakes { get; init; } = 32;
    /// <summary>How many waiting sessions one work item of the thread pool wakes, one behind the other.</summary>
    public int WakeChunk { get; init; } = 8;
    /// <summary>Write with O_DSYNC (one system call) instead of a write and an fdatasync.</summary>
    public bool WriteThrough { get; init; } = true;
    /// <summary>How often an open session says that it is.</summary>
    public TimeSpan Heartbeat { get; init; } = TimeSpan.FromMinutes(1);
    /// <summary>How often entries are shipped where nobody waits for the recorder and there is no whole batch.</summary>
    public TimeSpan ShipInterval { get; init; } = TimeSpan.FromMilliseconds(200);
    /// <summary>Most bytes of a batch for the recorder, but for a single entry that is longer.</summary>
    public int ShipBytes { get; init; } = 2 * 1024 * 1024;
    /// <summary>Least time between two seals of a session, but for its last.</summary>
    public TimeSpan SealInterval { get; init; } = TimeSpan.FromSeconds(1);
    /// <summary>Most entries between two seals of a session.</summary>
    public int SealEntries { get; init; } = 4096;
    /// <summary>First pause after the recorder could not be reached; doubles.</summary>
    public TimeSpan FirstPause { get; init; } = TimeSpan.FromMilliseconds(100);
    /// <summary>Longest pause.</summary>
    public TimeSpan LongestPause { get; init; } = TimeSpan.FromSeconds(5);
    /// <summary>How long an operation waits for the recorder's acknowledgement before its session ends.</summary>
    public TimeSpan AcknowledgeTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Bytes kept back for the ends of sessions and operations when the disk is full.</summary>
    internal long ReserveBytes => Math.Min(8L * 1024 * 1024, SegmentBytes / 4);
}
