using System.Buffers.Binary;
using System.Text;

namespace Countersign.Recorder.Format;

/// <summary>
/// The part of an entry that is never deleted (docs/formats/entry.md). Big-endian:
/// version(1) type(1) id(16) sequence(8) time(8) previous commitment(32) session length(1) session.
/// </summary>
public static class EntryHeader
{
    /// <summary>Version that is written.</summary>
    public const byte Version = 1;
    /// <summary>Bytes before the session id.</summary>
    public const int FixedSize = 67;
    /// <summary>Longest session id in bytes.</summary>
    public const int MaxSessionLength = 64;
    /// <summary>Longest header.</summary>
    public const int MaxSize = FixedSize + MaxSessionLength;
    /// <summary>Length of an entry id.</summary>
    public const int IdSize = 16;

    /// <summary>Where the number stands in a header.</summary>
    public const int SequenceOffset = 18;

    /// <summary>Latest time: the last microsecond of the year 9999.</summary>
    public const long MaxTime = 253_402_300_799_999_999;

    internal const int TypeOffset = 1;
    internal const int IdOffset = 2;
    internal const int TimeOffset = 26;
    internal const int PreviousOffset = 34;
    internal const int SessionLengthOffset = 66;

    /// <summary>Whether a text can be a session id: 1 to 64 characters, printable ASCII without blanks and quotes.</summary>
    public static bool IsSessionId(ReadOnlySpan<char> session) =>
        session.Length is > 0 and <= MaxSessionLength
        && !session.ContainsAnyExceptInRange('!', '~') && !session.ContainsAny('"', '\\');

    /// <summary>Writes a header.</summary>
    /// <param name="destination">At least <see cref="MaxSize"/> bytes.</param>
    /// <param name="type">Kind.</param>
    /// <param name="id">16 bytes.</param>
    /// <param name="sequence">Number in the session, from 1.</param>
    /// <param name="timeMicroseconds">Microseconds since the Unix epoch.</param>
    /// <param name="previous">Commitment of the entry before; zero for the first.</param>
    /// <param name="session">Session id, ASCII bytes.</param>
    /// <returns>Bytes written.</returns>
    public static int Write(
        Span<byte> destination, EntryType type, ReadOnlySpan<byte> id, long sequence, long timeMicroseconds, in Hash256 previous, ReadOnlySpan<byte> session)
    {
        destination[0] = Version;
        destination[TypeOffset] = (byte)type;
        id[..IdSize].CopyTo(destination[IdOffset..]);
        BinaryPrimitives.WriteInt64BigEndian(destination[SequenceOffset..], sequence);
        BinaryPrimitives.WriteInt64BigEndian(destination[TimeOffset..], timeMicroseconds);
        previous.CopyTo(destination[PreviousOffset..]);
        destination[SessionLengthOffset] = checked((byte)session.Length);
        session.CopyTo(destination[FixedSize..]);
        return FixedSize + session.Length;
    }

    /// <summary>Length of the header that begins here, checked in every field.</summary>
    /// <exception cref="EntryFormatException">Not a header.</exception>
    public static int Check(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < FixedSize)
        {
            throw new EntryFormatException("an entry is shorter than its header");
        }

        if (bytes[0] != Version)
        {
            throw new EntryFormatException($"an entry has version {bytes[0]}, which this software does not know");
        }

        if (!EntryTypeNames.IsKnown((EntryType)bytes[TypeOffset]))
        {
            throw new EntryFormatException($"an entry is of kind {bytes[TypeOffset]}, which this software does not know");
        }

        if (BinaryPrimitives.ReadInt64BigEndian(bytes[SequenceOffset..]) < 1)
        {
            throw new EntryFormatException("an entry has a number below 1");
        }

        if (BinaryPrimitives.ReadInt64BigEndian(bytes[TimeOffset..]) is < 0 or > MaxTime)
        {
            throw new EntryFormatException("an entry has a time that is out of bounds");
        }

        var length = bytes[SessionLengthOffset];
        if (length is 0 or > MaxSessionLength || bytes.Length < FixedSize + length)
        {
            throw new EntryFormatException("an entry has a session id of impossible length");
        }

        Span<char> session = stackalloc char[MaxSessionLength];
        var characters = Encoding.Latin1.GetChars(bytes.Slice(FixedSize, length), session);
        if (!IsSessionId(session[..characters]))
        {
            throw new EntryFormatException("an entry has a session id with forbidden characters");
        }

        return FixedSize + length;
    }
}

/// <summary>Bytes that are not what the format says. The message names what is wrong, without content of the recording.</summary>
public sealed class EntryFormatException : Exception
{
    /// <summary>Says what is wrong.</summary>
    public EntryFormatException(string message)
        : base(message)
    {
    }

    /// <summary>Says what is wrong, and why.</summary>
    public EntryFormatException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public EntryFormatException()
    {
    }
}
