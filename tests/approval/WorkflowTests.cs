using System.Text.Json;
using Countersign.Approval.Workflow;
using CsCheck;

namespace Countersign.Approval.Tests;

/// <summary>What the pure parts promise by themselves.</summary>
[Trait("group", "unit")]
public sealed class WorkflowTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Fact]
    public void The_transition_table_in_the_documentation_is_the_one_in_the_code()
    {
        var page = File.ReadAllLines(Path.Combine(Repository.Root, "docs/formats/approval-request.md"));
        var rows = page.SkipWhile(line => !line.StartsWith("| from | command |", StringComparison.Ordinal)).Skip(2).TakeWhile(line => line.StartsWith('|'))
            .Select(line => line.Split('|', StringSplitOptions.TrimEntries)[1..^1]).Select(cells => (cells[0], cells[1], cells[2], cells[3]));
        var table = Transitions.Table.Select(row => (
            row.From is { } from ? Name(from) : "-", row.Command, Name(row.To), row.Action));
        Assert.Equal(table, rows);
    }

    [Fact]
    public void Every_row_of_the_table_happens()
    {
        var seen = new HashSet<(WorkflowState?, string)>();
        void Record(RequestDocument? before, Step<RequestDocument> step)
        {
            Assert.True(step.Changed);
            seen.Add((before?.State, step.Document!.Outbox[^1].Action));
        }

        RequestDocument Play(RequestDocument? document, RequestCommand command, TimeSpan after = default)
        {
            var step = new RequestWorkflow().Apply(document, command, Now + after);
            Record(document, step);
            return step.Document!;
        }

        var two = Play(null, new Open("", Spec(2) with { Reason = "" }));
        Play(two, new Explain("", "r", "because"));
        Play(two, new Deny("", By("a"), "shown", "no"));
        Play(two, new Withdraw("", "r"));
        Play(two, new Wake(), TimeSpan.FromSeconds(100));
        var agreed = Play(two, new Approve("", By("a"), "shown", ""));
        var approved = Play(agreed, new Approve("", By("b"), "shown", ""));
        Play(approved, new Withdraw("", "r"));
        Play(approved, new Revoke("", By("a"), ""));
        Play(approved, new Wake(), TimeSpan.FromSeconds(50));
        var half = Play(approved, new Redeem("x", "proxy", "r", "shop", 0, "d0"));
        var consumed = Play(half, new Redeem("y", "proxy", "r", "shop", 1, "d1"));
        Play(consumed, new Revoke("", By("a"), ""));
        Play(Play(half, new Withdraw("", "r")), new Revoke("", By("a"), ""));
        Play(Play(half, new Wake(), TimeSpan.FromSeconds(50)), new Revoke("", By("a"), ""), TimeSpan.FromSeconds(51));
        Play(approved, new Extend("", new ExtensionGrant("apr_e", "apr_x", "r", "shop", "shown", Now, Now + TimeSpan.FromSeconds(80))));

        var window = Play(Play(null, new Open("", Window())), new Approve("", By("a"), "shown", ""));
        Play(window, new Redeem("w", "proxy", "r", "shop", 0, "d0"));
        Play(Play(null, new Open("", Spec(1) with { Extends = "apr_y" })), new Approve("", By("a"), "shown", ""));

        var alone = Play(Play(null, new Open("", Spec(2) with { BreakGlassAllowed = true })), new BreakGlass("", By("r"), "shown", "fire"));
        var begun = Play(alone, new Redeem("b", "proxy", "r", "shop", 0, "d0"));
        var late = TimeSpan.FromDays(2);
        RequestDocument[] unreviewed =
        [
            alone, Play(alone, new Wake(), TimeSpan.FromSeconds(50)), Play(alone, new Withdraw("", "r")), Play(begun, new Revoke("", By("a"), "")),
            Play(begun, new Redeem("c", "proxy", "r", "shop", 1, "d1")),
        ];
        foreach (var document in unreviewed)
        {
            Play(document, new CloseReview("", By("a"), "shown", true, "seen"));
            if (document.IsTerminal)
            {
                Play(document, new Wake(), late);
            }
        }

        // In approved only where the review is due before the grant's end.
        Play(alone with { Deadline = Now + late + late }, new Wake(), late);
        Play(null, new Open("", Spec(1) with { Kind = WorkflowKind.Enrolment, InEffect = true }));
        Assert.Equal(Transitions.Table.Select(row => (row.From, row.Action)).ToHashSet(), seen);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Who_may_approve_no_longer_is_not_counted(bool disabled)
    {
        RequestDocument Play(RequestDocument? document, RequestCommand command)
        {
            var step = new RequestWorkflow().Apply(document, command, Now);
            Assert.Null(step.Refusal);
            return step.Document!;
        }

        var agreed = Play(Play(null, new Open("", Spec(2))), new Approve("", By("a"), "shown", ""));
        var last = disabled ? By("b") with { Gone = ["a"] } : By("b") with { RequesterSameAs = ["r", "a"] };
        var still = Play(agreed, new Approve("", last, "shown", ""));
        Assert.Equal(WorkflowState.Pending, still.State);
        Assert.Equal("b", Assert.Single(still.Votes).Person);

        var approved = Play(still, new Approve("", By("c"), "shown", ""));
        Assert.Equal(WorkflowState.Approved, approved.State);
        var refused = new RequestWorkflow().Apply(approved, new Redeem("x", "proxy", "r", "shop", 0, "d0") { Gone = ["c"] }, Now);
        Assert.Equal(RefusalCodes.WrongState, refused.Refusal?.Code);
        Assert.False(refused.Changed);
        Assert.Single(Play(approved, new Redeem("x", "proxy", "r", "shop", 0, "d0") { Gone = ["z"] }).Redemptions);
    }

    [Fact]
    public void A_quorum_is_met_exactly_where_seats_can_be_given_to_distinct_persons()
    {
        string[] groups = ["g1", "g2", "g3"];
        var someGroups = Gen.Int[0, 7].Select(bits => groups.Where((_, index) => (bits & (1 << index)) != 0).ToArray());
        var votes = someGroups.Array[0, 5].Select(people => people.Select((each, index) => Vote($"p{index}", each)).ToArray());
        var requirements = Gen.Select(someGroups.Where(any => any.Length > 0), Gen.Int[1, 2]).Select((any, quorum) => new SpecRequirement(any, quorum)).Array[1, 3];
        Gen.Select(votes, requirements).Sample((people, allOf) =>
        {
            var seats = allOf.SelectMany(requirement => Enumerable.Repeat(requirement, requirement.Quorum)).ToArray();
            Assert.Equal(seats.Length - Best(seats, 0, people, 0), Quorum.Missing(allOf, people));
            Assert.Equal(Quorum.Missing(allOf, people), Quorum.Missing(allOf, [.. people.Reverse()]));
        });
    }

    [Fact]
    public void Linked_persons_and_repeated_votes_fill_one_seat()
    {
        SpecRequirement[] two = [new(["g1"], 1), new(["g2"], 1)];
        var linked = Vote("a", ["g1"]) with { SameAs = ["a", "a2"] };
        Assert.Equal(1, Quorum.Missing(two, [linked, Vote("a2", ["g2"])]));
        Assert.Equal(1, Quorum.Missing(two, [Vote("a2", ["g2"]), linked]));
        Assert.Equal(1, Quorum.Missing(two, [Vote("a", ["g1", "g2"]), Vote("a", ["g1", "g2"])]));
        Assert.Equal(0, Quorum.Missing(two, [Vote("a", ["g1", "g2"]), Vote("b", ["g1"])]));
        Assert.Equal(2, Quorum.Missing(two, [Vote("a", ["g1"]) with { Approved = false }]));
    }

    [Fact]
    public void Terms_cover_others_only_where_they_ask_for_no_less()
    {
        SpecRequirement one = new(["g1"], 1), two = new(["g1"], 2), other = new(["g2"], 1), either = new(["g1", "g2"], 1);
        Assert.True(Quorum.Covers([two], [one]));
        Assert.False(Quorum.Covers([one], [two]));
        Assert.True(Quorum.Covers([one], [either]));
        Assert.False(Quorum.Covers([either], [one]));
        Assert.True(Quorum.Covers([one, other], [other]));
        Assert.False(Quorum.Covers([one], [one, other]));
        Assert.False(Quorum.Covers([one], [one, one]));
    }

    [Fact]
    public void Owners_of_the_same_service_account_are_not_the_same_person()
    {
        var document = Opened(Spec(1)) with { };
        document = document with { Spec = document.Spec with { Requester = new SpecRequester("r", "R", ["r", "bot"]) } };
        Assert.Null(Eligibility.Check(document, By("a") with { SameAs = ["a", "bot"], RequesterSameAs = ["r", "bot"] }, Now));
        Assert.Equal(RefusalCodes.SelfApproval, Eligibility.Check(document, By("bot"), Now)?.Code);
    }

    [Fact]
    public void A_document_survives_its_serialisation()
    {
        var approved = new RequestWorkflow().Apply(Opened(Spec(1)), new Approve("c1", By("a"), "shown", "fine"), Now).Document! with { Grant = "jws" };
        var json = JsonSerializer.Serialize(approved, WorkflowJson.Options);
        Assert.Equal(json, JsonSerializer.Serialize(JsonSerializer.Deserialize<RequestDocument>(json, WorkflowJson.Options), WorkflowJson.Options));
    }

    [Fact]
    public void The_persisted_form_is_frozen()
    {
        var document = Opened(Spec(1));
        const string Frozen = """
            {"format":1,"version":1,"spec":{"id":"apr_x","kind":"operation","askedBy":"proxy","requester":{"person":"r","name":"R","sameAs":["r"]},"connection":"shop","database":"","operations":[{"digest":"d0","text":"DELETE","parameters":["1",null]}],"digest":"shown","allOf":[{"anyOf":["g1"],"quorum":1}],"rules":[],"message":"","reason":"why","reasonRequired":false,"bundleVersion":0,"context":{},"transaction":[],"timeout":"00:01:40","grantLifetime":"00:00:50"},"state":"pending","createdAt":"2026-01-01T00:00:00+00:00","deadline":"2026-01-01T00:01:40+00:00","bootstrap":false,"votes":[],"redemptions":[],"seen":[],"outbox":[{"version":1,"state":"pending","action":"request.opened","person":"r","name":"R","at":"2026-01-01T00:00:00+00:00","comment":"why"}]}
            """;
        Assert.Equal(Frozen, JsonSerializer.Serialize(document, WorkflowJson.Options));
        Assert.Equal(
            ["pending", "approved", "denied", "expired", "cancelled", "consumed", "revoked"], Enum.GetValues<WorkflowState>().Select(Name));
    }

    private static string Name(WorkflowState state) => JsonSerializer.Serialize(state).Trim('"');

    private static int Best(SpecRequirement[] seats, int seat, Vote[] people, int used)
    {
        if (seat == seats.Length)
        {
            return 0;
        }

        var best = Best(seats, seat + 1, people, used);
        for (var person = 0; person < people.Length; person++)
        {
            if ((used & (1 << person)) == 0 && people[person].Groups.Any(group => seats[seat].AnyOf.Contains(group)))
            {
                best = Math.Max(best, 1 + Best(seats, seat + 1, people, used | (1 << person)));
            }
        }

        return best;
    }

    private static Vote Vote(string person, string[] groups) => new(person, person, [person], groups, true, Now, "");

    private static RequestDocument Opened(RequestSpec spec) => new RequestWorkflow().Apply(null, new Open("", spec), Now).Document!;

    private static Decider By(string person) => new() { Person = person, Name = person, SameAs = [person], Enrolled = true, Disabled = false, Groups = ["g1"] };

    private static RequestSpec Window() => Spec(1) with
    {
        Kind = WorkflowKind.AccessWindow,
        Window = new SpecWindow(TimeSpan.FromHours(1), ["SELECT"], ["public.orders"]),
    };

    private static RequestSpec Spec(int count) => new()
    {
        Id = "apr_x",
        Kind = WorkflowKind.Operation,
        AskedBy = "proxy",
        Requester = new SpecRequester("r", "R", ["r"]),
        Connection = "shop",
        Operations = [.. Enumerable.Range(0, count).Select(index => new SpecOperation($"d{index}", "DELETE", ["1", null]))],
        Digest = "shown",
        AllOf = [new SpecRequirement(["g1"], count)],
        Reason = "why",
        Timeout = TimeSpan.FromSeconds(100),
        GrantLifetime = TimeSpan.FromSeconds(50),
    };
}

/// <summary>Where the sources are.</summary>
internal static class Repository
{
    public static string Root { get; } = Find();

    private static string Find()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "Countersign.slnx")))
        {
            directory = Path.GetDirectoryName(directory) ?? throw new InvalidOperationException("not in the repository");
        }

        return directory;
    }
}
