using Countersign.Fakes.Cluster;

namespace Countersign.Benchmarks.Distribution;

/// <summary>Over the sidecar double, which lives in this process.</summary>
internal sealed class DoubleComposition(FakeCluster cluster, IReadOnlyList<Account> accounts) : IComposition
{
    public string Sidecars => "the sidecar double of the tests, all sidecars in one process";

    public Uri Entrance => cluster.Entrance;

    public Uri ProxyAddress => cluster["proxy-1"].Address;

    public IReadOnlyList<int> PostgresPorts => [cluster.PostgresPortOf("proxy-1"), cluster.PostgresPortOf("proxy-2")];

    public IReadOnlyList<Account> Accounts => accounts;

    public string BootstrapToken => Path.Combine(cluster.DataOf("identity"), "bootstrap-token");

    // What this process does beside the sidecars (asking, approving) counts as theirs: while pgbench runs it is nothing.
    public IReadOnlyList<(string Name, int Process)> Processes =>
        [.. cluster.Processes.Where(process => process.Name != "entrance").Select(process => (process.Name, process.Id)), ("sidecars", Environment.ProcessId)];

    public static async Task<DoubleComposition> StartAsync(CancellationToken cancellation)
    {
        Account[] accounts = [new("alice", Guid.NewGuid().ToString("N")), new("bob", Guid.NewGuid().ToString("N"))];
        var cluster = await FakeCluster.StartAsync(
            new FakeClusterOptions
            {
                Accounts = accounts,
                Proxies = 2,

                // As the launchers of real ones set it (docs/operations/performance.md).
                Settings = (appId, _) => appId == "proxy"
                    ? [new("DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS", "1"), .. Environment.ProcessorCount > 4 ? [] : new KeyValuePair<string, string>[] { new("DOTNET_SYSTEM_NET_SOCKETS_THREAD_COUNT", "1") }]
                    : [],
            },
            cancellation);
        return new DoubleComposition(cluster, accounts);
    }

    public ValueTask DisposeAsync() => cluster.DisposeAsync();
}
