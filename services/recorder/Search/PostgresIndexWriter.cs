using System.Text.Json;
using Countersign.Platform.Postgres;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Npgsql;
using NpgsqlTypes;

namespace Countersign.Recorder.Search;

/// <summary>Gathers the rows of one piece of the log and writes them by a few statements over arrays.</summary>
internal sealed class PostgresIndexWriter : IIndexWriter
{
    private readonly PostgresDatabase _database;
    private readonly NpgsqlConnection _connection;
    private readonly NpgsqlTransaction _transaction;
    private readonly List<(string Id, string Person, string Name, string Connection, string Database, string Client, long At)> _starts = [];
    private readonly List<(string Id, long At, string? Reason)> _ends = [];
    private readonly List<OperationRow> _operations = [];
    private readonly List<(string Session, long Operation, string Outcome, long? Rows, string? ErrorCode, long? Duration)> _completions = [];
    private readonly List<(string Session, long Operation, string Person)> _approvers = [];
    private readonly List<(string Session, long First, long Last, long MinAt, long MaxAt)> _ranges = [];

    private PostgresIndexWriter(PostgresDatabase database, NpgsqlConnection connection, NpgsqlTransaction transaction, long indexedTo) =>
        (_database, _connection, _transaction, IndexedTo) = (database, connection, transaction, indexedTo);

    public long IndexedTo { get; }

    /// <summary>Begins; null where another replica is at it.</summary>
    public static PostgresIndexWriter? Begin(PostgresDatabase database)
    {
        var connection = database.Open();
        NpgsqlTransaction? transaction = null;
        try
        {
            transaction = connection.BeginTransaction();
            using var command = new NpgsqlCommand($"SELECT indexed_to FROM {database.Quoted}.search_state WHERE id = 1 FOR UPDATE SKIP LOCKED", connection, transaction);
            if (command.ExecuteScalar() is long indexedTo)
            {
                return new PostgresIndexWriter(database, connection, transaction, indexedTo);
            }

            transaction.Dispose();
            connection.Dispose();
            return null;
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            transaction?.Dispose();
            connection.Dispose();
            throw database.Unavailable(error);
        }
    }

    public void Start(Entry entry, SessionStartEntry start) => _starts.Add(
        (entry.Session, Clean(start.Person), Clean(start.Name), Clean(start.Connection), Clean(start.Database), Clean(start.Client), entry.TimeMicroseconds));

    public void End(Entry entry, SessionEndEntry end) => _ends.Add((entry.Session, entry.TimeMicroseconds, Clean(end.Reason)));

    public void Operation(Entry entry, OperationEntry operation, (string Person, string Name, string Connection) session)
    {
        _operations.Add(new OperationRow(
            entry.Session, operation.Operation, entry.TimeMicroseconds, Clean(session.Person), Clean(session.Name), Clean(session.Connection), Clean(operation.Text),
            Json(operation.Parameters), Clean(operation.Decision), Json(operation.Rules), operation.Request is { } request ? Clean(request) : null, Json(operation.Approvers)));
        foreach (var person in operation.Approvers.Select(approver => approver.Person).Distinct(StringComparer.Ordinal))
        {
            _approvers.Add((entry.Session, operation.Operation, Clean(person)));
        }
    }

    public void Completion(string session, CompletionEntry completion) => _completions.Add(
        (session, completion.Operation, Clean(completion.Outcome), completion.Rows, completion.ErrorCode is { } code ? Clean(code) : null, completion.DurationMicroseconds));

    public void Range(string session, long first, long last, long minAt, long maxAt) => _ranges.Add((session, first, last, minAt, maxAt));

    public (string Person, string Name, string Connection) FindSession(string session)
    {
        try
        {
            using var command = new NpgsqlCommand($"SELECT person, name, connection FROM {_database.Quoted}.sessions WHERE id = $1", _connection, _transaction);
            command.Parameters.Add(new NpgsqlParameter<string> { TypedValue = session });
            using var row = command.ExecuteReader();
            return row.Read() ? (row.GetString(0), row.GetString(1), row.GetString(2)) : ("", "", "");
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw _database.Unavailable(error);
        }
    }

    public void Commit(long indexedTo)
    {
        try
        {
            Write();
            Run("UPDATE {0}.search_state SET indexed_to = $1 WHERE id = 1", new NpgsqlParameter<long> { TypedValue = indexedTo });
            _transaction.Commit();
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw _database.Unavailable(error);
        }
    }

    public void Dispose()
    {
        _transaction.Dispose();
        _connection.Dispose();
    }

    private void Write()
    {
        if (_starts.Count > 0)
        {
            Run(
                "INSERT INTO {0}.sessions SELECT *, NULL, NULL, 0 FROM unnest($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
                Texts(_starts, row => row.Id), Texts(_starts, row => row.Person), Texts(_starts, row => row.Name), Texts(_starts, row => row.Connection),
                Texts(_starts, row => row.Database), Texts(_starts, row => row.Client), Numbers(_starts, row => row.At));
        }

        if (_operations.Count > 0)
        {
            WriteOperations();
        }

        if (_approvers.Count > 0)
        {
            Run(
                "INSERT INTO {0}.approvers SELECT given.person, o.id FROM unnest($1, $2, $3) AS given (session, operation, person)"
                + " JOIN {0}.operations o ON o.session = given.session AND o.operation = given.operation ON CONFLICT DO NOTHING",
                Texts(_approvers, row => row.Session), Numbers(_approvers, row => row.Operation), Texts(_approvers, row => row.Person));
        }

        if (_completions.Count > 0)
        {
            Run(
                "UPDATE {0}.operations o SET outcome = given.outcome, rows = given.rows, error_code = given.error_code, duration = given.duration"
                + " FROM unnest($1, $2, $3, $4, $5, $6) AS given (session, operation, outcome, rows, error_code, duration)"
                + " WHERE o.session = given.session AND o.operation = given.operation",
                Texts(_completions, row => row.Session), Numbers(_completions, row => row.Operation), Texts(_completions, row => row.Outcome),
                Numbers(_completions, row => row.Rows), Texts(_completions, row => row.ErrorCode), Numbers(_completions, row => row.Duration));
        }

        if (_ends.Count > 0)
        {
            Run(
                "UPDATE {0}.sessions s SET ended_at = given.at, end_reason = given.reason FROM unnest($1, $2, $3) AS given (id, at, reason) WHERE s.id = given.id",
                Texts(_ends, row => row.Id), Numbers(_ends, row => row.At), Texts(_ends, row => row.Reason));
        }

        if (_ranges.Count > 0)
        {
            Run(
                "INSERT INTO {0}.ranges SELECT * FROM unnest($1, $2, $3, $4, $5)"
                + " ON CONFLICT (session, first) DO UPDATE SET last = excluded.last, min_at = excluded.min_at, max_at = excluded.max_at",
                Texts(_ranges, row => row.Session), Numbers(_ranges, row => row.First), Numbers(_ranges, row => row.Last), Numbers(_ranges, row => row.MinAt), Numbers(_ranges, row => row.MaxAt));
        }
    }

    private void WriteOperations() => Run(
        "WITH added AS (INSERT INTO {0}.operations (session, operation, at, person, name, connection, text, parameters, decision, rules, request, approvers)"
        + " SELECT session, operation, at, person, name, connection, text, parameters, decision, rules, request, approvers"
        + " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) WITH ORDINALITY"
        + " AS given (session, operation, at, person, name, connection, text, parameters, decision, rules, request, approvers, number) ORDER BY number"
        + " ON CONFLICT (session, operation) DO NOTHING RETURNING session)"
        + " UPDATE {0}.sessions s SET operations = s.operations + more.count FROM (SELECT session, count(*) AS count FROM added GROUP BY session) more WHERE s.id = more.session",
        Texts(_operations, row => row.Session), Numbers(_operations, row => row.Operation), Numbers(_operations, row => row.At), Texts(_operations, row => row.Person),
        Texts(_operations, row => row.Name), Texts(_operations, row => row.Connection), Texts(_operations, row => row.Text), Texts(_operations, row => row.Parameters),
        Texts(_operations, row => row.Decision), Texts(_operations, row => row.Rules), Texts(_operations, row => row.Request), Texts(_operations, row => row.Approvers));

    private void Run(string sql, params NpgsqlParameter[] parameters)
    {
#pragma warning disable CA2100 // constants of this class and a quoted name
        using var command = new NpgsqlCommand(sql.Replace("{0}", _database.Quoted, StringComparison.Ordinal), _connection, _transaction);
#pragma warning restore CA2100
        command.Parameters.AddRange(parameters);
        command.ExecuteNonQuery();
    }

    private static NpgsqlParameter Texts<T>(List<T> rows, Func<T, string?> column) =>
        new() { Value = rows.Select(column).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Text };

    private static NpgsqlParameter Numbers<T>(List<T> rows, Func<T, long?> column) =>
        new() { Value = rows.Select(column).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Bigint };

    private static string? Json<T>(IReadOnlyList<T> list) => list.Count == 0 ? null : JsonSerializer.Serialize(list, JsonSerializerOptions.Web);

    /// <summary>A text as PostgreSQL can keep it: without NUL and lone surrogates. The log has it as it was.</summary>
    private static string Clean(string text)
    {
        if (text is null)
        {
            return "";
        }

        if (!text.AsSpan().ContainsAny('\0', '\uFFFD') && !text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF'))
        {
            return text;
        }

        var clean = new System.Text.StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            clean.Append(rune.Value == 0 ? "\uFFFD" : rune.ToString());
        }

        return clean.ToString();
    }

    private sealed record OperationRow(
        string Session, long Operation, long At, string Person, string Name, string Connection, string Text, string? Parameters, string Decision, string? Rules,
        string? Request, string? Approvers);
}
