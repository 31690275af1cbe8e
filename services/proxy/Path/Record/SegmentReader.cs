namespace Countersign.Proxy.Path.Record;

/// <summary>What stands at an offset of a segment.</summary>
internal enum SegmentRead
{
    /// <summary>A whole batch.</summary>
    Batch,
    /// <summary>Nothing was written here.</summary>
    End,
    /// <summary>A batch that was not written to its end.</summary>
    Torn,
}

/// <summary>Reads batches of one segment one behind the other. The memory of a batch is good until the next one is read.</summary>
internal sealed class SegmentReader(ISpoolFile file, long segment)
{
    private byte[] _buffer = new byte[64 * 1024];

    /// <summary>Where the next batch begins.</summary>
    public long Offset { get; set; } = SpoolFormat.Block;

    /// <summary>Number of the batch that was read last.</summary>
    public long Number { get; private set; }

    /// <summary>Whether the segment has its header.</summary>
    public bool HasHeader()
    {
        var block = new byte[SpoolFormat.Block];
        return Fill(block, 0) == block.Length && SpoolFormat.IsSegmentHeader(block, segment);
    }

    /// <summary>Reads the batch at <see cref="Offset"/> and steps behind it.</summary>
    /// <param name="limit">Nothing at or behind this offset is looked at.</param>
    /// <param name="records">The batch's records.</param>
    public SegmentRead TryRead(long limit, out ReadOnlySpan<byte> records)
    {
        records = default;
        if (Offset + SpoolFormat.Block > limit)
        {
            return SegmentRead.End;
        }

        var read = Fill(_buffer.AsSpan(0, SpoolFormat.Block), Offset);
        var first = _buffer.AsSpan(0, read);
        if (!first.ContainsAnyExcept((byte)0))
        {
            return SegmentRead.End;
        }

        if (read < SpoolFormat.Block || !SpoolFormat.TryReadBatchHeader(first, segment, out var length, out var number)
            || Offset + SpoolFormat.Padded(length) > limit)
        {
            return SegmentRead.Torn;
        }

        if (_buffer.Length < length)
        {
            Array.Resize(ref _buffer, SpoolFormat.Padded(length));
        }

        if (Fill(_buffer.AsSpan(0, length), Offset) < length || !SpoolFormat.IsWhole(_buffer.AsSpan(0, length)))
        {
            return SegmentRead.Torn;
        }

        Number = number;
        Offset += SpoolFormat.Padded(length);
        records = _buffer.AsSpan(SpoolFormat.BatchHeaderSize, length - SpoolFormat.BatchHeaderSize);
        return SegmentRead.Batch;
    }

    /// <summary>
    /// Whether a batch with a higher number stands anywhere behind the offset. It was written only after all before it were durable, so then what is torn
    /// was durable once: that is damage, not a crash.
    /// </summary>
    public bool HasLaterBatch(long limit)
    {
        var kept = Number;
        Span<byte> header = stackalloc byte[SpoolFormat.BatchHeaderSize];
        for (var offset = Offset + SpoolFormat.Block; offset + SpoolFormat.Block <= limit; offset += SpoolFormat.Block)
        {
            var probe = new SegmentReader(file, segment) { Offset = offset };
            if (Fill(header, offset) == header.Length && SpoolFormat.TryReadBatchHeader(header, segment, out _, out var number)
                && number > kept + 1 && probe.TryRead(limit, out _) == SegmentRead.Batch)
            {
                return true;
            }
        }

        return false;
    }

    private int Fill(Span<byte> buffer, long offset)
    {
        var filled = 0;
        while (filled < buffer.Length)
        {
            var read = file.Read(buffer[filled..], offset + filled);
            if (read == 0)
            {
                break;
            }

            filled += read;
        }

        return filled;
    }
}
