using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Postgres.Rows;
using CsCheck;

namespace Countersign.Proxy.Masking.Tests;

/// <summary>What arrives: columns that no rule masks unchanged, masked ones in a form that their type takes, in both formats.</summary>
[Collection("postgres")]
[Trait("group", "postgres")]
public sealed class RowTests(PostgresServer server)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Masked_values_are_what_their_type_takes(bool binary)
    {
        using var client = server.Connect("engineer");
        var sql = "SELECT id, name, ssn, card, n, doc, j, tags, feeling, raw, born, up FROM customers WHERE id = 1";
        var raw = client.Extended(sql, binary);
        var before = raw.Single(message => message.Type == 'D').Fields();
        var row = Masked.Pipe(raw, Masked.Plan(sql, await Masked.CatalogAsync(client))).Single(message => message.Type == 'D').Fields();
        Assert.Equal(before[0], row[0]);
        Assert.Equal(before[1], row[1]);
        Assert.Equal(before[10], row[10]);
        Assert.Equal("***", Text(row[2]));
        Assert.Equal("***9101", Text(row[3]));
        Assert.Null(row[4]);
        Assert.Equal(binary ? "\u0001\"***\"" : "\"***\"", Text(row[5]));
        Assert.Equal("\"***\"", Text(row[6]));
        Assert.Null(row[7]);
        Assert.Null(row[8]);
        Assert.Null(row[9]);
        Assert.Equal("***", Text(row[11]));
    }

    [Fact]
    public async Task A_hash_is_the_same_in_text_and_binary_and_tells_equal_values()
    {
        using var client = server.Connect("engineer");
        var sql = "SELECT ssn FROM parted UNION ALL SELECT ssn FROM parted_eu";
        var direct = "SELECT region, ssn FROM parted";
        var catalog = await Masked.CatalogAsync(client);
        var session = new PostgresMaskSession();
        List<string?> Hashes(bool binary)
        {
            var plan = Masked.Plan(direct, catalog);
            return [.. Masked.Pipe(client.Extended(direct, binary), plan, PostgresRowMasker.Create((PostgresMaskPlan)plan, session)).Where(message => message.Type == 'D').Select(message => Text(message.Fields()[1]))];
        }

        Assert.Equal(Hashes(false), Hashes(true));
        Assert.Equal(2, Hashes(false).Distinct().Count());
        Assert.All(Hashes(false), hash => Assert.Matches("^[0-9a-f]{16}$", hash!));

        // An expression's result goes whole, whatever the column's strategy.
        Assert.All(Masked.Pipe(client.Query(sql), Masked.Plan(sql, catalog)).Where(message => message.Type == 'D'), message => Assert.Equal("***", Text(message.Fields()[0])));
    }

    public static TheoryData<string> Harmless { get; } =
    [
        "SELECT 1",
        "SELECT id, name FROM customers",
        "SELECT count(*) FROM customers",
        "SELECT count(*), max(id), min(name) FROM customers",
        "SELECT upper(name), id + 1, born - 1, now()::date - born FROM customers WHERE id > 2 ORDER BY name DESC LIMIT 3",
        "SELECT c.name, sum(o.total) FROM customers c JOIN orders o ON o.customer = c.id GROUP BY c.name HAVING sum(o.total) > 1 ORDER BY 2",
        "SELECT DISTINCT name FROM customers",
        "SELECT id FROM customers UNION SELECT id FROM orders ORDER BY 1",
        "SELECT name FROM customers c WHERE EXISTS (SELECT * FROM orders o WHERE o.customer = c.id)",
        "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < 5) SELECT i, i * 2 FROM t",
        "SELECT * FROM orders",
        "SELECT * FROM orders WHERE note LIKE '%one%' ORDER BY at",
        "SELECT id, title FROM expression_view",
        "SELECT name FROM plain_view WHERE id = 3",
        "SELECT * FROM filtered_view",
        "SELECT id, name FROM copied_view ORDER BY name",
        "SELECT region, count(*) FROM parted GROUP BY region",
        "SELECT row_number() OVER (ORDER BY id), name FROM customers",
        "SELECT json_build_object('id', id, 'name', name) FROM customers",
        "SELECT 'x' || name AS label FROM (SELECT name, ssn FROM customers) s",
        "SELECT x.name FROM (SELECT * FROM customers) x",
        "SELECT id, CASE WHEN total > 5 THEN 'big' ELSE 'small' END FROM orders",
        "SELECT harmless_count FROM (SELECT count(*) AS harmless_count FROM orders) x",
        "SELECT generate_series(1, 3), pg_backend_pid() > 0",
        "EXPLAIN SELECT id FROM customers WHERE id = 1",
        "SHOW search_path",
        "SELECT pid, state FROM pg_stat_activity WHERE pid = pg_backend_pid()",
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relname OPERATOR(pg_catalog.~) '^(customers)$' COLLATE pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1, 2",
        "COPY (SELECT id, name FROM customers ORDER BY id) TO STDOUT (FORMAT csv)",
        "COPY orders TO STDOUT",
    ];

    [Theory]
    [MemberData(nameof(Harmless))]
    public async Task Harmless_statements_pass_and_keep_every_byte(string sql)
    {
        using var client = server.Connect("engineer");
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        Assert.Null(Masked.Refusal(plan));
        client.Execute(sql);
        foreach (var raw in sql.StartsWith("COPY", StringComparison.Ordinal) ? [client.Query(sql)] : new[] { client.Query(sql), client.Extended(sql, false), client.Extended(sql, true) })
        {
            var seen = Masked.Pipe(raw, plan);
            Assert.Equal(raw.Select(message => Convert.ToHexString(message.Bytes)), seen.Select(message => Convert.ToHexString(message.Bytes)));
        }
    }

    [Theory]
    [InlineData("INSERT INTO orders VALUES (1000, 1, 2.5, 'x') RETURNING *")]
    [InlineData("UPDATE orders SET note = 'y' WHERE id = 1 RETURNING id, note")]
    [InlineData("DELETE FROM orders WHERE id = 2")]
    [InlineData("UPDATE customers SET name = 'other' WHERE id = 1 RETURNING id, ssn")]
    [InlineData("INSERT INTO notes SELECT name FROM customers")]
    [InlineData("CREATE TEMP TABLE t AS SELECT id, name FROM customers")]
    [InlineData("SELECT set_config('application_name', 'constant', false)")]
    public async Task Writes_that_read_nothing_masked_are_not_refused(string sql)
    {
        using var client = server.Connect("engineer");
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        Assert.Null(Masked.Refusal(plan));
        client.Execute("BEGIN");
        var seen = Masked.Pipe(client.Execute(sql), plan);
        client.Execute("ROLLBACK");
        Assert.False(Masked.Shows(seen.Where(message => message.Type != 'T'), Schema.Marker));
    }

    [Fact]
    public async Task Without_masks_detectors_and_limit_there_is_no_plan_at_all()
    {
        using var client = server.Connect("engineer");
        Assert.True(Masked.Plan("SELECT * FROM customers", await Masked.CatalogAsync(client), new Obligations()).IsNone);
    }

    [Fact]
    public async Task Rows_of_what_is_not_masked_need_not_be_looked_at()
    {
        using var client = server.Connect("engineer");
        var sql = "SELECT id, note FROM orders";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        var masker = PostgresRowMasker.Create((PostgresMaskPlan)plan, new PostgresMaskSession());
        masker.Rewrite((byte)'T', client.Query(sql).First(message => message.Type == 'T').Body, new ArrayBufferWriter<byte>());
        Assert.True(masker.RowsPass);
        Assert.False(masker.UnknownRelation);
    }

    [Fact]
    public async Task A_relation_that_the_catalog_does_not_know_is_masked_until_it_does()
    {
        using var client = server.Connect("engineer");
        var before = await Masked.CatalogAsync(client);
        client.Execute("CREATE TEMP TABLE fresh AS SELECT id, ssn FROM customers");
        var sql = "SELECT * FROM fresh";
        var raw = client.Query(sql);
        var plan = Masked.Plan(sql, before);
        var masker = PostgresRowMasker.Create((PostgresMaskPlan)plan, new PostgresMaskSession());
        Assert.False(Masked.Shows(Masked.Pipe(raw, plan, masker).Where(message => message.Type == 'D'), Schema.Marker));
        Assert.True(masker.UnknownRelation);

        // Once it is known, it is so as what an approved statement filled.
        var launder = (PostgresMaskPlan)Masked.Plan("CREATE TEMP TABLE fresh AS SELECT id, ssn FROM customers", before);
        Assert.NotNull(launder.Launders);
        Assert.True(launder.ChangesCatalog);
        var after = await Masked.CatalogAsync(client, [.. launder.Tainted]);
        Assert.False(Masked.Shows(Masked.Pipe(raw, Masked.Plan(sql, after)).Where(message => message.Type == 'D'), Schema.Marker));
    }

    [Fact]
    public async Task A_temporary_table_does_not_hide_a_masked_one()
    {
        using var client = server.Connect("engineer");
        client.Execute("CREATE TEMP TABLE customers (id int, other text)");
        var catalog = await Masked.CatalogAsync(client);
        var sql = "SELECT upper(ssn) FROM customers";
        client.Execute("DROP TABLE customers");
        var seen = Masked.Pipe(client.Query(sql), Masked.Plan(sql, catalog));
        Assert.False(Masked.Shows(seen.Where(message => message.Type == 'D'), Schema.Marker));
        Assert.NotNull(Masked.Refusal(Masked.Plan("SELECT id FROM customers WHERE ssn = 'x'", catalog)));
    }

    [Fact]
    public async Task Names_mean_every_relation_where_the_path_is_not_known()
    {
        using var client = server.Connect("engineer");
        var catalog = await Masked.CatalogAsync(client);
        var analysis = new PostgresMaskAnalysis(Masked.Analyze("SELECT upper(b) FROM mirror"), catalog, null);
        Assert.NotNull(((PostgresMaskPlan)new PostgresMaskAnalysis(Masked.Analyze("SELECT a FROM mirror ORDER BY b"), catalog, null).Plan(Masked.Obligations)).FiltersOn);
        Assert.NotNull(analysis.Plan(Masked.Obligations));
    }

    [Fact]
    public async Task A_foreign_table_over_a_masked_one_is_masked_under_its_own_names()
    {
        using var client = server.Connect("postgres");
        var sql = "SELECT a, b FROM far.mirror";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        var raw = client.Execute(sql);
        Assert.True(Masked.Shows(raw, Schema.Marker));
        Assert.False(Masked.Shows(Masked.Pipe(raw, plan), Schema.Marker));
    }

    [Fact]
    public async Task Without_a_catalog_nothing_passes_that_masks_apply_to()
    {
        var plan = new PostgresMaskAnalysis(Masked.Analyze("SELECT 1"), null, ["public"]).Plan(Masked.Obligations);
        Assert.NotNull(plan.Unmaskable);
        Assert.Null(new PostgresMaskAnalysis(Masked.Analyze("SELECT 1"), null, ["public"]).Plan(new Obligations { RowLimit = 5 }).Unmaskable);
        await Task.CompletedTask;
    }

    [Fact]
    public async Task Statements_behind_execute_and_fetch_count()
    {
        using var client = server.Connect("engineer");
        var catalog = await Masked.CatalogAsync(client);
        var prepared = Masked.Analyze("SELECT ssn, upper(name) FROM customers");
        client.Execute("PREPARE p AS SELECT ssn, upper(name) FROM customers");
        var raw = client.Query("EXECUTE p");
        var known = new PostgresMaskAnalysis(Masked.Analyze("EXECUTE p"), catalog, ["public"], _ => prepared).Plan(Masked.Obligations);
        var unknown = new PostgresMaskAnalysis(Masked.Analyze("EXECUTE p"), catalog, ["public"]).Plan(Masked.Obligations);
        Assert.Equal("NAME 1", Text(Masked.Pipe(raw, known).First(message => message.Type == 'D').Fields()[1]));
        Assert.Equal("***", Text(Masked.Pipe(raw, unknown).First(message => message.Type == 'D').Fields()[1]));
        Assert.False(Masked.Shows(Masked.Pipe(raw, known).Concat(Masked.Pipe(raw, unknown)), Schema.Marker));
        Assert.NotNull(Masked.Refusal(Masked.Plan("PREPARE q AS SELECT 1 FROM customers WHERE ssn = $1", catalog)));
        Assert.NotNull(Masked.Refusal(Masked.Plan("DECLARE c CURSOR FOR SELECT 1 FROM customers WHERE ssn = 'x'", catalog)));
    }

    [Fact]
    public async Task The_row_limit_counts_each_statement_and_is_told()
    {
        using var client = server.Connect("engineer");
        var sql = "SELECT id FROM orders ORDER BY id LIMIT 3; SELECT id FROM orders ORDER BY id";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client), new Obligations { RowLimit = 4 });
        var masker = PostgresRowMasker.Create((PostgresMaskPlan)plan, new PostgresMaskSession());
        Assert.Equal(7, Masked.Pipe(client.Query(sql), plan, masker).Count(message => message.Type == 'D'));
        Assert.True(masker.LimitExceeded);
        var output = new ArrayBufferWriter<byte>();
        masker.WriteLimitError(output);
        var error = Encoding.UTF8.GetString(Message.Split(output.WrittenSpan).Single().Body);
        Assert.Contains("C54000\0", error, StringComparison.Ordinal);
        Assert.Contains("4 rows", error, StringComparison.Ordinal);

        var copy = "COPY orders TO STDOUT";
        var copied = PostgresRowMasker.Create((PostgresMaskPlan)Masked.Plan(copy, await Masked.CatalogAsync(client), new Obligations { RowLimit = 4 }), new PostgresMaskSession());
        Assert.Equal(4, Masked.Pipe(client.Query(copy), plan, copied).Count(message => message.Type == 'd'));
        Assert.True(copied.LimitExceeded);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Detectors_run_over_columns_that_no_rule_names(bool binary)
    {
        using var client = server.Connect("engineer");
        var sql = "SELECT 'card 4111111111111111 ok' AS t, 4111111111111111::bigint AS b, ARRAY['a@example.com','x'] AS a, 'plain'::text AS p, '{\"m\":\"a@example.com\"}'::jsonb AS j";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client), new Obligations { Detectors = ["card", "email"] });
        var raw = client.Extended(sql, binary);
        var masker = PostgresRowMasker.Create((PostgresMaskPlan)plan, new PostgresMaskSession());
        var before = raw.Single(message => message.Type == 'D').Fields();
        var row = Masked.Pipe(raw, plan, masker).Single(message => message.Type == 'D').Fields();
        Assert.Equal("card **************** ok", Text(row[0]));
        Assert.Equal(binary ? new byte[8] : Encoding.ASCII.GetBytes("0000000000000000"), row[1]);
        Assert.Contains("*@*******.***", Text(row[2]), StringComparison.Ordinal);
        Assert.Equal(before[2]!.Length, row[2]!.Length);
        Assert.Equal("plain", Text(row[3]));
        Assert.Contains("\"*@*******.***\"", Text(row[4]), StringComparison.Ordinal);
        Assert.Equal(4, masker.Findings);
    }

    [Fact]
    public async Task A_row_too_large_to_hold_is_masked_in_parts()
    {
        using var client = server.Connect("postgres");
        client.Execute("CREATE TEMP TABLE large (id int, ssn text, note text)");
        client.Execute("INSERT INTO large VALUES (1, repeat('Marker', 200000), repeat('x', 300000) || ' 4111111111111111 ' || repeat('y', 300000))");
        var sql = "SELECT id, ssn, note FROM large";
        var plan = (PostgresMaskPlan)Masked.Plan(sql, await Masked.CatalogAsync(client), new Obligations { Masks = [new("*", "large", "ssn", "redact")], Detectors = ["card"] });
        var raw = client.Execute(sql);
        var expected = raw.Single(message => message.Type == 'D');
        foreach (var size in new[] { 1009, 65536, 1 << 24 })
        {
            var masker = PostgresRowMasker.Create(plan, new PostgresMaskSession());
            masker.Rewrite((byte)'T', raw.Single(message => message.Type == 'T').Body, new ArrayBufferWriter<byte>());
            var row = masker.OpenLargeRow(expected.Body.Length);
            var output = new ArrayBufferWriter<byte>();
            for (var at = 0; at < expected.Body.Length; at += size)
            {
                row.Feed(expected.Body.AsSpan(at, Math.Min(size, expected.Body.Length - at)), output);
            }

            var fields = Message.Split(output.WrittenSpan).Single().Fields();
            Assert.Equal("1", Text(fields[0]));
            Assert.Equal(new string('*', 1_200_000), Text(fields[1]));
            Assert.Equal(new string('x', 300_000) + " **************** " + new string('y', 300_000), Text(fields[2]));
            Assert.Equal(1, masker.MaskedFields);
            Assert.Equal(1, masker.Findings);
        }
    }

    [Fact]
    public async Task Malformed_rows_end_the_session()
    {
        using var client = server.Connect("engineer");
        var sql = "SELECT id, ssn FROM customers";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        var description = client.Query(sql).First(message => message.Type == 'T');
        byte[][] bodies = [[], [0], [0, 1, 0, 0, 0, 0], [0, 2, 0, 0, 0, 9, 1], [0, 2, 0xFF, 0xFF, 0xFF, 0xFE, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1]];
        foreach (var body in bodies)
        {
            Assert.Throws<InvalidDataException>(() => Masked.Pipe([description, new Message((byte)'D', body)], plan));
        }

        Assert.Throws<InvalidDataException>(() => Masked.Pipe([new Message((byte)'T', description.Body[..^3])], plan));
    }

    [Fact]
    public async Task Random_rows_keep_unmasked_columns_and_never_show_masked_ones()
    {
        using var client = server.Connect("engineer");
        var sql = "SELECT id, ssn, name FROM customers";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client));
        var description = client.Query(sql).First(message => message.Type == 'T');
        var value = Gen.Byte.Array[0, 40];
        Gen.Select(value, value, value, Gen.Bool).Sample((id, secret, name, isNull) =>
        {
            byte[] marked = [.. "Marker"u8, .. secret];
            var row = Row(id, isNull ? null : marked, name);
            var seen = Masked.Pipe([description, row], plan).Last().Fields();
            Assert.Equal(id, seen[0]);
            Assert.Equal(isNull ? null : "***"u8.ToArray(), seen[1]);
            Assert.Equal(name, seen[2]);
        }, iter: 2_000, threads: 1);
    }

    [Fact]
    public async Task Plans_are_cached_by_text_catalog_and_obligations()
    {
        using var client = server.Connect("engineer");
        var catalog = await Masked.CatalogAsync(client);
        var analysis = Masked.Analyze("SELECT id FROM customers WHERE id = 1");
        Countersign.Proxy.Path.Mask.MaskPlan Plan(Obligations obligations, Postgres.Catalog.CatalogSnapshot snapshot) =>
            new PostgresMaskAnalysis(analysis, snapshot, ["public"]).Plan(obligations);
        Assert.Same(Plan(Masked.Obligations, catalog), Plan(Masked.Obligations, catalog));
        Assert.NotSame(Plan(Masked.Obligations, catalog), Plan(Masked.With("card"), catalog));
        Assert.NotSame(Plan(Masked.Obligations, catalog), Plan(Masked.Obligations, await Masked.CatalogAsync(client)));
    }

    [Fact]
    public async Task Texts_of_no_operation_are_searched_and_cut()
    {
        using var client = server.Connect("engineer");
        var session = new PostgresMaskSession();
        Message[] texts =
        [
            new((byte)'A', [0, 0, 0, 1, .. "chan\0card 4111111111111111\0"u8]),
            new((byte)'S', [.. "application_name\0Marker\0"u8]),
            new((byte)'E', [.. "SERROR\0C23505\0Mduplicate key\0DKey (ssn)=(Marker) exists\0WMarker\0\0"u8]),
            new((byte)'E', [.. "SERROR\0C42703\0Mno column x\0P8\0\0"u8]),
        ];
        List<Message> Idle() =>
        [
            .. texts.SelectMany(text =>
            {
                var output = new ArrayBufferWriter<byte>();
                return session.RewriteIdle(text.Type, text.Body, output) == RowVerdict.Pass ? [text] : Message.Split(output.WrittenSpan);
            }),
        ];
        Assert.Equal(texts, Idle());

        // Once masks were in force, and once something was approved that could carry values out.
        PostgresRowMasker.Create((PostgresMaskPlan)Masked.Plan("SELECT 1", await Masked.CatalogAsync(client)), session);
        var seen = Idle();
        Assert.False(Masked.Shows(seen, "4111"));
        Assert.True(Masked.Shows(seen.Where(text => text.Type == 'S'), "Marker"));
        Assert.False(Masked.Shows(seen.Where(text => text.Type == 'E'), "Marker"));
        Assert.True(Masked.Shows(seen, "duplicate key"));
        Assert.True(Masked.Shows(seen, "no column x"));
        PostgresRowMasker.Create((PostgresMaskPlan)Masked.Plan("SELECT set_config('application_name', ssn, false) FROM customers", await Masked.CatalogAsync(client)), session);
        Assert.False(Masked.Shows(Idle(), "Marker"));
    }

    [Fact]
    public async Task Without_masks_errors_keep_their_texts()
    {
        using var client = server.Connect("engineer");
        var sql = "INSERT INTO orders VALUES (1, 1, 1, 'x')";
        var raw = client.Query(sql);
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client), new Obligations { RowLimit = 10 });
        Assert.True(Masked.Shows(Masked.Pipe(raw, plan), "Key (id)=(1) already exists"));
        Assert.False(Masked.Shows(Masked.Pipe(raw, Masked.Plan(sql, await Masked.CatalogAsync(client))), "Key (id)=(1)"));
    }

    private static Message Row(params byte[]?[] fields)
    {
        var body = new List<byte> { 0, (byte)fields.Length };
        foreach (var field in fields)
        {
            var length = new byte[4];
            BinaryPrimitives.WriteInt32BigEndian(length, field?.Length ?? -1);
            body.AddRange(length);
            body.AddRange(field ?? []);
        }

        return new Message((byte)'D', [.. body]);
    }

    private static string Text(byte[]? field) => field is null ? "NULL" : Encoding.UTF8.GetString(field);
}
