using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Tests;

/// <summary>The model that masking is planned on.</summary>
public class AnalysisTests
{
    private static string Reads(SqlReads reads) => string.Join(' ', reads.Columns.Select(column => column.ToString()));

    private static string Sources(SqlBlock block) => string.Join(' ', block.Sources.Select(source => $"{source.Kind}:{source.Name}:{source.Alias}"));

    [Fact]
    public void Outputs_say_where_they_come_from()
    {
        var block = Sql.One("select a, x.b as c, x.*, *, upper(d) || e, (select f from u), x from t x").Result!;

        Assert.Equal(
            [SqlOutputKind.Column, SqlOutputKind.Column, SqlOutputKind.Star, SqlOutputKind.Star, SqlOutputKind.Expression, SqlOutputKind.Expression, SqlOutputKind.Column],
            block.Outputs.Select(output => output.Kind));
        Assert.Equal(["a", "c", null, null, null, null, "x"], block.Outputs.Select(output => output.Name));
        Assert.Equal("x.b", block.Outputs[1].Column!.ToString());
        Assert.Equal("x.*", block.Outputs[2].Column!.ToString());
        Assert.Equal("d e", Reads(block.Outputs[4].Reads));
        Assert.Equal("f", Assert.Single(Assert.Single(block.Outputs[5].Reads.Blocks).Outputs).Name);
        Assert.Equal("Relation:t:x", Sources(block));
    }

    [Theory]
    [InlineData("select 1 from t where a = 1 and b in (2)", "a b")]
    [InlineData("select 1 from t order by a, lower(b)", "a b")]
    [InlineData("select 1 from t group by a having max(b) > 1", "a b")]
    [InlineData("select distinct on (a) 1 from t", "a")]
    [InlineData("select 1 from t join u on t.a = u.b", "t.a u.b")]
    [InlineData("select 1 from t join u using (a, b)", "a b")]
    [InlineData("select sum(1) over w from t window w as (partition by a order by b)", "a b")]
    [InlineData("select 1 from t limit 5", "")]
    [InlineData("delete from t where a = 1", "a")]
    [InlineData("update t set a = b where c = 1", "c")]
    [InlineData("merge into t using u on t.a = u.b when matched and c then do nothing", "c t.a u.b")]
    [InlineData("insert into t values (1) on conflict (a) where b do update set c = d where e", "b e")]
    [InlineData("select 1 union select a from t order by b", "b")]
    public void Filters_are_what_results_depend_on_without_showing_it(string sql, string columns) =>
        Assert.Equal(columns, string.Join(' ', Sql.One(sql).Result!.Filters.Columns.Select(column => column.ToString()).Order(StringComparer.Ordinal)));

    [Fact]
    public void Sources_are_resolved_by_scope()
    {
        var statement = Sql.One("with c(x) as (select a from t) select * from c, s.u, lateral (select c.x) l, generate_series(1, u.n) g, (p join q on true) as j(y)");
        var block = statement.Result!;

        Assert.Equal("Cte:c:c Relation:s.u:u Subquery::l Function:generate_series:g Join::j", Sources(block).Replace("Subquery::", "Subquery::", StringComparison.Ordinal));
        Assert.Equal(["x"], block.Sources[0].CteColumns);
        Assert.Equal("a", block.Sources[0].Block!.Outputs[0].Name);
        Assert.Same(block, block.Sources[2].Block!.Parent);
        Assert.Equal("u.n", Reads(block.Sources[3].Reads));
        Assert.Equal(["p", "q"], block.Sources[4].Members.Select(member => member.Name.Name));
        Assert.Equal(["y"], block.Sources[4].ColumnAliases);
        Assert.Equal(statement.Blocks.Count, statement.Blocks.Distinct().Count());
    }

    [Fact]
    public void A_recursive_cte_refers_to_its_own_block()
    {
        var block = Sql.One("with recursive r as (select a from t union all select r.a from r) table r").Result!;
        var cte = block.Sources[0].Block!;

        Assert.Equal(SqlBlockKind.SetOperation, cte.Kind);
        Assert.Equal(2, cte.Arms.Count);
        Assert.Same(cte, cte.Arms[1].Sources[0].Block);
    }

    [Fact]
    public void A_chain_of_set_operations_is_one_block()
    {
        var block = Sql.One("select a from t union all select b from u union all (select c from v except select d from w)").Result!;

        Assert.Equal(["t", "u", "v", "w"], block.Arms.Select(arm => arm.Sources[0].Name.Name));
        Assert.True(block.Distinct);
        Assert.False(Sql.One("select a from t union all select b from u").Result!.Distinct);
    }

    [Fact]
    public void Writes_and_what_they_store_show()
    {
        var update = Sql.One("update t set a = u.b from u where t.c = u.c returning t.a");
        Assert.True(update.Writes);
        Assert.Equal("u.b", Reads(update.Result!.Stored));
        Assert.True(update.Result.Sources[0].IsTarget);
        Assert.Equal(ResultShape.Rows, update.Shape);
        Assert.Equal("t.a", update.Result.Outputs[0].Column!.ToString());

        var insert = Sql.One("insert into t select a from u");
        Assert.Equal("u", insert.Result!.Input!.Sources[0].Name.Name);
        Assert.Equal(ResultShape.None, insert.Shape);

        foreach (var sql in new[] { "create table n as select a from t", "select a into n from t", "create view v as select a from t", "create materialized view v as table t",
            "copy t to '/x'", "copy (select a from t) to program 'x'", "with i as (insert into n select a from t) select 1", "notify x, 'y'", "create function f() returns int return (select a from t)" })
        {
            var statement = Sql.One(sql);
            Assert.True(statement.Writes, sql);
            Assert.True(sql.StartsWith("notify", StringComparison.Ordinal) || statement.Facts.Relations.Any(use => use.Name.Name == "t"), sql);
        }

        Assert.False(Sql.One("select a from t").Writes);
        Assert.False(Sql.One("explain insert into t select a from u").Writes);
    }

    [Fact]
    public void Calls_with_effects_say_what_they_are_given()
    {
        var block = Sql.One("select f(a, lower(b), g(c)), lower(d) from t where h((select e from u))").Result!;

        Assert.Equal(["h", "f", "g"], block.Calls.Select(call => call.Name.Name).OrderBy(name => name == "h" ? "" : name));
        Assert.Equal("a b c", Reads(block.Calls.Single(call => call.Name.Name == "f").Reads));
        Assert.Equal("e", block.Calls.Single(call => call.Name.Name == "h").Reads.Blocks.Single().Outputs[0].Name);
    }

    [Fact]
    public void Copy_has_its_columns_format_and_options()
    {
        var statement = Sql.One("copy s.t (a, \"B\") to stdout with (format CSV, delimiter '|', header)");
        var copy = statement.Copy!;

        Assert.Equal(ResultShape.CopyOut, statement.Shape);
        Assert.Equal("s.t", copy.Relation.ToString());
        Assert.Equal(["a", "B"], copy.Columns);
        Assert.Equal("csv", copy.Format);
        Assert.Contains(copy.Options, option => option is { Key: "delimiter", Value: "|" });
        Assert.True(copy.ToClient);
        Assert.Equal("a", Sql.One("copy (select a from t) to stdout").Result!.Outputs[0].Name);
    }

    [Theory]
    [InlineData("explain select 1", ResultShape.Plan)]
    [InlineData("explain analyze select 1", ResultShape.Plan)]
    [InlineData("show all", ResultShape.Setting)]
    [InlineData("set a = 1", ResultShape.None)]
    [InlineData("values (1)", ResultShape.Rows)]
    [InlineData("delete from t", ResultShape.None)]
    [InlineData("create table t as select 1", ResultShape.None)]
    [InlineData("select 1 into t", ResultShape.None)]
    public void The_shape_of_a_result_is_known(string sql, ResultShape shape) => Assert.Equal(shape, Sql.One(sql).Shape);

    [Theory]
    [InlineData("select * from t join u using (a) as j")]
    [InlineData("with recursive r as (select 1 a union all select a from r) search depth first by a set s select * from r")]
    public void What_is_not_modelled_is_opaque(string sql) => Assert.True(Sql.One(sql).Opaque);

    [Fact]
    public void Values_are_columns_over_all_rows()
    {
        var block = Sql.One("select * from t, lateral (values (t.a, 1), (t.b, t.c)) v(x, y)").Result!.Sources[1].Block!;

        Assert.Equal(["t.a t.b", "t.c"], block.Outputs.Select(output => string.Join(' ', output.Reads.Columns.Select(column => column.ToString()).Order(StringComparer.Ordinal))));
    }

    [Fact]
    public void Reading_relies_on_search_path_only_where_a_name_is_not_qualified()
    {
        Assert.True(Sql.One("select lower(a) from t").ReliesOnSearchPath);
        Assert.True(Sql.One("select 1 + 1").ReliesOnSearchPath);
        Assert.True(Sql.One("select '1'::text").ReliesOnSearchPath);
        Assert.False(Sql.One("select pg_catalog.lower(a), 1 operator(pg_catalog.+) 1, '1'::int from t").ReliesOnSearchPath);
    }

    [Fact]
    public void Settings_have_their_values()
    {
        Assert.Equal(new SqlSetting("search_path", "a, b", true, false), Sql.One("set local search_path to a, 'b'").Settings.Single());
        Assert.Equal(new SqlSetting("client_encoding", "UTF8", false, false), Sql.One("set names 'UTF8'").Settings.Single());
        Assert.Equal(new SqlSetting("role", null, false, true), Sql.One("reset role").Settings.Single());
        Assert.Equal(new SqlSetting("role", "x", true, false), Sql.One("select set_config('role', 'x', true)").Settings.Single());
        Assert.Equal(new SqlSetting("role", null, false, false), Sql.One("select set_config('role', a, b) from t").Settings.Single());
    }

    [Fact]
    public void Statements_have_their_place_in_the_text()
    {
        var text = " /* é */ select 1 ; -- x\n delete from t -- y\n;";
        var utf8 = System.Text.Encoding.UTF8.GetBytes(text);

        Assert.Equal(
            ["select 1", "delete from t"],
            Sql.Facts(text).Statements.Select(statement => System.Text.Encoding.UTF8.GetString(utf8, statement.Start, statement.Length)));
    }
}

/// <summary>EXECUTE and FETCH do what was prepared and declared, in whatever text.</summary>
public class SessionStatementsTests
{
    private static SqlAnalysis Defined(string sql) => Sql.One(sql).Effect!.Definition!;

    [Fact]
    public void Execute_is_what_was_prepared()
    {
        var prepared = Defined("prepare p as delete from t");
        var analysis = Sql.Analyze("execute p").Resolve((kind, name) => kind == SqlSessionEffectKind.Execute && name == "p" ? prepared : null);

        Assert.Equal("complete | EXECUTE,DELETE t:Delete where-absent", Sql.Describe(analysis.Facts));
        Assert.True(analysis.Statements[0].Writes);
        Assert.False(analysis.Statements[0].Opaque);
    }

    [Fact]
    public void Fetch_is_what_was_declared()
    {
        var declared = Defined("declare \"C\" cursor with hold for select a from t");
        var analysis = Sql.Analyze("fetch all from \"C\"").Resolve((kind, name) => kind == SqlSessionEffectKind.Fetch && name == "C" ? declared : null);

        Assert.Equal("complete | FETCH,SELECT t:Read read-only", Sql.Describe(analysis.Facts));
        Assert.Equal(ResultShape.Rows, analysis.Statements[0].Shape);
        Assert.Equal("a", analysis.Statements[0].Result!.Outputs[0].Name);
    }

    [Fact]
    public void What_is_not_known_stays_incomplete()
    {
        var analysis = Sql.Analyze("execute p; fetch c").Resolve((_, _) => null);

        Assert.Equal(["execute", "fetch"], analysis.Facts.Incomplete);
        Assert.All(analysis.Statements, statement => Assert.True(statement.Opaque));
    }

    [Fact]
    public void A_definition_that_is_incomplete_makes_its_use_incomplete()
    {
        var prepared = Defined2("prepare p as select query_to_xml('x', true, true, '')");

        Assert.Equal(["dynamic-sql"], Sql.Analyze("execute p").Resolve((_, _) => prepared).Facts.Incomplete);
    }

    [Fact]
    public void A_definition_in_the_text_itself_goes_first()
    {
        var other = Defined("prepare p as select 1");

        Assert.Contains("DELETE", Sql.Analyze("prepare p as delete from t; execute p").Resolve((_, _) => other).Facts.Statements[1].Kinds);
    }

    [Fact]
    public void Arguments_with_effects_are_not_reading()
    {
        var prepared = Defined("prepare p(int) as select $1");

        Assert.True(Sql.Analyze("execute p(1)").Resolve((_, _) => prepared).Facts.Statements[0].ReadOnly);
        Assert.False(Sql.Analyze("execute p(f())").Resolve((_, _) => prepared).Facts.Statements[0].ReadOnly);
    }

    [Fact]
    public void Explain_analyze_and_create_table_as_run_what_was_prepared()
    {
        var prepared = Defined("prepare p as delete from t returning a");

        Assert.Contains("DELETE", Sql.Analyze("explain analyze execute p").Resolve((_, _) => prepared).Facts.Statements[0].Kinds);
        var created = Sql.Analyze("create table n as execute p").Resolve((_, _) => prepared).Statements[0];
        Assert.Equal(ResultShape.None, created.Shape);
        Assert.Contains("DELETE", created.Facts.Kinds);
    }

    [Theory]
    [InlineData("prepare p as select 1", SqlSessionEffectKind.Prepare, "p")]
    [InlineData("deallocate p", SqlSessionEffectKind.Deallocate, "p")]
    [InlineData("deallocate all", SqlSessionEffectKind.Deallocate, null)]
    [InlineData("declare c cursor for select 1", SqlSessionEffectKind.Declare, "c")]
    [InlineData("close c", SqlSessionEffectKind.Close, "c")]
    [InlineData("close all", SqlSessionEffectKind.Close, null)]
    [InlineData("discard all", SqlSessionEffectKind.DiscardAll, null)]
    [InlineData("commit", SqlSessionEffectKind.EndTransaction, null)]
    [InlineData("rollback", SqlSessionEffectKind.EndTransaction, null)]
    [InlineData("prepare transaction 'x'", SqlSessionEffectKind.EndTransaction, null)]
    [InlineData("rollback to s", SqlSessionEffectKind.RollbackToSavepoint, "s")]
    public void Effects_on_the_session_are_known(string sql, SqlSessionEffectKind kind, string? name)
    {
        var effect = Sql.One(sql).Effect!;

        Assert.Equal(kind, effect.Kind);
        Assert.Equal(name, effect.Name);
    }

    private static SqlAnalysis Defined2(string sql) => Sql.Analyze(sql).Statements[0].Effect!.Definition!;
}
