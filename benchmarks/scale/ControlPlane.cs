using System.Globalization;
using System.Text.Json;
using Countersign.Fakes.Cluster;
using Countersign.Fakes.Postgres;
using Countersign.Fakes.Sidecar;
using Countersign.Platform.Ports;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;
using Countersign.Proxy.Vault;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Countersign.Benchmarks.Scale;

/// <summary>identity, policy, approval and recorder as processes of their own over one PostgreSQL, and an ear on the bus for all simulated proxies.</summary>
internal sealed class ControlPlane : IAsyncDisposable
{
    public static readonly string[] Services = ["identity", "policy", "approval", "recorder"];
    private const string Policies = """
        apiVersion: countersign/v1
        kind: ApproverGroup
        name: dba
        persons: [alice@example.com, bob@example.com]
        ---
        apiVersion: countersign/v1
        kind: Policy
        name: simulated
        rules:
          - name: read
            effect: allow
            when: {principals: {groups: [engineers]}, statements: [SELECT]}
          - name: change
            effect: require_approval
            when: {principals: {groups: [engineers]}, statements: [UPDATE]}
            approval: {groups: [dba]}
        """;

    private readonly PostgresServer _database;
    private readonly WebApplication _ear;
    private readonly GroupKey _group;
    private readonly string _settings;

    private ControlPlane(FakeCluster cluster, PostgresServer database, WebApplication ear, GroupKey group, IReadOnlyList<Account> accounts, string settings)
    {
        (Cluster, _database, _ear, _group, _settings) = (cluster, database, ear, group, settings);
        People = [.. accounts.Select(account => new Visitor(cluster.Entrance, account))];
    }

    public FakeCluster Cluster { get; }

    /// <summary>The first two are enrolled.</summary>
    public IReadOnlyList<Visitor> People { get; }

    /// <summary>Called with each event that every proxy hears.</summary>
    public static Func<BusEvent, int, ValueTask> Hear { get; set; } = static (_, _) => ValueTask.CompletedTask;

    public static async Task<ControlPlane> StartAsync(int people, int connections)
    {
        var database = await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true, Settings = ["max_connections = 200", "shared_buffers = 256MB", "max_wal_size = 4GB"] });
        var file = Path.Combine(Path.GetTempPath(), $"cs-scale-{Guid.NewGuid():N}");
        await File.WriteAllTextAsync(file, $"Host=127.0.0.1;Port={database.Port};Username={PostgresServer.Superuser};Password={PostgresServer.Password};Database=postgres;SSL Mode=Disable");
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Account[] accounts = [new("alice", Guid.NewGuid().ToString("N")), new("bob", Guid.NewGuid().ToString("N")), .. Enumerable.Range(1, people).Select(number => new Account($"engineer{number}", Guid.NewGuid().ToString("N")))];
        var cluster = await FakeCluster.StartAsync(
            new FakeClusterOptions { Accounts = accounts, Proxies = 0, Settings = (_, _) => [new("Countersign__Storage__PostgresFile", file)] }, CancellationToken.None);
        var ear = await ListenAsync();
        await cluster.Plane.AddAsync(new SidecarOptions
        {
            AppId = AppIds.Proxy,
            App = new Uri(ear.Urls.First()),
            HealthPath = "/health/live",
            MaxBody = 4 * 1024 * 1024,
        });
        var group = GroupKey.LoadOrCreate(Path.Combine(cluster.Folder, "data", "group.key"));
        var plane = new ControlPlane(cluster, database, ear, group, accounts, file);
        await plane.PrepareAsync(connections);
        return plane;
    }

    public Uri AddressOf(string service) => Cluster[service].Address;

    /// <summary>Resident and largest resident memory in MB, and processor time in ms.</summary>
    public (double Resident, double Largest, double Cpu) Use(string service)
    {
        var lines = File.ReadAllLines($"/proc/{Cluster[service].Id}/status");
        double Of(string name) => double.Parse(lines.First(line => line.StartsWith(name, StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2].Split('\t')[^1], CultureInfo.InvariantCulture) / 1024;
        var stat = File.ReadAllText($"/proc/{Cluster[service].Id}/stat");
        var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        return (Of("VmRSS"), Of("VmHWM"), (long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture)) * 10.0);
    }

    /// <summary>Size of a service's tables and indexes in MB.</summary>
    public async Task<double> StateAsync(string service) => Convert.ToDouble((await SqlAsync(
        $"select coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8 / 1048576 from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'countersign_{service}' and c.relkind = 'r'"))!, CultureInfo.InvariantCulture);

    public async Task<object?> SqlAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(
            $"Host=127.0.0.1;Port={_database.Port};Username={PostgresServer.Superuser};Password={PostgresServer.Password};Database=postgres;SSL Mode=Disable;Pooling=false;Command Timeout=120");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        return await command.ExecuteScalarAsync();
    }

    /// <summary>Both who are enrolled, to change policies.</summary>
    public TwoPeople Two => new(People[0], People[1]);

    /// <summary>Changes the policies, so that all proxies need another bundle.</summary>
    public Task<string> ProposeAsync(int number) => Two.ProposeAsync(new PolicyChangeRequest
    {
        Documents = [new BundleDocument("toggle.yaml", $$"""
            apiVersion: countersign/v1
            kind: Policy
            name: toggle
            rules:
              - name: toggle
                effect: allow
                when: {principals: {groups: [engineers]}, statements: [INSERT], writes: [toggle_{{number}}]}
            """)],
        Reason = "simulation",
    });

    public async ValueTask DisposeAsync()
    {
        await Cluster.DisposeAsync();
        await _ear.DisposeAsync();
        await _database.DisposeAsync();
        _group.Dispose();
        File.Delete(_settings);
    }

    // One app that subscribes as proxies do stands for all of them: what a broker does to reach each is not simulated.
    private static async Task<WebApplication> ListenAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var app = builder.Build();
        app.MapGet("/health/live", () => "ok");
        app.MapGet("/dapr/subscribe", () => Results.Json(new[] { Topics.Policy, Topics.Identity, Topics.Approvals }.Select(topic => new { pubsubname = "news", topic, route = $"/dapr/news/{topic}" })));
        app.MapPost("/dapr/news/{topic}", async (string topic, HttpRequest request) =>
        {
            using var body = new MemoryStream();
            await request.Body.CopyToAsync(body);
            var envelope = JsonSerializer.Deserialize<JsonElement>(body.ToArray());
            await Hear(
                new BusEvent(topic, envelope.GetProperty("id").GetString()!, envelope.GetProperty("type").GetString()!, JsonSerializer.SerializeToUtf8Bytes(envelope.GetProperty("data"))),
                (int)body.Length);
            return Results.Json(new { status = "SUCCESS" });
        });
        await app.StartAsync();
        return app;
    }

    private async Task PrepareAsync(int connections)
    {
        foreach (var person in People)
        {
            await person.LogInAsync();
        }

        await Two.BootstrapAsync(Path.Combine(Cluster.DataOf("identity"), "bootstrap-token"));
        await Two.EnrolAsync();
        var targets = Enumerable.Range(0, connections).Select(number =>
        {
            var connection = new Connection { Name = $"db-{number}", Protocol = "postgres", Host = "127.0.0.1", Port = 10_000 + number, Database = "postgres", Tls = "disable", Labels = new Dictionary<string, string> { ["env"] = "production", ["team"] = $"team-{number % 40}" } };
            return connection with { Credential = CredentialSealing.Seal(_group.Public, connection, new TargetCredential("app", "a password of usual length")) };
        });
        await Two.ChangeAsync(new PolicyChangeRequest { Connections = [.. targets], Documents = [new BundleDocument("simulated.yaml", Policies)], Reason = "simulation" });
    }
}
