using System.Text.Json;
using Countersign.Approval.Contracts;
using Microsoft.AspNetCore.Http;

namespace Countersign.Cli.Tests;

/// <summary>request CONNECTION and break-glass.</summary>
[Trait("group", "unit")]
public sealed class AheadTests : CliFixture
{
    private JsonElement _asked;

    [Fact]
    public async Task A_file_is_sent_as_it_is_and_the_request_told()
    {
        await LogInAsync();
        Answer(needed: true);
        var file = Path.Combine(Root, "change.sql");
        await File.WriteAllTextAsync(file, "delete from t where id = 1;\n-- ö\n");

        var run = await RunAsync("request", "shop/orders", "--file", file, "--reason", "ticket 1");

        Assert.Equal((0, true), (run.ExitCode, run.Output.StartsWith("apr_1 is pending.", StringComparison.Ordinal)));
        Assert.Contains("https://countersign.example.com/approval/requests/apr_1", run.Output, StringComparison.Ordinal);
        Assert.Equal("delete from t where id = 1;\n-- ö\n", _asked.GetProperty("script").GetString());
        Assert.Equal(("shop", "orders", "ticket 1"), (Text("connection"), Text("database"), Text("reason")));
        Assert.Equal(JsonValueKind.Null, _asked.TryGetProperty("text", out var text) ? text.ValueKind : JsonValueKind.Null);
    }

    [Fact]
    public async Task Json_has_the_id_and_the_link()
    {
        await LogInAsync();
        Answer(needed: true);
        var run = await RunAsync("request", "shop", "--sql", "delete from t", "--reason", "r", "--output", "json");
        var request = run.Json.GetProperty("request");
        Assert.Equal(("apr_1", "https://countersign.example.com/approval/requests/apr_1"), (request.GetProperty("id").GetString(), request.GetProperty("link").GetString()));
        Assert.Equal("delete from t", Text("text"));
    }

    [Fact]
    public async Task Where_none_is_needed_it_says_so()
    {
        await LogInAsync();
        Answer(needed: false);
        var run = await RunAsync("request", "shop", "--sql", "select 1", "--reason", "r");
        Assert.Equal(0, run.ExitCode);
        Assert.Contains("No approval is needed", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_window_says_what_lies_in_it()
    {
        await LogInAsync();
        Answer(needed: true);
        var run = await RunAsync("request", "shop", "--window", "1h", "--statements", "update, DELETE", "--relations", "public.orders,public.items", "--reason", "r");
        Assert.Equal(0, run.ExitCode);
        var window = _asked.GetProperty("window");
        Assert.Equal(3600, window.GetProperty("seconds").GetInt32());
        Assert.Equal(["UPDATE", "DELETE"], window.GetProperty("statements").EnumerateArray().Select(each => each.GetString()));
        Assert.Equal(["public.orders", "public.items"], window.GetProperty("relations").EnumerateArray().Select(each => each.GetString()));
    }

    [Fact]
    public async Task More_time_names_what_is_to_last_longer()
    {
        await LogInAsync();
        Answer(needed: true);
        var run = await RunAsync("request", "shop", "--sql", "delete from t", "--extends", "apr_0", "--reason", "r");
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(("delete from t", "apr_0"), (Text("text"), Text("extends")));
        Server.Overrides["/proxy/v1/requests"] = context => FakeServer.ProblemAsync(context, 409, "Conflict", "The request is revoked: there is no time left to extend.", "not-extendable");
        run = await RunAsync("request", "shop", "--sql", "delete from t", "--extends", "apr_0", "--reason", "r");
        Assert.Equal(1, run.ExitCode);
        Assert.Contains("no time left to extend", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("request", "shop", "--sql", "x")]
    [InlineData("request", "shop", "--reason", "r")]
    [InlineData("request", "--sql", "x", "--reason", "r")]
    [InlineData("request", "shop", "--sql", "x", "--window", "1h", "--reason", "r")]
    [InlineData("request", "shop", "--window", "1h", "--statements", "UPDATE", "--reason", "r")]
    [InlineData("request", "shop", "--sql", "x", "--relations", "a.b", "--reason", "r")]
    [InlineData("request", "shop", "--file", "/no/such/file", "--reason", "r")]
    [InlineData("break-glass", "apr_1", "--yes")]
    [InlineData("break-glass", "apr_1", "--reason", "r")]
    public async Task What_is_missing_is_a_wrong_command_line(params string[] arguments)
    {
        await LogInAsync();
        Answer(needed: true);
        var run = await RunAsync(arguments);
        Assert.Equal(2, run.ExitCode);
        Assert.Equal(JsonValueKind.Undefined, _asked.ValueKind);
    }

    [Fact]
    public async Task A_refusal_of_the_policy_is_shown()
    {
        await LogInAsync();
        Server.Overrides["/proxy/v1/requests"] = context => FakeServer.ProblemAsync(context, 403, "Forbidden", "The policy refuses this (a/b).", "denied-by-policy");
        var run = await RunAsync("request", "shop", "--sql", "drop database x", "--reason", "r");
        Assert.Equal(1, run.ExitCode);
        Assert.Contains("a/b", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Breaking_the_glass_shows_what_runs_and_asks_first()
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "DELETE FROM orders WHERE id = 1") with { BreakGlassAllowed = true });
        BreakGlass();
        var no = await RunAsync(new RunOptions { Terminal = true, Input = "yes\n" }, "break-glass", "apr_1", "--reason", "down");
        Assert.Equal(1, no.ExitCode);
        Assert.Equal(JsonValueKind.Undefined, _asked.ValueKind);
        Assert.Contains("DELETE FROM orders", no.Output, StringComparison.Ordinal);

        var run = await RunAsync(new RunOptions { Terminal = true, Input = "break glass\n" }, "break-glass", "apr_1", "--reason", "down");
        Assert.Equal(0, run.ExitCode);
        Assert.Equal((RequestDigest.Compute([new string('a', 64)]), "down"), (Text("digest"), Text("reason")));
        Assert.Contains("review it by", run.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, false, "not-allowed")]
    [InlineData(true, true, "digest-mismatch")]
    public async Task Nothing_is_broken_that_may_not_be(bool allowed, bool forged, string code)
    {
        await LogInAsync();
        var request = Request("apr_1", "DELETE FROM orders") with { BreakGlassAllowed = allowed };
        Server.ApprovalRequests.Add(forged ? request with { Digest = new string('b', 64) } : request);
        BreakGlass();
        var run = await RunAsync("break-glass", "apr_1", "--reason", "r", "--yes", "--output", "json");
        Assert.Equal(1, run.ExitCode);
        Assert.Contains(code, run.Error, StringComparison.Ordinal);
        Assert.Equal(JsonValueKind.Undefined, _asked.ValueKind);
    }

    [Fact]
    public async Task The_impact_is_shown_and_escaped()
    {
        await LogInAsync();
        Server.ApprovalRequests.Add(Request("apr_1", "UPDATE t SET a = 1") with
        {
            Impact = new RequestImpact(
                ["update public.t"], 42, ["Takes a lock ROW EXCLUSIVE on t."],
                new DryRunResult(7, ["a", "secret"], [], [["1", "***"], ["\u001b[8m", null]])),
        });
        var run = await RunAsync("request", "show", "apr_1");
        Assert.Equal(0, run.ExitCode);
        foreach (var part in new[] { "update public.t", "42 by the planner's estimate", "ROW EXCLUSIVE", "affected 7 rows", "***", "⟦U+001B⟧[8m", "NULL" })
        {
            Assert.Contains(part, run.Output, StringComparison.Ordinal);
        }
    }

    private string? Text(string name) => _asked.GetProperty(name).GetString();

    private void Answer(bool needed) => Server.Overrides["/proxy/v1/requests"] = async context =>
    {
        _asked = (await JsonDocument.ParseAsync(context.Request.Body)).RootElement;
        await context.Response.WriteAsJsonAsync(new { needed, request = needed ? Request("apr_1", "delete from t") : null, attached = false, statements = Array.Empty<object>() });
    };

    private void BreakGlass() => Server.Overrides["/break-glass"] = async context =>
    {
        _asked = (await JsonDocument.ParseAsync(context.Request.Body)).RootElement;
        await context.Response.WriteAsJsonAsync(Request("apr_1", "x") with { State = RequestState.Approved, BreakGlass = true, Review = new RequestReview(DateTimeOffset.UnixEpoch) });
    };
}
