using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Countersign.Fakes.Sidecar;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Postgres;
using Npgsql;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>The real programs of Dapr, from <c>$DAPR_BIN</c> or PATH, and Redis for the bus. What is missing is said, and the tests are skipped.</summary>
internal static class DaprPrograms
{
    private static readonly string[] Names = ["daprd", "placement", "scheduler", "sentry"];

    public static string? Find(string name)
    {
        var own = Environment.GetEnvironmentVariable("DAPR_BIN") is { Length: > 0 } folder ? [folder] : (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        return own.Where(each => each.Length > 0).Select(each => Path.Combine(each, name)).FirstOrDefault(File.Exists);
    }

    /// <summary>Null where all are there, else what isn't.</summary>
    public static string? Missing()
    {
        var missing = Names.Where(name => Find(name) is null).ToList();
        if ((Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').All(folder => !File.Exists(Path.Combine(folder, "redis-server"))))
        {
            missing.Add("redis-server");
        }

        var looked = Environment.GetEnvironmentVariable("DAPR_BIN") is { Length: > 0 } folder ? $"in {folder} (DAPR_BIN)" : "on PATH; DAPR_BIN is not set";
        return missing.Count == 0 ? null : $"{string.Join(", ", missing)} not found (looked {looked})";
    }

    /// <summary>Skips the test that runs, and says what it would have proved.</summary>
    public static void SkipWithout()
    {
        if (Missing() is { } missing)
        {
            Assert.Skip($"NOT PROVED against real Dapr 1.18: \"{TestContext.Current.TestMethod?.MethodName.Replace('_', ' ')}\". Why: {missing}.");
        }
    }
}

/// <summary>
/// Real sidecars with their control plane: sentry, placement and scheduler with mTLS, state in PostgreSQL, the bus in Redis. A test has its own, so that nothing of an
/// earlier one is left.
/// </summary>
internal sealed class DaprFleet : ISidecarFleet
{
    private readonly string _folder = Directory.CreateTempSubdirectory("cs-dapr-").FullName;
    private readonly List<Process> _processes = [];
    private readonly Dictionary<string, (int Http, string Token)> _sidecars = [];
    private readonly Dictionary<string, Process> _sidecarProcesses = [];
    private readonly Dictionary<string, (Process Process, Func<Process> Again, int Health)> _control = [];
    private PostgresServer _postgres = null!;
    private int _sentry, _placement, _scheduler;

    public static async Task<DaprFleet> StartAsync()
    {
        var fleet = new DaprFleet();
        try
        {
            await fleet.StartControlPlaneAsync();
            return fleet;
        }
        catch
        {
            await fleet.DisposeAsync();
            throw;
        }
    }

    public async Task AddAsync(string appId, int appPort, int httpPort, int grpcPort, (string Api, string App) tokens, string configuration)
    {
        if (_sidecarProcesses.Remove(appId, out var former))
        {
            former.Kill();
            await former.WaitForExitAsync();
        }

        var config = Path.Combine(_folder, appId + ".yaml");
        // Without multicast: names in a file.
        await File.WriteAllTextAsync(config, configuration.TrimEnd() + $$"""

              nameResolution:
                component: sqlite
                version: v1
                configuration:
                  connectionString: "{{Path.Combine(_folder, "names.db")}}"

            """);
        _sidecarProcesses[appId] = Start("daprd", $"daprd-{appId}",
        [
            "--mode=standalone", $"--app-id={appId}", $"--app-port={appPort}", "--app-protocol=http", "--app-channel-address=127.0.0.1", $"--dapr-http-port={httpPort}", $"--dapr-grpc-port={grpcPort}",
            $"--dapr-internal-grpc-port={LoopbackPorts.Next()}", "--dapr-internal-grpc-listen-address=127.0.0.1", "--dapr-listen-addresses=127.0.0.1", $"--metrics-port={LoopbackPorts.Next()}",
            "--metrics-listen-address=127.0.0.1", $"--profile-port={LoopbackPorts.Next()}", $"--placement-host-address=127.0.0.1:{_placement}", $"--scheduler-host-address=127.0.0.1:{_scheduler}",
            "--enable-mtls=true", $"--sentry-address=127.0.0.1:{_sentry}", "--control-plane-trust-domain=countersign", "--control-plane-namespace=default", $"--resources-path={Path.Combine(_folder, "resources")}",
            $"--config={config}", "--enable-app-health-check=true", "--app-health-check-path=/health/live", "--app-health-probe-interval=1", "--app-health-threshold=1", "--max-body-size=64Mi", "--read-buffer-size=16Ki",
        ],
        new()
        {
            ["DAPR_HOST_IP"] = "127.0.0.1",
            ["DAPR_TRUST_ANCHORS"] = await File.ReadAllTextAsync(Path.Combine(_folder, "issuer", "ca.crt")),
            ["DAPR_API_TOKEN"] = tokens.Api,
            ["APP_API_TOKEN"] = tokens.App,
            ["POD_NAME"] = appId + "-1",
        });
        _sidecars[appId] = (httpPort, tokens.Api);
    }

    public async Task AttachedAsync(string appId)
    {
        var (port, token) = _sidecars[appId];
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}"), Timeout = TimeSpan.FromSeconds(5) };
        http.DefaultRequestHeaders.Add("dapr-api-token", token);
        await HealthyAsync(port, "/v1.0/healthz");
        await Until.TrueAsync(async () =>
        {
            var known = JsonNode.Parse(await http.GetStringAsync("/v1.0/metadata"));
            // What the app asks for is there once it is well; actors need their placement.
            return known?["actorRuntime"]?["runtimeStatus"] is not { } status || (string)status! != "INITIALIZING";
        }, 60);
    }

    public async ValueTask DisposeAsync()
    {
        _processes.Reverse();
        foreach (var process in _processes.Where(process => !process.HasExited))
        {
            process.Kill();
            await process.WaitForExitAsync();
        }

        if (_postgres is not null)
        {
            await _postgres.DisposeAsync();
        }

        if (Environment.GetEnvironmentVariable("COUNTERSIGN_KEEP") is null)
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    private async Task StartControlPlaneAsync()
    {
        _postgres = await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true });
        var text = $"Host=127.0.0.1;Port={_postgres.Port};Username={PostgresServer.Superuser};Password={PostgresServer.Password};Database=postgres";
        await using (var data = NpgsqlDataSource.Create(text))
        await using (var command = data.CreateCommand("create database dapr"))
        {
            await command.ExecuteNonQueryAsync();
        }

        var redis = LoopbackPorts.Next();
        Start("redis-server", "redis", ["--bind", "127.0.0.1", "--port", redis.ToString(CultureInfo.InvariantCulture), "--save", "", "--dir", _folder], []);
        var issuer = Directory.CreateDirectory(Path.Combine(_folder, "issuer"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute).FullName;
        await SentryAuthority.WriteAsync(issuer);
        await WriteResourcesAsync(redis);

        (_sentry, _placement, _scheduler) = (LoopbackPorts.Next(), LoopbackPorts.Next(), LoopbackPorts.Next());
        var sentryHealth = LoopbackPorts.Next();
        Control("sentry", sentryHealth,
        [
            $"--issuer-credentials={issuer}", "--trust-domain=countersign", "--listen-address=127.0.0.1", $"--port={_sentry}", $"--healthz-port={sentryHealth}", "--healthz-listen-address=127.0.0.1",
            $"--metrics-port={LoopbackPorts.Next()}", "--metrics-listen-address=127.0.0.1",
        ]);
        await HealthyAsync(sentryHealth, "/healthz");
        string[] trust = ["--tls-enabled=true", $"--sentry-address=127.0.0.1:{_sentry}", $"--trust-anchors-file={Path.Combine(issuer, "ca.crt")}", "--trust-domain=countersign"];
        var placementHealth = LoopbackPorts.Next();
        Control("placement", placementHealth,
        [
            "--id=p0", "--listen-address=127.0.0.1", $"--port={_placement}", $"--initial-cluster=p0=127.0.0.1:{LoopbackPorts.Next()}", $"--healthz-port={placementHealth}",
            "--healthz-listen-address=127.0.0.1", $"--metrics-port={LoopbackPorts.Next()}", "--metrics-listen-address=127.0.0.1", .. trust,
        ]);
        var schedulerHealth = LoopbackPorts.Next();
        var etcd = Directory.CreateDirectory(Path.Combine(_folder, "scheduler"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute).FullName;
        Control("scheduler", schedulerHealth,
        [
            "--id=dapr-scheduler-server-0", "--listen-address=127.0.0.1", $"--port={_scheduler}", $"--override-broadcast-host-port=127.0.0.1:{_scheduler}", $"--healthz-port={schedulerHealth}",
            "--healthz-listen-address=127.0.0.1", $"--metrics-port={LoopbackPorts.Next()}", "--metrics-listen-address=127.0.0.1", $"--etcd-data-dir={etcd}", $"--etcd-client-port={LoopbackPorts.Next()}",
            $"--etcd-initial-cluster=dapr-scheduler-server-0=https://127.0.0.1:{LoopbackPorts.Next()}", $"--identity-directory-write={Path.Combine(_folder, "tls")}", .. trust,
        ]);
        await HealthyAsync(placementHealth, "/healthz");
        await HealthyAsync(schedulerHealth, "/healthz");
    }

    /// <summary>Kills a part of the control plane: <c>placement</c>, <c>scheduler</c> or <c>sentry</c>.</summary>
    public async Task KillAsync(string name)
    {
        _control[name].Process.Kill();
        await _control[name].Process.WaitForExitAsync();
    }

    /// <summary>Starts it again, with what it had.</summary>
    public async Task StartAgainAsync(string name)
    {
        var part = _control[name];
        _control[name] = part with { Process = part.Again() };
        await HealthyAsync(part.Health, "/healthz");
    }

    private void Control(string name, int health, IReadOnlyList<string> arguments)
    {
        Process Again() => Start(name, name, arguments, []);
        _control[name] = (Again(), Again, health);
    }

    private async Task WriteResourcesAsync(int redis)
    {
        var resources = Directory.CreateDirectory(Path.Combine(_folder, "resources")).FullName;
        var secrets = Path.Combine(_folder, "secrets.json");
        await File.WriteAllTextAsync(secrets, JsonSerializer.Serialize(ContractApps.Secrets));
        var targets = Path.Combine(_folder, "target-credentials.json");
        await File.WriteAllTextAsync(targets, JsonSerializer.Serialize(new Dictionary<string, object> { ["text"] = ContractApps.TargetAsText, ["values"] = ContractApps.TargetAsValues }));
        string Redis(string name, string consumer) => Component(name, "pubsub.redis", $$"""[{name: redisHost, value: "127.0.0.1:{{redis}}"}, {name: consumerID, value: "{{consumer}}"}, {name: redeliverInterval, value: "2s"}, {name: processingTimeout, value: "2s"}]""");
        var documents = new Dictionary<string, string>
        {
            ["pubsub"] = Redis("pubsub", "{appID}"),
            ["news"] = Redis("news", "{podName}"),
            ["statestore"] = Component("statestore", "state.postgresql", $$"""[{name: connectionString, value: "host=127.0.0.1 port={{_postgres.Port}} user={{PostgresServer.Superuser}} password={{PostgresServer.Password}} dbname=dapr sslmode=disable"}, {name: actorStateStore, value: "true"}]""", "v2"),
            ["secrets"] = Component("secrets", "secretstores.local.file", $$"""[{name: secretsFile, value: "{{secrets}}"}]"""),
            ["target-credentials"] = Component("target-credentials", "secretstores.local.file", $$"""[{name: secretsFile, value: "{{targets}}"}, {name: multiValued, value: "true"}]""")
                + "\nscopes: [proxy]\n",
            ["resiliency"] = """
                apiVersion: dapr.io/v1alpha1
                kind: Resiliency
                metadata: {name: contract}
                spec:
                  policies: {retries: {in: {policy: constant, duration: 200ms, maxRetries: 2}}}
                  targets: {components: {pubsub: {inbound: {retry: in}}}}
                """,
        };
        foreach (var (name, document) in documents)
        {
            await File.WriteAllTextAsync(Path.Combine(resources, name + ".yaml"), document);
        }
    }

    private static string Component(string name, string type, string metadata, string version = "v1") => $$"""
        apiVersion: dapr.io/v1alpha1
        kind: Component
        metadata: {name: {{name}}}
        spec: {type: {{type}}, version: {{version}}, metadata: {{metadata}}}
        """;

    private Process Start(string program, string name, IReadOnlyList<string> arguments, Dictionary<string, string> environment)
    {
        var path = DaprPrograms.Find(program) ?? program;
        var start = new ProcessStartInfo("/bin/sh") { WorkingDirectory = _folder };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add("log=$1; shift; exec \"$@\" >> \"$log\" 2>&1 < /dev/null");
        start.ArgumentList.Add("sh");
        start.ArgumentList.Add(Path.Combine(_folder, name + ".log"));
        start.ArgumentList.Add(path);
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["NAMESPACE"] = "default";
        foreach (var (key, value) in environment)
        {
            start.Environment[key] = value;
        }

        var process = Process.Start(start)!;
        _processes.Add(process);
        return process;
    }

    private static Task HealthyAsync(int port, string path) => Until.TrueAsync(async () =>
    {
        using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(2) };
        try
        {
            return (await http.GetAsync($"http://127.0.0.1:{port}{path}")).IsSuccessStatusCode;
        }
        catch (Exception error) when (error is HttpRequestException or TaskCanceledException)
        {
            return false;
        }
    }, 60);
}

/// <summary>The same contract, unchanged, on real Dapr.</summary>
public sealed class DaprContractTests : PlatformContract
{
    private protected override async Task<IPlatformRuntime> StartAsync(params AppSpec[] apps)
    {
        DaprPrograms.SkipWithout();
        return await SidecarRuntime.StartAsync(await DaprFleet.StartAsync(), apps);
    }
}
