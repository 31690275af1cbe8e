using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;
using Microsoft.AspNetCore.Http;

namespace Countersign.Cli.Tests;

/// <summary>Reviews, links, removals at once and the segregation report.</summary>
[Trait("group", "unit")]
public sealed class ControlTests : CliFixture
{
    private static readonly DateTimeOffset Due = new(2020, 1, 2, 3, 4, 5, TimeSpan.Zero);

    private void Answer<T>(string path, T body) => Server.Overrides[path] = context => context.Response.WriteAsJsonAsync(body, JsonSerializerOptions.Web);

    private void Keep<T>(string path, T body, List<string> seen) => Server.Overrides[path] = async context =>
    {
        using var reader = new StreamReader(context.Request.Body);
        seen.Add($"{context.Request.Method} {context.Request.QueryString}{await reader.ReadToEndAsync()}");
        await context.Response.WriteAsJsonAsync(body, JsonSerializerOptions.Web);
    };

    [Fact]
    public async Task Reviews_are_listed_with_what_is_overdue_and_closed_for_what_was_shown()
    {
        await LogInAsync();
        var open = Request("apr_glass", "DELETE FROM orders") with { State = RequestState.Consumed, BreakGlass = true, Review = new RequestReview(Due) };
        var seen = new List<string>();
        Answer("/approval/v1/reviews", new[] { open, open with { Id = "apr_gone", BreakGlass = false, Kind = RequestKind.Bundle, Review = new RequestReview(DateTimeOffset.MaxValue) } });
        Answer("/requests/apr_glass", open);
        Keep("/requests/apr_glass/review", open with { Review = new RequestReview(Due, "per_bob", "bob", Due, false, "no reason") }, seen);

        var listed = await RunAsync("reviews");
        Assert.Equal(0, listed.ExitCode);
        Assert.Contains("break-glass", listed.Output, StringComparison.Ordinal);
        Assert.Contains("OVERDUE since 2020-01-02 03:04:05Z", listed.Output, StringComparison.Ordinal);
        Assert.Contains("policy removal", listed.Output, StringComparison.Ordinal);

        Assert.Equal(2, (await RunAsync("reviews", "close", "apr_glass", "--comment", "x")).ExitCode);
        Assert.Equal(2, (await RunAsync("reviews", "close", "apr_glass", "--justified", "--unjustified", "--comment", "x")).ExitCode);
        Assert.Equal(2, (await RunAsync("reviews", "close", "apr_glass", "--justified")).ExitCode);
        Assert.Empty(seen);
        var closed = await RunAsync("reviews", "close", "apr_glass", "--unjustified", "--comment", "no reason");
        Assert.Equal(0, closed.ExitCode);
        Assert.Contains("DELETE FROM orders", closed.Output, StringComparison.Ordinal);
        Assert.Contains("not justified", closed.Output, StringComparison.Ordinal);
        Assert.Equal($"POST {{\"digest\":\"{open.Digest}\",\"justified\":false,\"comment\":\"no reason\"}}", Assert.Single(seen));

        Answer("/requests/apr_glass", open with { Review = null });
        Assert.Equal(1, (await RunAsync("reviews", "close", "apr_glass", "--justified", "--comment", "x")).ExitCode);
    }

    [Fact]
    public async Task Revoking_takes_an_approval_back()
    {
        await LogInAsync();
        var seen = new List<string>();
        Keep("/requests/apr_1/revoke", Request("apr_1", "x") with { State = RequestState.Revoked }, seen);
        var run = await RunAsync("revoke", "apr_1", "--comment", "wrong table");
        Assert.Equal((0, "apr_1 is revoked.\n"), (run.ExitCode, run.Output));
        Assert.Equal("POST {\"comment\":\"wrong table\"}", Assert.Single(seen));
    }

    [Fact]
    public async Task Links_show_who_is_one_human_and_who_looks_like_it()
    {
        await LogInAsync();
        Answer("/identity/v1/persons", new[]
        {
            new PersonView("per_a", "alice", true, false, []) { Links = ["per_b"] },
            new PersonView("per_b", "bob", false, false, []) { Links = ["per_a"] },
            new PersonView("per_c", "carol", false, false, []) { Suspected = ["per_d"] },
            new PersonView("per_d", "carol #1234", false, false, []) { Suspected = ["per_c"] },
            new PersonView("per_e", "eve", false, false, []),
            new PersonView("per_s", "etl", false, false, []) { Kind = "service", Owners = ["per_a"], Team = "dbas" },
        });
        var run = await RunAsync("links");
        Assert.Contains("bob (per_b)", run.Output, StringComparison.Ordinal);
        Assert.Contains("carol #1234 (per_d)", run.Output, StringComparison.Ordinal);
        Assert.Contains("alice (per_a), team dbas", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("eve", run.Output, StringComparison.Ordinal);

        var seen = new List<string>();
        Keep("/persons/per_c/links", new { requestId = "apr_link", digest = new string('f', 64), text = "two humans", link = "http://x" }, seen);
        Assert.Equal(0, (await RunAsync("links", "distinct", "carol", "per_d", "--reason", "two")).ExitCode);
        Assert.Equal("POST {\"person\":\"per_d\",\"remove\":false,\"distinct\":true,\"reason\":\"two\"}", Assert.Single(seen));

        seen.Clear();
        Keep("/service-accounts/per_s/owners", new { requestId = "apr_own", digest = new string('f', 64), text = "owners", link = "http://x" }, seen);
        Assert.Equal(0, (await RunAsync("service-accounts", "owners", "etl", "--owner", "bob", "--owner", "per_c")).ExitCode);
        Assert.Equal("POST {\"owners\":[\"per_b\",\"per_c\"],\"team\":null,\"reason\":\"\"}", Assert.Single(seen).Replace(",\"reason\"", ",\"reason\"", StringComparison.Ordinal));
    }

    [Fact]
    public async Task What_takes_access_away_is_in_force_at_once()
    {
        await LogInAsync();
        var seen = new List<string>();
        Keep("/policy/v1/changes", new PolicyChangeResult("apr_less", new string('c', 64), 5, "Removed connection shop", "http://x", InForce: true), seen);
        var run = await RunAsync("connections", "remove", "shop", "--at-once", "--reason", "leak");
        Assert.Equal(0, run.ExitCode);
        Assert.Contains("Version 5 is in force. Somebody else reviews it: countersign reviews close apr_less", run.Output, StringComparison.Ordinal);
        Assert.Contains("\"atOnce\":true", Assert.Single(seen), StringComparison.Ordinal);
        var json = JsonDocument.Parse((await RunAsync("connections", "remove", "shop", "--at-once", "-o", "json")).Output).RootElement;
        Assert.True(json.GetProperty("inForce").GetBoolean());
    }

    [Fact]
    public async Task The_segregation_report_says_what_to_look_at_and_what_has_changed()
    {
        await LogInAsync();
        var report = new SegregationReport
        {
            Snapshot = 4,
            At = Due,
            BundleVersion = 7,
            Digest = "d",
            Humans = 3,
            Approvers = 2,
            Findings = [new SegregationFinding("one-person-only:p/r:dba", "medium", "one-person-only", "Rule p/r depends on one person: dba has only \u001b[31mbob.")],
            Rules = [new SegregationRule("p/r", ["shop"], [new SegregationRequirement(["dba"], 1, ["bob"])], ["alice"], ["bob"], true, ["bob"])],
            Holdings = [new SegregationHolding("bob", ["run", "approve"], ["shop"])],
            Groups = [new SegregationGroup("dba", ["bob"], ["carol"], true)],
            Changes = new SegregationChanges(3, Due, 6, ["group dba: bob"], ["group dba: carol"]),
        };
        Answer("/policy/v1/sod-report", report);
        var run = await RunAsync("sod", "report");
        Assert.Equal(0, run.ExitCode);
        Assert.Contains("medium  Rule p/r depends on one person", run.Output, StringComparison.Ordinal);
        Assert.Contains("Since report 3 of 2020-01-02 03:04:05Z (bundle 6)\n  - group dba: carol\n  + group dba: bob\n", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("Who holds what", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', run.Output);
        Assert.Contains("1 of dba: bob", (await RunAsync("sod", "report", "--all", "--since", "3")).Output, StringComparison.Ordinal);
        var json = JsonDocument.Parse((await RunAsync("sod", "report", "--output", "json")).Output).RootElement;
        Assert.Equal(("one-person-only", 4), (json.GetProperty("findings")[0].GetProperty("kind").GetString(), json.GetProperty("snapshot").GetInt32()));
    }
}
