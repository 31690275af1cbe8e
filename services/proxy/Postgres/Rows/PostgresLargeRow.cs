using System.Buffers;
using System.Buffers.Binary;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>
/// A DataRow that comes in parts because it is too large to be held. Its length was announced before its fields are known, so nothing may change
/// in length: a masked field is filled with as many bytes as it had, in a form that its type can take; where none is certain the row can't be
/// delivered and <see cref="Feed"/> throws. A field under detectors is searched in parts that overlap.
/// </summary>
public sealed class PostgresLargeRow
{
    // At least twice the longest finding, so that a finding lies whole in one window.
    private const int Window = 4 * DetectorSet.LongestFinding;
    private readonly ColumnMaskAction[]? _columns;
    private readonly DetectorSet _detectors;
    private readonly bool _drop;
    private readonly Action<int> _masked;
    private readonly Action<int> _found;
    private readonly byte[] _word = new byte[4];
    private readonly int _length;
    private ArrayBufferWriter<byte>? _held;
    private int _wordLength;
    private int _seen;
    private int _field = -2;
    private int _fieldLength;
    private int _left;
    private bool _started;

    internal PostgresLargeRow(int length, ColumnMaskAction[]? columns, DetectorSet detectors, bool drop, Action<int> masked, Action<int> found)
    {
        _length = length;
        _columns = columns;
        _detectors = detectors;
        _drop = drop;
        _masked = masked;
        _found = found;
    }

    /// <summary>True where the row is over the row limit: it is fed, but nothing is written.</summary>
    public bool Dropped => _drop;

    /// <summary>Takes the next part of the body and writes what may pass (the header before the first).</summary>
    /// <exception cref="InvalidDataException">The row doesn't fit its columns, or a masked value of it can't be filled: the session must end.</exception>
    public void Feed(ReadOnlySpan<byte> part, IBufferWriter<byte> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        if ((_seen += part.Length) > _length)
        {
            throw new InvalidDataException("DataRow is longer than announced.");
        }

        if (_drop)
        {
            return;
        }

        if (!_started)
        {
            _started = true;
            var header = output.GetSpan(5);
            header[0] = (byte)'D';
            BinaryPrimitives.WriteInt32BigEndian(header[1..], _length + 4);
            output.Advance(5);
        }

        while (!part.IsEmpty)
        {
            part = _left > 0 ? Content(part, output) : Word(part, output);
        }

        if (_seen == _length && (_left > 0 || _wordLength > 0 || _field + 1 != (_columns?.Length ?? 0)))
        {
            throw new InvalidDataException("DataRow has another number of fields than its columns.");
        }
    }

    // The count of fields (two bytes, field -2), or a field's length (four bytes).
    private ReadOnlySpan<byte> Word(ReadOnlySpan<byte> part, IBufferWriter<byte> output)
    {
        var wanted = _field == -2 ? 2 : 4;
        var take = Math.Min(wanted - _wordLength, part.Length);
        part[..take].CopyTo(_word.AsSpan(_wordLength));
        _wordLength += take;
        if (_wordLength < wanted)
        {
            return part[take..];
        }

        _wordLength = 0;
        output.Write(_word.AsSpan(0, wanted));
        if (_field == -2)
        {
            if (_columns is null || BinaryPrimitives.ReadUInt16BigEndian(_word) != _columns.Length)
            {
                throw new InvalidDataException("A large row came without known columns.");
            }

            _field = -1;
            return part[take..];
        }

        if (++_field >= _columns!.Length)
        {
            throw new InvalidDataException("DataRow is longer than its fields.");
        }

        _fieldLength = BinaryPrimitives.ReadInt32BigEndian(_word);
        if (_fieldLength < -1 || _fieldLength > _length)
        {
            throw new InvalidDataException("DataRow has an impossible field length.");
        }

        _left = Math.Max(0, _fieldLength);
        if (_fieldLength > 0 && _columns[_field].Strategy != MaskStrategy.None)
        {
            _masked(1);
        }

        return part[take..];
    }

    private ReadOnlySpan<byte> Content(ReadOnlySpan<byte> part, IBufferWriter<byte> output)
    {
        ref readonly var column = ref _columns![_field];
        var take = Math.Min(_left, part.Length);
        var content = part[..take];
        if (column.Strategy != MaskStrategy.None)
        {
            Fill(column, take, output);
        }
        else if (column.Literals)
        {
            throw new InvalidDataException("A line of a plan is too large to be masked.");
        }
        else if (column.Scan && _detectors.Kinds != Detectors.None)
        {
            Search(column, content, _left == take, output);
        }
        else
        {
            output.Write(content);
        }

        _left -= take;
        return part[take..];
    }

    private void Fill(in ColumnMaskAction column, int count, IBufferWriter<byte> output)
    {
        var position = _fieldLength - _left;
        var fill = (column.Form, column.Binary) switch
        {
            (TypeForm.Text, _) => (byte)'*',
            (TypeForm.Json, _) or (TypeForm.Jsonb, false) or (TypeForm.Jsonb, true) when _fieldLength >= 4 => (byte)'*',
            (TypeForm.Bytes, true) => (byte)0,
            (TypeForm.Bytes, false) when _fieldLength >= 2 && _fieldLength % 2 == 0 => (byte)'0',
            _ => throw new InvalidDataException("A masked value is too large to be replaced."),
        };
        var span = output.GetSpan(count)[..count];
        span.Fill(fill);
        for (var index = 0; index < count && (position + index < 3 || position + index == _fieldLength - 1); index++)
        {
            span[index] = Frame(column, position + index, fill);
        }

        span[^1] = Frame(column, position + count - 1, fill);
        output.Advance(count);
    }

    // Quotes around JSON, the version byte of jsonb, the prefix of hexadecimal bytea.
    private byte Frame(in ColumnMaskAction column, int position, byte fill)
    {
        var last = position == _fieldLength - 1;
        return (column.Form, column.Binary, position) switch
        {
            (TypeForm.Jsonb, true, 0) => 1,
            (TypeForm.Jsonb, true, 1) => (byte)'"',
            (TypeForm.Jsonb, false, 0) or (TypeForm.Json, _, 0) => (byte)'"',
            (TypeForm.Json or TypeForm.Jsonb, _, _) when last => (byte)'"',
            (TypeForm.Bytes, false, 0) => (byte)'\\',
            (TypeForm.Bytes, false, 1) => (byte)'x',
            _ => fill,
        };
    }

    private void Search(in ColumnMaskAction column, ReadOnlySpan<byte> content, bool last, IBufferWriter<byte> output)
    {
        _held ??= new ArrayBufferWriter<byte>(2 * Window);
        while (!content.IsEmpty)
        {
            var take = Math.Min(content.Length, (2 * Window) - _held.WrittenCount);
            _held.Write(content[..take]);
            content = content[take..];
            if (_held.WrittenCount == 2 * Window)
            {
                Pass(column, Window, output);
            }
        }

        if (last)
        {
            Pass(column, _held.WrittenCount, output);
        }
    }

    private void Pass(in ColumnMaskAction column, int count, IBufferWriter<byte> output)
    {
        var all = _held!.WrittenSpan.ToArray();
        _found(MaskedField.Detect(column, all, _detectors));
        output.Write(all.AsSpan(0, count));
        _held.ResetWrittenCount();
        _held.Write(all.AsSpan(count));
    }
}
