using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Cluster;
using Countersign.Fakes.Postgres;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;
using Npgsql;

namespace Countersign.Distributed.Tests.Cluster;

/// <summary>A cluster with a real PostgreSQL behind its proxies, two enrolled people, and policies in force.</summary>
public sealed class WorkingCluster : IAsyncLifetime
{
    private const string Policies = """
        apiVersion: countersign/v1
        kind: ApproverGroup
        name: dba
        persons: [alice@example.com, bob@example.com]
        ---
        apiVersion: countersign/v1
        kind: Policy
        name: orders
        rules:
          - name: read
            effect: allow
            when: {principals: {groups: [engineers]}, statements: [SELECT]}
          - name: change
            effect: require_approval
            message: Orders are changed by two people.
            when: {principals: {groups: [engineers]}, statements: [DELETE], writes: [public.orders]}
            approval: {groups: [dba]}
        ---
        apiVersion: countersign/v1
        kind: MaskSet
        name: orders
        columns:
          - {column: "*.orders.customer", strategy: redact}
        """;

    private readonly RunningCluster _running = new();
    private PostgresServer _target = null!;

    /// <summary>The cluster.</summary>
    public FakeCluster Cluster => _running.Cluster;

    /// <summary>Asks.</summary>
    public Visitor Alice => _running.Alice;

    /// <summary>Approves.</summary>
    public Visitor Bob => _running.Bob;

    /// <inheritdoc/>
    public async ValueTask InitializeAsync()
    {
        await _running.InitializeAsync();
        _target = await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true });
        await TruthAsync("create table orders (id int primary key, customer text); insert into orders select id, 'customer ' || id from generate_series(1, 10) id");
        var asked = await Alice.GoodAsync(HttpMethod.Post, $"identity/v1/persons/{Bob.Id}/enrolment", new { reason = "second person" });
        await Alice.ApproveAsync(asked.GetProperty("requestId").GetString()!);
        await Until.TrueAsync(async () =>
            (await Alice.GoodAsync(HttpMethod.Get, "identity/v1/persons")).EnumerateArray().Any(each => each.GetProperty("id").GetString() == Bob.Id && each.GetProperty("enrolled").GetBoolean()));
        Alice.Renew();
        Bob.Renew();
        using var proxy = new HttpClient { BaseAddress = Cluster["proxy-1"].Address };
        var key = (await proxy.GetFromJsonAsync<SealingKey>("proxy/v1/sealing-key"))!;
        var connection = new Connection { Name = "orders", Protocol = "postgres", Host = "127.0.0.1", Port = _target.Port, Database = "postgres", Tls = "disable", Labels = new Dictionary<string, string>() };
        connection = connection with { Credential = CredentialSealing.Seal(key, connection, new TargetCredential(PostgresServer.Superuser, PostgresServer.Password)) };
        var change = await Alice.GoodAsync(
            HttpMethod.Post, "policy/v1/changes", new PolicyChangeRequest { Connections = [connection], Documents = [new BundleDocument("orders.yaml", Policies)], Reason = "tests" });
        var request = change.GetProperty("requestId").GetString()!;
        await Bob.ApproveAsync(request);
        await Until.TrueAsync(async () => (await Alice.GoodAsync(HttpMethod.Get, $"policy/v1/changes/{request}")).GetProperty("state").GetString() == "active");
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _running.DisposeAsync();
        if (_target is not null)
        {
            await _target.DisposeAsync();
        }
    }

    /// <summary>What the database itself says, past the proxies.</summary>
    public async Task<string> TruthAsync(string sql)
    {
        await using var source = NpgsqlDataSource.Create(
            $"Host=127.0.0.1;Port={_target.Port};Username={PostgresServer.Superuser};Password={PostgresServer.Password};Database=postgres;SSL Mode=Disable");
        await using var command = source.CreateCommand(sql);
        return Convert.ToString(await command.ExecuteScalarAsync(), System.Globalization.CultureInfo.InvariantCulture) ?? "";
    }

    /// <summary>Runs psql as alice through a proxy; output and errors in one.</summary>
    public async Task<string> PsqlAsync(string proxy, string input)
    {
        var created = await Alice.GoodAsync(HttpMethod.Post, "identity/v1/credentials", new { connections = new[] { "orders" }, lifetimeSeconds = 3600 });
        var user = created.GetProperty("credential").GetProperty("userName").GetString();
        return await PostgresServer.RunAsync(
            "psql", ["-X", "-A", "-t", $"host=127.0.0.1 port={Cluster.PostgresPortOf(proxy)} user={user} dbname=orders sslmode=disable"],
            new Dictionary<string, string> { ["PGPASSWORD"] = created.GetProperty("secret").GetString()! }, input);
    }
}

/// <summary>The main job where every service is a process of its own: psql through a proxy, held, approved by another person over REST, recorded.</summary>
[Collection(ClusterCollection.Name)]
public sealed class MainJobTests(WorkingCluster cluster) : IClassFixture<WorkingCluster>
{
    [Fact]
    public async Task What_is_held_at_a_proxy_runs_once_somebody_else_has_approved_it_and_is_recorded()
    {
        // The proxy hears of the bundle by an event, or asks for it.
        await Until.TrueAsync(
            async () =>
            {
                try
                {
                    return (await cluster.PsqlAsync("proxy-1", "select id, customer from orders where id = 1")).Contains("1|***", StringComparison.Ordinal);
                }
                catch (InvalidOperationException)
                {
                    return false;
                }
            },
            60);
        const string Delete = "delete from orders where id = 1";
        var running = cluster.PsqlAsync("proxy-1", Delete);
        JsonElement waiting = default;
        await Until.TrueAsync(async () => (await cluster.Bob.GoodAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide")) is var list && list.GetArrayLength() == 1 && (waiting = list[0]).ValueKind == JsonValueKind.Object, 60);
        var request = waiting.GetProperty("id").GetString()!;
        Assert.Equal(Delete, waiting.GetProperty("operations")[0].GetProperty("text").GetString());
        var digest = new { digest = waiting.GetProperty("digest").GetString(), comment = "" };
        Assert.Equal(System.Net.HttpStatusCode.Forbidden, (await cluster.Alice.CallAsync(HttpMethod.Post, $"approval/v1/requests/{request}/approve", digest)).Status);
        Assert.Equal("1", await cluster.TruthAsync("select count(*) from orders where id = 1"));
        await cluster.Bob.ApproveAsync(request);
        Assert.Contains("DELETE 1", await running, StringComparison.Ordinal);
        Assert.Equal("0", await cluster.TruthAsync("select count(*) from orders where id = 1"));
        await Until.TrueAsync(
            async () => (await cluster.Bob.GoodAsync(HttpMethod.Get, $"recorder/v1/operations?text={Uri.EscapeDataString(Delete)}")).EnumerateArray().Any(each =>
                each.GetProperty("decision").GetString() == "approved" && each.GetProperty("outcome").GetString() == "ok" && each.GetProperty("approvers")[0].GetProperty("person").GetString() == cluster.Bob.Id),
            60);
    }
}
