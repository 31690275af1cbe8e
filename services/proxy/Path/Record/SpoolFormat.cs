using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Countersign.Recorder.Format;

namespace Countersign.Proxy.Path.Record;

/// <summary>
/// Bytes of the spool (docs/formats/spool.md). A segment is a header block and batches, each beginning at a multiple of 512 bytes, so that no sector that
/// was synced is ever written again. A batch is what one sync made durable: header(32) and records.
/// </summary>
internal static class SpoolFormat
{
    public const int Block = 512;
    public const int BatchHeaderSize = 32;

    private const uint BatchMagic = 0x43534231; // CSB1
    private static ReadOnlySpan<byte> SegmentMagic => "CSSPOOL1"u8;

    public static string SegmentName(long number) => $"{number:x16}.seg";

    public static bool TryParseSegmentName(string name, out long number)
    {
        number = 0;
        return name.Length == 20 && name.EndsWith(".seg", StringComparison.Ordinal)
            && long.TryParse(name.AsSpan(0, 16), System.Globalization.NumberStyles.AllowHexSpecifier, System.Globalization.CultureInfo.InvariantCulture, out number);
    }

    public static int Padded(int length) => (length + Block - 1) / Block * Block;

    public static void WriteSegmentHeader(Span<byte> block, long number, long createdMicroseconds)
    {
        block[..Block].Clear();
        SegmentMagic.CopyTo(block);
        BinaryPrimitives.WriteInt64BigEndian(block[8..], number);
        BinaryPrimitives.WriteInt64BigEndian(block[16..], createdMicroseconds);
        BinaryPrimitives.WriteUInt32BigEndian(block[24..], Crc32C.Compute(block[..24]));
    }

    public static bool IsSegmentHeader(ReadOnlySpan<byte> block, long number) =>
        block.Length >= 28 && block[..8].SequenceEqual(SegmentMagic)
        && BinaryPrimitives.ReadInt64BigEndian(block[8..]) == number
        && BinaryPrimitives.ReadUInt32BigEndian(block[24..]) == Crc32C.Compute(block[..24]);

    /// <summary>Completes the header in front of the records: magic(4) length(4) batch number(8) segment(8) records(4) CRC-32C(4).</summary>
    /// <param name="batch">Header and records.</param>
    public static void CloseBatch(Span<byte> batch, long number, long segment, int records)
    {
        BinaryPrimitives.WriteUInt32BigEndian(batch, BatchMagic);
        BinaryPrimitives.WriteInt32BigEndian(batch[4..], batch.Length);
        BinaryPrimitives.WriteInt64BigEndian(batch[8..], number);
        BinaryPrimitives.WriteInt64BigEndian(batch[16..], segment);
        BinaryPrimitives.WriteInt32BigEndian(batch[24..], records);
        BinaryPrimitives.WriteUInt32BigEndian(batch[28..], Checksum(batch));
    }

    /// <summary>Reads the fields of a batch header that looks like one; the checksum is checked later, over the whole.</summary>
    public static bool TryReadBatchHeader(ReadOnlySpan<byte> header, long segment, out int length, out long number)
    {
        length = BinaryPrimitives.ReadInt32BigEndian(header[4..]);
        number = BinaryPrimitives.ReadInt64BigEndian(header[8..]);
        return BinaryPrimitives.ReadUInt32BigEndian(header) == BatchMagic && length >= BatchHeaderSize
            && BinaryPrimitives.ReadInt64BigEndian(header[16..]) == segment;
    }

    public static bool IsWhole(ReadOnlySpan<byte> batch) => BinaryPrimitives.ReadUInt32BigEndian(batch[28..]) == Checksum(batch);

    private static uint Checksum(ReadOnlySpan<byte> batch) => Crc32C.Compute(batch[BatchHeaderSize..], Crc32C.Compute(batch[..28]));
}

/// <summary>Kinds of records in a batch.</summary>
internal enum SpoolRecordKind : byte
{
    /// <summary>A session begins here: its key.</summary>
    Key = 1,
    /// <summary>A session that goes on from an earlier segment: its key and where it stands.</summary>
    State = 2,
    /// <summary>An entry, its salt and payload sealed.</summary>
    Entry = 3,
}

/// <summary>What an entry changes about its session, in clear so that a sync need not open payloads.</summary>
internal enum SpoolEffect : byte
{
    None = 0,
    OpensOperation = 1,
    ClosesOperation = 2,
    EndsSession = 3,
    Seals = 4,
    /// <summary>The seal over the end: nothing more comes.</summary>
    ClosesSession = 5,
}

/// <summary>Writes and reads records: length(4) of what follows, kind(1), fields.</summary>
internal static class SpoolRecord
{
    public const int EntryPrefix = 4 + 1 + 4 + 1 + 8;

    public static byte[] Key(uint slot, string session, ReadOnlySpan<byte> wrapped)
    {
        var bytes = new byte[4 + 1 + 4 + 1 + session.Length + SpoolKey.WrappedSize];
        WriteSession(bytes, SpoolRecordKind.Key, slot, session, wrapped);
        return bytes;
    }

    public static byte[] State(SpoolSession session)
    {
        var fields = 4 + 1 + 4 + 1 + session.Id.Length + SpoolKey.WrappedSize;
        var bytes = new byte[fields + 8 + Hash256.Size + 1 + 4 + (8 * session.OpenOperations.Count)];
        WriteSession(bytes, SpoolRecordKind.State, session.Slot, session.Id, session.WrappedKey);
        var rest = bytes.AsSpan(fields);
        BinaryPrimitives.WriteInt64BigEndian(rest, session.Sequence);
        session.Commitment.CopyTo(rest[8..]);
        rest[8 + Hash256.Size] = (byte)(session.Ended ? 1 : 0);
        BinaryPrimitives.WriteInt32BigEndian(rest[(9 + Hash256.Size)..], session.OpenOperations.Count);
        rest = rest[(13 + Hash256.Size)..];
        foreach (var operation in session.OpenOperations)
        {
            BinaryPrimitives.WriteInt64BigEndian(rest, operation);
            rest = rest[8..];
        }

        return bytes;
    }

    /// <summary>Writes what stands before the header of an entry.</summary>
    public static void WriteEntryPrefix(Span<byte> record, uint slot, SpoolEffect effect, long operation)
    {
        BinaryPrimitives.WriteInt32BigEndian(record, record.Length - 4);
        record[4] = (byte)SpoolRecordKind.Entry;
        BinaryPrimitives.WriteUInt32BigEndian(record[5..], slot);
        record[9] = (byte)effect;
        BinaryPrimitives.WriteInt64BigEndian(record[10..], operation);
    }

    private static void WriteSession(Span<byte> record, SpoolRecordKind kind, uint slot, string session, ReadOnlySpan<byte> wrapped)
    {
        BinaryPrimitives.WriteInt32BigEndian(record, record.Length - 4);
        record[4] = (byte)kind;
        BinaryPrimitives.WriteUInt32BigEndian(record[5..], slot);
        record[9] = (byte)session.Length;
        Encoding.Latin1.GetBytes(session, record[10..]);
        wrapped.CopyTo(record[(10 + session.Length)..]);
    }
}

/// <summary>A record as it is read.</summary>
internal readonly ref struct SpoolRecordView
{
    private readonly ReadOnlySpan<byte> _record;

    private SpoolRecordView(ReadOnlySpan<byte> record) => _record = record;

    public SpoolRecordKind Kind => (SpoolRecordKind)_record[4];

    public uint Slot => BinaryPrimitives.ReadUInt32BigEndian(_record[5..]);

    public string Session => Encoding.Latin1.GetString(SessionBytes);

    public ReadOnlySpan<byte> SessionBytes => _record.Slice(10, _record[9]);

    public ReadOnlySpan<byte> WrappedKey => _record.Slice(10 + _record[9], SpoolKey.WrappedSize);

    public long StateSequence => BinaryPrimitives.ReadInt64BigEndian(Rest);

    public Hash256 StateCommitment => Hash256.From(Rest.Slice(8, Hash256.Size));

    public bool StateEnded => (Rest[8 + Hash256.Size] & 1) != 0;

    public SpoolEffect Effect => (SpoolEffect)_record[9];

    public long Operation => BinaryPrimitives.ReadInt64BigEndian(_record[10..]);

    public ReadOnlySpan<byte> Header
    {
        get
        {
            var rest = _record[SpoolRecord.EntryPrefix..];
            return rest[..EntryHeader.Check(rest)];
        }
    }

    public long Sequence => BinaryPrimitives.ReadInt64BigEndian(_record[(SpoolRecord.EntryPrefix + EntryHeader.SequenceOffset)..]);

    public int Length => _record.Length;

    private ReadOnlySpan<byte> Rest => _record[(10 + _record[9] + SpoolKey.WrappedSize)..];

    public IReadOnlyList<long> StateOperations()
    {
        var rest = Rest[(9 + Hash256.Size)..];
        var operations = new long[BinaryPrimitives.ReadInt32BigEndian(rest)];
        for (var index = 0; index < operations.Length; index++)
        {
            operations[index] = BinaryPrimitives.ReadInt64BigEndian(rest[(4 + (8 * index))..]);
        }

        return operations;
    }

    public byte[] ToArray() => _record.ToArray();

    public static SpoolRecordView Of(byte[] record) => new(record);

    /// <summary>Opens an entry: writes its body (kind, header, salt, payload) as the recorder takes it.</summary>
    /// <param name="cipher">The session's.</param>
    /// <param name="destination">At least <see cref="Length"/> bytes.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="SpoolDamagedException">It was altered.</exception>
    public int Open(AesGcm cipher, Span<byte> destination)
    {
        var header = Header;
        var sealedBytes = _record[(SpoolRecord.EntryPrefix + header.Length)..];
        var length = sealedBytes.Length - SpoolKey.TagSize;
        if (length < Entry.SaltSize)
        {
            throw new SpoolDamagedException("an entry of the spool is too short");
        }

        Span<byte> nonce = stackalloc byte[12];
        SpoolKey.WriteNonce(nonce, BinaryPrimitives.ReadInt64BigEndian(header[EntryHeader.SequenceOffset..]));
        destination[0] = Entry.Whole;
        header.CopyTo(destination[1..]);
        try
        {
            cipher.Decrypt(nonce, sealedBytes[..length], sealedBytes[length..], destination.Slice(1 + header.Length, length), header);
        }
        catch (CryptographicException error)
        {
            throw new SpoolDamagedException("an entry of the spool can't be opened: it was altered", error);
        }

        return 1 + header.Length + length;
    }

    /// <summary>Takes the record at the beginning of what is left of a batch.</summary>
    /// <exception cref="SpoolDamagedException">A batch with the right checksum holds no records: it was not written by this software.</exception>
    public static SpoolRecordView Next(ref ReadOnlySpan<byte> rest)
    {
        var length = rest.Length < 5 ? 0 : BinaryPrimitives.ReadInt32BigEndian(rest);
        if (length < 6 || length > rest.Length - 4 || rest[4] is < 1 or > 3)
        {
            throw new SpoolDamagedException("a batch of the spool holds something that is no record");
        }

        var record = new SpoolRecordView(rest[..(4 + length)]);
        rest = rest[(4 + length)..];
        return record;
    }
}
