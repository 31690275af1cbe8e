using System.Buffers;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>COPY in text and csv format: splits lines into fields as the server wrote them, and writes replaced ones in the same format.</summary>
internal sealed class PostgresTextCopyMasker(ColumnMaskAction[] columns, CopyShape shape, DetectorSet detectors, MaskKey key)
    : PostgresCopyMasker(columns, detectors, key)
{
    private readonly SearchValues<byte> _plainStops = SearchValues.Create(
        shape.Csv ? [shape.Delimiter, (byte)'\n', (byte)'\r', shape.Quote] : [shape.Delimiter, (byte)'\n', (byte)'\\']);
    private readonly SearchValues<byte> _quotedStops = SearchValues.Create([shape.Quote, shape.Escape]);
    private readonly ArrayBufferWriter<byte> _held = new(256);
    private bool _header = shape.Header;
    private int _field;
    private bool _quoted;
    private bool _escaped;
    private bool _overflow;
    private bool _lineBegun;

    public override void Feed(ReadOnlySpan<byte> part)
    {
        while (!part.IsEmpty)
        {
            _lineBegun = true;
            if (_escaped)
            {
                // Csv: within quotes an escape that is not followed by a quote or itself stands for itself; either way it ends nothing but a quote.
                _escaped = false;
                if (!shape.Csv || part[0] == shape.Quote || part[0] == shape.Escape)
                {
                    Take(part[..1]);
                    part = part[1..];
                    continue;
                }
            }

            var stop = part.IndexOfAny(_quoted ? _quotedStops : _plainStops);
            if (stop < 0)
            {
                Take(part);
                return;
            }

            Take(part[..stop]);
            var unit = part[stop];
            part = part[(stop + 1)..];
            Stop(unit);
        }
    }

    public override void Finish()
    {
        // The server ends every line; what is left over would be a truncated row, of which a masked field must not pass.
        if (_lineBegun)
        {
            EndField();
        }
    }

    private void Stop(byte unit)
    {
        if (shape.Csv)
        {
            if (_quoted && unit == shape.Escape && shape.Escape != shape.Quote)
            {
                Take([unit]);
                _escaped = true;
                return;
            }

            if (unit == shape.Quote)
            {
                // A doubled quote closes and opens again, which comes to the same.
                Take([unit]);
                _quoted = !_quoted;
                return;
            }
        }
        else if (unit == (byte)'\\')
        {
            Take([unit]);
            _escaped = true;
            return;
        }

        if (unit == shape.Delimiter)
        {
            EndField();
            Out.Write([unit]);
            _field++;
        }
        else if (unit == (byte)'\n')
        {
            EndField();
            Out.Write([unit]);
            if (_field != Columns.Length - 1 && !(_field == 0 && Columns.Length == 0))
            {
                throw new InvalidDataException("A COPY line has another number of fields than its columns.");
            }

            Lines += _header ? 0 : 1;
            _header = false;
            _field = 0;
            _lineBegun = false;
        }
        else
        {
            Take([unit]);
        }
    }

    private bool IsHeld => !_header && (Columns[_field].Strategy != MaskStrategy.None || (Columns[_field].Scan && Detectors.Kinds != Path.Mask.Detectors.None));

    private void Take(ReadOnlySpan<byte> raw)
    {
        if (_field >= Columns.Length)
        {
            throw new InvalidDataException("A COPY line has more fields than columns.");
        }

        if (!IsHeld)
        {
            Out.Write(raw);
            return;
        }

        if (_held.WrittenCount + raw.Length <= LargestHeld)
        {
            _held.Write(raw);
            return;
        }

        // Longer than is held: a masked field loses its content and is redacted; a searched one is let go but for what a finding could span.
        _overflow = true;
        if (Columns[_field].Strategy != MaskStrategy.None)
        {
            _held.ResetWrittenCount();
            return;
        }

        _held.Write(raw);
        var all = _held.WrittenSpan.ToArray();
        Found(Detectors.MaskInPlace(all));
        Out.Write(all.AsSpan(0, all.Length - DetectorSet.LongestFinding));
        _held.ResetWrittenCount();
        _held.Write(all.AsSpan(all.Length - DetectorSet.LongestFinding));
    }

    private void EndField()
    {
        if (_field >= Columns.Length)
        {
            throw new InvalidDataException("A COPY line has more fields than columns.");
        }

        if (!IsHeld)
        {
            return;
        }

        ref readonly var column = ref Columns[_field];
        var raw = _held.WrittenSpan;
        if (column.Strategy != MaskStrategy.None)
        {
            Mask(column, raw);
        }
        else if (_overflow)
        {
            var rest = raw.ToArray();
            Found(Detectors.MaskInPlace(rest));
            Out.Write(rest);
        }
        else
        {
            Detect(column, raw);
        }

        _held.ResetWrittenCount();
        _overflow = false;
    }

    private void Mask(in ColumnMaskAction column, ReadOnlySpan<byte> raw)
    {
        if (!_overflow && raw.SequenceEqual(shape.Null))
        {
            Out.Write(raw);
            return;
        }

        // Whether the original was quoted would tell something of it.
        CountMasked();
        Span<byte> masked = stackalloc byte[MaskedField.Longest];
        var effective = _overflow && column.Strategy != MaskStrategy.Null ? column with { Strategy = MaskStrategy.Redact } : column;
        var written = MaskedField.Write(effective, _overflow ? default : shape.Decode(raw), Key, masked);
        var isNull = System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(masked) < 0;
        Out.Write(isNull ? shape.Null : shape.Encode(masked[4..written], quoted: false));
    }

    private void Detect(in ColumnMaskAction column, ReadOnlySpan<byte> raw)
    {
        if (raw.SequenceEqual(shape.Null) || !Detectors.MayContain(raw))
        {
            Out.Write(raw);
            return;
        }

        // Escapes hide where a word begins (\t4111…), so the value is searched, not its encoding.
        var value = shape.Decode(raw);
        if (Found(Detectors.MaskInPlace(value, column.Form is TypeForm.Number or TypeForm.Int8 ? (byte)'0' : (byte)'*')) > 0)
        {
            Out.Write(shape.Encode(value, shape.IsQuoted(raw)));
        }
        else
        {
            Out.Write(raw);
        }
    }
}
