using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Recorder.Format;
using CsCheck;

namespace Countersign.Cli.Tests;

[Trait("group", "unit")]
public sealed class VerifyTests : CliFixture
{
    private const string Session = "ses_1";
    private readonly NoteSigner _log = NoteSigner.Create("example.com/log");
    private readonly ProxyKey _proxy = new();

    private string Export => Path.Combine(Root, "export");

    private string Key => Path.Combine(Root, "key.pub");

    [Fact]
    public async Task A_whole_export_verifies_offline()
    {
        await WriteAsync(Entries());

        var text = await RunAsync("verify", Export, "--key", Key);
        var json = await RunAsync("verify", Export, "--key", _log.Verifier.ToString(), "-o", "json");

        Assert.Equal((0, ""), (text.ExitCode, text.Error));
        Assert.Contains("VERIFIED", text.Output, StringComparison.Ordinal);
        Assert.True(json.Json.GetProperty("verified").GetBoolean());
        Assert.Empty(Server.Requests);
    }

    [Fact]
    public async Task A_changed_entry_is_named_by_its_position()
    {
        await WriteAsync(Entries());
        var lines = await File.ReadAllLinesAsync(Export);
        lines[3] = lines[3].Replace("DELETE", "SELECT", StringComparison.Ordinal);
        await File.WriteAllTextAsync(Export, string.Join('\n', lines) + "\n");

        var text = await RunAsync("verify", Export, "--key", Key);
        var json = await RunAsync("verify", Export, "--key", Key, "-o", "json");

        Assert.Equal(1, text.ExitCode);
        Assert.Contains("ERROR   entry 2, line 4", text.Output, StringComparison.Ordinal);
        Assert.Contains("NOT VERIFIED", text.Output, StringComparison.Ordinal);
        Assert.Equal(1, json.ExitCode);
        Assert.Contains(json.Json.GetProperty("findings").EnumerateArray(), finding => finding.TryGetProperty("index", out var index) && index.GetInt64() == 2 && finding.GetProperty("severity").GetString() == "error");
    }

    [Fact]
    public async Task Any_flipped_byte_ends_with_1()
    {
        await WriteAsync(Entries());
        var whole = await File.ReadAllBytesAsync(Export);
        var changed = Path.Combine(Root, "changed");

        await Gen.Select(Gen.Int[0, whole.Length - 1], Gen.Int[0, 7]).SampleAsync(
            async flip =>
            {
                var bytes = (byte[])whole.Clone();
                bytes[flip.Item1] ^= (byte)(1 << flip.Item2);
                await File.WriteAllBytesAsync(changed, bytes);
                var run = await RunAsync("verify", changed, "--key", Key);
                Assert.Equal(1, run.ExitCode);
            },
            iter: 300, threads: 1);
    }

    [Fact]
    public async Task A_checkpoint_kept_elsewhere_finds_a_lost_tail()
    {
        var entries = Entries();
        await WriteAsync(entries);
        var pinned = Path.Combine(Root, "pinned");
        await File.WriteAllTextAsync(pinned, CheckpointOf(entries).Sign(_log));
        await WriteAsync([.. entries.Take(entries.Count - 2)]);

        Assert.Equal(0, (await RunAsync("verify", Export, "--key", Key)).ExitCode);
        var run = await RunAsync("verify", Export, "--key", Key, "--checkpoint", pinned);

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("rolled-back", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_key_does_not_verify_it()
    {
        await WriteAsync(Entries());
        using var other = NoteSigner.Create("example.com/log");

        Assert.Equal(1, (await RunAsync("verify", Export, "--key", other.Verifier.ToString())).ExitCode);
    }

    [Fact]
    public async Task Proxy_keys_can_be_pinned()
    {
        await WriteAsync(Entries());

        Assert.Equal(0, (await RunAsync("verify", Export, "--key", Key, "--seal-key", _proxy.KeyId)).ExitCode);
        Assert.Equal(1, (await RunAsync("verify", Export, "--key", Key, "--seal-key", "another")).ExitCode);
    }

    [Theory]
    [InlineData("nothing", null)]
    [InlineData(null, "not a key")]
    [InlineData(null, "")]
    public async Task What_cannot_be_read_ends_with_2(string? export, string? key)
    {
        await WriteAsync(Entries());

        var run = await RunAsync("verify", export is null ? Export : Path.Combine(Root, export), "--key", key ?? Key);

        Assert.Equal(2, run.ExitCode);
        Assert.Equal("", run.Output);
    }

    [Fact]
    public async Task What_is_no_export_ends_with_1_and_says_so()
    {
        await WriteAsync([]);
        await File.WriteAllTextAsync(Export, "hello\u001b[2J\n");

        var run = await RunAsync("verify", Export, "--key", Key);

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("header", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', run.Output);
    }

    private List<Entry> Entries()
    {
        var entries = new List<Entry>();
        void Add(EntryType type, ReadOnlySpan<byte> payload) => entries.Add(Entry.Create(
            type, RandomNumberGenerator.GetBytes(16), Session, entries.Count + 1, 1_764_000_000_000_000 + entries.Count, entries.Count == 0 ? Hash256.Zero : entries[^1].Commitment, payload));

        Add(EntryType.SessionStart, """{"name":"alice"}"""u8);
        Add(EntryType.Operation, """{"text":"SELECT 1"}"""u8);
        Add(EntryType.Operation, """{"text":"DELETE FROM orders"}"""u8);
        Add(EntryType.Completion, """{"outcome":"ok"}"""u8);
        Add(EntryType.SessionEnd, """{"reason":"client"}"""u8);
        Add(EntryType.Seal, Seal.Create(Session, 5, entries[^1].Commitment, _proxy).ToPayload());
        return entries;
    }

    private Checkpoint CheckpointOf(List<Entry> entries)
    {
        var range = new CompactRange();
        foreach (var entry in entries)
        {
            range.Append(entry.LeafHash);
        }

        return new Checkpoint(_log.Verifier.Name, entries.Count, range.Root());
    }

    private async Task WriteAsync(List<Entry> entries)
    {
        await File.WriteAllTextAsync(Key, _log.Verifier + "\n");
        var output = new ArrayBufferWriter<byte>();
        new ExportHeader
        {
            From = 0,
            To = entries.Count,
            Checkpoint = CheckpointOf(entries).Sign(_log),
            Left = [],
            Right = [],
            Keys = SealKeys.Sign([_proxy.Public], _log),
        }.Write(output);
        var link = 0UL;
        for (var index = 0; index < entries.Count; index++)
        {
            link = ExportLine.LinkOf(link, index, entries[index].LeafHash);
            new ExportLine(index, entries[index].LeafHash, link, entries[index]).Write(output);
        }

        await File.WriteAllBytesAsync(Export, output.WrittenSpan.ToArray());
    }

    internal sealed class ProxyKey : ISealSigner, IDisposable
    {
        private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

        public ProxyKey()
        {
            var point = _key.ExportParameters(includePrivateParameters: false).Q;
            var x = System.Buffers.Text.Base64Url.EncodeToString(point.X);
            var y = System.Buffers.Text.Base64Url.EncodeToString(point.Y);
            KeyId = System.Buffers.Text.Base64Url.EncodeToString(SHA256.HashData(Encoding.ASCII.GetBytes($$"""{"crv":"P-256","kty":"EC","x":"{{x}}","y":"{{y}}"}""")));
            Public = new SealKey(SealKey.Proxy, KeyId, x, y);
        }

        public string KeyId { get; }

        public SealKey Public { get; }

        public byte[] Sign(ReadOnlySpan<byte> data) => _key.SignData(data, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);

        public void Dispose() => _key.Dispose();
    }
}
