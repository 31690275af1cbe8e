using System.Buffers;
using System.Text;
using System.Text.Json;
using CsCheck;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Tests;

/// <summary>Frozen: a change here breaks recordings that exist.</summary>
[Trait("group", "unit")]
public sealed class FormatTests
{
    private const string Payload = """{"operation":1,"kind":"query","text":"SELECT 1","decision":"allow","bundleVersion":7}""";

    private static readonly Entry Frozen = Entry.Create(
        EntryType.Operation, Convert.FromHexString("000102030405060708090a0b0c0d0e0f"), "ses_frozen", 2, 1_764_000_000_123_456,
        Hash256.Of("previous"u8), Convert.FromHexString("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), Encoding.UTF8.GetBytes(Payload));

    [Fact]
    public void Crc32c_has_its_check_value() => Assert.Equal(0xE3069283, Crc32C.Compute("123456789"u8));

    [Fact]
    public void An_entry_has_these_bytes()
    {
        var frame = new ArrayBufferWriter<byte>();
        EntryFrame.Write(frame, Frozen);
        Assert.Equal(FrozenBytes.Frame, Convert.ToHexStringLower(frame.WrittenSpan));
        Assert.Equal(FrozenBytes.Commitment, Frozen.Commitment.ToString());
        Assert.Equal(FrozenBytes.Leaf, Frozen.LeafHash.ToString());
    }

    [Fact]
    public void The_commitment_is_what_the_documentation_says()
    {
        byte[] expected =
        [
            .. "countersign/entry/v1\n"u8, 1, 4, .. Convert.FromHexString("000102030405060708090a0b0c0d0e0f"), 0, 0, 0, 0, 0, 0, 0, 2,
            .. BigEndian(1_764_000_000_123_456), .. Hash256.Of("previous"u8).ToArray(), 10, .. "ses_frozen"u8,
            .. Convert.FromHexString("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), .. Encoding.UTF8.GetBytes(Payload),
        ];
        Assert.Equal(Hash256.Of(expected), Frozen.Commitment);
        byte[] leaf = [0, .. expected[21..(21 + 67 + 10)], .. Frozen.Commitment.ToArray()];
        Assert.Equal(Hash256.Of(leaf), Frozen.LeafHash);
    }

    [Fact]
    public void An_erased_entry_keeps_its_commitment_and_its_leaf()
    {
        var erased = Frozen.Erase();
        Assert.True(erased.IsErased);
        Assert.Equal(Frozen.Commitment, erased.Commitment);
        Assert.Equal(Frozen.LeafHash, erased.LeafHash);
        Assert.True(erased.Payload.IsEmpty);
        Assert.Equal(-1, erased.Body.Span.IndexOf("SELECT"u8));
        Assert.Equal(-1, erased.Body.Span.IndexOf(Frozen.Salt));
    }

    [Fact]
    public void Any_flipped_bit_of_a_frame_is_found() =>
        Gen.Int[0, (FrozenBytes.Frame.Length * 4) - 1].Sample(bit =>
        {
            var bytes = Convert.FromHexString(FrozenBytes.Frame);
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.NotEqual(FrameStatus.Good, EntryFrame.TryRead(bytes, out _));
        }, iter: 500);

    [Fact]
    public void Bytes_that_are_no_entry_are_refused_by_name_only() =>
        Gen.Byte.Array[0, 200].Sample(bytes =>
        {
            try
            {
                _ = Entry.Read(bytes).LeafHash;
            }
            catch (EntryFormatException)
            {
            }
        }, iter: 5000);

    [Fact]
    public void Notes_are_those_of_sumdb()
    {
        // Example of golang.org/x/mod/sumdb/note.
        using var signer = NoteSigner.Parse("PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz");
        Assert.Equal("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", signer.Verifier.ToString());
        const string Text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        const string Note = Text + "\n\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        Assert.Equal(Note, signer.Sign(Text));
        Assert.Equal(Text, SignedNote.Open(Note, signer.Verifier));
        Assert.Throws<EntryFormatException>(() => SignedNote.Open(Note.Replace("answer", "Answer", StringComparison.Ordinal), signer.Verifier));
    }

    [Fact]
    public void A_checkpoint_has_this_text_and_no_other_log_s_passes()
    {
        using var signer = NoteSigner.Create("example.com/log");
        using var other = NoteSigner.Create("example.com/log");
        var checkpoint = new Checkpoint("example.com/log", 42, Merkle.EmptyRoot);
        Assert.Equal("example.com/log\n42\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", checkpoint.ToText());
        var note = checkpoint.Sign(signer);
        Assert.Equal(checkpoint, Checkpoint.Open(note, signer.Verifier));
        Assert.Throws<EntryFormatException>(() => Checkpoint.Open(note, other.Verifier));
        Assert.Throws<EntryFormatException>(() => Checkpoint.Open(note.Replace("42", "42 ", StringComparison.Ordinal), signer.Verifier));
        using var verifierOfText = NoteSigner.Parse(signer.ExportSecret());
        Assert.Equal(signer.Verifier.ToString(), verifierOfText.Verifier.ToString());
    }

    [Theory]
    [InlineData(0, 0, 256, "tile/0/000")]
    [InlineData(0, 0, 17, "tile/0/000.p/17")]
    [InlineData(1, 1234067, 256, "tile/1/x001/x234/067")]
    [InlineData(2, 999, 1, "tile/2/999.p/1")]
    [InlineData(0, 1000, 256, "tile/0/x001/000")]
    public void Tiles_have_the_paths_of_tlog_tiles(int level, long index, int width, string path) => Assert.Equal(path, Tiles.HashPath(level, index, width));

    [Fact]
    public void Names_and_numbers_of_entry_types_never_change()
    {
        string[] names = ["session.start", "session.heartbeat", "session.end", "operation", "completion", "hold", "gateway", "seal", "event"];
        for (var number = 1; number <= 9; number++)
        {
            Assert.Equal(names[number - 1], EntryTypeNames.Of((EntryType)number));
            Assert.True(EntryTypeNames.TryParse(names[number - 1], out var type));
            Assert.Equal((EntryType)number, type);
        }

        Assert.Equal(9, Enum.GetValues<EntryType>().Max(type => (int)type));
        Assert.Equal(
            names.Order(StringComparer.Ordinal),
            typeof(EntryTypes).GetFields().Select(field => (string)field.GetRawConstantValue()!).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void A_seal_has_this_payload_and_verifies_for_its_session_only()
    {
        using var signer = new TestSigner();
        var seal = Seal.Create("ses_1", 3, Hash256.Zero, signer);
        Assert.StartsWith(
            """{"sequence":3,"commitment":"0000000000000000000000000000000000000000000000000000000000000000","key":""" + '"' + signer.KeyId + "\",\"signature\":\"",
            Encoding.UTF8.GetString(seal.ToPayload()), StringComparison.Ordinal);
        var read = Seal.Read(seal.ToPayload());
        Assert.True(signer.Check("ses_1", read));
        Assert.False(signer.Check("ses_2", read));
        Assert.False(signer.Check("ses_1", read with { Sequence = 4 }));
        Assert.Throws<EntryFormatException>(() => Seal.Read(Encoding.UTF8.GetBytes(Encoding.UTF8.GetString(seal.ToPayload()).Replace(":3", ": 3", StringComparison.Ordinal))));
    }

    [Fact]
    public void Payloads_of_the_hot_path_are_what_the_serialiser_reads() =>
        Gen.Select(Gen.String, Gen.String.Array[0, 3], Gen.Long, Gen.Bool).Sample((text, parameters, number, approved) =>
        {
            var operation = new OperationEntry
            {
                Operation = number,
                Kind = "query",
                Text = Valid(text),
                Parameters = [.. parameters.Select(Valid), null],
                Decision = approved ? "approved" : "allow",
                Rules = approved ? ["a/b", Valid(text)] : [],
                BundleVersion = number,
                Message = approved ? Valid(text) : null,
                Digest = approved ? "d" : null,
                Request = approved ? "apr_1" : null,
                Grant = approved ? "g" : null,
                Approvers = approved ? [new RecordedApprover("per_b", Valid(text), DateTimeOffset.UnixEpoch.AddSeconds(Math.Abs(number % 1_000_000)))] : [],
                BreakGlass = approved && number % 2 == 0,
            };
            var read = JsonSerializer.Deserialize<OperationEntry>(Written(writer => EntryJson.Write(writer, operation)), JsonSerializerOptions.Web)!;
            Assert.Equal(JsonSerializer.Serialize(operation), JsonSerializer.Serialize(read));
            var completion = new CompletionEntry { Operation = number, Outcome = "ok", Rows = number, Bytes = 3, ErrorCode = approved ? "42501" : null, Masked = approved ? 1 : 0 };
            Assert.Equal(completion, JsonSerializer.Deserialize<CompletionEntry>(Written(writer => EntryJson.Write(writer, completion)), JsonSerializerOptions.Web));
        }, iter: 500);

    [Fact]
    public void Payloads_of_the_hot_path_are_frozen()
    {
        var operation = Make.Operation(1) with { Parameters = ["a", null], Message = "m", Digest = "d", Request = "r", Grant = "g", Approvers = [new RecordedApprover("per_b", "Bob", DateTimeOffset.UnixEpoch)] };
        Assert.Equal(
            """{"operation":1,"kind":"query","text":"SELECT 1","parameters":["a",null],"decision":"allow","rules":["base/reads"],"bundleVersion":3,"message":"m","digest":"d","request":"r","grant":"g","approvers":[{"person":"per_b","name":"Bob","at":"1970-01-01T00:00:00+00:00"}]}""",
            Encoding.UTF8.GetString(Written(writer => EntryJson.Write(writer, operation))));
        Assert.Equal(
            """{"operation":1,"kind":"query","text":"SELECT 1","decision":"allow","rules":["base/reads"],"bundleVersion":3,"breakGlass":true}""",
            Encoding.UTF8.GetString(Written(writer => EntryJson.Write(writer, Make.Operation(1) with { BreakGlass = true }))));
        Assert.Equal(
            """{"operation":1,"outcome":"ok","rows":1,"bytes":20,"durationMicroseconds":0}""",
            Encoding.UTF8.GetString(Written(writer => EntryJson.Write(writer, Make.Completion(1)))));
    }

    private static string Valid(string text) => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));

    private static byte[] Written(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, EntryJson.Options))
        {
            write(writer);
        }

        return buffer.WrittenSpan.ToArray();
    }

    private static byte[] BigEndian(long value)
    {
        var bytes = new byte[8];
        System.Buffers.Binary.BinaryPrimitives.WriteInt64BigEndian(bytes, value);
        return bytes;
    }
}

/// <summary>The bytes of <see cref="FormatTests"/>' entry.</summary>
internal static class FrozenBytes
{
    public const string Frame =
        "000000b3bb5d678e010104000102030405060708090a0b0c0d0e0f000000000000000200064459416422406da0633528deaa0144e7b058315f0b753e"
        + "c0b945163a72bf96a0d18180f9de0d0a7365735f66726f7a656ef0f1f2f3f4f5f6f7f8f9fafbfcfdfeff7b226f7065726174696f6e223a312c226b69"
        + "6e64223a227175657279222c2274657874223a2253454c4543542031222c226465636973696f6e223a22616c6c6f77222c2262756e646c6556657273"
        + "696f6e223a377d";
    public const string Commitment = "15b8b12ae67979bd0e4769dc99c41c504407413190a88172ad010b9492bc84ea";
    public const string Leaf = "2359f60d3773eeeded8c99ebdfa8541b596a22297a4281b83ad6f79a86aca4f7";
}
