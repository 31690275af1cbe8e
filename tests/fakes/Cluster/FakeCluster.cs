using System.Globalization;
using System.Security.Cryptography;
using Countersign.Fakes.Sidecar;

namespace Countersign.Fakes.Cluster;

/// <summary>A person with an account at the development issuer.</summary>
public sealed record Account(string Name, string Password);

/// <summary>How a cluster is made.</summary>
public sealed record FakeClusterOptions
{
    /// <summary>How many proxies.</summary>
    public int Proxies { get; init; } = 1;

    /// <summary>
    /// How many instances of each other service; absent means one. More than one need a store that they share (<see cref="Settings"/>). With several of identity the
    /// development issuer is a process of its own, <c>issuer</c>.
    /// </summary>
    public IReadOnlyDictionary<string, int> Instances { get; init; } = new Dictionary<string, int>();

    /// <summary>Accounts at the development issuer.</summary>
    public IReadOnlyList<Account> Accounts { get; init; } = [];

    /// <summary>Environment of a process beside what it always has, by its app id and name, e.g. <c>("policy", "policy")</c>: connection strings, short intervals.</summary>
    public Func<string, string, IEnumerable<KeyValuePair<string, string>>> Settings { get; init; } = (_, _) => [];

    /// <summary>Faults and timing of the sidecars.</summary>
    public PlaneOptions Plane { get; init; } = new() { RetryPause = TimeSpan.FromMilliseconds(200), InvokeRetries = 0, Inbound = new InboundRetry(TimeSpan.FromMilliseconds(500), 120) };
}

/// <summary>
/// The services as processes of their own, each with a sidecar double beside it that has the resources which real sidecars are given
/// (<c>components/</c>), and an entrance in front: what cluster.sh starts, without Dapr.
/// </summary>
public sealed class FakeCluster : IAsyncDisposable
{
    private const string Issuer = "issuer";
    private static readonly string[] Services = ["identity", "policy", "approval", "recorder", "proxy"];

    // What replicas of a service share (docs/operations/storage.md): the first makes it.
    private static readonly Dictionary<string, string[]> Shared = new()
    {
        ["identity"] = ["keys/identity.key"],
        ["policy"] = ["keys/policy.key"],
        ["approval"] = ["keys/approval.key"],
        ["recorder"] = ["keys/recorder.key", "recorder/log.key"],
        ["proxy"] = ["keys/proxy-group-default.key"],
    };

    private readonly FakeClusterOptions _options;
    private readonly List<ServiceProcess> _processes = [];
    private readonly Dictionary<string, Sidecar.Sidecar> _sidecars = new(StringComparer.Ordinal);

    private FakeCluster(FakeClusterOptions options)
    {
        _options = options;
        Folder = Directory.CreateTempSubdirectory("cs-cluster-").FullName;
        File.SetUnixFileMode(Folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var components = Path.Combine(Repository, "components");
        Plane = new Plane(ComponentFiles.Load(
            options.Plane with { JournalPath = Path.Combine(Folder, "backends.journal"), Configuration = new Dictionary<string, string>() },
            Path.Combine(components, "resources"), Path.Combine(components, "pubsub", "redis"), Path.Combine(components, "secrets", "file")));
    }

    /// <summary>Everything that it keeps.</summary>
    public string Folder { get; }

    /// <summary>What stands behind the sidecars: faults, state, reminders.</summary>
    public Plane Plane { get; }

    /// <summary>One origin for all services, as persons see it.</summary>
    public Uri Entrance => this["entrance"].Address;

    /// <summary>All processes.</summary>
    public IReadOnlyList<ServiceProcess> Processes => _processes;

    /// <summary>A process by its name: <c>identity</c>, <c>proxy-1</c>, <c>entrance</c>.</summary>
    public ServiceProcess this[string name] => _processes.Single(process => process.Name == name);

    /// <summary>All processes of a service.</summary>
    public IReadOnlyList<ServiceProcess> Of(string appId) => [.. _processes.Where(process => process.Environment.TryGetValue("countersign_app", out var app) && app == appId)];

    /// <summary>The sidecar of a process.</summary>
    public Sidecar.Sidecar SidecarOf(string name) => _sidecars[name];

    /// <summary>Port of a proxy for PostgreSQL clients.</summary>
    public int PostgresPortOf(string name) => int.Parse(this[name].Environment["Countersign__Proxy__PostgresPort"], CultureInfo.InvariantCulture);

    /// <summary>Data folder of a process.</summary>
    public string DataOf(string name) => Path.Combine(Folder, "data", name);

    /// <summary>Tokens between a service and its sidecars: (API token, app token).</summary>
    public (string Api, string App) TokensOf(string appId)
    {
        var process = _processes.First(each => each.Environment.TryGetValue("countersign_app", out var app) && app == appId);
        return (process.Environment["DAPR_API_TOKEN"], process.Environment["APP_API_TOKEN"]);
    }

    /// <summary>Starts all of it and waits until it is ready.</summary>
    public static async Task<FakeCluster> StartAsync(FakeClusterOptions options, CancellationToken cancellation)
    {
        var cluster = new FakeCluster(options);
        try
        {
            cluster.Compose();
            await cluster.StartAllAsync(cancellation);
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    /// <summary>Ends a sidecar, as a crash of daprd would.</summary>
    public async Task StopSidecarAsync(string name)
    {
        await _sidecars[name].DisposeAsync();
    }

    /// <summary>Starts a sidecar again on its ports.</summary>
    public async Task StartSidecarAsync(string name) => _sidecars[name] = await Plane.AddAsync(_sidecars[name].Options);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(_processes.Select(process => process.KillAsync()));
        await Plane.DisposeAsync();
        if (Environment.GetEnvironmentVariable("COUNTERSIGN_KEEP") is null)
        {
            Directory.Delete(Folder, recursive: true);
        }
    }

    private static string Repository
    {
        get
        {
            var folder = new DirectoryInfo(AppContext.BaseDirectory);
            while (folder is not null && !Directory.Exists(Path.Combine(folder.FullName, "components", "resources")))
            {
                folder = folder.Parent;
            }

            return folder?.FullName ?? throw new DirectoryNotFoundException("components/ was not found above " + AppContext.BaseDirectory);
        }
    }

    private int CountOf(string appId) => appId == "proxy" ? _options.Proxies : _options.Instances.GetValueOrDefault(appId, 1);

    private void Compose()
    {
        var entrancePort = LoopbackPorts.Next();
        var behind = new List<KeyValuePair<string, string>> { new("ASPNETCORE_ENVIRONMENT", "Development"), new("Countersign__Entrance__DevIssuer", "true") };
        var issuerPort = CountOf("identity") > 1 ? LoopbackPorts.Next() : entrancePort;
        if (issuerPort != entrancePort)
        {
            var issuer = new Dictionary<string, string>
            {
                ["ASPNETCORE_ENVIRONMENT"] = "Development",
                ["Countersign__BaseUrl"] = $"http://127.0.0.1:{issuerPort}",
                ["Countersign__Data"] = DataOf(Issuer),
            };
            AddIssuer(issuer);
            _processes.Add(new ServiceProcess(Issuer, "Countersign.Identity.Host", Folder, issuerPort, issuer));
        }

        foreach (var appId in Services)
        {
            var (api, app) = (Token(), Token());
            for (var number = 1; number <= CountOf(appId); number++)
            {
                var name = appId == "proxy" || CountOf(appId) > 1 ? $"{appId}-{number}" : appId;
                var port = LoopbackPorts.Next();
                var (http, grpc) = (LoopbackPorts.Next(), LoopbackPorts.Next());
                var environment = new Dictionary<string, string>
                {
                    ["countersign_app"] = appId,
                    ["ASPNETCORE_ENVIRONMENT"] = "Development",
                    ["Countersign__Platform"] = "Dapr",
                    ["Countersign__BaseUrl"] = $"http://127.0.0.1:{entrancePort}",
                    ["Countersign__Data"] = DataOf(name),
                    ["Countersign__Trust__Directory"] = Path.Combine(Folder, "trust"),
                    ["Countersign__Instance"] = name,
                    ["DAPR_HTTP_PORT"] = http.ToString(CultureInfo.InvariantCulture),
                    ["DAPR_GRPC_PORT"] = grpc.ToString(CultureInfo.InvariantCulture),
                    ["DAPR_API_TOKEN"] = api,
                    ["APP_API_TOKEN"] = app,
                };
                if (appId == "proxy")
                {
                    environment["Countersign__Proxy__Id"] = name;
                    environment["Countersign__Proxy__PostgresPort"] = LoopbackPorts.Next().ToString(CultureInfo.InvariantCulture);
                }

                if (appId == "identity")
                {
                    if (issuerPort == entrancePort)
                    {
                        AddIssuer(environment);
                    }
                    else
                    {
                        environment["Countersign__Identity__Provider__Issuer"] = $"http://127.0.0.1:{issuerPort}/dev-issuer";
                    }
                }

                foreach (var (key, value) in _options.Settings(appId, name))
                {
                    environment[key] = value;
                }

                _processes.Add(new ServiceProcess(name, $"Countersign.{char.ToUpperInvariant(appId[0])}{appId[1..]}.Host", Folder, port, environment));
                behind.Add(new($"Countersign__Entrance__Services__{appId}__{number - 1}", $"http://127.0.0.1:{port}"));
            }
        }

        if (_options.Proxies == 0)
        {
            // The entrance wants an address; nobody listens there.
            behind.Add(new("Countersign__Entrance__Services__proxy__0", "http://127.0.0.1:9"));
        }

        _processes.Add(new ServiceProcess("entrance", "Countersign.Entrance", Folder, entrancePort, behind));
    }

    private void AddIssuer(Dictionary<string, string> environment)
    {
        environment["Countersign__DevIssuer__Enabled"] = "true";
        for (var index = 0; index < _options.Accounts.Count; index++)
        {
            var prefix = $"Countersign__DevIssuer__Users__{index}__";
            environment[prefix + "Name"] = _options.Accounts[index].Name;
            environment[prefix + "Email"] = _options.Accounts[index].Name + "@example.com";
            environment[prefix + "Password"] = _options.Accounts[index].Password;
            environment[prefix + "Groups__0"] = "engineers";
        }
    }

    private async Task StartAllAsync(CancellationToken cancellation)
    {
        var later = Services.SelectMany(appId => Of(appId).Skip(1)).ToList();
        foreach (var process in _processes.Except(later))
        {
            process.Start();
        }

        foreach (var process in Services.SelectMany(Of))
        {
            var environment = process.Environment;
            var appId = environment["countersign_app"];
            _sidecars[process.Name] = await Plane.AddAsync(new SidecarOptions
            {
                AppId = appId,
                App = process.Address,
                HttpPort = int.Parse(environment["DAPR_HTTP_PORT"], CultureInfo.InvariantCulture),
                GrpcPort = int.Parse(environment["DAPR_GRPC_PORT"], CultureInfo.InvariantCulture),
                ApiToken = environment["DAPR_API_TOKEN"],
                AppToken = environment["APP_API_TOKEN"],
                HealthPath = "/health/live",
                Configuration = await File.ReadAllTextAsync(Path.Combine(Repository, "components", "configuration", appId + ".yaml"), cancellation),
                MaxBody = 64 * 1024 * 1024,
                ReadBuffer = 64 * 1024,
            });
        }

        foreach (var replica in later)
        {
            var appId = replica.Environment["countersign_app"];
            var first = Of(appId)[0];
            await first.AwaitAsync(ready: false, cancellation);
            foreach (var file in Shared[appId])
            {
                await AwaitFileAsync(Path.Combine(DataOf(first.Name), file), cancellation);
                var copy = Path.Combine(DataOf(replica.Name), file);
                Directory.CreateDirectory(DataOf(replica.Name), OwnerOnly);
                Directory.CreateDirectory(Path.GetDirectoryName(copy)!, OwnerOnly);
                File.Copy(Path.Combine(DataOf(first.Name), file), copy);
            }

            replica.Start();
        }

        await Task.WhenAll(_processes.Select(process => process.AwaitAsync(ready: false, cancellation)));
        await Task.WhenAll(Services.Except(["policy", "proxy"]).SelectMany(Of)
            .Select(process => process.AwaitAsync(ready: true, cancellation)));
    }

    // Keys are made when they are first needed.
    private static async Task AwaitFileAsync(string path, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        while (!File.Exists(path))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), limit.Token);
        }
    }

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private static string Token() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(24));
}
