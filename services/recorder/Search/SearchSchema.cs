using Countersign.Platform.Postgres;

namespace Countersign.Recorder.Search;

/// <summary>Tables of the search index in PostgreSQL. To make it again: <c>TRUNCATE</c> them and set <c>search_state.indexed_to</c> to 0.</summary>
public static class SearchSchema
{
    /// <summary>The tables.</summary>
    public static SchemaComponent Component { get; } = new(
        "search",
        [
            new Migration(1, "search", """
                CREATE TABLE {schema}.search_state (id smallint PRIMARY KEY CHECK (id = 1), indexed_to bigint NOT NULL);
                INSERT INTO {schema}.search_state VALUES (1, 0);
                CREATE TABLE {schema}.sessions (
                  id text COLLATE "C" PRIMARY KEY, person text COLLATE "C" NOT NULL, name text NOT NULL, connection text COLLATE "C" NOT NULL, database text NOT NULL,
                  client text NOT NULL, started_at bigint NOT NULL, ended_at bigint, end_reason text, operations bigint NOT NULL);
                CREATE INDEX sessions_started ON {schema}.sessions (started_at, id);
                CREATE INDEX sessions_person ON {schema}.sessions (person);
                CREATE TABLE {schema}.operations (
                  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, session text COLLATE "C" NOT NULL, operation bigint NOT NULL, at bigint NOT NULL,
                  person text COLLATE "C" NOT NULL, name text NOT NULL, connection text COLLATE "C" NOT NULL, text text NOT NULL, parameters text, decision text NOT NULL,
                  rules text, request text, approvers text, outcome text, rows bigint, error_code text, duration bigint, UNIQUE (session, operation));
                CREATE INDEX operations_at ON {schema}.operations (at, id);
                CREATE TABLE {schema}.approvers (person text COLLATE "C" NOT NULL, operation bigint NOT NULL, PRIMARY KEY (person, operation));
                CREATE TABLE {schema}.ranges (
                  session text COLLATE "C" NOT NULL, first bigint NOT NULL, last bigint NOT NULL, min_at bigint NOT NULL, max_at bigint NOT NULL, PRIMARY KEY (session, first));
                CREATE INDEX ranges_at ON {schema}.ranges (max_at);
                """),
        ],
        """
        GRANT SELECT, UPDATE ON {schema}.search_state TO {role};
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.sessions, {schema}.operations, {schema}.approvers, {schema}.ranges TO {role};
        """);
}
