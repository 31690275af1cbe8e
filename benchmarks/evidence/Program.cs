using System.Buffers;
using System.Buffers.Text;
using System.Diagnostics;
using System.Globalization;
using System.IO.Pipelines;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Platform.Postgres;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Export;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;
using Countersign.Recorder.Search;
using Countersign.Recorder.Verify;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Benchmarks.Evidence;

/// <summary>
/// What evidence costs: entries a second and processor time an entry for taking them into the log, indexing them, exporting and verifying them.
/// Arguments: number of entries (default 200000), <c>--directory D</c>, <c>--postgres CONNECTION</c> to keep log and index there, in a schema that is dropped before.
/// </summary>
internal static class Program
{
    private const int BatchEntries = 1500;

    private static async Task Main(string[] args)
    {
        var count = args.Length > 0 && int.TryParse(args[0], CultureInfo.InvariantCulture, out var given) ? given : 200_000;
        var at = Array.IndexOf(args, "--directory");
        var root = Path.Combine(at >= 0 ? args[at + 1] : Path.GetTempPath(), "countersign-evidence-" + Guid.NewGuid().ToString("N"));
        try
        {
            using var key = NoteSigner.Create("bench.example/log");
            using var sealer = new Sealer();
            var frames = Frames(count, sealer);
            using var database = Array.IndexOf(args, "--postgres") is >= 0 and var option ? Database(args[option + 1]) : null;
            var options = new LogOptions { Directory = Path.Combine(root, "log") };
            Directory.CreateDirectory(root);
            using var log = database is null
                ? RecorderLog.Open(options, key, sealer, TimeProvider.System, NullLogger.Instance, (_, _) => { })
                : RecorderLog.Open(database, options, key, sealer, TimeProvider.System, NullLogger.Instance, (_, _) => { });
            await MeasureAsync("take in", count, async () =>
            {
                foreach (var batch in frames)
                {
                    var entries = EntryFrame.ReadAll(batch).ToList();
                    var result = await log.AppendAsync(entries, sealer.Check, default);
                    if (result.Refused.Count > 0)
                    {
                        throw new InvalidOperationException(result.Refused.Values.First());
                    }
                }
            });
            ISearchIndex index = database is null ? SearchIndex.Open(Path.Combine(root, "search.db")) : new PostgresSearchIndex(database);
            var indexer = new Indexer(index, log, NullLogger<Indexer>.Instance);
            await MeasureAsync("index", count, () =>
            {
                while (indexer.IndexOnce() > 0)
                {
                }

                return Task.CompletedTask;
            });
            var file = Path.Combine(root, "export.jsonl");
            await MeasureAsync("export", count, async () =>
            {
                await using var stream = File.Create(file);
                var writer = PipeWriter.Create(stream);
                await LogExporter.WriteAsync(log, SealKeys.Sign([sealer.Key], key), new ExportRequest(), writer, default);
                await writer.CompleteAsync();
            });
            await MeasureAsync("verify", count, async () =>
            {
                await using var stream = File.OpenRead(file);
                var report = await ExportVerifier.VerifyAsync(stream, new VerifyOptions { Key = key.Verifier.ToString() });
                if (!report.Verified)
                {
                    throw new InvalidOperationException(report.Findings[0].Message);
                }
            });
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    private static PostgresDatabase Database(string connection)
    {
        const string Schema = "countersign_bench";
        using (var dropping = new Npgsql.NpgsqlConnection(connection))
        {
            dropping.Open();
            using var drop = new Npgsql.NpgsqlCommand($"DROP SCHEMA IF EXISTS {Schema} CASCADE", dropping);
            drop.ExecuteNonQuery();
        }

        return new PostgresDatabase(
            new PostgresSettings { Postgres = connection, TimeoutSeconds = 60 }, Schema, [LogSchema.Component, SearchSchema.Component], NullLogger<PostgresDatabase>.Instance);
    }

    private static async Task MeasureAsync(string what, int count, Func<Task> run)
    {
        var process = Process.GetCurrentProcess();
        process.Refresh();
        var cpu = process.TotalProcessorTime;
        var began = Stopwatch.GetTimestamp();
        await run();
        var elapsed = Stopwatch.GetElapsedTime(began);
        process.Refresh();
        cpu = process.TotalProcessorTime - cpu;
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{what,-8} {count / elapsed.TotalSeconds,9:0} entries/s   {cpu.TotalMicroseconds / count,6:0.0} us of processor an entry   {cpu.TotalSeconds * 20_000 / count * 100,5:0} % of a core at 20000 entries/s"));
    }

    private static List<byte[]> Frames(int count, Sealer sealer)
    {
        const int Sessions = 8;
        var heads = Enumerable.Range(0, Sessions).Select(number => (Id: $"ses_bench{number}", Sequence: 0L, Previous: Hash256.Zero, Operation: 0L)).ToArray();
        var frames = new List<byte[]>();
        var buffer = new ArrayBufferWriter<byte>();
        for (var made = 0; made < count; made++)
        {
            ref var head = ref heads[made % Sessions];
            var (type, payload) = (head.Sequence, made / BatchEntries % 8, made % BatchEntries) switch
            {
                (0, _, _) => (EntryType.SessionStart, Json(new SessionStartEntry
                {
                    Principal = "p",
                    Person = "per_a",
                    Name = "a",
                    Credential = "c",
                    Connection = "db",
                    Database = "db",
                    DatabaseRole = "app",
                    Protocol = "postgres",
                    Client = "127.0.0.1:1",
                    Proxy = "bench",
                })),
                (_, 7, < Sessions) => (EntryType.Seal, Seal.Create(head.Id, head.Sequence, head.Previous, sealer).ToPayload()),
                (var sequence, _, _) when sequence % 2 == 1 => (EntryType.Operation, Json(new OperationEntry
                {
                    Operation = ++head.Operation,
                    Kind = "query",
                    Text = "SELECT abalance FROM pgbench_accounts WHERE aid = 123456;",
                    Decision = "allow",
                    Rules = ["baseline/reads"],
                    BundleVersion = 12,
                })),
                _ => (EntryType.Completion, Json(new CompletionEntry { Operation = head.Operation, Outcome = "ok", Rows = 1, Bytes = 64, DurationMicroseconds = 120 })),
            };
            var entry = Entry.Create(type, RandomNumberGenerator.GetBytes(16), head.Id, head.Sequence + 1, 1_764_000_000_000_000 + made, head.Previous, payload);
            head = (head.Id, entry.Sequence, entry.Commitment, head.Operation);
            EntryFrame.Write(buffer, entry);
            if (made % BatchEntries == BatchEntries - 1 || made == count - 1)
            {
                frames.Add(buffer.WrittenSpan.ToArray());
                buffer.ResetWrittenCount();
            }
        }

        return frames;
    }

    private static byte[] Json<T>(T body) => JsonSerializer.SerializeToUtf8Bytes(body, JsonSerializerOptions.Web);

    private sealed class Sealer : ISealSigner, IDisposable
    {
        private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

        public Sealer()
        {
            var point = _key.ExportParameters(false).Q;
            var (x, y) = (Base64Url.EncodeToString(point.X), Base64Url.EncodeToString(point.Y));
            KeyId = Base64Url.EncodeToString(SHA256.HashData(Encoding.ASCII.GetBytes($$"""{"crv":"P-256","kty":"EC","x":"{{x}}","y":"{{y}}"}""")));
            Key = new SealKey(SealKey.Proxy, KeyId, x, y);
        }

        public string KeyId { get; }

        public SealKey Key { get; }

        public byte[] Sign(ReadOnlySpan<byte> data) => _key.SignData(data, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);

        public bool Check(string session, Seal seal) => seal.Verify(session, _key);

        public void Dispose() => _key.Dispose();
    }
}
