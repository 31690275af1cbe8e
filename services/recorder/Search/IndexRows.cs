using System.Globalization;
using System.Text.Json;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Data.Sqlite;

namespace Countersign.Recorder.Search;

/// <summary>Prepared statements of one transaction over SQLite.</summary>
internal sealed class IndexRows(SqliteConnection connection) : IIndexWriter
{
    private readonly Dictionary<string, SqliteCommand> _commands = new(StringComparer.Ordinal);
    private readonly SqliteTransaction _transaction = connection.BeginTransaction();

    public long IndexedTo => Convert.ToInt64(SearchIndex.Scalar(connection, "SELECT indexed_to FROM state"), CultureInfo.InvariantCulture);

    public void Start(Entry entry, SessionStartEntry start) => Run(
        "INSERT OR IGNORE INTO sessions VALUES ($p0, $p1, $p2, $p3, $p4, $p5, $p6, NULL, NULL, 0)",
        entry.Session, start.Person, start.Name, start.Connection, start.Database, start.Client, entry.TimeMicroseconds);

    public void End(Entry entry, SessionEndEntry end) => Run(
        "UPDATE sessions SET ended_at = $p1, end_reason = $p2 WHERE id = $p0", entry.Session, entry.TimeMicroseconds, end.Reason);

    public void Operation(Entry entry, OperationEntry operation, (string Person, string Name, string Connection) session)
    {
        var inserted = Run(
            "INSERT OR IGNORE INTO operations (session, operation, at, person, name, connection, text, parameters, decision, rules, request, approvers)"
            + " VALUES ($p0, $p1, $p2, $p3, $p4, $p5, $p6, $p7, $p8, $p9, $p10, $p11)",
            entry.Session, operation.Operation, entry.TimeMicroseconds, session.Person, session.Name, session.Connection, operation.Text, Json(operation.Parameters),
            operation.Decision, Json(operation.Rules), operation.Request, Json(operation.Approvers));
        if (inserted == 0)
        {
            return;
        }

        Run("UPDATE sessions SET operations = operations + 1 WHERE id = $p0", entry.Session);
        foreach (var person in operation.Approvers.Select(approver => approver.Person).Distinct(StringComparer.Ordinal))
        {
            Run("INSERT OR IGNORE INTO approvers SELECT $p0, rowid FROM operations WHERE session = $p1 AND operation = $p2", person, entry.Session, operation.Operation);
        }
    }

    public void Completion(string session, CompletionEntry completion) => Run(
        "UPDATE operations SET outcome = $p2, rows = $p3, error_code = $p4, duration = $p5 WHERE session = $p0 AND operation = $p1",
        session, completion.Operation, completion.Outcome, completion.Rows, completion.ErrorCode, completion.DurationMicroseconds);

    public void Range(string session, long first, long last, long minAt, long maxAt) =>
        Run("INSERT OR REPLACE INTO ranges VALUES ($p0, $p1, $p2, $p3, $p4)", session, first, last, minAt, maxAt);

    public (string Person, string Name, string Connection) FindSession(string session)
    {
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT person, name, connection FROM sessions WHERE id = $p0";
        command.Parameters.AddWithValue("$p0", session);
        using var reader = command.ExecuteReader();
        return reader.Read() ? (reader.GetString(0), reader.GetString(1), reader.GetString(2)) : ("", "", "");
    }

    public void Commit(long indexedTo)
    {
        SearchIndex.Execute(connection, "UPDATE state SET indexed_to = $p0", indexedTo);
        _transaction.Commit();
    }

    public void Dispose()
    {
        foreach (var command in _commands.Values)
        {
            command.Dispose();
        }

        _transaction.Dispose();
        connection.Dispose();
    }

    private static string? Json<T>(IReadOnlyList<T> list) => list.Count == 0 ? null : JsonSerializer.Serialize(list, JsonSerializerOptions.Web);

    private int Run(string sql, params object?[] values)
    {
        if (!_commands.TryGetValue(sql, out var command))
        {
            command = connection.CreateCommand();
#pragma warning disable CA2100 // constants of this class only
            command.CommandText = sql;
#pragma warning restore CA2100
            for (var index = 0; index < values.Length; index++)
            {
                command.Parameters.Add(new SqliteParameter("$p" + index.ToString(CultureInfo.InvariantCulture), DBNull.Value));
            }

            command.Prepare();
            _commands.Add(sql, command);
        }

        for (var index = 0; index < values.Length; index++)
        {
            command.Parameters[index].Value = values[index] ?? DBNull.Value;
        }

        return command.ExecuteNonQuery();
    }
}
