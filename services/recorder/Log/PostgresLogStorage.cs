using System.Buffers;
using Countersign.Platform.Ports;
using Countersign.Platform.Postgres;
using Countersign.Recorder.Format;
using Npgsql;
using NpgsqlTypes;

namespace Countersign.Recorder.Log;

/// <summary>
/// A log in PostgreSQL that several replicas share. A turn is a transaction that holds the lock of the one row of <c>log_head</c>; entries and the new head are
/// committed by it or not at all, and the head is only moved from exactly the one that the turn began with. So a replica that was stopped, cut off or given up by the
/// server in the middle of its turn can't append behind what others did meanwhile: its transaction is gone, and with it all it had appended.
/// </summary>
internal sealed class PostgresLogStorage : ILogStorage
{
    private const int ChunkEntries = 1024;
    private const int ChunkBytes = 256 * 1024;
    private const int ErasedAtOnce = 16;
    private readonly PostgresDatabase _database;
    private readonly NoteVerifier _verifier;
    private readonly PostgresTiles _tiles;
    private readonly List<Chunk> _chunks = [];
    private NpgsqlConnection? _connection;
    private NpgsqlTransaction? _turn;

    public PostgresLogStorage(PostgresDatabase database, NoteVerifier verifier)
    {
        (_database, _verifier) = (database, verifier);
        _tiles = new PostgresTiles(database);
    }

    public bool IsShared => true;

    public ITileStorage Tiles => _tiles;

    /// <summary>The server's process of the turn.</summary>
    public int Backend => _connection?.ProcessID ?? 0;

    private string Head => $"SELECT size, root, checkpoint FROM {_database.Quoted}.log_head WHERE id = 1";

    public StoredHead Open() => Do(() =>
    {
        Close();
        _tiles.Forget();
        _connection = _database.Open();
        using (var begin = new NpgsqlCommand(
            $"INSERT INTO {_database.Quoted}.log_head VALUES (1, $1, $2, 0, $3, 0, '') ON CONFLICT (id) DO NOTHING", _connection))
        {
            begin.Parameters.Add(new NpgsqlParameter<string> { TypedValue = _verifier.Name });
            begin.Parameters.Add(new NpgsqlParameter<string> { TypedValue = _verifier.ToString() });
            begin.Parameters.Add(new NpgsqlParameter<byte[]> { TypedValue = Merkle.EmptyRoot.ToArray() });
            begin.ExecuteNonQuery();
        }

        using (var command = new NpgsqlCommand($"SELECT key FROM {_database.Quoted}.log_head WHERE id = 1", _connection))
        {
            // Two keys over one log would be two logs.
            if (command.ExecuteScalar() is not string key || key != _verifier.ToString())
            {
                throw new LogFailedException("the database has the log of another key: all replicas must have the same one");
            }
        }

        return ReadHead(Head);
    });

    public StoredHead Look() => Do(() => ReadHead(Head));

    public byte[]? ReadState() => Do(() =>
    {
        using var command = new NpgsqlCommand($"SELECT state FROM {_database.Quoted}.log_state WHERE id = 1", _connection);
        return command.ExecuteScalar() as byte[];
    });

    public StoredHead Begin() => Do(() =>
    {
        _chunks.Clear();
        _turn = _connection!.BeginTransaction();
        return ReadHead(Head + " FOR UPDATE");
    });

    public void End() => Do(() =>
    {
        _chunks.Clear();
        _turn?.Rollback();
        _turn?.Dispose();
        _turn = null;
        return true;
    });

    public void Append(ReadOnlyMemory<byte> frames, IReadOnlyList<int> lengths, IReadOnlyList<Entry> entries)
    {
        var begin = 0;
        var offset = 0;
        while (begin < entries.Count)
        {
            var (end, bytes, newest) = (begin, 0, long.MinValue);
            while (end < entries.Count && end - begin < ChunkEntries && (end == begin || bytes + lengths[end] <= ChunkBytes))
            {
                newest = Math.Max(newest, entries[end].TimeMicroseconds);
                bytes += lengths[end++];
            }

            _chunks.Add(new Chunk(end - begin, newest, frames.Slice(offset, bytes)));
            (begin, offset) = (end, offset + bytes);
        }
    }

    public void Commit(StoredHead before, long size, in Hash256 root)
    {
        var next = root;
        Do(() =>
        {
            using var batch = new NpgsqlBatch(_connection, _turn);
            var first = before.Size;
            foreach (var chunk in _chunks)
            {
                var insert = new NpgsqlBatchCommand($"INSERT INTO {_database.Quoted}.log_chunks (first, count, bytes, newest, frames) VALUES ($1, $2, $3, $4, $5)");
                insert.Parameters.Add(new NpgsqlParameter<long> { TypedValue = first });
                insert.Parameters.Add(new NpgsqlParameter<int> { TypedValue = chunk.Count });
                insert.Parameters.Add(new NpgsqlParameter<int> { TypedValue = chunk.Frames.Length });
                insert.Parameters.Add(new NpgsqlParameter<long> { TypedValue = chunk.Newest });
                insert.Parameters.Add(new NpgsqlParameter<ReadOnlyMemory<byte>> { TypedValue = chunk.Frames, NpgsqlDbType = NpgsqlDbType.Bytea });
                batch.BatchCommands.Add(insert);
                first += chunk.Count;
            }

            var move = new NpgsqlBatchCommand($"UPDATE {_database.Quoted}.log_head SET size = $1, root = $2 WHERE id = 1 AND size = $3 AND root = $4");
            move.Parameters.Add(new NpgsqlParameter<long> { TypedValue = size });
            move.Parameters.Add(new NpgsqlParameter<byte[]> { TypedValue = next.ToArray() });
            move.Parameters.Add(new NpgsqlParameter<long> { TypedValue = before.Size });
            move.Parameters.Add(new NpgsqlParameter<byte[]> { TypedValue = before.Root!.Value.ToArray() });
            batch.BatchCommands.Add(move);
            batch.ExecuteNonQuery();
            if (move.RecordsAffected != 1 || first != size)
            {
                throw new LogFailedException("somebody else has moved the log's head in this turn");
            }

            CommitTurn();
            return true;
        });
    }

    public void SaveCheckpoint(string note, Checkpoint checkpoint) => Do(() =>
    {
        using var command = new NpgsqlCommand(
            $"UPDATE {_database.Quoted}.log_head SET checkpoint_size = $1, checkpoint = $2 WHERE id = 1 AND size = $1 AND root = $3 AND (checkpoint = '' OR checkpoint_size < $1)",
            _connection, _turn);
        command.Parameters.Add(new NpgsqlParameter<long> { TypedValue = checkpoint.Size });
        command.Parameters.Add(new NpgsqlParameter<string> { TypedValue = note });
        command.Parameters.Add(new NpgsqlParameter<byte[]> { TypedValue = checkpoint.Root.ToArray() });
        if (command.ExecuteNonQuery() != 1)
        {
            throw new LogFailedException("the log's head is not the one that was signed");
        }

        CommitTurn();
        return true;
    });

    public void SaveState(byte[] state, long size) => Do(() =>
    {
        _tiles.Sync();
        using var command = new NpgsqlCommand($"""
            INSERT INTO {_database.Quoted}.log_state AS known (id, size, state) VALUES (1, $1, $2)
            ON CONFLICT (id) DO UPDATE SET size = excluded.size, state = excluded.state WHERE known.size < excluded.size
            """, _connection);
        command.Parameters.Add(new NpgsqlParameter<long> { TypedValue = size });
        command.Parameters.Add(new NpgsqlParameter<byte[]> { TypedValue = state });
        command.ExecuteNonQuery();
        return true;
    });

    public IReadOnlyList<Entry> Read(long from, int maxEntries, int maxBytes)
    {
        var found = new List<Entry>();
        try
        {
            using var connection = _database.Open();
            using var command = new NpgsqlCommand($"""
                SELECT first, frames FROM (
                  SELECT first, frames, sum(bytes) OVER (ORDER BY first) - bytes AS before FROM {_database.Quoted}.log_chunks
                  WHERE first >= coalesce((SELECT max(first) FROM {_database.Quoted}.log_chunks WHERE first <= $1), 0) AND first < $2 ORDER BY first LIMIT 1024) AS part
                WHERE before < $3 ORDER BY first
                """, connection);
            command.Parameters.Add(new NpgsqlParameter<long> { TypedValue = from });
            command.Parameters.Add(new NpgsqlParameter<long> { TypedValue = from + maxEntries });
            command.Parameters.Add(new NpgsqlParameter<long> { TypedValue = maxBytes });
            using var row = command.ExecuteReader();
            long? next = null;
            while (row.Read())
            {
                var index = row.GetInt64(0);
                if (index > (next ?? from) || (next is { } must && index != must))
                {
                    throw new LogFailedException($"the log has lost entry {next ?? from}");
                }

                foreach (var entry in EntryFrame.ReadAll(row.GetFieldValue<byte[]>(1)))
                {
                    if (index++ >= from && found.Count < maxEntries)
                    {
                        found.Add(entry);
                    }
                }

                next = index;
            }

            return found;
        }
        catch (EntryFormatException error)
        {
            throw new LogFailedException($"the log is damaged behind entry {from}", error);
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw _database.Unavailable(error);
        }
    }

    public long Erase(DateTimeOffset before)
    {
        try
        {
            using var connection = _database.Open();
            long erased = 0;
            while (EraseSome(connection, (before.UtcTicks - DateTimeOffset.UnixEpoch.Ticks) / TimeSpan.TicksPerMicrosecond) is { } some)
            {
                erased += some;
            }

            return erased;
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw _database.Unavailable(error);
        }
    }

    public void Dispose() => Close();

    // Hashes stay: the frames are replaced by such as hold header and commitment only. Two replicas share the work.
    private long? EraseSome(NpgsqlConnection connection, long before)
    {
        using var transaction = connection.BeginTransaction();
        var chunks = new List<(long First, byte[] Frames)>();
        using (var select = new NpgsqlCommand(
            $"SELECT first, frames FROM {_database.Quoted}.log_chunks WHERE NOT is_erased AND newest < $1 ORDER BY first LIMIT {ErasedAtOnce} FOR UPDATE SKIP LOCKED", connection, transaction))
        {
            select.Parameters.Add(new NpgsqlParameter<long> { TypedValue = before });
            using var row = select.ExecuteReader();
            while (row.Read())
            {
                chunks.Add((row.GetInt64(0), row.GetFieldValue<byte[]>(1)));
            }
        }

        if (chunks.Count == 0)
        {
            return null;
        }

        long erased = 0;
        foreach (var (first, frames) in chunks)
        {
            var kept = new ArrayBufferWriter<byte>(frames.Length);
            foreach (var entry in EntryFrame.ReadAll(frames))
            {
                var left = entry.Type == EntryType.Seal || entry.IsErased ? entry : entry.Erase();
                erased += ReferenceEquals(left, entry) ? 0 : 1;
                EntryFrame.Write(kept, left);
            }

            using var update = new NpgsqlCommand($"UPDATE {_database.Quoted}.log_chunks SET frames = $2, bytes = $3, is_erased = true WHERE first = $1", connection, transaction);
            update.Parameters.Add(new NpgsqlParameter<long> { TypedValue = first });
            update.Parameters.Add(new NpgsqlParameter<ReadOnlyMemory<byte>> { TypedValue = kept.WrittenMemory, NpgsqlDbType = NpgsqlDbType.Bytea });
            update.Parameters.Add(new NpgsqlParameter<int> { TypedValue = kept.WrittenCount });
            update.ExecuteNonQuery();
        }

        transaction.Commit();
        return erased;
    }

    private StoredHead ReadHead(string sql)
    {
#pragma warning disable CA2100 // constants of this class and a quoted name
        using var command = new NpgsqlCommand(sql, _connection, _turn);
#pragma warning restore CA2100
        using var row = command.ExecuteReader();
        return row.Read()
            ? new StoredHead(row.GetInt64(0), Hash256.From(row.GetFieldValue<byte[]>(1)), row.GetString(2))
            : throw new LogFailedException("the log's head is gone: the database was emptied");
    }

    private void CommitTurn()
    {
        _turn!.Commit();
        _turn.Dispose();
        _turn = null;
        _chunks.Clear();
    }

    private T Do<T>(Func<T> work)
    {
        try
        {
            return work();
        }
        catch (PostgresException error) when (error.SqlState is "23000" or PostgresErrorCodes.UniqueViolation)
        {
            throw new LogFailedException("the database refuses what would fork the log", error);
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error) || error is InvalidOperationException)
        {
            throw _database.Unavailable(error);
        }
    }

    private void Close()
    {
        try
        {
            _turn?.Dispose();
            _connection?.Dispose();
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error) || error is PortUnavailableException or InvalidOperationException)
        {
            // It was broken already.
        }

        (_turn, _connection) = (null, null);
    }

    /// <summary>Entries that become one row.</summary>
    private readonly record struct Chunk(int Count, long Newest, ReadOnlyMemory<byte> Frames);
}
