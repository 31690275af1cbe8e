namespace Countersign.Recorder.Verify;

/// <summary>Reads lines that end with a newline, of bounded length, as bytes. The memory of a line is good until the next one is read.</summary>
internal sealed class LineReader(Stream stream, int maxLength)
{
    private byte[] _buffer = new byte[64 * 1024];
    private int _begin;
    private int _end;

    /// <summary>Number of the line that was read last, from 1.</summary>
    public long Number { get; private set; }

    /// <summary>True where the last line had no newline: the file was cut.</summary>
    public bool WasCut { get; private set; }

    /// <summary>True where the last line was longer than allowed; the rest of it was skipped.</summary>
    public bool WasTooLong { get; private set; }

    public async ValueTask<ReadOnlyMemory<byte>?> ReadAsync(CancellationToken cancellation)
    {
        WasTooLong = false;
        var scanned = _begin;
        while (true)
        {
            var newline = _buffer.AsSpan(scanned, _end - scanned).IndexOf((byte)'\n');
            if (newline >= 0)
            {
                var line = _buffer.AsMemory(_begin, scanned + newline - _begin);
                _begin = scanned + newline + 1;
                Number++;
                return WasTooLong ? default(ReadOnlyMemory<byte>) : line;
            }

            if (_end - _begin > maxLength)
            {
                WasTooLong = true;
                _begin = _end;
            }

            scanned = Compact(_end - _begin);
            var read = await stream.ReadAsync(_buffer.AsMemory(_end), cancellation);
            if (read == 0)
            {
                if (_begin == _end && !WasTooLong)
                {
                    return null;
                }

                WasCut = true;
                Number++;
                var rest = _buffer.AsMemory(_begin, _end - _begin);
                _begin = _end;
                return rest;
            }

            _end += read;
        }
    }

    // Moves what is left to the front, and makes room; returns where to go on looking for the newline.
    private int Compact(int kept)
    {
        if (_begin > 0)
        {
            _buffer.AsSpan(_begin, kept).CopyTo(_buffer);
            _begin = 0;
            _end = kept;
        }

        if (_end == _buffer.Length)
        {
            Array.Resize(ref _buffer, _buffer.Length * 2);
        }

        return kept;
    }
}
