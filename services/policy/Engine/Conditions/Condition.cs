using Countersign.Policy.Contracts;

namespace Countersign.Policy.Engine.Conditions;

/// <summary>One statement of one operation, as conditions see it.</summary>
internal readonly record struct Subject(DecisionInput Input, Connection Connection, StatementFacts Statement, int Index);

/// <summary>
/// One compiled condition of a rule. Explaining and deciding use the same object, so that they can't disagree. May throw: a rule that errors denies.
/// </summary>
internal abstract class Condition(string name)
{
    /// <summary>Key in the language.</summary>
    internal string Name { get; } = name;

    /// <summary>Whether it depends on more than principal, connection and facts, so that a decision that asked it must not be cached.</summary>
    internal virtual bool Dynamic => false;

    /// <summary>Whether it looks at a statement, not at the operation as a whole.</summary>
    internal virtual bool OfStatement => false;

    /// <summary>Whether it holds.</summary>
    internal abstract bool Holds(in Subject subject);

    /// <summary>On which facts; called for explaining only.</summary>
    internal abstract string Explain(in Subject subject, bool holds);

    /// <summary>What a person could do so that it holds (or no longer holds, for a rule that refuses); null where there is nothing.</summary>
    internal virtual string? Change(in Subject subject, bool toHold) => null;

    protected static string List(IEnumerable<string> items, int most = 8)
    {
        var all = items.ToList();
        return all.Count <= most ? string.Join(", ", all) : string.Join(", ", all.Take(most)) + $" and {all.Count - most} more";
    }
}
