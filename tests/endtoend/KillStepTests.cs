using System.Net;
using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;

namespace Countersign.EndToEnd.Tests;

/// <summary>
/// The host is killed at each step of an operation's path (docs/path.md), while other requests are pending, approved and running: what waited still waits, what
/// was approved runs once, and what was redeemed runs at most once, whoever asks again.
/// </summary>
[Collection(WorldCollection.Name)]
[Trait("group", "faults")]
public sealed class KillStepTests(World world) : Scenario(world)
{
    [Theory]
    [InlineData(1, "half a message has arrived")]
    [InlineData(2, "approval is about to be asked")]
    [InlineData(3, "approval was asked and the answer isn't there")]
    [InlineData(4, "it is about to be redeemed")]
    [InlineData(5, "it was redeemed and the answer isn't there")]
    [InlineData(6, "its record is about to be acknowledged")]
    [InlineData(7, "it runs at the target")]
    [InlineData(8, "its rows are on their way")]
    public async Task Killed_when(int point, string what)
    {
        var key = 3000 + (10 * point);
        var text = point switch
        {
            7 => $"insert into t select {key}, 1 where pg_sleep(1) is not null",
            8 => $"insert into t select {key}, g from generate_series(1, 20000) g returning a, b, repeat('x', 500)",
            _ => $"insert into t values ({key}, 1)",
        };
        var others = await OthersAsync(key);
        string request = "";
        var killed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var redeemed = false;
        async Task KillAsync()
        {
            World.ApprovalRelay.Before = World.ApprovalRelay.After = World.RecorderRelay.Before = null;
            await World.Host.KillAsync();
            killed.TrySetResult();
        }

        Func<string, Task> On(string end) => call => call.EndsWith(end, StringComparison.Ordinal) ? KillAsync() : Task.CompletedTask;
        using (var client = await World.Alice.ConnectAsync())
        {
            switch (point)
            {
                case 1:
                    await client.SendAsync(HalfOf(text));
                    await KillAsync();
                    break;
                case 2 or 3:
                    World.ApprovalRelay.Before = point == 2 ? On("POST /approval/v1/requests") : null;
                    World.ApprovalRelay.After = point == 3 ? On("POST /approval/v1/requests") : null;
                    await client.Query(text).FlushAsync();
                    break;
                default:
                    request = await client.HeldAsync(text);
                    World.ApprovalRelay.Before = point == 4 ? On($"{request}/redeem") : null;
                    World.ApprovalRelay.After = point == 5 ? On($"{request}/redeem")
                        : call =>
                        {
                            redeemed |= call.EndsWith($"{request}/redeem", StringComparison.Ordinal);
                            return Task.CompletedTask;
                        };
                    World.RecorderRelay.Before = point == 6 ? _ => redeemed ? KillAsync() : Task.CompletedTask : null;
                    await ApproveAsync(request);
                    if (point == 7)
                    {
                        await Until.TrueAsync("it runs", async () => await ActiveAsync(text) == 1);
                        await KillAsync();
                    }
                    else if (point == 8)
                    {
                        await client.ReadToAsync('D');
                        await KillAsync();
                    }

                    break;
            }

            await killed.Task.WaitAsync(Until.Longest, TestContext.Current.CancellationToken);
            Reply? last = null;
            while (await client.TryReadAsync() is { } reply)
            {
                last = reply;
            }

            Assert.False(last?.Type is 'C' or 'Z', $"the client was told that it ran, when {what}");
        }

        await World.Host.StartAsync();
        await World.OpenAsync();
        await Until.TrueAsync("nothing runs at the target any more", async () => await ActiveAsync(text) == 0);
        var rows = await World.CountAsync($"t where a = {key}");
        Assert.True(point switch { 7 => rows is 0 or 1, 8 => rows is 0 or 20000, _ => rows == 0 }, $"{rows} rows, killed when {what}");
        using (var again = await World.Alice.ConnectAsync())
        {
            if (point == 4)
            {
                // Nobody has used it: it is good for its one run.
                Assert.Equal("INSERT 0 1", (await again.RunAsync(text)).Tags());
                Assert.Equal(1, await World.CountAsync($"t where a = {key}"));
                rows = 1;
            }

            // Before redemption the request is the same, and after it never.
            var mine = (await World.Alice.GetAsync<List<RequestView>>("approval/v1/requests?filter=mine&state=pending")).Where(each => each.Operations[0].Text == text).Select(each => each.Id).ToList();
            Assert.Equal(point == 3 ? 1 : 0, mine.Count);
            var held = await again.HeldAsync(text);
            Assert.True(point == 3 ? held == mine[0] : held != request, held);
            await again.CancelAsync();
            await again.ReadToReadyAsync();
        }

        Assert.Equal(rows, await World.CountAsync($"t where a = {key}"));
        if (point > 4)
        {
            await World.StateAsync(request, RequestState.Consumed);
        }

        if (point > 6)
        {
            await World.RecordedAsync(text, operation => operation is { Decision: "approved", Outcome: "unknown" } && operation.Request == request);
        }

        await CheckAsync(others, key);
        if (point == 8)
        {
            await World.VerifyAsync();
        }
    }

    /// <summary>Three of somebody else's: one waits, one was approved, one runs.</summary>
    private async Task<(string Pending, string Approved, string Running)> OthersAsync(int key)
    {
        string pending, approved, running;
        using (var client = await World.Carol.ConnectAsync())
        {
            pending = await client.HeldAsync(Pending(key));
        }

        using (var client = await World.Carol.ConnectAsync())
        {
            approved = await client.HeldAsync(Approved(key));
        }

        using (var client = await World.Carol.ConnectAsync())
        {
            running = await client.HeldAsync(Running(key));
            await World.Bob.ApproveAsync(running);
            await World.Bob.ApproveAsync(approved);
            await Until.TrueAsync("the other one runs", async () => await ActiveAsync(Running(key)) == 1);
        }

        return (pending, approved, running);
    }

    private async Task CheckAsync((string Pending, string Approved, string Running) others, int key)
    {
        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(others.Pending)).State);
        Assert.Equal(RequestState.Approved, (await World.Bob.RequestAsync(others.Approved)).State);
        Assert.Equal(RequestState.Consumed, (await World.Bob.RequestAsync(others.Running)).State);
        using var carol = await World.Carol.ConnectAsync();
        Assert.Equal("INSERT 0 1", (await carol.RunAsync(Approved(key))).Tags());
        Assert.Equal(others.Pending, await carol.HeldAsync(Pending(key)));
        await carol.CancelAsync();
        await carol.ReadToReadyAsync();
        Assert.NotEqual(others.Running, await carol.HeldAsync(Running(key)));
        await carol.CancelAsync();
        await carol.ReadToReadyAsync();
        Assert.Equal((0, 1), (await World.CountAsync($"t where a = {key + 1}"), await World.CountAsync($"t where a = {key + 2}")));
        Assert.InRange(await World.CountAsync($"t where a = {key + 3}"), 0, 1);
    }

    private static string Pending(int key) => $"insert into t values ({key + 1}, 0)";

    private static string Approved(int key) => $"insert into t values ({key + 2}, 0)";

    private static string Running(int key) => $"insert into t select {key + 3}, 0 where pg_sleep(2) is not null";

    private async Task ApproveAsync(string request)
    {
        try
        {
            Assert.Equal(HttpStatusCode.OK, (await World.Bob.DecideAsync(request, approve: true)).Status);
        }
        catch (HttpRequestException)
        {
            // Killed before it could answer.
        }
    }

    private static byte[] HalfOf(string text)
    {
        var message = new byte[6 + text.Length];
        message[0] = (byte)'Q';
        System.Buffers.Binary.BinaryPrimitives.WriteInt32BigEndian(message.AsSpan(1), message.Length - 1);
        System.Text.Encoding.ASCII.GetBytes(text, message.AsSpan(5));
        return message[..(message.Length / 2)];
    }

    private Task<int> ActiveAsync(string statement) => World.CountAsync($"pg_stat_activity where state = 'active' and query = '{statement.Replace("'", "''", StringComparison.Ordinal)}'");
}
