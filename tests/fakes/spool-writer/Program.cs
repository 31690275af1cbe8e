using System.Security.Cryptography;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Fakes.SpoolWriter;

/// <summary>
/// Writes to a spool until it is killed, and says on its output what it was told is durable. Arguments: folder, session id prefix, number of sessions, file of the key that seals (PEM), its id. The recorder is
/// away, so that everything stays in the spool.
/// </summary>
internal static class Program
{
    private static async Task Main(string[] args)
    {
        var output = Console.OpenStandardOutput();
        var gate = new Lock();
        using var signer = new Signer(File.ReadAllText(args[3]), args[4]);
        await using var spool = Spool.Open(
            new SpoolOptions { Directory = args[0], Proxy = "victim", SegmentBytes = 1024 * 1024 }, signer, new Away(), TimeProvider.System, NullLogger<Spool>.Instance);
        await Task.WhenAll(Enumerable.Range(0, int.Parse(args[2], System.Globalization.CultureInfo.InvariantCulture)).Select(async number =>
        {
            var session = $"ses_{args[1]}{number}";
            var recording = await spool.OpenAsync(session, Start(), default);
            Say(session, 1);
            for (long operation = 1; ; operation++)
            {
                var receipt = recording.Append(
                    new OperationEntry
                    {
                        Operation = operation,
                        Kind = "query",
                        Text = "UPDATE t SET a = a + " + new string('1', (int)(operation * 37 % 700)),
                        Decision = "allow",
                        BundleVersion = 1,
                    },
                    RecordLevel.Durable);
                await receipt.WaitAsync(default);
                Say(session, receipt.Sequence);
                if (operation % 3 != 0)
                {
                    recording.Complete(new CompletionEntry { Operation = operation, Outcome = "ok" });
                }
            }
        }));

        void Say(string session, long sequence)
        {
            var line = System.Text.Encoding.ASCII.GetBytes($"{session} {sequence}\n");
            lock (gate)
            {
                output.Write(line);
                output.Flush();
            }
        }
    }

    private static SessionStartEntry Start() => new()
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
        Proxy = "victim",
    };

    private sealed class Away : IEntryTransport
    {
        public ValueTask<BatchResult> SendAsync(ReadOnlyMemory<byte> batch, CancellationToken cancellation) => throw new IOException("away");
    }

    private sealed class Signer : ISealSigner, IDisposable
    {
        private readonly ECDsa _key = ECDsa.Create();

        public Signer(string pem, string id)
        {
            _key.ImportFromPem(pem);
            KeyId = id;
        }

        public string KeyId { get; }

        public byte[] Sign(ReadOnlySpan<byte> data) => _key.SignData(data, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);

        public void Dispose() => _key.Dispose();
    }
}
