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

    [Theory]
    [InlineData("create function i1() returns int language sql immutable as 'select 1'", "delete from {0} where a = i1()", "without effects")]
    [InlineData("alter table {0} enable row level security", "delete from {0} where a = 1", "row level security")]
    [InlineData("create function i2(int) returns boolean language plpgsql immutable as $$ begin insert into {0}_log values (1); return true; end $$; alter table {0} add check (i2(a))", "delete from {0} where a = 1", "code of a user")]
    [InlineData("create function i3(int) returns int language plpgsql immutable as $$ begin insert into {0}_log values (1); return $1; end $$; create index on {0} (i3(a))", "delete from {0} where a = 1", "code of a user")]
    [InlineData("create domain {0}_d as int check (value > 0); alter table {0} add column d {0}_d", "delete from {0} where d = 1", "type of a user")]
    [InlineData("create view {0}_v as select * from {0}", "delete from {0}_v where a = 1", "not an ordinary table")]
    [InlineData("create function i4(int) returns int language sql immutable as 'select 1'; alter table {0} add column e int default i4(1)", "insert into {0}(a) values (1)", "code of a user")]
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
    public async Task Columns_of_a_joined_table_are_not_shown()
    {
        await server.DirectAsync("""
            create table imp8(a int primary key, b text); insert into imp8 values (1, 'b');
            create table imp8_o(a int primary key, b text); insert into imp8_o values (1, 'masked there');
            """);
        await using var gateway = new Gateway(server.Port, masks: true);
        var held = FunctionDecider.Hold with
        {
            Terms = FunctionDecider.Hold.Terms! with { DryRun = true },
            Obligations = new Obligations { Masks = [new ColumnMask("public", "imp8_o", "b", "last4")] },
        };
        foreach (var statement in new[] { "update imp8 set b = 'x' from imp8_o o where o.a = imp8.a", "delete from imp8 using imp8_o o where o.a = imp8.a" })
        {
            var impact = await ForeseeAsync(gateway, statement, decision: held);
            Assert.Equal((1L, 2), (impact.DryRun!.Rows, impact.DryRun.Columns.Count));
            Assert.DoesNotContain("masked there", impact.DryRun.Before.Concat(impact.DryRun.After).SelectMany(row => row));
        }
    }

    [Theory]
    [InlineData("create function {0}_f() returns trigger language plpgsql as $$ begin perform pg_notify('x', 'y'); return new; end $$; create trigger t before update on {0} for each row execute function {0}_f()", "update {0} set b = 1", "triggers")]
    [InlineData("create table {0}_c(a int references {0}(a) on delete cascade)", "delete from {0} where a = 1", "foreign key")]
    [InlineData("alter table {0} add column s serial", "insert into {0}(a) values (99)", "sequence")]
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
