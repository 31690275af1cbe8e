using Countersign.Platform.Postgres;

namespace Countersign.Recorder.Log;

/// <summary>Tables of a log in PostgreSQL (docs/formats/log.md).</summary>
public static class LogSchema
{
    /// <summary>
    /// <c>log_head</c>: one row, that says what the log is; to hold its lock is the turn. <c>log_chunks</c>: the entries, as frames. <c>log_tiles</c> and <c>log_state</c>
    /// only save time. A trigger refuses a head that shrinks, whoever writes it.
    /// </summary>
    public static SchemaComponent Component { get; } = new(
        "log",
        [
            new Migration(1, "log", """
                CREATE TABLE {schema}.log_head (
                  id smallint PRIMARY KEY CHECK (id = 1), origin text NOT NULL, key text NOT NULL, size bigint NOT NULL, root bytea NOT NULL CHECK (octet_length(root) = 32),
                  checkpoint_size bigint NOT NULL, checkpoint text NOT NULL, CHECK (checkpoint_size <= size));
                CREATE FUNCTION {schema}.log_only_grows() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
                BEGIN
                  IF NEW.size < OLD.size OR NEW.checkpoint_size < OLD.checkpoint_size OR NEW.origin <> OLD.origin OR NEW.key <> OLD.key
                    OR (NEW.size = OLD.size AND NEW.root <> OLD.root) OR (NEW.checkpoint_size = OLD.checkpoint_size AND OLD.checkpoint <> '' AND NEW.checkpoint <> OLD.checkpoint) THEN
                    RAISE EXCEPTION 'the log only grows' USING ERRCODE = 'integrity_constraint_violation';
                  END IF;
                  RETURN NEW;
                END $$;
                CREATE TRIGGER log_only_grows BEFORE UPDATE ON {schema}.log_head FOR EACH ROW EXECUTE FUNCTION {schema}.log_only_grows();
                CREATE TABLE {schema}.log_chunks (
                  first bigint PRIMARY KEY, count int NOT NULL CHECK (count > 0), bytes int NOT NULL, newest bigint NOT NULL, is_erased boolean NOT NULL DEFAULT false,
                  frames bytea NOT NULL);
                CREATE INDEX log_chunks_kept ON {schema}.log_chunks (newest) WHERE NOT is_erased;
                ALTER TABLE {schema}.log_chunks ALTER COLUMN frames SET STORAGE EXTERNAL;
                CREATE TABLE {schema}.log_tiles (
                  level smallint NOT NULL, tile bigint NOT NULL, hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192), PRIMARY KEY (level, tile));
                ALTER TABLE {schema}.log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
                CREATE TABLE {schema}.log_state (id smallint PRIMARY KEY CHECK (id = 1), size bigint NOT NULL, state bytea NOT NULL);
                ALTER TABLE {schema}.log_state ALTER COLUMN state SET STORAGE EXTERNAL;
                """),
        ],
        """
        GRANT SELECT, INSERT ON {schema}.log_head TO {role};
        GRANT UPDATE (size, root, checkpoint_size, checkpoint) ON {schema}.log_head TO {role};
        GRANT SELECT, INSERT ON {schema}.log_chunks TO {role};
        GRANT UPDATE (bytes, is_erased, frames) ON {schema}.log_chunks TO {role};
        GRANT SELECT, INSERT, UPDATE ON {schema}.log_tiles, {schema}.log_state TO {role};
        """);
}
