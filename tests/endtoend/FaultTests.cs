using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;

namespace Countersign.EndToEnd.Tests;

/// <summary>The host dies at the worst moment, the recorder is away, the disk is full.</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "faults")]
public sealed class FaultTests(World world) : Scenario(world)
{
    [Fact]
    public async Task A_kill_during_a_hold_leaves_the_request_pending_and_the_same_statement_attaches()
    {
        const string Delete = "delete from orders where id = 100";
        string request;
        using (var client = await World.Alice.ConnectAsync())
        {
            request = await client.HeldAsync(Delete);
            await World.RestartAsync();
            while (await client.TryReadAsync() is not null)
            {
                // Signs of life from before.
            }
        }

        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(request)).State);
        using var again = await World.Alice.ConnectAsync();
        Assert.Equal(request, await again.HeldAsync(Delete));
        Assert.Equal(1, await World.CountAsync("orders where id = 100"));
        await World.Bob.ApproveAsync(request);
        Assert.Equal("DELETE 1", (await again.ReadToReadyAsync()).Tags());
        await VerifyAsync();
    }

    [Fact]
    public async Task A_kill_between_approval_and_run_keeps_the_approval_for_one_run()
    {
        const string Delete = "delete from orders where id = 101";
        string request;
        using (var client = await World.Alice.ConnectAsync())
        {
            request = await client.HeldAsync(Delete);
        }

        await World.Bob.ApproveAsync(request);
        await World.RestartAsync();
        Assert.Equal(1, await World.CountAsync("orders where id = 101"));
        using (var client = await World.Alice.ConnectAsync())
        {
            Assert.Equal("DELETE 1", (await client.RunAsync(Delete)).Tags());
            Assert.NotEqual(request, await client.HeldAsync(Delete));
            await client.CancelAsync();
            await client.ReadToReadyAsync();
        }

        await World.RestartAsync();
        using var last = await World.Alice.ConnectAsync();
        Assert.NotEqual(request, await last.HeldAsync(Delete));
        await last.CancelAsync();
        await last.ReadToReadyAsync();
    }

    [Fact]
    public async Task A_kill_under_load_loses_no_operation_that_a_client_has_an_answer_to()
    {
        var answered = new System.Collections.Concurrent.ConcurrentBag<string>();
        for (var round = 0; round < 2; round++)
        {
            var clients = await Task.WhenAll(Enumerable.Range(0, 6).Select(index => (index % 2 == 0 ? World.Alice : World.Carol).ConnectAsync()));
            var enough = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            var mark = $"{round}-{Guid.NewGuid():N}";
            var load = clients.Select(async (client, index) =>
            {
                try
                {
                    for (var number = 0; ; number++)
                    {
                        var text = $"select '{mark}-{index}-{number}'";
                        if (number % 2 == 0)
                        {
                            client.Query(text);
                        }
                        else
                        {
                            client.Parse("", text).Bind("", "").Execute("").Sync();
                        }

                        (await client.RunAsync()).Tags();
                        answered.Add($"{mark}-{index}-{number}'");
                        if (answered.Count > 300 * (round + 1))
                        {
                            enough.TrySetResult();
                        }
                    }
                }
                catch (Exception error) when (error is EndOfStreamException or System.Net.Sockets.SocketException)
                {
                    // Killed.
                }
            }).ToArray();
            await enough.Task.WaitAsync(Until.Longest, TestContext.Current.CancellationToken);
            await World.RestartAsync();
            await Task.WhenAll(load);
            foreach (var client in clients)
            {
                client.Dispose();
            }
        }

        await Until.TrueAsync("every acknowledged operation is in the export", async () =>
        {
            var export = await ExportAsync();
            return answered.All(text => export.Contains(text, StringComparison.Ordinal) || export.Contains(text.Replace("'", "\\u0027", StringComparison.Ordinal), StringComparison.Ordinal));
        });
        await VerifyAsync();
    }

    [Fact]
    public async Task Kills_at_any_moment_of_an_approved_statement_run_it_at_most_once()
    {
        for (var round = 0; round < 4; round++)
        {
            var insert = $"insert into t values ({1000 + round}, {round})";
            string request;
            using (var client = await World.Alice.ConnectAsync())
            {
                request = await client.HeldAsync(insert);
                var approving = World.Bob.DecideAsync(request, approve: true);
                if (round % 2 == 0)
                {
                    await approving;
                }

                await World.Host.KillAsync();
                try
                {
                    await approving;
                }
                catch (HttpRequestException)
                {
                    // Killed before it could answer.
                }
            }

            var ran = await World.CountAsync($"t where a = {1000 + round}");
            Assert.InRange(ran, 0, 1);
            await World.Host.StartAsync();
            await World.OpenAsync();
            using var again = await World.Alice.ConnectAsync();
            again.Query(insert);
            await again.FlushAsync();
            Reply reply;
            while ((reply = await again.ReadAsync()).Type is not ('C' or 'E' or 'N'))
            {
            }

            var total = await World.CountAsync($"t where a = {1000 + round}");
            Assert.InRange(total, 0, 1);
            Assert.False(ran == 1 && reply.Type == 'C', "an approved statement ran twice");
            if (reply.Type == 'N')
            {
                await again.CancelAsync();
            }

            await again.ReadToReadyAsync();
            Assert.InRange(await World.CountAsync($"t where a = {1000 + round}"), 0, 1);
        }

        await VerifyAsync();
    }

    [Fact]
    public async Task While_the_recorder_is_away_nothing_that_was_approved_runs()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders where id = 102");
        World.RecorderRelay.IsDown = true;
        try
        {
            await World.Bob.ApproveAsync(request);
            Reply? last = null;
            while (await client.TryReadAsync(60) is { } reply && (last = reply).Type is not ('E' or 'C'))
            {
            }

            Assert.Equal('E', last!.Type);
            Assert.Equal(1, await World.CountAsync("orders where id = 102"));
        }
        finally
        {
            World.RecorderRelay.IsDown = false;
        }

        await World.RestartAsync();
        await VerifyAsync();
    }

    [Fact]
    public async Task A_spool_that_is_full_ends_sessions_with_a_clear_error_and_recovers()
    {
        World.RecorderRelay.IsDown = true;
        try
        {
            using var client = await World.Alice.ConnectAsync();
            Reply? error = null;
            for (var number = 0; number < 200 && error is null; number++)
            {
                client.Query($"select length('{number}-{Convert.ToHexString(System.Security.Cryptography.RandomNumberGenerator.GetBytes(100_000))}')");
                await client.FlushAsync();
                while (true)
                {
                    if (await client.TryReadAsync() is not { } reply)
                    {
                        Assert.NotNull(error);
                        break;
                    }

                    if (reply.Type == 'E')
                    {
                        error = reply;
                    }
                    else if (reply.Type == 'Z')
                    {
                        break;
                    }
                }
            }

            Assert.NotNull(error);
            Assert.Equal("FATAL", error.Field('S'));
            Assert.Contains("record", error.Field('M'), StringComparison.OrdinalIgnoreCase);
        }
        finally
        {
            World.RecorderRelay.IsDown = false;
        }

        await World.RestartAsync();
        using var after = await World.Alice.ConnectAsync();
        Assert.Equal("SELECT 1", (await after.RunAsync("select 1")).Tags());
        await VerifyAsync();
    }

    [Fact]
    public async Task A_disk_that_takes_no_more_ends_sessions_before_anything_runs_unrecorded()
    {
        using var client = await World.Alice.ConnectAsync();
        Assert.Equal("SELECT 1", (await client.RunAsync("select 'before the disk was full'")).Tags());
        await LimitAsync("0");
        Reply? error = null;
        client.Query("select 'unrecorded-marker'");
        await client.FlushAsync();
        while (await client.TryReadAsync(60) is { } reply)
        {
            Assert.False(reply.Type == 'D', "a result without a record");
            error = reply.Type == 'E' ? reply : error;
        }

        Assert.NotNull(error);
        Assert.Equal("FATAL", error.Field('S'));
        await World.RestartAsync();
        using var after = await World.Alice.ConnectAsync();
        Assert.Equal("SELECT 1", (await after.RunAsync("select 1")).Tags());
        await VerifyAsync();
    }

    private Task<string> LimitAsync(string bytes) => Fakes.Postgres.PostgresServer.RunAsync("prlimit", ["--pid", World.Host.Id.ToString(System.Globalization.CultureInfo.InvariantCulture), $"--fsize={bytes}"]);

    private Task<string> ExportAsync() => World.ExportAsync();

    private Task VerifyAsync() => World.VerifyAsync();
}
