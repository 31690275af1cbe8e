using Countersign.Recorder.Format;

namespace Countersign.Recorder.Verify;

/// <summary>
/// Verifies an export offline, with nothing but public keys (invariant I6). An independent reader: it shares the format with the recorder, not the code
/// that writes the log. Reads the file once, in memory bounded by the longest line and the number of sessions.
/// </summary>
public static class ExportVerifier
{
    /// <summary>Verifies an export.</summary>
    /// <exception cref="EntryFormatException">The key given is none: nothing was verified.</exception>
    public static async Task<VerifyReport> VerifyAsync(Stream export, VerifyOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(export);
        ArgumentNullException.ThrowIfNull(options);
        var verifier = NoteVerifier.Parse(options.Key);
        var pinned = options.PinnedCheckpoint is { } note ? Checkpoint.Open(note, verifier) : null;
        var findings = new FindingList(options.MaxFindings);
        var reader = new LineReader(export, ExportLine.MaxLength);
        if (ReadHeader(await reader.ReadAsync(cancellation), reader, verifier, options, findings) is not { } head)
        {
            return new VerifyReport(false, findings.ToList(), new VerifySummary(verifier.Name, 0, 0, 0, "", 0, 0, 0, 0, 0, null, null));
        }

        using var chains = new SessionChains(findings, head.Keys, head.Header.From == 0);
        var range = new RangeReader(head, pinned, chains, findings);
        while (await reader.ReadAsync(cancellation) is { } line)
        {
            if (reader.WasCut || reader.WasTooLong)
            {
                range.Malformed(reader.Number, reader.WasCut ? "the file was cut in this line" : "the line is too long");
                continue;
            }

            try
            {
                range.Add(ExportLine.Read(line), reader.Number);
            }
            catch (EntryFormatException error)
            {
                range.Malformed(reader.Number, error.Message);
            }
        }

        range.Finish(reader.Number);
        chains.Finish();
        return new VerifyReport(!findings.HasErrors, findings.ToList(), range.Summarise());
    }

    private static ExportHead? ReadHeader(
        ReadOnlyMemory<byte>? line, LineReader reader, NoteVerifier verifier, VerifyOptions options, FindingList findings)
    {
        void Error(string kind, string message) => findings.Add(new Finding(Severity.Error, kind, message, 1));

        ExportHeader header;
        try
        {
            if (line is null || reader.WasCut || reader.WasTooLong)
            {
                throw new EntryFormatException("the file has no header line");
            }

            header = ExportHeader.Read(line.Value.Span);
        }
        catch (EntryFormatException error)
        {
            Error(FindingKinds.Header, error.Message);
            return null;
        }

        Checkpoint? checkpoint = null;
        try
        {
            checkpoint = Checkpoint.Open(header.Checkpoint, verifier);
        }
        catch (EntryFormatException error)
        {
            Error(FindingKinds.Signature, $"the checkpoint is not good: {error.Message}");
        }

        IReadOnlyList<SealKey> keys = [];
        try
        {
            keys = SealKeys.Open(header.Keys, verifier);
            foreach (var key in keys)
            {
                key.ToECDsa().Dispose();
            }
        }
        catch (EntryFormatException error)
        {
            keys = [];
            Error(FindingKinds.Signature, $"the statement of keys is not good: {error.Message}");
        }

        if (options.PinnedSealKeys is { } pinnedKeys)
        {
            keys = [.. keys.Where(key => pinnedKeys.Contains(key.KeyId))];
        }

        if (checkpoint is not null && header.To > checkpoint.Size)
        {
            Error(FindingKinds.Header, $"the header says that the range ends at {header.To}, but the checkpoint covers {checkpoint.Size} entries only");
            return null;
        }

        if (header.Left.Count != CompactRange.Cover(0, header.From).Count
            || (checkpoint is not null && header.Right.Count != CompactRange.Cover(header.To, checkpoint.Size).Count))
        {
            Error(FindingKinds.Header, "the header has the wrong number of hashes for its range");
            return null;
        }

        if (checkpoint is not null && header.Since is { } since
            && !MerkleProofs.VerifyConsistency(since.Size, checkpoint.Size, since.Root, checkpoint.Root, since.Proof))
        {
            Error(FindingKinds.Fork, $"the header's proof that the log has only grown since {since.Size} entries does not verify");
        }

        return new ExportHead(verifier.Name, header, checkpoint, keys);
    }
}

/// <summary>What the first line says, verified as far as it can be by itself.</summary>
internal sealed record ExportHead(string Origin, ExportHeader Header, Checkpoint? Checkpoint, IReadOnlyList<SealKey> Keys);
