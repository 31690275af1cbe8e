using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Countersign.Recorder.Format;

/// <summary>
/// One entry, read from its body: kind(1), header, then salt(16) and payload, or, once retention has deleted those, commitment(32).
/// Immutable; refers to the memory it was read from.
/// </summary>
public sealed class Entry
{
    /// <summary>Body with salt and payload.</summary>
    public const byte Whole = 1;
    /// <summary>Body whose salt and payload were deleted; the commitment is kept instead.</summary>
    public const byte Erased = 2;
    /// <summary>Length of the salt.</summary>
    public const int SaltSize = 16;
    /// <summary>Longest payload in bytes.</summary>
    public const int MaxPayload = 16 * 1024 * 1024;
    /// <summary>Longest body.</summary>
    public const int MaxBody = 1 + EntryHeader.MaxSize + SaltSize + MaxPayload;

    private readonly ReadOnlyMemory<byte> _body;
    private readonly int _headerLength;
    private string? _session;
    private Hash256? _commitment;

    private Entry(ReadOnlyMemory<byte> body, int headerLength)
    {
        _body = body;
        _headerLength = headerLength;
    }

    /// <summary>The whole body.</summary>
    public ReadOnlyMemory<byte> Body => _body;

    /// <summary>The header.</summary>
    public ReadOnlySpan<byte> Header => _body.Span.Slice(1, _headerLength);

    /// <summary>Kind.</summary>
    public EntryType Type => (EntryType)Header[EntryHeader.TypeOffset];

    /// <summary>Id, 16 bytes.</summary>
    public ReadOnlySpan<byte> Id => Header.Slice(EntryHeader.IdOffset, EntryHeader.IdSize);

    /// <summary>Id as lower-case hex.</summary>
    public string IdText => Convert.ToHexStringLower(Id);

    /// <summary>Number in the session, from 1.</summary>
    public long Sequence => BinaryPrimitives.ReadInt64BigEndian(Header[EntryHeader.SequenceOffset..]);

    /// <summary>Microseconds since the Unix epoch, by the writer's clock.</summary>
    public long TimeMicroseconds => BinaryPrimitives.ReadInt64BigEndian(Header[EntryHeader.TimeOffset..]);

    /// <summary>When, by the writer's clock.</summary>
    public DateTimeOffset Time => DateTimeOffset.UnixEpoch.AddTicks(TimeMicroseconds * TimeSpan.TicksPerMicrosecond);

    /// <summary>Commitment of the entry before it in the session.</summary>
    public Hash256 Previous => Hash256.From(Header.Slice(EntryHeader.PreviousOffset, Hash256.Size));

    /// <summary>Session id.</summary>
    public string Session => _session ??= Encoding.Latin1.GetString(SessionBytes);

    /// <summary>Session id, ASCII bytes.</summary>
    public ReadOnlySpan<byte> SessionBytes => Header[EntryHeader.FixedSize..];

    /// <summary>Whether retention has deleted salt and payload.</summary>
    public bool IsErased => _body.Span[0] == Erased;

    /// <summary>Salt; empty where it was deleted.</summary>
    public ReadOnlySpan<byte> Salt => IsErased ? default : _body.Span.Slice(1 + _headerLength, SaltSize);

    /// <summary>Payload, UTF-8 JSON; empty where it was deleted.</summary>
    public ReadOnlyMemory<byte> Payload => IsErased ? default : _body[(1 + _headerLength + SaltSize)..];

    /// <summary>Commitment: computed, or, where the payload was deleted, the one that was kept.</summary>
    public Hash256 Commitment => _commitment ??= IsErased ? Hash256.From(_body.Span[(1 + _headerLength)..]) : Commitments.Of(_body.Span[1..]);

    /// <summary>RFC 6962 hash of the leaf.</summary>
    public Hash256 LeafHash
    {
        get
        {
            Span<byte> leaf = stackalloc byte[Commitments.MaxLeafData];
            return Merkle.HashLeaf(leaf[..WriteLeafData(leaf)]);
        }
    }

    /// <summary>Leaf data: header and commitment.</summary>
    /// <param name="destination">At least <see cref="Commitments.MaxLeafData"/> bytes.</param>
    /// <returns>Bytes written.</returns>
    public int WriteLeafData(Span<byte> destination)
    {
        Header.CopyTo(destination);
        Commitment.CopyTo(destination[_headerLength..]);
        return _headerLength + Hash256.Size;
    }

    /// <summary>Reads and checks a body.</summary>
    /// <exception cref="EntryFormatException">Not an entry.</exception>
    public static Entry Read(ReadOnlyMemory<byte> body)
    {
        if (body.Length > MaxBody)
        {
            throw new EntryFormatException("an entry is too long");
        }

        if (body.IsEmpty || body.Span[0] is not (Whole or Erased))
        {
            throw new EntryFormatException("an entry is neither whole nor erased");
        }

        var headerLength = EntryHeader.Check(body.Span[1..]);
        var rest = body.Length - 1 - headerLength;
        if (body.Span[0] == Whole ? rest < SaltSize : rest != Hash256.Size)
        {
            throw new EntryFormatException("an entry ends before its time");
        }

        return new Entry(body, headerLength);
    }

    /// <summary>Makes a whole entry.</summary>
    /// <exception cref="EntryFormatException">A field is out of its bounds.</exception>
    public static Entry Create(
        EntryType type, ReadOnlySpan<byte> id, string session, long sequence, long timeMicroseconds, in Hash256 previous, ReadOnlySpan<byte> salt,
        ReadOnlySpan<byte> payload)
    {
        ArgumentNullException.ThrowIfNull(session);
        if (!EntryHeader.IsSessionId(session) || salt.Length != SaltSize || payload.Length > MaxPayload)
        {
            throw new EntryFormatException("an entry has a session id, salt or payload of impossible length");
        }

        var body = new byte[1 + EntryHeader.FixedSize + session.Length + SaltSize + payload.Length];
        body[0] = Whole;
        Span<byte> ascii = stackalloc byte[EntryHeader.MaxSessionLength];
        var length = Encoding.Latin1.GetBytes(session, ascii);
        var header = EntryHeader.Write(body.AsSpan(1), type, id, sequence, timeMicroseconds, previous, ascii[..length]);
        salt.CopyTo(body.AsSpan(1 + header));
        payload.CopyTo(body.AsSpan(1 + header + SaltSize));
        return Read(body);
    }

    /// <summary>Makes a whole entry with a fresh salt.</summary>
    public static Entry Create(
        EntryType type, ReadOnlySpan<byte> id, string session, long sequence, long timeMicroseconds, in Hash256 previous, ReadOnlySpan<byte> payload)
    {
        Span<byte> salt = stackalloc byte[SaltSize];
        RandomNumberGenerator.Fill(salt);
        return Create(type, id, session, sequence, timeMicroseconds, previous, salt, payload);
    }

    /// <summary>Makes an entry whose payload was deleted.</summary>
    public static Entry CreateErased(ReadOnlySpan<byte> header, in Hash256 commitment)
    {
        var body = new byte[1 + header.Length + Hash256.Size];
        body[0] = Erased;
        header.CopyTo(body.AsSpan(1));
        commitment.CopyTo(body.AsSpan(1 + header.Length));
        return Read(body);
    }

    internal Entry WithCommitment(in Hash256 commitment) => CreateErased(Header, commitment);

    /// <summary>The same entry without salt and payload: what retention leaves.</summary>
    public Entry Erase() => IsErased ? this : CreateErased(Header, Commitment);
}
