using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Policy.Bundles;
using Countersign.Policy.Engine;
using Countersign.Policy.Language;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Host;

/// <summary>When one person may put a change into force at once (I3): it only takes access away, they are enrolled, and somebody is left who can give it back.</summary>
internal sealed class RemovalRules(ServiceCalls services)
{
    /// <summary>Seconds within which a removal must be in force: its grant is not kept for later.</summary>
    public const int GrantSeconds = 300;

    private const string Code = "not-a-removal";

    /// <exception cref="ProblemException">It must be asked for like any other change, and why.</exception>
    public async Task RequireAsync(AccessTokenClaims person, InForce? current, Proposal proposal, CancellationToken cancellation)
    {
        if (current is null)
        {
            throw new ProblemException(409, Code, "Nothing is in force from which anything could be taken away.");
        }

        if (await services.StandingAsync(person.Person, cancellation) is not { Enrolled: true, Disabled: false } standing)
        {
            throw new ProblemException(403, "not-enrolled", "Only an enrolled person can take access away at once.");
        }

        // A mistake of policy here changes nothing: every proxy compares by itself.
        if (Removal.WhyNot(current.Bundle, proposal.ToBundle(current.Mark.Version + 1, current.Bundle.CreatedAt)) is { } more)
        {
            throw new ProblemException(409, Code, $"This does more than taking access away: {more}. Ask for it like for any other change.");
        }

        if ((current.Envelope.Before?.Count ?? 0) >= BundleVerifier.MaxRemovals)
        {
            throw new ProblemException(
                409, Code, $"{BundleVerifier.MaxRemovals} changes in a row have taken access away without anybody else agreeing. Ask for an ordinary change first: also one that changes nothing will do.");
        }

        if (LocksOut(current.Engine.Documents, proposal, standing) is { } stuck)
        {
            throw new ProblemException(409, Code, $"{stuck} Ask for it like for any other change.");
        }
    }

    /// <summary>
    /// Where a group lost members, those who are left must still be enough for every requirement that names it, without who takes them out: else a person
    /// could alone make changes, or what the group guards, impossible for everybody.
    /// </summary>
    private static string? LocksOut(PolicySet before, Proposal proposal, PersonStanding requester)
    {
        var after = PolicyDecoder.Decode(proposal.Documents);
        var old = before.ApproverGroups.ToDictionary(group => group.Name.Value, group => group.Persons.Count, StringComparer.Ordinal);
        var groups = after.ApproverGroups.ToDictionary(group => group.Name.Value, StringComparer.Ordinal);
        var smaller = groups.Values.Where(group => group.Persons.Count < old.GetValueOrDefault(group.Name.Value)).Select(group => group.Name.Value).ToHashSet(StringComparer.Ordinal);
        var approvals = after.Settings.Select(settings => settings.ControlApproval).Concat(after.Policies.SelectMany(policy => policy.Rules.Select(rule => rule.Approval)));
        foreach (var requirement in approvals.SelectMany(approval => approval?.AllOf ?? []).Where(requirement => requirement.AnyOf.Any(group => smaller.Contains(group.Value))))
        {
            if (requirement.AnyOf.Any(group => group.Value == PolicyChecker.Enrolled))
            {
                continue;
            }

            var left = requirement.AnyOf.SelectMany(group => groups[group.Value].Persons).Select(person => person.Value).Distinct(StringComparer.OrdinalIgnoreCase)
                .Count(person => !requester.SameAs.Contains(person, StringComparer.Ordinal) && !string.Equals(person, requester.Name, StringComparison.OrdinalIgnoreCase));
            if (left < requirement.Quorum)
            {
                return $"Without them {string.Join(", ", requirement.AnyOf.Select(group => group.Value))} can't give the {requirement.Quorum} approval(s) that are asked of it.";
            }
        }

        return null;
    }
}
