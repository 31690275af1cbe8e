namespace Countersign.Proxy.Masking.Tests;

/// <summary>What the tests mask: every masked value begins with <see cref="Marker"/>, in whatever case.</summary>
internal static class Schema
{
    public const string Marker = "Marker";

    public static IReadOnlyList<string> Statements { get; } =
    [
        "CREATE ROLE engineer LOGIN",
        "CREATE TYPE mood AS (label text, level int)",
        """
        CREATE TABLE customers (
          id int PRIMARY KEY, name text NOT NULL, ssn text UNIQUE CHECK (ssn <> 'never'), card varchar(40), n int, doc jsonb, j json, tags text[], feeling mood,
          raw bytea, born date, up text GENERATED ALWAYS AS (upper(ssn)) STORED)
        """,
        """
        INSERT INTO customers SELECT i, 'name ' || i, 'Marker-' || i || '-' || 1000 + i, 'Marker' || i || ' 1234 5678 9' || 100 + i, 700000 + i,
          jsonb_build_object('ssn', 'Marker-' || i), json_build_object('ssn', 'Marker-' || i), ARRAY['Marker-' || i, 'x'], ROW('Marker-' || i, i)::mood,
          convert_to('Marker-' || i, 'UTF8'), date '1990-01-01' + i
        FROM generate_series(1, 5) i
        """,
        "CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, total numeric, note text, at timestamptz DEFAULT '2024-01-01')",
        "INSERT INTO orders SELECT i, 1 + i % 5, i * 1.5, E'line, \"one\"\\n\\ttwo\\\\' || i FROM generate_series(1, 20) i",
        "CREATE TABLE uniq (v text UNIQUE, r text)",
        "INSERT INTO uniq SELECT ssn, 'x' FROM customers",
        "CREATE TABLE child_of_uniq (v text REFERENCES uniq (v))",
        "CREATE TABLE strict (v text NOT NULL, w text CHECK (length(w) < 3))",
        "CREATE TABLE notes (v text)",
        "CREATE VIEW plain_view AS SELECT id, ssn AS number, name FROM customers",
        "CREATE VIEW expression_view AS SELECT id, lower(ssn) || 'x' AS blurred, name || '!' AS title FROM customers",
        "CREATE VIEW view_over_view AS SELECT number AS again, name, id FROM plain_view UNION ALL SELECT blurred, 'b', id FROM expression_view",
        "CREATE VIEW filtered_view AS SELECT id, name FROM customers WHERE ssn LIKE 'Marker-1%'",
        "CREATE MATERIALIZED VIEW copied_view AS SELECT id, ssn, name FROM customers",
        "CREATE VIEW cte_view AS WITH c AS (SELECT ssn AS a, id AS b FROM customers) SELECT x.a AS renamed, x.b FROM c x",
        "CREATE TABLE parted (id int, region text, ssn text) PARTITION BY LIST (region)",
        "CREATE TABLE parted_eu PARTITION OF parted FOR VALUES IN ('eu')",
        "CREATE TABLE parted_us PARTITION OF parted FOR VALUES IN ('us')",
        "INSERT INTO parted VALUES (1, 'eu', 'Marker-eu'), (2, 'us', 'Marker-us')",
        "CREATE TABLE base (id int, ssn text)",
        "INSERT INTO base VALUES (2, 'Marker-base')",
        "CREATE TABLE derived (extra text) INHERITS (base)",
        "INSERT INTO derived VALUES (1, 'Marker-derived', 'e')",
        "CREATE DOMAIN ssn_type AS text",
        "CREATE TABLE domained (id int, ssn ssn_type)",
        "INSERT INTO domained VALUES (1, 'Marker-domain')",
        "CREATE FUNCTION reads_secret() RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM customers WHERE id = 1'",
        "CREATE FUNCTION harmless(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'",
        "CREATE FUNCTION rows_of_secret() RETURNS SETOF customers LANGUAGE sql STABLE AS 'SELECT * FROM customers'",
        "CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RAISE NOTICE 'saw %', (SELECT ssn FROM customers LIMIT 1); RAISE EXCEPTION 'no: %', (SELECT ssn FROM customers LIMIT 1); END $$",
        "CREATE TABLE triggered (v int)",
        "CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION complain()",
        "CREATE EXTENSION IF NOT EXISTS hstore",
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        "CREATE EXTENSION IF NOT EXISTS tablefunc",
        "CREATE EXTENSION IF NOT EXISTS dblink",
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
        "CREATE EXTENSION IF NOT EXISTS pageinspect",
        "CREATE EXTENSION IF NOT EXISTS citext",
        "CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', dbname 'postgres')",
        "CREATE SCHEMA far",
        "CREATE FOREIGN TABLE far.mirror (a int OPTIONS (column_name 'id'), b text OPTIONS (column_name 'ssn')) SERVER itself OPTIONS (schema_name 'public', table_name 'customers')",
        "GRANT USAGE ON SCHEMA far TO engineer",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO engineer",
        "GRANT SELECT ON ALL TABLES IN SCHEMA far TO engineer",
        "GRANT INSERT, UPDATE ON uniq, child_of_uniq, strict, notes, triggered TO engineer",
        "GRANT INSERT, UPDATE, DELETE ON orders TO engineer",
        "GRANT UPDATE (name) ON customers TO engineer",
        "GRANT CREATE, TEMPORARY ON DATABASE postgres TO engineer",
        "GRANT CREATE ON SCHEMA public TO engineer",
        "ANALYZE",
    ];
}
