using System.Globalization;
using Countersign.Policy.Contracts;
using Microsoft.Extensions.Time.Testing;
using Npgsql;

namespace Countersign.Proxy.Postgres.Tests;

[Trait("group", "postgres")]
public sealed class HoldTests(ServerFixture server)
{
    [Fact]
    public async Task A_held_delete_runs_once_it_is_approved()
    {
        await server.DirectAsync("create table held1(a int); insert into held1 values (1),(2);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        var psql = gateway.PsqlAsync("delete from held1 where a = 1;\n");
        var request = await gateway.Approvals.NextAsync();
        Assert.Equal("2\n", await server.DirectAsync("select count(*) from held1;"));
        gateway.Approvals.Decide(request, approve: true);
        var output = await psql;
        Assert.Contains("DELETE 1", output, StringComparison.Ordinal);
        Assert.Contains($"NOTICE:  00000: Held for approval: {request}.", output, StringComparison.Ordinal);
        Assert.Contains("1 of dba", output, StringComparison.Ordinal);
        Assert.Contains("https://countersign.example/approval/requests/", output, StringComparison.Ordinal);
        Assert.Equal("1\n", await server.DirectAsync("select count(*) from held1;"));
        Assert.Equal(1, gateway.Approvals.Redeemed);
        var asked = Assert.Single(gateway.Approvals.Asked);
        Assert.Equal("delete from held1 where a = 1", Assert.Single(asked.Operations).Text);
        Assert.Equal("none", asked.Context["transaction"]);
        Assert.Equal("\"$user\", public", asked.Context["search_path"]);
        Assert.Equal("postgres", asked.Context["role"]);
        Assert.Contains("read-context", Assert.Single(gateway.Recorder.Sessions).GatewayStatements);
    }

    [Fact]
    public async Task A_denied_one_does_not_run()
    {
        await server.DirectAsync("create table held2(a int); insert into held2 values (1);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        var psql = gateway.PsqlAsync("delete from held2;\nselect 'on';\n");
        gateway.Approvals.Decide(await gateway.Approvals.NextAsync(), approve: false);
        var output = await psql;
        Assert.Contains("42501: bob denied", output, StringComparison.Ordinal);
        Assert.Contains("on", output, StringComparison.Ordinal);
        Assert.Equal("1\n", await server.DirectAsync("select count(*) from held2;"));
    }

    /// <summary>The table that every surface is tried with (tests/corpus/visible-text.jsonl).</summary>
    public static TheoryData<string, string, string> Table => [.. File.ReadLines(System.IO.Path.Combine(AppContext.BaseDirectory, "corpus", "visible-text.jsonl"))
        .Select(line => System.Text.Json.JsonDocument.Parse(line).RootElement)
        .Select(each => (each.GetProperty("name").GetString()!, each.GetProperty("text").GetString()!, each.GetProperty("visible").GetString()!))];

    [Theory]
    [MemberData(nameof(Table))]
    public async Task What_others_wrote_is_made_visible_on_the_clients_terminal(string name, string text, string visible)
    {
        Assert.NotEmpty(name);
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"], held: FunctionDecider.Hold with { Message = text });
        var psql = gateway.PsqlAsync("delete from pg_description where false;\n");
        gateway.Approvals.Decide(await gateway.Approvals.NextAsync(), approve: false, text);
        var output = await psql;
        // No line of a comment begins like one of ours.
        Assert.Contains($"bob denied apr_1: {visible.Replace("\n", "\n    ", StringComparison.Ordinal)}\n", output, StringComparison.Ordinal);
        Assert.Contains(visible, output, StringComparison.Ordinal);
        Assert.DoesNotContain(output, each => char.IsControl(each) && each is not ('\n' or '\t'));
    }

    [Fact]
    public async Task A_cancel_ends_a_hold_with_57014_and_withdraws_it()
    {
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("delete from pg_class");
        await client.FlushAsync();
        Assert.Equal('N', (await client.ReadAsync()).Type);
        await RawClient.CancelAsync(gateway.Port, client.ProcessId, client.Secret);
        var replies = await client.ReadToReadyAsync();
        Assert.Equal("57014", replies.Error().Field('C'));
        Assert.Single(gateway.Approvals.Withdrawn);
        client.Query("select 1");
        Assert.Equal("TDCZ", (await client.RunAsync()).Types());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_client_that_leaves_ends_the_wait_and_finds_its_request_again(bool goodbye)
    {
        var table = $"left{(goodbye ? 1 : 0)}";
        await server.DirectAsync($"create table {table}(a int); insert into {table} values (1);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        var client = await RawClient.LogInAsync(gateway.Port);
        client.Query($"delete from {table}");
        await client.FlushAsync();
        var request = await gateway.Approvals.NextAsync();
        await client.ReadAsync();
        if (goodbye)
        {
            client.Begin('X').End();
            await client.FlushAsync();
        }

        client.Dispose();
        var recording = Assert.Single(gateway.Recorder.Sessions);
        Assert.Equal("client", (await recording.EndedAsync()).Reason);
        Assert.Contains(recording.Holds, hold => hold.Phase == "disconnected");
        Assert.Empty(gateway.Approvals.Withdrawn);
        gateway.Approvals.Decide(request, approve: true);
        Assert.Equal("DELETE 1\n", await gateway.PsqlAsync($"delete from {table};\n"));
        Assert.Equal(1, gateway.Approvals.Redeemed);
    }

    [Fact]
    public async Task Held_binds_of_one_pipeline_are_one_request()
    {
        await server.DirectAsync("create table batch(a int); insert into batch values (1),(2),(3);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        await using var connection = await gateway.OpenAsync();
        await using var batch = new NpgsqlBatch(connection)
        {
            BatchCommands =
            {
                new NpgsqlBatchCommand("delete from batch where a = $1") { Parameters = { new() { Value = 1 } } },
                new NpgsqlBatchCommand("select 1"),
                new NpgsqlBatchCommand("delete from batch where a = $1") { Parameters = { new() { Value = 2 } } },
            },
        };
        var running = batch.ExecuteNonQueryAsync();
        var request = await gateway.Approvals.NextAsync();
        var asked = Assert.Single(gateway.Approvals.Asked);
        Assert.Equal(2, asked.Operations.Count);
        Assert.Equal(["1"], asked.Operations[0].Parameters);
        Assert.Equal(["2"], asked.Operations[1].Parameters);
        gateway.Approvals.Decide(request, approve: true);
        Assert.Equal(2, await running);
        Assert.Equal(2, gateway.Approvals.Redeemed);
        Assert.Equal("1\n", await server.DirectAsync("select count(*) from batch;"));
    }

    [Fact]
    public async Task A_hold_in_a_transaction_shows_what_came_before_and_ends_in_time()
    {
        await server.DirectAsync("create table intx(a int);");
        var clock = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await using var gateway = new Gateway(server.Port, clock: clock);
        gateway.Decider.By(hold: ["DELETE"]);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("begin isolation level serializable");
        await client.RunAsync();
        client.Query("insert into intx values (1)");
        await client.RunAsync();
        client.Query("delete from intx");
        await client.FlushAsync();
        await gateway.Approvals.NextAsync();
        Assert.Equal('N', (await client.ReadAsync()).Type);
        var asked = Assert.Single(gateway.Approvals.Asked);
        Assert.Equal(["begin isolation level serializable", "insert into intx values (1)"], asked.Transaction);
        Assert.Equal("serializable, read write", asked.Context["transaction"]);
        clock.Advance(TimeSpan.FromSeconds(61));
        var replies = await client.ReadToReadyAsync();
        Assert.Equal("25P03", replies.Error().Field('C'));
        Assert.Equal("E", replies[^1].Text);
        client.Query("commit");
        Assert.Contains("ROLLBACK", (await client.RunAsync())[0].Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_hold_shows_signs_of_life()
    {
        var clock = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await using var gateway = new Gateway(server.Port, new PostgresOptions { KeepAlive = TimeSpan.FromSeconds(5) }, clock);
        gateway.Decider.By(hold: ["DELETE"]);
        using var client = await RawClient.LogInAsync(gateway.Port, more: ["application_name", "shop"]);
        client.Query("delete from pg_class where false");
        await client.FlushAsync();
        var request = await gateway.Approvals.NextAsync();
        Assert.Equal('N', (await client.ReadAsync()).Type);
        for (var tick = 0; tick < 11; tick++)
        {
            clock.Advance(TimeSpan.FromSeconds(5));
            Assert.Equal("S(application_name shop)", (await client.ReadAsync()).ToString());
        }

        clock.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal('S', (await client.ReadAsync()).Type);
        Assert.Contains("has waited 1 min", (await client.ReadAsync()).Field('M'), StringComparison.Ordinal);
        gateway.Approvals.Decide(request, approve: true);
        Assert.Equal("CZ", (await client.ReadToReadyAsync()).Types());
    }

    [Fact]
    public async Task Npgsql_waits_longer_than_its_command_timeout()
    {
        await using var gateway = new Gateway(server.Port, new PostgresOptions { KeepAlive = TimeSpan.FromMilliseconds(300) });
        gateway.Decider.By(hold: ["DELETE"]);
        await using var connection = await gateway.OpenAsync();
        var notices = new List<string>();
        connection.Notice += (_, notice) => notices.Add(notice.Notice.MessageText);
        await using var command = new NpgsqlCommand("delete from pg_class where false", connection) { CommandTimeout = 2 };
        var running = command.ExecuteNonQueryAsync();
        var request = await gateway.Approvals.NextAsync();
        Assert.NotSame(running, await Task.WhenAny(running, Task.Delay(TimeSpan.FromSeconds(3))));
        gateway.Approvals.Decide(request, approve: true);
        Assert.Equal(0, await running);
        Assert.Contains(notices, notice => notice.StartsWith("Held for approval", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Npgsql_that_cancels_a_hold_keeps_its_connection()
    {
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        await using var connection = await gateway.OpenAsync();
        await using var command = new NpgsqlCommand("delete from pg_class where false", connection);
        using var cancel = new CancellationTokenSource();
        var running = command.ExecuteNonQueryAsync(cancel.Token);
        await gateway.Approvals.NextAsync();
        await cancel.CancelAsync();
        var error = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
        Assert.Equal("57014", Assert.IsType<PostgresException>(error.InnerException).SqlState);
        await using var after = new NpgsqlCommand("select 1", connection);
        Assert.Equal(1, await after.ExecuteScalarAsync());
    }

    [Fact]
    public async Task What_is_approved_is_bound_to_its_search_path()
    {
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        using var client = await RawClient.LogInAsync(gateway.Port);
        var digests = new List<string>();
        foreach (var path in new[] { "public", "pg_catalog", "public" })
        {
            client.Query($"set search_path = {path}");
            await client.RunAsync();
            client.Query("delete from pg_class where false");
            await client.FlushAsync();
            var request = await gateway.Approvals.NextAsync();
            gateway.Approvals.Decide(request, approve: false);
            await client.ReadToReadyAsync();
        }

        digests.AddRange(gateway.Approvals.Asked.Select(asked => asked.Operations[0].Digest));
        Assert.Equal(digests[0], digests[2]);
        Assert.NotEqual(digests[0], digests[1]);
    }

    [Fact]
    public async Task A_policy_that_turns_to_deny_during_a_hold_wins()
    {
        await server.DirectAsync("create table turned(a int); insert into turned values (1);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        var psql = gateway.PsqlAsync("delete from turned;\n");
        var request = await gateway.Approvals.NextAsync();
        gateway.Decider.By(deny: ["DELETE"]);
        gateway.Approvals.Decide(request, approve: true);
        Assert.Contains("42501", await psql, StringComparison.Ordinal);
        Assert.Equal(0, gateway.Approvals.Redeemed);
        Assert.Equal("1\n", await server.DirectAsync("select count(*) from turned;"));
    }

    [Fact]
    public async Task Messages_that_come_during_a_hold_wait_their_turn()
    {
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("delete from pg_class where false").Query("select 1");
        await client.FlushAsync();
        var request = await gateway.Approvals.NextAsync();
        Assert.Equal('N', (await client.ReadAsync()).Type);
        client.Query("select 2").Query("select 3");
        await client.FlushAsync();
        gateway.Approvals.Decide(request, approve: true);
        Assert.Equal("CZ", (await client.ReadToReadyAsync()).Types());
        for (var number = 1; number <= 3; number++)
        {
            var replies = await client.ReadToReadyAsync();
            Assert.EndsWith(number.ToString(CultureInfo.InvariantCulture), replies.Single(reply => reply.Type == 'D').Text, StringComparison.Ordinal);
        }
    }
}
