using System.Globalization;
using Countersign.Platform.Postgres;
using Countersign.Recorder.Contracts;
using Npgsql;

namespace Countersign.Recorder.Search;

/// <summary>The search index in PostgreSQL, which several replicas share: one of them indexes at a time.</summary>
public sealed class PostgresSearchIndex(PostgresDatabase database) : ISearchIndex
{
    /// <inheritdoc/>
    public bool IsShared => true;

    /// <inheritdoc/>
    public long IndexedTo => Query("SELECT indexed_to FROM {0}.search_state WHERE id = 1", [], row => row.GetInt64(0)).Single();

    /// <inheritdoc/>
    public IIndexWriter? Begin() => PostgresIndexWriter.Begin(database);

    /// <inheritdoc/>
    public IReadOnlyList<SessionView> FindSessions(SessionFilter filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        var where = new Conditions();
        where.Equal("person", filter.Person);
        where.Equal("connection", filter.Connection);
        where.Between("started_at", filter.From, filter.To);
        if (filter.After is { } after)
        {
            where.Add("(started_at, id) < (SELECT started_at, id FROM {0}.sessions WHERE id = {1})", after);
        }

        return Query(
            $"SELECT {IndexViews.SessionColumns} FROM {{0}}.sessions"
            + where + " ORDER BY started_at DESC, id DESC" + IndexViews.Limit(filter.Limit),
            where.Values,
            IndexViews.Session);
    }

    /// <inheritdoc/>
    public IReadOnlyList<OperationView> FindOperations(OperationFilter filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        var where = new Conditions();
        where.Equal("o.person", filter.Person);
        where.Equal("o.connection", filter.Connection);
        where.Equal("o.decision", filter.Decision);
        where.Between("o.at", filter.From, filter.To);
        if (!string.IsNullOrEmpty(filter.Text))
        {
            where.Add("strpos(lower(o.text), lower({1})) > 0", filter.Text);
        }

        if (filter.Approver is { } approver)
        {
            where.Add("o.id IN (SELECT operation FROM {0}.approvers WHERE person = {1})", approver);
        }

        if (filter.After is { } after)
        {
            var (session, operation) = IndexViews.After(after);
            where.Add("(o.at, o.id) < (SELECT at, id FROM {0}.operations WHERE session = {1} AND operation = {2})", session, operation);
        }

        return Query(
            $"SELECT {IndexViews.OperationColumns} FROM {{0}}.operations o" + where + " ORDER BY o.at DESC, o.id DESC" + IndexViews.Limit(filter.Limit),
            where.Values,
            IndexViews.Operation);
    }

    /// <inheritdoc/>
    public string? PersonOf(string session) => Query("SELECT person FROM {0}.sessions WHERE id = $1", [Clean(session)], row => row.GetString(0)).SingleOrDefault();

    /// <inheritdoc/>
    public IReadOnlySet<string> SessionsOf(string person) =>
        Query("SELECT id FROM {0}.sessions WHERE person = $1", [Clean(person)], row => row.GetString(0)).ToHashSet(StringComparer.Ordinal);

    /// <inheritdoc/>
    public IReadOnlyList<(long First, long Last)> RangesOf(string session) =>
        Query("SELECT first, last FROM {0}.ranges WHERE session = $1 ORDER BY first", [Clean(session)], row => (row.GetInt64(0), row.GetInt64(1)));

    /// <inheritdoc/>
    public (long First, long Last)? RangeOf(DateTimeOffset? from, DateTimeOffset? to)
    {
        var where = new Conditions();
        if (from is { } begin)
        {
            where.Add("max_at >= {1}", SearchIndex.Microseconds(begin));
        }

        if (to is { } end)
        {
            where.Add("min_at < {1}", SearchIndex.Microseconds(end));
        }

        return Query(
            "SELECT min(first), max(last) FROM {0}.ranges" + where, where.Values,
            row => row.IsDBNull(0) ? ((long, long)?)null : (row.GetInt64(0), row.GetInt64(1))).Single();
    }

    /// <inheritdoc/>
    public void Forget(DateTimeOffset before)
    {
        try
        {
            using var connection = database.Open();
            using var transaction = connection.BeginTransaction();
            foreach (var sql in new[]
            {
                "DELETE FROM {0}.approvers WHERE operation IN (SELECT id FROM {0}.operations WHERE at < $1)", "DELETE FROM {0}.operations WHERE at < $1",
                "DELETE FROM {0}.sessions WHERE ended_at < $1",
            })
            {
#pragma warning disable CA2100 // constants and a quoted name
                using var command = new NpgsqlCommand(sql.Replace("{0}", database.Quoted, StringComparison.Ordinal), connection, transaction);
#pragma warning restore CA2100
                command.Parameters.Add(new NpgsqlParameter<long> { TypedValue = SearchIndex.Microseconds(before) });
                command.ExecuteNonQuery();
            }

            transaction.Commit();
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw database.Unavailable(error);
        }
    }

    private List<T> Query<T>(string sql, IReadOnlyList<object> values, Func<NpgsqlDataReader, T> read)
    {
        try
        {
            using var connection = database.Open();
#pragma warning disable CA2100 // constants and a quoted name; values are parameters
            using var command = new NpgsqlCommand(sql.Replace("{0}", database.Quoted, StringComparison.Ordinal), connection);
#pragma warning restore CA2100
            foreach (var value in values)
            {
                command.Parameters.AddWithValue(value);
            }

            using var row = command.ExecuteReader();
            var found = new List<T>();
            while (row.Read())
            {
                found.Add(read(row));
            }

            return found;
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw database.Unavailable(error);
        }
    }

    // Questions of people: what PostgreSQL can't hold is not in it either.
    private static string Clean(string text) => text.Contains('\0', StringComparison.Ordinal) || text.EnumerateRunes().Any(rune => rune == System.Text.Rune.ReplacementChar) ? "" : text;

    /// <summary>A WHERE clause of parameters only.</summary>
    private sealed class Conditions
    {
        private readonly List<string> _conditions = [];

        public List<object> Values { get; } = [];

        public void Equal(string column, string? value)
        {
            if (value is not null)
            {
                Add(column + " = {1}", value);
            }
        }

        public void Between(string column, DateTimeOffset? from, DateTimeOffset? to)
        {
            if (from is { } begin)
            {
                Add(column + " >= {1}", SearchIndex.Microseconds(begin));
            }

            if (to is { } end)
            {
                Add(column + " < {1}", SearchIndex.Microseconds(end));
            }
        }

        /// <summary>Adds a condition; {1} and following stand for the values.</summary>
        public void Add(string condition, params object[] values)
        {
            for (var index = 0; index < values.Length; index++)
            {
                Values.Add(values[index] is string text ? Clean(text) : values[index]);
                condition = condition.Replace(
                    "{" + (index + 1).ToString(CultureInfo.InvariantCulture) + "}", "$" + Values.Count.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
            }

            _conditions.Add(condition);
        }

        public override string ToString() => _conditions.Count == 0 ? "" : " WHERE " + string.Join(" AND ", _conditions);
    }
}
