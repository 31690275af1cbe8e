using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Countersign.Fakes.Cluster;

/// <summary>A service as a process of its own: started, asked to end, killed, and started again like any other.</summary>
public sealed partial class ServiceProcess : IAsyncDisposable
{
    private const int Terminate = 15;
    private const int Continue = 18;
    private const int Stop = 19;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);
    private readonly string _binary;
    private readonly Dictionary<string, string> _environment;
    private Process? _process;

    internal ServiceProcess(string name, string project, string folder, int port, IEnumerable<KeyValuePair<string, string>> environment)
    {
        Name = name;
        Log = Path.Combine(folder, name + ".log");
        Address = new Uri($"http://127.0.0.1:{port}/");
        _binary = Binary(project);
        _environment = new Dictionary<string, string>(environment) { ["ASPNETCORE_URLS"] = Address.AbsoluteUri.TrimEnd('/'), ["DOTNET_gcServer"] = "0" };
    }

    /// <summary>Name among the processes of the cluster, e.g. <c>proxy-2</c>.</summary>
    public string Name { get; }

    /// <summary>Its log.</summary>
    public string Log { get; }

    /// <summary>Where its HTTP routes are.</summary>
    public Uri Address { get; }

    /// <summary>Whether it runs.</summary>
    public bool Runs => _process is { HasExited: false };

    /// <summary>Process id.</summary>
    public int Id => _process!.Id;

    /// <summary>Its environment; a change counts from the next start on.</summary>
    public IDictionary<string, string> Environment => _environment;

    /// <summary>Starts it; doesn't wait.</summary>
    public void Start()
    {
        if (Runs)
        {
            throw new InvalidOperationException($"{Name} runs already");
        }

        var start = new ProcessStartInfo("/bin/sh") { WorkingDirectory = Path.GetDirectoryName(Log) };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add($"exec '{_binary}' >> '{Log}' 2>&1 < /dev/null");
        foreach (var (name, value) in _environment)
        {
            start.Environment[name] = value;
        }

        _process = Process.Start(start)!;
    }

    /// <summary>Waits until it says that it is ready, or only alive.</summary>
    /// <exception cref="TimeoutException">With the end of its log.</exception>
    public async Task AwaitAsync(bool ready, CancellationToken cancellation)
    {
        using var http = new HttpClient { BaseAddress = Address, Timeout = TimeSpan.FromSeconds(10) };
        var began = TimeProvider.System.GetTimestamp();
        var last = "";
        while (true)
        {
            try
            {
                using var answer = await http.GetAsync(new Uri(ready ? "health/ready" : "health/live", UriKind.Relative), cancellation);
                // Somebody else's answer, where its own process couldn't take the port, is none.
                if (answer.IsSuccessStatusCode && Runs)
                {
                    return;
                }

                last = await answer.Content.ReadAsStringAsync(cancellation);
            }
            catch (Exception error) when (error is HttpRequestException or TaskCanceledException && !cancellation.IsCancellationRequested)
            {
                last = error.Message;
            }

            if (!Runs || TimeProvider.System.GetElapsedTime(began) > Patience)
            {
                throw new TimeoutException($"{Name} is not ready ({last}): {string.Join('\n', Tail(30))}");
            }

            await Task.Delay(30, cancellation);
        }
    }

    /// <summary>Asks it to end (SIGTERM); doesn't wait.</summary>
    public void Ask() => _ = Kill(Id, Terminate);

    /// <summary>Asks it to end (SIGTERM) and waits.</summary>
    /// <returns>The exit code.</returns>
    public async Task<int> StopAsync()
    {
        if (_process is not { } process)
        {
            return 0;
        }

        Ask();
        using var limit = new CancellationTokenSource(Patience);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            throw new TimeoutException($"{Name} does not end: {string.Join('\n', Tail(30))}");
        }

        var code = process.ExitCode;
        process.Dispose();
        _process = null;
        return code;
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

    /// <summary>SIGSTOP: it keeps its connections, takes new ones, and answers nothing.</summary>
    public void Freeze() => _ = Kill(Id, Stop);

    /// <summary>SIGCONT.</summary>
    public void Thaw() => _ = Kill(Id, Continue);

    /// <summary>The last lines of its log.</summary>
    public IReadOnlyList<string> Tail(int lines)
    {
        if (!File.Exists(Log))
        {
            return [];
        }

        using var stream = new FileStream(Log, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(stream);
        return [.. reader.ReadToEnd().Split('\n').TakeLast(lines)];
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await KillAsync();

    // The executables are built beside this one, artifacts/bin/PROJECT/CONFIGURATION/, or published with it into one folder.
    private static string Binary(string project)
    {
        if (Path.Combine(AppContext.BaseDirectory, project) is var published && File.Exists(published) && File.Exists(published + ".dll"))
        {
            return published;
        }

        var own = new DirectoryInfo(AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar));
        var binary = Path.Combine(own.Parent!.Parent!.FullName, project, own.Name, project);
        return File.Exists(binary) ? binary : throw new FileNotFoundException($"{project} is not built.", binary);
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int process, int signal);
}
