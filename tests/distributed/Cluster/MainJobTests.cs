using System.Text.Json;
using System.Text.Json.Nodes;
using Countersign.Approval.Workflow;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Cluster;
using Countersign.Fakes.Postgres;
using Countersign.Policy.Contracts;
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

    /// <summary>What the proxies' sidecars have for <c>stored</c>, a connection to the same database whose credential isn't in the bundle.</summary>
    public void Store(IReadOnlyDictionary<string, string> secret) => _running.TargetCredentials["stored"] = secret;

    /// <summary>Port of the database.</summary>
    public int TargetPort => _target.Port;

    /// <inheritdoc/>
    public async ValueTask InitializeAsync()
    {
        await _running.InitializeAsync();
        _target = await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true });
        await TruthAsync("create table orders (id int primary key, customer text); insert into orders select id, 'customer ' || id from generate_series(1, 10) id");
        var people = new TwoPeople(Alice, Bob);
        await people.EnrolAsync();
        var connection = await TwoPeople.ConnectionAsync(Cluster["proxy-1"].Address, "orders", _target);
        var stored = connection with { Name = "stored", Credential = null, CredentialFrom = CredentialProviders.SecretStore };
        await people.ChangeAsync(new PolicyChangeRequest { Connections = [connection, stored], Documents = [new BundleDocument("orders.yaml", Policies)], Reason = "tests" });
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
    public async Task<string> PsqlAsync(string proxy, string input, string connection = "orders")
    {
        var created = await Alice.GoodAsync(HttpMethod.Post, "identity/v1/credentials", new { connections = new[] { connection }, lifetimeSeconds = 3600 });
        var user = created.GetProperty("credential").GetProperty("userName").GetString();
        return await PostgresServer.RunAsync(
            "psql", ["-X", "-A", "-t", $"host=127.0.0.1 port={Cluster.PostgresPortOf(proxy)} user={user} dbname={connection} sslmode=disable"],
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
        await BundleAsync();
        const string Delete = "delete from orders where id = 1";
        var running = cluster.PsqlAsync("proxy-1", Delete);
        var waiting = await WaitingAsync();
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

    /// <summary>The credential is in the store behind the proxies' sidecars, and nowhere else: not in the bundle, not with another service.</summary>
    [Fact]
    public async Task A_credential_of_the_proxys_secret_store_comes_through_its_sidecar_for_each_session()
    {
        await BundleAsync();
        const string Who = "select id from orders where id = 8";
        async Task<string> FailsAsync() => (await Assert.ThrowsAsync<InvalidOperationException>(() => cluster.PsqlAsync("proxy-1", Who, "stored"))).Message;
        Assert.Contains("a secret named stored", await FailsAsync(), StringComparison.Ordinal);
        var (first, second) = (Guid.NewGuid().ToString("N"), Guid.NewGuid().ToString("N"));
        await cluster.TruthAsync($"create role stored_app login superuser password '{first}'");
        Dictionary<string, string> Secret(string password) => new()
        {
            ["user"] = "stored_app",
            ["password"] = password,
            ["host"] = "127.0.0.1",
            ["port"] = cluster.TargetPort.ToString(System.Globalization.CultureInfo.InvariantCulture),
            ["tls"] = "disable",
        };
        cluster.Store(Secret(first));
        Assert.Contains("8", await cluster.PsqlAsync("proxy-1", Who, "stored"), StringComparison.Ordinal);
        await cluster.TruthAsync($"alter role stored_app password '{second}'");
        Assert.Contains("refused the login", await FailsAsync(), StringComparison.Ordinal);
        cluster.Store(Secret(second));
        Assert.Contains("8", await cluster.PsqlAsync("proxy-1", Who, "stored"), StringComparison.Ordinal);

        // The store is down: that connection waits, the others don't.
        cluster.Cluster.Plane.Outages.Secrets = true;
        Assert.Contains("can't be read from the secret store now", await FailsAsync(), StringComparison.Ordinal);
        Assert.Contains("8", await cluster.PsqlAsync("proxy-1", Who), StringComparison.Ordinal);
        cluster.Cluster.Plane.Outages.Secrets = false;
        Assert.Contains("8", await cluster.PsqlAsync("proxy-1", Who, "stored"), StringComparison.Ordinal);
        Assert.All(cluster.Cluster.Processes, process => Assert.DoesNotContain(process.Tail(10_000), line => line.Contains(first, StringComparison.Ordinal) || line.Contains(second, StringComparison.Ordinal)));
    }

    /// <summary>Who can write the state store writes what it likes; the workflow reads what approval has sealed.</summary>
    [Trait("group", "attacks")]
    [Fact]
    public async Task A_decision_that_somebody_wrote_into_the_state_store_is_none()
    {
        await BundleAsync();
        const string Delete = "delete from orders where id = 2";
        var request = await AskAheadAsync(Delete);
        var (plane, key) = (cluster.Cluster.Plane, KeyOf(request));
        var before = plane.PeekState(key)!;
        var forged = JsonNode.Parse(before)!;
        forged["state"] = JsonSerializer.SerializeToNode(WorkflowState.Approved, WorkflowJson.Options);
        forged["approvedAt"] = forged["createdAt"]!.DeepClone();
        forged["version"] = 2;
        forged["votes"] = JsonSerializer.SerializeToNode(
            new[] { new Vote(cluster.Bob.Id, "bob@example.com", [cluster.Bob.Id], ["dba"], true, DateTimeOffset.UtcNow, "") }, WorkflowJson.Options);
        var unsealed = forged.DeepClone();
        unsealed.AsObject().Remove("seal");
        foreach (var document in new[] { forged, unsealed })
        {
            plane.TamperState(key, JsonSerializer.SerializeToUtf8Bytes(document));
            Assert.Equal(System.Net.HttpStatusCode.ServiceUnavailable, (await cluster.Alice.CallAsync(HttpMethod.Get, $"approval/v1/requests/{request}")).Status);
            Assert.Contains("Nothing can be asked for now", await cluster.PsqlAsync("proxy-1", Delete), StringComparison.Ordinal);
            Assert.Equal(System.Net.HttpStatusCode.ServiceUnavailable, (await cluster.Bob.CallAsync(HttpMethod.Post, $"approval/v1/requests/{request}/approve", new { digest = "", comment = "" })).Status);
        }

        await Until.TrueAsync(() => cluster.Cluster["approval"].Tail(10_000).Any(line => line.Contains(request, StringComparison.Ordinal) && line.Contains("was not written by approval", StringComparison.Ordinal)));
        Assert.Equal("1", await cluster.TruthAsync("select count(*) from orders where id = 2"));

        // As it was, it goes on.
        plane.TamperState(key, before);
        await cluster.Bob.ApproveAsync(request);
        Assert.Contains("DELETE 1", await cluster.PsqlAsync("proxy-1", Delete), StringComparison.Ordinal);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task An_approval_that_was_set_back_in_the_state_store_runs_no_second_time()
    {
        await BundleAsync();
        const string Delete = "delete from orders where id = 3";
        var request = await AskAheadAsync(Delete);
        await cluster.Bob.ApproveAsync(request);
        var approved = cluster.Cluster.Plane.PeekState(KeyOf(request))!;
        Assert.Contains("DELETE 1", await cluster.PsqlAsync("proxy-1", Delete), StringComparison.Ordinal);
        await cluster.TruthAsync("insert into orders values (3, 'again')");

        cluster.Cluster.Plane.TamperState(KeyOf(request), approved);
        Assert.Equal("approved", (await cluster.Alice.GoodAsync(HttpMethod.Get, $"approval/v1/requests/{request}")).GetProperty("state").GetString());
        Assert.Contains("was used here before", await cluster.PsqlAsync("proxy-1", Delete), StringComparison.Ordinal);
        Assert.Equal("1", await cluster.TruthAsync("select count(*) from orders where id = 3"));
    }

    private async Task<string> AskAheadAsync(string text) =>
        (await cluster.Alice.GoodAsync(HttpMethod.Post, "proxy/v1/requests", new { connection = "orders", text, reason = "tests" })).GetProperty("request").GetProperty("id").GetString()!;

    private static string KeyOf(string request) => $"approval||requests/{request}";

    /// <summary>The proxy hears of the bundle by an event, or asks for it.</summary>
    private Task BundleAsync() => Until.TrueAsync(
        async () =>
        {
            try
            {
                return (await cluster.PsqlAsync("proxy-1", "select id, customer from orders where id = 9")).Contains("9|***", StringComparison.Ordinal);
            }
            catch (InvalidOperationException)
            {
                return false;
            }
        },
        60);

    /// <summary>The one request that bob can decide.</summary>
    private async Task<JsonElement> WaitingAsync()
    {
        JsonElement waiting = default;
        await Until.TrueAsync(async () => (await cluster.Bob.GoodAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide")) is var list && list.GetArrayLength() == 1 && (waiting = list[0]).ValueKind == JsonValueKind.Object, 60);
        return waiting;
    }
}
