using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using Countersign.Recorder.Contracts;

namespace Countersign.Recorder.Search;

/// <summary>What both indexes ask for and how they read it: the columns are the same, only the SQL around them differs.</summary>
internal static class IndexViews
{
    /// <summary>Columns of a session, as <see cref="Session"/> reads them.</summary>
    public const string SessionColumns = "id, person, name, connection, database, client, started_at, ended_at, end_reason, operations";

    /// <summary>Columns of an operation of table <c>o</c>, as <see cref="Operation"/> reads them.</summary>
    public const string OperationColumns =
        "o.session, o.operation, o.at, o.person, o.name, o.connection, o.text, o.parameters, o.decision, o.rules, o.request, o.approvers, o.outcome, o.rows,"
        + " o.error_code, o.duration";

    public static SessionView Session(DbDataReader row) => new(
        row.GetString(0), row.GetString(1), row.GetString(2), row.GetString(3), row.GetString(4), row.GetString(5), Time(row.GetInt64(6)),
        row.IsDBNull(7) ? null : Time(row.GetInt64(7)), Text(row, 8), row.GetInt64(9));

    public static OperationView Operation(DbDataReader row) => new(
        row.GetString(0), row.GetInt64(1), Time(row.GetInt64(2)), row.GetString(3), row.GetString(4), row.GetString(5), row.GetString(6), List<string?>(row, 7),
        row.GetString(8), List<string>(row, 9), Text(row, 10), List<RecordedApprover>(row, 11), Text(row, 12), Number(row, 13), Text(row, 14), Number(row, 15));

    public static string Limit(int limit) => string.Create(CultureInfo.InvariantCulture, $" LIMIT {Math.Clamp(limit, 1, ISearchIndex.MaxLimit)}");

    /// <summary>The operation that a page of operations goes on after.</summary>
    /// <exception cref="FormatException">It isn't <c>session:operation</c>.</exception>
    public static (string Session, long Operation) After(string after)
    {
        var split = after.LastIndexOf(':');
        return split >= 1 && long.TryParse(after.AsSpan(split + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? (after[..split], number)
            : throw new FormatException("after must be session:operation");
    }

    private static DateTimeOffset Time(long microseconds) => DateTimeOffset.UnixEpoch.AddTicks(microseconds * TimeSpan.TicksPerMicrosecond);

    private static string? Text(DbDataReader row, int column) => row.IsDBNull(column) ? null : row.GetString(column);

    private static long? Number(DbDataReader row, int column) => row.IsDBNull(column) ? null : row.GetInt64(column);

    private static List<T> List<T>(DbDataReader row, int column) =>
        row.IsDBNull(column) ? [] : JsonSerializer.Deserialize<List<T>>(row.GetString(column), JsonSerializerOptions.Web) ?? [];
}
