using Countersign.Fakes.Cluster;

namespace Countersign.Distributed.Tests.Chaos;

/// <summary>Services are killed while people work.</summary>
[Collection(ChaosCollection.Name)]
[Trait("group", "faults")]
public sealed class KillTests(ChaosCluster cluster)
{
    [Fact]
    public async Task Each_service_killed_and_started_again_under_load_loses_nothing_and_lets_nothing_pass()
    {
        var load = await Chaos.UnderFaultsAsync(cluster, async load =>
        {
            foreach (var service in new[] { "recorder", "approval", "policy", "identity", "proxy" })
            {
                await KillAsync(load, service, cluster.Processes.Of(service));
            }
        });
        await Evidence.CheckAsync(cluster, load);

        // The check can fail: what gets past the proxies is found.
        await cluster.TruthAsync($"insert into load values ('{load.Run}', 9, 1)");
        await cluster.TruthAsync($"insert into effects values ('y-{load.Run}-9-9')");
        Assert.Equal(
            [$"insert into effects values ('y-{load.Run}-9-9')", $"insert into public.load values ('{load.Run}', 9, 1)"], await Evidence.UnrecordedAsync(cluster, load));
    }

    [Trait("group", "soak")]
    [Fact]
    public async Task Many_kills_at_any_moment_lose_nothing_and_let_nothing_pass()
    {
        var dice = new Random(20261125);
        var load = await Chaos.UnderFaultsAsync(cluster, async load =>
        {
            for (var round = 0; round < 30; round++)
            {
                var all = cluster.Processes.Processes.Where(process => process.Name is not ("entrance" or "issuer")).ToList();
                dice.Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(all));
                await KillAsync(load, $"round {round}", all[..dice.Next(1, 5)]);
            }
        });
        await Evidence.CheckAsync(cluster, load);
    }

    private static async Task KillAsync(Load load, string phase, IReadOnlyList<ServiceProcess> victims)
    {
        load.Phase = "kill " + phase;
        await Task.WhenAll(victims.Select(victim => victim.KillAsync()));
        await load.RoundsAsync(5);
        foreach (var victim in victims)
        {
            victim.Start();
        }

        await Task.WhenAll(victims.Select(victim => victim.AwaitAsync(ready: true, TestContext.Current.CancellationToken)));
        await load.ProgressAsync(3);
    }
}
