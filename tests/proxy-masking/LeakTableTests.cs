using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Postgres.Rows;

namespace Countersign.Proxy.Masking.Tests;

/// <summary>
/// Every known way by which a value of a masked column shows: rows, COPY, errors, notices, settings, notifications. Each statement runs at a real server;
/// what that sends goes through the masker. The first list says that the server does show the value, so that a case can fail.
/// </summary>
[Collection("postgres")]
[Trait("group", "postgres")]
public sealed class LeakTableTests(PostgresServer server)
{
    /// <summary>The server shows the marker; the client must not see it. Reading statements that stay allowed.</summary>
    public static TheoryData<string> Shown { get; } =
    [
        // By origin.
        "SELECT ssn FROM customers",
        "SELECT ssn AS other, id FROM customers",
        "SELECT (ssn), ssn::text FROM customers",
        "SELECT * FROM customers",
        "TABLE customers",
        "SELECT c.* FROM customers c",
        "SELECT x.a FROM (SELECT ssn FROM customers) AS x(a)",
        "SELECT l.s FROM customers c, LATERAL (SELECT c.ssn AS s) l",
        "WITH c AS (SELECT ssn FROM customers) SELECT * FROM c",
        "WITH c AS MATERIALIZED (SELECT ssn FROM customers) SELECT ssn FROM c",
        "SELECT * FROM customers c(a, b, d)",
        "SELECT c.ssn, o.total FROM customers c JOIN orders o ON o.customer = c.id",
        "SELECT * FROM customers JOIN orders USING (id)",
        "SELECT (c).ssn FROM customers c",
        "SELECT ssn FROM customers TABLESAMPLE bernoulli (100)",
        "SELECT up FROM customers",
        "SELECT doc, j, tags, feeling FROM customers",
        // Views, partitions, children, domains.
        "SELECT * FROM plain_view",
        "SELECT blurred FROM expression_view",
        "SELECT * FROM view_over_view",
        "SELECT * FROM copied_view",
        "SELECT renamed FROM cte_view",
        "SELECT * FROM parted",
        "SELECT ssn FROM parted_eu",
        "SELECT * FROM base",
        "SELECT * FROM derived",
        "SELECT ssn FROM domained",
        // By expression.
        "SELECT ssn FROM customers UNION ALL SELECT 'x'",
        "WITH RECURSIVE r(s, i) AS (SELECT ssn, 1 FROM customers UNION ALL SELECT s, i + 1 FROM r WHERE i < 2) SELECT s FROM r",
        "SELECT (SELECT ssn FROM customers LIMIT 1)",
        "SELECT ssn::varchar(20) FROM customers",
        "SELECT ssn COLLATE \"C\" FROM customers",
        "SELECT max(ssn) FROM customers",
        "SELECT first_value(ssn) OVER () FROM customers",
        "SELECT ARRAY[ssn] FROM customers",
        "SELECT ARRAY(SELECT ssn FROM customers)",
        "SELECT unnest(tags) FROM customers",
        "SELECT row_to_json(c) FROM customers c",
        "SELECT to_jsonb(c) ->> 'ssn' FROM customers c",
        "SELECT (row(c.*)::customers).ssn FROM customers c",
        "SELECT c FROM customers c",
        "SELECT c::text FROM customers c",
        "SELECT json_agg(c) FROM customers c",
        "SELECT hstore(c) FROM customers c",
        "SELECT format('%s', c) FROM customers c",
        "SELECT (json_populate_record(NULL::customers, row_to_json(c))).ssn FROM customers c",
        "SELECT string_agg(ssn, ',') FROM customers",
        "SELECT array_agg(ssn) FROM customers",
        "SELECT xmlforest(ssn) FROM customers",
        "SELECT to_tsvector('simple', ssn) FROM customers",
        "SELECT quote_literal(ssn) FROM customers",
        "SELECT '[' || ssn || ',' || ssn || ']' FROM customers",
        "SELECT coalesce(ssn, 'x'), greatest(ssn, 'a') FROM customers",
        "SELECT doc ->> 'ssn', doc FROM customers",
        "SELECT substr(ssn, 1, 7) FROM customers",
        "SELECT regexp_replace(ssn, '-.*', '') FROM customers",
        "SELECT * FROM customers CROSS JOIN LATERAL (VALUES (ssn)) v(x)",
        "VALUES ((SELECT ssn FROM customers LIMIT 1))",
        "SELECT id, name, reads_secret() FROM customers",
        "SELECT reads_secret()",
        "SELECT * FROM rows_of_secret()",
        "SELECT (rows_of_secret()).ssn",
        "SELECT (SELECT reads_secret()) AS x FROM orders",
        "WITH f AS (SELECT reads_secret() AS z) SELECT z || '' FROM f",
        "SELECT set_masklen('10.0.0.0/8'::inet, 8), max(ssn) FROM customers",
        // COPY.
        "COPY customers TO STDOUT",
        "COPY customers (id, ssn) TO STDOUT (FORMAT csv, HEADER)",
        "COPY (SELECT ssn, name FROM customers) TO STDOUT (FORMAT csv, FORCE_QUOTE *)",
        "COPY customers (ssn, id) TO STDOUT (FORMAT binary)",
        "COPY (SELECT upper(ssn), id FROM customers) TO STDOUT (FORMAT text, DELIMITER '|', NULL 'nil')",
        "COPY (SELECT * FROM customers JOIN orders USING (id)) TO STDOUT",
        "COPY (SELECT * FROM plain_view) TO STDOUT (FORMAT binary)",
        "COPY parted_eu TO STDOUT",
        "COPY base TO STDOUT (DELIMITER ',', HEADER)",
        // Errors.
        "SELECT ssn::int FROM customers",
        "SELECT ssn::regclass FROM customers",
        "SELECT ssn::regnamespace FROM customers",
        "SELECT ssn::regrole FROM customers",
        "SELECT ssn::json FROM customers",
        "SELECT ('<a>' || ssn)::xml FROM customers",
        "SELECT ssn::date FROM customers",
        "SELECT has_table_privilege(ssn, 'select') FROM customers",
        "SELECT current_setting(ssn) FROM customers",
    ];

    /// <summary>These must be refused or held; and where they run after all (an approval), nothing shows either.</summary>
    public static TheoryData<string> Refused { get; } =
    [
        // Writes: constraint errors hold the value.
        "INSERT INTO uniq SELECT ssn FROM customers",
        "UPDATE uniq SET v = (SELECT ssn FROM customers WHERE id = 2) WHERE r = 'x'",
        "INSERT INTO child_of_uniq SELECT ssn || '-new' FROM customers",
        "INSERT INTO strict SELECT NULL, ssn FROM customers",
        "INSERT INTO strict SELECT 'v', ssn FROM customers",
        "INSERT INTO notes SELECT ssn FROM customers RETURNING v",
        "UPDATE notes SET v = c.ssn FROM customers c RETURNING v",
        "MERGE INTO notes USING customers c ON false WHEN NOT MATCHED THEN INSERT VALUES (c.ssn)",
        "WITH moved AS (INSERT INTO notes SELECT ssn FROM customers RETURNING v) SELECT * FROM moved",
        // New relations and code.
        "CREATE TEMP TABLE t1 AS SELECT ssn FROM customers",
        "SELECT ssn INTO TEMP t2 FROM customers",
        "CREATE VIEW v1 AS SELECT ssn FROM customers",
        "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS 'SELECT ssn FROM customers LIMIT 1'",
        "ALTER TABLE customers RENAME COLUMN ssn TO harmless_name",
        "ALTER TABLE customers RENAME TO harmless_table",
        "DO $$ BEGIN RAISE NOTICE '%', (SELECT ssn FROM customers LIMIT 1); END $$",
        "DO $$ BEGIN RAISE EXCEPTION '%', (SELECT ssn FROM customers LIMIT 1) USING DETAIL = (SELECT ssn FROM customers LIMIT 1), HINT = (SELECT ssn FROM customers LIMIT 1), COLUMN = (SELECT ssn FROM customers LIMIT 1); END $$",
        "DO $$ BEGIN EXECUTE (SELECT 'syntax ' || ssn FROM customers LIMIT 1); END $$",
        "DO $$ BEGIN EXECUTE 'SELECT ' || (SELECT quote_ident(ssn) FROM customers LIMIT 1); END $$",
        "DO $$ BEGIN PERFORM pg_notify('chan', ssn) FROM customers; END $$",
        "DO $$ BEGIN EXECUTE 'NOTIFY ' || (SELECT quote_ident(lower(ssn)) FROM customers LIMIT 1); END $$",
        // Functions with effects.
        "SELECT set_config('application_name', ssn, false) FROM customers",
        "SELECT set_config('my.x', ssn, false) FROM customers",
        "SELECT pg_notify('chan', ssn) FROM customers",
        "SELECT lo_from_bytea(0, convert_to(ssn, 'UTF8')) FROM customers",
        "SELECT setval('pg_catalog.x', ascii(ssn)) FROM customers",
        "SELECT pg_advisory_lock(ascii(ssn)) FROM customers",
        "SELECT pg_sleep(0 * ascii(ssn)) FROM customers",
        "SELECT dblink('', ssn) FROM customers",
        // Values by bits.
        "SELECT id FROM customers WHERE ssn LIKE 'Marker-1%'",
        "SELECT id FROM customers ORDER BY ssn",
        "SELECT ssn FROM customers ORDER BY 1",
        "SELECT upper(ssn) AS u FROM customers ORDER BY u",
        "SELECT count(*) FROM customers GROUP BY ssn",
        "SELECT DISTINCT ssn FROM customers",
        "SELECT ssn FROM customers UNION SELECT 'x'",
        "SELECT 1 FROM customers HAVING max(ssn) > 'a'",
        "SELECT c.id FROM customers c JOIN generate_series(1, 3) g ON c.n = 700000 + g",
        "SELECT 1 / (CASE WHEN ssn LIKE 'Marker-1%' THEN 0 ELSE 1 END) FROM customers",
        "SELECT 1 / (ascii(ssn) - 77) FROM customers",
        "SELECT generate_series(1, length(ssn)) FROM customers",
        "SELECT g FROM customers, generate_series(1, length(ssn)) g",
        "SELECT count(*) FILTER (WHERE ssn > 'M') FROM customers",
        "SELECT id, row_number() OVER (ORDER BY ssn) FROM customers",
        "SELECT * FROM customers NATURAL JOIN copied_view",
        "SELECT * FROM customers, unnest(ARRAY[ssn]) AS u(v)",
        "SELECT ssn(customers) FROM customers",
        "SELECT id FROM orders WHERE EXISTS (SELECT 1 FROM customers c WHERE c.id = customer AND ssn > 'M')",
        "SELECT id FROM orders WHERE 'Marker-1-1001' IN (SELECT ssn FROM customers)",
        "SELECT id FROM customers LIMIT (SELECT length(ssn) FROM customers LIMIT 1)",
        "SELECT id FROM plain_view WHERE number = 'Marker-1-1001'",
        "DELETE FROM orders USING customers c WHERE c.ssn = 'Marker-1-1001'",
        "EXPLAIN SELECT * FROM customers WHERE ssn < 'Marker-2'",
        "EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM customers WHERE ssn < 'Marker-2'",
        "EXPLAIN (FORMAT XML) SELECT * FROM customers WHERE ssn < 'Marker''2'",
        // What holds values of any table, or what others typed.
        "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'customers'",
        "SELECT * FROM pg_catalog.pg_stats_ext",
        "SELECT * FROM pg_prepared_statements",
        "SELECT query_to_xml('select ssn from customers', true, true, '')",
        "SELECT table_to_xml('customers', true, true, '')",
        "SELECT schema_to_xml('public', true, true, '')",
        "SELECT database_to_xml(true, true, '')",
        "SELECT xpath('//ssn/text()', query_to_xml('select ssn from customers', true, false, ''))",
        "SELECT word FROM ts_stat('select to_tsvector(''simple'', ssn) from customers')",
        "SELECT * FROM crosstab('select ''a''::text, id::text, ssn from customers') AS ct(a text, b text, c text)",
        "SELECT * FROM dblink('host=127.0.0.1 password=x', 'select ssn from customers') AS t(s text)",
    ];

    /// <summary>As a superuser: what a normal role can't do.</summary>
    public static TheoryData<string> AsSuperuser { get; } =
    [
        "SELECT stavalues1 FROM pg_statistic",
        "SELECT * FROM pg_statistic_ext_data",
        "SELECT encode(get_raw_page('customers', 0), 'escape')",
        "SELECT t_data FROM heap_page_items(get_raw_page('customers', 0))",
        "SELECT pg_read_file('postgresql.conf')",
        "COPY customers TO '/tmp/never-written-by-a-test/x'",
        "COPY (SELECT ssn FROM customers) TO PROGRAM 'cat > /dev/null'",
        "COMMENT ON COLUMN orders.note IS 'x'; SELECT query FROM pg_stat_get_activity(NULL)",
        "CREATE FOREIGN TABLE stolen (ssn text) SERVER itself OPTIONS (table_name 'customers')",
    ];

    [Theory]
    [MemberData(nameof(Shown))]
    public async Task What_the_server_shows_the_client_does_not_see(string sql)
    {
        using var client = server.Connect("engineer");
        var catalog = await Masked.CatalogAsync(client);
        var plan = Masked.Plan(sql, catalog);
        Assert.True(Masked.Refusal(plan) is null, $"refused: {Masked.Refusal(plan)}");

        var raw = client.Query(sql);
        Assert.True(Masked.Shows(raw, Schema.Marker), $"the server doesn't show it: {Masked.Text(raw)}");
        Hidden(Masked.Pipe(raw, plan));
        foreach (var binary in new[] { false, true })
        {
            if (!sql.StartsWith("COPY", StringComparison.Ordinal))
            {
                Hidden(Masked.Pipe(client.Extended(sql, binary), plan));
                Hidden(Undescribed(client.Extended(sql, binary, describe: false), plan, binary));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task What_could_carry_values_out_is_refused_and_shows_nothing_even_if_it_runs(string sql)
    {
        using var client = server.Connect("engineer");
        var catalog = await Masked.CatalogAsync(client);
        var plan = Masked.Plan(sql, catalog);
        Assert.NotNull(Masked.Refusal(plan));

        client.Execute("LISTEN chan");
        client.Execute("BEGIN");
        var raw = client.Query(sql);
        raw.AddRange(client.Query("SET CONSTRAINTS ALL IMMEDIATE"));
        raw.AddRange(client.Query(sql.Contains("otify", StringComparison.OrdinalIgnoreCase) ? "COMMIT" : "ROLLBACK"));
        Hidden(Masked.Pipe(raw, plan));
    }

    [Theory]
    [MemberData(nameof(AsSuperuser))]
    public async Task What_only_a_superuser_can_do_is_refused(string sql)
    {
        using var client = server.Connect("postgres");
        var catalog = await Masked.CatalogAsync(client);
        Assert.NotNull(Masked.Refusal(Masked.Plan(sql, catalog)));
    }

    [Theory]
    [InlineData("SELECT encode(convert_to(ssn, 'UTF8'), 'hex') FROM customers WHERE id = 1", "4d61726b6572")]
    [InlineData("SELECT reverse(ssn) FROM customers WHERE id = 1", "rekraM")]
    [InlineData("SELECT md5(ssn) FROM customers WHERE id = 1", "1ce9dfbd")]
    [InlineData("SELECT regexp_split_to_table(ssn, '') FROM customers WHERE id = 1", "M")]
    [InlineData("SELECT show_trgm(ssn) FROM customers WHERE id = 1", "mar")]
    [InlineData("SELECT ascii(ssn), length(ssn) FROM customers WHERE id = 1", "77")]
    [InlineData("SELECT to_date(ssn, 'YYYY') FROM customers WHERE id = 1", "Mark")]
    [InlineData("SELECT ssn::varchar(3)::int FROM customers WHERE id = 1", "Mar")]
    [InlineData("SELECT translate(ssn, 'Marker', 'abcdef') FROM customers WHERE id = 1", "abcdec")]
    [InlineData("SELECT raw FROM customers WHERE id = 1", "4d61726b6572")]
    [InlineData("SELECT n, n + 0::bigint FROM (SELECT n::text AS n, 1 AS m FROM customers WHERE id = 1) x(n, m) WHERE false UNION ALL SELECT n::text, 0 FROM customers WHERE id = 1", "700001")]
    public async Task What_no_detector_could_recognise_is_masked_by_the_parse_tree(string sql, string part)
    {
        using var client = server.Connect("engineer");
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        var raw = client.Query(sql).Where(message => message.Type != 'T').ToList();
        if (!sql.Contains("md5", StringComparison.Ordinal) && !sql.Contains("0::bigint", StringComparison.Ordinal))
        {
            Assert.True(Masked.Shows(raw, part), Masked.Text(raw));
        }

        foreach (var row in Masked.Pipe(raw, plan).Where(message => message.Type == 'D'))
        {
            Assert.All(row.Fields(), field => Assert.True(field is null || field.AsSpan().SequenceEqual("***"u8)));
        }

        Assert.False(Masked.Shows(Masked.Pipe(raw, plan).Where(message => message.Type == 'E'), part));
    }

    [Fact]
    public async Task A_value_in_a_setting_does_not_come_back_as_parameter_status()
    {
        using var client = server.Connect("engineer");
        var sql = "SELECT set_config('application_name', ssn, false) FROM customers WHERE id = 1";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        var raw = client.Query(sql);
        Assert.Contains(raw, message => message.Type == 'S' && Masked.Shows([message], Schema.Marker));
        Hidden(Masked.Pipe(raw, plan));
    }

    [Fact]
    public async Task A_value_in_a_notification_does_not_arrive()
    {
        using var client = server.Connect("engineer");
        client.Execute("LISTEN chan");
        var sql = "SELECT pg_notify('chan', ssn) FROM customers WHERE id = 1";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        var raw = client.Query(sql);
        Assert.Contains(raw, message => message.Type == 'A' && Masked.Shows([message], Schema.Marker));
        Hidden(Masked.Pipe(raw, plan));
    }

    [Fact]
    public async Task Triggers_can_say_nothing()
    {
        using var client = server.Connect("engineer");
        var sql = "INSERT INTO triggered VALUES (1)";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        var raw = client.Query(sql);
        Assert.Contains(raw, message => message.Type == 'N' && Masked.Shows([message], Schema.Marker));
        Assert.Contains(raw, message => message.Type == 'E' && Masked.Shows([message], Schema.Marker));
        Hidden(Masked.Pipe(raw, plan));
    }

    [Fact]
    public async Task A_failing_row_of_a_masked_table_is_not_quoted()
    {
        using var client = server.Connect("engineer");
        var sql = "UPDATE customers SET name = NULL WHERE id = 1";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        Assert.Null(Masked.Refusal(plan));
        var raw = client.Query(sql);
        Assert.True(Masked.Shows(raw, Schema.Marker));
        var seen = Masked.Pipe(raw, plan);
        Hidden(seen);
        Assert.True(Masked.Shows(seen, "23502"));
        Assert.True(Masked.Shows(seen, "null value in column"));
    }

    private static List<Message> Undescribed(List<Message> raw, Path.Mask.MaskPlan plan, bool binary)
    {
        var masker = PostgresRowMasker.Create((PostgresMaskPlan)plan, new PostgresMaskSession());
        masker.Bind(null, [binary ? (short)1 : (short)0]);
        return Masked.Pipe(raw, plan, masker);
    }

    private static void Hidden(List<Message> seen)
    {
        var values = seen.Where(message => message.Type != 'T');
        Assert.False(Masked.Shows(values, Schema.Marker), Masked.Text(seen));
        Assert.False(Masked.Shows(values, "70000"), Masked.Text(seen));
    }
}
