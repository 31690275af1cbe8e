using System.Text.Json;

namespace Countersign.Cli.Tests;

[Trait("group", "unit")]
public sealed class LoginTests : CliFixture
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    [Fact]
    public async Task A_device_login_shows_the_code_polls_and_keeps_the_tokens_in_0600_files()
    {
        var run = await RunAsync("login", "--device");

        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.Contains("WDJB-MJHT", run.Output, StringComparison.Ordinal);
        Assert.Contains("Logged in as alice@example.com", run.Output, StringComparison.Ordinal);
        Assert.Equal([null], Server.IdTokenNonces);
        foreach (var file in Directory.EnumerateFiles(ProfileDirectory()))
        {
            Assert.Equal(OwnerOnly, File.GetUnixFileMode(file));
        }

        Assert.Equal(OwnerOnly | UnixFileMode.UserExecute, File.GetUnixFileMode(ProfileDirectory()));
        Assert.StartsWith("refresh-alice", await File.ReadAllTextAsync(Path.Combine(ProfileDirectory(), "refresh-token")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_login_in_json_is_one_document_a_line()
    {
        var run = await RunAsync("login", "--device", "--output", "json");

        var lines = run.Output.TrimEnd().Split('\n').Select(line => JsonDocument.Parse(line).RootElement).ToList();
        Assert.Equal(["device-code", "logged-in"], lines.Select(line => line.GetProperty("event").GetString()));
        Assert.Equal("WDJB-MJHT", lines[0].GetProperty("userCode").GetString());
        Assert.Equal("per_alice", lines[1].GetProperty("person").GetString());
    }

    [Theory]
    [InlineData("access_denied")]
    [InlineData("expired_token")]
    public async Task A_device_login_that_fails_is_refused_and_keeps_nothing(string error)
    {
        Server.DeviceError = error;

        var run = await RunAsync("login", "--device");

        Assert.Equal(1, run.ExitCode);
        Assert.Contains(error, run.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(Path.Combine(ProfileDirectory(), "refresh-token")));
    }

    [Fact]
    public async Task A_provider_that_names_itself_otherwise_is_refused()
    {
        Server.IssuerName = "https://other.example.com";

        var run = await RunAsync("login", "--device");

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("says that it is https://other.example.com", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_browser_login_uses_PKCE_and_passes_the_nonce_on()
    {
        var answer = new TaskCompletionSource<HttpResponseMessage>();
        var run = await RunAsync(Browser(answer, _ => { }), "login", "--browser");

        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.NotNull(Assert.Single(Server.IdTokenNonces));
        Assert.Contains("Logged in", await (await answer.Task).Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_redirect_with_another_state_is_answered_and_ignored()
    {
        var ignored = new TaskCompletionSource<HttpResponseMessage>();
        var options = new RunOptions
        {
            Browser = page =>
            {
                _ = Task.Run(async () =>
                {
                    ignored.SetResult(await Server.BrowseAsync(page, redirect => redirect["state"] = "forged"));
                    await Server.BrowseAsync(page, _ => { });
                });
                return true;
            },
        };

        var run = await RunAsync(options, "login", "--browser");

        Assert.Equal(System.Net.HttpStatusCode.BadRequest, (await ignored.Task).StatusCode);
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
    }

    [Fact]
    public async Task A_redirect_of_another_issuer_is_refused()
    {
        var run = await RunAsync(Browser(new(), redirect => redirect["iss"] = "https://other.example.com"), "login", "--browser");

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("Another provider", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_refusal_by_the_provider_is_shown()
    {
        var run = await RunAsync(
            Browser(new(), redirect =>
            {
                redirect.Remove("code");
                redirect["error"] = "access_denied";
                redirect["error_description"] = "not \u001b[31mtoday";
            }),
            "login", "--browser");

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("access_denied (not ⟦U+001B⟧[31mtoday)", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_id_token_with_another_nonce_is_refused()
    {
        Server.ForgedNonce = "somebody-else's";

        var run = await RunAsync(Browser(new(), _ => { }), "login", "--browser");

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("nonce differs", run.Error, StringComparison.Ordinal);
        Assert.Empty(Server.IdTokenNonces);
    }

    [Fact]
    public async Task Profiles_are_different_people()
    {
        await LogInAsync("alice", "alice");
        await LogInAsync("bob", "bob");

        var alice = await RunAsync("whoami", "--profile", "alice", "--output", "json");
        var bob = await RunAsync("whoami", "--profile", "bob", "-o", "json");

        Assert.Equal("per_alice", alice.Json.GetProperty("person").GetString());
        Assert.Equal("per_bob", bob.Json.GetProperty("person").GetString());
    }

    [Fact]
    public async Task Whoami_shows_what_has_changed_since_the_last_token()
    {
        Server.Enrolled = false;
        await LogInAsync();
        Server.Enrolled = true;

        var run = await RunAsync("whoami", "-o", "json");

        Assert.True(run.Json.GetProperty("enrolled").GetBoolean());
    }

    [Theory]
    [InlineData("requests")]
    [InlineData("whoami")]
    [InlineData("connect", "shop")]
    public async Task Without_a_login_the_exit_code_is_3_and_the_hint_says_what_to_run(params string[] arguments)
    {
        var run = await RunAsync([.. arguments, "--profile", "carol"]);

        Assert.Equal(3, run.ExitCode);
        Assert.Contains("countersign login --profile carol", run.Error, StringComparison.Ordinal);
        Assert.Equal("", run.Output);
    }

    [Fact]
    public async Task Logout_forgets_the_tokens()
    {
        await LogInAsync();

        Assert.Equal(0, (await RunAsync("logout")).ExitCode);

        Assert.False(File.Exists(Path.Combine(ProfileDirectory(), "refresh-token")));
        Assert.False(File.Exists(Path.Combine(ProfileDirectory(), "access-tokens.json")));
        Assert.Equal(3, (await RunAsync("requests")).ExitCode);
    }

    [Fact]
    public async Task A_token_file_that_others_can_read_is_not_used()
    {
        await LogInAsync();
        File.Delete(Path.Combine(ProfileDirectory(), "access-tokens.json"));
        File.SetUnixFileMode(Path.Combine(ProfileDirectory(), "refresh-token"), OwnerOnly | UnixFileMode.GroupRead);

        var run = await RunAsync("requests");

        Assert.Equal(2, run.ExitCode);
        Assert.Contains("chmod 600", run.Error, StringComparison.Ordinal);
        Assert.Equal(0, Server.Refreshes);
    }

    [Fact]
    public async Task Tokens_go_only_to_the_server_that_gave_them()
    {
        await LogInAsync();
        await using var other = await FakeServer.StartAsync();

        var run = await RunAsync("requests", "--server", other.Address.AbsoluteUri);

        Assert.Equal(3, run.ExitCode);
        Assert.Contains("is logged in at", run.Error, StringComparison.Ordinal);
        Assert.Empty(other.Requests);
    }

    [Fact]
    public async Task Tokens_do_not_travel_in_clear()
    {
        var run = await RunAsync("login", "--device", "--server", "http://countersign.example.com");

        Assert.Equal(2, run.ExitCode);
        Assert.Contains("not https", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("../other")]
    [InlineData(".hidden")]
    [InlineData("a/b")]
    [InlineData("")]
    [InlineData("x\n")]
    public async Task A_profile_is_not_a_path(string name)
    {
        var run = await RunAsync("whoami", "--profile", name);

        Assert.Equal(2, run.ExitCode);
        Assert.Contains("is not a profile name", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bootstrap_reads_the_token_from_its_file()
    {
        await LogInAsync();
        var file = Path.Combine(Root, "bootstrap");
        await File.WriteAllTextAsync(file, "first-token\n");
        File.SetUnixFileMode(file, OwnerOnly);

        Assert.Equal(0, (await RunAsync("bootstrap", "--token-file", file)).ExitCode);

        await File.WriteAllTextAsync(file, "wrong");
        var refused = await RunAsync("bootstrap", "--token-file", file);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("The token is wrong.", refused.Error, StringComparison.Ordinal);
    }

    private RunOptions Browser(TaskCompletionSource<HttpResponseMessage> answer, Action<Dictionary<string, string>> tamper) => new()
    {
        Browser = page =>
        {
            _ = Task.Run(async () => answer.SetResult(await Server.BrowseAsync(page, tamper)));
            return true;
        },
    };
}
