using Countersign.Platform.Postgres;
using Countersign.Recorder.Format;
using Npgsql;
using NpgsqlTypes;

namespace Countersign.Recorder.Log;

/// <summary>
/// Tiles in a table. Gathered in memory until a snapshot wants them durable: what is not yet written is at most what a start reads again. Bundles and unfinished tiles
/// are for static web servers, and not kept here.
/// </summary>
internal sealed class PostgresTiles(PostgresDatabase database) : ITileStorage
{
    private const int TilesAtOnce = 64;
    private readonly Lock _gate = new();
    private readonly Dictionary<(int Level, long Tile), byte[]> _unwritten = [];

    public byte[]? Read(int level, long tile)
    {
        lock (_gate)
        {
            if (_unwritten.TryGetValue((level, tile), out var hashes))
            {
                return hashes;
            }
        }

        try
        {
            using var connection = database.Open();
            using var command = new NpgsqlCommand($"SELECT hashes FROM {database.Quoted}.log_tiles WHERE level = $1 AND tile = $2", connection);
            command.Parameters.Add(new NpgsqlParameter<short> { TypedValue = (short)level });
            command.Parameters.Add(new NpgsqlParameter<long> { TypedValue = tile });
            return command.ExecuteScalar() as byte[];
        }
        catch (Exception error) when (PostgresDatabase.IsFailure(error))
        {
            throw database.Unavailable(error);
        }
    }

    public void Write(int level, long tile, ReadOnlySpan<byte> hashes)
    {
        lock (_gate)
        {
            _unwritten[(level, tile)] = hashes.ToArray();
        }
    }

    public void WriteBundle(long tile, ReadOnlySpan<byte> bundle)
    {
    }

    public void WritePartial(int level, long tile, int width, ReadOnlySpan<byte> hashes)
    {
    }

    public void WritePartialBundle(long tile, int width, ReadOnlySpan<byte> bundle)
    {
    }

    public void Sync()
    {
        KeyValuePair<(int Level, long Tile), byte[]>[] tiles;
        lock (_gate)
        {
            tiles = [.. _unwritten];
        }

        using var connection = database.Open();
        foreach (var some in tiles.Chunk(TilesAtOnce))
        {
            // One that is there already was written by another replica, or is a wrong one, which made this start read the entries.
            using var command = new NpgsqlCommand($"""
                INSERT INTO {database.Quoted}.log_tiles (level, tile, hashes) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
                ON CONFLICT (level, tile) DO UPDATE SET hashes = excluded.hashes WHERE log_tiles.hashes <> excluded.hashes
                """, connection);
            command.Parameters.Add(new NpgsqlParameter { Value = some.Select(tile => (short)tile.Key.Level).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Smallint });
            command.Parameters.Add(new NpgsqlParameter { Value = some.Select(tile => tile.Key.Tile).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Bigint });
            command.Parameters.Add(new NpgsqlParameter { Value = some.Select(tile => tile.Value).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Bytea });
            command.ExecuteNonQuery();
        }

        lock (_gate)
        {
            foreach (var (key, hashes) in tiles)
            {
                if (_unwritten.TryGetValue(key, out var now) && ReferenceEquals(now, hashes))
                {
                    _unwritten.Remove(key);
                }
            }
        }
    }

    /// <summary>Forgets what was never written: it may belong to entries that were not committed.</summary>
    public void Forget()
    {
        lock (_gate)
        {
            _unwritten.Clear();
        }
    }
}
