using Countersign.Platform.Ports;
using Microsoft.Data.Sqlite;

namespace Countersign.Platform.Embedded;

/// <summary>
/// Events of some topics on disk until every subscription has handled them: what was published when a process died is delivered by the next one.
/// Synchronous; a write costs an fsync.
/// </summary>
public sealed class EventJournal : IDisposable
{
    private const string Schema = """
        CREATE TABLE IF NOT EXISTS events (
          sequence INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, data BLOB NOT NULL);
        CREATE TABLE IF NOT EXISTS deliveries (
          subscription TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (subscription, sequence)) WITHOUT ROWID;
        """;

    private readonly Lock _gate = new();
    private readonly SqliteConnection _connection;

    /// <summary>Opens or makes the file.</summary>
    /// <param name="path">Path of the database file.</param>
    /// <param name="topics">Topics that are kept.</param>
    /// <exception cref="PortUnavailableException">It can't be opened.</exception>
    public EventJournal(string path, params string[] topics)
    {
        Topics = topics;
        try
        {
            _connection = DurableSqlite.Open(path);
            DurableSqlite.Execute(_connection, Schema);
        }
        catch (Exception error) when (error is SqliteException or IOException or UnauthorizedAccessException)
        {
            _connection?.Dispose();
            throw new PortUnavailableException($"event journal {path} can't be opened", error);
        }
    }

    /// <summary>Topics that are kept.</summary>
    public IReadOnlyCollection<string> Topics { get; }

    /// <inheritdoc/>
    public void Dispose() => _connection.Dispose();

    /// <summary>Keeps an event for some subscriptions; durable when it returns.</summary>
    internal long Append(BusEvent published, IEnumerable<string> subscriptions) => Guarded(() =>
    {
        using var transaction = _connection.BeginTransaction(deferred: false);
        using var insert = Command(
            "INSERT INTO events (topic, id, type, data) VALUES ($topic, $id, $type, $data) RETURNING sequence", transaction,
            ("$topic", published.Topic), ("$id", published.Id), ("$type", published.Type), ("$data", published.Data.ToArray()));
        var sequence = (long)insert.ExecuteScalar()!;
        foreach (var subscription in subscriptions)
        {
            using var delivery = Command(
                "INSERT INTO deliveries VALUES ($subscription, $sequence)", transaction, ("$subscription", subscription), ("$sequence", sequence));
            delivery.ExecuteNonQuery();
        }

        transaction.Commit();
        return sequence;
    });

    /// <summary>Forgets one delivery, and the event with its last.</summary>
    internal void Delivered(long sequence, string subscription) => Guarded(() =>
    {
        using var transaction = _connection.BeginTransaction(deferred: false);
        using var delivery = Command(
            "DELETE FROM deliveries WHERE subscription = $subscription AND sequence = $sequence", transaction,
            ("$subscription", subscription), ("$sequence", sequence));
        delivery.ExecuteNonQuery();
        using var last = Command(
            "DELETE FROM events WHERE sequence = $sequence AND NOT EXISTS (SELECT 1 FROM deliveries WHERE sequence = $sequence)", transaction,
            ("$sequence", sequence));
        last.ExecuteNonQuery();
        transaction.Commit();
        return 0;
    });

    /// <summary>What an earlier process left for a subscription, oldest first.</summary>
    internal IReadOnlyList<(long Sequence, BusEvent Event)> LeftOver(string subscription) => Guarded(() =>
    {
        var left = new List<(long, BusEvent)>();
        using var command = Command(
            "SELECT sequence, topic, id, type, data FROM deliveries JOIN events USING (sequence) WHERE subscription = $subscription ORDER BY sequence", null,
            ("$subscription", subscription));
        using var row = command.ExecuteReader();
        while (row.Read())
        {
            left.Add((row.GetInt64(0), new BusEvent(row.GetString(1), row.GetString(2), row.GetString(3), row.GetFieldValue<byte[]>(4))));
        }

        return left;
    });

    private T Guarded<T>(Func<T> action)
    {
        try
        {
            lock (_gate)
            {
                return action();
            }
        }
        catch (SqliteException error)
        {
            throw new PortUnavailableException("the event journal failed", error);
        }
    }

    private SqliteCommand Command(string sql, SqliteTransaction? transaction, params (string Name, object Value)[] parameters)
    {
        var command = _connection.CreateCommand();
        command.Transaction = transaction;
#pragma warning disable CA2100 // constants of this file only
        command.CommandText = sql;
#pragma warning restore CA2100
        foreach (var (name, value) in parameters)
        {
            command.Parameters.AddWithValue(name, value);
        }

        return command;
    }
}
