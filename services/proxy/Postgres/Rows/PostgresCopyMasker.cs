using System.Buffers;
using System.Buffers.Binary;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>
/// Rewrites what a COPY … TO STDOUT sends. CopyData may be split anywhere: state is kept from part to part. A masked field is held until its
/// end (bounded: a longer one is redacted whatever its strategy); other fields pass as they come, unless detectors look at them.
/// </summary>
internal abstract class PostgresCopyMasker(ColumnMaskAction[] columns, DetectorSet detectors, MaskKey key)
{
    /// <summary>Largest field that is held.</summary>
    protected const int LargestHeld = 1 << 20;
    private readonly ArrayBufferWriter<byte> _out = new(4096);
    private int _masked;
    private int _findings;

    /// <summary>Rows seen.</summary>
    public long Lines { get; protected set; }

    protected ColumnMaskAction[] Columns { get; } = columns;
    protected DetectorSet Detectors { get; } = detectors;
    protected MaskKey Key { get; } = key;
    protected IBufferWriter<byte> Out => _out;

    /// <summary>A masker for a CopyOutResponse; null where its data passes as it is.</summary>
    /// <exception cref="InvalidDataException">The message is malformed.</exception>
    public static PostgresCopyMasker? Create(ReadOnlySpan<byte> copyOut, StatementMask statement, PostgresMaskPlan plan, MaskKey key)
    {
        if (copyOut.Length < 3)
        {
            throw new InvalidDataException("CopyOutResponse is truncated.");
        }

        int count = BinaryPrimitives.ReadUInt16BigEndian(copyOut[1..]);
        var binary = copyOut[0] != 0;
        var listed = statement.Outputs?.Count == count ? statement.Outputs : null;
        var columns = new ColumnMaskAction[count];
        var masks = false;
        for (var index = 0; index < count; index++)
        {
            var output = listed is null ? new OutputMask(statement.Unnamed(-1, -1), TypeForm.Unknown) : listed[index];
            // Whoever reads COPY text doesn't decode types: an unknown one may be redacted. In binary only NULL is certain.
            var form = !binary && output.Form == TypeForm.Unknown ? TypeForm.Text : output.Form;
            columns[index] = new ColumnMaskAction(output.Strategy, form, binary, Scan: output.Form != TypeForm.Bytes);
            masks |= output.Strategy != MaskStrategy.None;
        }

        if (count == 0 || (!masks && plan.Detectors.Kinds == Path.Mask.Detectors.None && plan.RowLimit is null))
        {
            return null;
        }

        if (binary)
        {
            return new PostgresBinaryCopyMasker(columns, plan.Detectors, key);
        }

        return statement.Copy is { IsKnown: true, Binary: false } shape
            ? new PostgresTextCopyMasker(columns, shape, plan.Detectors, key)
            : throw new InvalidDataException("This COPY's format isn't known, so that it can't be masked.");
    }

    /// <summary>Takes the next part of the data.</summary>
    public abstract void Feed(ReadOnlySpan<byte> part);

    /// <summary>The data is complete.</summary>
    public abstract void Finish();

    /// <summary>Writes what has become of the data so far as one CopyData message; nothing where there is nothing.</summary>
    public void Flush(IBufferWriter<byte> output)
    {
        if (_out.WrittenCount > 0)
        {
            Write(_out.WrittenSpan, output);
            _out.ResetWrittenCount();
        }
    }

    /// <summary>Writes a CopyData message.</summary>
    public static void Write(ReadOnlySpan<byte> content, IBufferWriter<byte> output)
    {
        var header = output.GetSpan(5);
        header[0] = (byte)'d';
        BinaryPrimitives.WriteInt32BigEndian(header[1..], content.Length + 4);
        output.Advance(5);
        output.Write(content);
    }

    /// <summary>Masked fields since the last call.</summary>
    public int TakeMasked() => Take(ref _masked);

    /// <summary>Findings since the last call.</summary>
    public int TakeFindings() => Take(ref _findings);

    protected void CountMasked() => _masked++;

    protected int Found(int count)
    {
        _findings += count;
        return count;
    }

    private static int Take(ref int counter)
    {
        var value = counter;
        counter = 0;
        return value;
    }
}
