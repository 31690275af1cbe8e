namespace Countersign.Cli.Tests;

[Trait("group", "unit")]
public sealed class TokenTests : CliFixture
{
    [Fact]
    public async Task Access_tokens_are_cached_per_audience()
    {
        await LogInAsync();

        await RunAsync("requests");
        await RunAsync("requests", "--mine");
        Assert.Equal(1, Server.Refreshes);

        await RunAsync("connections");
        await RunAsync("connections", "list");
        Assert.Equal(2, Server.Refreshes);
    }

    [Fact]
    public async Task A_token_that_is_about_to_expire_is_not_begun_with()
    {
        Server.AccessTokenSeconds = 20;
        await LogInAsync();
        var before = Server.Refreshes;

        await RunAsync("requests");
        await RunAsync("requests");

        Assert.Equal(before + 2, Server.Refreshes);
    }

    [Fact]
    public async Task A_cached_token_that_is_refused_is_replaced_once()
    {
        await LogInAsync();
        await RunAsync("requests");
        Server.RevokeAccessTokens();

        var run = await RunAsync("requests");

        Assert.Equal(0, run.ExitCode);
        Assert.Equal(2, Server.Refreshes);
    }

    [Fact]
    public async Task A_refusal_of_a_fresh_token_is_not_repeated_for_ever()
    {
        await LogInAsync();
        Server.Overrides["/approval/v1/requests"] = context => FakeServer.ProblemAsync(context, 401, "Not logged in", "Disabled.", "person-disabled");

        var run = await RunAsync("requests");

        Assert.Equal(3, run.ExitCode);
        Assert.Equal(2, Server.Requests.Count(request => request.StartsWith("GET /approval/v1/requests", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_login_that_is_over_says_so()
    {
        await LogInAsync();
        await File.WriteAllTextAsync(Path.Combine(ProfileDirectory(), "refresh-token"), "of-long-ago");

        var run = await RunAsync("requests");

        Assert.Equal(3, run.ExitCode);
        Assert.Contains("The login of profile 'default' is over", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Parallel_runs_never_spend_a_refresh_token_twice()
    {
        await LogInAsync();
        string[][] commands = [["requests"], ["connections"], ["sessions"], ["credentials"], ["operations"], ["persons"]];

        var runs = await Task.WhenAll(Enumerable.Range(0, 24).Select(index => Task.Run(() => RunAsync(commands[index % commands.Length]))));

        Assert.All(runs, run => Assert.Equal((0, ""), (run.ExitCode, run.Error.Replace("Nothing waits for you.\n", "", StringComparison.Ordinal))));
        Assert.False(Server.RefreshTokenReused);
        Assert.InRange(Server.Refreshes, 1, commands.Length);
    }
}
