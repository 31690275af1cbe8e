using System.Collections.Frozen;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Engine.Conditions;

internal sealed class GroupsCondition(IEnumerable<string> groups) : Condition("principals.groups")
{
    private readonly FrozenSet<string> _groups = groups.ToFrozenSet(StringComparer.Ordinal);

    internal override bool Holds(in Subject subject)
    {
        foreach (var group in subject.Input.Principal.Groups)
        {
            if (_groups.Contains(group))
            {
                return true;
            }
        }

        return false;
    }

    internal override string Explain(in Subject subject, bool holds) =>
        holds ? $"in {List(subject.Input.Principal.Groups.Where(_groups.Contains))}" : $"needs one of the groups {List(_groups.Order(StringComparer.Ordinal))}; has {(subject.Input.Principal.Groups.Count == 0 ? "none" : List(subject.Input.Principal.Groups))}";

    internal override string? Change(in Subject subject, bool toHold) => toHold ? $"You lack the group {List(_groups.Order(StringComparer.Ordinal))}." : null;
}

internal sealed class PersonsCondition(IEnumerable<string> persons) : Condition("principals.persons")
{
    private readonly FrozenSet<string> _persons = persons.ToFrozenSet(StringComparer.OrdinalIgnoreCase);

    internal override bool Holds(in Subject subject) => Contains(_persons, subject.Input.Principal);

    internal static bool Contains(FrozenSet<string> persons, PrincipalFacts principal) => persons.Contains(principal.Person) || persons.Contains(principal.Name);

    internal override string Explain(in Subject subject, bool holds) => holds ? $"is {subject.Input.Principal.Name}" : $"{subject.Input.Principal.Name} is not among the persons named";

    internal override string? Change(in Subject subject, bool toHold) => toHold ? "The rule is for other persons." : null;
}

internal sealed class KindCondition(string kind) : Condition("principals.kind")
{
    internal override bool Holds(in Subject subject) => subject.Input.Principal.Kind == kind;

    internal override string Explain(in Subject subject, bool holds) => $"{subject.Input.Principal.Kind}{(holds ? "" : $", not {kind}")}";
}

internal sealed class AmrCondition(IReadOnlyList<string> methods) : Condition("principals.amr")
{
    internal override bool Holds(in Subject subject)
    {
        foreach (var method in methods)
        {
            if (!subject.Input.Principal.Amr.Contains(method, StringComparer.Ordinal))
            {
                return false;
            }
        }

        return true;
    }

    internal override string Explain(in Subject subject, bool holds) => holds ? $"authenticated by {List(methods)}" : $"needs authentication by {List(methods)}; was {List(subject.Input.Principal.Amr)}";

    internal override string? Change(in Subject subject, bool toHold) => toHold ? $"Log in again with {List(methods)}." : null;
}

internal sealed class AcrCondition(IReadOnlyList<string> levels) : Condition("principals.acr")
{
    internal override bool Holds(in Subject subject) => subject.Input.Principal.Acr is { } acr && levels.Contains(acr, StringComparer.Ordinal);

    internal override string Explain(in Subject subject, bool holds) => holds ? $"assurance {subject.Input.Principal.Acr}" : $"needs assurance {List(levels)}; has {subject.Input.Principal.Acr ?? "none"}";

    internal override string? Change(in Subject subject, bool toHold) => toHold ? $"Log in again with assurance {List(levels)}." : null;
}

internal sealed class MaxAgeCondition(TimeSpan age) : Condition("principals.max_age")
{
    internal override bool Dynamic => true;

    // An authentication in the future is a clock that can't be trusted, and as stale as one that is too old.
    internal override bool Holds(in Subject subject)
    {
        var since = subject.Input.Now - subject.Input.Principal.AuthenticatedAt;
        return since <= age && since >= TimeSpan.FromSeconds(-5);
    }

    internal override string Explain(in Subject subject, bool holds) =>
        $"authenticated {Durations.Format(subject.Input.Now - subject.Input.Principal.AuthenticatedAt)} ago, at most {Durations.Format(age)}";

    internal override string? Change(in Subject subject, bool toHold) => toHold ? $"Log in again: the rule wants a login of the last {Durations.Format(age)}." : null;
}

/// <summary>Precomputed for each connection, so that it costs one comparison.</summary>
internal sealed class ConnectionsCondition(ConnectionSelector selector) : Condition("connections")
{
    internal override bool Holds(in Subject subject) => ConnectionMatch.Matches(selector, subject.Connection.Name, subject.Connection.Labels);

    internal override string Explain(in Subject subject, bool holds) => holds ? $"connection {subject.Connection.Name}" : $"connection {subject.Connection.Name} is not selected by its name and labels";
}

internal sealed class ProtocolCondition(string protocol) : Condition("protocol")
{
    internal override bool Holds(in Subject subject) => subject.Input.Facts.Protocol == protocol;

    internal override string Explain(in Subject subject, bool holds) => subject.Input.Facts.Protocol;
}
