using Countersign.Distributed.Tests.Cluster;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Cluster;
using Npgsql;

namespace Countersign.Distributed.Tests.Chaos;

/// <summary>Replicas are replaced one after the other while people work.</summary>
[Collection(ChaosCollection.Name)]
public sealed class RollingTests(ChaosCluster cluster)
{
    private static readonly string[] Expected =
        ["shutting down", "Connection refused", "Failed to connect", "Run was aborted", "could not create connection", "has had no word from"];

    private static readonly string[] Services = ["recorder", "identity", "policy", "approval"];

    [Fact]
    public async Task A_rolling_restart_is_noticed_by_nobody_but_sessions_that_outlast_the_drain()
    {
        var load = await Chaos.UnderLoadAsync(cluster, async load =>
        {
            // One replica of every service at a time: no service is ever gone.
            for (var replica = 1; replica <= 2; replica++)
            {
                load.Phase = $"replicas {replica}";
                await RestartAsync([.. Services.Select(service => cluster.Processes[$"{service}-{replica}"])]);
                await load.ProgressAsync(3);
            }

            for (var proxy = 1; proxy <= 2; proxy++)
            {
                load.Phase = $"proxy-{proxy}";
                await RestartAsync([cluster.Processes[$"proxy-{proxy}"]]);
                await load.ProgressAsync(3);
            }
        });
        AssertUnnoticed(load);
        await Evidence.CheckAsync(cluster, load);
    }

    [Trait("group", "soak")]
    [Fact]
    public async Task Many_rolling_restarts_one_after_the_other_are_noticed_by_nobody()
    {
        var load = await Chaos.UnderFaultsAsync(cluster, async load =>
        {
            for (var round = 0; round < 3; round++)
            {
                foreach (var process in Services.Append("proxy").SelectMany(cluster.Processes.Of))
                {
                    load.Phase = process.Name;
                    await RestartAsync([process]);
                    await load.ProgressAsync(2);
                }
            }
        });
        AssertUnnoticed(load);
        await Evidence.CheckAsync(cluster, load);
    }

    [Fact]
    public async Task What_waits_for_approval_when_its_proxy_is_stopped_still_runs_and_idle_sessions_are_told()
    {
        var proxy = cluster.Processes["proxy-1"];
        var marker = $"drain-{Guid.NewGuid():N}";
        await using var idle = cluster.Through(proxy.Name);
        await idle.OpenAsync(TestContext.Current.CancellationToken);
        await using var held = cluster.Through(proxy.Name);
        await held.OpenAsync(TestContext.Current.CancellationToken);
        await using var command = new NpgsqlCommand($"insert into effects values ('{marker}')", held);
        var running = command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
        var request = "";
        await Until.TrueAsync(async () => (request = await PendingAsync(marker)).Length > 0, 60);

        var stopping = proxy.StopAsync();
        await Until.TrueAsync(async () => (await cluster.TryReadAsync(proxy.Name))?.Contains("Failed to connect", StringComparison.Ordinal) == true, 60);
        await cluster.Bob.ApproveAsync(request);
        Assert.Equal(1, await running);
        var ended = await Assert.ThrowsAnyAsync<NpgsqlException>(async () =>
        {
            await using var again = new NpgsqlCommand("select 1", idle);
            while (true)
            {
                await again.ExecuteScalarAsync(TestContext.Current.CancellationToken);
                await Task.Delay(50, TestContext.Current.CancellationToken);
            }
        });
        Assert.Equal("57P01", (ended as PostgresException)?.SqlState);
        Assert.Equal(0, await stopping);
        Assert.Equal([marker], await cluster.TruthAsync($"select id from effects where id = '{marker}'"));
        proxy.Start();
        await proxy.AwaitAsync(ready: true, TestContext.Current.CancellationToken);
    }

    private async Task<string> PendingAsync(string marker) =>
        (await cluster.Bob.GoodAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide")).EnumerateArray()
            .Where(each => each.GetProperty("operations")[0].GetProperty("text").GetString()!.Contains(marker, StringComparison.Ordinal))
            .Select(each => each.GetProperty("id").GetString()!).SingleOrDefault() ?? "";

    // A proxy that is being replaced takes nobody new, and tells who stays longer than the drain; nobody else notices anything.
    private static void AssertUnnoticed(Load load) => Assert.Empty(load.Mishaps.Where(each =>
        !(each.Phase.StartsWith("proxy-", StringComparison.Ordinal) && each.Who.EndsWith(each.Phase, StringComparison.Ordinal) && Expected.Any(part => each.What.Contains(part, StringComparison.Ordinal)))));

    private static async Task RestartAsync(IReadOnlyList<ServiceProcess> replicas)
    {
        Assert.All(await Task.WhenAll(replicas.Select(replica => replica.StopAsync())), code => Assert.Equal(0, code));
        foreach (var replica in replicas)
        {
            replica.Start();
        }

        await Task.WhenAll(replicas.Select(replica => replica.AwaitAsync(ready: true, TestContext.Current.CancellationToken)));
    }
}
