namespace Countersign.Policy.Contracts;

/// <summary>Compares what is asked now with what people agreed to (step 5 of the path: the grant holds only if nothing became stricter).</summary>
public static class Terms
{
    /// <summary>The same, where approvers also had to have logged in in some way.</summary>
    /// <param name="current">The decision under the bundle in force now.</param>
    /// <param name="approved">What the approvers agreed to; all of it was met.</param>
    /// <param name="assurance">How every approver had logged in, as the request asked for it; null for any login.</param>
    /// <returns>False also where the approvers of now would have to have logged in better, or more recently.</returns>
    public static bool NoStricterThan(Decision current, IReadOnlyList<ApproverRequirement> approved, ApproverAssurance? assurance) =>
        NoStricterThan(current, approved)
        && (current.Outcome != Outcome.RequireApproval || current.Terms?.Assurance is not { } needed || needed.FollowsFrom(assurance));

    /// <summary>Terms that satisfy both: everybody who must agree to either, the shortest times, and what lets more through only where both let it.</summary>
    /// <returns>Null where both are null.</returns>
    public static ApprovalTerms? Strictest(ApprovalTerms? one, ApprovalTerms? other) => one is null || other is null
        ? one ?? other
        : new ApprovalTerms
        {
            AllOf = AllOf(one.AllOf.Concat(other.AllOf)),
            ReasonRequired = one.ReasonRequired || other.ReasonRequired,
            Timeout = Shorter(one.Timeout, other.Timeout),
            GrantLifetime = Shorter(one.GrantLifetime, other.GrantLifetime),
            RefuseInTransaction = one.RefuseInTransaction || other.RefuseInTransaction,
            HoldInTransaction = Shorter(one.HoldInTransaction, other.HoldInTransaction),
            Assurance = ApproverAssurance.Strictest(one.Assurance, other.Assurance),
            LongestWindow = one.LongestWindow is { } first && other.LongestWindow is { } second ? Shorter(first, second) : null,
            BreakGlass = one.BreakGlass && other.BreakGlass,
            DryRun = one.DryRun && other.DryRun,
        };

    /// <summary>Requirements without repetition: one for the same groups, with the highest quorum, in an order that doesn't depend on theirs.</summary>
    public static IReadOnlyList<ApproverRequirement> AllOf(IEnumerable<ApproverRequirement> requirements)
    {
        ArgumentNullException.ThrowIfNull(requirements);
        var all = new SortedDictionary<string, ApproverRequirement>(StringComparer.Ordinal);
        foreach (var requirement in requirements)
        {
            string[] groups = [.. requirement.AnyOf.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
            var key = string.Join('\n', groups);
            if (!all.TryGetValue(key, out var present) || present.Quorum < requirement.Quorum)
            {
                all[key] = new ApproverRequirement(groups, requirement.Quorum);
            }
        }

        return [.. all.Values];
    }

    /// <summary>Whether a grant that was given on <paramref name="approved"/> still covers an operation that now gets <paramref name="current"/>.</summary>
    /// <param name="current">The decision under the bundle in force now.</param>
    /// <param name="approved">What the approvers agreed to; all of it was met.</param>
    /// <returns>
    /// True for an allow; false for a deny; for require approval true where every requirement of now follows from one that was met: at least as
    /// many distinct persons, out of groups that all count now too.
    /// </returns>
    public static bool NoStricterThan(Decision current, IReadOnlyList<ApproverRequirement> approved)
    {
        ArgumentNullException.ThrowIfNull(current);
        ArgumentNullException.ThrowIfNull(approved);
        return current.Outcome switch
        {
            Outcome.Allow => true,
            Outcome.RequireApproval => current.Terms is { AllOf.Count: > 0 } terms && NoStricterThan(terms.AllOf, approved),
            _ => false,
        };
    }

    /// <summary>Whether every requirement of <paramref name="current"/> follows from one in <paramref name="approved"/>.</summary>
    public static bool NoStricterThan(IReadOnlyList<ApproverRequirement> current, IReadOnlyList<ApproverRequirement> approved)
    {
        ArgumentNullException.ThrowIfNull(current);
        ArgumentNullException.ThrowIfNull(approved);
        return Covered(current, 0, approved, new bool[approved.Count]);
    }

    private static TimeSpan Shorter(TimeSpan one, TimeSpan other) => one < other ? one : other;

    // Every requirement of now needs an approved one of its own: quorums count distinct persons, so one can't stand for two.
    private static bool Covered(IReadOnlyList<ApproverRequirement> current, int next, IReadOnlyList<ApproverRequirement> approved, bool[] used)
    {
        if (next == current.Count)
        {
            return true;
        }

        var now = current[next];
        for (var index = 0; index < approved.Count; index++)
        {
            var then = approved[index];
            if (!used[index] && then.Quorum >= now.Quorum && then.AnyOf.Count > 0
                && then.AnyOf.All(group => now.AnyOf.Contains(group, StringComparer.Ordinal)))
            {
                used[index] = true;
                if (Covered(current, next + 1, approved, used))
                {
                    return true;
                }

                used[index] = false;
            }
        }

        return false;
    }
}
