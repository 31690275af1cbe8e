using System.Text.Json;
using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace Countersign.Recorder.Search;

/// <summary>
/// A prepared statement of the indexer, bound by position. Under it lies the same connection: an ADO command looks its parameters up by name and makes objects of
/// them each time, which costs more than the statement itself.
/// </summary>
internal sealed class IndexStatement : IDisposable
{
    private readonly sqlite3 _database;
    private readonly sqlite3_stmt _statement;

    public IndexStatement(SqliteConnection connection, string sql)
    {
        _database = connection.Handle!;
        Check(raw.sqlite3_prepare_v2(_database, sql, out _statement));
    }

    public IndexStatement Bind(int index, string? text)
    {
        Check(text is null ? raw.sqlite3_bind_null(_statement, index) : raw.sqlite3_bind_text(_statement, index, text));
        return this;
    }

    public IndexStatement Bind(int index, long? value)
    {
        Check(value is { } number ? raw.sqlite3_bind_int64(_statement, index, number) : raw.sqlite3_bind_null(_statement, index));
        return this;
    }

    /// <summary>Binds a list as JSON; an empty one as NULL.</summary>
    public IndexStatement BindList<T>(int index, IReadOnlyList<T> list) =>
        Bind(index, list.Count == 0 ? null : JsonSerializer.Serialize(list, JsonSerializerOptions.Web));

    /// <summary>Runs it with what was bound.</summary>
    /// <returns>Rows changed.</returns>
    /// <exception cref="SqliteException">It failed.</exception>
    public int Run()
    {
        var result = raw.sqlite3_step(_statement);
        var changes = result == raw.SQLITE_DONE ? raw.sqlite3_changes(_database) : 0;
        _ = raw.sqlite3_reset(_statement);
        Check(result);
        return changes;
    }

    public void Dispose() => _statement.Dispose();

    private void Check(int result)
    {
        if (result is not (raw.SQLITE_OK or raw.SQLITE_DONE))
        {
            SqliteException.ThrowExceptionForRC(result, _database);
            throw new SqliteException("the index can't be written", result);
        }
    }
}
