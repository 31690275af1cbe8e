using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Path.Record;

/// <summary>The way to the recorder. Called at least once for every entry, in the order of each session.</summary>
public interface IEntryTransport
{
    /// <summary>Hands over a batch; completes when the recorder has it durably.</summary>
    /// <param name="batch">Frames of entries (docs/formats/entry.md), good until the task completes.</param>
    /// <param name="cancellation">Ends the attempt.</param>
    /// <returns>How far the recorder has each session of the batch, and which it refuses for good.</returns>
    /// <exception cref="Exception">Anything: not acknowledged, tried again later.</exception>
    ValueTask<BatchResult> SendAsync(ReadOnlyMemory<byte> batch, CancellationToken cancellation);
}
