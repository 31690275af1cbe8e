using System.Buffers;
using System.IO.Pipelines;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;

namespace Countersign.Recorder.Export;

/// <summary>What to export.</summary>
public sealed record ExportRequest
{
    /// <summary>First index.</summary>
    public long From { get; init; }
    /// <summary>Index after the last; null for all that the latest checkpoint covers.</summary>
    public long? To { get; init; }
    /// <summary>Sessions whose entries are shown; of the others only the hashes. Null shows all.</summary>
    public Func<string, bool>? Shows { get; init; }
    /// <summary>Size of an earlier head to prove that the log has only grown since; null for none.</summary>
    public long? Since { get; init; }
}

/// <summary>Writes exports: one file that anybody can verify offline with the log's public key (docs/formats/export.md).</summary>
public static class LogExporter
{
    private const int ReadEntries = 4096;
    private const int ReadBytes = 2 * 1024 * 1024;

    /// <summary>Writes an export. Bounded memory: one piece of the log at a time.</summary>
    /// <param name="log">The log.</param>
    /// <param name="keyStatement">The recorder's signed statement of the keys that seal sessions (<see cref="SealKeys.Sign"/>).</param>
    /// <param name="request">What.</param>
    /// <param name="output">Where to.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is not in the log; nothing was written.</exception>
    public static async Task WriteAsync(RecorderLog log, string keyStatement, ExportRequest request, PipeWriter output, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(output);
        var (note, checkpoint) = await CoverAsync(log, cancellation).ConfigureAwait(false);
        var to = request.To ?? checkpoint.Size;
        if (request.From < 0 || request.From > to || to > checkpoint.Size || request.Since is { } since && (since < 0 || since > checkpoint.Size))
        {
            throw new ArgumentOutOfRangeException(nameof(request), "The range is not in the log.");
        }

        Header(log, keyStatement, request, note, checkpoint, to).Write(output);
        ulong link = 0;
        for (var index = request.From; index < to;)
        {
            var entries = log.Read(index, (int)Math.Min(to - index, ReadEntries), ReadBytes);
            foreach (var entry in entries)
            {
                var leaf = entry.LeafHash;
                link = ExportLine.LinkOf(link, index, leaf);
                new ExportLine(index, leaf, link, request.Shows?.Invoke(entry.Session) ?? true ? entry : null).Write(output);
                index++;
            }

            var flushed = await output.FlushAsync(cancellation).ConfigureAwait(false);
            if (flushed.IsCompleted)
            {
                return;
            }
        }

        await output.FlushAsync(cancellation).ConfigureAwait(false);
    }

    private static ExportHeader Header(RecorderLog log, string keyStatement, ExportRequest request, string note, Checkpoint checkpoint, long to) => new()
    {
        From = request.From,
        To = to,
        Checkpoint = note,
        Left = Nodes(log, 0, request.From),
        Right = Nodes(log, to, checkpoint.Size),
        Keys = keyStatement,
        Since = request.Since is { } size
            ? new ExportSince(size, CompactRange.Load(log.Nodes, 0, size).Root(), MerkleProofs.Consistency(log.Nodes, size, checkpoint.Size))
            : null,
    };

    private static Hash256[] Nodes(RecorderLog log, long begin, long end) =>
        [.. CompactRange.Cover(begin, end).Select(node => log.Nodes.Node(node.Level, node.Index))];

    // What was just acknowledged should be in an export that is asked for right afterwards: its checkpoint is signed in a moment.
    private static async Task<(string Note, Checkpoint Checkpoint)> CoverAsync(RecorderLog log, CancellationToken cancellation)
    {
        var size = log.Size;
        for (var attempt = 0; attempt < 100 && log.Latest.Size < size && log.Problem is null; attempt++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20), cancellation).ConfigureAwait(false);
        }

        while (true)
        {
            var checkpoint = log.Latest;
            var note = log.CheckpointNote;
            if (Checkpoint.Open(note, log.Verifier) == checkpoint)
            {
                return (note, checkpoint);
            }
        }
    }
}
