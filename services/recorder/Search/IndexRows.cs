using System.Globalization;
using System.Runtime.InteropServices;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Data.Sqlite;

namespace Countersign.Recorder.Search;

/// <summary>
/// Rows of one transaction of the indexer. Operations gather until <see cref="Flush"/>: most end in the piece in which they begin, and are then one row that is
/// written once. All can be repeated: an entry indexed twice changes nothing.
/// </summary>
internal sealed class IndexRows(SqliteConnection connection) : IIndexWriter
{
    private readonly SqliteTransaction _transaction = connection.BeginTransaction();
    private readonly Dictionary<(string Session, long Operation), Row> _rows = [];
    private readonly Dictionary<string, long> _counts = new(StringComparer.Ordinal);
    private IndexStatement? _insert;
    private IndexStatement? _complete;

    public long IndexedTo => Convert.ToInt64(SearchIndex.Scalar(connection, "SELECT indexed_to FROM state"), CultureInfo.InvariantCulture);

    public void Start(Entry entry, SessionStartEntry start)
    {
        using var insert = new IndexStatement(connection, "INSERT OR IGNORE INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL, 0)");
        insert.Bind(1, entry.Session).Bind(2, start.Person).Bind(3, start.Name).Bind(4, start.Connection).Bind(5, start.Database).Bind(6, start.Client)
            .Bind(7, entry.TimeMicroseconds).Run();
    }

    public void End(Entry entry, SessionEndEntry end)
    {
        using var update = new IndexStatement(connection, "UPDATE sessions SET ended_at = ?2, end_reason = ?3 WHERE id = ?1");
        update.Bind(1, entry.Session).Bind(2, entry.TimeMicroseconds).Bind(3, end.Reason).Run();
    }

    public void Operation(Entry entry, OperationEntry operation, (string Person, string Name, string Connection) session) =>
        _rows.TryAdd((entry.Session, operation.Operation), new Row(entry.TimeMicroseconds, operation, session));

    public void Completion(string session, CompletionEntry completion)
    {
        ref var row = ref CollectionsMarshal.GetValueRefOrNullRef(_rows, (session, completion.Operation));
        if (!System.Runtime.CompilerServices.Unsafe.IsNullRef(ref row))
        {
            row = row with { Completion = completion };
            return;
        }

        Complete(session, completion);
    }

    /// <summary>Writes what has gathered.</summary>
    private void Flush()
    {
        foreach (var ((session, _), row) in _rows)
        {
            Write(session, row);
        }

        _rows.Clear();
        using var count = new IndexStatement(connection, "UPDATE sessions SET operations = operations + ?2 WHERE id = ?1");
        foreach (var (session, added) in _counts)
        {
            count.Bind(1, session).Bind(2, added).Run();
        }

        _counts.Clear();
    }

    public void Range(string session, long first, long last, long minAt, long maxAt)
    {
        using var insert = new IndexStatement(connection, "INSERT OR REPLACE INTO ranges VALUES (?1, ?2, ?3, ?4, ?5)");
        insert.Bind(1, session).Bind(2, first).Bind(3, last).Bind(4, minAt).Bind(5, maxAt).Run();
    }

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
        Flush();
        SearchIndex.Execute(connection, "UPDATE state SET indexed_to = $p0", indexedTo);
        _transaction.Commit();
    }

    public void Dispose()
    {
        _insert?.Dispose();
        _complete?.Dispose();
        _transaction.Dispose();
        connection.Dispose();
    }

    private void Write(string session, in Row row)
    {
        _insert ??= new IndexStatement(
            connection,
            "INSERT OR IGNORE INTO operations (session, operation, at, person, name, connection, text, parameters, decision, rules, request, approvers, outcome, rows,"
            + " error_code, duration) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)");
        var operation = row.Operation;
        var completion = row.Completion;
        var inserted = _insert.Bind(1, session).Bind(2, operation.Operation).Bind(3, row.At)
            .Bind(4, row.Session.Person).Bind(5, row.Session.Name).Bind(6, row.Session.Connection)
            .Bind(7, operation.Text).BindList(8, operation.Parameters).Bind(9, operation.Decision).BindList(10, operation.Rules)
            .Bind(11, operation.Request).BindList(12, operation.Approvers)
            .Bind(13, completion?.Outcome).Bind(14, completion?.Rows).Bind(15, completion?.ErrorCode).Bind(16, completion?.DurationMicroseconds).Run();
        if (inserted == 0)
        {
            if (completion is not null)
            {
                Complete(session, completion);
            }

            return;
        }

        CollectionsMarshal.GetValueRefOrAddDefault(_counts, session, out _)++;
        foreach (var person in operation.Approvers.Select(approver => approver.Person).Distinct(StringComparer.Ordinal))
        {
            using var approver = new IndexStatement(
                connection, "INSERT OR IGNORE INTO approvers SELECT ?1, rowid FROM operations WHERE session = ?2 AND operation = ?3");
            approver.Bind(1, person).Bind(2, session).Bind(3, operation.Operation).Run();
        }
    }

    private void Complete(string session, CompletionEntry completion)
    {
        _complete ??= new IndexStatement(
            connection, "UPDATE operations SET outcome = ?3, rows = ?4, error_code = ?5, duration = ?6 WHERE session = ?1 AND operation = ?2");
        _complete.Bind(1, session).Bind(2, completion.Operation).Bind(3, completion.Outcome).Bind(4, completion.Rows).Bind(5, completion.ErrorCode)
            .Bind(6, completion.DurationMicroseconds).Run();
    }

    private readonly record struct Row(long At, OperationEntry Operation, (string Person, string Name, string Connection) Session)
    {
        public CompletionEntry? Completion { get; init; }
    }
}
