using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Countersign.Operations.Tests;

/// <summary>Every service as a process of its own, as it is built: it starts alone, answers, and ends when it is asked to.</summary>
[Trait("group", "unit")]
[Collection("hosts")]
public sealed partial class ProcessTests : IDisposable
{
    private const int Terminate = 15;
    private readonly Place _place = new();

    public void Dispose() => _place.Dispose();

    [Theory]
    [InlineData("Identity")]
    [InlineData("Policy")]
    [InlineData("Approval")]
    [InlineData("Recorder")]
    [InlineData("Proxy")]
    public async Task A_service_starts_alone_is_alive_and_ends_with_zero(string service)
    {
        using var process = Start(service, out var output, _place.Arguments("--Countersign:Proxy:DrainTimeout=00:00:01"));
        try
        {
            using var http = new HttpClient { BaseAddress = new Uri(_place.Url), Timeout = TimeSpan.FromSeconds(10) };
            await Place.UntilAsync(
                async () =>
                {
                    Assert.False(process.HasExited, string.Join('\n', output));
                    return await IsAliveAsync(http);
                },
                TestContext.Current.CancellationToken);
            Assert.Contains("# TYPE", await http.GetStringAsync("/metrics", TestContext.Current.CancellationToken), StringComparison.Ordinal);
            Assert.Equal(0, Kill(process.Id, Terminate));
            await ExitAsync(process);
            Assert.True(process.ExitCode == 0, string.Join('\n', output));
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill();
            }
        }
    }

    [Fact]
    public async Task A_process_with_wrong_options_ends_and_says_why()
    {
        using var process = Start("Proxy", out var output, _place.Arguments("--Countersign:Proxy:Id=a b", "--Countersign:Proxy:MaxSessions=0"));
        await ExitAsync(process);
        Assert.Equal(78, process.ExitCode);
        var said = string.Join('\n', output);
        Assert.Contains("Countersign:Proxy:Id", said, StringComparison.Ordinal);
        Assert.Contains("Countersign:Proxy:MaxSessions", said, StringComparison.Ordinal);
        Assert.DoesNotContain("Unhandled exception", said, StringComparison.Ordinal);
    }

    // The executables are built beside this one: artifacts/bin/PROJECT/CONFIGURATION/.
    private static Process Start(string service, out ConcurrentQueue<string> output, string[] arguments)
    {
        var own = AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar);
        var name = $"Countersign.{service}.Host";
        var start = new ProcessStartInfo(Path.Combine(own, "..", "..", name, Path.GetFileName(own), name), arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var lines = output = [];
        var process = new Process { StartInfo = start };
        process.OutputDataReceived += (_, line) => lines.Enqueue(line.Data ?? "");
        process.ErrorDataReceived += (_, line) => lines.Enqueue(line.Data ?? "");
        Assert.True(process.Start());
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    private static async Task ExitAsync(Process process)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(90));
        await process.WaitForExitAsync(limit.Token);
    }

    private static async Task<bool> IsAliveAsync(HttpClient http)
    {
        try
        {
            return (await http.GetAsync("/health/live", TestContext.Current.CancellationToken)).IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int process, int signal);
}
