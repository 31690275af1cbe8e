namespace Countersign.Recorder.Format;

/// <summary>What readers of the log need of it.</summary>
public interface IEntryLog
{
    /// <summary>Entries that are durable and part of the tree.</summary>
    long Size { get; }

    /// <summary>Reads entries in the order of the log; fewer than asked for where a bound is reached, at least one where there is one.</summary>
    /// <param name="from">First index.</param>
    /// <param name="maxEntries">Most entries.</param>
    /// <param name="maxBytes">About how many bytes.</param>
    IReadOnlyList<Entry> Read(long from, int maxEntries, int maxBytes);

    /// <summary>Completes once the log is longer than so many entries.</summary>
    Task WaitBeyondAsync(long size, CancellationToken cancellation);
}
