using System.Text.Json;
using Countersign.Distributed.Tests.Cluster;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Cluster;
using Countersign.Policy.Contracts;
using Npgsql;

namespace Countersign.Distributed.Tests.Chaos;

/// <summary>A proxy without word from its services stops, and goes on by itself when there is word again (I8).</summary>
[Collection(ChaosCollection.Name)]
[Trait("group", "faults")]
public sealed class CutOffTests(ChaosCluster cluster)
{
    private const string Proxy = "proxy-2";

    [Theory]
    [InlineData("policy")]
    [InlineData("identity")]
    public async Task Without_word_from_a_service_a_proxy_lets_nobody_in_redeems_nothing_ends_sessions_and_recovers_alone(string service)
    {
        await ShortAsync();
        var marker = await ApprovedAsync();
        await using var session = cluster.Through(Proxy);
        await session.OpenAsync(TestContext.Current.CancellationToken);
        await using var idle = cluster.Through(Proxy);
        await idle.OpenAsync(TestContext.Current.CancellationToken);
        var before = cluster.Processes[Proxy].Id;
        cluster.Processes.Of(service).ToList().ForEach(process => process.Freeze());
        try
        {
            await Until.TrueAsync(async () => (await ProblemAsync()).Contains($"no word from the {service} service", StringComparison.Ordinal), 60);
            await using var approved = new NpgsqlCommand(Insert(marker), session);
            var refused = await Assert.ThrowsAnyAsync<PostgresException>(() => approved.ExecuteNonQueryAsync(TestContext.Current.CancellationToken));
            Assert.Contains(refused.SqlState, new[] { "58000", "57P01" });
            Assert.Contains("word", refused.MessageText, StringComparison.Ordinal);
            var login = cluster.TryReadAsync(Proxy);
            Assert.Equal("57P01", await EndAsync(idle));
            Assert.NotNull(await login);
            Assert.Empty(await EffectsAsync(marker));
        }
        finally
        {
            cluster.Processes.Of(service).ToList().ForEach(process => process.Thaw());
        }

        await Until.TrueAsync(() => cluster.WorksAsync(Proxy), 60);
        Assert.Equal(1, await RunAsync(marker));
        Assert.Equal([marker], await EffectsAsync(marker));
        Assert.Equal(before, cluster.Processes[Proxy].Id);
    }

    [Fact]
    public async Task With_no_way_to_approval_only_what_needs_none_goes_on_and_what_was_approved_runs_when_there_is_one()
    {
        var marker = await ApprovedAsync();
        NpgsqlConnection[] sessions = [cluster.Through(Proxy), cluster.Through(Proxy), cluster.Through(Proxy)];
        foreach (var session in sessions)
        {
            await session.OpenAsync(TestContext.Current.CancellationToken);
        }

        foreach (var approval in cluster.Processes.Of("approval"))
        {
            await cluster.Processes.StopSidecarAsync(approval.Name);
        }

        try
        {
            // Npgsql gives a session up after an error of class 58.
            foreach (var (each, session) in new[] { marker, "never-" + marker }.Zip(sessions))
            {
                await using var command = new NpgsqlCommand(Insert(each), session);
                var refused = await Assert.ThrowsAnyAsync<PostgresException>(() => command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken));
                Assert.Equal("58000", refused.SqlState);
            }

            await using var read = new NpgsqlCommand("select count(*) from effects", sessions[2]);
            Assert.NotNull(await read.ExecuteScalarAsync(TestContext.Current.CancellationToken));
            Assert.Null(await cluster.TryReadAsync(Proxy));
        }
        finally
        {
            foreach (var approval in cluster.Processes.Of("approval"))
            {
                await cluster.Processes.StartSidecarAsync(approval.Name);
            }

            foreach (var session in sessions)
            {
                await session.DisposeAsync();
            }
        }

        await Until.TrueAsync(() => cluster.Processes.Of("approval").All(approval => cluster.Processes.SidecarOf(approval.Name).IsAppWell), 60);
        Assert.Equal(1, await RunAsync(marker));
        Assert.Equal([marker], await EffectsAsync(marker));
    }

    [Fact]
    public async Task A_policy_restored_from_an_older_copy_is_refused_also_by_a_proxy_that_starts_anew()
    {
        await ShortAsync();
        await using var store = NpgsqlDataSource.Create(ChaosCluster.ConnectionTo(cluster.Store));
        await ExecuteAsync(store, "drop schema if exists backup cascade; create schema backup; create table backup.items as table countersign_policy.items");
        var log = new LogReader(cluster.Processes[Proxy]);
        await ChangeAsync("after the backup");
        await Until.TrueAsync(() => log.Says("is in force"), 60);
        var replicas = cluster.Processes.Of("policy");
        await Task.WhenAll(replicas.Select(replica => replica.KillAsync()));
        await ExecuteAsync(store, "truncate countersign_policy.items; insert into countersign_policy.items select * from backup.items");
        foreach (var replica in replicas)
        {
            replica.Start();
        }

        await Until.TrueAsync(() => log.Says("Policy's version went back from"), 60);
        await Until.TrueAsync(async () => (await cluster.TryReadAsync(Proxy))?.Contains("no word from the policy service", StringComparison.Ordinal) == true, 60);
        await RestartAsync();
        log = new LogReader(cluster.Processes[Proxy]);
        await Until.TrueAsync(() => log.Says("Policy's version went back from"), 60);
        Assert.Contains("no word from the policy service", await cluster.TryReadAsync(Proxy), StringComparison.Ordinal);

        // What docs/operations/failures.md says: make the changes again until the version is higher.
        await ChangeAsync("again");
        await ChangeAsync("and one more");
        await Until.TrueAsync(() => cluster.WorksAsync(Proxy), 60);
    }

    private static string Insert(string marker) => $"insert into effects values ('{marker}')";

    private static async Task ExecuteAsync(NpgsqlDataSource store, string sql)
    {
        await using var command = store.CreateCommand(sql);
        await command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
    }

    private Task<List<string>> EffectsAsync(string marker) => cluster.TruthAsync($"select id from effects where id = '{marker}'");

    private Task ChangeAsync(string note) => cluster.People.ChangeAsync(new PolicyChangeRequest
    {
        Documents = [new BundleDocument("note.yaml", $"apiVersion: countersign/v1\nkind: ApproverGroup\nname: note-{Guid.NewGuid():N}\npersons: [alice@example.com]\n")],
        Reason = note,
    });

    // Limits that a test can wait for; the other proxy keeps its own.
    private async Task ShortAsync()
    {
        var environment = cluster.Processes[Proxy].Environment;
        if (!environment.ContainsKey("Countersign__Proxy__StaleAfter"))
        {
            environment["Countersign__Proxy__StaleAfter"] = "00:00:05";
            environment["Countersign__Proxy__DeadAfter"] = "00:00:08";
            environment["Countersign__Proxy__AskEvery"] = "00:00:01";
            await RestartAsync();
        }

        await Until.TrueAsync(() => cluster.WorksAsync(Proxy), 60);
    }

    private async Task RestartAsync()
    {
        var proxy = cluster.Processes[Proxy];
        await proxy.KillAsync();
        proxy.Start();
        await proxy.AwaitAsync(ready: false, TestContext.Current.CancellationToken);
    }

    // Asked for, left by its client, and approved: it runs when it is asked for again.
    private async Task<string> ApprovedAsync()
    {
        var marker = $"cut-{Guid.NewGuid():N}";
        var request = "";
        await using (var connection = cluster.Through("proxy-1"))
        {
            await connection.OpenAsync(TestContext.Current.CancellationToken);
            await using var command = new NpgsqlCommand(Insert(marker), connection);
            var running = command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
            await Until.TrueAsync(async () => (request = await PendingAsync(marker)).Length > 0, 60);
            NpgsqlConnection.ClearAllPools();
            await cluster.Processes["proxy-1"].KillAsync();
            await Assert.ThrowsAnyAsync<NpgsqlException>(() => running);
        }

        await cluster.Bob.ApproveAsync(request);
        cluster.Processes["proxy-1"].Start();
        await cluster.Processes["proxy-1"].AwaitAsync(ready: true, TestContext.Current.CancellationToken);
        return marker;
    }

    private async Task<string> PendingAsync(string marker) =>
        (await cluster.Bob.GoodAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide")).EnumerateArray()
            .Where(each => each.GetProperty("operations")[0].GetProperty("text").GetString()!.Contains(marker, StringComparison.Ordinal))
            .Select(each => each.GetProperty("id").GetString()!).SingleOrDefault() ?? "";

    private async Task<int> RunAsync(string marker)
    {
        await using var connection = cluster.Through(Proxy);
        await connection.OpenAsync(TestContext.Current.CancellationToken);
        await using var command = new NpgsqlCommand(Insert(marker), connection);
        return await command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
    }

    // The proxy's own check of readiness says what is missing.
    private async Task<string> ProblemAsync()
    {
        using var http = new HttpClient { BaseAddress = cluster.Processes[Proxy].Address };
        var health = JsonSerializer.Deserialize<JsonElement>(await (await http.GetAsync("health/ready")).Content.ReadAsStringAsync());
        return health.GetProperty("checks").EnumerateArray().Single(check => check.GetProperty("name").GetString() == "proxy").GetProperty("detail").GetString() ?? "";
    }

    private static async Task<string?> EndAsync(NpgsqlConnection connection)
    {
        while (true)
        {
            try
            {
                await using var command = new NpgsqlCommand("select 1", connection);
                await command.ExecuteScalarAsync(TestContext.Current.CancellationToken);
                await Task.Delay(50, TestContext.Current.CancellationToken);
            }
            catch (PostgresException error)
            {
                return error.SqlState;
            }
        }
    }

    /// <summary>What a process says from now on.</summary>
    private sealed class LogReader(ServiceProcess process)
    {
        private readonly int _from = process.Tail(int.MaxValue).Count;

        public bool Says(string text) => process.Tail(int.MaxValue).Skip(_from - 1).Any(line => line.Contains(text, StringComparison.Ordinal));
    }
}
