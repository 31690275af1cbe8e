using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Path.Hold;

/// <summary>What must be agreed for several operations at once: all that any of them needs, in the shortest of their times.</summary>
public static class AskedTerms
{
    /// <summary>A request with the terms filled in; what is asked for, by whom and where is still to be.</summary>
    /// <param name="terms">Terms of each operation, at least one.</param>
    public static CreateRequest Of(IReadOnlyCollection<ApprovalTerms> terms)
    {
        ArgumentNullException.ThrowIfNull(terms);
        var assurances = terms.Select(each => each.Assurance).OfType<ApproverAssurance>().ToList();
        return new CreateRequest
        {
            Kind = RequestKind.Operation,
            Assertion = "",
            Operations = [],
            AllOf = [.. terms.SelectMany(each => each.AllOf).Select(each => new RequestRequirement(each.AnyOf, each.Quorum)).DistinctBy(Key)],
            TimeoutSeconds = (int)terms.Min(each => each.Timeout).TotalSeconds,
            GrantLifetimeSeconds = (int)terms.Min(each => each.GrantLifetime).TotalSeconds,
            ReasonRequired = terms.Any(each => each.ReasonRequired),
            BreakGlassAllowed = terms.All(each => each.BreakGlass),
            Assurance = assurances.Count == 0
                ? null
                : new RequestAssurance(
                    assurances.Min(each => each.MaxAge) is { } age ? (int)age.TotalSeconds : null,
                    [.. assurances.SelectMany(each => each.Amr).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)]),
        };
    }

    private static string Key(RequestRequirement requirement) =>
        $"{requirement.Quorum}:{string.Join('\n', requirement.AnyOf.Order(StringComparer.Ordinal))}";
}
