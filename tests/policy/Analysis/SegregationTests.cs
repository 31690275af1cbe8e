using CsCheck;
using Countersign.Policy.Analysis;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language;

namespace Countersign.Policy.Tests.Analysis;

/// <summary>Where duties that should be apart meet.</summary>
[Trait("group", "unit")]
public sealed class SegregationTests
{
    private const string Settings = "apiVersion: countersign/v1\nkind: Settings\nname: s\ncontrol_approval: {groups: [owners]}\n---\n";

    private static readonly Someone Alice = Human("alice", "engineers");
    private static readonly Someone Bob = Human("bob", "dbas");
    private static readonly Someone Carol = Human("carol", "dbas");

    [Fact]
    public void A_rule_that_nobody_can_satisfy_is_found_with_why()
    {
        var report = Report(Group("dba", "bob", "nobody") + Hold("dba", 2), Alice, Bob);
        var finding = Assert.Single(report.Findings, finding => finding.Kind == "satisfied-by-nobody");
        Assert.Equal(("high", "Rule p/hold can be approved by nobody: 2 of dba, but only bob@example.com may approve."), (finding.Severity, finding.Text));
        Assert.False(report.Rules.Single(rule => rule.Rule == "p/hold").Satisfiable);
        Assert.Equal(["nobody@example.com"], report.Groups.Single(group => group.Group == "dba").Absent);
        Assert.DoesNotContain(Report(Group("dba", "bob", "carol") + Hold("dba", 2), Alice, Bob, Carol).Findings, each => each.Kind == "satisfied-by-nobody");
    }

    [Theory]
    [InlineData("enrolled")]
    [InlineData("disabled")]
    [InlineData("narrowed")]
    [InlineData("linked")]
    [InlineData("service")]
    public void Who_can_not_approve_does_not_count(string why)
    {
        var bob = why switch
        {
            "enrolled" => Bob with { Enrolled = false },
            "disabled" => Bob with { Disabled = true },
            "narrowed" => Bob with { Groups = [] },
            "service" => Bob with { IsHuman = false },
            _ => Bob with { Links = ["per_carol"] }, // one human with two accounts fills one seat
        };
        var documents = Group("dba", "bob", "carol").Replace("persons:", "idp_group: dbas\npersons:", StringComparison.Ordinal) + Hold("dba", 2);
        Assert.Contains(Report(documents, Alice, bob, Carol).Findings, finding => finding.Kind == "satisfied-by-nobody");
        Assert.DoesNotContain(Report(documents, Alice, Bob, Carol).Findings, finding => finding.Kind == "satisfied-by-nobody");
    }

    [Fact]
    public void Who_is_needed_to_approve_what_only_they_ask_for_is_stuck_also_through_accounts_of_theirs()
    {
        var bot = new Someone("per_bot", "etl", false, false, false, [], ["per_carol"], "dbas", [], []);
        var documents = Group("dba", "bob", "carol") + Hold("dba", 2);
        var report = Report(documents, Alice, Bob, Carol, bot);
        Assert.Equal(["bob@example.com", "carol@example.com", "etl"], report.Rules.Single(rule => rule.Rule == "p/hold").Stuck.Order());
        Assert.Contains(report.Findings, finding => finding.Id == "only-own-requester:p/hold:etl");

        // One more, and everybody finds two others; but not for the account, which the team owns.
        var more = Report(Group("dba", "bob", "carol", "alice") + Hold("dba", 2), Alice, Bob, Carol, bot);
        Assert.Equal(["etl"], more.Rules.Single(rule => rule.Rule == "p/hold").Stuck);
    }

    [Fact]
    public void One_person_in_two_groups_fills_one_seat()
    {
        var two = Group("dba", "bob") + Group("sec", "bob", "carol") + "---\n" + Given.Policy("- {name: hold, effect: require_approval, approval: {all_of: [{any_of: [dba]}, {any_of: [sec]}]}}");
        Assert.True(Report(two, Alice, Bob, Carol).Rules.Single(rule => rule.Rule == "p/hold").Satisfiable);
        Assert.False(Report(two, Alice, Bob).Rules.Single(rule => rule.Rule == "p/hold").Satisfiable);
        Assert.Contains(Report(two, Alice, Bob, Carol).Findings, finding => finding.Id == "one-person-only:p/hold:dba");
    }

    [Fact]
    public void Small_control_groups_second_accounts_and_double_duties_are_found()
    {
        var carol = Carol with { Suspected = ["per_bob"], Groups = ["engineers"] };
        var bob = Bob with { Suspected = ["per_carol"] };
        const string Rules = "- {name: read, effect: allow, when: {principals: {groups: [engineers]}}}\n- {name: hold, effect: require_approval, when: {principals: {groups: [engineers]}, connections: {names: [shop]}}, approval: {groups: [owners]}}\n";
        var report = Report(Settings + Group("owners", "bob", "carol") + Given.Policy(Rules), Alice, bob, carol);
        Assert.Equal(("medium", "owners decides about what is enforced with 2 person(s) and no deputy: 3 are needed, so that one can ask and one be away."), Of(report, "small-control-group:owners"));
        Assert.Equal(("high", "bob@example.com (per_bob) and carol@example.com (per_carol) look like one human: link them, or say that they are two."), Of(report, "second-account-suspected:per_bob:per_carol"));
        Assert.Equal(("low", "Rule p/hold: carol@example.com could ask and approve, for one another, over shop."), Of(report, "requests-and-approves:p/hold"));
        Assert.Equal(
            ["alice@example.com: request run over shop", "alice@example.com: run over crm", "bob@example.com: approve control over shop", "carol@example.com: request run approve control over shop", "carol@example.com: run control over crm"],
            report.Holdings.Select(holding => $"{holding.Person}: {string.Join(' ', holding.Duties.OrderBy(duty => duty == "run" ? "r" : duty == "request" ? "q" : duty == "approve" ? "s" : "t", StringComparer.Ordinal))} over {string.Join(' ', holding.Connections)}").Order());
        Assert.Empty(Report("", Alice with { Enrolled = false }).Holdings);
        Assert.Contains(Report("", Alice).Findings, finding => finding is { Kind: "no-approvers", Severity: "high" });
    }

    [Fact]
    public void Filling_seats_is_what_trying_every_way_finds() =>
        Gen.Select(Gen.Select(Gen.Int[0, 5].HashSet[0, 4], Gen.Int[1, 3]).Array[1, 3], Gen.Int[0, 5].HashSet[0, 2]).Sample(
            (requirements, without) =>
            {
                var seats = requirements.SelectMany(part => Enumerable.Repeat(part.Item1, part.Item2)).ToList();
                bool Try(int seat, HashSet<int> used) => seat == seats.Count
                    || seats[seat].Any(human => !without.Contains(human) && !used.Contains(human) && Try(seat + 1, [.. used, human]));
                Assert.Equal(Try(0, []), Seats.CanBeFilled([.. requirements.Select(part => (part.Item1, part.Item2))], without));
            },
            iter: 3000);

    [Fact]
    public void The_report_depends_on_no_order_one_approver_more_never_hurts_and_a_link_never_helps() =>
        Gen.Select(Gen.Int[0, 31].Array[4], Gen.Int[0, 3], Gen.Int[1, 3], Gen.Int[0, int.MaxValue], Gen.Int[0, 3]).Sample(
            (bits, linked, quorum, seed, other) =>
            {
                string[] names = ["alice", "bob", "carol", "dora"];
                var members = names.Where((_, index) => (bits[index] & 1) != 0).DefaultIfEmpty("alice").ToArray();
                Someone Make(int index) => Human(names[index], (bits[index] & 2) != 0 ? "engineers" : "x") with { Enrolled = (bits[index] & 4) != 0, Disabled = bits[index] > 28 };
                var persons = Enumerable.Range(0, 4).Select(Make).ToArray();
                var documents = Group("dba", members) + Hold("dba", quorum);
                var report = Report(documents, persons);
                var shuffled = persons.ToArray();
                new Random(seed).Shuffle(shuffled);
                Assert.Equal(report.Digest, Report(documents, shuffled).Digest);
                Assert.Equal(SegregationAnalysis.Lines(report).Count, SegregationAnalysis.Lines(report).Distinct().Count());

                var rule = report.Rules.Single(each => each.Rule == "p/hold");
                var more = Report(Group("dba", [.. members, "eve"]) + Hold("dba", quorum), [.. persons, Human("eve")]).Rules.Single(each => each.Rule == "p/hold");
                Assert.True(more.Satisfiable || !rule.Satisfiable);
                Assert.True(!rule.Satisfiable || more.Stuck.Where(name => name != "eve@example.com").All(rule.Stuck.Contains));

                var link = persons.Select((person, index) => index == linked ? person with { Links = [$"per_{names[other]}"] } : person).ToArray();
                Assert.True(rule.Satisfiable || !Report(documents, link).Rules.Single(each => each.Rule == "p/hold").Satisfiable);
            },
            iter: 1000);

    private static Someone Human(string name, params string[] groups) => new($"per_{name}", $"{name}@example.com", true, true, false, [], [], "", groups, []);

    private static string Group(string name, params string[] persons) =>
        $"apiVersion: countersign/v1\nkind: ApproverGroup\nname: {name}\npersons: [{string.Join(", ", persons.Select(person => person + "@example.com"))}]\n---\n";

    private static string Hold(string group, int quorum) => Given.Policy($"- {{name: hold, effect: require_approval, approval: {{groups: [{group}], quorum: {quorum}}}}}");

    private static (string, string) Of(SegregationReport report, string id)
    {
        var finding = Assert.Single(report.Findings, finding => finding.Id == id);
        return (finding.Severity, finding.Text);
    }

    private static SegregationReport Report(string yaml, params Someone[] persons) => SegregationAnalysis.Report(
        3, PolicyDecoder.Decode(yaml.Length == 0 ? [] : [new BundleDocument("p.yaml", yaml)]), [Given.Connection("shop", ("env", "prod")), Given.Connection("crm")], persons, Given.Now);
}
