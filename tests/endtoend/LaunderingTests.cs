using Countersign.EndToEnd.Tests.Support;

namespace Countersign.EndToEnd.Tests;

/// <summary>Ways to have a statement run by something else than itself. Behind the connection is a superuser, whom the server refuses nothing.</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed class LaunderingTests(World world) : Scenario(world)
{
    [Theory]
    [InlineData("do $$ begin delete from orders where id = 60; end $$")]
    [InlineData("select 1; delete from orders where id = 60")]
    [InlineData("select 'harmless' /* ; */; with x as (delete from orders where id = 60 returning *) select 1")]
    [InlineData("begin; delete from orders where id = 60; commit")]
    [InlineData("copy (delete from orders where id = 60 returning *) to stdout")]
    [InlineData("explain analyze delete from orders where id = 60")]
    [InlineData("prepare p60 as delete from orders where id = 60; execute p60")]
    [InlineData("select query_to_xml('delete from orders where id = 60 returning 1', true, true, '')")]
    [InlineData("create function f60() returns int language sql as 'delete from orders where id = 60; select 1'; select f60()")]
    [InlineData("select lo_import('/etc/passwd')")]
    [InlineData("copy orders from program 'touch /tmp/cs-e2e-was-here'")]
    [InlineData("copy orders to '/tmp/cs-e2e-was-here'")]
    [InlineData("select pg_read_file('/etc/passwd')")]
    [InlineData("set session authorization other")]
    [InlineData("set role other")]
    [InlineData("set local role other")]
    [InlineData("select set_config('role', 'other', false)")]
    [InlineData("select pg_catalog.set_config('ro' || 'le', 'other', false)")]
    [InlineData("update pg_settings set setting = 'other' where name = 'role'")]
    [InlineData("set search_path = evil, public")]
    [InlineData("select set_config('search_path', 'evil', false)")]
    [InlineData("set client_encoding = 'SJIS'")]
    [InlineData("set names 'SJIS'")]
    [InlineData("set standard_conforming_strings = off")]
    [InlineData("alter role shop_app set search_path = evil")]
    [InlineData("alter system set log_statement = 'none'")]
    [InlineData("select pg_terminate_backend(pid) from pg_stat_activity")]
    [InlineData("select pg_reload_conf()")]
    [InlineData("select nextval('pg_catalog.pg_class_oid_index')")]
    [InlineData("vacuum full orders")]
    [InlineData("lock table orders in access exclusive mode")]
    [InlineData("notify x, 'y'")]
    [InlineData("create temp table stolen as select ssn from customers")]
    [InlineData("insert into ledger select id, ssn from customers")]
    public async Task Is_held_or_refused_and_nothing_of_it_runs(string text)
    {
        using var client = await World.Alice.ConnectAsync("root");
        client.Query(text);
        await client.FlushAsync();
        Reply reply;
        while ((reply = await client.ReadAsync()).Type is not ('E' or 'C' or 'N' or 'G' or 'H'))
        {
        }

        Assert.True(reply.Type is 'E' or 'N', $"it went through: {reply}");
        if (reply.Type == 'N')
        {
            Assert.NotNull(Holds.RequestOf(reply));
            await client.CancelAsync();
        }
        else
        {
            Assert.True(reply.Field('C') is "42501" or "0A000", reply.ToString());
        }

        await client.ReadToReadyAsync();
        Assert.Equal(["postgres"], (await client.RunAsync("select current_user")).First(each => each.Type == 'D').Columns());
        Assert.Equal(1, await World.CountAsync("orders where id = 60"));
        Assert.Equal(0, await World.CountAsync("ledger"));
        Assert.Equal(0, await World.CountAsync("pg_proc where proname = 'f60'"));
        Assert.False(File.Exists("/tmp/cs-e2e-was-here"));
    }

    [Fact]
    public async Task A_prepared_delete_needs_an_approval_each_time_it_is_executed()
    {
        using var client = await World.Alice.ConnectAsync("root");
        client.Query("prepare launder(int) as delete from orders where id = $1");
        await client.FlushAsync();
        var reply = await client.ReadAsync();
        if (reply.Type == 'N')
        {
            await World.Bob.ApproveAsync(Holds.RequestOf(reply)!);
            Assert.Equal("PREPARE", (await client.ReadToReadyAsync()).Tags());
        }
        else
        {
            Assert.Equal('C', reply.Type);
            await client.ReadToReadyAsync();
        }

        foreach (var execute in new[] { "execute launder(61)", "explain analyze execute launder(61)", "EXECUTE \"launder\" (61)" })
        {
            await client.HeldAsync(execute);
            await client.CancelAsync();
            await client.ReadToReadyAsync();
        }

        // The same names serve the extended protocol; there it is refused.
        client.Bind("", "launder", "61").Execute("").Sync();
        Assert.Equal("0A000", (await client.RunAsync()).Error().Field('C'));
        Assert.Equal(1, await World.CountAsync("orders where id = 61"));
    }

    [Fact]
    public async Task A_statement_that_was_prepared_again_under_the_same_name_is_another_one()
    {
        using var client = await World.Alice.ConnectAsync("root");
        client.Parse("same", "select id from orders where id = $1").Bind("", "same", "62").Execute("").Sync();
        (await client.RunAsync()).Tags();

        // A Parse that the server skips after an error never happened: the name still means the SELECT, and the other way round.
        client.Parse("", "select 1/0").Bind("", "").Execute("").Message('C', 'S', "same").Parse("same", "delete from orders where id = $1").Sync();
        Assert.Contains((await client.RunAsync()), reply => reply.Type == 'E');
        client.Bind("", "same", "62").Execute("").Sync();
        var replies = await client.RunAsync();
        Assert.Equal("SELECT 1", replies.Tags());

        client.Message('C', 'S', "same").Parse("same", "delete from orders where id = $1").Bind("", "same", "62").Execute("").Sync();
        await client.HeldAsync();
        await client.CancelAsync();
        await client.ReadToReadyAsync();
        Assert.Equal(1, await World.CountAsync("orders where id = 62"));
    }

    [Fact]
    public async Task What_follows_a_held_statement_in_the_pipeline_does_not_overtake_it()
    {
        using var client = await World.Alice.ConnectAsync("root");
        client.Parse("", "select 1").Bind("", "").Execute("");
        client.Parse("d", "delete from orders where id = $1").Bind("", "d", "63").Execute("");
        client.Parse("", "insert into t values (63, 63)").Bind("", "").Execute("").Sync();
        var request = await client.HeldAsync();
        var operations = (await World.Bob.RequestAsync(request)).Operations;
        Assert.Equal(2, operations.Count);
        Assert.Equal(["63"], operations[0].Parameters);
        Assert.Equal(0, await World.CountAsync("t where a = 63"));
        await World.Bob.DecideAsync(request, approve: false, "no");
        var replies = await client.ReadToReadyAsync();
        Assert.Equal("42501", replies.Error().Field('C'));
        Assert.Equal(1, await World.CountAsync("orders where id = 63"));
        Assert.Equal(0, await World.CountAsync("t where a = 63"));
    }

    [Fact]
    public async Task The_fast_path_and_what_the_startup_packet_could_change_are_refused()
    {
        using (var client = await World.Alice.ConnectAsync("root"))
        {
            // pg_terminate_backend, pg_read_file … by number: the name never shows.
            client.Message('F', 2096, (short)0, (short)1, 4, 1, (short)0);
            var replies = await client.RunAsync();
            Assert.True(replies.Error().Field('C') is "42501" or "0A000", replies.Error().ToString());
            Assert.Equal("SELECT 1", (await client.RunAsync("select 1")).Tags());
        }

        foreach (var (startup, code) in new (string[], string)[]
        {
            (["replication", "true"], "0A000"),
            (["replication", "database"], "0A000"),
            (["role", "other"], "42501"),
            (["session_authorization", "other"], "42501"),
            (["search_path", "evil"], "42501"),
            (["options", "-c role=other"], "42501"),
            (["options", "-crole=other"], "42501"),
            (["options", "--role=other"], "42501"),
            (["options", "-c search_path=evil"], "42501"),
            (["options", "-c standard_conforming_strings=off"], "0A000"),
            (["client_encoding", "SJIS"], "0A000"),
            (["options", "-c client_encoding=GBK"], "0A000"),
            (["standard_conforming_strings", "off"], "0A000"),
        })
        {
            var refused = await Assert.ThrowsAsync<RefusedException>(() => World.Alice.ConnectAsync("root", startup));
            Assert.True(refused.Error.Field('C') == code, $"{string.Join('=', startup)}: {refused.Message}");
            Assert.Equal("FATAL", refused.Error.Field('S'));
        }
    }
}
