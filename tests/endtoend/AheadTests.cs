using System.Net;
using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;
using Countersign.Policy.Contracts;

namespace Countersign.EndToEnd.Tests;

/// <summary>Approvals that are asked for before anything runs, access windows, break-glass, and what is taken back while it runs.</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "postgres")]
public sealed class AheadTests(World world) : Scenario(world)
{
    private const string Script = """
        -- the change of ticket 4711
        select 1;
        delete from orders where id = 161; /* one; only one */
        begin;
        select 'in between';
        delete from orders
          -- within
          where id = 162 -- last
        ;
        commit;
        """;

    [Fact]
    public async Task A_file_that_was_approved_ahead_runs_by_psql_without_a_hold_in_order_each_once()
    {
        var asked = await AskAsync(new { connection = "shop", script = Script, reason = "ticket 4711" });
        Assert.Equal(2, asked.Request!.Operations.Count);
        Assert.Equal("delete from orders where id = 161", asked.Request.Operations[0].Text);
        Assert.Equal("ticket 4711", asked.Request.Reason);
        Assert.Contains("read and delete from orders", asked.Request.Impact!.Relations);
        // What was found at the target is for who approves: else asking would be a way to read.
        Assert.Null(asked.Request.Impact.EstimatedRows);
        Assert.Null((await World.Alice.RequestAsync(asked.Request.Id)).Impact!.EstimatedRows);
        Assert.NotNull((await World.Bob.RequestAsync(asked.Request.Id)).Impact!.EstimatedRows);
        Assert.True((await AskAsync(new { connection = "shop", script = Script, reason = "ticket 4711" })).Attached);
        await World.Bob.ApproveAsync(asked.Request.Id);

        // Not the next of the list: held by itself, and the list is untouched.
        using (var client = await World.Alice.ConnectAsync())
        {
            Assert.NotEqual(asked.Request.Id, await client.HeldAsync("delete from orders where id = 163"));
            await client.CancelAsync();
            await client.ReadToReadyAsync();
        }

        var output = await World.PsqlAsync(World.Alice, Script);
        Assert.Equal(2, output.Split('\n').Count(line => line == "DELETE 1"));
        Assert.DoesNotContain("Held", output, StringComparison.Ordinal);
        Assert.Equal(0, await World.CountAsync("orders where id in (161, 162)"));
        await World.StateAsync(asked.Request.Id, RequestState.Consumed);
        var record = await World.RecordedAsync("delete from orders where id = 161", operation => operation is { Decision: "approved", Outcome: "ok" });
        Assert.Equal((asked.Request.Id, World.Bob.Id), (record.Request, Assert.Single(record.Approvers).Person));

        using var again = await World.Alice.ConnectAsync();
        Assert.NotEqual(asked.Request.Id, await again.HeldAsync("delete from orders where id = 161"));
        await again.CancelAsync();
        await again.ReadToReadyAsync();
    }

    [Fact]
    public async Task What_can_t_be_asked_for_says_why_and_makes_no_request()
    {
        async Task RefusedAsync(HttpStatusCode status, string code, string text, object body)
        {
            var answer = await World.Alice.PostAsync("proxy/v1/requests", body);
            Assert.Equal((status, code), (answer.Status, answer.Code));
            Assert.Contains(text, answer.Body, StringComparison.Ordinal);
        }

        await RefusedAsync(HttpStatusCode.Forbidden, "denied-by-policy", "dangerous/server", new { connection = "root", script = "select 1; drop database prod;", reason = "r" });
        await RefusedAsync(HttpStatusCode.UnprocessableEntity, "script", "backslash", new { connection = "shop", script = "\\i other.sql", reason = "r" });
        await RefusedAsync(HttpStatusCode.UnprocessableEntity, "script", "variable", new { connection = "shop", script = "delete from orders where id = :id;", reason = "r" });
        await RefusedAsync(HttpStatusCode.UnprocessableEntity, "copy-data", "COPY FROM STDIN", new { connection = "shop", text = "copy orders from stdin", reason = "r" });
        await RefusedAsync(HttpStatusCode.UnprocessableEntity, "context-changes", "timezone", new { connection = "shop", script = "set timezone = 'Asia/Tokyo'; delete from orders where id = 1;", reason = "r" });
        await RefusedAsync(HttpStatusCode.NotFound, "unknown-connection", "no-such", new { connection = "no-such", text = "select 1", reason = "r" });
        await RefusedAsync(HttpStatusCode.BadRequest, "invalid", "exactly one", new { connection = "shop", reason = "r" });
        Assert.Empty(await World.Alice.GetAsync<List<RequestView>>("approval/v1/requests?filter=mine&state=pending"));
        Assert.False((await AskAsync(new { connection = "shop", script = "select 1;\nselect name from customers;", reason = "r" })).Needed);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Nobody_asks_in_somebody_else_s_name()
    {
        Assert.Equal(HttpStatusCode.Unauthorized, (await World.CallAsync(HttpMethod.Post, "proxy/v1/requests", null, new { connection = "shop", text = "select 1" })).Status);
        var approvals = await World.Alice.TokenAsync("approval");
        Assert.Equal(HttpStatusCode.Unauthorized, (await World.CallAsync(HttpMethod.Post, "proxy/v1/requests", approvals, new { connection = "shop", text = "select 1" })).Status);
        var asked = await AskAsync(new { connection = "shop", text = "delete from orders where id = 104", reason = "mine" });
        Assert.Equal(World.Alice.Id, asked.Request!.Requester);
        await World.Bob.ApproveAsync(asked.Request.Id);
        using var carol = await World.Carol.ConnectAsync();
        Assert.NotEqual(asked.Request.Id, await carol.HeldAsync("delete from orders where id = 104"));
        await carol.CancelAsync();
        await carol.ReadToReadyAsync();
        Assert.Equal(1, await World.CountAsync("orders where id = 104"));
    }

    [Fact]
    public async Task In_a_transaction_where_nothing_is_held_what_was_approved_ahead_passes()
    {
        var asked = await AskAsync(new { connection = "shop", script = "begin; insert into never_in_transaction values (77); commit;", reason = "ahead" });
        await World.Bob.ApproveAsync(asked.Request!.Id);
        using var client = await World.Alice.ConnectAsync();
        await client.RunAsync("begin");
        Assert.Equal("INSERT 0 1", (await client.RunAsync("insert into never_in_transaction values (77)")).Tags());
        Assert.Equal("25P03", (await client.RunAsync("insert into never_in_transaction values (78)")).Error().Field('C'));
        await client.RunAsync("rollback");
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task An_access_window_lets_pass_what_lies_in_it_until_it_is_taken_back()
    {
        const string Inside = "select count(*) from public.windowed";
        var asked = await AskAsync(new { connection = "shop", window = new { seconds = 600, statements = new[] { "SELECT" }, relations = new[] { "public.windowed" } }, reason = "look around" });
        Assert.Equal(RequestKind.AccessWindow, asked.Request!.Kind);
        var tooLong = await World.Alice.PostAsync("proxy/v1/requests", new { connection = "shop", window = new { seconds = 7200, statements = new[] { "SELECT" }, relations = new[] { "public.windowed" } }, reason = "r" });
        Assert.Equal("window-too-long", tooLong.Code);
        var exact = await World.Alice.PostAsync("proxy/v1/requests", new { connection = "shop", window = new { seconds = 600, statements = new[] { "DELETE" }, relations = new[] { "public.orders" } }, reason = "r" });
        Assert.Equal("no-window", exact.Code);
        await World.Bob.ApproveAsync(asked.Request.Id);
        Assert.Null((await World.Bob.RequestAsync(asked.Request.Id)).WindowBeganAt);

        using var client = await World.Alice.ConnectAsync();
        Assert.Equal("SELECT 1", (await client.RunAsync(Inside)).Tags());
        Assert.NotNull((await World.Bob.RequestAsync(asked.Request.Id)).WindowBeganAt);
        Assert.Equal("SELECT 1", (await client.RunAsync(Inside)).Tags());
        var record = await World.RecordedAsync(Inside, operation => operation is { Decision: "approved", Outcome: "ok" } && operation.Request == asked.Request.Id);
        Assert.Equal(World.Bob.Id, Assert.Single(record.Approvers).Person);
        foreach (var outside in new[] { "select count(*) from windowed", "select count(*) from public.windowed, public.orders", "select * from public.windowed for update" })
        {
            Assert.NotEqual(asked.Request.Id, await client.HeldAsync(outside));
            await client.CancelAsync();
            await client.ReadToReadyAsync();
        }

        using (var carol = await World.Carol.ConnectAsync())
        {
            await carol.HeldAsync(Inside);
            await carol.CancelAsync();
            await carol.ReadToReadyAsync();
        }

        Assert.Equal(HttpStatusCode.OK, (await World.Carol.PostAsync($"approval/v1/requests/{asked.Request.Id}/revoke", new RevokeRequest("enough"))).Status);
        await Until.TrueAsync("the window is closed", async () =>
        {
            // The proxy hears of it within a second; until then the window may still be open, and what runs in it in that moment ends with its session.
            try
            {
                client.Query(Inside);
                await client.FlushAsync();
                var first = await client.ReadAsync();
                var held = first.Type == 'N' && Holds.RequestOf(first) is not null;
                if (held)
                {
                    await client.CancelAsync();
                }

                await client.ReadToReadyAsync();
                return held;
            }
            catch (Exception error) when (error is EndOfStreamException or IOException or System.Net.Sockets.SocketException)
            {
                return true;
            }
        });
        using var later = await World.Alice.ConnectAsync();
        Assert.NotEqual(asked.Request.Id, await later.HeldAsync(Inside));
        await later.CancelAsync();
        await later.ReadToReadyAsync();
    }

    [Fact]
    public async Task Break_glass_runs_at_once_is_recorded_as_such_and_waits_for_a_review()
    {
        const string Statement = "select count(*) from glass";
        using var client = await World.Alice.ConnectAsync();
        client.Query(Statement);
        await client.FlushAsync();
        var notice = await client.ReadAsync();
        Assert.Contains("countersign break-glass apr_", notice.Field('H'), StringComparison.Ordinal);
        var request = Holds.RequestOf(notice)!;
        var shown = await World.Alice.RequestAsync(request);
        Assert.True(shown.BreakGlassAllowed);
        Assert.True((int)(await World.Bob.PostAsync($"approval/v1/requests/{request}/break-glass", new BreakGlassRequest(shown.Digest, "not mine"))).Status >= 400);
        var broken = await World.Alice.PostAsync($"approval/v1/requests/{request}/break-glass", new BreakGlassRequest(shown.Digest, "the shop is down"));
        Assert.True(broken.Read<RequestView>().BreakGlass);
        Assert.Equal("SELECT 1", (await client.ReadToReadyAsync()).Tags());
        var record = await World.RecordedAsync(Statement, operation => operation is { Decision: "approved", Outcome: "ok" });
        Assert.Empty(record.Approvers);
        Assert.Contains("\"breakGlass\":true", (await World.Bob.CallAsync(HttpMethod.Get, $"recorder/v1/sessions/{record.Session}/entries")).Body, StringComparison.Ordinal);
        Assert.Null((await World.Bob.RequestAsync(request)).Review!.ClosedAt);

        // Where the policy doesn't have it nobody goes ahead alone.
        var other = await client.HeldAsync("delete from orders where id = 105");
        var alone = await World.Alice.PostAsync($"approval/v1/requests/{other}/break-glass", new BreakGlassRequest((await World.Alice.RequestAsync(other)).Digest, "please"));
        Assert.True((int)alone.Status is >= 400 and < 500, alone.ToString());
        await client.CancelAsync();
        await client.ReadToReadyAsync();
        Assert.Equal(1, await World.CountAsync("orders where id = 105"));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task A_revocation_ends_what_runs_at_the_target_and_the_client_reads_by_whom()
    {
        const string Statement = "delete from orders where id = 106 and pg_sleep(900) is not null";
        using var client = await RunningAsync(Statement, out var approving);
        var request = await approving;
        Assert.Equal(HttpStatusCode.OK, (await World.Carol.PostAsync($"approval/v1/requests/{request}/revoke", new RevokeRequest("wrong table"))).Status);
        var fatal = await FatalAsync(client);
        Assert.Contains($"The approval {request} was taken back by carol", fatal.Field('M'), StringComparison.OrdinalIgnoreCase);
        Assert.Contains("wrong table", fatal.Field('M'), StringComparison.Ordinal);
        await EndedAsync(Statement);
        Assert.Equal(1, await World.CountAsync("orders where id = 106"));
        await World.RecordedAsync("delete from orders where id = 106", operation => operation is { Outcome: "cancelled" or "unknown" });
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task A_stricter_policy_ends_what_runs_under_an_approval()
    {
        const string Statement = "delete from orders where id = 107 and pg_sleep(901) is not null";
        using var client = await RunningAsync(Statement, out var approving);
        await approving;
        var stricter = new BundleDocument("no-orders", """
            apiVersion: countersign/v1
            kind: Policy
            name: no-orders
            rules:
              - name: closed
                effect: deny
                message: Orders are closed.
                when: {writes: ["*.orders"]}
            """);
        await World.ChangeAsync(new PolicyChangeRequest { Documents = [stricter] });
        try
        {
            Assert.Contains("policy now refuses", (await FatalAsync(client)).Field('M'), StringComparison.Ordinal);
            await EndedAsync(Statement);
            Assert.Equal(1, await World.CountAsync("orders where id = 107"));
        }
        finally
        {
            await World.ChangeAsync(new PolicyChangeRequest { RemovedDocuments = ["no-orders"] });
        }
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task The_person_s_disabled_credential_ends_what_runs_at_the_target()
    {
        const string Statement = "delete from orders where id = 108 and pg_sleep(902) is not null";
        var credential = await World.Carol.NewCredentialAsync("shop");
        using var client = await RawClient.LogInAsync(World.GatewayPort, credential.Credential.UserName, credential.Secret, "shop");
        await World.Bob.ApproveAsync(await client.HeldAsync(Statement));
        await RunsAsync(Statement);
        Assert.True((int)(await World.Carol.CallAsync(HttpMethod.Delete, $"identity/v1/credentials/{credential.Credential.Id}")).Status < 300);
        await FatalAsync(client);
        await EndedAsync(Statement);
        Assert.Equal(1, await World.CountAsync("orders where id = 108"));
    }

    private async Task<AheadAnswer> AskAsync(object body) => (await World.Alice.PostAsync("proxy/v1/requests", body)).Read<AheadAnswer>();

    private Task<RawClient> RunningAsync(string statement, out Task<string> request)
    {
        var approved = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        request = approved.Task;
        return RunAsync();

        async Task<RawClient> RunAsync()
        {
            var client = await World.Alice.ConnectAsync();
            var id = await client.HeldAsync(statement);
            await World.Bob.ApproveAsync(id);
            await RunsAsync(statement);
            approved.SetResult(id);
            return client;
        }
    }

    private static async Task<Reply> FatalAsync(RawClient client)
    {
        Reply? last = null;
        while (await client.TryReadAsync() is { } reply)
        {
            last = reply;
        }

        Assert.NotNull(last);
        Assert.Equal(('E', "FATAL", "57P01"), (last.Type, last.Field('S'), last.Field('C')));
        return last;
    }

    private Task RunsAsync(string statement) => Until.TrueAsync("it runs", async () => await ActiveAsync(statement) == 1);

    private Task EndedAsync(string statement) => Until.TrueAsync("it has ended at the target", async () => await ActiveAsync(statement) == 0);

    private Task<int> ActiveAsync(string statement) => World.CountAsync($"pg_stat_activity where state = 'active' and query = '{statement}'");

    private sealed record AheadAnswer(bool Needed, RequestView? Request, bool Attached);
}
