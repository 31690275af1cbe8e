using System.Text;

namespace Countersign.Proxy.Postgres.Tests;

[Trait("group", "postgres")]
public sealed class ExtendedTests(ServerFixture server)
{
    [Fact]
    public async Task A_pipeline_with_a_refused_bind_is_rolled_back_to_its_sync()
    {
        await server.DirectAsync("create table pipe(a int);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(deny: ["DELETE"]);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Parse("", "insert into pipe values (1)").Bind("", "").Execute("")
            .Parse("d", "delete from pipe").Bind("", "d").Execute("")
            .Parse("", "insert into pipe values (2)").Bind("", "").Execute("").Sync()
            .Parse("", "select count(*) from pipe").Bind("", "").Execute("").Sync();
        var first = await client.RunAsync();
        Assert.Equal("12CEZ", first.Types());
        Assert.Equal(("42501", "Not here."), (first.Error().Field('C'), first.Error().Field('M')));
        var second = await client.ReadToReadyAsync();
        Assert.Equal("12DCZ", second.Types());
        Assert.EndsWith("0", second[2].Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_refused_bind_is_skipped_to_sync_where_only_its_values_are_denied()
    {
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.Rule = understood => understood.RecordedParameters.Contains("13") ? FunctionDecider.Deny("starter/no-13") : FunctionDecider.Allow;
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Parse("s", "select $1::int", 23).Describe('S', "s").Bind("", "s", "12").Execute("").Sync();
        Assert.Equal("1tT2DCZ", (await client.RunAsync()).Types());
        client.Bind("", "s", "13").Describe('P', "").Execute("").Sync().Bind("", "s", "14").Execute("").Sync();
        var refused = await client.RunAsync();
        Assert.Equal("EZ", refused.Types());
        Assert.Equal("42501", refused.Error().Field('C'));

        // The named statement is still there, and so is the session.
        Assert.Equal("2DCZ", (await client.ReadToReadyAsync()).Types());
    }

    [Fact]
    public async Task A_prepared_statement_is_decided_again_at_each_bind()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Parse("s", "select 1").Bind("", "s").Execute("").Sync();
        Assert.Equal("12DCZ", (await client.RunAsync()).Types());
        gateway.Decider.By(deny: ["SELECT"]);
        client.Bind("", "s").Execute("").Sync();
        Assert.Equal("EZ", (await client.RunAsync()).Types());
        gateway.Decider.By();
        client.Bind("", "s").Execute("").Sync();
        Assert.Equal("2DCZ", (await client.RunAsync()).Types());
    }

    [Fact]
    public async Task A_parse_that_failed_leaves_the_old_text_under_its_name()
    {
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.Rule = understood => understood.RecordedText.Contains("'old'", StringComparison.Ordinal) ? FunctionDecider.Deny("starter/no-old") : FunctionDecider.Allow;
        using var client = await RawClient.LogInAsync(gateway.Port);

        // 'old' is prepared while it may be; then a second Parse of the name, which the server refuses, tries to make the gateway believe in another text.
        gateway.Decider.By();
        client.Parse("s", "select 'old'").Sync();
        await client.RunAsync();
        gateway.Decider.Rule = understood => understood.RecordedText.Contains("'old'", StringComparison.Ordinal) ? FunctionDecider.Deny("starter/no-old") : FunctionDecider.Allow;
        client.Parse("s", "select 'new'").Sync().Bind("", "s").Execute("").Sync();
        var first = await client.RunAsync();
        Assert.Equal("42P05", first.Error().Field('C'));
        var second = await client.ReadToReadyAsync();
        Assert.Equal("42501", second.Error().Field('C'));
    }

    [Fact]
    public async Task Names_that_the_server_takes_for_one_another_give_no_permit()
    {
        await server.DirectAsync("create table alias(a int); insert into alias values (1);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        using var client = await RawClient.LogInAsync(gateway.Port);

        // The server keeps 63 bytes of a name: these three are one statement to it.
        var name = new string('a', 63);
        client.Parse(name + "1", "select 1").Close('S', name + "2").Parse(name + "3", "delete from alias").Bind("", name + "1").Execute("").Sync();
        await client.FlushAsync();
        Reply? last = null;
        while (await client.TryReadAsync() is { } reply)
        {
            last = reply;
        }

        Assert.Equal(("FATAL", "42622"), (last!.Field('V'), last.Field('C')));
        Assert.Equal("1\n", await server.DirectAsync("select count(*) from alias;"));
    }

    [Fact]
    public async Task A_name_of_63_bytes_is_good()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        var name = new string('a', 63);
        client.Parse(name, "select 1").Bind(name, name).Execute(name).Sync();
        Assert.Equal("12DCZ", (await client.RunAsync()).Types());
    }

    [Fact]
    public async Task A_failed_parse_ends_the_unnamed_statement()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Parse("", "select 1").Sync().Parse("", "selec").Sync().Bind("", "").Sync();
        Assert.Equal("1Z", (await client.RunAsync()).Types());
        Assert.Equal("42601", (await client.ReadToReadyAsync()).Error().Field('C'));
        Assert.Equal("26000", (await client.ReadToReadyAsync()).Error().Field('C'));
    }

    [Fact]
    public async Task Unknown_statements_and_portals_get_the_servers_codes()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Bind("", "nope").Execute("").Sync();
        Assert.Equal("26000", (await client.RunAsync()).Error().Field('C'));
        client.Execute("nope").Sync();
        Assert.Equal("34000", (await client.RunAsync()).Error().Field('C'));
    }

    [Fact]
    public async Task Execute_is_decided_on_the_prepared_text()
    {
        await server.DirectAsync("create table prep(a int); insert into prep values (1);");
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("prepare x as delete from prep");
        Assert.Equal("CZ", (await client.RunAsync()).Types());
        gateway.Decider.By(deny: ["DELETE"]);
        client.Query("execute x");
        Assert.Equal("42501", (await client.RunAsync()).Error().Field('C'));
        client.Parse("", "execute x").Bind("", "").Execute("").Sync();
        Assert.Equal("42501", (await client.RunAsync()).Error().Field('C'));
        client.Query("explain analyze execute x");
        Assert.Equal("42501", (await client.RunAsync()).Error().Field('C'));
        Assert.Equal("1\n", await server.DirectAsync("select count(*) from prep;"));

        // A Parse's name is known to EXECUTE too.
        gateway.Decider.By();
        client.Parse("y", "delete from prep").Sync();
        await client.RunAsync();
        gateway.Decider.By(deny: ["DELETE"]);
        client.Query("execute y");
        Assert.Equal("42501", (await client.RunAsync()).Error().Field('C'));
    }

    [Fact]
    public async Task Fetch_is_decided_on_the_cursor()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("begin");
        await client.RunAsync();
        client.Query("declare c cursor for select rolname from pg_authid");
        await client.RunAsync();
        gateway.Decider.Rule = understood => understood.Facts.Statements.Any(statement => statement.Relations.Any(relation => relation.Name.Name == "pg_authid"))
            ? FunctionDecider.Deny("starter/no-authid") : FunctionDecider.Allow;
        client.Query("fetch all from c");
        Assert.Equal("42501", (await client.RunAsync()).Error().Field('C'));
    }

    [Fact]
    public async Task Portals_are_fetched_in_parts_and_completed_once()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("begin");
        await client.RunAsync();
        client.Parse("", "select * from generate_series(1,5)").Bind("p", "").Execute("p", 2).Sync();
        Assert.Equal("12DDsZ", (await client.RunAsync()).Types());
        client.Execute("p", 2).Sync().Execute("p", 2).Sync();
        Assert.Equal("DDsZ", (await client.RunAsync()).Types());
        Assert.Equal("DCZ", (await client.ReadToReadyAsync()).Types());
        client.Query("commit");
        await client.RunAsync();
        var completion = Assert.Single(gateway.Recorder.Completions, each => each.Operation == 2);
        Assert.Equal(5, completion.Rows);
    }

    [Fact]
    public async Task Flush_without_sync_gets_its_answers()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Parse("", "select 1").Describe('S', "").Flush();
        await client.FlushAsync();
        Assert.Equal('1', (await client.ReadAsync()).Type);
        Assert.Equal('t', (await client.ReadAsync()).Type);
        Assert.Equal('T', (await client.ReadAsync()).Type);
        client.Bind("", "").Execute("").Close('P', "").Sync();
        Assert.Equal("2DC3Z", (await client.RunAsync()).Types());
    }

    [Fact]
    public async Task Function_calls_are_refused_and_recorded()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Begin('F').Int32(2557).Int16(0).Int16(1).Int32(1).Bytes([(byte)'1']).Int16(0).End();
        var replies = await client.RunAsync();
        Assert.Equal("EZ", replies.Types());
        Assert.Equal("42501", replies.Error().Field('C'));
        Assert.Equal("function-call", Assert.Single(gateway.Recorder.Operations).Kind);
    }

    [Theory]
    [InlineData("set client_encoding to latin1")]
    [InlineData("set standard_conforming_strings = off")]
    [InlineData("select set_config('standard_conforming_strings', 'off', false)")]
    [InlineData("set local client_encoding = 'SJIS'")]
    [InlineData("set names 'LATIN1'")]
    [InlineData("select set_config('client_' || 'encoding', 'SJIS', false)")]
    [InlineData("update pg_settings set setting = 'SJIS' where name = 'client_encoding'")]
    public async Task Forced_settings_stay(string text)
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query(text);
        Assert.Equal("42501", (await client.RunAsync()).Error().Field('C'));
        client.Query("set client_encoding = 'UTF8'; set standard_conforming_strings = on");
        Assert.Equal("CCZ", (await client.RunAsync()).Types());
    }

    [Fact]
    public async Task A_forced_setting_that_changes_all_the_same_ends_the_session()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("do $$ begin execute 'set standard_conforming_strings = off'; end $$");
        await client.FlushAsync();
        Reply? last = null;
        while (await client.TryReadAsync() is { } reply)
        {
            last = reply;
        }

        Assert.Equal(('E', "FATAL"), (last!.Type, last.Field('V')));
        Assert.Equal("protocol", (await Assert.Single(gateway.Recorder.Sessions).EndedAsync()).Reason);
    }

    [Fact]
    public async Task No_result_leaves_before_its_record_is_durable()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        gateway.Recorder.Slow = true;
        client.Query("select 'secret'");
        await client.FlushAsync();
        var recording = Assert.Single(gateway.Recorder.Sessions);
        await Until.TrueAsync(() => !recording.Operations.IsEmpty);
        await Until.TrueAsync(async () => (await server.DirectAsync("select count(*) from pg_stat_activity where query = 'select ''secret''' and state = 'idle';")).StartsWith('1'));
        Assert.Equal(0, client.Socket.Available);
        recording.Flush();
        Assert.Equal("TDCZ", (await client.ReadToReadyAsync()).Types());
    }

    [Fact]
    public async Task What_can_write_is_not_forwarded_before_its_record_is_durable()
    {
        await server.DirectAsync("create table slow(a int);");
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        gateway.Recorder.Slow = true;
        client.Query("insert into slow values (1)");
        await client.FlushAsync();
        var recording = Assert.Single(gateway.Recorder.Sessions);
        await Until.TrueAsync(() => !recording.Operations.IsEmpty);
        Assert.Equal("0\n", await server.DirectAsync("select count(*) from slow;"));
        recording.Flush();
        Assert.Equal("CZ", (await client.ReadToReadyAsync()).Types());
    }

    [Fact]
    public async Task A_failed_recording_ends_the_session()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        var recording = Assert.Single(gateway.Recorder.Sessions);
        recording.Fail();
        var last = await client.ReadAsync();
        Assert.Equal(("FATAL", "58030"), (last.Field('V'), last.Field('C')));
        Assert.Equal("record-failed", (await recording.EndedAsync()).Reason);
    }

    [Fact]
    public async Task A_revoked_session_ends_at_once()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("select pg_sleep(60)");
        await client.FlushAsync();
        await Until.TrueAsync(async () => (await server.DirectAsync("select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active';")).StartsWith('1'));
        gateway.Admission.EndAll();

        // What ran is cancelled first, and its error may come before the farewell.
        Reply? last = null;
        while (await client.TryReadAsync() is { } reply)
        {
            last = reply;
        }

        Assert.Equal(("57P01", "Your access was revoked."), (last!.Field('C'), last.Field('M')));
        await Until.TrueAsync(async () => (await server.DirectAsync("select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active';")).StartsWith('0'));
        Assert.Equal("revoked", (await Assert.Single(gateway.Recorder.Sessions).EndedAsync()).Reason);
    }

    [Fact]
    public async Task Notifications_pass()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("listen news");
        await client.RunAsync();
        await server.DirectAsync("notify news, 'hello';");
        var reply = await client.ReadAsync();
        Assert.Equal('A', reply.Type);
        Assert.Contains("hello", Encoding.UTF8.GetString(reply.Body), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_running_statement_is_cancelled_at_the_target()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("select pg_sleep(61)");
        await client.FlushAsync();
        await Until.TrueAsync(async () => (await server.DirectAsync("select count(*) from pg_stat_activity where query = 'select pg_sleep(61)' and state = 'active';")).StartsWith('1'));
        await RawClient.CancelAsync(gateway.Port, client.ProcessId, [1, 2, 3, 4]);
        await RawClient.CancelAsync(gateway.Port, client.ProcessId, client.Secret);
        Assert.Equal("57014", (await client.ReadToReadyAsync()).Error().Field('C'));
    }
}

/// <summary>Waits for a condition.</summary>
internal static class Until
{
    public static Task TrueAsync(Func<bool> condition) => TrueAsync(() => Task.FromResult(condition()));

    public static async Task TrueAsync(Func<Task<bool>> condition)
    {
        var limit = DateTime.UtcNow.AddSeconds(20);
        while (!await condition())
        {
            Assert.True(DateTime.UtcNow < limit, "the condition did not come true");
            await Task.Delay(10);
        }
    }
}
