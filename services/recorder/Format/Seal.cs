using System.Buffers;
using System.Buffers.Binary;
using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace Countersign.Recorder.Format;

/// <summary>Signs seals. ES256 (RFC 7518, section 3.4): ECDSA P-256 with SHA-256, r and s as 64 bytes.</summary>
public interface ISealSigner
{
    /// <summary>Key id: RFC 7638 thumbprint.</summary>
    string KeyId { get; }

    /// <summary>Signs data.</summary>
    byte[] Sign(ReadOnlySpan<byte> data);
}

/// <summary>Body of a seal entry: the writer's signature over its session's chain up to an entry (docs/formats/entry.md).</summary>
/// <param name="Sequence">Last entry that it covers; below the seal's own number.</param>
/// <param name="Commitment">Commitment of that entry.</param>
/// <param name="KeyId">Key that signed.</param>
/// <param name="Signature">64 bytes.</param>
public sealed record Seal(long Sequence, Hash256 Commitment, string KeyId, ReadOnlyMemory<byte> Signature)
{
    /// <summary>Length of a signature.</summary>
    public const int SignatureSize = 64;

    private static ReadOnlySpan<byte> Domain => "countersign/seal/v1\n"u8;

    /// <summary>Signs.</summary>
    public static Seal Create(string session, long sequence, in Hash256 commitment, ISealSigner signer)
    {
        ArgumentNullException.ThrowIfNull(signer);
        return new Seal(sequence, commitment, signer.KeyId, signer.Sign(SignedBytes(session, sequence, commitment)));
    }

    /// <summary>What is signed: domain, session length(1), session, sequence(8), commitment(32).</summary>
    public static byte[] SignedBytes(string session, long sequence, in Hash256 commitment)
    {
        ArgumentNullException.ThrowIfNull(session);
        var bytes = new byte[Domain.Length + 1 + session.Length + 8 + Hash256.Size];
        var rest = bytes.AsSpan();
        Domain.CopyTo(rest);
        rest = rest[Domain.Length..];
        rest[0] = checked((byte)session.Length);
        Encoding.Latin1.GetBytes(session, rest[1..]);
        rest = rest[(1 + session.Length)..];
        BinaryPrimitives.WriteInt64BigEndian(rest, sequence);
        commitment.CopyTo(rest[8..]);
        return bytes;
    }

    /// <summary>Whether the signature is that of the key over this session.</summary>
    public bool Verify(string session, ECDsa key)
    {
        ArgumentNullException.ThrowIfNull(key);
        return Signature.Length == SignatureSize
            && key.VerifyData(SignedBytes(session, Sequence, Commitment), Signature.Span, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);
    }

    /// <summary>The payload: JSON in one spelling.</summary>
    public byte[] ToPayload()
    {
        var buffer = new ArrayBufferWriter<byte>(320);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteNumber("sequence"u8, Sequence);
            writer.WriteString("commitment"u8, Commitment.ToString());
            writer.WriteString("key"u8, KeyId);
            writer.WriteString("signature"u8, Base64Url.EncodeToString(Signature.Span));
            writer.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Reads a payload.</summary>
    /// <exception cref="EntryFormatException">Not a seal.</exception>
    public static Seal Read(ReadOnlySpan<byte> payload)
    {
        try
        {
            var reader = new Utf8JsonReader(payload);
            long sequence = 0;
            string? commitment = null, key = null, signature = null;
            Expect(ref reader, JsonTokenType.StartObject);
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var name = reader.GetString();
                reader.Read();
                switch (name)
                {
                    case "sequence":
                        sequence = reader.GetInt64();
                        break;
                    case "commitment":
                        commitment = reader.GetString();
                        break;
                    case "key":
                        key = reader.GetString();
                        break;
                    case "signature":
                        signature = reader.GetString();
                        break;
                    default:
                        throw new EntryFormatException("a seal has a member that is unknown");
                }
            }

            if (sequence < 1 || key is not { Length: > 0 and <= 128 } || signature is null || !Hash256.TryParse(commitment, out var hash))
            {
                throw new EntryFormatException("a seal lacks a member");
            }

            var seal = new Seal(sequence, hash, key, Base64Url.DecodeFromChars(signature));
            return seal.ToPayload().AsSpan().SequenceEqual(payload) ? seal : throw new EntryFormatException("a seal is not in its one spelling");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException)
        {
            throw new EntryFormatException("a seal is not the JSON expected", error);
        }
    }

    private static void Expect(ref Utf8JsonReader reader, JsonTokenType type)
    {
        if (!reader.Read() || reader.TokenType != type)
        {
            throw new EntryFormatException("a seal is not the JSON expected");
        }
    }
}
