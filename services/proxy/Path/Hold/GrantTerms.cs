using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Path.Hold;

/// <summary>Whether what people agreed to is enough for what the policy asks now. Asked of the signed claims, never of what approval shows.</summary>
internal static class GrantTerms
{
    /// <summary>Whether a grant covers an operation that now gets this decision.</summary>
    public static bool Cover(Decision current, GrantClaims claims) => current.Outcome switch
    {
        Outcome.Allow => true,
        Outcome.RequireApproval when current.Terms is { } terms =>
            claims.BreakGlass
                ? terms.BreakGlass && claims.Window is null
                : Terms.NoStricterThan(current, Requirements(claims.AllOf))
                    && AssuredAs(terms.Assurance, claims.Assurance)
                    && (claims.Window is not { } window || terms.LongestWindow >= TimeSpan.FromSeconds(window.Seconds)),
        _ => false,
    };

    /// <summary>Requirements as the policy names them.</summary>
    public static IReadOnlyList<ApproverRequirement> Requirements(IReadOnlyList<RequestRequirement> allOf) =>
        [.. allOf.Select(each => new ApproverRequirement(each.AnyOf, each.Quorum))];

    /// <summary>Whether logins that met <paramref name="approved"/> meet <paramref name="current"/> too.</summary>
    public static bool AssuredAs(ApproverAssurance? current, RequestAssurance? approved) =>
        current is null
        || ((current.MaxAge is not { } age || (approved?.MaxAgeSeconds is { } then && TimeSpan.FromSeconds(then) <= age))
            && current.Amr.All(method => approved?.Amr.Contains(method, StringComparer.Ordinal) == true));
}
