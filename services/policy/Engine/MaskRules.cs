using Countersign.Policy.Contracts;
using Countersign.Policy.Engine.Conditions;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Engine;

/// <summary>The mask sets of one connection. All of them apply, except where the principal is exempt from one.</summary>
internal sealed class MaskRules
{
    /// <summary>Strategies from weak to strong, as masking orders them: the stricter wins where two sets name the same column.</summary>
    private static readonly string[] Strength = ["last4", "hash", "redact", "null"];

    private readonly (MaskSetDocument Set, IReadOnlyList<Condition> Exempt, Condition? Age)[] _sets;

    internal MaskRules(IEnumerable<MaskSetDocument> sets, Connection connection) => _sets =
        [.. sets.Where(set => ConnectionMatch.Matches(set.Connections, connection.Name, connection.Labels))
            .OrderBy(set => set.Name.Value, StringComparer.Ordinal)
            .Select(set =>
            {
                var (conditions, age) = CompiledRule.Selector(set.Exempt);
                return (set, conditions, age);
            })];

    internal (IReadOnlyList<ColumnMask> Masks, IReadOnlyList<string> Detectors) For(in Subject subject, ref bool dynamic)
    {
        var masks = new SortedDictionary<string, ColumnMask>(StringComparer.Ordinal);
        var detectors = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var (set, exempt, age) in _sets)
        {
            if (set.Exempt is not null && IsExempt(exempt, age, subject, ref dynamic))
            {
                continue;
            }

            foreach (var column in set.Columns)
            {
                var mask = column.Value;
                var key = $"{mask.Schema}\n{mask.Relation}\n{mask.Column}";
                if (!masks.TryGetValue(key, out var present) || Array.IndexOf(Strength, present.Strategy) < Array.IndexOf(Strength, mask.Strategy))
                {
                    masks[key] = mask;
                }
            }

            foreach (var detector in set.Detectors)
            {
                detectors.Add(detector.Value);
            }
        }

        return ([.. masks.Values], [.. detectors]);
    }

    private static bool IsExempt(IReadOnlyList<Condition> conditions, Condition? age, in Subject subject, ref bool dynamic)
    {
        foreach (var condition in conditions)
        {
            if (!condition.Holds(subject))
            {
                return false;
            }
        }

        if (age is null)
        {
            return conditions.Count > 0;
        }

        dynamic = true;
        return age.Holds(subject);
    }
}
