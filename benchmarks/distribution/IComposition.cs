using Countersign.Fakes.Cluster;

namespace Countersign.Benchmarks.Distribution;

/// <summary>Five services as processes of their own, with sidecars, that are measured from outside.</summary>
internal interface IComposition : IAsyncDisposable
{
    /// <summary>What the sidecars are, for the results.</summary>
    string Sidecars { get; }

    /// <summary>Where persons reach everything.</summary>
    Uri Entrance { get; }

    /// <summary>Routes of the first proxy.</summary>
    Uri ProxyAddress { get; }

    /// <summary>Ports for PostgreSQL clients, one a proxy.</summary>
    IReadOnlyList<int> PostgresPorts { get; }

    /// <summary>alice and bob.</summary>
    IReadOnlyList<Account> Accounts { get; }

    /// <summary>The token that names the first person.</summary>
    string BootstrapToken { get; }

    /// <summary>Process ids by what their time is counted for: <c>identity</c>, <c>proxy-1</c>, <c>sidecars</c>.</summary>
    IReadOnlyList<(string Name, int Process)> Processes { get; }
}
