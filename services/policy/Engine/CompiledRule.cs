using Countersign.Policy.Contracts;
using Countersign.Policy.Engine.Conditions;
using Countersign.Policy.Language.Syntax;
using CompleteWanted = Countersign.Policy.Language.Syntax.CompleteCondition;

namespace Countersign.Policy.Engine;

/// <summary>What became of one rule on one statement.</summary>
internal enum RuleMatch
{
    No,
    Yes,
    Error,
}

/// <summary>One rule, compiled: conditions in a fixed order, what can err or change with time last.</summary>
internal sealed class CompiledRule
{
    private readonly Condition[] _conditions;

    internal CompiledRule(string policy, RuleSyntax syntax)
    {
        Policy = policy;
        Syntax = syntax;
        _conditions = [.. Compile(syntax)];
        HasStatementConditions = _conditions.Any(condition => condition.OfStatement);
    }

    internal string Policy { get; }

    internal string Name => Syntax.Name.Value;

    internal string FullName => $"{Policy}/{Name}";

    internal Outcome Effect => Syntax.Effect;

    internal bool Shadow => Syntax.Shadow;

    internal RuleSyntax Syntax { get; }

    internal bool HasStatementConditions { get; }

    internal IReadOnlyList<Condition> Conditions => _conditions;

    /// <summary>Whether all conditions hold. An exception is an answer of its own: the caller denies (I4).</summary>
    /// <param name="subject">The statement.</param>
    /// <param name="operationOnly">Leaves out what looks at the statement, for text without one.</param>
    /// <param name="dynamic">Set where a condition was asked that may answer otherwise later.</param>
    /// <param name="error">What went wrong.</param>
    internal RuleMatch Match(in Subject subject, bool operationOnly, ref bool dynamic, out string error)
    {
        error = "";
        try
        {
            foreach (var condition in _conditions)
            {
                if (operationOnly && condition.OfStatement)
                {
                    continue;
                }

                dynamic |= condition.Dynamic;
                if (!condition.Holds(subject))
                {
                    return RuleMatch.No;
                }
            }

            return RuleMatch.Yes;
        }
#pragma warning disable CA1031 // Whatever a condition throws, the rule has erred and denies; letting it escape would leave the answer to the caller.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            error = exception.Message;
            dynamic = true;
            return RuleMatch.Error;
        }
    }

    private static IEnumerable<Condition> Compile(RuleSyntax rule)
    {
        var when = rule.When;
        var covers = rule.Effect == Outcome.Allow;
        if (when.Connections is { } connections)
        {
            yield return new ConnectionsCondition(connections);
        }

        if (when.Protocol is { } protocol)
        {
            yield return new ProtocolCondition(protocol.Value);
        }

        var (fixedPart, agePart) = Selector(when.Principals);
        foreach (var condition in fixedPart)
        {
            yield return condition;
        }

        var complete = when.Complete.Value;
        if (complete == CompleteWanted.Unspecified && covers)
        {
            complete = CompleteWanted.Complete;
        }

        if (complete is CompleteWanted.Complete or CompleteWanted.Incomplete)
        {
            yield return new Conditions.CompleteCondition(complete);
        }

        if (when.Statements is { } statements)
        {
            yield return new StatementsCondition([.. statements.Select(tag => tag.Value)], covers);
        }

        if (when.Writes is { } writes)
        {
            yield return new RelationsCondition("writes", [.. writes.Select(name => name.Value)], RelationAccess.Write, covers);
        }

        if (when.Reads is { } reads)
        {
            yield return new RelationsCondition("reads", [.. reads.Select(name => name.Value)], RelationAccess.Read, covers);
        }

        if (when.Functions is { } functions)
        {
            yield return new FunctionsCondition("functions", [.. functions.Select(name => name.Value)], covers, static statement => statement.Functions);
        }

        if (when.ImpureFunctions is { } impure)
        {
            yield return new FunctionsCondition("impure_functions", [.. impure.Select(name => name.Value)], covers, static statement => statement.ImpureFunctions);
        }

        if (when.Settings is { } settings)
        {
            yield return new SettingsCondition([.. settings.Select(name => name.Value)], covers);
        }

        if (when.WhereAbsent is { } absent)
        {
            yield return new WhereCondition(absent.Value);
        }

        if (agePart is not null)
        {
            yield return agePart;
        }

        if (when.ClientAddress is { } networks)
        {
            yield return new AddressCondition([.. networks.Select(network => network.Value)], covers);
        }

        if (when.Time is { } time)
        {
            yield return new TimeCondition(time);
        }
    }

    /// <summary>Conditions on the principal; the age of the login apart, since it changes with time.</summary>
    internal static (IReadOnlyList<Condition> Fixed, Condition? Age) Selector(PrincipalSelector? selector)
    {
        var conditions = new List<Condition>();
        if (selector?.Kind is { } kind)
        {
            conditions.Add(new KindCondition(kind));
        }

        if (selector?.Groups is { } groups)
        {
            conditions.Add(new GroupsCondition(groups.Select(group => group.Value)));
        }

        if (selector?.Persons is { } persons)
        {
            conditions.Add(new PersonsCondition(persons.Select(person => person.Value)));
        }

        if (selector?.Amr is { } amr)
        {
            conditions.Add(new AmrCondition([.. amr.Select(method => method.Value)]));
        }

        if (selector?.Acr is { } acr)
        {
            conditions.Add(new AcrCondition([.. acr.Select(level => level.Value)]));
        }

        return (conditions, selector?.MaxAge is { } age ? new MaxAgeCondition(age) : null);
    }
}
