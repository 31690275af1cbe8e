using System.Collections.Concurrent;
using System.Text.Json;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Catalog;

/// <summary>
/// Catalogs by server and database; one instance a process. Connections that lead to the same database share one: what a session of one of them
/// changes, or fills from masked columns, counts for the others at once.
/// </summary>
public sealed class PostgresCatalogs(Func<string, SqlAnalysis?> parse, TimeProvider clock)
{
    private readonly ConcurrentDictionary<(string Host, int Port, string Database), PostgresCatalog> _catalogs = new();

    /// <summary>The catalog of one database of a server.</summary>
    public PostgresCatalog For(string host, int port, string database) =>
        _catalogs.GetOrAdd((host, port, database), _ => new PostgresCatalog(parse, clock));
}

/// <summary>
/// The catalog of one database, read when it is first needed and again when it may have changed: after DDL through the gateway, when a result comes from
/// an unknown relation, and after <see cref="Lifetime"/> (DDL that went past the gateway). Until then what it doesn't know is masked.
/// </summary>
#pragma warning disable CA1001 // Lives as long as the process; a semaphore without a wait handle holds nothing that must be given back.
public sealed class PostgresCatalog
#pragma warning restore CA1001
{
    private readonly Func<string, SqlAnalysis?> _parse;
    private readonly TimeProvider _clock;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly HashSet<ObjectName> _tainted = [];
    private CatalogSnapshot? _current;
    private DateTimeOffset _loaded;
    private long _wanted;
    private long _has = -1;

    /// <summary>A catalog that isn't read yet.</summary>
    /// <param name="parse">Parses view definitions; null where one can't be parsed (the whole view is masked).</param>
    /// <param name="clock">The clock.</param>
    public PostgresCatalog(Func<string, SqlAnalysis?> parse, TimeProvider clock)
    {
        ArgumentNullException.ThrowIfNull(parse);
        ArgumentNullException.ThrowIfNull(clock);
        _parse = parse;
        _clock = clock;
    }

    /// <summary>How long a snapshot is used without being asked for again: 60 s.</summary>
    public static TimeSpan Lifetime { get; } = TimeSpan.FromSeconds(60);

    /// <summary>The snapshot in use; null before the first was read.</summary>
    public CatalogSnapshot? Current => Volatile.Read(ref _current);

    /// <summary>Whether <see cref="GetAsync"/> would return <see cref="Current"/> at once.</summary>
    public bool IsFresh => Current is not null && Volatile.Read(ref _has) == Volatile.Read(ref _wanted) && _clock.GetUtcNow() - _loaded < Lifetime;

    /// <summary>
    /// Says that the catalog may have changed: the next <see cref="GetAsync"/> reads it again. Call it when an operation that changes it has completed
    /// (outside a transaction; within one, when the transaction has ended: another connection sees it only then).
    /// </summary>
    public void Invalidate() => Interlocked.Increment(ref _wanted);

    /// <summary>
    /// Says that a result came from a relation that isn't known. At most every 5 s that makes the catalog be read again: a relation of an open transaction stays unknown
    /// (and masked) however often it is read.
    /// </summary>
    public void InvalidateUnknown()
    {
        if (_clock.GetUtcNow() - _loaded > TimeSpan.FromSeconds(5))
        {
            Invalidate();
        }
    }

    /// <summary>Says that an approved operation fills these relations from masked columns: from now on all their columns are masked. Kept in memory only.</summary>
    public void Taint(IEnumerable<ObjectName> relations)
    {
        ArgumentNullException.ThrowIfNull(relations);
        var changed = false;
        lock (_tainted)
        {
            foreach (var relation in relations)
            {
                changed |= _tainted.Add(relation);
            }
        }

        if (changed)
        {
            Invalidate();
        }
    }

    /// <summary>The catalog, read where that is needed. Callers at the same time share one reading.</summary>
    /// <param name="query">Runs the gateway's statements at the target.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <exception cref="IOException">It can't be read: no operation that masks apply to may pass.</exception>
    public async ValueTask<CatalogSnapshot> GetAsync(IGatewayQuery query, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(query);
        if (IsFresh)
        {
            return Current!;
        }

        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (IsFresh)
            {
                return Current!;
            }

            var wanted = Volatile.Read(ref _wanted);
            var rows = new Dictionary<CatalogStatement, IReadOnlyList<IReadOnlyList<string?>>>();
            foreach (var statement in CatalogStatement.All)
            {
                rows[statement] = await query.RunAsync(statement, cancellation).ConfigureAwait(false);
            }

            ObjectName[] tainted;
            lock (_tainted)
            {
                tainted = [.. _tainted];
            }

            var snapshot = CatalogSnapshot.Load(rows, _parse, tainted);
            _loaded = _clock.GetUtcNow();
            Volatile.Write(ref _current, snapshot);
            Volatile.Write(ref _has, wanted);
            return snapshot;
        }
        catch (Exception error) when (error is FormatException or ArgumentException or IndexOutOfRangeException or NullReferenceException or OverflowException or JsonException)
        {
            // Rows of another shape than was asked for: it is the target that says them.
            throw new IOException("The target's catalog can't be read.", error);
        }
        finally
        {
            _gate.Release();
        }
    }
}
