using System.Buffers;
using System.Buffers.Binary;

namespace Countersign.Recorder.Format;

/// <summary>How a frame was read.</summary>
public enum FrameStatus
{
    /// <summary>A whole frame with the right checksum.</summary>
    Good,
    /// <summary>Bytes are missing at its end.</summary>
    Incomplete,
    /// <summary>Length or checksum are wrong.</summary>
    Damaged,
}

/// <summary>Frame of an entry in files and on the wire: length(4) of the body, CRC-32C(4) of length and body, body; big-endian.</summary>
public static class EntryFrame
{
    /// <summary>Bytes before the body.</summary>
    public const int PrefixSize = 8;

    /// <summary>Bytes of the frame of a body.</summary>
    public static int SizeOf(Entry entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        return PrefixSize + entry.Body.Length;
    }

    /// <summary>Appends the frame of an entry.</summary>
    public static void Write(IBufferWriter<byte> writer, Entry entry)
    {
        ArgumentNullException.ThrowIfNull(writer);
        ArgumentNullException.ThrowIfNull(entry);
        var size = SizeOf(entry);
        Write(writer.GetSpan(size), entry.Body.Span);
        writer.Advance(size);
    }

    /// <summary>Writes the frame of a body.</summary>
    /// <returns>Bytes written.</returns>
    public static int Write(Span<byte> destination, ReadOnlySpan<byte> body)
    {
        body.CopyTo(destination[PrefixSize..]);
        return Close(destination, body.Length);
    }

    /// <summary>Writes length and checksum in front of a body that is already in its place.</summary>
    /// <returns>Bytes of the frame.</returns>
    public static int Close(Span<byte> frame, int bodyLength)
    {
        BinaryPrimitives.WriteInt32BigEndian(frame, bodyLength);
        BinaryPrimitives.WriteUInt32BigEndian(frame[4..], Checksum(frame, bodyLength));
        return PrefixSize + bodyLength;
    }

    /// <summary>Finds the frame at the beginning of a buffer.</summary>
    /// <param name="buffer">Bytes.</param>
    /// <param name="bodyLength">Length of the body, where good.</param>
    public static FrameStatus TryRead(ReadOnlySpan<byte> buffer, out int bodyLength)
    {
        bodyLength = 0;
        if (buffer.Length < PrefixSize)
        {
            return FrameStatus.Incomplete;
        }

        var length = BinaryPrimitives.ReadInt32BigEndian(buffer);
        if (length is < 1 or > Entry.MaxBody)
        {
            return FrameStatus.Damaged;
        }

        if (buffer.Length < PrefixSize + length)
        {
            return FrameStatus.Incomplete;
        }

        if (BinaryPrimitives.ReadUInt32BigEndian(buffer[4..]) != Checksum(buffer, length))
        {
            return FrameStatus.Damaged;
        }

        bodyLength = length;
        return FrameStatus.Good;
    }

    /// <summary>Reads all entries of a buffer that must hold whole frames only.</summary>
    /// <exception cref="EntryFormatException">It doesn't; says at which byte.</exception>
    public static IEnumerable<Entry> ReadAll(ReadOnlyMemory<byte> buffer)
    {
        var offset = 0;
        while (offset < buffer.Length)
        {
            if (TryRead(buffer.Span[offset..], out var length) != FrameStatus.Good)
            {
                throw new EntryFormatException($"the frame at byte {offset} is damaged");
            }

            yield return Entry.Read(buffer.Slice(offset + PrefixSize, length));
            offset += PrefixSize + length;
        }
    }

    private static uint Checksum(ReadOnlySpan<byte> frame, int bodyLength) =>
        Crc32C.Compute(frame.Slice(PrefixSize, bodyLength), Crc32C.Compute(frame[..4]));
}
