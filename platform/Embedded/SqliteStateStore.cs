using System.Runtime.CompilerServices;
using Countersign.Platform.Ports;
using Microsoft.Data.Sqlite;

namespace Countersign.Platform.Embedded;

/// <summary>
/// State of one service in one SQLite file (mode 0600): write-ahead log, <c>synchronous=FULL</c>, so that a completed write survives a power cut.
/// Etags are row versions from one counter of the file that only grows, so that a key that was deleted and made again never shows an old etag.
/// </summary>
public sealed class SqliteStateStore : IStateStore, IDisposable
{
    private const string Schema = """
        CREATE TABLE IF NOT EXISTS items (
          collection TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (collection, key)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL);
        INSERT OR IGNORE INTO counter VALUES (1, 0);
        CREATE INDEX IF NOT EXISTS items_by_version ON items (collection, version);
        """;

    private static readonly TimeSpan CloseTimeout = TimeSpan.FromSeconds(10);

    // One writer and one reader: SQLite has a single writer anyway, and in WAL mode a reader doesn't wait for its fsync.
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly SemaphoreSlim _reading = new(1, 1);
    private readonly SqliteConnection _writer;
    private readonly SqliteConnection _reader;
    private bool _isClosed;

    /// <summary>Opens or makes the file.</summary>
    /// <param name="path">Path of the database file.</param>
    /// <exception cref="PortUnavailableException">It can't be opened.</exception>
    public SqliteStateStore(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        try
        {
            _writer = DurableSqlite.Open(path);
            DurableSqlite.Execute(_writer, Schema);
            _reader = DurableSqlite.Open(path);
        }
        catch (Exception error) when (error is SqliteException or IOException or UnauthorizedAccessException)
        {
            _writer?.Dispose();
            throw new PortUnavailableException($"state store {path} can't be opened", error);
        }
    }

    /// <inheritdoc/>
    public async ValueTask<StateItem?> GetAsync(string collection, string key, CancellationToken cancellation)
    {
        StateKeys.Check(collection, nameof(collection));
        StateKeys.Check(key, nameof(key));
        return (await ReadAsync("WHERE collection = $collection AND key = $key", collection, ("$key", key), null, cancellation)).SingleOrDefault();
    }

    /// <inheritdoc/>
    public async ValueTask<bool> TrySaveAsync(string collection, string key, ReadOnlyMemory<byte> value, string? etag, CancellationToken cancellation)
    {
        StateKeys.Check(collection, nameof(collection));
        StateKeys.Check(key, nameof(key));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(value.Length, StateKeys.MaxValueLength, nameof(value));
        if (etag is not null && !IsETag(etag))
        {
            return false;
        }

        const string Insert = """
            INSERT INTO items (collection, key, value, version) SELECT $collection, $key, $value, value + 1 FROM counter
            WHERE true ON CONFLICT (collection, key) DO NOTHING
            """;
        const string Update = """
            UPDATE items SET value = $value, version = (SELECT value + 1 FROM counter)
            WHERE collection = $collection AND key = $key AND version = $version
            """;
        return await WriteAsync(etag is null ? Insert : Update, collection, key, value, etag, cancellation);
    }

    /// <inheritdoc/>
    public async ValueTask<bool> TryDeleteAsync(string collection, string key, string etag, CancellationToken cancellation)
    {
        StateKeys.Check(collection, nameof(collection));
        StateKeys.Check(key, nameof(key));
        const string Delete = "DELETE FROM items WHERE collection = $collection AND key = $key AND version = $version";
        return IsETag(etag) && await WriteAsync(Delete, collection, key, null, etag, cancellation);
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<StateItem> ListAsync(string collection, [EnumeratorCancellation] CancellationToken cancellation)
    {
        StateKeys.Check(collection, nameof(collection));
        var items = await ReadAsync("WHERE collection = $collection", collection, null, null, cancellation);

        // SQLite compares UTF-8, ordinal order is that of UTF-16: they differ beyond the BMP.
        items.Sort((left, right) => string.CompareOrdinal(left.Key, right.Key));
        foreach (var item in items)
        {
            cancellation.ThrowIfCancellationRequested();
            yield return item;
        }
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<StateItem>> ReadChangesAsync(string collection, string? after, int limit, CancellationToken cancellation)
    {
        StateKeys.Check(collection, nameof(collection));
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(limit, StateKeys.MaxPage);
        var version = after is null
            ? 0
            : IsETag(after) ? long.Parse(after, System.Globalization.CultureInfo.InvariantCulture) : throw new ArgumentException("not an etag of this store", nameof(after));
        return await ReadAsync("WHERE collection = $collection AND version > $version ORDER BY version LIMIT $limit", collection, ("$version", version), limit, cancellation);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Not in the middle of a write of somebody who is still at it while the host goes down.
        var (canWrite, canRead) = (_writing.Wait(CloseTimeout), _reading.Wait(CloseTimeout));
        if (!_isClosed)
        {
            _isClosed = true;
            _reader.Dispose();
            _writer.Dispose();
        }

        // Whoever still waits finds it closed.
        if (canRead)
        {
            _reading.Release();
        }

        if (canWrite)
        {
            _writing.Release();
        }
    }

    private void RequireOpen()
    {
        if (_isClosed)
        {
            throw new PortUnavailableException("the state store is closed");
        }
    }

    private async ValueTask<List<StateItem>> ReadAsync(string where, string collection, (string Name, object Value)? by, int? limit, CancellationToken cancellation)
    {
        await _reading.WaitAsync(cancellation);
        try
        {
            RequireOpen();
            using var command = _reader.CreateCommand();
#pragma warning disable CA2100 // constants of this file only
            command.CommandText = "SELECT key, value, version FROM items " + where;
#pragma warning restore CA2100
            command.Parameters.AddWithValue("$collection", collection);
            if (by is { } condition)
            {
                command.Parameters.AddWithValue(condition.Name, condition.Value);
            }

            if (limit is { } most)
            {
                command.Parameters.AddWithValue("$limit", most);
            }

            using var row = command.ExecuteReader();
            var items = new List<StateItem>();
            while (row.Read())
            {
                items.Add(new StateItem(row.GetString(0), row.GetFieldValue<byte[]>(1), ETag(row.GetInt64(2))));
            }

            return items;
        }
        catch (SqliteException error)
        {
            throw Unavailable(error);
        }
        finally
        {
            _reading.Release();
        }
    }

    private async ValueTask<bool> WriteAsync(
        string sql, string collection, string key, ReadOnlyMemory<byte>? value, string? etag, CancellationToken cancellation)
    {
        await _writing.WaitAsync(cancellation);
        try
        {
            RequireOpen();
            using var transaction = _writer.BeginTransaction(deferred: false);
            using var command = _writer.CreateCommand();
            command.Transaction = transaction;
#pragma warning disable CA2100 // constants of this file only
            command.CommandText = sql;
#pragma warning restore CA2100
            command.Parameters.AddWithValue("$collection", collection);
            command.Parameters.AddWithValue("$key", key);
            if (value is { } bytes)
            {
                command.Parameters.AddWithValue("$value", bytes.ToArray());
            }

            if (etag is not null)
            {
                command.Parameters.AddWithValue("$version", long.Parse(etag, System.Globalization.CultureInfo.InvariantCulture));
            }

            if (command.ExecuteNonQuery() != 1)
            {
                return false;
            }

            DurableSqlite.Execute(_writer, "UPDATE counter SET value = value + 1", transaction);
            transaction.Commit();
            return true;
        }
        catch (SqliteException error)
        {
            throw Unavailable(error);
        }
        finally
        {
            _writing.Release();
        }
    }

    private static bool IsETag(string etag) => etag.Length is > 0 and < 19 && etag.All(char.IsAsciiDigit);

    private static string ETag(long version) => version.ToString(System.Globalization.CultureInfo.InvariantCulture);

    private static PortUnavailableException Unavailable(SqliteException error) => new("the state store failed", error);
}
