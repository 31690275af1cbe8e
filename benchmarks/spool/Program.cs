using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Benchmarks.Spool;

/// <summary>
/// How many statements a second the spool makes durable, by writers, with the latency of a bare sync on the same disk measured in the same run.
/// Arguments: seconds a run, then options <c>--directory D</c>, <c>--writers 1,8,32</c>, <c>--fdatasync</c>, <c>--inline N</c>, <c>--chunk N</c>, <c>--ship</c>.
/// </summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        string Option(string name, string fallback) => Array.IndexOf(args, name) is >= 0 and var index && index + 1 < args.Length ? args[index + 1] : fallback;
        var seconds = args.Length > 0 && double.TryParse(args[0], CultureInfo.InvariantCulture, out var given) ? given : 2;
        var root = Option("--directory", Path.Combine(Path.GetTempPath(), "countersign-spool-bench"));
        var defaults = new SpoolOptions { Directory = root, Proxy = "bench" };
        foreach (var writers in Option("--writers", "1,8,32").Split(',').Select(text => int.Parse(text, CultureInfo.InvariantCulture)))
        {
            var directory = Path.Combine(root, Guid.NewGuid().ToString("N"));
            var options = defaults with
            {
                Directory = directory,
                WriteThrough = !args.Contains("--fdatasync"),
                InlineWakes = int.Parse(Option("--inline", defaults.InlineWakes.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture),
                WakeChunk = int.Parse(Option("--chunk", defaults.WakeChunk.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture),
            };
            try
            {
                var sync = SyncLatency(root, options.WriteThrough);
                await RunAsync(options, writers, TimeSpan.FromSeconds(seconds), args.Contains("--ship"), sync);
            }
            finally
            {
                Directory.Delete(directory, recursive: true);
            }
        }

        return 0;
    }

    private static async Task RunAsync(SpoolOptions options, int writers, TimeSpan duration, bool ship, (double P50, double P99) sync)
    {
        using var signer = new BenchSigner();
        await using var spool = Proxy.Path.Record.Spool.Open(
            options, signer, new NullTransport(ship), TimeProvider.System, NullLogger<Proxy.Path.Record.Spool>.Instance);
        var recordings = new List<ISessionRecording>();
        for (var index = 0; index < writers; index++)
        {
            recordings.Add(await spool.OpenAsync($"ses_bench{index:0000}", Start(), default));
        }

        await Task.WhenAll(recordings.Select(recording => WriteAsync(recording, TimeSpan.FromSeconds(0.5), [])));
        var latencies = recordings.Select(_ => new List<double>(200_000)).ToList();
        var cpu = Process.GetCurrentProcess().TotalProcessorTime;
        var allocated = GC.GetTotalAllocatedBytes();
        var began = Stopwatch.GetTimestamp();
        await Task.WhenAll(recordings.Select((recording, index) => WriteAsync(recording, duration, latencies[index])));
        var elapsed = Stopwatch.GetElapsedTime(began);
        cpu = Process.GetCurrentProcess().TotalProcessorTime - cpu;
        var all = latencies.SelectMany(list => list).Order().ToList();
        allocated = (GC.GetTotalAllocatedBytes() - allocated) / all.Count;
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"writers {writers,3}: {all.Count / elapsed.TotalSeconds,8:0} statements/s  p50 {all[all.Count / 2],6:0} us  p99 {all[all.Count * 99 / 100],6:0} us"
            + $"  cpu {cpu.TotalMicroseconds / all.Count,5:0.0} us/statement  {allocated} B/statement  sync p50 {sync.P50:0} p99 {sync.P99:0} us"));
    }

    // One statement: its operation made durable, then its completion, which nobody waits for.
    private static async Task WriteAsync(ISessionRecording recording, TimeSpan duration, List<double> latencies)
    {
        await Task.Yield();
        var until = Stopwatch.GetTimestamp() + (long)(duration.TotalSeconds * Stopwatch.Frequency);
        long operation = Random.Shared.NextInt64(1L << 40);
        while (true)
        {
            var began = Stopwatch.GetTimestamp();
            if (began > until)
            {
                return;
            }

            operation++;
            var receipt = recording.Append(
                new OperationEntry
                {
                    Operation = operation,
                    Kind = "query",
                    Text = "SELECT abalance FROM pgbench_accounts WHERE aid = 123456;",
                    Decision = "allow",
                    Rules = ["baseline/reads"],
                    BundleVersion = 12,
                },
                RecordLevel.Durable);
            await receipt.WaitAsync(default);
            latencies.Add(Stopwatch.GetElapsedTime(began).TotalMicroseconds);
            recording.Complete(new CompletionEntry { Operation = operation, Outcome = "ok", Rows = 1, Bytes = 64, DurationMicroseconds = 120 });
        }
    }

    private static (double P50, double P99) SyncLatency(string root, bool writeThrough)
    {
        var directory = Path.Combine(root, "sync");
        var storage = new DiskSpoolStorage(directory, writeThrough);
        using (var file = storage.Create("probe", 4 * 1024 * 1024))
        {
            file.Write(new byte[4 * 1024 * 1024], 0);
            file.Sync();
            var times = new double[500];
            for (var index = 0; index < times.Length; index++)
            {
                var began = Stopwatch.GetTimestamp();
                file.Write(new byte[512], index * 512);
                file.Sync();
                times[index] = Stopwatch.GetElapsedTime(began).TotalMicroseconds;
            }

            Array.Sort(times);
            storage.Delete("probe");
            return (times[250], times[495]);
        }
    }

    private static SessionStartEntry Start() => new()
    {
        Principal = "p",
        Person = "per_bench",
        Name = "bench",
        Credential = "c",
        Connection = "bench",
        Database = "bench",
        DatabaseRole = "bench",
        Protocol = "postgres",
        Client = "127.0.0.1:1",
        Proxy = "bench",
    };

    private sealed class NullTransport(bool ship) : IEntryTransport
    {
        public async ValueTask<BatchResult> SendAsync(ReadOnlyMemory<byte> batch, CancellationToken cancellation)
        {
            if (!ship)
            {
                await Task.Delay(Timeout.Infinite, cancellation);
            }

            var reached = new Dictionary<string, long>();
            foreach (var entry in EntryFrame.ReadAll(batch))
            {
                reached[entry.Session] = entry.Sequence;
            }

            return new BatchResult(reached, new Dictionary<string, string>());
        }
    }

    private sealed class BenchSigner : ISealSigner, IDisposable
    {
        private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

        public string KeyId => "bench";

        public byte[] Sign(ReadOnlySpan<byte> data) => _key.SignData(data, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);

        public void Dispose() => _key.Dispose();
    }
}
