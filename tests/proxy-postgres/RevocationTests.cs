using Npgsql;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>What is taken back while it runs ends at the target and at the client, against a real server.</summary>
[Trait("group", "postgres")]
public sealed class RevocationTests(ServerFixture server)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_revoked_statement_is_cancelled_at_the_target_and_the_client_is_told_by_whom(bool extended)
    {
        var table = $"revoked{(extended ? 1 : 0)}";
        await server.DirectAsync($"create table {table}(a int); insert into {table} values (1);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        using var client = await RawClient.LogInAsync(gateway.Port);
        var text = $"delete from {table} where pg_sleep(3600) is not null";
        if (extended)
        {
            client.Parse("", text);
            client.Bind("", "");
            client.Execute("");
            client.Sync();
        }
        else
        {
            client.Query(text);
        }

        await client.FlushAsync();
        var request = await gateway.Approvals.NextAsync();
        gateway.Approvals.Decide(request, approve: true);
        await RunsAsync(text, runs: true);
        Assert.Equal(1, gateway.Running.Revoke(request, "taken back by carol"));
        var replies = new List<Reply>();
        while (await client.TryReadAsync() is { } reply)
        {
            replies.Add(reply);
        }

        Assert.Equal(("FATAL", "57P01", "taken back by carol"), (replies[^1].Field('S'), replies[^1].Field('C'), replies[^1].Field('M')));
        await RunsAsync(text, runs: false);
        Assert.Equal("1\n", await server.DirectAsync($"select count(*) from {table};"));
        var recording = Assert.Single(gateway.Recorder.Sessions);
        Assert.Equal("revoked", (await recording.EndedAsync()).Reason);
        var hold = Assert.Single(recording.Holds, hold => hold.Phase == "revoked");
        Assert.Equal(request, hold.Request);
        Assert.Equal("cancelled", Assert.Single(recording.Completions).Outcome);
        Assert.Empty(gateway.Running.Requests);
    }

    [Fact]
    public async Task What_ran_in_a_transaction_that_is_still_open_is_undone()
    {
        await server.DirectAsync("create table undone(a int); insert into undone values (1);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("begin");
        await client.RunAsync();
        client.Query("delete from undone");
        await client.FlushAsync();
        var request = await gateway.Approvals.NextAsync();
        gateway.Approvals.Decide(request, approve: true);
        Assert.Contains(await client.ReadToReadyAsync(), reply => reply.Text.Contains("DELETE 1", StringComparison.Ordinal));
        Assert.Equal([request], gateway.Running.Requests);
        gateway.Running.Revoke(request, "taken back");
        Assert.Equal("FATAL", (await client.ReadAsync()).Field('S'));
        Assert.Null(await client.TryReadAsync());
        Assert.Equal("1\n", await server.DirectAsync("select count(*) from undone;"));
    }

    [Fact]
    public async Task Once_its_transaction_has_ended_nothing_ends()
    {
        await server.DirectAsync("create table ended(a int); insert into ended values (1),(2);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        await using var connection = await gateway.OpenAsync();
        await using var transaction = await connection.BeginTransactionAsync();
        await using var command = new NpgsqlCommand("delete from ended where a = $1", connection) { Parameters = { new() { Value = 1 } } };
        var running = command.ExecuteNonQueryAsync();
        var request = await gateway.Approvals.NextAsync();
        gateway.Approvals.Decide(request, approve: true);
        Assert.Equal(1, await running);
        await transaction.CommitAsync();
        Assert.Empty(gateway.Running.Requests);
        Assert.Equal(0, gateway.Running.Revoke(request, "too late"));
        await using var after = new NpgsqlCommand("select count(*) from ended", connection);
        Assert.Equal(1L, await after.ExecuteScalarAsync());
    }

    [Fact]
    public async Task A_client_that_does_not_read_doesn_t_delay_the_cancel()
    {
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.Rule = understood => understood.RecordedText.Contains("generate_series", StringComparison.Ordinal) ? FunctionDecider.Hold : FunctionDecider.Allow;
        using var client = await RawClient.LogInAsync(gateway.Port);
        const string Text = "select repeat('x', 1000) from generate_series(1, 100000000)";
        client.Query(Text);
        await client.FlushAsync();
        var request = await gateway.Approvals.NextAsync();
        gateway.Approvals.Decide(request, approve: true);
        await RunsAsync(Text, runs: true);
        gateway.Running.Revoke(request, "taken back");
        await RunsAsync(Text, runs: false);
    }

    [Fact]
    public async Task A_session_whose_access_ends_leaves_nothing_running_at_the_target()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        const string Text = "select pg_sleep(3601)";
        client.Query(Text);
        await client.FlushAsync();
        await RunsAsync(Text, runs: true);
        gateway.Admission.EndAll();
        await RunsAsync(Text, runs: false);
    }

    [Theory]
    [InlineData("simple")]
    [InlineData("prepared")]
    public async Task Clients_in_the_middle_of_their_work_are_told_why_it_ends(string protocol)
    {
        var script = System.IO.Path.GetTempFileName();
        await File.WriteAllTextAsync(script, "\\set n random(1, 1000)\nselect :n + 1;\n", TestContext.Current.CancellationToken);
        for (var round = 0; round < 15; round++)
        {
            await using var gateway = new Gateway(server.Port);
            var decided = 0;
            gateway.Decider.Rule = _ =>
            {
                if (Interlocked.Increment(ref decided) == 300)
                {
                    gateway.Admission.EndAll();
                }

                return FunctionDecider.Allow;
            };
            var errors = await gateway.PgBenchAsync("-n", "-c", "8", "-T", "60", "-M", protocol, "-f", script);

            // A client whose statement ran just then has its end first, and pgbench leaves at that.
            Assert.True(errors.Split('\n').Count(line => line.Contains("access was revoked.", StringComparison.Ordinal) || line.Contains("canceling statement", StringComparison.Ordinal)) == 8, errors);
        }

        File.Delete(script);
    }

    [Fact]
    public async Task Progress_is_told_to_psql_and_to_Npgsql_while_they_wait()
    {
        await server.DirectAsync("create table progress(a int); insert into progress values (1),(2);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"], held: FunctionDecider.Hold with
        {
            Terms = new Countersign.Policy.Contracts.ApprovalTerms { AllOf = [new Countersign.Policy.Contracts.ApproverRequirement(["dba"], 2)] },
        });
        var psql = gateway.PsqlAsync("delete from progress where a = 1;\n");
        var request = await gateway.Approvals.NextAsync();
        await HeldAsync(gateway, 1);
        gateway.Approvals.Agree(request);
        gateway.Approvals.Decide(request, approve: true);
        var output = await psql;
        Assert.Contains("approved by bob, 1 more needed; it expires in ", output, StringComparison.Ordinal);
        Assert.Contains("DELETE 1", output, StringComparison.Ordinal);

        await using var connection = await gateway.OpenAsync();
        var told = new List<string>();
        connection.Notice += (_, notice) => told.Add(notice.Notice.MessageText);
        await using var command = new NpgsqlCommand("delete from progress where a = 2", connection);
        var running = command.ExecuteNonQueryAsync();
        request = await gateway.Approvals.NextAsync();
        await HeldAsync(gateway, 2);
        gateway.Approvals.Agree(request);
        gateway.Approvals.Decide(request, approve: true);
        Assert.Equal(1, await running);
        Assert.Contains(told, text => text.Contains("approved by bob, 1 more needed", StringComparison.Ordinal));
    }

    /// <summary>Waits until a hold's beginning is recorded and its wait has begun.</summary>
    private static async Task HeldAsync(Gateway gateway, int holds)
    {
        while (gateway.Approvals.Waiting < holds)
        {
            await Task.Delay(10);
        }
    }

    private async Task RunsAsync(string text, bool runs)
    {
        var began = TimeProvider.System.GetTimestamp();
        var expected = runs ? "1\n" : "0\n";
        while (await server.DirectAsync($"select count(*) from pg_stat_activity where state = 'active' and query = '{text.Replace("'", "''", StringComparison.Ordinal)}';") != expected)
        {
            Assert.True(TimeProvider.System.GetElapsedTime(began) < TimeSpan.FromSeconds(30), $"waited in vain for {text} to {(runs ? "run" : "end")}");
            await Task.Delay(20);
        }
    }
}
