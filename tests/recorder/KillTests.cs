using System.Diagnostics;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Recorder.Tests;

/// <summary>A real process with real files, killed with -9 while it writes: the kernel keeps what was written, the process loses the rest.</summary>
[Trait("group", "faults")]
public sealed class KillTests
{
    [Fact]
    public async Task After_kill_nothing_that_was_acknowledged_is_lost()
    {
        using var folder = new TestFolder();
        using var signer = new TestSigner();
        var durable = new Dictionary<string, long>(StringComparer.Ordinal);
        var pem = Path.Combine(folder.Path, "seal.pem");
        await File.WriteAllTextAsync(pem, signer.ExportPem());
        for (var round = 0; round < 3; round++)
        {
            await RunAndKillAsync([Path.Combine(folder.Path, "spool"), $"kill{round}_", "4", pem, signer.KeyId], lines: 300 + (round * 217), durable);
        }

        var transport = new CollectingTransport(signer);
        await using var spool = Spool.Open(
            new SpoolOptions { Directory = Path.Combine(folder.Path, "spool"), Proxy = "p", SegmentBytes = 1024 * 1024, ShipInterval = TimeSpan.FromMilliseconds(10) }, signer, transport,
            TimeProvider.System, NullLogger<Spool>.Instance);
        // To the seal behind the end: then nothing more comes into these lists.
        await transport.UntilAsync(collected => durable.Keys.All(collected.IsComplete));
        Assert.Equal(12, durable.Count);
        Assert.Empty(transport.Refused);
        foreach (var (session, sequence) in durable)
        {
            var entries = transport.Sessions[session];
            Assert.Equal(Enumerable.Range(1, entries.Count).Select(number => (long)number), entries.Select(entry => entry.Sequence));
            Assert.True(entries[^1].Sequence > sequence);
            Assert.Single(entries, entry => entry.Type == EntryType.SessionEnd);
        }
    }

    private static async Task RunAndKillAsync(string[] arguments, int lines, Dictionary<string, long> durable)
    {
        var here = AppContext.BaseDirectory.TrimEnd('/');
        var path = Path.Combine(here, "..", "..", "Countersign.Fakes.SpoolWriter", Path.GetFileName(here), "Countersign.Fakes.SpoolWriter.dll");
        using var process = Process.Start(new ProcessStartInfo("dotnet", [path, .. arguments]) { RedirectStandardOutput = true })!;
        try
        {
            while (lines-- > 0)
            {
                Take(await process.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException("the writer ended by itself"), durable);
            }
        }
        finally
        {
            // SIGKILL.
            process.Kill();
        }

        // What it said before it died counts too; a line that it could not finish does not.
        var rest = await process.StandardOutput.ReadToEndAsync();
        foreach (var line in rest.Split('\n')[..^1])
        {
            Take(line, durable);
        }

        await process.WaitForExitAsync();
    }

    private static void Take(string line, Dictionary<string, long> durable)
    {
        var parts = line.Split(' ');
        durable[parts[0]] = Math.Max(durable.GetValueOrDefault(parts[0]), long.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture));
    }
}
