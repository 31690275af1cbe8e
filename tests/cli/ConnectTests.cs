using System.Diagnostics;
using System.Text.Json;

namespace Countersign.Cli.Tests;

[Trait("group", "unit")]
public sealed class ConnectTests : CliFixture
{
    private const UnixFileMode Executable = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private string Report => Path.Combine(Root, "report");

    private string Seen => Path.Combine(Root, "seen");

    [Fact]
    public async Task Psql_gets_the_secret_by_a_0600_file_that_is_gone_afterwards()
    {
        await LogInAsync();
        FakePsql("exit 7");

        var run = await RunAsync("connect", "shop", "--database", "other", "--", "-c", "select 1", "--csv");

        Assert.Equal((7, ""), (run.ExitCode, run.Error));
        var report = await File.ReadAllTextAsync(Report);
        Assert.Contains("arg:-c\narg:select 1\narg:--csv\n", report, StringComparison.Ordinal);
        Assert.Contains("PGHOST=localhost\n", report, StringComparison.Ordinal);
        Assert.Contains("PGPORT=6432\n", report, StringComparison.Ordinal);
        Assert.Contains("PGDATABASE=shop/other\n", report, StringComparison.Ordinal);
        Assert.Contains("PGSSLMODE=verify-full\n", report, StringComparison.Ordinal);
        Assert.Contains("PGCLIENTENCODING=UTF8\n", report, StringComparison.Ordinal);
        Assert.Contains("PGREQUIREAUTH=scram-sha-256\n", report, StringComparison.Ordinal);
        Assert.DoesNotContain("s3cret", report, StringComparison.Ordinal);
        Assert.Contains("mode:600\n", report, StringComparison.Ordinal);
        var user = Server.Credentials.Values.Single().UserName;
        Assert.Equal($"localhost:6432:*:{user}:s3cret\\:with\\\\special-characters-0123456789\n", await File.ReadAllTextAsync(Path.Combine(Seen, "pgpass")));
        Assert.Contains("BEGIN CERTIFICATE", await File.ReadAllTextAsync(Path.Combine(Seen, "ca")), StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(ProfileDirectory(), "connect")));
    }

    [Fact]
    public async Task The_credential_is_for_this_connection_and_revoked_when_the_client_ends()
    {
        await LogInAsync();
        FakePsql("exit 0");

        await RunAsync("connect", "shop", "--lifetime", "2h");
        await RunAsync("connect", "shop", "--keep-credential");

        var credentials = Server.Credentials.Values.OrderBy(credential => credential.CreatedAt).ToList();
        Assert.Equal(["shop"], credentials[0].Connections);
        Assert.Equal(2, (credentials[0].ExpiresAt - credentials[0].CreatedAt).TotalHours, 0.01);
        Assert.NotNull(credentials[0].RevokedAt);
        Assert.Null(credentials[1].RevokedAt);
    }

    [Fact]
    public async Task A_server_that_is_gone_when_the_client_ends_does_not_change_its_exit_code()
    {
        await LogInAsync();
        FakePsql("exit 0");
        Server.Overrides["/identity/v1/credentials"] = context => Microsoft.AspNetCore.Http.HttpResponseJsonExtensions.WriteAsJsonAsync(
            context.Response,
            new Identity.Contracts.CreatedCredential(new("crd_unknown", "alice-1", "per_alice", ["shop"], DateTimeOffset.UtcNow, DateTimeOffset.UtcNow.AddHours(1), null), FakeServer.Secret));
        Server.Overrides["/credentials/crd_unknown"] = context => FakeServer.ProblemAsync(context, 503, "Unavailable", "The store is away.", "unavailable");

        var run = await RunAsync("connect", "shop");

        Assert.Equal(0, run.ExitCode);
        Assert.Contains("could not be revoked", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Variables_that_would_lead_elsewhere_are_taken_away()
    {
        await LogInAsync();
        var cli = StartProcess(
            FakePsql("exit 0"), new Dictionary<string, string> { ["PGSERVICE"] = "evil", ["PGHOSTADDR"] = "192.0.2.1", ["PGPASSWORD"] = "old", ["PGSSLMODE"] = "disable" },
            "connect", "shop");

        Assert.Equal(0, await ExitAsync(cli));

        var report = await File.ReadAllTextAsync(Report);
        Assert.DoesNotContain("PGSERVICE=", report, StringComparison.Ordinal);
        Assert.DoesNotContain("PGHOSTADDR=", report, StringComparison.Ordinal);
        Assert.DoesNotContain("PGPASSWORD=", report, StringComparison.Ordinal);
        Assert.Contains("PGSSLMODE=verify-full\n", report, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Signals_go_to_the_client_and_its_exit_code_comes_back()
    {
        await LogInAsync();
        var cli = StartProcess(FakePsql("trap 'echo got INT >> \"$REPORT\"; got=1' INT\ntrap 'exit 42' TERM\ntouch \"$SEEN/ready\"\nwhile [ -e \"$0\" ]; do sleep 0.05; done"), [], "connect", "shop");
        await UntilAsync(() => File.Exists(Path.Combine(Seen, "ready")));

        using (Process.Start("kill", ["-INT", $"{cli.Id}"]))
        {
            await UntilAsync(() => File.ReadAllText(Report).Contains("got INT", StringComparison.Ordinal));
        }

        Assert.False(cli.HasExited);
        using (Process.Start("kill", ["-TERM", $"{cli.Id}"]))
        {
            Assert.Equal(42, await ExitAsync(cli));
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(ProfileDirectory(), "connect")));
        Assert.NotNull(Server.Credentials.Values.Single().RevokedAt);
    }

    [Fact]
    public async Task What_a_killed_process_left_behind_is_removed_by_the_next_one_but_not_what_is_in_use()
    {
        await LogInAsync();
        var cli = StartProcess(FakePsql("touch \"$SEEN/ready\"\nwhile [ -e \"$0\" ] && [ ! -e \"$SEEN/end\" ]; do sleep 0.05; done"), [], "connect", "shop");
        await UntilAsync(() => File.Exists(Path.Combine(Seen, "ready")));
        var connect = Path.Combine(ProfileDirectory(), "connect");
        var used = Assert.Single(Directory.EnumerateDirectories(connect));
        FakePsql("exit 0");

        await RunAsync("connect", "shop");
        Assert.Equal([used], Directory.EnumerateDirectories(connect));

        cli.Kill();
        await ExitAsync(cli);
        Assert.True(File.Exists(Path.Combine(used, "pgpass")));
        await File.WriteAllTextAsync(Path.Combine(Seen, "end"), "");
        await RunAsync("connect", "shop");
        Assert.Empty(Directory.EnumerateDirectories(connect));
    }

    [Fact]
    public async Task A_proxy_without_TLS_is_used_on_this_machine_only()
    {
        await LogInAsync();
        FakePsql("exit 0");
        Server.ProxyEndpoint = new { host = "db-gateway.example.com", port = 6432, tls = false };
        var far = await RunAsync("connect", "shop");
        Server.ProxyEndpoint = new { host = "127.0.0.1", port = 6432, tls = false };
        var near = await RunAsync("connect", "shop");

        Assert.Equal(1, far.ExitCode);
        Assert.Contains("has no TLS", far.Error, StringComparison.Ordinal);
        Assert.Equal(0, near.ExitCode);
        Assert.Contains("PGSSLMODE=disable\n", await File.ReadAllTextAsync(Report), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_proxy_that_listens_everywhere_is_where_the_server_is()
    {
        await LogInAsync();
        FakePsql("exit 0");
        Server.ProxyEndpoint = new { host = "", port = 6432, tls = true };

        await RunAsync("connect", "shop");

        Assert.Contains("PGHOST=127.0.0.1\n", await File.ReadAllTextAsync(Report), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_psql_the_message_says_what_to_install()
    {
        await LogInAsync();
        Variables["COUNTERSIGN_PSQL"] = Path.Combine(Root, "nothing");

        var run = await RunAsync("connect", "shop");

        Assert.Equal(2, run.ExitCode);
        Assert.Contains("postgresql-client", run.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(ProfileDirectory(), "connect")));
    }

    [Theory]
    [InlineData("30s")]
    [InlineData("13h")]
    [InlineData("soon")]
    public async Task A_lifetime_has_bounds(string lifetime)
    {
        await LogInAsync();

        Assert.Equal(2, (await RunAsync("connect", "shop", "--lifetime", lifetime)).ExitCode);
        Assert.Empty(Server.Credentials);
    }

    [Fact]
    public async Task Exports_for_other_clients_can_be_evaluated_by_a_shell_and_show_no_secret()
    {
        await LogInAsync();

        var run = await RunAsync("connect", "shop", "--print-env");

        Assert.Equal(0, run.ExitCode);
        Assert.DoesNotContain("s3cret", run.Output, StringComparison.Ordinal);
        using var shell = Process.Start(new ProcessStartInfo("sh", ["-c", run.Output + "\ncat \"$PGPASSFILE\"; echo \"$PGDATABASE $PGSSLMODE\""]) { RedirectStandardOutput = true })!;
        var printed = await shell.StandardOutput.ReadToEndAsync();
        Assert.Contains(":s3cret", printed, StringComparison.Ordinal);
        Assert.EndsWith("shop verify-full\n", printed, StringComparison.Ordinal);
        Assert.Null(Server.Credentials.Values.Single().RevokedAt);
    }

    [Fact]
    public async Task Files_of_expired_exports_are_removed()
    {
        await LogInAsync();
        var json = await RunAsync("connect", "shop", "--print-env", "-o", "json");
        var file = json.Json.GetProperty("environment").GetProperty("PGPASSFILE").GetString()!;
        var expired = Path.Combine(Path.GetDirectoryName(file)!, "1000-old.pgpass");
        await File.WriteAllTextAsync(expired, "old");

        await RunAsync("connect", "shop", "--print-env");

        Assert.True(File.Exists(file));
        Assert.False(File.Exists(expired));
    }

    /// <summary>A psql that reports its arguments and environment, keeps copies of the files it was given, and then does what the test says.</summary>
    private string FakePsql(string then)
    {
        Directory.CreateDirectory(Seen);
        var script = Path.Combine(Root, "psql");
        File.WriteAllText(script, $"""
            #!/bin/sh
            REPORT='{Report}'
            SEEN='{Seen}'
            for a in "$@"; do echo "arg:$a"; done > "$REPORT"
            env | grep '^PG' >> "$REPORT"
            echo "mode:$(stat -c %a "$PGPASSFILE")" >> "$REPORT"
            cp "$PGPASSFILE" "$SEEN/pgpass"
            [ -z "$PGSSLROOTCERT" ] || cp "$PGSSLROOTCERT" "$SEEN/ca"
            {then}
            """ + "\n");
        File.SetUnixFileMode(script, Executable);
        Variables["COUNTERSIGN_PSQL"] = script;
        return script;
    }

    private Process StartProcess(string psql, Dictionary<string, string> environment, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "countersign.dll"), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in Variables.Concat(environment).Append(new("COUNTERSIGN_PSQL", psql)))
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }

    private static async Task<int> ExitAsync(Process process)
    {
        using (process)
        {
            using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(60));
            await process.WaitForExitAsync(patience.Token);
            return process.ExitCode;
        }
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (!condition())
        {
            await Task.Delay(20, patience.Token);
        }
    }
}
