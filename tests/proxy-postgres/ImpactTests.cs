using System.Text.RegularExpressions;
using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Postgres.Impact;
using Npgsql;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>What an approver is told of the impact, against a real server; and that finding it out runs no code of a user.</summary>
[Trait("group", "postgres")]
public sealed class ImpactTests(ServerFixture server)
{
    private static readonly string[] Held = ["DELETE", "UPDATE", "INSERT", "ALTER TABLE", "TRUNCATE TABLE", "CREATE INDEX"];

    [Fact]
    public async Task Rows_relations_and_locks_are_told_and_nothing_runs()
    {
        await server.DirectAsync("create table imp1(a int primary key, b text); insert into imp1 select g, 'x' from generate_series(1, 1000) g; analyze imp1;");
        await using var gateway = new Gateway(server.Port);
        var impact = await ForeseeAsync(gateway, "delete from imp1 where a <= 250");
        Assert.Equal(["read and delete from imp1"], impact.Relations);
        Assert.InRange(impact.EstimatedRows!.Value, 200, 300);
        Assert.Contains(impact.Notes, note => note.Contains("ROW EXCLUSIVE on imp1", StringComparison.Ordinal));
        Assert.Null(impact.DryRun);
        Assert.Equal("1000\n", await server.DirectAsync("select count(*) from imp1;"));
        var statements = Assert.Single(gateway.Recorder.Sessions).GatewayStatements;
        Assert.Contains("impact-explain", statements);
        Assert.All(statements.Where(name => name.StartsWith("impact-", StringComparison.Ordinal)), name => Assert.Contains(ImpactStatement.All, each => each.Name == name));
    }

    [Fact]
    public async Task Parameters_go_along_as_they_were_bound()
    {
        await server.DirectAsync("create table imp2(a int); insert into imp2 select g from generate_series(1, 1000) g; analyze imp2;");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: Held);
        await using var connection = await gateway.OpenAsync();
        await using var command = new NpgsqlCommand("update imp2 set a = a + 1 where a <= $1", connection) { Parameters = { new NpgsqlParameter<int> { TypedValue = 500 } } };
        var running = command.ExecuteNonQueryAsync();
        var request = await gateway.Approvals.NextAsync();
        var impact = Assert.Single(gateway.Approvals.Asked).Impact!;
        Assert.InRange(impact.EstimatedRows!.Value, 400, 600);
        gateway.Approvals.Decide(request, approve: false);
        await Assert.ThrowsAsync<PostgresException>(() => running);
    }

    [Trait("group", "attacks")]
    [Theory]
    [InlineData("create function i1() returns int language sql immutable as 'select 1'", "delete from {0} where a = i1()", "without effects")]
    [InlineData("alter table {0} enable row level security", "delete from {0} where a = 1", "row level security")]
    [InlineData("create function i2(int) returns boolean language plpgsql immutable as $$ begin insert into {0}_log values (1); return true; end $$; alter table {0} add check (i2(a))", "delete from {0} where a = 1", "code of a user")]
    [InlineData("create function i3(int) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return $1; end $$; create index on {0} (i3(a))", "delete from {0} where a = 1", "code of a user")]
    [InlineData("create domain {0}_d as int check (value > 0); alter table {0} add column d {0}_d", "delete from {0} where d = 1", "type of a user")]
    [InlineData("create view {0}_v as select * from {0}", "delete from {0}_v where a = 1", "not an ordinary table")]
    [InlineData("create function i4(int) returns int language sql immutable as 'select 1'; alter table {0} add column e int default i4(1)", "insert into {0}(a) values (1)", "code of a user")]
    [InlineData("create type {0}_s as enum ('paid', 'open'); alter table {0} add column s {0}_s; create function {0}_f(text) returns {0}_s language plpgsql immutable as $$ begin insert into {0}_log values (1); return 'paid'; end $$; create cast (text as {0}_s) with function {0}_f(text) as assignment", "update {0} set s = 'pa' || 'id'", "a cast")]
    [InlineData("create type {0}_s as enum ('paid', 'open'); alter table {0} add column s {0}_s; create function {0}_f(text) returns {0}_s language plpgsql immutable as $$ begin insert into {0}_log values (1); return 'paid'; end $$; create cast (text as {0}_s) with function {0}_f(text)", "update {0} set a = 1", "a cast")]
    [InlineData("create type {0}_s as enum ('paid', 'open'); alter table {0} add column s {0}_s; create function {0}_f({0}_s) returns text language plpgsql immutable as $$ begin insert into {0}_log values (1); return 'paid'; end $$; create cast ({0}_s as text) with function {0}_f({0}_s) as implicit", "delete from {0} where coalesce('paid', s) || 'x' = 'paidx'", "a cast")]
    [InlineData("create type {0}_s as enum ('paid', 'open'); alter table {0} add column s {0}_s; create function {0}_f({0}_s[]) returns text language plpgsql immutable as $$ begin insert into {0}_log values (1); return 'paid'; end $$; create cast ({0}_s[] as text) with function {0}_f({0}_s[]) as implicit", "delete from {0} where a = 1", "a cast")]
    [InlineData("create function {0}_f({0}) returns text language plpgsql immutable as $$ begin insert into {0}_log values (1); return 'paid'; end $$; create cast ({0} as text) with function {0}_f({0}) as implicit", "delete from {0} where a = 1", "a cast")]
    [InlineData("create type {0}_s as enum ('paid', 'open'); alter table {0} add column s {0}_s; create function {0}_f({0}_s, {0}_s) returns boolean language plpgsql immutable as $$ begin insert into {0}_log values (1); return true; end $$; create operator === (leftarg = {0}_s, rightarg = {0}_s, function = {0}_f, restrict = eqsel)", "delete from {0} where s = 'paid'", "an operator")]
    [InlineData("create function {0}_f({0}, {0}) returns boolean language plpgsql immutable as $$ begin insert into {0}_log values (1); return true; end $$; create operator = (leftarg = {0}, rightarg = {0}, function = {0}_f, restrict = eqsel)", "delete from {0} where {0} = {0}", "an operator")]
    [InlineData("create type {0}_s as enum ('paid', 'open'); alter table {0} add column s {0}_s; create function {0}_f({0}_s, {0}_s) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return 0; end $$; create operator class {0}_c for type {0}_s using btree as function 1 {0}_f({0}_s, {0}_s)", "delete from {0} where s = 'paid'", "an operator class")]
    [InlineData("create function {0}_f({0}) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return 0; end $$; ", "delete from {0} where {0}.{0}_f = 1", "the same name")]
    [InlineData("create function {0}_f({0}) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return 0; end $$; ", "delete from {0} as t where t.{0}_F = 1", "the same name")]
    [InlineData("create function {0}_f(int) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return $1; end $$; create table {0}_p(a int) partition by range ({0}_f(a)); create table {0}_p1 partition of {0}_p for values from (0) to (10)", "delete from {0}_p where a = 1", "partition key")]
    [InlineData("create function {0}_f(int) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return $1; end $$; create table {0}_p(a int) partition by range ({0}_f(a)); create table {0}_p1 partition of {0}_p for values from (0) to (10)", "delete from {0}_p1 where a = 1", "partition key")]
    [InlineData("create function {0}_f(int) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return $1; end $$; create table {0}_p(a int) partition by range (a); create table {0}_p1 partition of {0}_p for values from (0) to (10); alter table {0}_p1 add check ({0}_f(a) > 0)", "delete from {0}_p where a = 1", "code of a user")]
    [InlineData("create function {0}_f(int) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return $1; end $$; create statistics {0}_x on ({0}_f(a)), a from {0}", "delete from {0} where a = 1", "statistic")]
    [InlineData("create function {0}_f(int) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return $1; end $$; create index on {0} (a) where {0}_f(a) > 0", "delete from {0} where a = 1", "index")]
    [InlineData("create function {0}_f(int) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return $1; end $$; alter table {0} add column g int generated always as ({0}_f(a)) stored", "delete from {0} where a = 1", "default")]
    [InlineData("create function {0}_f(int) returns boolean language plpgsql immutable as $$ begin insert into {0}_log values (1); return true; end $$; create domain {0}_d as int check ({0}_f(value)); alter table {0} alter column a set default 5::{0}_d", "update {0} set a = 1", "default")]
    [InlineData("create rule {0}_r as on delete to {0} do also insert into {0}_log values (1)", "delete from {0} where a = 1", "rules")]
    [InlineData("select 1", "delete from {0} where U&\"\\0061\" = 1", "written with escapes")]
    [InlineData("select 1", "alter table {0} add column c int", "knows nothing")]
    [InlineData("select 1", "delete from {0} where a = 1; delete from {0} where a = 2", "one statement")]
    [InlineData("select 1", "delete from {0}_missing where a = 1", "not known")]
    public async Task Where_code_of_a_user_could_run_there_is_no_estimate(string before, string statement, string why)
    {
        var table = $"imp_{Guid.NewGuid():N}"[..20];
        await server.DirectAsync($"create table {table}(a int); create table {table}_log(a int); {string.Format(System.Globalization.CultureInfo.InvariantCulture, before, table)};");
        await using var gateway = new Gateway(server.Port);
        var impact = await ForeseeAsync(gateway, string.Format(System.Globalization.CultureInfo.InvariantCulture, statement, table));
        Assert.Null(impact.EstimatedRows);
        Assert.Contains(impact.Notes, note => note.StartsWith("There is no estimate: ", StringComparison.Ordinal) && note.Contains(why, StringComparison.Ordinal));
        Assert.DoesNotContain("impact-explain", gateway.Recorder.Sessions.SelectMany(session => session.GatewayStatements));
        Assert.Equal("0\n", await server.DirectAsync($"select count(*) from {table}_log;"));
    }

    [Fact]
    public async Task A_function_that_takes_a_pure_name_is_not_planned_with()
    {
        await server.DirectAsync("create table imp3(a int); create table imp3_log(a int); create function lower(int) returns text language plpgsql immutable as $$ begin insert into imp3_log values (1); return 'x'; end $$;");
        try
        {
            await using var gateway = new Gateway(server.Port);
            var impact = await ForeseeAsync(gateway, "delete from imp3 where lower(1) = 'x'");
            Assert.Null(impact.EstimatedRows);
            Assert.Contains(impact.Notes, note => note.Contains("same name: lower", StringComparison.Ordinal));
            Assert.Equal("0\n", await server.DirectAsync("select count(*) from imp3_log;"));
        }
        finally
        {
            await server.DirectAsync("drop function lower(int);");
        }
    }

    [Theory]
    [InlineData("create type imp16_t as enum ('x'); create function imp16_f(int, imp16_t) returns boolean language plpgsql immutable as $$ begin insert into imp16_log values (1); return true; end $$; create operator = (leftarg = int, rightarg = imp16_t, function = imp16_f)", "delete from imp16 where 1 = 'x'", "an operator")]
    [InlineData("create type imp16_t as enum ('x'); create function imp16_f(text) returns imp16_t language plpgsql immutable as $$ begin insert into imp16_log values (1); return 'x'; end $$; create cast (text as imp16_t) with function imp16_f(text) as implicit", "delete from imp16 where a = 1", "a cast")]
    [InlineData("create function imp16_f(bytea) returns int language plpgsql immutable as $$ begin insert into imp16_log values (1); return 1; end $$; create cast (bytea as int) with function imp16_f(bytea)", "delete from imp16 where a = 'x'::bytea::int", "a cast")]
    public async Task An_operator_or_cast_of_a_user_for_types_of_the_server_is_not_planned_with(string before, string statement, string why)
    {
        await server.DirectAsync($"create table imp16(a int); create table imp16_log(a int); {before};");
        try
        {
            await using var gateway = new Gateway(server.Port);
            var impact = await ForeseeAsync(gateway, statement);
            Assert.Null(impact.EstimatedRows);
            Assert.Contains(impact.Notes, note => note.StartsWith("There is no estimate: ", StringComparison.Ordinal) && note.Contains(why, StringComparison.Ordinal));
            Assert.DoesNotContain("impact-explain", gateway.Recorder.Sessions.SelectMany(session => session.GatewayStatements));
        }
        finally
        {
            await server.DirectAsync("drop table imp16, imp16_log; drop type if exists imp16_t cascade; do $$ begin execute (select 'drop function ' || oid::regprocedure || ' cascade' from pg_proc where proname = 'imp16_f'); exception when others then null; end $$;");
        }
    }

    [Fact]
    public async Task A_parameter_of_a_users_type_is_not_read()
    {
        await server.DirectAsync("create table imp9(a int); create function imp9_f(text) returns boolean language plpgsql immutable as $$ begin perform pg_advisory_lock(9); return true; end $$; create domain imp9_d as text check (imp9_f(value));");
        var type = uint.Parse((await server.DirectAsync("select 'imp9_d'::regtype::oid;")).Trim(), System.Globalization.CultureInfo.InvariantCulture);
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: Held);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Parse("", "delete from imp9 where $1 is null and a = 1", type).Bind("", "", "x").Execute("").Sync();
        await client.FlushAsync();
        gateway.Approvals.Decide(await gateway.Approvals.NextAsync(), approve: false);
        await client.ReadToReadyAsync();
        var impact = Assert.Single(gateway.Approvals.Asked).Impact!;
        Assert.Contains(impact.Notes, note => note.Contains("a parameter has a type of a user", StringComparison.Ordinal));
        Assert.DoesNotContain("impact-explain", gateway.Recorder.Sessions.SelectMany(session => session.GatewayStatements));
    }

    [Fact]
    public async Task An_enum_and_a_partitioned_table_without_code_of_a_user_are_planned()
    {
        await server.DirectAsync("""
            create type imp10_s as enum ('paid', 'open');
            create table imp10(a int, s imp10_s not null default 'open', t text generated always as (a::text) stored, check (a > 0)) partition by range (a);
            create table imp10_1 partition of imp10 for values from (0) to (1000);
            create index on imp10 (s) where a > 5;
            create statistics imp10_x on (a % 10), s from imp10;
            insert into imp10 select g from generate_series(1, 100) g;
            analyze imp10;
            """);
        await using var gateway = new Gateway(server.Port);
        foreach (var table in new[] { "imp10", "imp10_1" })
        {
            var impact = await ForeseeAsync(gateway, $"update {table} set s = 'paid' where s = 'open'");
            Assert.True(impact.EstimatedRows is > 50 and <= 100, string.Join('\n', impact.Notes));
        }
    }

    [Fact]
    public async Task A_lock_of_somebody_else_delays_the_notice_no_longer_than_a_moment()
    {
        await server.DirectAsync("create table imp4(a int);");
        await using var other = new NpgsqlConnection($"Host=127.0.0.1;Port={server.Port};Username=postgres;Database=postgres;SSL Mode=Disable;Pooling=false");
        await other.OpenAsync();
        await using var transaction = await other.BeginTransactionAsync();
        await using (var command = new NpgsqlCommand("lock table imp4", other, transaction))
        {
            await command.ExecuteNonQueryAsync();
        }

        await using var gateway = new Gateway(server.Port);
        var impact = await ForeseeAsync(gateway, "delete from imp4");
        Assert.Contains(impact.Notes, note => note.Contains("somebody holds a lock", StringComparison.Ordinal));
        Assert.Contains(impact.Notes, note => note.Contains("all rows", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("set search_path = pg_catalog, public")]
    [InlineData("create temp table imp5_t(a int)")]
    public async Task In_another_context_there_is_no_estimate(string before)
    {
        await server.DirectAsync("create table if not exists imp5(a int);");
        await using var gateway = new Gateway(server.Port);
        var impact = await ForeseeAsync(gateway, "delete from imp5", before);
        Assert.Null(impact.EstimatedRows);
        Assert.Contains(impact.Notes, note => note.Contains(before.StartsWith("set", StringComparison.Ordinal) ? "another search_path" : "temporary relations", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_dry_run_shows_masked_rows_and_changes_nothing()
    {
        await server.DirectAsync("create table imp6(a int primary key, b text, secret text); insert into imp6 select g, 'b' || g, 'secret' || g from generate_series(1, 20) g;");
        await using var gateway = new Gateway(server.Port, masks: true);
        var held = FunctionDecider.Hold with
        {
            Terms = FunctionDecider.Hold.Terms! with { DryRun = true },
            Obligations = new Obligations { Masks = [new ColumnMask("public", "imp6", "secret", "last4")] },
        };
        var impact = await ForeseeAsync(gateway, "update imp6 set b = 'changed' where a <= 7", decision: held);
        Assert.Equal(7, impact.DryRun!.Rows);
        Assert.Equal(["a", "b", "secret"], impact.DryRun.Columns);
        Assert.Equal(5, impact.DryRun.After.Count);
        Assert.All(impact.DryRun.After, row => Assert.Equal(("changed", "***"), (row[1], row[2])));
        Assert.All(impact.DryRun.Before, row => Assert.Equal(($"b{row[0]}", "***"), (row[1], row[2])));
        Assert.Equal(impact.DryRun.After.Select(row => row[0]), impact.DryRun.Before.Select(row => row[0]));
        Assert.Equal("0\n", await server.DirectAsync("select count(*) from imp6 where b = 'changed';"));

        impact = await ForeseeAsync(gateway, "delete from imp6 where a = 3", decision: held);
        Assert.Equal(1, impact.DryRun!.Rows);
        Assert.Equal(["3", "b3", "***"], Assert.Single(impact.DryRun.Before));
        Assert.Equal("20\n", await server.DirectAsync("select count(*) from imp6;"));
    }

    [Trait("group", "attacks")]
    [Theory]
    [InlineData("update {0} as x set b = x.b || '!' where a in (1, 2)", "b1,b2", "b1!,b2!", null)]
    [InlineData("update {0} set b = o.c from {0}_o o where o.a = {0}.a and o.a = 2", "b2", "other2", null)]
    [InlineData("with w as (select 3 as a) update only {0} set (b, c) = (select 'w', 'v') where a = (select a from w)", "b3", "w", null)]
    [InlineData("update {0} set a = a + 100 where a in (1, 2)", null, "b1,b2", "it changes the primary key")]
    [InlineData("update {0}_n set b = 'x' where a = 1", null, "x", "no primary key")]
    [InlineData("update {0}_i set b = 'x' where a = 1", null, "x,x", "no primary key")]
    [InlineData("update {0}_g set b = 'x' where a = 1", null, "x", "no primary key")]
    [InlineData("update {0}_p set b = 'x' where a in (1, 200)", "p1,p200", "x,x", null)]
    [InlineData("update {0} set b = 'x' where a = 77", "", "", null)]
    public async Task An_update_shows_its_rows_before_and_after_where_it_is_certain_which_they_were(string statement, string? before, string after, string? note)
    {
        var table = $"imp_{Guid.NewGuid():N}"[..20];
        string Named(string text) => text.Replace("{0}", table, StringComparison.Ordinal);
        await server.DirectAsync(Named("""
            create table {0}(a int primary key, b text, c text); insert into {0} select g, 'b' || g, 'c' from generate_series(1, 5) g;
            create table {0}_o(a int, b text, c text); insert into {0}_o select g, 'o' || g, 'other' || g from generate_series(1, 5) g;
            create table {0}_n(a int, b text); insert into {0}_n values (1, 'n');
            create table {0}_i(a int primary key, b text); create table {0}_j() inherits ({0}_i); insert into {0}_i values (1, 'i'); insert into {0}_j values (1, 'j');
            create table {0}_g(a int, b text, c text generated always as (b || '') stored primary key); insert into {0}_g values (1, 'g');
            create table {0}_p(a int primary key, b text) partition by range (a); create table {0}_q partition of {0}_p for values from (0) to (100);
            create table {0}_r partition of {0}_p for values from (100) to (300); insert into {0}_p values (1, 'p1'), (200, 'p200');
            """));
        await using var gateway = new Gateway(server.Port);
        var impact = await ForeseeAsync(gateway, Named(statement), decision: FunctionDecider.Hold with { Terms = FunctionDecider.Hold.Terms! with { DryRun = true } });
        Assert.True(impact.DryRun is not null, string.Join('\n', impact.Notes));
        static string Shown(IEnumerable<IReadOnlyList<string?>> rows) => string.Join(',', rows.Select(row => row[1]).Order(StringComparer.Ordinal));
        Assert.Equal((before ?? "", after), (Shown(impact.DryRun.Before), Shown(impact.DryRun.After)));
        Assert.All(impact.DryRun.After, row => Assert.Equal(impact.DryRun.Columns.Count, row.Count));
        Assert.Equal(note is null ? 0 : 1, impact.Notes.Count(each => each.Contains("rows as they are now", StringComparison.Ordinal) && each.Contains(note!, StringComparison.Ordinal)));
        Assert.Equal("5|0\n", await server.DirectAsync(Named("select count(*), count(*) filter (where b <> 'b' || a) from {0};")));
    }

    [Trait("group", "attacks")]
    [Theory]
    [InlineData("update {0} set b = secret where a = 1")]
    [InlineData("update {0} set b = 'x' where secret = 'secret3'")]
    [InlineData("update {0}_o set c = s.secret from {0} s where s.a = {0}_o.a")]
    [InlineData("delete from {0}_o using {0} s where s.secret like 'secret1%' and s.a = {0}_o.a")]
    [InlineData("insert into {0}_o select a, secret, secret from {0}")]
    public async Task What_would_tell_masked_values_is_neither_estimated_nor_tried(string statement)
    {
        var table = $"imp_{Guid.NewGuid():N}"[..20];
        string Named(string text) => text.Replace("{0}", table, StringComparison.Ordinal);
        await server.DirectAsync(Named("""
            create table {0}(a int primary key, b text, secret text); insert into {0} select g, 'b' || g, 'secret' || g from generate_series(1, 5) g;
            create table {0}_o(a int primary key, b text, c text); insert into {0}_o select g, 'o' || g, 'other' || g from generate_series(1, 5) g;
            """));
        await using var gateway = new Gateway(server.Port, masks: true);
        var held = FunctionDecider.Hold with
        {
            Terms = FunctionDecider.Hold.Terms! with { DryRun = true },
            Obligations = new Obligations { Masks = [new ColumnMask("public", table, "secret", "last4")], Laundering = Outcome.RequireApproval, FilterOnMasked = FilterOnMasked.RequireApproval },
        };
        var impact = await ForeseeAsync(gateway, Named(statement), decision: held);
        Assert.Null(impact.DryRun);
        Assert.Null(impact.EstimatedRows);
        Assert.Contains(impact.Notes, note => note.Contains("reads what is masked", StringComparison.Ordinal));
        Assert.DoesNotContain(gateway.Recorder.Sessions.SelectMany(session => session.GatewayStatements), name => name is "impact-explain" or "impact-try" or "impact-try-update");
    }

    [Fact]
    public async Task Columns_of_a_joined_table_are_not_shown_and_a_masked_one_is_not_joined_at_all()
    {
        await server.DirectAsync("""
            create table imp8(a int primary key, b text); insert into imp8 values (1, 'b');
            create table imp8_o(a int primary key, b text); insert into imp8_o values (1, 'only there');
            """);
        await using var gateway = new Gateway(server.Port, masks: true);
        var held = FunctionDecider.Hold with { Terms = FunctionDecider.Hold.Terms! with { DryRun = true } };
        foreach (var statement in new[] { "update imp8 set b = 'x' from imp8_o o where o.a = imp8.a", "delete from imp8 using imp8_o o where o.a = imp8.a" })
        {
            var impact = await ForeseeAsync(gateway, statement, decision: held);
            Assert.Equal((1L, 2), (impact.DryRun!.Rows, impact.DryRun.Columns.Count));
            Assert.DoesNotContain("only there", impact.DryRun.Before.Concat(impact.DryRun.After).SelectMany(row => row));

            // By another column than the masked one: what would still be told of it is nothing that anybody has to find out.
            var masked = held with { Obligations = new Obligations { Masks = [new ColumnMask("public", "imp8_o", "b", "last4")] } };
            impact = await ForeseeAsync(gateway, statement, decision: masked);
            Assert.Null(impact.DryRun);
            Assert.Contains(impact.Notes, note => note.Contains("reads what is masked", StringComparison.Ordinal));
        }
    }

    [Trait("group", "attacks")]
    [Theory]
    [InlineData("create function {0}_f() returns trigger language plpgsql as $$ begin perform pg_notify('x', 'y'); return new; end $$; create trigger t before update on {0} for each row execute function {0}_f()", "update {0} set b = 1", "triggers")]
    [InlineData("create table {0}_c(a int references {0}(a) on delete cascade)", "delete from {0} where a = 1", "foreign key")]
    [InlineData("alter table {0} add column s serial", "insert into {0}(a) values (99)", "sequence")]
    [InlineData("alter table {0} add column s serial", "update {0} set s = Default where a = 1", "sequence")]
    [InlineData("alter table {0} add column s int generated by default as identity", "update {0} set s = DEFAULT where a = 1", "sequence")]
    [InlineData("create sequence {0}_q; alter table {0} add column s int default nextval('{0}_q'::text)", "insert into {0}(a) values (99)", "sequence")]
    [InlineData("create sequence {0}_q; alter table {0} add column s int default nextval('{0}_q'::text)", "update {0} set s = default where a = 1", "sequence")]
    [InlineData("create function {0}_f(int) returns int language plpgsql immutable as $$ begin return $1; end $$; create table {0}_o(a int primary key); create index on {0}_o ({0}_f(a)); insert into {0}_o values (1), (2); alter table {0} add foreign key (b) references {0}_o(a)", "update {0} set b = 2", "checking a foreign key")]
    [InlineData("create function {0}_f(int) returns int language plpgsql immutable as $$ begin return $1; end $$; create table {0}_o(a int references {0}(a)); create index on {0}_o ({0}_f(a))", "delete from {0} where a = 1", "checking a foreign key")]
    [InlineData("select 1", "update {0} set b = 2 where a = 1 returning a", "RETURNING")]
    public async Task What_would_leave_something_behind_is_not_tried(string before, string statement, string why)
    {
        var table = $"imp_{Guid.NewGuid():N}"[..20];
        await server.DirectAsync($"create table {table}(a int primary key, b int); insert into {table} values (1, 1); {string.Format(System.Globalization.CultureInfo.InvariantCulture, before, table)};");
        await using var gateway = new Gateway(server.Port);
        var impact = await ForeseeAsync(
            gateway, string.Format(System.Globalization.CultureInfo.InvariantCulture, statement, table),
            decision: FunctionDecider.Hold with { Terms = FunctionDecider.Hold.Terms! with { DryRun = true } });
        Assert.Null(impact.DryRun);
        Assert.Contains(impact.Notes, note => note.StartsWith("It was not tried: ", StringComparison.Ordinal) && note.Contains(why, StringComparison.Ordinal));
        Assert.DoesNotContain("impact-try", gateway.Recorder.Sessions.SelectMany(session => session.GatewayStatements));
    }

    [Fact]
    public async Task A_change_that_computes_no_default_is_tried_beside_a_sequence_that_stays_where_it_is()
    {
        await server.DirectAsync("create table imp11(a serial primary key, b int); insert into imp11(b) values (1), (2); create table imp11_o(a int references imp11(a));");
        await using var gateway = new Gateway(server.Port);
        var held = FunctionDecider.Hold with { Terms = FunctionDecider.Hold.Terms! with { DryRun = true } };
        Assert.Equal(2, (await ForeseeAsync(gateway, "update imp11 set b = b + 1", decision: held)).DryRun!.Rows);
        Assert.Equal(1, (await ForeseeAsync(gateway, "delete from imp11 where a = 2", decision: held)).DryRun!.Rows);
        Assert.Equal("2\n3\n", await server.DirectAsync("select last_value from imp11_a_seq; select sum(b) from imp11;"));
    }

    [Trait("group", "attacks")]
    [Theory]
    [InlineData("update imp12 set note = (select ssn from imp12_people where id = 1)")]
    [InlineData("insert into imp12(id, note) select id, ssn from imp12_people")]
    [InlineData("delete from imp12 using imp12_people p where p.id = 1 and p.ssn like '078%'")]
    [InlineData("update imp12_people set note = ssn")]
    [InlineData("delete from imp12_people where ssn like '078%'")]
    public async Task A_dry_run_is_no_way_around_a_mask(string statement)
    {
        await server.DirectAsync("""
            create table if not exists imp12(id int, note text);
            create table if not exists imp12_people(id int, ssn text, note text);
            truncate imp12, imp12_people; insert into imp12 values (1, 'x'); insert into imp12_people values (1, '078-05-1120', 'y');
            """);
        await using var gateway = new Gateway(server.Port, masks: true);
        var held = FunctionDecider.Hold with
        {
            Terms = FunctionDecider.Hold.Terms! with { DryRun = true },
            Obligations = new Obligations { Masks = [new ColumnMask("public", "imp12_people", "ssn", "last4")] },
        };
        var impact = await ForeseeAsync(gateway, statement, decision: held);
        Assert.Null(impact.DryRun);
        Assert.Contains(impact.Notes, note => note.Contains("it reads what is masked", StringComparison.Ordinal));
        Assert.DoesNotContain("impact-try", gateway.Recorder.Sessions.SelectMany(session => session.GatewayStatements));
    }

    [Fact]
    public async Task What_was_filled_from_masked_columns_is_not_shown_where_no_mask_is_left()
    {
        await server.DirectAsync("create table imp13(id int, note text); create table imp13_people(id int, ssn text); create table imp13_other(id int, note text); insert into imp13 values (1, 'x'); insert into imp13_people values (1, '078-05-1120');");
        await using var gateway = new Gateway(server.Port, masks: true);
        var masked = FunctionDecider.Hold with { Obligations = new Obligations { Masks = [new ColumnMask("public", "imp13_people", "ssn", "last4")] } };
        gateway.Decider.By(hold: Held, held: masked);
        using (var client = await RawClient.LogInAsync(gateway.Port))
        {
            client.Query("insert into imp13 select id, ssn from imp13_people");
            await client.FlushAsync();
            gateway.Approvals.Decide(await gateway.Approvals.NextAsync(), approve: true);
            Assert.DoesNotContain(await client.ReadToReadyAsync(), reply => reply.Type == 'E');
        }

        var held = FunctionDecider.Hold with { Terms = FunctionDecider.Hold.Terms! with { DryRun = true } };
        foreach (var statement in new[] { "delete from imp13", "insert into imp13_other select * from imp13" })
        {
            var impact = await ForeseeAsync(gateway, statement, decision: held);
            Assert.Null(impact.DryRun);
            Assert.Contains(impact.Notes, note => note.Contains("it reads what is masked", StringComparison.Ordinal));
        }
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Whoever_asks_again_and_again_has_no_more_tried()
    {
        await server.DirectAsync("create table imp14(a int); insert into imp14 select generate_series(1, 20);");
        await using var gateway = new Gateway(server.Port);
        var held = FunctionDecider.Hold with { Terms = FunctionDecider.Hold.Terms! with { DryRun = true } };
        for (var number = 1; number <= PreviewLimits.TriesPerMinute; number++)
        {
            Assert.NotNull((await ForeseeAsync(gateway, $"delete from imp14 where a = {number}", decision: held)).DryRun);
        }

        var impact = await ForeseeAsync(gateway, "delete from imp14 where a = 19", decision: held);
        Assert.Null(impact.DryRun);
        Assert.NotNull(impact.EstimatedRows);
        Assert.Contains(impact.Notes, note => note.Contains("too much tried", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("$relation")]
    [InlineData("$key")]
    [InlineData("$columns")]
    [InlineData("a\"b")]
    public async Task A_name_that_looks_like_a_place_in_the_gateways_own_words_stays_a_name(string name)
    {
        var quoted = $"\"{name.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
        await server.DirectAsync($"drop table if exists imp15; create table imp15({quoted} int primary key, b int); insert into imp15 values (1, 5), (2, 6);");
        await using var gateway = new Gateway(server.Port);
        var held = FunctionDecider.Hold with { Terms = FunctionDecider.Hold.Terms! with { DryRun = true } };
        var impact = await ForeseeAsync(gateway, $"update imp15 as {quoted} set b = 7 where {quoted}.{quoted} = 2", decision: held);
        Assert.Equal([name, "b"], impact.DryRun!.Columns);
        Assert.Equal(["2", "6"], Assert.Single(impact.DryRun.Before));
        Assert.Equal(["2", "7"], Assert.Single(impact.DryRun.After));
    }

    [Fact]
    public async Task Previews_are_limited_for_each_person_and_all_together()
    {
        var limits = new PreviewLimits();
        var now = DateTimeOffset.UnixEpoch;
        var cancellation = TestContext.Current.CancellationToken;
        ValueTask<IDisposable?> BeginAsync(string person) => limits.BeginAsync(person, now, TimeSpan.Zero, cancellation);
        var first = await BeginAsync("alice");
        var second = await BeginAsync("alice");
        Assert.NotNull(first);
        Assert.NotNull(second);
        Assert.Null(await BeginAsync("alice"));
        using (var other = await BeginAsync("bob"))
        using (var another = await BeginAsync("carol"))
        {
            Assert.NotNull(other);
            Assert.NotNull(another);
            Assert.Null(await BeginAsync("dave"));
        }

        first.Dispose();
        first.Dispose();
        using (var next = await BeginAsync("alice"))
        {
            Assert.NotNull(next);
            Assert.Null(await BeginAsync("alice"));
        }

        second.Dispose();
        for (var number = 3; number < PreviewLimits.PerMinute; number++)
        {
            (await BeginAsync("alice"))!.Dispose();
        }

        Assert.Null(await BeginAsync("alice"));
        Assert.All(Enumerable.Range(0, PreviewLimits.TriesPerMinute), _ => Assert.True(limits.MayTry("alice", now)));
        Assert.False(limits.MayTry("alice", now));
        Assert.True(limits.MayTry("bob", now));
        now += TimeSpan.FromMinutes(1);
        using var later = await BeginAsync("alice");
        Assert.NotNull(later);
        Assert.True(limits.MayTry("alice", now));
    }

    [Fact]
    public async Task Nobody_keeps_all_others_from_asking_ahead_of_time()
    {
        using var silent = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        silent.Start();
        await using var gateway = new Gateway(((System.Net.IPEndPoint)silent.LocalEndpoint).Port);
        gateway.Decider.By(hold: Held);
        var ahead = new Countersign.Proxy.Postgres.Gateway.PostgresAhead(gateway.Services, new PostgresOptions());
        using var ending = new CancellationTokenSource();
        Task AskAsync(string person) => ahead.ReadAsync(
            new Countersign.Proxy.Postgres.Gateway.AheadRequester(Claims(person), "token", Gateway.Connection, null, "127.0.0.1"), ["delete from t"], ending.Token);
        var waiting = new List<Task> { AskAsync("alice"), AskAsync("alice") };
        Assert.Equal("busy", (await Assert.ThrowsAsync<Countersign.Proxy.Postgres.Gateway.AheadRefusedException>(() => AskAsync("alice"))).Code);
        waiting.Add(AskAsync("bob"));
        Assert.False(waiting[2].IsFaulted);
        await ending.CancelAsync();
        foreach (var task in waiting)
        {
            await Assert.ThrowsAnyAsync<Exception>(() => task);
        }

        // Whoever has been answered may ask again.
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => AskAsync("alice"));
    }

    [Theory]
    [InlineData("alter table t alter column a type bigint", "ALTER TABLE", "ACCESS EXCLUSIVE", "anew")]
    [InlineData("alter table t validate constraint c", "ALTER TABLE", "SHARE UPDATE EXCLUSIVE", "reads the whole")]
    [InlineData("alter table t add constraint c check (a > 0) not valid", "ALTER TABLE", "ACCESS EXCLUSIVE", "moment")]
    [InlineData("alter table t add column \"type\" text", "ALTER TABLE", "ACCESS EXCLUSIVE", "moment")]
    [InlineData("create unique index concurrently on t (a)", "CREATE INDEX", "SHARE UPDATE EXCLUSIVE", "twice")]
    [InlineData("create index on t (a) where b = 'concurrently'", "CREATE INDEX", "SHARE", "blocks writes")]
    [InlineData("truncate t", "TRUNCATE TABLE", "ACCESS EXCLUSIVE", "gone")]
    [InlineData("select 1", "SELECT", null, null)]
    public void Locks_are_found_by_the_form_of_the_statement(string text, string kind, string? level, string? note)
    {
        var row = LockTable.Of(text, kind);
        Assert.Equal(level, row?.Lock);
        Assert.Contains(note ?? "", row?.Note ?? "", StringComparison.Ordinal);
    }

    [Fact]
    public void The_page_shows_the_table()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(System.IO.Path.Combine(folder!.FullName, "docs", "operations", "impact.md")))
        {
            folder = folder.Parent;
        }

        var page = File.ReadAllText(System.IO.Path.Combine(folder.FullName, "docs", "operations", "impact.md"));
        var shown = Regex.Matches(page, @"^\| `([A-Z ]+)` \| ([A-Z ]+) \| (.*) \|$", RegexOptions.Multiline)
            .Select(match => (match.Groups[1].Value, match.Groups[2].Value, match.Groups[3].Value));
        Assert.Equal(LockTable.Rows.Select(row => (row.Words, row.Lock, row.Note)), shown);
    }

    private static Countersign.Identity.Contracts.SessionAssertionClaims Claims(string person) => new()
    {
        Issuer = "identity",
        Audience = "proxy",
        Subject = "prn_" + person,
        Session = "",
        Proxy = "",
        Connection = Gateway.Connection,
        Credential = "crd_1",
        Person = person,
        Name = person,
        Kind = "human",
        Owners = [],
        Groups = [],
        Acr = "",
        Amr = [],
        AuthenticatedAt = 0,
        IssuedAt = 0,
        ExpiresAt = long.MaxValue,
    };

    private static async Task<RequestImpact> ForeseeAsync(Gateway gateway, string statement, string? before = null, Decision? decision = null)
    {
        gateway.Decider.By(hold: Held, held: decision);
        using var client = await RawClient.LogInAsync(gateway.Port);
        if (before is not null)
        {
            client.Query(before);
            Assert.DoesNotContain(await client.RunAsync(), reply => reply.Type == 'E');
        }

        client.Query(statement);
        await client.FlushAsync();
        var request = await gateway.Approvals.NextAsync();
        gateway.Approvals.Decide(request, approve: false);
        await client.ReadToReadyAsync();
        return gateway.Approvals.Asked.Last().Impact!;
    }
}
