using System.Globalization;
using System.Runtime.CompilerServices;
using Countersign.Platform.Ports;
using Npgsql;
using NpgsqlTypes;

namespace Countersign.Platform.Postgres;

/// <summary>
/// State of one service in its schema. Every write is one statement that compares the etag itself, so that any number of replicas lose no update; etags come
/// from a sequence, so that a key that was deleted and made again never shows an old one. A write whose answer got lost may have happened: that is a
/// <see cref="PortUnavailableException"/>, and who tries again finds out by the etag.
/// </summary>
public sealed class PostgresStateStore(PostgresDatabase database) : IStateStore
{
    /// <summary>Its tables.</summary>
    public static SchemaComponent Component { get; } = new(
        "state",
        [
            new Migration(1, "items", """
                CREATE SEQUENCE {schema}.item_version AS bigint;
                CREATE TABLE {schema}.items (
                  collection text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, value bytea NOT NULL, version bigint NOT NULL, PRIMARY KEY (collection, key));
                """),
            new Migration(2, "items by version", "CREATE INDEX items_by_version ON {schema}.items (collection, version)"),
        ],
        """
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.items TO {role};
        GRANT USAGE ON SEQUENCE {schema}.item_version TO {role};
        """);

    private readonly string _get = $"SELECT value, version FROM {database.Quoted}.items WHERE collection = $1 AND key = $2";
    private readonly string _list = $"SELECT key, value, version FROM {database.Quoted}.items WHERE collection = $1 ORDER BY key";
    private readonly string _changes = $"SELECT key, value, version FROM {database.Quoted}.items WHERE collection = $1 AND version > $2 ORDER BY version LIMIT $3";
    private readonly string _delete = $"DELETE FROM {database.Quoted}.items WHERE collection = $1 AND key = $2 AND version = $3";

    private readonly string _insert = $"""
        INSERT INTO {database.Quoted}.items (collection, key, value, version) VALUES ($1, $2, $3, nextval('{database.Quoted}.item_version'))
        ON CONFLICT (collection, key) DO NOTHING
        """;

    private readonly string _update = $"""
        UPDATE {database.Quoted}.items SET value = $3, version = nextval('{database.Quoted}.item_version') WHERE collection = $1 AND key = $2 AND version = $4
        """;

    /// <inheritdoc/>
    public async ValueTask<StateItem?> GetAsync(string collection, string key, CancellationToken cancellation)
    {
        StateKeys.Check(collection, nameof(collection));
        StateKeys.Check(key, nameof(key));
        try
        {
            await using var connection = await database.OpenAsync(cancellation).ConfigureAwait(false);
            await using var command = Command(connection, _get, collection, key);
            await using var row = await command.ExecuteReaderAsync(cancellation).ConfigureAwait(false);
            return await row.ReadAsync(cancellation).ConfigureAwait(false) ? new StateItem(key, row.GetFieldValue<byte[]>(0), ETag(row.GetInt64(1))) : null;
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw database.Unavailable(error);
        }
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

        return await WriteAsync(etag is null ? _insert : _update, collection, key, value, etag, cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<bool> TryDeleteAsync(string collection, string key, string etag, CancellationToken cancellation)
    {
        StateKeys.Check(collection, nameof(collection));
        StateKeys.Check(key, nameof(key));
        ArgumentNullException.ThrowIfNull(etag);
        return IsETag(etag) && await WriteAsync(_delete, collection, key, null, etag, cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<StateItem> ListAsync(string collection, [EnumeratorCancellation] CancellationToken cancellation)
    {
        StateKeys.Check(collection, nameof(collection));
        var items = await ReadAllAsync(collection, cancellation).ConfigureAwait(false);

        // COLLATE "C" compares UTF-8, ordinal order is that of UTF-16: they differ beyond the BMP.
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
        var version = after is null ? 0 : IsETag(after) ? long.Parse(after, CultureInfo.InvariantCulture) : throw new ArgumentException("not an etag of this store", nameof(after));
        return await ReadAsync(
            connection =>
            {
                var command = Command(connection, _changes, collection);
                command.Parameters.Add(new NpgsqlParameter<long> { TypedValue = version });
                command.Parameters.Add(new NpgsqlParameter<int> { TypedValue = limit });
                return command;
            },
            cancellation).ConfigureAwait(false);
    }

    private ValueTask<List<StateItem>> ReadAllAsync(string collection, CancellationToken cancellation) =>
        ReadAsync(connection => Command(connection, _list, collection), cancellation);

    private async ValueTask<List<StateItem>> ReadAsync(Func<NpgsqlConnection, NpgsqlCommand> make, CancellationToken cancellation)
    {
        var items = new List<StateItem>();
        try
        {
            await using var connection = await database.OpenAsync(cancellation).ConfigureAwait(false);
            await using var command = make(connection);
            await using var row = await command.ExecuteReaderAsync(cancellation).ConfigureAwait(false);
            while (await row.ReadAsync(cancellation).ConfigureAwait(false))
            {
                items.Add(new StateItem(row.GetString(0), row.GetFieldValue<byte[]>(1), ETag(row.GetInt64(2))));
            }

            return items;
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw database.Unavailable(error);
        }
    }

    private async ValueTask<bool> WriteAsync(
        string sql, string collection, string key, ReadOnlyMemory<byte>? value, string? etag, CancellationToken cancellation)
    {
        try
        {
            await using var connection = await database.OpenAsync(cancellation).ConfigureAwait(false);
            await using var command = Command(connection, sql, collection, key);
            if (value is { } bytes)
            {
                command.Parameters.Add(new NpgsqlParameter<ReadOnlyMemory<byte>> { TypedValue = bytes, NpgsqlDbType = NpgsqlDbType.Bytea });
            }

            if (etag is not null)
            {
                command.Parameters.Add(new NpgsqlParameter<long> { TypedValue = long.Parse(etag, CultureInfo.InvariantCulture) });
            }

            return await command.ExecuteNonQueryAsync(cancellation).ConfigureAwait(false) == 1;
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw database.Unavailable(error);
        }
    }

    private static NpgsqlCommand Command(NpgsqlConnection connection, string sql, params ReadOnlySpan<string> texts)
    {
#pragma warning disable CA2100 // constants of this class and a quoted name
        var command = new NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
        foreach (var text in texts)
        {
            command.Parameters.Add(new NpgsqlParameter<string> { TypedValue = text });
        }

        return command;
    }

    private static bool IsETag(string etag) => etag.Length is > 0 and < 19 && etag.All(char.IsAsciiDigit);

    private static string ETag(long version) => version.ToString(CultureInfo.InvariantCulture);
}
