using System.Security.Cryptography;
using System.Text;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Analysis;

/// <summary>Finds where duties that should be apart meet (docs/policies/segregation.md). Pure: a bundle and who there is, nothing else.</summary>
/// <remarks>
/// "Could" errs to the wide side: conditions on the login (age, methods), the time, the client's address and the text are taken to hold, since they can. Who can
/// approve errs to the narrow side: enrolled, not disabled, in the group and in the provider's group now.
/// </remarks>
public sealed class SegregationAnalysis
{
    /// <summary>Name of the rule that stands for changes of what is enforced.</summary>
    public const string Control = "control";

    private const int SmallGroup = 3;
    private readonly People _people;
    private readonly Dictionary<string, HashSet<int>> _groups = new(StringComparer.Ordinal);
    private readonly PolicySet _documents;
    private readonly IReadOnlyList<Connection> _connections;
    private readonly ApprovalSyntax? _control;

    private SegregationAnalysis(PolicySet documents, IReadOnlyList<Connection> connections, IEnumerable<Someone> persons)
    {
        _documents = documents;
        _connections = [.. connections.OrderBy(connection => connection.Name, StringComparer.Ordinal)];
        _people = new People(persons);
        _control = documents.Settings.Select(settings => settings.ControlApproval).FirstOrDefault(approval => approval is not null);
        _groups[PolicyChecker.Enrolled] = MayApprove(_people.All);
        foreach (var group in documents.ApproverGroups)
        {
            _groups[group.Name.Value] = MayApprove(_people.All.Where(person => IsNamed(group, person) && IsIn(group, person)));
        }
    }

    /// <summary>Makes the report.</summary>
    /// <param name="version">Version of the bundle.</param>
    /// <param name="documents">Its decoded documents.</param>
    /// <param name="connections">Its connections.</param>
    /// <param name="persons">Everybody that identity knows.</param>
    /// <param name="now">When.</param>
    public static SegregationReport Report(long version, PolicySet documents, IReadOnlyList<Connection> connections, IEnumerable<Someone> persons, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(documents);
        ArgumentNullException.ThrowIfNull(connections);
        ArgumentNullException.ThrowIfNull(persons);
        return new SegregationAnalysis(documents, connections, persons).Report(version, now);
    }

    /// <summary>What a report says, a line each, in an order of their own: two reports say the same exactly if their lines are the same.</summary>
    public static IReadOnlyList<string> Lines(SegregationReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        static string List(IEnumerable<string> items) => string.Join(", ", items);
        return
        [
            .. report.Findings.Select(finding => $"finding {finding.Severity} {finding.Id}: {finding.Text}"),
            .. report.Rules.SelectMany(rule => (string[])
            [
                $"rule {rule.Rule}: over {List(rule.Connections)}; needs {List(rule.AllOf.Select(part => $"{part.Quorum} of {string.Join('/', part.AnyOf)}"))}",
                .. rule.Requesters.Select(name => $"rule {rule.Rule}: {name} could ask"),
                .. rule.AllOf.SelectMany(part => part.Persons).Distinct(StringComparer.Ordinal).Select(name => $"rule {rule.Rule}: {name} could approve"),
            ]),
            .. report.Holdings.Select(holding => $"holds {holding.Person}: {List(holding.Duties)}{(holding.Connections.Count > 0 ? $" over {List(holding.Connections)}" : "")}"),
            .. report.Groups.SelectMany(group => group.Persons.Select(name => $"group {group.Group}: {name}").Concat(group.Absent.Select(name => $"group {group.Group}: {name} (can't approve)"))),
        ];
    }

    private SegregationReport Report(long version, DateTimeOffset now)
    {
        var rules = Rules().OrderBy(rule => rule.View.Rule, StringComparer.Ordinal).ToList();
        var groups = Groups();
        var report = new SegregationReport
        {
            At = now,
            BundleVersion = version,
            Digest = "",
            Humans = _people.Humans.Count(),
            Approvers = _groups[PolicyChecker.Enrolled].Count,
            Rules = [.. rules.Select(rule => rule.View)],
            Holdings = Holdings(rules),
            Groups = groups,
            Findings =
            [
                .. Findings(rules, groups).OrderBy(finding => Array.IndexOf(Severities, finding.Severity)).ThenBy(finding => finding.Id, StringComparer.Ordinal),
            ],
        };
        var lines = string.Join('\n', Lines(report).Order(StringComparer.Ordinal));
        return report with { Digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(lines))) };
    }

    private static readonly string[] Severities = ["high", "medium", "low"];

    private IEnumerable<AnalysedRule> Rules()
    {
        foreach (var policy in _documents.Policies)
        {
            foreach (var rule in policy.Rules.Where(rule => rule is { Shadow: false, Approval: not null }))
            {
                var connections = _connections.Where(connection => Applies(rule, connection)).Select(connection => connection.Name).ToList();
                if (connections.Count > 0)
                {
                    yield return Analyse($"{policy.Name.Value}/{rule.Name.Value}", connections, rule.Approval!, _people.All.Where(person => !person.Disabled && Selects(rule.When.Principals, person)));
                }
            }
        }

        // Anybody who may log in may ask for a change of what is enforced.
        yield return Analyse(Control, [], _control, _people.All.Where(person => person is { Disabled: false, IsHuman: true }));
    }

    private AnalysedRule Analyse(string name, IReadOnlyList<string> connections, ApprovalSyntax? approval, IEnumerable<Someone> asking)
    {
        var requirements = approval is null
            ? [(AnyOf: (IReadOnlyList<string>)[PolicyChecker.Enrolled], Quorum: 1)]
            : approval.AllOf.Select(part => (AnyOf: (IReadOnlyList<string>)[.. part.AnyOf.Select(group => group.Value)], part.Quorum)).ToList();
        var seats = requirements.Select(part => (Candidates: Candidates(part.AnyOf), part.Quorum)).ToList();
        var candidates = seats.SelectMany(part => part.Candidates).ToHashSet();
        var requesters = asking.ToList();
        var satisfiable = Seats.CanBeFilled(seats, new HashSet<int>());
        var views = requirements.Zip(seats, (part, seat) => new SegregationRequirement([.. part.AnyOf.Order(StringComparer.Ordinal)], part.Quorum, Names(seat.Candidates)));
        var stuck = satisfiable
            ? requesters.Where(person => _people.Own(person) is var own && own.Overlaps(candidates) && !Seats.CanBeFilled(seats, own)).Select(Title).Distinct(StringComparer.Ordinal).ToList()
            : [];
        return new AnalysedRule(
            new SegregationRule(
                name, connections, [.. views], [.. requesters.Select(Title).Distinct(StringComparer.Ordinal)],
                [.. requesters.Where(person => _people.Own(person).Overlaps(candidates)).Select(Title).Distinct(StringComparer.Ordinal)], satisfiable, stuck),
            seats, requesters);
    }

    private IEnumerable<SegregationFinding> Findings(List<AnalysedRule> rules, IReadOnlyList<SegregationGroup> groups)
    {
        if (_groups[PolicyChecker.Enrolled].Count < 2)
        {
            yield return new SegregationFinding(
                "no-approvers", "high", "no-approvers",
                _groups[PolicyChecker.Enrolled].Count == 0 ? "Nobody is enrolled: nothing that needs approval can be approved." : $"Only {Names(_groups[PolicyChecker.Enrolled])[0]} is enrolled: nobody can approve what they ask for.");
        }

        foreach (var rule in rules)
        {
            var view = rule.View;
            var what = view.Rule == Control ? "A change of what is enforced" : $"Rule {view.Rule}";
            if (!view.Satisfiable)
            {
                yield return new SegregationFinding(
                    $"satisfied-by-nobody:{view.Rule}", "high", "satisfied-by-nobody", $"{what} can be approved by nobody: {Wanted(view)}, but only {Present(view)}.");
            }

            foreach (var name in view.Stuck)
            {
                yield return new SegregationFinding(
                    $"only-own-requester:{view.Rule}:{name}", "medium", "only-own-requester", $"{what} can't be approved for {name}: without them there are not enough ({Wanted(view)}).");
            }

            foreach (var (part, seat) in view.AllOf.Zip(rule.Seats).Where(pair => pair.Second.Candidates.Count == 1))
            {
                yield return new SegregationFinding(
                    $"one-person-only:{view.Rule}:{string.Join('/', part.AnyOf)}", "medium", "one-person-only",
                    $"{what} depends on one person: {string.Join(" or ", part.AnyOf)} has only {part.Persons[0]}.");
            }

            if (view.Both.Count > 0 && view.Rule != Control)
            {
                yield return new SegregationFinding(
                    $"requests-and-approves:{view.Rule}", "low", "requests-and-approves", $"{what}: {string.Join(", ", view.Both)} could ask and approve, for one another, over {string.Join(", ", view.Connections)}.");
            }
        }

        foreach (var part in rules.First(rule => rule.View.Rule == Control).View.AllOf.Where(part => part.Persons.Count < SmallGroup))
        {
            // Another group of the same requirement stands in for it; those are counted together here.
            yield return new SegregationFinding(
                $"small-control-group:{string.Join('/', part.AnyOf)}", part.Persons.Count < 2 ? "high" : "medium", "small-control-group",
                $"{string.Join(" and ", part.AnyOf)} decide{(part.AnyOf.Count == 1 ? "s" : "")} about what is enforced with {part.Persons.Count} person(s) and no deputy: {SmallGroup} are needed, so that one can ask and one be away.");
        }

        foreach (var group in groups.Where(group => group is { Persons.Count: < SmallGroup, Control: false } && rules.Exists(rule => rule.View.AllOf.Any(part => part.AnyOf.SequenceEqual([group.Group])))))
        {
            yield return new SegregationFinding(
                $"small-group:{group.Group}", "low", "small-control-group", $"Approver group {group.Group} has {group.Persons.Count} person(s) who may approve, and no deputy.");
        }

        foreach (var person in _people.All)
        {
            foreach (var other in person.Suspected.Select(id => _people.All.FirstOrDefault(each => each.Id == id)).OfType<Someone>().Where(other => string.CompareOrdinal(person.Id, other.Id) < 0))
            {
                yield return new SegregationFinding(
                    $"second-account-suspected:{person.Id}:{other.Id}", person.Enrolled && other.Enrolled ? "high" : "medium", "second-account-suspected",
                    $"{person.Name} ({person.Id}) and {other.Name} ({other.Id}) look like one human: link them, or say that they are two.");
            }
        }
    }

    private List<SegregationHolding> Holdings(List<AnalysedRule> rules)
    {
        var control = rules.First(rule => rule.View.Rule == Control).Seats.SelectMany(seat => seat.Candidates).ToHashSet();
        var allow = _documents.Policies.SelectMany(policy => policy.Rules).Where(rule => rule is { Shadow: false, Effect: Outcome.Allow }).ToList();
        var holdings = new List<SegregationHolding>();
        foreach (var same in _people.All.Where(person => !person.Disabled).GroupBy(Title, StringComparer.Ordinal))
        {
            var humans = same.SelectMany(person => person.IsHuman ? _people.Own(person) : new HashSet<int>()).ToHashSet();
            var byDuties = new SortedDictionary<string, List<string>>(StringComparer.Ordinal);
            foreach (var connection in _connections)
            {
                var about = rules.Where(rule => rule.View.Connections.Contains(connection.Name, StringComparer.Ordinal)).ToList();
                string[] duties =
                [
                    .. Duty("run", allow.Exists(rule => Applies(rule, connection) && same.Any(person => Selects(rule.When.Principals, person)))),
                    .. Duty("request", about.Exists(rule => rule.Requesters.Exists(person => same.Any(each => each.Id == person.Id)))),
                    .. Duty("approve", about.Exists(rule => rule.Seats.Exists(seat => seat.Candidates.Overlaps(humans)))),
                ];
                if (duties.Length > 0)
                {
                    var key = string.Join(' ', duties);
                    (byDuties.TryGetValue(key, out var list) ? list : byDuties[key] = []).Add(connection.Name);
                }
            }

            var decides = control.Overlaps(humans);
            if (decides && byDuties.Count == 0)
            {
                holdings.Add(new SegregationHolding(same.Key, ["control"], []));
            }

            holdings.AddRange(byDuties.Select(pair => new SegregationHolding(same.Key, [.. pair.Key.Split(' '), .. Duty("control", decides)], pair.Value)));
        }

        return [.. holdings.OrderBy(holding => holding.Person, StringComparer.OrdinalIgnoreCase).ThenBy(holding => string.Join(' ', holding.Duties), StringComparer.Ordinal)];
    }

    private IReadOnlyList<SegregationGroup> Groups()
    {
        var control = (_control?.AllOf.SelectMany(part => part.AnyOf.Select(group => group.Value)) ?? [PolicyChecker.Enrolled]).ToHashSet(StringComparer.Ordinal);
        return
        [
            new SegregationGroup(PolicyChecker.Enrolled, Names(_groups[PolicyChecker.Enrolled]), [], control.Contains(PolicyChecker.Enrolled)),
            .. _documents.ApproverGroups.OrderBy(group => group.Name.Value, StringComparer.Ordinal).Select(group => new SegregationGroup(
                group.Name.Value, Names(_groups[group.Name.Value]),
                [
                    .. group.Persons.Select(person => person.Value)
                        .Where(name => !_people.All.Any(person => Is(name, person) && person is { Enrolled: true, Disabled: false, IsHuman: true } && IsIn(group, person)))
                        .Order(StringComparer.Ordinal),
                ],
                control.Contains(group.Name.Value))),
        ];
    }

    private HashSet<int> Candidates(IReadOnlyList<string> anyOf) => anyOf.SelectMany(group => _groups.TryGetValue(group, out var members) ? members : []).ToHashSet();

    private HashSet<int> MayApprove(IEnumerable<Someone> persons) =>
        persons.Where(person => person is { IsHuman: true, Enrolled: true, Disabled: false }).Select(person => _people.Human(person.Id)).OfType<int>().ToHashSet();

    private IReadOnlyList<string> Names(IReadOnlySet<int> humans) => [.. humans.Select(_people.Name).Order(StringComparer.OrdinalIgnoreCase)];

    private string Title(Someone person) => _people.Human(person.Id) is { } human ? _people.Name(human) : person.Name;

    private static bool IsNamed(ApproverGroupDocument group, Someone person) => group.Persons.Any(name => Is(name.Value, person));

    private static bool IsIn(ApproverGroupDocument group, Someone person) => group.IdpGroup is not { } narrowed || person.Groups.Contains(narrowed.Value, StringComparer.Ordinal);

    private static bool Is(string name, Someone person) => name == person.Id || string.Equals(name, person.Name, StringComparison.OrdinalIgnoreCase);

    private static bool Applies(RuleSyntax rule, Connection connection) =>
        (rule.When.Protocol is not { } protocol || protocol.Value == connection.Protocol) && ConnectionMatch.Matches(rule.When.Connections, connection.Name, connection.Labels);

    private static bool Selects(PrincipalSelector? selector, Someone person) =>
        selector is null
        || ((selector.Kind is not { } kind || kind == (person.IsHuman ? "human" : "service"))
            && (selector.Groups is not { } groups || groups.Any(group => person.Groups.Contains(group.Value, StringComparer.Ordinal)))
            && (selector.Persons is not { } persons || persons.Any(name => Is(name.Value, person))));

    private static IEnumerable<string> Duty(string duty, bool holds) => holds ? [duty] : [];

    private static string Wanted(SegregationRule rule) => string.Join(" and ", rule.AllOf.Select(part => $"{part.Quorum} of {string.Join(" or ", part.AnyOf)}"));

    private static string Present(SegregationRule rule)
    {
        var persons = rule.AllOf.SelectMany(part => part.Persons).Distinct(StringComparer.Ordinal).ToList();
        return persons.Count == 0 ? "nobody of them may approve" : $"{string.Join(", ", persons)} may approve";
    }

    /// <summary>A rule with what the findings need beside what is shown.</summary>
    private sealed record AnalysedRule(SegregationRule View, List<(HashSet<int> Candidates, int Quorum)> Seats, List<Someone> Requesters);
}
