using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>Functions that are called as if they were columns (<c>t.f</c> means <c>f(t)</c>), against a real server.</summary>
[Trait("group", "postgres")]
public sealed class RowFunctionTests(ServerFixture server)
{
    [Trait("group", "attacks")]
    [Theory]
    [InlineData("select o.{0}_f from {0} o")]
    [InlineData("select {0}.{0}_f from {0}")]
    [InlineData("select public.{0}.{0}_f from public.{0}")]
    [InlineData("select (o).{0}_f from {0} o")]
    [InlineData("select (row(a, status)::{0}).{0}_f from {0}")]
    [InlineData("select o.\"{0}_f\" as status from {0} o")]
    [InlineData("select a from {0} o where o.{0}_F > 0")]
    [InlineData("select a from {0} o order by o.{0}_f")]
    [InlineData("select 1 where exists (select 1 from {0} o where o.{0}_f > 0)")]
    [InlineData("select (select o.{0}_f) from {0} o")]
    [InlineData("update {0} o set a = o.{0}_f")]
    [InlineData("delete from {0} where {0}.{0}_f > 100")]
    [InlineData("insert into {0}(a) select o.{0}_f from {0} o")]
    [InlineData("select v.{0}_g from {0}_v v")]
    [InlineData("select s.{0}_r from (select a from {0}) s")]
    [InlineData("with s as (select * from {0}) select s.{0}_r from s")]
    [InlineData("with s(x) as (select a from {0}) select s.{0}_r from s")]
    [InlineData("select o.status_r from {0} o(a, b)")]
    [InlineData("prepare p as select o.{0}_f from {0} o")]
    [InlineData("begin; create function {0}_new({0}) returns int language sql as 'select {0}_f($1)'; select o.{0}_new from {0} o")]
    [InlineData("begin; create temp table {0}_t as select 1 as x; alter table {0}_t rename to {0}_w; select o.total from {0}_w o")]
    [InlineData("select ('{0}_log'::text).{0}_x")]
    public async Task A_function_that_is_called_like_a_column_is_held_like_a_call(string statement)
    {
        var table = await PrepareAsync();
        await using var gateway = new Gateway(server.Port, masks: true);
        HoldFunctions(gateway);
        var running = gateway.PsqlAsync(statement.Replace("{0}", table, StringComparison.Ordinal).Replace("status_r", table + "_r", StringComparison.Ordinal) + ";");
        var request = await gateway.Approvals.NextAsync();
        gateway.Approvals.Decide(request, approve: false);
        Assert.Contains("not today", await running, StringComparison.Ordinal);
        Assert.Equal("0\n", await server.DirectAsync($"select count(*) from {table}_log;"));
    }

    [Theory]
    [InlineData("select o.a, o.status, {0}.a from {0} o, {0}")]
    [InlineData("select o.lower, public.{0}.total from {0} o, public.{0}")]
    [InlineData("select o.total, o.total from {0} o where o.total > 0 order by o.total")]
    [InlineData("select s.total, s.status from (select * from {0}) s")]
    [InlineData("select s.total from (select a as total from {0}) s")]
    [InlineData("with s as (select o.* from {0} o) select s.total, s.a from s")]
    [InlineData("with s(total) as (select a from {0}) select s.total from s")]
    [InlineData("with recursive s(total) as (select 1 union all select s.total + 1 from s where s.total < 3) select s.total from s")]
    [InlineData("select v.total, v.a from {0}_v v where exists (select 1 from {0} where {0}.a = v.total)")]
    [InlineData("select j.total from ({0} o join {0}_v v using (a, total)) j")]
    [InlineData("select t.x, t.a from {0} t(a, x)")]
    [InlineData("select o.ctid, o.tableoid from {0} o")]
    [InlineData("update {0} o set a = o.total")]
    [InlineData("insert into {0}(a, total) values (5, 6) on conflict (a) do update set a = excluded.total")]
    [InlineData("select g.g, c.relname from generate_series(1, 2) g, pg_catalog.pg_class c limit 1")]
    public async Task Columns_stay_columns(string statement)
    {
        var table = await PrepareAsync();
        await using var gateway = new Gateway(server.Port, masks: true);
        HoldFunctions(gateway);
        var output = await gateway.PsqlAsync(statement.Replace("{0}", table, StringComparison.Ordinal) + ";");
        Assert.DoesNotContain("ERROR", output, StringComparison.Ordinal);
        Assert.Empty(gateway.Approvals.Asked);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task An_access_window_does_not_cover_what_is_called_like_a_column()
    {
        var table = await PrepareAsync();
        await using var gateway = new Gateway(server.Port, masks: true);
        var hold = FunctionDecider.Hold;
        gateway.Decider.By(hold: ["UPDATE"], held: hold with { Terms = hold.Terms! with { LongestWindow = TimeSpan.FromHours(1) } });
        gateway.Approvals.Window = new AccessWindow(600, ["UPDATE"], ["public." + table]);
        Assert.Contains("UPDATE 1", await gateway.PsqlAsync($"update public.{table} o set a = o.total;"), StringComparison.Ordinal);
        Assert.Empty(gateway.Approvals.Asked);
        var running = gateway.PsqlAsync($"update public.{table} o set a = o.{table}_f;");
        gateway.Approvals.Decide(await gateway.Approvals.NextAsync(), approve: false);
        await running;
        Assert.Equal("0\n", await server.DirectAsync($"select count(*) from {table}_log;"));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task A_function_made_since_the_catalog_was_read_counts_in_every_session()
    {
        var table = await PrepareAsync();
        await using var gateway = new Gateway(server.Port, masks: true);
        HoldFunctions(gateway);
        Assert.DoesNotContain("ERROR", await gateway.PsqlAsync($"select o.a from {table} o;\ncreate function {table}_new({table}) returns int language sql as 'select {table}_f($1)';"), StringComparison.Ordinal);
        var running = gateway.PsqlAsync($"select o.{table}_new from {table} o;");
        gateway.Approvals.Decide(await gateway.Approvals.NextAsync(), approve: false);
        await running;
        Assert.Equal("0\n", await server.DirectAsync($"select count(*) from {table}_log;"));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task What_a_function_that_is_called_like_a_column_returns_is_masked()
    {
        var table = await PrepareAsync();
        await server.DirectAsync($"create table {table}_s(ssn text); insert into {table}_s values ('123-45-6789'); create function {table}_l({table}) returns text language sql as 'select ssn from {table}_s';");
        await using var gateway = new Gateway(server.Port, masks: true);
        var decision = FunctionDecider.Allow with { Obligations = new Obligations { Masks = [new ColumnMask("public", table + "_s", "ssn", "redact")] } };
        gateway.Decider.Rule = _ => decision;
        Assert.DoesNotContain("123-45", await gateway.PsqlAsync($"select o.{table}_l from {table} o;\nselect (o).{table}_l from {table} o;"), StringComparison.Ordinal);
        Assert.Contains("7", await gateway.PsqlAsync($"select o.total from {table} o;"), StringComparison.Ordinal);
    }

    private static void HoldFunctions(Gateway gateway) => gateway.Decider.Rule = understood =>
        !understood.Facts.Complete || understood.Facts.Statements.Any(statement => statement.ImpureFunctions.Count > 0) ? FunctionDecider.Hold : FunctionDecider.Allow;

    /// <summary>A table with columns of which one has the name of a function with effects, one that of a pure one; a view; functions of their rows, and of any.</summary>
    private async Task<string> PrepareAsync()
    {
        var table = $"row_{Guid.NewGuid():N}"[..16];
        await server.DirectAsync($"""
            create table {table}(a int primary key, status text, lower text, total int); insert into {table} values (1, 'open', 'x', 7);
            create view {table}_v as select * from {table};
            create table {table}_log(a int);
            create function {table}_f({table}) returns int language sql as 'insert into {table}_log values (1) returning a';
            create function {table}_g({table}_v) returns int language sql as 'insert into {table}_log values (1) returning a';
            create function {table}_x(text) returns int language sql as 'insert into {table}_log values (1) returning a';
            create function {table}_r(record) returns int language plpgsql as $$ begin insert into {table}_log values (1); return 1; end $$;
            create or replace function total(anyelement) returns int language plpgsql as $$ begin return 1; end $$;
            """);
        return table;
    }
}
