using System.Globalization;
using Countersign.Recorder.Contracts;
using Microsoft.Data.Sqlite;

namespace Countersign.Recorder.Search;

/// <summary>What to look for among sessions. Null means any.</summary>
public sealed record SessionFilter
{
    /// <summary>Person id.</summary>
    public string? Person { get; init; }
    /// <summary>Connection.</summary>
    public string? Connection { get; init; }
    /// <summary>Started at or after.</summary>
    public DateTimeOffset? From { get; init; }
    /// <summary>Started before.</summary>
    public DateTimeOffset? To { get; init; }
    /// <summary>Most results.</summary>
    public int Limit { get; init; } = 100;
    /// <summary>Session id of the last result of the page before.</summary>
    public string? After { get; init; }
}

/// <summary>What to look for among operations. Null means any.</summary>
public sealed record OperationFilter
{
    /// <summary>Person id.</summary>
    public string? Person { get; init; }
    /// <summary>Connection.</summary>
    public string? Connection { get; init; }
    /// <summary>Part of the text, letters of either case.</summary>
    public string? Text { get; init; }
    /// <summary><c>allow</c>, <c>deny</c> or <c>approved</c>.</summary>
    public string? Decision { get; init; }
    /// <summary>Person id of somebody who agreed.</summary>
    public string? Approver { get; init; }
    /// <summary>At or after.</summary>
    public DateTimeOffset? From { get; init; }
    /// <summary>Before.</summary>
    public DateTimeOffset? To { get; init; }
    /// <summary>Most results.</summary>
    public int Limit { get; init; } = 100;
    /// <summary><c>session:operation</c> of the last result of the page before.</summary>
    public string? After { get; init; }
}

/// <summary>
/// The search index of one process, in SQLite; made anew where its schema is another one.
/// </summary>
public sealed class SearchIndex : ISearchIndex
{
    private const int SchemaVersion = 1;
    private readonly string _connectionString;

    private SearchIndex(string path) => _connectionString = new SqliteConnectionStringBuilder { DataSource = path, Pooling = true }.ToString();

    /// <summary>Opens the index, making it where there is none.</summary>
    public static SearchIndex Open(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        var index = new SearchIndex(path);
        using var connection = index.Connect();
        var version = Convert.ToInt32(Scalar(connection, "PRAGMA user_version"), CultureInfo.InvariantCulture);
        if (version != SchemaVersion)
        {
            Execute(connection, "DROP TABLE IF EXISTS state; DROP TABLE IF EXISTS sessions; DROP TABLE IF EXISTS operations; DROP TABLE IF EXISTS approvers; DROP TABLE IF EXISTS ranges;");
            Execute(connection, Schema);
            Execute(connection, string.Create(CultureInfo.InvariantCulture, $"PRAGMA user_version = {SchemaVersion}"));
        }

        return index;
    }

    /// <inheritdoc/>
    public bool IsShared => false;

    /// <inheritdoc/>
    public long IndexedTo
    {
        get
        {
            using var connection = Connect();
            return Convert.ToInt64(Scalar(connection, "SELECT indexed_to FROM state"), CultureInfo.InvariantCulture);
        }
    }

    /// <inheritdoc/>
    public IIndexWriter Begin() => new IndexRows(Connect());

    /// <inheritdoc/>
    public IReadOnlyList<SessionView> FindSessions(SessionFilter filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        using var connection = Connect();
        using var command = connection.CreateCommand();
        var where = new Conditions(command);
        where.Equal("person", filter.Person);
        where.Equal("connection", filter.Connection);
        where.Between("started_at", filter.From, filter.To);
        if (filter.After is { } after)
        {
            where.Add("(started_at, id) < (SELECT started_at, id FROM sessions WHERE id = {0})", after);
        }

        command.CommandText = $"SELECT {IndexViews.SessionColumns} FROM sessions"
            + where + " ORDER BY started_at DESC, id DESC" + IndexViews.Limit(filter.Limit);
        using var reader = command.ExecuteReader();
        var found = new List<SessionView>();
        while (reader.Read())
        {
            found.Add(IndexViews.Session(reader));
        }

        return found;
    }

    /// <inheritdoc/>
    public IReadOnlyList<OperationView> FindOperations(OperationFilter filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        using var connection = Connect();
        using var command = connection.CreateCommand();
        var where = new Conditions(command);
        where.Equal("o.person", filter.Person);
        where.Equal("o.connection", filter.Connection);
        where.Equal("o.decision", filter.Decision);
        where.Between("o.at", filter.From, filter.To);
        if (!string.IsNullOrEmpty(filter.Text))
        {
            where.Add("instr(lower(o.text), lower({0})) > 0", filter.Text);
        }

        if (filter.Approver is { } approver)
        {
            where.Add("o.rowid IN (SELECT operation FROM approvers WHERE person = {0})", approver);
        }

        if (filter.After is { } after)
        {
            var (session, operation) = IndexViews.After(after);
            where.Add("(o.at, o.rowid) < (SELECT at, rowid FROM operations WHERE session = {0} AND operation = {1})", session, operation);
        }

        command.CommandText =
            $"SELECT {IndexViews.OperationColumns} FROM operations o" + where + " ORDER BY o.at DESC, o.rowid DESC" + IndexViews.Limit(filter.Limit);
        using var reader = command.ExecuteReader();
        var found = new List<OperationView>();
        while (reader.Read())
        {
            found.Add(IndexViews.Operation(reader));
        }

        return found;
    }

    /// <inheritdoc/>
    public string? PersonOf(string session)
    {
        using var connection = Connect();
        return Scalar(connection, "SELECT person FROM sessions WHERE id = $p0", session) as string;
    }

    /// <inheritdoc/>
    public IReadOnlySet<string> SessionsOf(string person)
    {
        using var connection = Connect();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT id FROM sessions WHERE person = $p0";
        command.Parameters.AddWithValue("$p0", person);
        using var reader = command.ExecuteReader();
        var ids = new HashSet<string>(StringComparer.Ordinal);
        while (reader.Read())
        {
            ids.Add(reader.GetString(0));
        }

        return ids;
    }

    /// <inheritdoc/>
    public IReadOnlyList<(long First, long Last)> RangesOf(string session)
    {
        using var connection = Connect();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT first, last FROM ranges WHERE session = $p0 ORDER BY first";
        command.Parameters.AddWithValue("$p0", session);
        using var reader = command.ExecuteReader();
        var ranges = new List<(long, long)>();
        while (reader.Read())
        {
            ranges.Add((reader.GetInt64(0), reader.GetInt64(1)));
        }

        return ranges;
    }

    /// <inheritdoc/>
    public (long First, long Last)? RangeOf(DateTimeOffset? from, DateTimeOffset? to)
    {
        using var connection = Connect();
        using var command = connection.CreateCommand();
        var where = new Conditions(command);
        if (from is { } begin)
        {
            where.Add("max_at >= {0}", Microseconds(begin));
        }

        if (to is { } end)
        {
            where.Add("min_at < {0}", Microseconds(end));
        }

        command.CommandText = "SELECT min(first), max(last) FROM ranges" + where;
        using var reader = command.ExecuteReader();
        return reader.Read() && !reader.IsDBNull(0) ? (reader.GetInt64(0), reader.GetInt64(1)) : null;
    }

    /// <inheritdoc/>
    public void Forget(DateTimeOffset before)
    {
        using var connection = Connect();
        using var transaction = connection.BeginTransaction();
        var time = Microseconds(before);
        Execute(connection, "DELETE FROM approvers WHERE operation IN (SELECT rowid FROM operations WHERE at < $p0)", time);
        Execute(connection, "DELETE FROM operations WHERE at < $p0", time);
        Execute(connection, "DELETE FROM sessions WHERE ended_at < $p0", time);
        transaction.Commit();
    }

    internal static long Microseconds(DateTimeOffset time) => (time.UtcTicks - DateTimeOffset.UnixEpoch.Ticks) / TimeSpan.TicksPerMicrosecond;

    internal SqliteConnection Connect()
    {
        var connection = new SqliteConnection(_connectionString);
        connection.Open();
        Execute(connection, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000");
        return connection;
    }

    internal static void Execute(SqliteConnection connection, string sql, params object[] values) => Scalar(connection, sql, values);

    internal static object? Scalar(SqliteConnection connection, string sql, params object[] values)
    {
        using var command = connection.CreateCommand();
#pragma warning disable CA2100 // constants only; values are parameters
        command.CommandText = sql;
#pragma warning restore CA2100
        for (var index = 0; index < values.Length; index++)
        {
            command.Parameters.AddWithValue("$p" + index.ToString(CultureInfo.InvariantCulture), values[index]);
        }

        return command.ExecuteScalar();
    }

    private const string Schema = """
        CREATE TABLE state (indexed_to INTEGER NOT NULL);
        INSERT INTO state VALUES (0);
        CREATE TABLE sessions (
            id TEXT PRIMARY KEY, person TEXT NOT NULL, name TEXT NOT NULL, connection TEXT NOT NULL, database TEXT NOT NULL, client TEXT NOT NULL,
            started_at INTEGER NOT NULL, ended_at INTEGER, end_reason TEXT, operations INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX sessions_started ON sessions (started_at);
        CREATE INDEX sessions_person ON sessions (person);
        CREATE TABLE operations (
            session TEXT NOT NULL, operation INTEGER NOT NULL, at INTEGER NOT NULL, person TEXT NOT NULL, name TEXT NOT NULL, connection TEXT NOT NULL,
            text TEXT NOT NULL, parameters TEXT, decision TEXT NOT NULL, rules TEXT, request TEXT, approvers TEXT, outcome TEXT, rows INTEGER, error_code TEXT,
            duration INTEGER);
        CREATE UNIQUE INDEX operations_key ON operations (session, operation);
        CREATE INDEX operations_at ON operations (at);
        CREATE TABLE approvers (person TEXT NOT NULL, operation INTEGER NOT NULL, PRIMARY KEY (person, operation)) WITHOUT ROWID;
        CREATE TABLE ranges (session TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, min_at INTEGER NOT NULL, max_at INTEGER NOT NULL,
            PRIMARY KEY (session, first)) WITHOUT ROWID;
        CREATE INDEX ranges_at ON ranges (max_at);
        """;

    /// <summary>A WHERE clause of parameters only.</summary>
    private sealed class Conditions(SqliteCommand command)
    {
        private readonly List<string> _conditions = [];

        public void Equal(string column, string? value)
        {
            if (value is not null)
            {
                Add(column + " = {0}", value);
            }
        }

        public void Between(string column, DateTimeOffset? from, DateTimeOffset? to)
        {
            if (from is { } begin)
            {
                Add(column + " >= {0}", Microseconds(begin));
            }

            if (to is { } end)
            {
                Add(column + " < {0}", Microseconds(end));
            }
        }

        public void Add(string condition, params object[] values)
        {
            var names = new object[values.Length];
            for (var index = 0; index < values.Length; index++)
            {
                names[index] = "$f" + command.Parameters.Count.ToString(CultureInfo.InvariantCulture);
                command.Parameters.AddWithValue((string)names[index], values[index]);
            }

            _conditions.Add(string.Format(CultureInfo.InvariantCulture, condition, names));
        }

        public override string ToString() => _conditions.Count == 0 ? "" : " WHERE " + string.Join(" AND ", _conditions);
    }
}
