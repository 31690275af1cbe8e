using Countersign.Policy.Contracts;
using Countersign.Proxy.Postgres.Ports;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>What the target reads, and means by it, after something ran whose effects no text shows.</summary>
[Trait("group", "postgres")]
public sealed class UncertainTextTests(ServerFixture server)
{
    [Theory]
    [InlineData("client_encoding", "SJIS", "select 'é'")]
    [InlineData("standard_conforming_strings", "off", "select 'a\\'; --'")]
    public async Task A_text_behind_a_function_that_changes_how_it_is_read_is_never_sent(string setting, string value, string text)
    {
        var name = "flip_" + setting;
        await server.DirectAsync(
            $"create or replace function {name}() returns int language plpgsql as $$ begin perform set_config('{setting}', '{value}', false); return 1; end $$;");
        await using var gateway = new Gateway(server.Port);
        foreach (var pipeline in new Action<RawClient>[]
        {
            client => client.Parse("", $"select {name}()").Bind("", "").Execute("").Parse("", text).Bind("", "").Execute("").Sync(),
            client => client.Parse("", $"select {name}()").Bind("", "").Execute("").Sync().Parse("", text).Bind("", "").Execute("").Sync(),
            client => client.Query($"select {name}()").Query(text),
            client => client.Parse("", $"select {name}()").Bind("", "").Execute("").Query(text),
        })
        {
            using var client = await RawClient.LogInAsync(gateway.Port);
            pipeline(client);
            await client.FlushAsync();
            var replies = new List<Reply>();
            while (await client.TryReadAsync() is { } reply)
            {
                replies.Add(reply);
            }

            Assert.Equal("0A000", replies[^1].Field('C'));
            var recording = gateway.Recorder.Sessions.Last();
            Assert.Equal("protocol", (await recording.EndedAsync()).Reason);
            Assert.Equal($"select {name}()", Assert.Single(recording.Operations).Text);
        }
    }

    [Fact]
    public async Task What_runs_a_harmless_function_goes_on_and_what_reads_the_same_is_not_asked_about()
    {
        await server.DirectAsync("create or replace function harmless() returns int language plpgsql as 'begin return 1; end';");
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Parse("", "select harmless()").Bind("", "").Execute("").Parse("", "select 2").Bind("", "").Execute("").Sync();
        Assert.Equal("12DC12DCZ", (await client.RunAsync()).Types());
        var recording = Assert.Single(gateway.Recorder.Sessions);
        Assert.DoesNotContain("read-text-settings", recording.GatewayStatements);
        client.Parse("", "select harmless()").Bind("", "").Execute("").Parse("", "select 'é'").Bind("", "").Execute("").Parse("", "select 'ü'").Bind("", "").Execute("").Sync();
        Assert.Equal("12DC12DC12DCZ", (await client.RunAsync()).Types());
        Assert.Equal(1, recording.GatewayStatements.Count(name => name == "read-text-settings"));

        // Where an earlier message fails, what is behind it is skipped as ever.
        client.Parse("", "select harmless() / 0").Bind("", "").Execute("").Parse("", "select 'é'").Bind("", "").Execute("").Sync();
        var failed = await client.RunAsync();
        Assert.Equal("22012", failed.Error().Field('C'));
        Assert.Equal('Z', failed[^1].Type);
        client.Query("begin").Query("select 1/0").Query("select 'é'").Query("rollback").Query("select 'ä'");
        await client.FlushAsync();
        foreach (var expected in new[] { "CZ", "EZ", "EZ", "CZ", "TDCZ" })
        {
            Assert.Equal(expected, (await client.ReadToReadyAsync()).Types());
        }
    }

    [Fact]
    public async Task A_role_with_a_search_path_of_its_own_begins_with_names_that_may_differ()
    {
        await server.DirectAsync(
            """
            create schema early; create table early.calls(a int);
            create function early.lower(text) returns text language sql as 'insert into early.calls values (1); select ''early''';
            create role early_bird login superuser; alter role early_bird set search_path = early, pg_catalog;
            """);
        await using var gateway = new Gateway(0, target: new TargetAccess
        {
            Connection = Gateway.Connection,
            Host = "127.0.0.1",
            Port = server.Port,
            Database = "postgres",
            VerifyTls = false,
            Credential = new TargetCredential("early_bird", null),
        });
        using var client = await RawClient.LogInAsync(gateway.Port);
        gateway.Recorder.Slow = true;
        client.Query("select lower('X')");
        await client.FlushAsync();
        var recording = Assert.Single(gateway.Recorder.Sessions);
        await Until.TrueAsync(() => recording.Operations.Count == 1);
        Assert.Equal("0\n", await server.DirectAsync("select count(*) from early.calls;"));
        recording.Flush();
        Assert.Equal("TDCZ", (await client.ReadToReadyAsync()).Types());
        Assert.Equal("1\n", await server.DirectAsync("select count(*) from early.calls;"));
    }

    [Fact]
    public async Task A_database_of_another_encoding_is_turned_away()
    {
        await server.DirectAsync("create database latin encoding 'LATIN1' template template0 locale 'C';");
        await using var gateway = new Gateway(server.Port);
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => RawClient.LogInAsync(gateway.Port, database: "demo/latin"));
        Assert.Contains("0A000", error.Message, StringComparison.Ordinal);
        Assert.Contains("LATIN1", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_approval_of_EXECUTE_is_bound_to_what_was_prepared()
    {
        await server.DirectAsync("create table prepared_rows(a int); insert into prepared_rows values (1),(2),(3);");
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        string[] definitions =
        [
            "prepare p as delete from prepared_rows where a = 1", "prepare p as delete from prepared_rows where a > $1::int", "prepare p (int) as delete from prepared_rows where a > $1",
        ];
        var asked = new List<string>();
        foreach (var definition in definitions)
        {
            client.Query(definition);
            Assert.Equal("CZ", (await client.RunAsync()).Types());
            asked.Add(await HeldDigestAsync(gateway, client, definition.Contains('$', StringComparison.Ordinal) ? "execute p(0)" : "execute p"));
            client.Query("deallocate p");
            Assert.Equal("CZ", (await client.RunAsync()).Types());
        }

        // A Parse's parameter types are no part of its text.
        foreach (var type in new uint[] { 0, 20, 21 })
        {
            client.Parse("p", "delete from prepared_rows where a > $1", type).Sync();
            Assert.Equal("1Z", (await client.RunAsync()).Types());
            asked.Add(await HeldDigestAsync(gateway, client, "execute p(0)"));
            client.Close('S', "p").Sync();
            Assert.Equal("3Z", (await client.RunAsync()).Types());
        }

        Assert.Equal(asked.Count, asked.Distinct().Count());
        Assert.Equal("3\n", await server.DirectAsync("select count(*) from prepared_rows;"));
    }

    [Theory]
    [InlineData("set session_replication_role = replica")]
    [InlineData("set transform_null_equals = on")]
    [InlineData("set row_security = off")]
    [InlineData("set intervalstyle = sql_standard")]
    public async Task An_approval_is_bound_to_settings_that_change_what_a_text_does(string setting)
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        var before = await HeldDigestAsync(gateway, client, "delete from pg_description where false");
        Assert.Equal(before, await HeldDigestAsync(gateway, client, "delete from pg_description where false"));
        client.Query(setting);
        await client.RunAsync();
        Assert.NotEqual(before, await HeldDigestAsync(gateway, client, "delete from pg_description where false"));
        Assert.Contains(setting.Split(' ')[1], gateway.Approvals.Asked.Last().Context.Keys, StringComparer.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task A_hint_in_front_is_part_of_what_is_approved()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        var digests = new List<string>();
        foreach (var text in new[] { "delete from pg_description where false", "/* a word */ delete from pg_description where false -- and another", "/*+ SeqScan(d) */ delete from pg_description where false", "delete from pg_description where false /*+ Set(x y) */" })
        {
            digests.Add(await HeldDigestAsync(gateway, client, text));
        }

        Assert.Equal(digests[0], digests[1]);
        Assert.Equal(3, digests.Distinct().Count());
        Assert.Equal("/*+ SeqScan(d) */ delete from pg_description where false", gateway.Approvals.Asked.ElementAt(2).Operations[0].Text);
    }

    /// <summary>Runs something that is held, and denies it.</summary>
    private static async Task<string> HeldDigestAsync(Gateway gateway, RawClient client, string text)
    {
        gateway.Decider.By(hold: ["DELETE"]);
        client.Query(text);
        await client.FlushAsync();
        var id = await gateway.Approvals.NextAsync();
        gateway.Approvals.Decide(id, approve: false);
        Assert.Equal("42501", (await client.ReadToReadyAsync()).Error().Field('C'));
        gateway.Decider.By();
        return gateway.Approvals.Asked.Last().Operations[0].Digest;
    }
}
