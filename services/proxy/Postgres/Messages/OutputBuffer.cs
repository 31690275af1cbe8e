using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Countersign.Proxy.Postgres.Messages;

/// <summary>
/// Messages that are on their way out, coalesced until they are flushed. A message is begun, written and ended; <see cref="End"/> writes its
/// length, and a message that was not ended can't be taken: the peer is never desynchronised by a wrong length.
/// </summary>
internal sealed class OutputBuffer : IBufferWriter<byte>, IDisposable
{
    private byte[] _bytes = ArrayPool<byte>.Shared.Rent(1024);
    private int _length;
    private int _open = -1;

    /// <summary>Bytes waiting.</summary>
    public int Length => _length;

    /// <summary>What is waiting.</summary>
    /// <exception cref="InvalidOperationException">A message was begun and not ended: a bug that must not reach the wire.</exception>
    public ReadOnlyMemory<byte> Pending
    {
        get
        {
            if (_open >= 0)
            {
                throw new InvalidOperationException("A message was begun and not ended.");
            }

            return _bytes.AsMemory(0, _length);
        }
    }

    /// <inheritdoc/>
    public void Advance(int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, _bytes.Length - _length);
        _length += count;
    }

    /// <inheritdoc/>
    public Memory<byte> GetMemory(int sizeHint = 0)
    {
        Reserve(Math.Max(sizeHint, 256));
        _length -= Math.Max(sizeHint, 256);
        return _bytes.AsMemory(_length);
    }

    /// <inheritdoc/>
    public Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

    /// <summary>Forgets what was sent; a buffer that has grown large is given back.</summary>
    public void Clear()
    {
        _length = 0;
        if (_bytes.Length > 64 << 10)
        {
            ArrayPool<byte>.Shared.Return(_bytes);
            _bytes = ArrayPool<byte>.Shared.Rent(1024);
        }
    }

    public void Begin(byte type)
    {
        if (_open >= 0)
        {
            throw new InvalidOperationException("A message was begun within another.");
        }

        WriteByte(type);
        _open = _length;
        WriteInt32(0);
    }

    public void Begin(FrontendType type) => Begin((byte)type);

    public void Begin(BackendType type) => Begin((byte)type);

    /// <summary>Begins a message without a type (startup, cancel, SSL request).</summary>
    public void BeginUntyped()
    {
        if (_open >= 0)
        {
            throw new InvalidOperationException("A message was begun within another.");
        }

        _open = _length;
        WriteInt32(0);
    }

    public void End()
    {
        if (_open < 0)
        {
            throw new InvalidOperationException("No message was begun.");
        }

        BinaryPrimitives.WriteInt32BigEndian(_bytes.AsSpan(_open), _length - _open);
        _open = -1;
    }

    /// <summary>A message without content.</summary>
    public void WriteEmpty(FrontendType type)
    {
        Begin(type);
        End();
    }

    public void WriteByte(byte value) => Reserve(1)[0] = value;

    public void WriteInt16(int value) => BinaryPrimitives.WriteInt16BigEndian(Reserve(2), checked((short)value));

    public void WriteInt32(int value) => BinaryPrimitives.WriteInt32BigEndian(Reserve(4), value);

    public void WriteBytes(ReadOnlySpan<byte> bytes) => bytes.CopyTo(Reserve(bytes.Length));

    /// <summary>A string with its terminator; a NUL in it would end it early and is replaced.</summary>
    public void WriteCString(string text)
    {
        var count = Encoding.UTF8.GetByteCount(text);
        var span = Reserve(count + 1);
        Encoding.UTF8.GetBytes(text, span);
        span[..count].Replace((byte)0, (byte)'?');
        span[count] = 0;
    }

    public void Dispose()
    {
        var bytes = _bytes;
        _bytes = [];
        if (bytes.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(bytes);
        }
    }

    private Span<byte> Reserve(int count)
    {
        var needed = checked(_length + count);
        if (needed > _bytes.Length)
        {
            var larger = ArrayPool<byte>.Shared.Rent(Math.Max(needed, _bytes.Length * 2));
            _bytes.AsSpan(0, _length).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_bytes);
            _bytes = larger;
        }

        var span = _bytes.AsSpan(_length, count);
        _length = needed;
        return span;
    }
}
