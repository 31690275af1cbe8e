using Countersign.Policy.Contracts;
using Countersign.Policy.Language;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Engine;

/// <summary>
/// Whether a bundle only takes access away from another one (docs/policies/removals.md), so that one person may put it into force at once (I3). Exact
/// and conservative: what isn't seen to be a removal is none. Every proxy asks this itself.
/// </summary>
public static class Removal
{
    private static readonly Dictionary<string, string> NoLabels = [];

    /// <summary>Says what of <paramref name="after"/> is more than taking away.</summary>
    /// <param name="before">The bundle in force.</param>
    /// <param name="after">The one that would follow it.</param>
    /// <returns>Null where everything that <paramref name="after"/> lets through <paramref name="before"/> let through too, on terms no stricter.</returns>
    /// <exception cref="PolicyFormatException">The documents of one of them don't decode.</exception>
    public static string? WhyNot(Bundle before, Bundle after)
    {
        ArgumentNullException.ThrowIfNull(before);
        ArgumentNullException.ThrowIfNull(after);
        return Connections(before.Connections, after.Connections)
            ?? WhyNot(PolicyDecoder.Decode(before.Documents), PolicyDecoder.Decode(after.Documents), after.Connections);
    }

    private static string? WhyNot(PolicySet before, PolicySet after, IReadOnlyList<Connection> connections) =>
        Settings(before, after) ?? Masks(before, after) ?? Groups(before, after) ?? Rules(before, after, connections);

    private static string? Connections(IReadOnlyList<Connection> before, IReadOnlyList<Connection> after)
    {
        if (Twice(after.Select(connection => connection.Name)) is { } twice)
        {
            return $"there are two connections '{twice}'";
        }

        var known = before.ToLookup(connection => connection.Name, StringComparer.Ordinal);
        foreach (var connection in after)
        {
            if (!known[connection.Name].Any())
            {
                return $"connection '{connection.Name}' is new";
            }

            if (!known[connection.Name].Any(old => Same(old, connection)))
            {
                return $"connection '{connection.Name}' is another one than before";
            }
        }

        return null;
    }

    private static bool Same(Connection one, Connection other) =>
        one with { Labels = NoLabels } == other with { Labels = NoLabels }
        && one.Labels.Count == other.Labels.Count
        && one.Labels.All(label => other.Labels.TryGetValue(label.Key, out var value) && value == label.Value);

    /// <summary>Who must agree to changes stays.</summary>
    private static string? Settings(PolicySet before, PolicySet after)
    {
        var one = before.Settings.Select(settings => settings.Source).Order(StringComparer.Ordinal);
        var other = after.Settings.Select(settings => settings.Source).Order(StringComparer.Ordinal);
        return one.SequenceEqual(other, StringComparer.Ordinal) ? null : "the settings are other ones than before";
    }

    /// <summary>All masks stay. More of them only hide more.</summary>
    private static string? Masks(PolicySet before, PolicySet after)
    {
        var kept = after.MaskSets.Select(set => set.Source).ToHashSet(StringComparer.Ordinal);
        return before.MaskSets.Where(set => !kept.Contains(set.Source)).Select(set => $"mask set '{set.Name.Value}' is gone or changed").FirstOrDefault();
    }

    /// <summary>Groups lose members, gain none, and may be narrowed to a group of the provider.</summary>
    private static string? Groups(PolicySet before, PolicySet after)
    {
        if (Twice(after.ApproverGroups.Select(group => group.Name.Value)) is { } twice)
        {
            return $"there are two approver groups '{twice}'";
        }

        foreach (var group in after.ApproverGroups)
        {
            var old = before.ApproverGroups.FirstOrDefault(known => known.Name.Value == group.Name.Value);
            if (old is null)
            {
                return $"approver group '{group.Name.Value}' is new";
            }

            if (old.IdpGroup is { } narrowed && group.IdpGroup?.Value != narrowed.Value)
            {
                return $"approver group '{group.Name.Value}' is no longer narrowed to '{narrowed.Value}'";
            }

            var members = old.Persons.Select(person => person.Value).ToHashSet(StringComparer.OrdinalIgnoreCase);
            if (group.Persons.Select(person => person.Value).FirstOrDefault(person => !members.Contains(person)) is { } added)
            {
                return $"'{added}' comes into approver group '{group.Name.Value}'";
            }
        }

        return null;
    }

    private static string? Rules(PolicySet before, PolicySet after, IReadOnlyList<Connection> connections)
    {
        var old = Enforced(before);
        var next = Enforced(after);
        var oldKeys = old.Select(Key).ToHashSet();
        var nextKeys = next.Select(Key).ToHashSet();
        if (next.FirstOrDefault(rule => rule.Rule.Effect != Outcome.Deny && !oldKeys.Contains(Key(rule))) is { Rule: not null } widening)
        {
            return $"rule {widening.FullName} is new or changed, and doesn't deny";
        }

        var gone = old.Where(rule => !nextKeys.Contains(Key(rule))).ToList();
        if (gone.FirstOrDefault(rule => rule.Rule.Effect == Outcome.Deny) is { Rule: not null } denied)
        {
            return $"rule {denied.FullName} no longer denies what it did";
        }

        // A rule that holds, or has terms, limits what others let through as well: it may go only together with all of them.
        foreach (var rule in gone.Where(rule => rule.Rule.Effect == Outcome.RequireApproval || rule.Rule.Obligations is not null || rule.Rule.Approval is not null))
        {
            foreach (var connection in connections.Where(connection => Applies(rule.Rule, connection)))
            {
                if (next.FirstOrDefault(other => other.Rule.Effect != Outcome.Deny && Applies(other.Rule, connection)) is { Rule: not null } left)
                {
                    return $"without the terms of rule {rule.FullName}, rule {left.FullName} might let more through on '{connection.Name}'";
                }
            }
        }

        return null;
    }

    private static bool Applies(RuleSyntax rule, Connection connection) => ConnectionMatch.Matches(rule.When.Connections, connection.Name, connection.Labels);

    private static List<NamedRule> Enforced(PolicySet set) =>
        [.. set.Policies.SelectMany(policy => policy.Rules.Where(rule => !rule.Shadow).Select(rule => new NamedRule(policy.Name.Value, rule)))];

    private static (string Policy, string Source) Key(NamedRule rule) => (rule.Policy, rule.Rule.Source);

    private static string? Twice(IEnumerable<string> names) => names.GroupBy(name => name, StringComparer.Ordinal).FirstOrDefault(same => same.Count() > 1)?.Key;

    private readonly record struct NamedRule(string Policy, RuleSyntax Rule)
    {
        public string FullName => $"{Policy}/{Rule.Name.Value}";
    }
}
