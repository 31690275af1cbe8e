using System.Diagnostics;
using System.Globalization;

namespace Countersign.EndToEnd.Tests.Support;

/// <summary>The standalone host as a process of its own: killed with SIGKILL and started again like any other.</summary>
public sealed class HostProcess(string folder, IReadOnlyDictionary<string, string> environment, Uri address) : IAsyncDisposable
{
    private Process? _process;

    /// <summary>Its log.</summary>
    public string Log => Path.Combine(folder, "host.log");

    /// <summary>Process id.</summary>
    public int Id => _process!.Id;

    /// <summary>Resident memory in bytes.</summary>
    public long ResidentBytes()
    {
        var line = File.ReadLines($"/proc/{Id}/status").First(each => each.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024;
    }

    /// <summary>Starts it and waits until it is ready, or says another thing of its health.</summary>
    public async Task StartAsync(string health = "health/ready")
    {
        // A shell in between for the log, and so that a file size limit comes as an error (EFBIG) and not as a signal.
        var start = new ProcessStartInfo("/bin/sh") { WorkingDirectory = folder };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add($"trap '' XFSZ; exec '{Binary}' >> '{Log}' 2>&1 < /dev/null");
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        _process = Process.Start(start)!;
        using var http = new HttpClient { BaseAddress = address };
        await Until.TrueAsync("the host is ready", async () =>
        {
            if (_process.HasExited)
            {
                Assert.Fail("the host has ended: " + string.Join('\n', File.ReadLines(Log).TakeLast(30)));
            }

            try
            {
                using var answer = await http.GetAsync(health);
                return answer.IsSuccessStatusCode;
            }
            catch (HttpRequestException)
            {
                return false;
            }
        });
    }

    /// <summary>SIGKILL: nothing is flushed, nobody is told.</summary>
    public async Task KillAsync()
    {
        if (_process is { } process)
        {
            process.Kill();
            await process.WaitForExitAsync();
            process.Dispose();
            _process = null;
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await KillAsync();

    private static string Binary
    {
        get
        {
            var own = new DirectoryInfo(AppContext.BaseDirectory.TrimEnd('/'));
            var binary = Path.Combine(own.Parent!.Parent!.FullName, "Countersign.Standalone", own.Name, "Countersign.Standalone");
            return File.Exists(binary) ? binary : throw new FileNotFoundException("The standalone host is not built.", binary);
        }
    }
}
