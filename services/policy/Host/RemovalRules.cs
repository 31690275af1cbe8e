using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Policy.Analysis;
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

        if (await services.StandingAsync(person.Person, cancellation) is not { Enrolled: true, Disabled: false })
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

        if (LocksOut(current.Engine.Documents, PolicyDecoder.Decode(proposal.Documents), person.Person, await services.PersonsAsync(cancellation)) is { } stuck)
        {
            throw new ProblemException(409, Code, $"{stuck} Ask for it like for any other change.");
        }
    }

    /// <summary>
    /// Where a group lost members, those who are left must still be enough for whatever names it, without who takes them out: else a person could alone make changes, or
    /// what the group guards, impossible for everybody. All requirements of one approval are filled at once, each seat by another human; what could not be approved before
    /// either is no reason.
    /// </summary>
    internal static string? LocksOut(PolicySet before, PolicySet after, string requester, IReadOnlyList<PersonView> persons)
    {
        var old = before.ApproverGroups.ToDictionary(group => group.Name.Value, group => group.Persons.Count, StringComparer.Ordinal);
        var smaller = after.ApproverGroups.Where(group => group.Persons.Count < old.GetValueOrDefault(group.Name.Value)).Select(group => group.Name.Value).ToHashSet(StringComparer.Ordinal);
        var everybody = persons.Select(SegregationReports.Someone).ToList();
        var (then, now) = (new Approvers(before, everybody), new Approvers(after, everybody));
        var approvals = after.Settings.Select(settings => settings.ControlApproval).Concat(after.Policies.SelectMany(policy => policy.Rules.Select(rule => rule.Approval)));
        foreach (var approval in approvals.OfType<ApprovalSyntax>().Where(approval => approval.AllOf.Any(part => part.AnyOf.Any(group => smaller.Contains(group.Value)))))
        {
            if (!now.AreEnough(approval, requester) && then.AreEnough(approval, requester))
            {
                var wanted = string.Join(" and ", approval.AllOf.Select(part => $"{part.Quorum} of {string.Join(" or ", part.AnyOf.Select(group => group.Value))}"));
                return $"Without them there are not enough different persons for {wanted}, which has to agree.";
            }
        }

        return null;
    }
}
