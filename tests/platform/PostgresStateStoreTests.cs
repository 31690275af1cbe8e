using System.Collections.Concurrent;
using Countersign.Platform.Ports;
using Countersign.Platform.Postgres;

namespace Countersign.Platform.Tests;

/// <summary>The contract of state stores over a real PostgreSQL.</summary>
[Trait("group", "distributed")]
public sealed class PostgresStateStoreTests(PostgresFixture postgres) : StateStoreContract, IDisposable
{
    private readonly string _prefix = "t" + Guid.NewGuid().ToString("N")[..8] + "_";
    private readonly ConcurrentDictionary<IStateStore, PostgresDatabase> _open = [];

    protected override int ModelIterations => 15;

    public void Dispose()
    {
        foreach (var database in _open.Values)
        {
            database.Dispose();
        }
    }

    protected override Task<IStateStore> OpenAsync(string name)
    {
        var database = postgres.Database(_prefix + name);
        IStateStore store = new PostgresStateStore(database);
        _open[store] = database;
        return Task.FromResult(store);
    }

    protected override Task CloseAsync(IStateStore store)
    {
        _open.TryRemove(store, out var database);
        database!.Dispose();
        return Task.CompletedTask;
    }
}
