using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Countersign.Proxy.Postgres.Messages;

/// <summary>
/// Bytes of a peer as they come, in one buffer that is small while idle and grows only as far as bytes have really arrived: a length field
/// alone allocates nothing. Owned by one loop; a read may stay pending while the owner does something else (a hold).
/// </summary>
internal sealed class InputBuffer(PostgresTransport transport, int initial) : IDisposable
{
    private byte[] _bytes = ArrayPool<byte>.Shared.Rent(initial);
    private int _start;
    private int _end;
    private Task<int>? _reading;

    /// <summary>Position in the peer's stream of the first byte not consumed.</summary>
    public long Position { get; private set; }

    /// <summary>Bytes read and not consumed.</summary>
    public int Available => _end - _start;

    /// <summary>The bytes read and not consumed. Valid until the next read or <see cref="Consume"/>.</summary>
    public ReadOnlyMemory<byte> Bytes => _bytes.AsMemory(_start, _end - _start);

    public ReadOnlySpan<byte> Span => _bytes.AsSpan(_start, _end - _start);

    /// <summary>Whether bytes wait in the socket.</summary>
    public bool HasMore => transport.HasMore;

    /// <summary>Type and length of the next message, as far as its header has arrived.</summary>
    public bool TryHeader(out byte type, out int length)
    {
        var span = Span;
        if (span.Length < 5)
        {
            type = span.Length > 0 ? span[0] : (byte)0;
            length = 0;
            return false;
        }

        type = span[0];
        length = BinaryPrimitives.ReadInt32BigEndian(span[1..]);
        return true;
    }

    public void Consume(int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Available);
        _start += count;
        Position += count;
        if (_start == _end && _reading is null)
        {
            _start = 0;
            _end = 0;
        }
    }

    /// <summary>Reads more.</summary>
    /// <returns>False at the end of the stream.</returns>
    public ValueTask<bool> FillAsync()
    {
        if (_reading is not null)
        {
            return FinishPendingAsync();
        }

        MakeRoom();
        var read = transport.ReadAsync(_bytes.AsMemory(_end));
        if (read.IsCompletedSuccessfully)
        {
            return new ValueTask<bool>(Take(read.Result));
        }

        return FinishAsync(read);
    }

    /// <summary>Begins a read that may stay pending; <see cref="EndPending"/> or the next <see cref="FillAsync"/> takes its bytes.</summary>
    public Task<int> BeginPending()
    {
        if (_reading is null)
        {
            MakeRoom();
            _reading = transport.ReadAsync(_bytes.AsMemory(_end)).AsTask();
        }

        return _reading;
    }

    /// <summary>Takes the bytes of a pending read that is done.</summary>
    /// <returns>False at the end of the stream.</returns>
    public bool EndPending()
    {
        var read = _reading!.GetAwaiter().GetResult();
        _reading = null;
        return Take(read);
    }

    public void Dispose()
    {
        var bytes = Interlocked.Exchange(ref _bytes, []);
        if (bytes.Length > 0 && _reading is null or { IsCompleted: true })
        {
            ArrayPool<byte>.Shared.Return(bytes);
        }
    }

    // Every message that a peer takes its time for comes this way: pooled, it costs no garbage.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<bool> FinishAsync(ValueTask<int> read) => Take(await read.ConfigureAwait(false));

    private async ValueTask<bool> FinishPendingAsync()
    {
        await _reading!.ConfigureAwait(false);
        return EndPending();
    }

    private bool Take(int read)
    {
        _end += read;
        return read > 0;
    }

    private void MakeRoom()
    {
        if (_end < _bytes.Length && (_start == 0 || _bytes.Length - _end >= 512))
        {
            return;
        }

        var available = Available;
        if (_start > 0 && available <= _bytes.Length / 2)
        {
            _bytes.AsSpan(_start, available).CopyTo(_bytes);
        }
        else
        {
            // Doubled, not sized by what the peer claims: memory follows bytes that are here.
            var larger = ArrayPool<byte>.Shared.Rent(Math.Max(_bytes.Length * 2, 1024));
            _bytes.AsSpan(_start, available).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_bytes);
            _bytes = larger;
        }

        _start = 0;
        _end = available;
    }
}
