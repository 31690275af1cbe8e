using System.Buffers.Binary;
using System.Text;

namespace Countersign.Proxy.Postgres.Messages;

/// <summary>Reads the body of one message. Every member expects: what is not there throws <see cref="MalformedMessageException"/>.</summary>
internal ref struct MessageReader(ReadOnlySpan<byte> body)
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);
    private readonly ReadOnlySpan<byte> _body = body;

    /// <summary>Bytes of a name that count: the server's NAMEDATALEN without the terminator.</summary>
    public const int MaxName = 63;

    /// <summary>Bytes read so far.</summary>
    public int Position { get; private set; }

    /// <summary>Bytes left.</summary>
    public readonly int Remaining => _body.Length - Position;

    public byte ReadByte()
    {
        if (Remaining < 1)
        {
            throw Malformed.Truncated();
        }

        return _body[Position++];
    }

    public short ReadInt16()
    {
        var value = BinaryPrimitives.ReadInt16BigEndian(Take(2));
        return value;
    }

    public int ReadInt32() => BinaryPrimitives.ReadInt32BigEndian(Take(4));

    public uint ReadUInt32() => BinaryPrimitives.ReadUInt32BigEndian(Take(4));

    /// <summary>A number of elements of at least <paramref name="elementSize"/> bytes each, which must fit in what is left.</summary>
    public int ReadCount(int elementSize)
    {
        var count = ReadInt16() & 0xffff;
        if ((long)count * elementSize > Remaining)
        {
            throw Malformed.Truncated();
        }

        return count;
    }

    /// <summary>The bytes of a string up to its terminator, which is consumed.</summary>
    public ReadOnlySpan<byte> ReadCString()
    {
        var rest = _body[Position..];
        var end = rest.IndexOf((byte)0);
        if (end < 0)
        {
            throw Malformed.Unterminated();
        }

        Position += end + 1;
        return rest[..end];
    }

    /// <summary>A string; must be UTF-8.</summary>
    public string ReadString() => Decode(ReadCString());

    /// <summary>The name of a prepared statement or portal; must be UTF-8.</summary>
    /// <remarks>
    /// The server keeps <see cref="MaxName"/> bytes of a name and takes longer ones that begin alike for the same: what a longer one stands for
    /// would not be known here.
    /// </remarks>
    public string ReadName()
    {
        var name = ReadCString();
        return name.Length <= MaxName ? Decode(name) : throw Malformed.Name(MaxName);
    }

    /// <summary>A given number of bytes.</summary>
    public ReadOnlySpan<byte> Take(int count)
    {
        if (count < 0 || Remaining < count)
        {
            throw Malformed.Truncated();
        }

        var taken = _body.Slice(Position, count);
        Position += count;
        return taken;
    }

    /// <summary>Expects that everything was read.</summary>
    public readonly void ExpectEnd()
    {
        if (Remaining != 0)
        {
            throw Malformed.Excess();
        }
    }

    /// <summary>Decodes UTF-8 strictly.</summary>
    public static string Decode(ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty)
        {
            return "";
        }

        try
        {
            return Strict.GetString(bytes);
        }
        catch (DecoderFallbackException)
        {
            throw Malformed.Utf8();
        }
    }
}
