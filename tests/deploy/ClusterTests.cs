using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Countersign.Deploy.Tests.Support;

namespace Countersign.Deploy.Tests;

/// <summary>
/// cluster.sh with real PostgreSQL, Redis and services. In place of Dapr's programs, shims over the double of the sidecar (tests/fakes) that insist on the flags that the
/// real ones know. What only the real ones can show (mTLS, access by identity) is not shown here.
/// </summary>
[Trait("group", "distributed")]
[Collection("cluster")]
public sealed class ClusterTests : IAsyncLifetime
{
    private readonly Folder _folder = new();
    private readonly Dictionary<string, string> _environment = [];

    public ValueTask InitializeAsync()
    {
        // artifacts/bin/PROJECT/CONFIGURATION/
        var own = new DirectoryInfo(AppContext.BaseDirectory.TrimEnd('/'));
        var binaries = own.Parent!.Parent!.FullName;
        // PostgreSQL, which runs as another user where this is root, must get through.
        File.SetUnixFileMode(_folder.Path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        var shims = Directory.CreateDirectory(_folder["dapr"]).FullName;
        foreach (var program in new[] { "daprd", "placement", "scheduler", "sentry" })
        {
            var path = Path.Combine(shims, program);
            File.WriteAllText(path, $"#!/bin/sh\nexec '{binaries}/Countersign.Fakes.DaprBinaries/{own.Name}/Countersign.Fakes.DaprBinaries' {program} \"$@\"\n");
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        }

        _environment["DAPR_BIN"] = shims;
        _environment["COUNTERSIGN_BIN"] = binaries;
        _environment["COUNTERSIGN_CONFIGURATION"] = own.Name;
        _environment["COUNTERSIGN_CLUSTER"] = _folder["cluster"];
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await RunAsync("down");
        _folder.Dispose();
    }

    [Fact]
    public async Task It_starts_everything_says_what_runs_and_stops_it_cleanly()
    {
        var port = FreePorts();
        (await RunAsync($"up --demo --proxies 2 --recorders 2 --port-base {port}")).Good();
        var status = (await RunAsync("status")).Good().Output;
        foreach (var name in new[] { "identity", "policy", "approval", "recorder-1", "recorder-2", "proxy-1", "proxy-2", "entrance" })
        {
            Assert.Matches($@"(?m)^{name} +\d+ +ready$", status);
        }

        Assert.Equal(5 + 7 + 8, status.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/identity/v1/login", TestContext.Current.CancellationToken)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/recorder/v1/key", TestContext.Current.CancellationToken)).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync("/policy/v1/bundle", TestContext.Current.CancellationToken)).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await http.GetAsync("/dapr/subscribe", TestContext.Current.CancellationToken)).StatusCode);

        // Both proxies open the same credentials; nobody else's folder has their key.
        var keys = Directory.GetFiles(_folder["cluster/data"], "proxy-group-*.key", SearchOption.AllDirectories);
        Assert.Equal(2, keys.Length);
        Assert.Equal(File.ReadAllText(keys[0]), File.ReadAllText(keys[1]));
        Assert.All(Directory.GetFiles(_folder["cluster/secrets"]), file => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file)));

        // No secret is in a command line, which everybody on the machine can read.
        var secrets = Directory.GetFiles(_folder["cluster/secrets"]).Where(file => file.EndsWith("-password", StringComparison.Ordinal) || file.EndsWith("-token", StringComparison.Ordinal)).Select(File.ReadAllText).ToList();
        foreach (var pid in Pids())
        {
            var line = await File.ReadAllTextAsync($"/proc/{pid}/cmdline", TestContext.Current.CancellationToken);
            Assert.DoesNotContain(secrets, secret => line.Contains(secret, StringComparison.Ordinal));
        }

        // What Prometheus is told to ask is there.
        foreach (var part in System.Text.Json.Nodes.JsonNode.Parse(await File.ReadAllTextAsync(_folder["cluster/run/prometheus.json"], TestContext.Current.CancellationToken))!.AsArray()
            .Where(part => part!["labels"]!["job"]!.GetValue<string>() == "countersign"))
        {
            Assert.Equal(HttpStatusCode.OK, (await http.GetAsync($"http://{part!["targets"]![0]}/metrics", TestContext.Current.CancellationToken)).StatusCode);
        }

        // Nobody who goes on running has the login of a schema's owner.
        foreach (var pid in Pids())
        {
            Assert.DoesNotContain("owner-connection", await File.ReadAllTextAsync($"/proc/{pid}/environ", TestContext.Current.CancellationToken), StringComparison.Ordinal);
        }

        var again = await RunAsync($"up --demo --port-base {port}");
        Assert.Equal(1, again.Code);
        Assert.Contains("runs already", again.Output, StringComparison.Ordinal);

        // One that died is seen.
        using (var policy = Process.GetProcessById(Pid("policy")))
        {
            policy.Kill();
        }

        await UntilAsync(async () => await RunAsync("status") is { Code: 1 } seen && seen.Output.Contains("policy               -        stopped", StringComparison.Ordinal));

        var pids = Pids();
        (await RunAsync("down")).Good();
        Assert.Empty(pids.Where(Runs));
        Assert.Empty(Directory.GetFiles(_folder["cluster/run"], "*.pid"));
        Assert.Contains("Nothing runs", (await RunAsync("down")).Good().Output, StringComparison.Ordinal);

        // What it holds stays: the same keys, and a database that is there.
        (await RunAsync($"up --demo --port-base {port}")).Good();
        Assert.Contains(File.ReadAllText(keys[0]), Directory.GetFiles(_folder["cluster/data"], "proxy-group-*.key", SearchOption.AllDirectories).Select(File.ReadAllText));
    }

    [Fact]
    public async Task Without_daprs_programs_it_says_what_is_missing_and_ends_with_3()
    {
        File.Delete(_folder["dapr/scheduler"]);
        var ended = await RunAsync("up --demo");
        Assert.Equal(3, ended.Code);
        Assert.Contains("missing: scheduler (looked in", ended.Output, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["cluster"]));
    }

    [Fact]
    public async Task What_fails_while_starting_leaves_nothing_running()
    {
        await File.WriteAllTextAsync(_folder["dapr/placement"], "#!/bin/sh\necho 'placement is broken' >&2\nexit 7\n", TestContext.Current.CancellationToken);
        var ended = await RunAsync($"up --demo --port-base {FreePorts()}");
        Assert.Equal(1, ended.Code);
        Assert.Contains("placement is broken", ended.Output, StringComparison.Ordinal);
        Assert.Contains("placement", ended.Output, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(_folder["cluster/run"], "*.pid"));
    }

    [Fact]
    public async Task Without_a_cluster_there_is_nothing_to_stop_and_status_says_so()
    {
        Assert.Contains("Nothing runs", (await RunAsync("down")).Good().Output, StringComparison.Ordinal);
        var status = await RunAsync("status");
        Assert.Equal(1, status.Code);
        Assert.Contains("There is no cluster", status.Output, StringComparison.Ordinal);
    }

    private Task<Ended> RunAsync(string arguments) => Shell.BashAsync($"./cluster.sh {arguments}", environment: _environment);

    private int Pid(string name) => int.Parse(File.ReadAllText(_folder[$"cluster/run/{name}.pid"]).Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture);

    private List<int> Pids() => [.. Directory.GetFiles(_folder["cluster/run"], "*.pid").Select(file => Pid(Path.GetFileNameWithoutExtension(file))).Where(Runs)];

    // One that has ended and that nobody has asked about yet counts as ended.
    private static bool Runs(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/stat") is var stat && stat[(stat.LastIndexOf(')') + 2)..][0] != 'Z';
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(30));
        while (!await condition())
        {
            await Task.Delay(50, limit.Token);
        }
    }

    // A hundred ports in a row that nobody has, below those that the system hands out.
    private static int FreePorts()
    {
        for (var port = Random.Shared.Next(110, 300) * 100; ; port = Random.Shared.Next(110, 300) * 100)
        {
            if (Enumerable.Range(port, 100).All(IsFree))
            {
                return port;
            }
        }
    }

    private static bool IsFree(int port)
    {
        try
        {
            using var listener = new TcpListener(IPAddress.Loopback, port);
            listener.Start();
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
