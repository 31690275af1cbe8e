using Countersign.Approval.Notify;

namespace Countersign.Approval.Host.Notifications;

/// <summary>
/// Addresses of those who can decide: what their provider says that it is, else a display name that is one. Whoever left, was disabled or only stands in a
/// policy gets nothing: messages hold statements.
/// </summary>
internal sealed class ApproverAddresses(Directory directory) : IApproverAddresses
{
    public async ValueTask<IReadOnlyList<string>> OfAsync(IReadOnlyCollection<string> groups, NotifiedPerson requester, CancellationToken cancellation)
    {
        var members = await directory.MembersAsync(groups, cancellation);
        if (members.Count == 0)
        {
            return [];
        }

        // The requester's second accounts, and those who own what asks: they can't decide it.
        var same = (await directory.StandingAsync(requester.Person, cancellation))?.SameAs ?? [];
        var own = members.Where(person => person.Id == requester.Person || same.Contains(person.Id, StringComparer.Ordinal)).Select(Address).OfType<string>()
            .Append(requester.Name).ToHashSet(StringComparer.OrdinalIgnoreCase);
        return
        [
            .. members.Where(person => person.Id != requester.Person && !same.Contains(person.Id, StringComparer.Ordinal))
                .Select(Address).OfType<string>().Where(address => !own.Contains(address)),
        ];
    }

    private static string? Address(Identity.Contracts.PersonView person) =>
        person.Mail is { } mail && NotifyOptionsCheck.IsMailAddress(mail) ? mail : NotifyOptionsCheck.IsMailAddress(person.Name) ? person.Name : null;
}
