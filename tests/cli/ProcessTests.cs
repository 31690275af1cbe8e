using System.Diagnostics;
using System.Text;

namespace Countersign.Cli.Tests;

/// <summary>The tool as a process of its own, as scripts run it.</summary>
[Trait("group", "unit")]
public sealed class ProcessTests : CliFixture
{
    [Fact]
    public async Task Output_is_UTF8_without_a_byte_order_mark_and_errors_stay_apart()
    {
        Server.Enrolled = false;
        var login = await RunProcessAsync(Server.NewIdToken("alice") + "\n", "login", "--id-token-stdin", "-o", "json");
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM größe"));
        var requests = await RunProcessAsync("", "requests");
        var wrong = await RunProcessAsync("", "nope");

        Assert.Equal((0, ""), (login.ExitCode, login.Error));
        Assert.Equal("logged-in", login.Json.GetProperty("event").GetString());
        Assert.EndsWith("DELETE FROM größe\n", requests.Output, StringComparison.Ordinal);
        Assert.StartsWith("ID ", requests.Output, StringComparison.Ordinal);
        Assert.Equal((2, ""), (wrong.ExitCode, wrong.Output));
        Assert.StartsWith("countersign: ", wrong.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Processes_take_turns_with_the_refresh_token()
    {
        await LogInAsync();

        var runs = await Task.WhenAll(
            RunProcessAsync("", "requests"), RunProcessAsync("", "connections"), RunProcessAsync("", "sessions"), RunProcessAsync("", "requests", "--mine"));

        Assert.All(runs, run => Assert.Equal(0, run.ExitCode));
        Assert.False(Server.RefreshTokenReused);
    }

    [Fact]
    public async Task A_signal_ends_a_wait_with_130()
    {
        await LogInAsync();
        var polled = new TaskCompletionSource();
        Server.Overrides["/approval/v1/requests"] = async context =>
        {
            await Microsoft.AspNetCore.Http.HttpResponseWritingExtensions.WriteAsync(context.Response, "[]");
            polled.TrySetResult();
        };
        using var process = Start("requests", "--wait");
        await polled.Task;

        using (Process.Start("kill", ["-INT", $"{process.Id}"]))
        {
            await process.WaitForExitAsync();
        }

        Assert.Equal(130, process.ExitCode);
        Assert.Equal("", await process.StandardError.ReadToEndAsync());
    }

    private async Task<CliRun> RunProcessAsync(string input, params string[] arguments)
    {
        using var process = Start(arguments);
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return new CliRun(process.ExitCode, await output, await error);
    }

    private Process Start(params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "countersign.dll"), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            // As they come: a byte order mark would be seen.
            StandardOutputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false),
        };
        foreach (var (name, value) in Variables)
        {
            start.Environment[name] = value;
        }

        start.Environment["LC_ALL"] = "C";
        return Process.Start(start)!;
    }
}
