using Countersign.Policy.Contracts;
using Countersign.Policy.Engine.Conditions;

namespace Countersign.Policy.Engine;

/// <summary>
/// One evaluation: each top-level statement by itself, the strictest answer for the whole operation, the strictest of all terms. Nothing in it
/// depends on the order of rules: answers are compared by strictness, and what is listed is sorted.
/// </summary>
internal sealed class Evaluation(PolicyEngine engine, ConnectionRules connection, DecisionInput input)
{
    private readonly Dictionary<(CompiledRule Rule, bool Error), RuleHit> _hits = [];
    private Outcome _outcome = Outcome.Allow;
    private Obligations? _obligations;
    private TermsMerge? _terms;
    private (Subject Subject, bool Empty)? _unmatched;
    private bool _dynamic;

    internal EvaluationResult Run()
    {
        var empty = PolicyEngine.IsEmpty(input.Facts);
        foreach (var (statement, index) in PolicyEngine.Statements(input.Facts))
        {
            Statement(new Subject(input, connection.Connection, statement, index), empty);
        }

        var (masks, detectors) = connection.Masks.For(new Subject(input, connection.Connection, new StatementFacts { Kinds = [] }, -1), ref _dynamic);
        return new EvaluationResult(Decision(_obligations! with { Masks = masks, Detectors = detectors }), !_dynamic);
    }

    /// <summary>What one statement gets.</summary>
    private void Statement(in Subject subject, bool empty)
    {
        Outcome? strictest = null;
        var merge = new ObligationMerge();
        TermsMerge? terms = null;
        foreach (var rule in connection.Rules)
        {
            if (empty && (rule.Effect == Outcome.RequireApproval || (rule.Effect == Outcome.Deny && rule.HasStatementConditions)))
            {
                continue;
            }

            switch (rule.Match(subject, empty, ref _dynamic, out var error))
            {
                case RuleMatch.Error:
                    _hits.TryAdd((rule, true), new RuleHit(rule.Policy, rule.Name, Outcome.Deny, subject.Index, "", rule.Shadow, error));
                    strictest = rule.Shadow ? strictest : Outcome.Deny;
                    break;
                case RuleMatch.Yes:
                    _hits.TryAdd((rule, false), new RuleHit(rule.Policy, rule.Name, rule.Effect, subject.Index, rule.Syntax.Message, rule.Shadow));
                    if (rule.Shadow)
                    {
                        break;
                    }

                    strictest = strictest is { } present && present > rule.Effect ? present : rule.Effect;
                    if (rule.Effect != Outcome.Deny)
                    {
                        merge.Add(rule.Syntax);
                    }

                    if (rule is { Effect: Outcome.RequireApproval, Syntax.Approval: { } approval })
                    {
                        (terms ??= new TermsMerge()).Add(approval, rule.Syntax.Obligations);
                    }

                    break;
            }
        }

        if (strictest is null)
        {
            _unmatched ??= (subject, empty);
        }

        // Nothing matched means deny (I4); a rule that asks for approval but names nobody can't be met.
        var outcome = strictest ?? Outcome.Deny;
        if (outcome == Outcome.RequireApproval && terms is null)
        {
            outcome = Outcome.Deny;
        }

        if (outcome == Outcome.RequireApproval)
        {
            _terms = Union(_terms, terms!);
        }

        _outcome = outcome > _outcome ? outcome : _outcome;
        var onlyReads = empty || (subject.Statement.ReadOnly && input.Facts.Complete);
        var obligations = merge.ForStatement(outcome, onlyReads);
        _obligations = _obligations is null ? obligations : ObligationMerge.Strictest(_obligations, obligations);
    }

    private Decision Decision(Obligations obligations)
    {
        RuleHit[] hits =
            [.. _hits.Values.OrderBy(hit => hit.Shadow).ThenByDescending(hit => hit.Effect).ThenByDescending(hit => hit.Error.Length > 0)
                .ThenBy(hit => hit.Policy, StringComparer.Ordinal).ThenBy(hit => hit.Rule, StringComparer.Ordinal)];
        var (message, hint) = _outcome == Outcome.Allow ? ("", "") : Texts(hits);
        return new Decision
        {
            Outcome = _outcome,
            BundleVersion = engine.Version,
            Rules = hits,
            Message = message,
            Hint = hint,
            Obligations = obligations,
            Terms = _outcome == Outcome.RequireApproval ? _terms!.ToTerms() : null,
        };
    }

    private (string Message, string Hint) Texts(RuleHit[] hits)
    {
        var deciding = hits.Where(hit => !hit.Shadow && hit.Effect == _outcome).ToList();
        if (deciding.Count == 0)
        {
            var (subject, empty) = _unmatched!.Value;
            var kinds = subject.Statement.Kinds.Count > 0 ? string.Join(", ", subject.Statement.Kinds.Distinct()) : "this";
            var known = input.Facts.Complete ? "" : " It was not completely understood.";
            return ($"No rule allows {kinds} on '{connection.Connection.Name}'.{known}", new Explainer(engine, connection).NearestHint(subject, empty));
        }

        var first = deciding.FirstOrDefault(hit => hit.Message.Length > 0) ?? deciding[0];
        if (first.Error.Length > 0)
        {
            return ($"Rule {first.Policy}/{first.Rule} can't be evaluated and so denies: {first.Error}.", "Tell the owners of the policies.");
        }

        var message = first.Message.Length > 0 ? first.Message
            : _outcome == Outcome.Deny ? $"Denied by rule {first.Policy}/{first.Rule}."
            : $"Rule {first.Policy}/{first.Rule} requires approval.";
        var hints = deciding.Select(hit => connection.Rules.First(rule => rule.Policy == hit.Policy && rule.Name == hit.Rule).Syntax.Hint).Where(text => text.Length > 0);
        var hint = hints.FirstOrDefault();
        return (message, hint ?? (_outcome == Outcome.RequireApproval ? Explainer.Asked(_terms!.ToTerms()) : $"See: countersign why ({first.Policy}/{first.Rule})."));
    }

    private static TermsMerge Union(TermsMerge? one, TermsMerge other)
    {
        if (one is null)
        {
            return other;
        }

        one.Add(other);
        return one;
    }
}
