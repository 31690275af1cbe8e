using Countersign.Policy.Contracts;
using Countersign.Policy.Engine.Conditions;
using Countersign.Policy.Language.Patterns;

namespace Countersign.Policy.Engine;

/// <summary>Says which rules matched or nearly did, on which facts, and what would let the operation pass.</summary>
internal sealed class Explainer(PolicyEngine engine, ConnectionRules connection)
{
    private const int MaxNear = 5;
    private const int MaxStatements = 50;

    internal Explanation Explain(DecisionInput input, Decision decision)
    {
        var empty = PolicyEngine.IsEmpty(input.Facts);
        var statements = new List<StatementExplanation>();
        var suggestions = new List<string>();
        foreach (var (statement, index) in PolicyEngine.Statements(input.Facts).Take(MaxStatements))
        {
            var subject = new Subject(input, connection.Connection, statement, index);
            var traces = connection.Rules.Select(rule => (Rule: rule, Trace: Trace(rule, subject, empty))).ToList();
            var outcome = engine.Evaluate(input with { Facts = Only(input.Facts, statement, index) }).Decision.Outcome;
            var matched = traces.Where(one => one.Trace.Matched).OrderByDescending(one => one.Rule.Effect).Select(one => one.Trace);
            var near = traces.Where(one => !one.Trace.Matched).OrderBy(one => Distance(one.Trace)).Take(MaxNear).Select(one => one.Trace);
            statements.Add(new StatementExplanation(index, statement.Kinds, outcome, [.. matched, .. near]));
            if (outcome != Outcome.Allow)
            {
                suggestions.AddRange(Suggest(subject, empty, outcome, traces.Where(one => one.Trace.Matched && !one.Rule.Shadow).Select(one => one.Rule)));
            }
        }

        if (decision is { Outcome: Outcome.RequireApproval, Terms: { } terms })
        {
            suggestions.Add(Asked(terms));
        }

        return new Explanation(decision, statements, [.. suggestions.Distinct(StringComparer.Ordinal)]);
    }

    /// <summary>What a default deny says about the rule that came nearest.</summary>
    internal string NearestHint(in Subject subject, bool empty)
    {
        var nearest = Nearest(subject, empty);
        if (nearest is null)
        {
            return "No rule lets you do anything here: ask the owners of the policies.";
        }

        var (rule, trace) = nearest.Value;
        var missing = trace.Conditions.First(condition => !condition.Holds);
        var change = Changes(rule, subject, empty, toHold: true).FirstOrDefault();
        return $"Rule {rule.FullName} nearly matched: {missing.Name}: {missing.Detail}.{(change is null ? "" : " " + change)}";
    }

    internal static string Asked(ApprovalTerms terms)
    {
        var who = string.Join(" and ", terms.AllOf.Select(part => $"{part.Quorum} of {string.Join(" or ", part.AnyOf)}"));
        var ways = new List<string>();
        if (terms.Assurance is { } login)
        {
            ways.Add($"Approvers need a login {Login(login)}.");
        }

        if (terms.LongestWindow is { } window)
        {
            ways.Add($"You may ask for an access window of at most {Durations.Format(window)}.");
        }

        if (terms.DryRun)
        {
            ways.Add("It is tried in a transaction that is rolled back, to show its effect.");
        }

        if (terms.BreakGlass)
        {
            ways.Add("In an emergency you may go ahead alone with a reason (countersign break-glass): that alerts, and is reviewed.");
        }

        return string.Join(' ', ways.Prepend($"Needs approval by {who}: run it{(terms.ReasonRequired ? ", give a reason" : "")} and ask them."));
    }

    private static string Login(ApproverAssurance login) => string.Join(
        " and ",
        new[]
        {
            login.MaxAge is { } age ? $"of the last {Durations.Format(age)}" : "",
            login.Amr.Count > 0 ? $"with {string.Join(", ", login.Amr)}" : "",
        }.Where(part => part.Length > 0));

    private IEnumerable<string> Suggest(Subject subject, bool empty, Outcome outcome, IEnumerable<CompiledRule> matched)
    {
        var rules = matched.ToList();
        var deciding = rules.Where(rule => rule.Effect == outcome).ToList();
        if (deciding.Count == 0)
        {
            yield return NearestHint(subject, empty);
            yield break;
        }

        // A rule that holds or denies no longer does once one of its conditions fails.
        foreach (var rule in deciding)
        {
            foreach (var change in Changes(rule, subject, empty, toHold: false))
            {
                yield return After(subject, change) is { } then ? $"{change} {then}" : change;
            }
        }
    }

    /// <summary>What would come of the one change that can be tried without guessing what the person means: adding a WHERE clause.</summary>
    private string? After(in Subject subject, string change)
    {
        if (!subject.Statement.WhereAbsent || !change.Contains("WHERE", StringComparison.Ordinal))
        {
            return null;
        }

        var facts = subject.Input.Facts with { Statements = [subject.Statement with { WhereAbsent = false }] };
        var decision = engine.Evaluate(subject.Input with { Facts = facts }).Decision;
        return decision.Outcome switch
        {
            Outcome.Allow => "Then it passes.",
            Outcome.RequireApproval => $"Then: {Asked(decision.Terms!)}",
            _ => "It would still be denied.",
        };
    }

    private (CompiledRule Rule, RuleTrace Trace)? Nearest(Subject subject, bool empty)
    {
        var candidates = connection.Rules
            .Where(rule => rule.Effect != Outcome.Deny && !rule.Shadow && !(empty && rule.Effect == Outcome.RequireApproval))
            .Select(rule => (Rule: rule, Trace: Trace(rule, subject, empty)))
            .Where(one => !one.Trace.Matched)
            .OrderBy(one => Distance(one.Trace))
            .ThenBy(one => one.Rule.FullName, StringComparer.Ordinal)
            .ToList();
        return candidates.Count == 0 ? null : candidates[0];
    }

    private static IEnumerable<string> Changes(CompiledRule rule, Subject subject, bool empty, bool toHold)
    {
        foreach (var condition in rule.Conditions.Where(condition => !(empty && condition.OfStatement)))
        {
            bool holds;
            try
            {
                holds = condition.Holds(subject);
            }
#pragma warning disable CA1031 // An erring condition has nothing to suggest; that it errs stands in the trace.
            catch (Exception)
#pragma warning restore CA1031
            {
                continue;
            }

            if (holds != toHold && condition.Change(subject, toHold) is { } change)
            {
                yield return change;
            }
        }
    }

    /// <summary>How far a rule is from matching: another kind of statement is the farthest, then who asks, then the rest of the text.</summary>
    private static int Distance(RuleTrace trace) => trace.Conditions.Where(condition => !condition.Holds).Sum(condition =>
        condition.Name.StartsWith("principals.groups", StringComparison.Ordinal) || condition.Name is "principals.persons" or "principals.kind" ? 5
        : condition.Name is "statements" ? 6
        : 2);

    private static RuleTrace Trace(CompiledRule rule, Subject subject, bool empty)
    {
        var conditions = new List<ConditionTrace>();
        foreach (var condition in rule.Conditions.Where(condition => !(empty && condition.OfStatement)))
        {
            try
            {
                var holds = condition.Holds(subject);
                conditions.Add(new ConditionTrace(condition.Name, holds, condition.Explain(subject, holds)));
            }
#pragma warning disable CA1031 // As in deciding: the rule errs, and the trace says so.
            catch (Exception error)
#pragma warning restore CA1031
            {
                conditions.Add(new ConditionTrace(condition.Name, false, $"error: {error.Message}"));
            }
        }

        var applies = !(empty && (rule.Effect == Outcome.RequireApproval || (rule.Effect == Outcome.Deny && rule.HasStatementConditions)));
        return new RuleTrace(rule.Policy, rule.Name, rule.Effect, rule.Shadow, applies && conditions.All(condition => condition.Holds), conditions);
    }

    private static OperationFacts Only(OperationFacts facts, StatementFacts statement, int index) => index < 0 ? facts : facts with { Statements = [statement] };
}
