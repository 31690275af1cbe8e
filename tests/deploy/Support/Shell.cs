using System.Diagnostics;
using System.Text;

namespace Countersign.Deploy.Tests.Support;

/// <summary>What a program said and how it ended.</summary>
internal sealed record Ended(int Code, string Output)
{
    public Ended Good()
    {
        Assert.True(Code == 0, $"exit code {Code}\n{Output}");
        return this;
    }
}

/// <summary>Runs programs in a clean environment.</summary>
internal static class Shell
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(8);

    public static Task<Ended> BashAsync(string script, string? folder = null, IReadOnlyDictionary<string, string>? environment = null) =>
        RunAsync("bash", ["-c", script], folder, environment);

    public static async Task<Ended> RunAsync(string program, IReadOnlyList<string> arguments, string? folder = null, IReadOnlyDictionary<string, string>? environment = null)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder ?? Tree.Root,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }

        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var output = new StringBuilder();
        void Add(string? line)
        {
            lock (output)
            {
                output.AppendLine(line);
            }
        }

        process.OutputDataReceived += (_, line) => Add(line.Data);
        process.ErrorDataReceived += (_, line) => Add(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(Patience);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{program} does not end\n{output}");
        }

        lock (output)
        {
            return new Ended(process.ExitCode, output.ToString());
        }
    }
}

/// <summary>A folder of a test's own.</summary>
internal sealed class Folder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("countersign-deploy-").FullName;

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose()
    {
        try
        {
            Directory.Delete(Path, recursive: true);
        }
        catch (DirectoryNotFoundException)
        {
            // A test that checks that everything is gone.
        }
    }
}
