using System.Diagnostics;
using System.Globalization;
using Countersign.Fakes.Cluster;

namespace Countersign.Benchmarks.Distribution;

/// <summary>Over real sidecars: what <c>./cluster.sh up --demo --proxies 2</c> starts, in a folder of its own.</summary>
internal sealed class DaprComposition : IComposition
{
    // Ports of cluster.sh: ten a service from +20 on, in the order identity, policy, approval, recorder-1, proxies; PostgreSQL clients at the seventh.
    private const int FirstProxy = 60;
    private static readonly string[] Names = ["alice", "bob"];
    private readonly string _script;
    private readonly string _folder;
    private readonly int _base;

    private DaprComposition(string script, string folder, int portBase) => (_script, _folder, _base) = (script, folder, portBase);

    public string Sidecars => "daprd with mTLS, Redis, PostgreSQL (cluster.sh)";

    public Uri Entrance => new($"http://127.0.0.1:{_base}/");

    public Uri ProxyAddress => new($"http://127.0.0.1:{_base + FirstProxy}/");

    public IReadOnlyList<int> PostgresPorts => [_base + FirstProxy + 6, _base + FirstProxy + 16];

    public IReadOnlyList<Account> Accounts => [.. Names.Select(name => new Account(name, File.ReadAllText(Path.Combine(_folder, "secrets", "person-" + name)).Trim()))];

    public string BootstrapToken => Path.Combine(_folder, "data", "identity", "bootstrap-token");

    public IReadOnlyList<(string Name, int Process)> Processes =>
    [
        .. Directory.GetFiles(Path.Combine(_folder, "run"), "*.pid").Select(file => (Name: NameOf(Path.GetFileNameWithoutExtension(file)), int.Parse(File.ReadAllText(file).Split(' ')[0], CultureInfo.InvariantCulture)))
            .Where(each => each.Name.Length > 0),
    ];

    public static async Task<DaprComposition> StartAsync(string script, string folder, int portBase)
    {
        var composition = new DaprComposition(script, folder, portBase);
        await composition.RunAsync("up", "--demo", "--proxies", "2", "--port-base", portBase.ToString(CultureInfo.InvariantCulture));
        return composition;
    }

    public async ValueTask DisposeAsync() => await RunAsync("down");

    private static string NameOf(string instance) => instance switch
    {
        "recorder-1" => "recorder",
        "identity" or "policy" or "approval" or "proxy-1" or "proxy-2" => instance,
        _ when instance.StartsWith("sidecar-", StringComparison.Ordinal) => "sidecars",
        "redis" or "postgres" or "placement" or "scheduler" or "sentry" => "servers",
        _ => "",
    };

    private async Task RunAsync(params string[] arguments)
    {
        var start = new ProcessStartInfo(_script) { RedirectStandardError = false, RedirectStandardOutput = true };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["COUNTERSIGN_CLUSTER"] = _folder;
        using var process = Process.Start(start)!;

        // What it starts doesn't hold its output, so that it ends with it.
        while (await process.StandardOutput.ReadLineAsync() is { } line)
        {
            await Console.Error.WriteLineAsync(line);
        }

        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"cluster.sh {arguments[0]} failed with {process.ExitCode}");
        }
    }
}
