using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Language.Check;

/// <summary>Whether one rule makes sense: it can match, and what it says fits its effect.</summary>
internal static class RuleCheck
{
    private static readonly string[] ReadTags = ["SELECT", "SHOW", "EXPLAIN", "EXPLAIN ANALYZE", "VALUES", "FETCH"];
    private static readonly string[] WhereTags = ["DELETE", "UPDATE", "TRUNCATE TABLE"];

    internal static void Check(RuleSyntax rule, KnownNames names, DiagnosticBag errors)
    {
        When(rule, names, errors);
        names.Approval(rule.Approval);
        Terms(rule, errors);
    }

    private static void When(RuleSyntax rule, KnownNames names, DiagnosticBag errors)
    {
        var when = rule.When;
        names.Principals(when.Principals);
        if (when.Protocol is { } protocol && !PolicyChecker.Protocols.Contains(protocol.Value))
        {
            errors.Add(protocol.At, "unknown-name", $"There is no protocol '{protocol.Value}'. There are: {string.Join(", ", PolicyChecker.Protocols)}.");
        }
        else
        {
            names.Connections(when.Connections, when.Protocol?.Value, when.At);
        }

        foreach (var tag in when.Statements ?? [])
        {
            if (!CommandTags.All.Any(known => tag.Value.IsMatch(known)))
            {
                errors.Add(tag.At, "never-matches", $"No command tag is like '{tag.Value.Pattern}': this can never match.{Nearest(tag.Value.Pattern)}");
            }
        }

        Positive(when.Statements?.Select(tag => (tag.Value.Excludes, tag.At)), "statements", errors);
        Positive(when.Settings?.Select(name => (name.Value.Excludes, name.At)), "settings", errors);
        Positive(when.Reads?.Select(name => (name.Value.Excludes, name.At)), "reads", errors);
        Positive(when.Writes?.Select(name => (name.Value.Excludes, name.At)), "writes", errors);
        Positive(when.Functions?.Select(name => (name.Value.Excludes, name.At)), "functions", errors);
        Positive(when.ImpureFunctions?.Select(name => (name.Value.Excludes, name.At)), "impure_functions", errors);
        if (when.WhereAbsent is { Value: true } absent && when.Statements is { } statements && !WhereTags.Any(known => Glob.Takes([.. statements.Select(tag => tag.Value)], known)))
        {
            errors.Add(absent.At, "never-matches", "'where: absent' is about DELETE, UPDATE and TRUNCATE TABLE, none of which is among 'statements': name one, or leave 'statements' out.");
        }

        if (rule.Effect == Outcome.Allow && when.Complete.Value is (CompleteCondition.Incomplete or CompleteCondition.Any)
            && ((when.Reads ?? when.Writes ?? when.Functions ?? when.ImpureFunctions) is not null || when.Settings is not null || when.WhereAbsent is not null))
        {
            errors.Add(
                when.Complete.At, "incomplete-allow",
                "A rule that allows incomplete facts can't have 'reads', 'writes', 'functions', 'impure_functions', 'settings' or 'where': what was not understood may do more than these lists say.");
        }

        foreach (var name in (when.Reads ?? []).Concat(when.Writes ?? []).Concat(when.Functions ?? []).Concat(when.ImpureFunctions ?? []))
        {
            if (Folded(name.Value.Schema, name.Value.SchemaLiteralQuoted) || Folded(name.Value.Name, name.Value.NameLiteralQuoted))
            {
                errors.Add(name.At, "never-matches", $"{name.Value}: the server folds names to lower case, so this never matches; put a part in double quotes if it was created with them.");
            }
        }

        if (when.Time is { } time && !TimeZoneInfo.TryFindSystemTimeZoneById(time.Timezone.Value, out _))
        {
            errors.Add(time.Timezone.At, "unknown-name", $"There is no time zone '{time.Timezone.Value}': use names such as Europe/Berlin.");
        }
    }

    private static void Terms(RuleSyntax rule, DiagnosticBag errors)
    {
        var obligations = rule.Obligations;
        var escalates = obligations is { FilterOnMasked.Value: FilterOnMasked.RequireApproval } or { Laundering.Value: Outcome.RequireApproval };
        switch (rule.Effect)
        {
            case Outcome.Deny when obligations is not null || rule.Approval is not null:
                errors.Add(obligations?.At ?? rule.Approval!.At, "not-applicable", "A rule that denies has neither 'obligations' nor 'approval'.");
                return;
            case Outcome.RequireApproval when rule.Approval is null:
                errors.Add(rule.At, "missing-key", $"Rule '{rule.Name}' requires approval and so needs 'approval': who must agree.");
                break;
            case Outcome.Allow when rule.Approval is not null && !escalates:
                errors.Add(rule.Approval.At, "not-applicable", "A rule that allows has 'approval' only where its 'filter_on_masked' or 'laundering' is require_approval.");
                break;
            case Outcome.Allow when rule.Approval is null && escalates:
                errors.Add(obligations!.At, "missing-key", "'filter_on_masked' or 'laundering' with require_approval needs 'approval' beside it: who must agree.");
                break;
        }

        if (obligations?.InTransaction is { } hold && rule.Approval is null)
        {
            errors.Add(hold.At, "not-applicable", "'in_transaction' needs 'approval': without one nothing is held.");
        }

        if (obligations?.Record is { Value: RecordLevel.Buffered } record)
        {
            Buffered(rule, record, errors);
        }
    }

    /// <summary>I5: buffered recording is for allowed reads only.</summary>
    private static void Buffered(RuleSyntax rule, Located<RecordLevel> record, DiagnosticBag errors)
    {
        var onlyReads = rule.When.Statements is { Count: > 0 } statements
            && CommandTags.All.Where(known => Glob.Takes([.. statements.Select(tag => tag.Value)], known)).All(known => ReadTags.Contains(known, StringComparer.Ordinal));
        if (rule.Effect != Outcome.Allow || !onlyReads || rule.When.Complete.Value is CompleteCondition.Any or CompleteCondition.Incomplete)
        {
            errors.Add(
                record.At, "buffered", $"'record: buffered' is for rules that allow, whose 'statements' are reads only ({string.Join(", ", ReadTags)}) and completely understood.");
        }
    }

    /// <summary>A list that only excludes takes nothing.</summary>
    private static void Positive(IEnumerable<(bool Excludes, SourcePosition At)>? items, string key, DiagnosticBag errors)
    {
        var all = items?.ToList();
        if (all is { Count: > 0 } && all.TrueForAll(item => item.Excludes))
        {
            errors.Add(all[0].At, "never-matches", $"'{key}' only excludes, so that nothing is left: begin with what it takes, e.g. \"*\".");
        }
    }

    private static bool Folded(Glob part, bool quoted) => !quoted && part.Pattern.Any(char.IsAsciiLetterUpper);

    private static string Nearest(string pattern)
    {
        var word = pattern.Split(' ')[0].Trim('*');
        var near = word.Length < 3 ? null : CommandTags.All.Order(StringComparer.Ordinal).FirstOrDefault(tag => tag.StartsWith(word[..3], StringComparison.Ordinal));
        return near is null ? "" : $" Did you mean '{near}'?";
    }
}
