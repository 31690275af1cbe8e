using System.Text.Json;
using Countersign.Fakes.Cluster;
using Countersign.Fakes.Postgres;
using Countersign.Policy.Contracts;
using Npgsql;

namespace Countersign.Benchmarks.Distribution;

/// <summary>A composition with a target behind it, two enrolled people, and policies in force.</summary>
internal sealed class World : IAsyncDisposable
{
    private const string Policies = """
        apiVersion: countersign/v1
        kind: ApproverGroup
        name: dba
        persons: [alice@example.com, bob@example.com]
        ---
        apiVersion: countersign/v1
        kind: Policy
        name: bench
        rules:
          - name: read
            effect: allow
            when: {principals: {groups: [engineers]}, statements: [SELECT], reads: ["pgbench_*", "pg_*"]}
          - name: insert
            effect: require_approval
            when: {principals: {groups: [engineers]}, statements: [INSERT], writes: [public.arrivals]}
            approval: {groups: [dba]}
        """;

    private static readonly string[] Connections = ["bench"];
    private readonly IComposition _composition;

    private World(IComposition composition, PostgresServer target)
    {
        (_composition, Target) = (composition, target);
        Alice = new Visitor(composition.Entrance, composition.Accounts[0]);
        Bob = new Visitor(composition.Entrance, composition.Accounts[1]);
    }

    public PostgresServer Target { get; }

    public IComposition Composition => _composition;

    /// <summary>Asks.</summary>
    public Visitor Alice { get; }

    /// <summary>Approves.</summary>
    public Visitor Bob { get; }

    /// <summary>Both of them, to change policies.</summary>
    public TwoPeople People => new(Alice, Bob);

    /// <summary>Credential of alice: user name and secret.</summary>
    public (string User, string Secret) Credential { get; private set; }

    public static async Task<World> StartAsync(IComposition composition)
    {
        var world = new World(composition, await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true, Settings = ["max_connections = 100", "shared_buffers = 128MB"] }));
        await world.PrepareAsync();
        return world;
    }

    public async ValueTask DisposeAsync() => await Target.DisposeAsync();

    /// <summary>A session of alice through a proxy.</summary>
    public async Task<NpgsqlConnection> OpenAsync(int port)
    {
        var connection = new NpgsqlConnection(
            $"Host=127.0.0.1;Port={port};Username={Credential.User};Password={Credential.Secret};Database=bench;SSL Mode=Disable;Pooling=false;Command Timeout=60;No Reset On Close=true;Server Compatibility Mode=NoTypeLoading");
        await connection.OpenAsync();
        return connection;
    }

    /// <summary>What the database itself says, past the proxies.</summary>
    public async Task<List<object[]>> TruthAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(
            $"Host=127.0.0.1;Port={Target.Port};Username={PostgresServer.Superuser};Password={PostgresServer.Password};Database=postgres;SSL Mode=Disable;Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await using var reader = await command.ExecuteReaderAsync();
        var rows = new List<object[]>();
        while (await reader.ReadAsync())
        {
            var row = new object[reader.FieldCount];
            reader.GetValues(row);
            rows.Add(row);
        }

        return rows;
    }

    /// <summary>Waits until something holds.</summary>
    public static async Task UntilAsync(string what, Func<Task<bool>> holds)
    {
        for (var began = TimeProvider.System.GetTimestamp(); !await holds(); await Task.Delay(20))
        {
            if (TimeProvider.System.GetElapsedTime(began) > TimeSpan.FromSeconds(60))
            {
                throw new TimeoutException(what);
            }
        }
    }

    private async Task PrepareAsync()
    {
        await PostgresServer.RunAsync(
            Path.Combine(PostgresServer.Programs, "pgbench"), ["-q", "-i", "-s", "5", "-h", "127.0.0.1", "-p", $"{Target.Port}", "-U", PostgresServer.Superuser, "postgres"],
            new Dictionary<string, string> { ["PGPASSWORD"] = PostgresServer.Password, ["PGSSLMODE"] = "disable" });
        await TruthAsync("create table arrivals (run text, number int, at timestamptz default clock_timestamp()); create table toggle_a (id int); create table toggle_b (id int)");
        await Alice.LogInAsync();
        await Bob.LogInAsync();
        await People.BootstrapAsync(_composition.BootstrapToken);
        await People.EnrolAsync();
        await People.ChangeAsync(new PolicyChangeRequest
        {
            Connections = [await TwoPeople.ConnectionAsync(_composition.ProxyAddress, "bench", Target)],
            Documents = [new BundleDocument("bench.yaml", Policies), PolicyChange.Toggle(0)],
            Reason = "benchmark",
        });
        var created = await Alice.GoodAsync(HttpMethod.Post, "identity/v1/credentials", new { connections = Connections, lifetimeSeconds = 3600 });
        Credential = (created.GetProperty("credential").GetProperty("userName").GetString()!, created.GetProperty("secret").GetString()!);
        foreach (var port in _composition.PostgresPorts)
        {
            await UntilAsync("a proxy does not take clients", async () =>
            {
                try
                {
                    await using var session = await OpenAsync(port);
                    await using var command = new NpgsqlCommand("select abalance from pgbench_accounts where aid = 1", session);
                    await command.ExecuteScalarAsync();
                    return true;
                }
                catch (NpgsqlException)
                {
                    return false;
                }
            });
        }
    }
}
