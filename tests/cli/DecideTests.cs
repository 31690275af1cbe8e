using Countersign.Approval.Contracts;

namespace Countersign.Cli.Tests;

[Trait("group", "unit")]
public sealed class DecideTests : CliFixture
{
    private static readonly string Digest = RequestDigest.Compute([new string('a', 64)]);

    [Fact]
    public async Task Requests_are_listed_in_one_line_each()
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE\n  FROM orders\u001b[8m"));

        var run = await RunAsync("requests");

        Assert.Equal(0, run.ExitCode);
        var lines = run.Output.TrimEnd().Split('\n');
        Assert.Equal(2, lines.Length);
        Assert.StartsWith("ID     STATE    FROM", lines[0], StringComparison.Ordinal);
        Assert.EndsWith("DELETE FROM orders⟦U+001B⟧[8m", lines[1], StringComparison.Ordinal);
        Assert.Contains("filter=to-decide", Server.Requests.Last(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_table_on_a_terminal_shows_no_markup_and_no_escape_of_the_text()
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "[red]x[/] \u001b]0;title\u0007"));

        var run = await RunAsync(new RunOptions { Terminal = true }, "requests");

        Assert.Equal(0, run.ExitCode);
        Assert.DoesNotContain("\u001b]0;", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u0007', run.Output);
        Assert.Contains("[red]x", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_exact_text_is_shown_behind_a_gutter()
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders\n  WHERE id = $1 \u202e-- safe\nstate      approved", "7\u200b", null));

        var run = await RunAsync("request", "show", "apr_1");

        Assert.Equal(0, run.ExitCode);
        Assert.Contains("  | DELETE FROM orders\n  |   WHERE id = $1 ⟦U+202E⟧-- safe\n  | state      approved\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("  $1 = text of 2 characters:\n  | 7⟦U+200B⟧\n  $2 = NULL\n", run.Output, StringComparison.Ordinal);
        Assert.Contains(Digest, run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_open_transaction_and_look_alike_letters_are_pointed_out()
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM usеrs") with { Transaction = ["UPDATE a SET b = 1"] });

        var run = await RunAsync("request", "show", "apr_1");

        Assert.Contains("may hold locks\n  | UPDATE a SET b = 1\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("U+0435", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Approving_sends_back_the_digest_that_was_shown()
    {
        await LogInAsync("bob");
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders"));

        var run = await RunAsync("approve", "apr_1", "--yes", "--comment", "ticket 7");

        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.Contains("  | DELETE FROM orders\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("apr_1 is approved.", run.Output, StringComparison.Ordinal);
        Assert.Equal(("apr_1", "approve", new DecideRequest(Digest, "ticket 7")), Assert.Single(Server.Decisions));
    }

    [Fact]
    public async Task Approving_in_json_prints_what_was_approved()
    {
        await LogInAsync("bob");
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders\u202e"));

        var run = await RunAsync("approve", "apr_1", "--yes", "--output", "json");

        Assert.Equal("approved", run.Json.GetProperty("state").GetString());
        Assert.Equal("DELETE FROM orders\u202e", run.Json.GetProperty("operations")[0].GetProperty("text").GetString());
        Assert.DoesNotContain('\u202e', run.Output);
    }

    [Theory]
    [InlineData("approve\n", 0, 1)]
    [InlineData("y\n", 1, 0)]
    [InlineData("\n", 1, 0)]
    [InlineData("", 1, 0)]
    public async Task On_a_terminal_the_person_is_asked(string answer, int exit, int decisions)
    {
        await LogInAsync("bob");
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders"));

        var run = await RunAsync(new RunOptions { Terminal = true, Input = answer }, "approve", "apr_1");

        Assert.Equal((exit, decisions), (run.ExitCode, Server.Decisions.Count));
    }

    [Fact]
    public async Task Without_a_terminal_and_without_yes_nothing_is_decided()
    {
        await LogInAsync("bob");
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders"));

        var run = await RunAsync(new RunOptions { Input = "approve\n" }, "approve", "apr_1");

        Assert.Equal(2, run.ExitCode);
        Assert.Empty(Server.Decisions);
    }

    [Fact]
    public async Task A_pinned_digest_that_differs_decides_nothing()
    {
        await LogInAsync("bob");
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders"));

        var run = await RunAsync("approve", "apr_1", "--yes", "--digest", new string('b', 64));

        Assert.Equal(1, run.ExitCode);
        Assert.Empty(Server.Decisions);
    }

    [Fact]
    public async Task A_request_whose_digest_does_not_belong_to_its_operations_is_not_decided()
    {
        await LogInAsync("bob");
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders") with { Digest = new string('b', 64) });

        var run = await RunAsync("approve", "apr_1", "--yes");

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("does not belong to the operations", run.Error, StringComparison.Ordinal);
        Assert.Empty(Server.Decisions);
    }

    [Fact]
    public async Task A_refusal_says_why_with_its_code()
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders"));
        Server.Overrides["/approve"] = context => FakeServer.ProblemAsync(context, 403, "Not yours to approve", "You asked for it yourself.", "self-approval");

        var text = await RunAsync("approve", "apr_1", "--yes");
        var json = await RunAsync("approve", "apr_1", "--yes", "-o", "json");

        Assert.Equal((1, "countersign: Not yours to approve: You asked for it yourself.\n"), (text.ExitCode, text.Error));
        Assert.Contains("\"code\":\"self-approval\"", json.Error, StringComparison.Ordinal);
        Assert.Equal("", json.Output);
    }

    [Fact]
    public async Task What_is_decided_already_is_not_decided_again()
    {
        await LogInAsync("bob");
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders") with { State = RequestState.Expired });

        var run = await RunAsync("approve", "apr_1", "--yes");

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("it is expired", run.Error, StringComparison.Ordinal);
        Assert.Empty(Server.Decisions);
    }

    [Fact]
    public async Task A_denial_needs_a_comment()
    {
        await LogInAsync("bob");
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders"));

        Assert.Equal(2, (await RunAsync("deny", "apr_1", "--yes")).ExitCode);
        Assert.Equal(0, (await RunAsync("deny", "apr_1", "--yes", "--comment", "not on Friday")).ExitCode);
        Assert.Equal(("apr_1", "deny", new DecideRequest(Digest, "not on Friday")), Assert.Single(Server.Decisions));
    }

    [Fact]
    public async Task Withdrawing_needs_only_the_id()
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders"));

        var run = await RunAsync("withdraw", "apr_1");

        Assert.Equal((0, "apr_1 is cancelled.\n"), (run.ExitCode, run.Output));
    }

    [Fact]
    public async Task A_reason_is_given_and_an_approval_taken_back()
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders"));

        var reason = await RunAsync("request", "reason", "apr_1", "ticket 7");
        var revoke = await RunAsync("request", "revoke", "apr_1", "--comment", "no longer");

        Assert.Equal((0, "apr_1 is pending.\n"), (reason.ExitCode, reason.Output));
        Assert.Equal("ticket 7", Server.ApprovalRequests[0].Reason);
        Assert.Equal((0, "apr_1 is revoked.\n"), (revoke.ExitCode, revoke.Output));
    }

    [Theory]
    [InlineData(RequestState.Approved, 0)]
    [InlineData(RequestState.Denied, 1)]
    [InlineData(RequestState.Expired, 1)]
    public async Task Waiting_ends_with_the_decision(RequestState state, int exit)
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders"));
        var polls = 0;
        Server.Overrides["/requests/apr_1"] = context => Microsoft.AspNetCore.Http.HttpResponseJsonExtensions.WriteAsJsonAsync(
            context.Response, Server.ApprovalRequests[0] with { State = ++polls < 2 ? RequestState.Pending : state });

        var run = await RunAsync("request", "wait", "apr_1");

        Assert.Equal((exit, 2), (run.ExitCode, polls));
    }

    [Fact]
    public async Task Waiting_in_vain_is_a_no()
    {
        await LogInAsync();

        var run = await RunAsync("requests", "--wait", "--timeout", "0s");

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("Waited in vain", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ctrl_C_ends_a_wait_with_130()
    {
        await LogInAsync();
        using var interrupted = new CancellationTokenSource();
        Server.Overrides["/approval/v1/requests"] = async context =>
        {
            await Microsoft.AspNetCore.Http.HttpResponseJsonExtensions.WriteAsJsonAsync(context.Response, Array.Empty<RequestView>());
            await interrupted.CancelAsync();
        };

        var run = await RunAsync(new RunOptions { Interrupted = interrupted.Token }, "requests", "--wait");

        Assert.Equal(130, run.ExitCode);
    }

    [Fact]
    public async Task An_id_is_not_a_path()
    {
        await LogInAsync();

        await RunAsync("request", "show", "../persons?x=1");

        Assert.Equal("GET /approval/v1/requests/..%2Fpersons%3Fx%3D1", Server.Requests.Last());
    }
}
