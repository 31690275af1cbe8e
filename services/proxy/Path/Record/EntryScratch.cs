using System.Buffers;
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Recorder.Format;

namespace Countersign.Proxy.Path.Record;

/// <summary>
/// Where a thread puts an entry together: domain, header, salt and payload one behind the other, so that one pass hashes them and one seals them. One a thread,
/// since appending never awaits: an idle session costs no buffer.
/// </summary>
internal sealed class EntryScratch : IBufferWriter<byte>
{
    private const int InitialPayload = 16 * 1024;
    private const int LargestKept = 1024 * 1024;
    private const int SaltPool = 4096;

    [ThreadStatic]
    private static EntryScratch? _ofThread;

    private readonly byte[] _salts = new byte[SaltPool];
    private int _saltsUsed = SaltPool;
    private byte[] _bytes = new byte[InitialPayload];
    private byte[] _record = new byte[InitialPayload];
    private int _payloadStart;
    private int _end;

    private EntryScratch() => Json = new Utf8JsonWriter(this, EntryJson.Options);

    /// <summary>Writes the payload.</summary>
    public Utf8JsonWriter Json { get; }

    /// <summary>Bytes of payload.</summary>
    public int PayloadLength => _end - _payloadStart;

    /// <summary>Begins an entry of a session whose id has so many bytes.</summary>
    public static EntryScratch Begin(int sessionLength)
    {
        var scratch = _ofThread ??= new EntryScratch();
        if (scratch._bytes.Length > LargestKept)
        {
            scratch._bytes = new byte[InitialPayload];
            scratch._record = new byte[InitialPayload];
        }

        scratch._payloadStart = Commitments.Domain.Length + EntryHeader.FixedSize + sessionLength + Entry.SaltSize;
        scratch._end = scratch._payloadStart;
        scratch.Json.Reset(scratch);
        return scratch;
    }

    /// <summary>Writes header and salt in front of the payload, commits and seals.</summary>
    /// <returns>The record; good until the next entry of this thread.</returns>
    public ReadOnlySpan<byte> Seal(
        EntryType type, ulong idPrefix, long sequence, long time, in Hash256 previous, ReadOnlySpan<byte> session, AesGcm cipher, uint slot, SpoolEffect effect,
        long operation, out Hash256 commitment)
    {
        var domain = Commitments.Domain;
        domain.CopyTo(_bytes);
        Span<byte> id = stackalloc byte[EntryHeader.IdSize];
        BinaryPrimitives.WriteUInt64BigEndian(id, idPrefix);
        BinaryPrimitives.WriteInt64BigEndian(id[8..], sequence);
        var headerLength = EntryHeader.Write(_bytes.AsSpan(domain.Length), type, id, sequence, time, previous, session);
        NextSalt().CopyTo(_bytes.AsSpan(domain.Length + headerLength));
        commitment = Commitments.OfPrefixed(_bytes.AsSpan(0, _end));

        var header = _bytes.AsSpan(domain.Length, headerLength);
        var plain = _bytes.AsSpan(domain.Length + headerLength, _end - domain.Length - headerLength);
        var size = SpoolRecord.EntryPrefix + headerLength + plain.Length + SpoolKey.TagSize;
        if (_record.Length < size)
        {
            _record = new byte[Math.Max(size, _record.Length * 2)];
        }

        var record = _record.AsSpan(0, size);
        SpoolRecord.WriteEntryPrefix(record, slot, effect, operation);
        header.CopyTo(record[SpoolRecord.EntryPrefix..]);
        Span<byte> nonce = stackalloc byte[12];
        SpoolKey.WriteNonce(nonce, sequence);
        cipher.Encrypt(nonce, plain, record.Slice(SpoolRecord.EntryPrefix + headerLength, plain.Length), record[^SpoolKey.TagSize..], header);
        return record;
    }

    public void Advance(int count) => _end += count;

    public Memory<byte> GetMemory(int sizeHint = 0)
    {
        Grow(sizeHint);
        return _bytes.AsMemory(_end);
    }

    public Span<byte> GetSpan(int sizeHint = 0)
    {
        Grow(sizeHint);
        return _bytes.AsSpan(_end);
    }

    private void Grow(int sizeHint)
    {
        var needed = _end + Math.Max(sizeHint, 256);
        if (needed > _bytes.Length)
        {
            Array.Resize(ref _bytes, Math.Max(needed, _bytes.Length * 2));
        }
    }

    // Random bytes in bulk: a call of the generator for each entry costs more than its hash.
    private ReadOnlySpan<byte> NextSalt()
    {
        if (_saltsUsed + Entry.SaltSize > SaltPool)
        {
            RandomNumberGenerator.Fill(_salts);
            _saltsUsed = 0;
        }

        var salt = _salts.AsSpan(_saltsUsed, Entry.SaltSize);
        _saltsUsed += Entry.SaltSize;
        return salt;
    }
}
