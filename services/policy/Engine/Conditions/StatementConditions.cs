using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Engine.Conditions;

/// <summary>
/// A condition over a list of facts. To allow, all of the statement's elements must be covered; to hold or deny, one element is enough. The same
/// list so errs to the strict side in both uses.
/// </summary>
internal abstract class ListCondition(string name, bool covers) : Condition(name)
{
    /// <summary>True in rules that allow.</summary>
    protected bool Covers { get; } = covers;

    internal override bool OfStatement => true;

    protected string Told(bool holds, IReadOnlyList<string> hit, IReadOnlyList<string> missed, string what) => (Covers, holds) switch
    {
        (true, true) => hit.Count == 0 ? $"{what} nothing" : $"{what} {List(hit)}",
        (true, false) => missed.Count == 0 ? $"{what} nothing that is known" : $"{what} {List(missed)}, which the rule doesn't cover",
        (false, true) => $"{what} {List(hit)}",
        (false, false) => $"{what} none of what the rule names",
    };
}

internal sealed class StatementsCondition(IReadOnlyList<Glob> tags, bool covers) : ListCondition("statements", covers)
{
    internal override bool Holds(in Subject subject)
    {
        var kinds = subject.Statement.Kinds;
        for (var i = 0; i < kinds.Count; i++)
        {
            if (Any(kinds[i]) != Covers)
            {
                return !Covers;
            }
        }

        return Covers && kinds.Count > 0;
    }

    internal override string Explain(in Subject subject, bool holds) =>
        Told(holds, [.. subject.Statement.Kinds.Where(Any)], [.. subject.Statement.Kinds.Where(kind => !Any(kind))], "is");

    internal override string? Change(in Subject subject, bool toHold) => null;

    private bool Any(string kind) => Glob.Takes(tags, kind);
}

internal sealed class RelationsCondition(string name, IReadOnlyList<NamePattern> patterns, RelationAccess access, bool covers) : ListCondition(name, covers)
{
    internal override bool Holds(in Subject subject)
    {
        var relations = subject.Statement.Relations;
        for (var i = 0; i < relations.Count; i++)
        {
            if ((relations[i].Access & access) != 0 && NamePattern.Takes(patterns, relations[i].Name, Covers) != Covers)
            {
                return !Covers;
            }
        }

        return Covers;
    }

    internal override string Explain(in Subject subject, bool holds)
    {
        var used = subject.Statement.Relations.Where(relation => (relation.Access & access) != 0).Select(relation => relation.Name).ToList();
        return Told(
            holds,
            [.. used.Where(one => NamePattern.Takes(patterns, one, Covers)).Select(one => one.ToString())],
            [.. used.Where(one => !NamePattern.Takes(patterns, one, Covers)).Select(one => one.ToString())],
            access == RelationAccess.Read ? "reads" : "writes");
    }

    internal override string? Change(in Subject subject, bool toHold)
    {
        var used = subject.Statement.Relations.Where(relation => (relation.Access & access) != 0).Select(relation => relation.Name).ToList();
        var verb = access == RelationAccess.Read ? "read" : "write";
        if (!toHold)
        {
            return $"Don't {verb} {List(used.Where(one => NamePattern.Takes(patterns, one, Covers)).Select(one => one.ToString()))}.";
        }

        var missed = used.Where(one => !NamePattern.Takes(patterns, one, Covers)).ToList();
        var qualified = missed.Where(one => one.Schema is null && NamePattern.Takes(patterns, one, certain: false)).ToList();
        return qualified.Count == missed.Count && qualified.Count > 0
            ? $"Write {List(qualified.Select(one => one.Name))} with its schema: without one it may be in any schema."
            : missed.Count > 0 ? $"Don't {verb} {List(missed.Select(one => one.ToString()))}." : null;
    }
}

internal sealed class FunctionsCondition(string name, IReadOnlyList<NamePattern> patterns, bool covers, Func<StatementFacts, IReadOnlyList<ObjectName>> called)
    : ListCondition(name, covers)
{
    internal override bool Holds(in Subject subject)
    {
        var functions = called(subject.Statement);
        for (var i = 0; i < functions.Count; i++)
        {
            if (NamePattern.Takes(patterns, functions[i], Covers) != Covers)
            {
                return !Covers;
            }
        }

        return Covers;
    }

    internal override string Explain(in Subject subject, bool holds) => Told(
        holds,
        [.. called(subject.Statement).Where(one => NamePattern.Takes(patterns, one, Covers)).Select(one => one.ToString())],
        [.. called(subject.Statement).Where(one => !NamePattern.Takes(patterns, one, Covers)).Select(one => one.ToString())],
        "calls");

    internal override string? Change(in Subject subject, bool toHold)
    {
        var named = called(subject.Statement).Where(one => NamePattern.Takes(patterns, one, Covers) != toHold).Select(one => one.ToString()).ToList();
        return named.Count == 0 ? null : $"Don't call {List(named)}.";
    }
}

internal sealed class SettingsCondition(IReadOnlyList<Glob> patterns, bool covers) : ListCondition("settings", covers)
{
    internal override bool Holds(in Subject subject)
    {
        var statement = subject.Statement;
        for (var i = 0; i < statement.Settings.Count; i++)
        {
            if (IsSet(statement, i) && Any(statement.Settings[i]) != Covers)
            {
                return !Covers;
            }
        }

        return Covers;
    }

    internal override string Explain(in Subject subject, bool holds) =>
        Told(holds, [.. Set(subject.Statement).Where(Any)], [.. Set(subject.Statement).Where(one => !Any(one))], "changes the settings");

    internal override string? Change(in Subject subject, bool toHold)
    {
        var named = Set(subject.Statement).Where(one => Any(one) != toHold).ToList();
        return named.Count == 0 ? null : $"Don't change the setting {List(named)}.";
    }

    private static IEnumerable<string> Set(StatementFacts statement) => statement.Settings.Where((_, index) => IsSet(statement, index));

    /// <summary>What is only set back to its default is no change that a rule looks at: every session began with it.</summary>
    private static bool IsSet(StatementFacts statement, int index) =>
        statement.ResetSettings.Count == 0 || !statement.ResetSettings.Contains(statement.Settings[index], StringComparer.Ordinal);

    private bool Any(string setting)
    {
        // A name that is not constant can be any: it counts as each of them where that is the strict reading.
        if (setting == "*")
        {
            return !Covers || (patterns.Any(pattern => pattern.IsAny && !pattern.Excludes) && !patterns.Any(pattern => pattern.Excludes));
        }

        return Glob.Takes(patterns, setting);
    }
}

internal sealed class WhereCondition(bool absent) : Condition("where")
{
    internal override bool OfStatement => true;

    internal override bool Holds(in Subject subject) => subject.Statement.WhereAbsent == absent;

    internal override string Explain(in Subject subject, bool holds) => subject.Statement.WhereAbsent ? "has no WHERE clause" : "has no DELETE, UPDATE or TRUNCATE without WHERE clause";

    internal override string? Change(in Subject subject, bool toHold) => absent != toHold ? "Add a WHERE clause." : null;
}

internal sealed class CompleteCondition(Language.Syntax.CompleteCondition wanted) : Condition("complete")
{
    internal override bool Holds(in Subject subject) => subject.Input.Facts.Complete == (wanted == Language.Syntax.CompleteCondition.Complete);

    internal override string Explain(in Subject subject, bool holds) =>
        subject.Input.Facts.Complete ? "completely understood" : $"not completely understood: {List(subject.Input.Facts.Incomplete)}";

    internal override string? Change(in Subject subject, bool toHold) =>
        (wanted == Language.Syntax.CompleteCondition.Complete) == toHold
            ? $"Write it so that the gateway can understand it all ({List(subject.Input.Facts.Incomplete)})."
            : null;
}
