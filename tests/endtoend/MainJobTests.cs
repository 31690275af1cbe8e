using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;
using Npgsql;

namespace Countersign.EndToEnd.Tests;

/// <summary>The main job as a user of plain clients meets it.</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "postgres")]
public sealed class MainJobTests(World world) : Scenario(world)
{
    [Fact]
    public async Task Harmless_queries_pass_and_sensitive_columns_come_back_masked_in_psql()
    {
        var output = await World.PsqlAsync(World.Alice, "select name, city from customers where id = 1;\nselect * from customers order by id;\nselect * from customer_contacts;\n\\d customers\ncopy customers to stdout;\n");
        Assert.Contains("Ada Young|London", output, StringComparison.Ordinal);
        Assert.Contains("not null", output, StringComparison.Ordinal);
        Assert.Contains("1120", output, StringComparison.Ordinal);
        AssertMasked(output);
    }

    [Fact]
    public async Task Masked_in_binary_in_text_in_copy_and_in_errors()
    {
        await using var connection = await World.NpgsqlAsync(World.Alice);
        await using (var command = new NpgsqlCommand("select id, email, ssn, card, row(customers.*)::text from customers where id = $1", connection) { Parameters = { new() { Value = 1 } } })
        await using (var reader = await command.ExecuteReaderAsync(TestContext.Current.CancellationToken))
        {
            Assert.True(await reader.ReadAsync(TestContext.Current.CancellationToken));
            Assert.Equal(1, reader.GetInt32(0));
            AssertMasked(string.Join('|', Enumerable.Range(1, 4).Select(reader.GetValue)));
        }

        await using (var copy = await connection.BeginBinaryExportAsync("copy customers to stdout (format binary)", TestContext.Current.CancellationToken))
        {
            var rows = 0;
            while (await copy.StartRowAsync(TestContext.Current.CancellationToken) >= 0)
            {
                rows++;
                for (var column = 0; column < 6; column++)
                {
                    if (column == 0)
                    {
                        await copy.ReadAsync<int>(TestContext.Current.CancellationToken);
                    }
                    else if (copy.IsNull)
                    {
                        await copy.SkipAsync(TestContext.Current.CancellationToken);
                    }
                    else
                    {
                        AssertMasked(await copy.ReadAsync<string>(TestContext.Current.CancellationToken));
                    }
                }
            }

            Assert.Equal(3, rows);
        }

        foreach (var leak in new[] { "select ssn::int from customers", "select ssn::regclass from customers", "select (email || '')::json from customers", "select to_date(ssn, 'YYYY-MM-DD') from customers", "select 1/(length(ssn)-length(ssn)), ssn::xml from customers" })
        {
            using var client = await World.Alice.ConnectAsync();
            AssertMasked(string.Join('\n', await client.RunAsync(leak)));
        }
    }

    [Fact]
    public async Task Drop_database_is_refused_in_PostgreSQLs_own_words_and_the_session_goes_on()
    {
        using var client = await World.Alice.ConnectAsync("root");
        var replies = await client.RunAsync("drop database prod");
        Assert.Equal("EZ", replies.Types());
        Assert.Equal("42501", replies.Error().Field('C'));
        Assert.Contains("This changes the database server as a whole.", replies.Error().Field('M'), StringComparison.Ordinal);
        Assert.Contains("Ask the owners of the server", replies.Error().Field('H'), StringComparison.Ordinal);
        Assert.Equal('I', replies.State());
        Assert.Equal("SELECT 1", (await client.RunAsync("select 1")).Tags());

        Assert.Equal("BEGIN", (await client.RunAsync("begin")).Tags());
        replies = await client.RunAsync("drop database prod");
        Assert.Equal("42501", replies.Error().Field('C'));
        Assert.Equal('E', replies.State());
        Assert.Equal("25P02", (await client.RunAsync("select 1")).Error().Field('C'));
        Assert.Equal("ROLLBACK", (await client.RunAsync("commit")).Tags());
        Assert.Equal("SELECT 1", (await client.RunAsync("select 1")).Tags());
        Assert.Equal(1, await World.CountAsync("pg_database where datname = 'prod'"));
        await World.RecordedAsync("drop database prod", operation => operation.Decision == "deny" && operation.Rules.Contains("dangerous/server"));
    }

    [Fact]
    public async Task A_refusal_in_an_Npgsql_batch_undoes_the_batch_and_leaves_the_connection_usable()
    {
        await using var connection = await World.NpgsqlAsync(World.Alice, connection: "root");
        await using (var batch = new NpgsqlBatch(connection) { BatchCommands = { new NpgsqlBatchCommand("select 1"), new NpgsqlBatchCommand("drop database prod"), new NpgsqlBatchCommand("select 2") } })
        {
            var error = await Assert.ThrowsAsync<PostgresException>(() => batch.ExecuteNonQueryAsync(TestContext.Current.CancellationToken));
            Assert.Equal("42501", error.SqlState);
            Assert.Contains("server as a whole", error.MessageText, StringComparison.Ordinal);
        }

        await using var after = new NpgsqlCommand("select 42", connection);
        Assert.Equal(42, await after.ExecuteScalarAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_held_delete_runs_once_it_is_approved_and_is_recorded_with_its_approver()
    {
        const string Delete = "delete from orders where id = 1";
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync(Delete);
        var shown = await World.Bob.RequestAsync(request);
        Assert.Equal(Delete, Assert.Single(shown.Operations).Text);
        Assert.Equal(World.Alice.Id, shown.Requester);
        Assert.Equal(1, await World.CountAsync("orders where id = 1"));
        await World.Bob.ApproveAsync(request);
        Assert.Equal("DELETE 1", (await client.ReadToReadyAsync()).Tags());
        Assert.Equal(0, await World.CountAsync("orders where id = 1"));
        await World.StateAsync(request, RequestState.Consumed);
        var record = await World.RecordedAsync(Delete, operation => operation is { Decision: "approved", Outcome: "ok" } && operation.Request == request);
        Assert.Equal(World.Alice.Id, record.Person);
        Assert.Equal(1, record.Rows);
        Assert.Equal(World.Bob.Id, Assert.Single(record.Approvers).Person);

        // The same again is held anew.
        var again = await client.HeldAsync(Delete);
        Assert.NotEqual(request, again);
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    [Fact]
    public async Task A_denial_arrives_with_its_reason()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders where id = 2");
        Assert.Equal(System.Net.HttpStatusCode.OK, (await World.Bob.DecideAsync(request, approve: false, "not on a Friday")).Status);
        var error = (await client.ReadToReadyAsync()).Error();
        Assert.Equal("42501", error.Field('C'));
        Assert.Contains("not on a Friday", error.ToString(), StringComparison.Ordinal);
        Assert.Equal(1, await World.CountAsync("orders where id = 2"));
        await World.RecordedAsync("delete from orders where id = 2", operation => operation.Decision == "deny");
    }

    [Fact]
    public async Task A_cancel_ends_a_hold_with_57014_and_withdraws_the_request()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders where id = 3");
        await client.CancelAsync();
        Assert.Equal("57014", (await client.ReadToReadyAsync()).Error().Field('C'));
        await World.StateAsync(request, RequestState.Cancelled);
        Assert.Equal("wrong-state", (await World.Bob.DecideAsync(request, approve: true)).Code);
        Assert.Equal("SELECT 1", (await client.RunAsync("select 1")).Tags());
        Assert.Equal(1, await World.CountAsync("orders where id = 3"));
    }

    [Fact]
    public async Task After_a_disconnect_the_same_statement_attaches()
    {
        const string Delete = "delete from orders where id = 4";
        string request;
        using (var client = await World.Alice.ConnectAsync())
        {
            request = await client.HeldAsync(Delete);
        }

        using (var client = await World.Alice.ConnectAsync())
        {
            Assert.Equal(request, await client.HeldAsync(Delete));
            Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(request)).State);
        }

        await World.Bob.ApproveAsync(request);
        Assert.Equal(1, await World.CountAsync("orders where id = 4"));
        using var last = await World.Alice.ConnectAsync();
        Assert.Equal("DELETE 1", (await last.RunAsync(Delete)).Tags());
        Assert.Equal(0, await World.CountAsync("orders where id = 4"));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task The_parameters_that_were_approved_run_and_others_need_an_approval_of_their_own()
    {
        await using var connection = await World.NpgsqlAsync(World.Alice);
        await using var command = new NpgsqlCommand("delete from orders where id = $1", connection) { Parameters = { new NpgsqlParameter<int> { TypedValue = 5 } } };
        await command.PrepareAsync(TestContext.Current.CancellationToken);
        var running = command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
        var request = await World.Alice.PendingAsync();
        Assert.Equal(["5"], Assert.Single((await World.Bob.RequestAsync(request)).Operations).Parameters);
        await World.Bob.ApproveAsync(request);
        Assert.Equal(1, await running);

        ((NpgsqlParameter<int>)command.Parameters[0]).TypedValue = 6;
        running = command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
        request = await World.Alice.PendingAsync();
        Assert.Equal(["6"], Assert.Single((await World.Bob.RequestAsync(request)).Operations).Parameters);
        Assert.Equal(1, await World.CountAsync("orders where id = 6"));
        await World.Bob.DecideAsync(request, approve: false, "no");
        Assert.Equal("42501", (await Assert.ThrowsAsync<PostgresException>(() => running)).SqlState);
        Assert.Equal(0, await World.CountAsync("orders where id = 5"));
        Assert.Equal(1, await World.CountAsync("orders where id = 6"));
    }

    [Fact]
    public async Task A_hold_inside_a_transaction_shows_what_came_before_and_where_policy_says_so_is_refused()
    {
        using var client = await World.Alice.ConnectAsync();
        Assert.Equal("BEGIN", (await client.RunAsync("begin")).Tags());
        Assert.Equal("SELECT 1", (await client.RunAsync("select 'earlier'")).Tags());
        var request = await client.HeldAsync("delete from orders where id = 7");
        Assert.Contains("select 'earlier'", (await World.Bob.RequestAsync(request)).Transaction);
        await World.Bob.ApproveAsync(request);
        var replies = await client.ReadToReadyAsync();
        Assert.Equal("DELETE 1", replies.Tags());
        Assert.Equal('T', replies.State());
        Assert.Equal(1, await World.CountAsync("orders where id = 7"));
        Assert.Equal("COMMIT", (await client.RunAsync("commit")).Tags());
        Assert.Equal(0, await World.CountAsync("orders where id = 7"));

        Assert.Equal("BEGIN", (await client.RunAsync("begin")).Tags());
        Assert.Equal("25P03", (await client.RunAsync("insert into never_in_transaction values (1)")).Error().Field('C'));
        Assert.Equal("ROLLBACK", (await client.RunAsync("commit")).Tags());
        Assert.Equal(0, await World.CountAsync("never_in_transaction where id = 1"));
    }

    [Fact]
    public async Task Npgsql_with_a_command_timeout_of_3_seconds_survives_a_longer_hold()
    {
        await using var connection = await World.NpgsqlAsync(World.Alice, "Command Timeout=3");
        var told = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        connection.Notice += (_, notice) =>
        {
            if (Holds.RequestOf(notice.Notice.MessageText) is { } id)
            {
                told.TrySetResult(id);
            }
        };
        await using var command = new NpgsqlCommand("delete from orders where id = 8", connection);
        var began = TimeProvider.System.GetTimestamp();
        var running = command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
        var request = await told.Task.WaitAsync(Until.Longest, TestContext.Current.CancellationToken);

        // The hold has to outlast the driver's patience twice over: that is the condition.
        await Until.TrueAsync("the hold is 6 s old", () => Task.FromResult(running.IsCompleted || TimeProvider.System.GetElapsedTime(began) > TimeSpan.FromSeconds(6)));
        Assert.False(running.IsCompleted, "the driver gave up");
        await World.Bob.ApproveAsync(request);
        Assert.Equal(1, await running);
        Assert.Equal(0, await World.CountAsync("orders where id = 8"));
    }

    [Fact]
    public async Task Two_approvals_of_distinct_persons_where_policy_wants_two()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from twice where id = 1");
        await World.Bob.ApproveAsync(request);
        Assert.Equal(System.Net.HttpStatusCode.OK, (await World.Bob.DecideAsync(request, approve: true)).Status);
        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(request)).State);
        Assert.Equal(1, await World.CountAsync("twice where id = 1"));
        await World.Carol.ApproveAsync(request);
        Assert.Equal("DELETE 1", (await client.ReadToReadyAsync()).Tags());
        var record = await World.RecordedAsync("delete from twice", operation => operation.Decision == "approved");
        Assert.Equal([World.Bob.Id, World.Carol.Id], record.Approvers.Select(each => each.Person));
    }

    private static void AssertMasked(string output)
    {
        foreach (var secret in new[] { "078-05-1120", "219-09-9999", "457-55-5462", "ada@example.com", "ben@example.com", "chloe@example.com", "4111 1111 1111 1111", "5500 0000 0000 0004", "078-05", "4111 1111" })
        {
            Assert.DoesNotContain(secret, output, StringComparison.Ordinal);
        }
    }
}
