using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Path.Hold;

/// <summary>Step 5: a grant holds only if the decision of now is allow, or asks for no more than what was approved.</summary>
internal static class TermsComparison
{
    /// <summary>Whether what was approved satisfies the decision of now.</summary>
    public static bool NoStricter(Decision now, IReadOnlyList<RequestRequirement> approved) => now.Outcome switch
    {
        Outcome.Allow => true,
        Outcome.RequireApproval when now.Terms is { } terms => Covered(terms.AllOf, 0, approved, new bool[approved.Count]),
        _ => false,
    };

    // Every requirement of now needs an approved one of its own: one quorum can't stand for two, since quorums count distinct persons.
    private static bool Covered(IReadOnlyList<ApproverRequirement> now, int next, IReadOnlyList<RequestRequirement> approved, bool[] used)
    {
        if (next == now.Count)
        {
            return true;
        }

        for (var index = 0; index < approved.Count; index++)
        {
            if (!used[index]
                && approved[index].Quorum >= now[next].Quorum
                && approved[index].AnyOf.All(group => now[next].AnyOf.Contains(group, StringComparer.Ordinal)))
            {
                used[index] = true;
                if (Covered(now, next + 1, approved, used))
                {
                    return true;
                }

                used[index] = false;
            }
        }

        return false;
    }
}
