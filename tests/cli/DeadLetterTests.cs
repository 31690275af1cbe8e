using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Countersign.Cli.Tests;

/// <summary>Dead letters on the command line.</summary>
[Trait("group", "unit")]
public sealed class DeadLetterTests : CliFixture
{
    private static readonly DateTimeOffset Since = new(2026, 11, 24, 3, 4, 5, TimeSpan.Zero);

    private static object Letter(string id, object? data = null) =>
        new { id, topic = id.Split(':')[0], eventId = id[(id.IndexOf(':', StringComparison.Ordinal) + 1)..], type = "countersign.request.changed", reason = "not handled in all attempts", at = Since, bytes = 42, data };

    private void Answer<T>(string path, T body) => Server.Overrides[path] = context => context.Response.WriteAsJsonAsync(body, JsonSerializerOptions.Web);

    private void None()
    {
        foreach (var service in new[] { "identity", "policy", "approval", "recorder", "proxy" })
        {
            Answer($"/{service}/v1/dead-letters", Array.Empty<object>());
        }
    }

    [Fact]
    public async Task Those_of_all_services_are_listed_and_one_is_shown_with_what_it_said()
    {
        await LogInAsync();
        None();
        Assert.Contains("no dead letters", (await RunAsync("dead-letters")).Error, StringComparison.Ordinal);
        Answer("/policy/v1/dead-letters", new[] { Letter("approvals:apr_1:2") });
        Answer("/recorder/v1/dead-letters", new[] { Letter("audit:aud_\u202e1") });
        var listed = await RunAsync("dead-letters", "list");
        Assert.Equal(0, listed.ExitCode);
        Assert.Contains("approvals:apr_1:2", listed.Output, StringComparison.Ordinal);
        Assert.Contains("2026-11-24 03:04:05Z", listed.Output, StringComparison.Ordinal);
        Assert.Contains("⟦U+202E⟧", listed.Output, StringComparison.Ordinal);
        var json = (await RunAsync("dead-letters", "--service", "policy", "-o", "json")).Json;
        Assert.Equal(("policy", "approvals:apr_1:2"), (Assert.Single(json.EnumerateArray()).GetProperty("service").GetString(), json[0].GetProperty("letter").GetProperty("id").GetString()));

        Answer("/policy/v1/dead-letters/letter", Letter("approvals:apr_1:2", new { request = "apr_1", text = "a\u001b[2Jb" }));
        var shown = await RunAsync("dead-letters", "show", "policy", "approvals:apr_1:2");
        Assert.Equal(0, shown.ExitCode);
        Assert.Contains("  |   \"request\": \"apr_1\"", shown.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', shown.Output);
        Assert.Contains("GET /policy/v1/dead-letters/letter?id=approvals%3Aapr_1%3A2", Server.Requests);
    }

    [Fact]
    public async Task One_or_all_of_a_service_are_replayed_and_what_stays_is_said()
    {
        await LogInAsync();
        None();
        Assert.Equal(2, (await RunAsync("dead-letters", "replay", "policy")).ExitCode);
        Assert.Equal(2, (await RunAsync("dead-letters", "replay", "policy", "x", "--all")).ExitCode);
        Assert.Equal(2, (await RunAsync("dead-letters", "replay", "nobody", "x")).ExitCode);
        Answer("/policy/v1/dead-letters", new[] { Letter("approvals:a"), Letter("approvals:b") });
        Server.Overrides["/policy/v1/dead-letters/replay"] = context => context.Request.Query["id"] == "approvals:b"
            ? FakeServer.ProblemAsync(context, 409, "Conflict", "It could not be handled: PortUnavailableException.", "not-handled")
            : Results.NoContent().ExecuteAsync(context);
        var one = await RunAsync("dead-letters", "replay", "policy", "approvals:a");
        Assert.Equal((0, "policy handled approvals:a.\n"), (one.ExitCode, one.Output));
        var all = await RunAsync("dead-letters", "replay", "policy", "--all");
        Assert.Equal(1, all.ExitCode);
        Assert.Contains("policy handled approvals:a.", all.Output, StringComparison.Ordinal);
        Assert.Contains("could not handle approvals:b, which stays: It could not be handled: PortUnavailableException.", all.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_is_not_enrolled_is_told_so_and_evidence_stays()
    {
        await LogInAsync();
        None();
        Server.Overrides["/policy/v1/dead-letters/replay"] = context => FakeServer.ProblemAsync(context, 403, "Forbidden", "Only enrolled persons may see to dead letters.", "not-enrolled");
        var refused = await RunAsync("dead-letters", "replay", "policy", "approvals:a");
        Assert.Equal((1, ""), (refused.ExitCode, refused.Output));
        Assert.Contains("Only enrolled persons", refused.Error, StringComparison.Ordinal);
        Server.Overrides["/recorder/v1/dead-letters"] = context => FakeServer.ProblemAsync(context, 403, "Forbidden", "Audit events can be replayed, not discarded.", "evidence");
        Assert.Equal(1, (await RunAsync("dead-letters", "discard", "recorder", "audit:x")).ExitCode);
        Server.Overrides["/policy/v1/dead-letters"] = context => Results.NoContent().ExecuteAsync(context);
        Assert.Equal((0, "approvals:a of policy is gone.\n"), ((await RunAsync("dead-letters", "discard", "policy", "approvals:a")) is var gone ? gone.ExitCode : 9, gone.Output));
    }
}
