using System.Collections.Concurrent;
using System.Globalization;
using Countersign.Distributed.Tests.Cluster;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Cluster;
using Countersign.Fakes.Postgres;
using Countersign.Fakes.Sidecar;
using Countersign.Policy.Contracts;
using Npgsql;

namespace Countersign.Distributed.Tests.Chaos;

/// <summary>
/// The services as an operator runs them: two replicas of each over one PostgreSQL, two proxies, and a target of its own. Alice asks, Bob approves.
/// </summary>
public sealed class ChaosCluster : IAsyncLifetime
{
    private const string Policies = """
        apiVersion: countersign/v1
        kind: ApproverGroup
        name: dba
        persons: [alice@example.com, bob@example.com]
        ---
        apiVersion: countersign/v1
        kind: Policy
        name: chaos
        rules:
          - name: read
            effect: allow
            when: {principals: {groups: [engineers]}, statements: [SELECT]}
          - name: log
            effect: allow
            when: {principals: {groups: [engineers]}, statements: [INSERT], writes: [public.load]}
          - name: change
            effect: require_approval
            message: Effects take two people.
            when: {principals: {groups: [engineers]}, statements: [INSERT], writes: [public.effects]}
            approval: {groups: [dba]}
        """;

    private readonly ConcurrentDictionary<string, NpgsqlDataSource> _sources = new(StringComparer.Ordinal);
    private PostgresServer _target = null!;
    private (string User, string Secret) _credential;

    /// <summary>The processes.</summary>
    public FakeCluster Processes { get; private set; } = null!;

    /// <summary>What the services keep their state in.</summary>
    public PostgresServer Store { get; private set; } = null!;

    /// <summary>Asks.</summary>
    public Visitor Alice { get; private set; } = null!;

    /// <summary>Approves.</summary>
    public Visitor Bob { get; private set; } = null!;

    /// <summary>Both of them, to change policies.</summary>
    public TwoPeople People => new(Alice, Bob);

    /// <inheritdoc/>
    public async ValueTask InitializeAsync()
    {
        var store = PostgresServer.StartAsync(new PostgresServerOptions { Scram = true, Settings = ["max_connections = 200"] });
        _target = await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true });
        Store = await store;
        await TruthAsync("create table load (run text, client int, number bigint); create table effects (id text)");
        Account[] accounts = [new("alice", Guid.NewGuid().ToString("N")), new("bob", Guid.NewGuid().ToString("N"))];
        Processes = await FakeCluster.StartAsync(
            new FakeClusterOptions
            {
                Accounts = accounts,
                Proxies = 2,
                Instances = new Dictionary<string, int> { ["identity"] = 2, ["policy"] = 2, ["approval"] = 2, ["recorder"] = 2 },
                Settings = Settings,
            },
            CancellationToken.None);
        (Alice, Bob) = (new Visitor(Processes.Entrance, accounts[0]), new Visitor(Processes.Entrance, accounts[1]));
        await Alice.LogInAsync();
        await Bob.LogInAsync();
        await SetUpAsync();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Processes is not null)
        {
            await Processes.DisposeAsync();
        }

        foreach (var source in _sources.Values)
        {
            await source.DisposeAsync();
        }

        foreach (var server in new[] { _target, Store }.Where(server => server is not null))
        {
            await server.DisposeAsync();
        }
    }

    /// <summary>A connection of alice's through a proxy, not yet open.</summary>
    public NpgsqlConnection Through(string proxy) => _sources.GetOrAdd(proxy, _ =>
    {
        var builder = new NpgsqlDataSourceBuilder(new NpgsqlConnectionStringBuilder
        {
            Host = "127.0.0.1",
            Port = Processes.PostgresPortOf(proxy),
            Username = _credential.User,
            Password = _credential.Secret,
            Database = "orders",
            SslMode = SslMode.Disable,
            Pooling = false,
            Timeout = 60,
            CommandTimeout = 0,
            NoResetOnClose = true,
        }.ConnectionString);
        builder.ConfigureTypeLoading(types => types.EnableTypeLoading(false));
        return builder.Build();
    }).CreateConnection();

    /// <summary>The same for libpq: connection string and password.</summary>
    public (string Target, string Password) LibpqThrough(string proxy) =>
        ($"host=127.0.0.1 port={Processes.PostgresPortOf(proxy)} user={_credential.User} dbname=orders sslmode=disable", _credential.Secret);

    /// <summary>What the target itself says, past the proxies: the first column of all rows.</summary>
    public async Task<List<string>> TruthAsync(string sql)
    {
        await using var source = NpgsqlDataSource.Create(ConnectionTo(_target));
        await using var command = source.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync();
        var rows = new List<string>();
        while (await reader.ReadAsync())
        {
            rows.Add(Convert.ToString(reader.GetValue(0), CultureInfo.InvariantCulture) ?? "");
        }

        return rows;
    }

    /// <summary>Connection string of a server's superuser.</summary>
    public static string ConnectionTo(PostgresServer server) =>
        $"Host=127.0.0.1;Port={server.Port};Username={PostgresServer.Superuser};Password={PostgresServer.Password};Database=postgres;SSL Mode=Disable";

    private IEnumerable<KeyValuePair<string, string>> Settings(string appId, string name)
    {
        yield return new("Countersign__StopDelay", "00:00:03");
        if (appId == "proxy")
        {
            yield return new("Countersign__Proxy__DrainTimeout", "00:00:08");
        }
        else
        {
            yield return new("Countersign__Storage__Postgres", ConnectionTo(Store));
            yield return new("Countersign__Storage__MaxConnections", "10");
        }
    }

    private async Task SetUpAsync()
    {
        var token = Processes.Of("identity").Select(process => Path.Combine(Processes.DataOf(process.Name), "bootstrap-token")).Single(File.Exists);
        await People.BootstrapAsync(token);
        await People.EnrolAsync();
        await People.ChangeAsync(new PolicyChangeRequest
        {
            Connections = [await TwoPeople.ConnectionAsync(Processes["proxy-1"].Address, "orders", _target)],
            Documents = [new BundleDocument("chaos.yaml", Policies)],
            Reason = "tests",
        });
        var created = await Alice.GoodAsync(HttpMethod.Post, "identity/v1/credentials", new { connections = new[] { "orders" }, lifetimeSeconds = 7200 });
        _credential = (created.GetProperty("credential").GetProperty("userName").GetString()!, created.GetProperty("secret").GetString()!);
        foreach (var each in Processes.Of("proxy"))
        {
            await Until.TrueAsync(() => WorksAsync(each.Name), 60);
        }

        // Whoever calls has its tokens: several do at once later.
        foreach (var audience in new[] { "approval", "recorder", "policy", "identity" })
        {
            await Bob.TokenAsync(audience);
            await Alice.TokenAsync(audience);
        }
    }

    /// <summary>Whether a proxy lets alice in and answers.</summary>
    public async Task<bool> WorksAsync(string proxy) => await TryReadAsync(proxy) is null;

    /// <summary>Connects and reads; null where it works, else the error.</summary>
    public async Task<string?> TryReadAsync(string proxy)
    {
        try
        {
            await using var connection = Through(proxy);
            await connection.OpenAsync(TestContext.Current.CancellationToken);
            await using var command = new NpgsqlCommand("select count(*) from effects", connection);
            await command.ExecuteScalarAsync(TestContext.Current.CancellationToken);
            return null;
        }
        catch (NpgsqlException error)
        {
            return error.Message;
        }
    }
}

/// <summary>Tests that break things: one after the other, over one cluster.</summary>
[CollectionDefinition(Name)]
public sealed class ChaosCollection : ICollectionFixture<ChaosCluster>
{
    /// <summary>Name.</summary>
    public const string Name = "chaos";
}
