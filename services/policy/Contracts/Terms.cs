namespace Countersign.Policy.Contracts;

/// <summary>Compares what is asked now with what people agreed to (step 5 of the path: the grant holds only if nothing became stricter).</summary>
public static class Terms
{
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
