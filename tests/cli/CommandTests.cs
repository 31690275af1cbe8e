using System.Text.Json;
using Countersign.Policy.Contracts;
using Countersign.Recorder.Contracts;

namespace Countersign.Cli.Tests;

[Trait("group", "unit")]
public sealed class CommandTests : CliFixture
{
    [Theory]
    [InlineData("no-such-command")]
    [InlineData("request")]
    [InlineData("approve")]
    [InlineData("requests", "--nonsense")]
    [InlineData("requests", "--output", "xml")]
    [InlineData("requests", "--mine", "--all")]
    [InlineData("sessions", "--from", "whenever")]
    [InlineData("export")]
    [InlineData("policy", "check", "/does/not/exist.yaml")]
    public async Task A_wrong_command_line_ends_with_2_and_one_message(params string[] arguments)
    {
        var run = await RunAsync(arguments);

        Assert.Equal(2, run.ExitCode);
        Assert.Equal("", run.Output);
        Assert.StartsWith("countersign: ", run.Error, StringComparison.Ordinal);
        Assert.Empty(Server.Requests);
    }

    [Fact]
    public async Task A_server_that_is_away_ends_with_4()
    {
        await LogInAsync();
        await Server.DisposeAsync();

        var text = await RunAsync("credentials");
        var json = await RunAsync("credentials", "--output=json");

        Assert.Equal(4, text.ExitCode);
        Assert.Contains("can't be reached", text.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", text.Error, StringComparison.Ordinal);
        Assert.Equal(4, JsonDocument.Parse(json.Error).RootElement.GetProperty("error").GetProperty("exitCode").GetInt32());
    }

    [Theory]
    [InlineData(503, 4)]
    [InlineData(429, 4)]
    [InlineData(302, 4)]
    [InlineData(400, 1)]
    [InlineData(403, 1)]
    [InlineData(404, 1)]
    [InlineData(409, 1)]
    public async Task The_status_decides_the_exit_code(int status, int exit)
    {
        await LogInAsync();
        Server.Overrides["/credentials"] = context => FakeServer.ProblemAsync(context, status, "Title", "detail", "some-code");

        var run = await RunAsync("credentials");

        Assert.Equal((exit, "countersign: Title: detail\n"), (run.ExitCode, run.Error));
    }

    [Theory]
    [InlineData("<html>")]
    [InlineData("{\"title\":7,\"errors\":[1,{\"document\":\"a.yaml\",\"line\":3,\"message\":\"bad \\u001b\"}]}")]
    [InlineData("[]")]
    [InlineData("")]
    public async Task An_error_that_is_no_problem_document_is_still_one_message(string body)
    {
        await LogInAsync();
        Server.Overrides["/credentials"] = async context =>
        {
            context.Response.StatusCode = 400;
            await Microsoft.AspNetCore.Http.HttpResponseWritingExtensions.WriteAsync(context.Response, body);
        };

        var run = await RunAsync("credentials");

        Assert.Equal(1, run.ExitCode);
        Assert.Contains("answered 400", run.Error, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', run.Error);
    }

    [Fact]
    public async Task An_answer_that_is_not_understood_is_said_to_be_so()
    {
        await LogInAsync();
        Server.Overrides["/credentials"] = context => Microsoft.AspNetCore.Http.HttpResponseWritingExtensions.WriteAsync(context.Response, "<html>hello</html>");

        var run = await RunAsync("credentials");

        Assert.Equal(4, run.ExitCode);
        Assert.Contains("is not understood", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Exit_codes_are_listed()
    {
        var run = await RunAsync("help", "exit-codes", "-o", "json");

        Assert.Equal([0, 1, 2, 3, 4, 70, 130], run.Json.EnumerateArray().Select(entry => entry.GetProperty("code").GetInt32()));
    }

    [Fact]
    public async Task Every_command_has_a_description_and_an_action_or_commands()
    {
        using var writer = new StringWriter();
        var root = Commands.CommandTree.Create(new CliHost { In = TextReader.Null, Out = writer, Error = writer, Variable = _ => null });
        var all = new Queue<System.CommandLine.Command>([root]);
        while (all.TryDequeue(out var command))
        {
            Assert.NotEmpty(command.Description!);
            Assert.True(command.Action is not null || command.Subcommands.Count > 0, command.Name);
            Assert.All(command.Options, option => Assert.False(string.IsNullOrEmpty(option.Description), $"{command.Name} {option.Name}"));
            foreach (var child in command.Subcommands)
            {
                all.Enqueue(child);
            }
        }

        await Task.CompletedTask;
    }

    [Fact]
    public async Task Policy_check_prints_every_error_with_its_place()
    {
        await LogInAsync();
        var directory = Directory.CreateDirectory(Path.Combine(Root, "policies"));
        await File.WriteAllTextAsync(Path.Combine(directory.FullName, "b.yaml"), "b: 1");
        await File.WriteAllTextAsync(Path.Combine(directory.FullName, "a.yml"), "\ufeffa: 1");
        await File.WriteAllTextAsync(Path.Combine(directory.FullName, "README.md"), "no");
        Server.CheckAnswer = new PolicyCheckResult([new PolicyError("b.yaml", 1, 2, "unknown-key", "Unknown key 'b'.")]);

        var run = await RunAsync("policy", "check", directory.FullName);

        Assert.Equal((1, "b.yaml:1:2: Unknown key 'b'. [unknown-key]\n"), (run.ExitCode, run.Output));
        Assert.Equal("""[{"name":"a.yml","yaml":"a: 1"},{"name":"b.yaml","yaml":"b: 1"}]""", Server.PolicyBodies.Single().GetProperty("documents").GetRawText());
    }

    [Fact]
    public async Task Policy_test_fails_where_an_example_does()
    {
        await LogInAsync();
        var file = Path.Combine(Root, "p.yaml");
        await File.WriteAllTextAsync(file, "a: 1");
        Server.TestAnswer = new PolicyTestReport(
            [new PolicyTestView("p.yaml", 3, "reads pass", "SELECT 1", true, ""), new PolicyTestView("p.yaml", 7, "drops are blocked", "DROP TABLE a", false, "expected deny, got allow")]);

        var run = await RunAsync("policy", "test", file);

        Assert.Equal(1, run.ExitCode);
        Assert.Equal("pass  p.yaml:3: reads pass\nFAIL  p.yaml:7: drops are blocked\n  | DROP TABLE a\n  expected deny, got allow\n", run.Output);
        Assert.Equal("1 passed, 1 failed.\n", run.Error);
    }

    [Fact]
    public async Task Policy_apply_says_what_waits_for_whom()
    {
        await LogInAsync();
        var file = Path.Combine(Root, "p.yaml");
        await File.WriteAllTextAsync(file, "a: 1");

        var run = await RunAsync("policy", "apply", file, "--remove", "old.yaml", "--reason", "ticket 9");

        Assert.Equal(0, run.ExitCode);
        Assert.Contains("  | + rule one\n  | - rule two\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("countersign approve apr_change", run.Output, StringComparison.Ordinal);
        var body = Server.PolicyBodies.Single();
        Assert.Equal("""["old.yaml"]""", body.GetProperty("removedDocuments").GetRawText());
        Assert.Equal("ticket 9", body.GetProperty("reason").GetString());
    }

    [Fact]
    public async Task The_first_person_is_told_to_approve_alone_only_while_nobody_else_is_enrolled()
    {
        Server.Bootstrap = true;
        await LogInAsync();

        var alone = await RunAsync("persons", "enrol", "per_bob");
        Server.Bootstrap = false;
        var later = await RunAsync("persons", "enrol", "per_bob");

        Assert.Contains("approve it yourself", alone.Output, StringComparison.Ordinal);
        Assert.Contains("a second person runs", later.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_digest_that_approve_takes_is_printed_with_the_change()
    {
        await LogInAsync();

        var run = await RunAsync("policy", "apply", "--remove", "old.yaml", "--reason", "x", "-o", "json");

        Assert.Equal(Approval.Contracts.RequestDigest.Compute([new string('c', 64)]), run.Json.GetProperty("requestDigest").GetString());
    }

    [Fact]
    public async Task A_problem_is_said_once_and_with_all_of_its_errors()
    {
        await LogInAsync();
        Server.Overrides["/changes"] = context => Microsoft.AspNetCore.Http.Results.Json(
            new
            {
                title = "The policy is not valid.",
                detail = "a.yaml:1:1: Unknown key 'x'.\nb.yaml:2:1: Bad.",
                code = "invalid",
                errors = new[] { new PolicyError("a.yaml", 1, 1, "unknown-key", "Unknown key 'x'."), new PolicyError("b.yaml", 2, 1, "bad", "Bad.") },
            }, statusCode: 422).ExecuteAsync(context);
        Server.Overrides["/persons"] = context => FakeServer.ProblemAsync(context, 403, "Forbidden", "Only enrolled persons.", "not-enrolled");

        var change = await RunAsync("policy", "apply", "--remove", "old.yaml", "--reason", "x");
        var persons = await RunAsync("persons");

        Assert.Equal((1, "countersign: The policy is not valid\n  a.yaml:1: Unknown key 'x'.\n  b.yaml:2: Bad.\n"), (change.ExitCode, change.Error));
        Assert.Equal((1, "countersign: Only enrolled persons.\n"), (persons.ExitCode, persons.Error));
    }

    [Theory]
    [InlineData("active", 0)]
    [InlineData("refused", 1)]
    [InlineData("superseded", 1)]
    public async Task Apply_with_wait_ends_when_it_is_in_force_or_never_will_be(string state, int exit)
    {
        await LogInAsync();
        var polls = 0;
        Server.Overrides["/changes/apr_change"] = context => Microsoft.AspNetCore.Http.HttpResponseJsonExtensions.WriteAsJsonAsync(
            context.Response, new PolicyChangeView("apr_change", ++polls < 2 ? "pending" : state, "", 4, 3, "", "", "alice", "", DateTimeOffset.UtcNow, ""));

        var run = await RunAsync("policy", "apply", "--remove", "old.yaml", "--reason", "x", "--wait", "-o", "json");

        Assert.Equal((exit, 2), (run.ExitCode, polls));
        Assert.Equal(exit == 0, run.Json.GetProperty("inForce").GetBoolean());
    }

    [Theory]
    [InlineData(Approval.Contracts.RequestState.Consumed, 0)]
    [InlineData(Approval.Contracts.RequestState.Denied, 1)]
    public async Task Enrol_with_wait_ends_when_identity_has_applied_it_or_never_will(Approval.Contracts.RequestState state, int exit)
    {
        await LogInAsync();
        var polls = 0;
        Server.Overrides["/requests/apr_enrol"] = context => Microsoft.AspNetCore.Http.HttpResponseJsonExtensions.WriteAsJsonAsync(
            context.Response, Request("apr_enrol", "diff") with { State = ++polls < 2 ? Approval.Contracts.RequestState.Approved : state });

        var run = await RunAsync("persons", "enrol", "per_bob", "--wait");

        Assert.Equal((exit, 2), (run.ExitCode, polls));
        Assert.Contains(exit == 0 ? "It is in force." : "It will not come into force: denied.", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Documents_in_force_are_shown()
    {
        await LogInAsync();

        var one = await RunAsync("policy", "show", "base.yaml");
        var all = await RunAsync("policy", "show", "-o", "json");

        Assert.Equal((0, "base.yaml (version 3)\n  | a: 1\n"), (one.ExitCode, one.Output));
        Assert.Equal(2, all.Json.GetProperty("documents").GetArrayLength());
        Assert.Equal(1, (await RunAsync("policy", "show", "nothing")).ExitCode);
    }

    [Fact]
    public async Task Explain_shows_the_decision_its_rules_and_what_would_pass()
    {
        await LogInAsync();
        Server.ExplainAnswer = Denied("base/no-drop");

        var run = await RunAsync("policy", "explain", "shop", "DROP DATABASE shop");

        Assert.Equal(0, run.ExitCode);
        Assert.Contains("Decision: deny", run.Output, StringComparison.Ordinal);
        Assert.Contains("matched  base/no-drop (deny)", run.Output, StringComparison.Ordinal);
        Assert.Contains("yes  kinds: DROP DATABASE", run.Output, StringComparison.Ordinal);
        Assert.Contains("  - ask the owner\n", run.Output, StringComparison.Ordinal);
        Assert.Equal("DROP DATABASE shop", Server.PolicyBodies.Single().GetProperty("text").GetString());
    }

    [Fact]
    public async Task Why_explains_the_last_refusal_of_mine()
    {
        await LogInAsync();
        Server.ExplainAnswer = Denied("base/no-drop");
        Server.Operations.Add(new OperationView(
            "ses_1", 3, DateTimeOffset.UtcNow, "per_alice", "alice@example.com", "shop", "DROP DATABASE shop", [], "deny", ["base/no-drop"], null, [], null, null, null, null));

        var run = await RunAsync("why");

        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.Contains("  | DROP DATABASE shop\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("base/no-drop", run.Output, StringComparison.Ordinal);
        Assert.Contains("Dropping is for the owner.", run.Output, StringComparison.Ordinal);
        Assert.Contains("  - ask the owner\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("GET /recorder/v1/operations?person=per_alice&decision=deny&limit=1", Server.Requests);
    }

    [Fact]
    public async Task Why_has_an_answer_without_refusals_and_without_policy()
    {
        await LogInAsync();
        var none = await RunAsync("why", "-o", "json");
        Server.Operations.Add(new OperationView(
            "ses_1", 3, DateTimeOffset.UtcNow, "per_alice", "alice@example.com", "shop", "DROP DATABASE shop", [], "deny", [], null, [], null, null, null, null));
        Server.Overrides["/explain"] = context => FakeServer.ProblemAsync(context, 503, "Unavailable", "No parser.", "unavailable");
        var some = await RunAsync("why");

        Assert.Equal(JsonValueKind.Null, none.Json.GetProperty("refusal").ValueKind);
        Assert.Equal(0, some.ExitCode);
        Assert.Contains("none matched", some.Output, StringComparison.Ordinal);
        Assert.Contains("No parser.", some.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Filters_are_passed_on()
    {
        await LogInAsync();

        await RunAsync("operations", "--person", "me", "--text", "a&b", "--decision", "approved", "--approver", "per_bob", "--from", "2026-11-24T10:00:00+01:00", "--limit", "5");

        Assert.Equal(
            "GET /recorder/v1/operations?person=per_alice&text=a%26b&decision=approved&approver=per_bob&from=2026-11-24T09%3A00%3A00Z&limit=5", Server.Requests.Last());
    }

    [Fact]
    public async Task An_export_is_a_0600_file_of_the_exact_bytes_and_output_may_name_it()
    {
        await LogInAsync();
        Server.Export = [.. Enumerable.Range(0, 200_000).Select(index => (byte)index)];
        var file = Path.Combine(Root, "evidence");

        var run = await RunAsync("export", "--output", file, "--from", "2026-11-01");

        Assert.Equal(0, run.ExitCode);
        Assert.Equal(Server.Export, await File.ReadAllBytesAsync(file));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        Assert.Contains("GET /recorder/v1/export?from=2026-11-01T00%3A00%3A00Z", Server.Requests);
        var json = await RunAsync("export", "--file", file, "--output", "json");
        Assert.Equal(200_000, json.Json.GetProperty("bytes").GetInt64());
    }

    [Fact]
    public async Task A_refused_export_leaves_no_file()
    {
        await LogInAsync();
        Server.Overrides["/export"] = context => FakeServer.ProblemAsync(context, 403, "Refused", "Not enrolled.", "not-enrolled");

        var run = await RunAsync("export", "--file", Path.Combine(Root, "evidence"));

        Assert.Equal(1, run.ExitCode);
        Assert.Empty(Directory.EnumerateFiles(Root, "evidence*"));
    }

    [Fact]
    public async Task The_key_is_printed_as_it_is()
    {
        await LogInAsync();

        Assert.Equal("example.com/log+00000000+AAAA\n", (await RunAsync("key")).Output);
        Assert.Equal("example.com/log+00000000+AAAA", (await RunAsync("key", "-o", "json")).Json.GetProperty("key").GetString());
    }

    [Fact]
    public async Task Credentials_are_listed_made_and_revoked_by_user_name()
    {
        await LogInAsync();
        var created = await RunAsync("credentials", "create", "shop", "--lifetime", "1h", "-o", "json");
        var userName = created.Json.GetProperty("credential").GetProperty("userName").GetString()!;
        Assert.Equal(FakeServer.Secret, created.Json.GetProperty("secret").GetString());

        Assert.Equal(0, (await RunAsync("credentials", "revoke", userName)).ExitCode);

        var list = await RunAsync("credentials");
        Assert.Contains("revoked", list.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("s3cret", list.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_person_is_found_by_a_name_that_only_one_has()
    {
        await LogInAsync();

        var enrol = await RunAsync("persons", "enrol", "bob@example.com");
        Server.Persons.Add(new("per_bob2", "bob@example.com", false, false, []));
        var ambiguous = await RunAsync("persons", "disable", "bob@example.com");
        var unknown = await RunAsync("persons", "disable", "carol@example.com");

        Assert.Equal(0, enrol.ExitCode);
        Assert.Contains("POST /identity/v1/persons/per_bob/enrolment", Server.Requests);
        Assert.Contains("countersign approve apr_enrol", enrol.Output, StringComparison.Ordinal);
        Assert.Equal((1, 1), (ambiguous.ExitCode, unknown.ExitCode));
        Assert.DoesNotContain(Server.Requests, request => request.EndsWith("/disable", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Persons_are_linked_and_disabled()
    {
        await LogInAsync();

        var link = await RunAsync("persons", "link", "per_alice", "per_bob", "-o", "json");
        var disable = await RunAsync("persons", "disable", "per_bob");
        var unenrol = await RunAsync("persons", "unenrol", "per_bob");

        Assert.Equal("+ per_alice and per_bob are one human", link.Json.GetProperty("diff").GetString());
        Assert.Equal((0, 0), (disable.ExitCode, unenrol.ExitCode));
        Assert.Contains("DELETE /identity/v1/persons/per_bob/enrolment", Server.Requests);
    }

    [Fact]
    public async Task A_service_account_is_asked_for()
    {
        await LogInAsync();

        var run = await RunAsync("service-accounts", "add", "deploy", "--owner", "per_bob");

        Assert.Equal(0, run.ExitCode);
        Assert.Contains("  | + service account deploy\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("countersign approve apr_account", run.Output, StringComparison.Ordinal);
    }

    private static Explanation Denied(string rule)
    {
        var names = rule.Split('/');
        return new Explanation(
            new Decision { Outcome = Outcome.Deny, BundleVersion = 3, Message = "Dropping is for the owner.", Hint = "Ask ahead of time." },
            [new StatementExplanation(0, ["DROP DATABASE"], Outcome.Deny, [new RuleTrace(names[0], names[1], Outcome.Deny, false, true, [new ConditionTrace("kinds", true, "DROP DATABASE")])])],
            ["ask the owner"]);
    }
}
