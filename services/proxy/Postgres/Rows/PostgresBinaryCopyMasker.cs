using System.Buffers;
using System.Buffers.Binary;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>COPY in binary format: a header, then tuples of a field count and length-prefixed fields, then a count of -1.</summary>
internal sealed class PostgresBinaryCopyMasker(ColumnMaskAction[] columns, DetectorSet detectors, MaskKey key) : PostgresCopyMasker(columns, detectors, key)
{
    private const int FixedHeader = 19;
    private readonly byte[] _word = new byte[FixedHeader];
    private readonly ArrayBufferWriter<byte> _held = new(256);
    private State _state = State.Header;
    private int _wordLength;
    private int _field;
    private int _left;
    private bool _overflow;

    private enum State
    {
        Header,
        Extension,
        Tuple,
        Length,
        Content,
        Trailer,
    }

    public override void Feed(ReadOnlySpan<byte> part)
    {
        while (!part.IsEmpty)
        {
            part = _state switch
            {
                State.Header => Header(part),
                State.Extension => Extension(part),
                State.Tuple => Tuple(part),
                State.Length => Length(part),
                State.Content => Content(part),
                _ => throw new InvalidDataException("COPY data goes on behind its end."),
            };
        }
    }

    public override void Finish()
    {
        if (_state is not (State.Trailer or State.Tuple) || _wordLength > 0)
        {
            throw new InvalidDataException("COPY data is truncated.");
        }
    }

    private bool Word(ref ReadOnlySpan<byte> part, int wanted)
    {
        var take = Math.Min(wanted - _wordLength, part.Length);
        part[..take].CopyTo(_word.AsSpan(_wordLength));
        part = part[take..];
        _wordLength += take;
        if (_wordLength < wanted)
        {
            return false;
        }

        _wordLength = 0;
        return true;
    }

    private ReadOnlySpan<byte> Header(ReadOnlySpan<byte> part)
    {
        if (Word(ref part, FixedHeader))
        {
            _left = BinaryPrimitives.ReadInt32BigEndian(_word.AsSpan(15));
            if (!_word.AsSpan(0, 11).SequenceEqual(Signature) || _left < 0)
            {
                throw new InvalidDataException("COPY data has no header.");
            }

            Out.Write(_word.AsSpan(0, FixedHeader));
            _state = _left > 0 ? State.Extension : State.Tuple;
        }

        return part;
    }

    private static ReadOnlySpan<byte> Signature => [(byte)'P', (byte)'G', (byte)'C', (byte)'O', (byte)'P', (byte)'Y', (byte)'\n', 0xFF, (byte)'\r', (byte)'\n', 0];

    private ReadOnlySpan<byte> Extension(ReadOnlySpan<byte> part)
    {
        var take = Math.Min(_left, part.Length);
        Out.Write(part[..take]);
        _left -= take;
        _state = _left > 0 ? State.Extension : State.Tuple;
        return part[take..];
    }

    private ReadOnlySpan<byte> Tuple(ReadOnlySpan<byte> part)
    {
        if (Word(ref part, 2))
        {
            var count = BinaryPrimitives.ReadInt16BigEndian(_word);
            if (count != -1 && count != Columns.Length)
            {
                throw new InvalidDataException("A COPY tuple has another number of fields than its columns.");
            }

            Out.Write(_word.AsSpan(0, 2));
            _field = 0;
            _state = count == -1 ? State.Trailer : count == 0 ? State.Tuple : State.Length;
            Lines += count == -1 ? 0 : 1;
        }

        return part;
    }

    private ReadOnlySpan<byte> Length(ReadOnlySpan<byte> part)
    {
        if (Word(ref part, 4))
        {
            _left = BinaryPrimitives.ReadInt32BigEndian(_word);
            if (_left < -1)
            {
                throw new InvalidDataException("A COPY field has an impossible length.");
            }

            if (_left == -1 || Columns[_field].Strategy == MaskStrategy.None)
            {
                Out.Write(_word.AsSpan(0, 4));
            }

            if (_left == -1)
            {
                Next();
            }
            else
            {
                _state = State.Content;
                if (_left == 0)
                {
                    End();
                }
            }
        }

        return part;
    }

    private ReadOnlySpan<byte> Content(ReadOnlySpan<byte> part)
    {
        ref readonly var column = ref Columns[_field];
        var take = Math.Min(_left, part.Length);
        var content = part[..take];
        _left -= take;
        if (column.Strategy != MaskStrategy.None)
        {
            _overflow |= _held.WrittenCount + take > LargestHeld;
            if (_overflow)
            {
                _held.ResetWrittenCount();
            }
            else
            {
                _held.Write(content);
            }
        }
        else if (column.Scan && Detectors.Kinds != Path.Mask.Detectors.None)
        {
            _held.Write(content);
            if (_held.WrittenCount > LargestHeld)
            {
                Search(column, DetectorSet.LongestFinding);
            }
        }
        else
        {
            Out.Write(content);
        }

        if (_left == 0)
        {
            End();
        }

        return part[take..];
    }

    private void End()
    {
        ref readonly var column = ref Columns[_field];
        if (column.Strategy != MaskStrategy.None)
        {
            Span<byte> masked = stackalloc byte[MaskedField.Longest];
            var effective = _overflow && column.Strategy != MaskStrategy.Null ? column with { Strategy = MaskStrategy.Redact } : column;
            var written = MaskedField.Write(effective, _held.WrittenSpan, Key, masked);
            Out.Write(masked[..written]);
            CountMasked();
        }
        else if (_held.WrittenCount > 0)
        {
            Search(column, 0);
        }

        _held.ResetWrittenCount();
        _overflow = false;
        Next();
    }

    private void Search(in ColumnMaskAction column, int keep)
    {
        var all = _held.WrittenSpan.ToArray();
        if (Detectors.MayContain(all) || column.Form == TypeForm.Int8)
        {
            Found(MaskedField.Detect(column, all, Detectors));
        }

        Out.Write(all.AsSpan(0, all.Length - keep));
        _held.ResetWrittenCount();
        _held.Write(all.AsSpan(all.Length - keep));
    }

    private void Next() => _state = ++_field == Columns.Length ? State.Tuple : State.Length;
}
