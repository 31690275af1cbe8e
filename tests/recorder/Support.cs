using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Security.Cryptography;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;

namespace Countersign.Recorder.Tests;

/// <summary>A P-256 key that seals sessions.</summary>
internal sealed class TestSigner : ISealSigner, IDisposable
{
    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

    public TestSigner(string owner = SealKey.Proxy)
    {
        var point = _key.ExportParameters(false).Q;
        var (x, y) = (Base64Url.EncodeToString(point.X), Base64Url.EncodeToString(point.Y));
        KeyId = Base64Url.EncodeToString(SHA256.HashData(System.Text.Encoding.ASCII.GetBytes($$"""{"crv":"P-256","kty":"EC","x":"{{x}}","y":"{{y}}"}""")));
        Key = new SealKey(owner, KeyId, x, y);
    }

    public string KeyId { get; }

    public SealKey Key { get; }

    public string ExportPem() => _key.ExportPkcs8PrivateKeyPem();

    public byte[] Sign(ReadOnlySpan<byte> data) => _key.SignData(data, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);

    public bool Check(string session, Seal seal) => seal.KeyId == KeyId && seal.Verify(session, _key);

    public void Dispose() => _key.Dispose();
}

/// <summary>A folder that is deleted.</summary>
internal sealed class TestFolder : IDisposable
{
    public TestFolder() => Directory.CreateDirectory(Path);

    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), "cs-recorder-" + Guid.NewGuid().ToString("N"));

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

/// <summary>A recorder in memory: takes what follows, as the log does, and keeps it.</summary>
internal sealed class CollectingTransport(TestSigner signer) : IEntryTransport
{
    private readonly SessionHeads _heads = new(int.MaxValue);
    private readonly Lock _gate = new();

    public ConcurrentDictionary<string, List<Entry>> Sessions { get; } = new(StringComparer.Ordinal);

    public ConcurrentDictionary<string, string> Refused { get; } = new(StringComparer.Ordinal);

    /// <summary>While true nothing is taken.</summary>
    public volatile bool Away;

    /// <summary>How many batches came.</summary>
    public int Batches { get; private set; }

    /// <summary>What the recorder asks proxies for.</summary>
    public int GatherMilliseconds { get; set; }

    /// <summary>Entries are taken, but the answer gets lost, this often.</summary>
    public int LoseAnswers { get; set; }

    public ValueTask<BatchResult> SendAsync(ReadOnlyMemory<byte> batch, CancellationToken cancellation)
    {
        if (Away)
        {
            throw new IOException("away");
        }

        lock (_gate)
        {
            Batches++;
            var result = new BatchResult(new Dictionary<string, long>(), new Dictionary<string, string>()) { GatherMilliseconds = GatherMilliseconds };
            foreach (var entry in EntryFrame.ReadAll(batch.ToArray()))
            {
                var seal = entry.Type == EntryType.Seal ? Seal.Read(entry.Payload.Span) : null;
                switch (_heads.Take(entry, seal is not null && signer.Check(entry.Session, seal) ? seal : null, out var reason))
                {
                    case Sequenced.New:
                        Sessions.GetOrAdd(entry.Session, _ => []).Add(entry);
                        break;
                    case Sequenced.Refused:
                        Refused[entry.Session] = reason;
                        break;
                }

                ((Dictionary<string, long>)result.Acknowledged)[entry.Session] = _heads.Reached(entry.Session);
            }

            foreach (var (session, reason) in Refused)
            {
                ((Dictionary<string, string>)result.Refused)[session] = reason;
            }

            if (LoseAnswers-- > 0)
            {
                throw new IOException("answer lost");
            }

            return ValueTask.FromResult(result);
        }
    }

    /// <summary>Waits until a condition over what was taken holds.</summary>
    public async Task UntilAsync(Func<CollectingTransport, bool> condition)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (true)
        {
            lock (_gate)
            {
                if (condition(this))
                {
                    return;
                }
            }

            await Task.Delay(5, timeout.Token);
        }
    }

    public bool IsComplete(string session) =>
        Sessions.TryGetValue(session, out var entries) && entries.Exists(entry => entry.Type == EntryType.SessionEnd)
        && entries[^1].Type == EntryType.Seal && Seal.Read(entries[^1].Payload.Span).Sequence >= entries.Find(entry => entry.Type == EntryType.SessionEnd)!.Sequence;
}

/// <summary>Entries for tests.</summary>
internal static class Make
{
    public static SessionStartEntry Start(string person = "per_alice", string connection = "shop") => new()
    {
        Principal = "prn_1",
        Person = person,
        Name = person + "@example.com",
        Credential = "crd_1",
        Connection = connection,
        Database = "shop",
        DatabaseRole = "app",
        Protocol = "postgres",
        Client = "127.0.0.1:50000",
        Application = "psql",
        Proxy = "proxy-1",
    };

    public static OperationEntry Operation(long number, string text = "SELECT 1", string decision = "allow") => new()
    {
        Operation = number,
        Kind = "query",
        Text = text,
        Decision = decision,
        Rules = ["base/reads"],
        BundleVersion = 3,
    };

    public static CompletionEntry Completion(long number, string outcome = "ok") => new() { Operation = number, Outcome = outcome, Rows = 1, Bytes = 20 };

    /// <summary>A whole session as a proxy writes it: start, operations with completions, a seal in the middle, end, final seal.</summary>
    public static List<Entry> Session(string session, int operations, TestSigner signer, long time = 1_764_000_000_000_000, bool ended = true)
    {
        var entries = new List<Entry>();
        var previous = Hash256.Zero;
        void Add(EntryType type, byte[] payload)
        {
            Span<byte> id = stackalloc byte[16];
            RandomNumberGenerator.Fill(id);
            var entry = Entry.Create(type, id, session, entries.Count + 1, time + entries.Count, previous, payload);
            previous = entry.Commitment;
            entries.Add(entry);
        }

        void SealIt() => Add(EntryType.Seal, Seal.Create(session, entries[^1].Sequence, entries[^1].Commitment, signer).ToPayload());
        Add(EntryType.SessionStart, Json(Start()));
        for (var operation = 1; operation <= operations; operation++)
        {
            Add(EntryType.Operation, Json(Operation(operation, $"SELECT {operation} FROM {session}")));
            Add(EntryType.Completion, Json(Completion(operation)));
            if (operation == (operations + 1) / 2)
            {
                SealIt();
            }
        }

        if (ended)
        {
            Add(EntryType.SessionEnd, Json(new SessionEndEntry("client", operations, 10, 20)));
            SealIt();
        }

        return entries;
    }

    public static byte[] Json<T>(T value) => System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(value, System.Text.Json.JsonSerializerOptions.Web);
}
