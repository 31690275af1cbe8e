using Countersign.Approval.Notify;

namespace Countersign.Approval.Host.Notifications;

/// <summary>Addresses of approvers: their display names, where those are addresses. Enrolled persons that policy names only by a provider's group aren't known here.</summary>
internal sealed class ApproverAddresses(Directory directory) : IApproverAddresses
{
    public async ValueTask<IReadOnlyList<string>> OfAsync(IReadOnlyCollection<string> groups, NotifiedPerson requester, CancellationToken cancellation)
    {
        var addresses = new List<string>();
        foreach (var group in groups)
        {
            foreach (var member in await directory.MembersAsync(group, cancellation))
            {
                if (member == requester.Person || string.Equals(member, requester.Name, StringComparison.OrdinalIgnoreCase))
                {
                    continue;
                }

                if (NotifyOptionsCheck.IsMailAddress(member))
                {
                    addresses.Add(member);
                }
                else if (await directory.StandingAsync(member, cancellation) is { Enrolled: true, Disabled: false } standing
                    && !standing.SameAs.Contains(requester.Person, StringComparer.Ordinal) && NotifyOptionsCheck.IsMailAddress(standing.Name))
                {
                    addresses.Add(standing.Name);
                }
            }
        }

        return addresses;
    }
}
