using System.Text.Json;
using Countersign.Recorder.Contracts;

namespace Countersign.Cli.Tests;

[Trait("group", "unit")]
public sealed class ReplayTests : CliFixture
{
    private static readonly DateTimeOffset Start = new(2026, 11, 24, 18, 0, 0, TimeSpan.Zero);
    private int _sequence;

    [Fact]
    public async Task A_session_reads_from_top_to_bottom_with_times_decisions_and_approvers()
    {
        await LogInAsync();
        Server.Entries = Session();

        var run = await RunAsync("replay", "ses_1");

        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.Equal(
            """
            18:00:01.000  alice@example.com connected to shop
                        person  per_alice, principal pri_alice, credential crd_1
                        target  postgres, database shop as app
                        client  127.0.0.1:5000 (psql)
                        proxy   pxy_1
            18:00:02.000  #1 query: deny (base/no-drop, bundle 3)
                          | DROP DATABASE shop⟦U+001B⟧[0m
                        message: Not here.
            18:00:03.000  #2 hold began: request apr_1
                          | DELETE FROM orders
                          |  WHERE id = $1
            18:00:04.000  #2 bind: approved (base/hold, bundle 3)
                          | DELETE FROM orders
                          |  WHERE id = $1
                          $1 = 7
                          $2 = NULL
                        request apr_1, digest aaaa
                        approved by bob@example.com (per_bob) at 2026-11-24 18:00:00Z
            18:00:05.000  #2 ended: ok, 1 rows, 12 bytes, 1.5 ms, 2 fields masked
            18:00:06.000  session ended: client (2 operations, 10 bytes in, 20 bytes out)

            """.ReplaceLineEndings("\n"),
            run.Output);
    }

    [Fact]
    public async Task In_json_it_is_one_entry_a_line_and_plain_ascii()
    {
        await LogInAsync();
        Server.Entries = Session();

        var run = await RunAsync("replay", "ses_1", "-o", "json");

        var lines = run.Output.TrimEnd().Split('\n').Select(line => JsonDocument.Parse(line).RootElement).ToList();
        Assert.Equal(6, lines.Count);
        Assert.Equal("DROP DATABASE shop\u001b[0m", lines[1].GetProperty("body").GetProperty("text").GetString());
        Assert.DoesNotContain('\u001b', run.Output);
    }

    [Fact]
    public async Task What_this_version_does_not_know_is_shown_all_the_same()
    {
        await LogInAsync();
        Server.Entries = """{"type":"novelty","time":1764007200000000,"payload":{"a":"\u202e"}}""" + "\n" + """{"type":"operation","at":"2026-11-24T18:00:00Z"}""" + "\n";

        var run = await RunAsync("replay", "ses_1");

        Assert.Equal("18:00:00.000  novelty\n              | {\"a\":\"\\u202e\"}\n18:00:00.000  operation: erased by retention\n", run.Output);
    }

    [Theory]
    [InlineData("not json")]
    [InlineData("""{"type":"operation","body":{"text":1}}""")]
    public async Task A_recording_that_is_not_understood_is_said_to_be_so(string line)
    {
        await LogInAsync();
        Server.Entries = line + "\n";

        var run = await RunAsync("replay", "ses_1");

        Assert.Equal(4, run.ExitCode);
        Assert.Contains("not understood", run.Error, StringComparison.Ordinal);
    }

    private string Session()
    {
        _sequence = 0;
        return string.Concat(
            Entry(EntryTypes.SessionStart, new SessionStartEntry
            {
                Principal = "pri_alice",
                Person = "per_alice",
                Name = "alice@example.com",
                Credential = "crd_1",
                Connection = "shop",
                Database = "shop",
                DatabaseRole = "app",
                Protocol = "postgres",
                Client = "127.0.0.1:5000",
                Application = "psql",
                Proxy = "pxy_1",
            }),
            Entry(EntryTypes.Operation, new OperationEntry { Operation = 1, Kind = "query", Text = "DROP DATABASE shop\u001b[0m", Decision = "deny", Rules = ["base/no-drop"], BundleVersion = 3, Message = "Not here." }),
            Entry(EntryTypes.Hold, new HoldEntry(2, "apr_1", "aaaa", "DELETE FROM orders\n WHERE id = $1", "began")),
            Entry(EntryTypes.Operation, new OperationEntry
            {
                Operation = 2,
                Kind = "bind",
                Text = "DELETE FROM orders\n WHERE id = $1",
                Parameters = ["7", null],
                Decision = "approved",
                Rules = ["base/hold"],
                BundleVersion = 3,
                Digest = "aaaa",
                Request = "apr_1",
                Grant = "grt_1",
                Approvers = [new RecordedApprover("per_bob", "bob@example.com", Start)],
            }),
            Entry(EntryTypes.Completion, new CompletionEntry { Operation = 2, Outcome = "ok", Rows = 1, Bytes = 12, DurationMicroseconds = 1500, Masked = 2 }),
            Entry(EntryTypes.SessionEnd, new SessionEndEntry("client", 2, 10, 20)));
    }

    private string Entry<T>(string type, T body)
    {
        _sequence++;
        return JsonSerializer.Serialize(new { session = "ses_1", sequence = _sequence, type, at = Start.AddSeconds(_sequence), body }, JsonSerializerOptions.Web) + "\n";
    }
}
