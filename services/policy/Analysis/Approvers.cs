using Countersign.Policy.Language;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Analysis;

/// <summary>Who could approve under some documents, of the persons that there are: enrolled, not disabled, named by the group, and in the provider's group if there is one.</summary>
public sealed class Approvers
{
    private readonly People _people;
    private readonly Dictionary<string, HashSet<int>> _groups;

    /// <summary>Finds the members of all groups.</summary>
    public Approvers(PolicySet documents, IEnumerable<Someone> persons)
    {
        ArgumentNullException.ThrowIfNull(documents);
        _people = new People(persons);
        var enrolled = _people.All.Where(person => person is { IsHuman: true, Enrolled: true, Disabled: false }).ToList();
        _groups = documents.ApproverGroups.ToDictionary(
            group => group.Name.Value, group => Humans(enrolled.Where(person => IsIn(group, person))), StringComparer.Ordinal);
        _groups[PolicyChecker.Enrolled] = Humans(enrolled);
    }

    /// <summary>Whether there are enough different humans for all requirements of an approval at once, without the requester.</summary>
    /// <param name="approval">What must be agreed.</param>
    /// <param name="requester">Person id; who isn't known takes nobody's seat.</param>
    public bool AreEnough(ApprovalSyntax approval, string requester)
    {
        ArgumentNullException.ThrowIfNull(approval);
        var seats = approval.AllOf
            .Select(part => (part.AnyOf.SelectMany(group => _groups.TryGetValue(group.Value, out var members) ? members : []).ToHashSet(), part.Quorum)).ToList();
        return Seats.CanBeFilled(seats, _people.All.FirstOrDefault(person => person.Id == requester) is { } asking ? _people.Own(asking) : new HashSet<int>());
    }

    private HashSet<int> Humans(IEnumerable<Someone> persons) => persons.Select(person => _people.Human(person.Id)).OfType<int>().ToHashSet();

    private static bool IsIn(ApproverGroupDocument group, Someone person) =>
        group.Persons.Any(name => name.Value == person.Id || string.Equals(name.Value, person.Name, StringComparison.OrdinalIgnoreCase))
        && (group.IdpGroup is not { } narrowed || person.Groups.Contains(narrowed.Value, StringComparer.Ordinal));
}
