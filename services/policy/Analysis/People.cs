namespace Countersign.Policy.Analysis;

/// <summary>A person as identity knows them.</summary>
/// <param name="Id">Person id.</param>
/// <param name="Name">Display name.</param>
/// <param name="IsHuman">False for a service account.</param>
/// <param name="Enrolled">Whether they may approve.</param>
/// <param name="Disabled">Whether they may do nothing.</param>
/// <param name="Links">Persons that are the same human, over any number of links.</param>
/// <param name="Owners">Owners of a service account.</param>
/// <param name="Team">Group of the provider that owns the account too; empty for none.</param>
/// <param name="Groups">Groups of the provider.</param>
/// <param name="Suspected">Persons that look like the same human and about whom nobody has decided.</param>
public sealed record Someone(
    string Id, string Name, bool IsHuman, bool Enrolled, bool Disabled, IReadOnlyList<string> Links, IReadOnlyList<string> Owners, string Team,
    IReadOnlyList<string> Groups, IReadOnlyList<string> Suspected);

/// <summary>Persons, with linked accounts taken for the one human that they are (I2).</summary>
internal sealed class People
{
    private readonly Dictionary<string, int> _human = new(StringComparer.Ordinal);
    private readonly List<string> _names = [];

    public People(IEnumerable<Someone> persons)
    {
        All = [.. persons.DistinctBy(person => person.Id).OrderBy(person => person.Name, StringComparer.OrdinalIgnoreCase).ThenBy(person => person.Id, StringComparer.Ordinal)];
        var known = All.ToDictionary(person => person.Id, StringComparer.Ordinal);
        foreach (var person in All.Where(person => person.IsHuman && !_human.ContainsKey(person.Id)))
        {
            var same = Closure(person, known);
            foreach (var each in same)
            {
                _human[each] = _names.Count;
            }

            var names = All.Where(other => same.Contains(other.Id)).Select(other => other.Name).ToList();
            _names.Add(names.Count == 1 ? names[0] : $"{names[0]} ({string.Join(", ", names.Skip(1))})");
        }
    }

    /// <summary>Everybody, by name.</summary>
    public IReadOnlyList<Someone> All { get; }

    /// <summary>Humans that may log in under one of their accounts.</summary>
    public IEnumerable<int> Humans => All.Where(person => person.IsHuman && !person.Disabled).Select(person => _human[person.Id]).Distinct();

    /// <summary>Name of a human, with those of their other accounts.</summary>
    public string Name(int human) => _names[human];

    /// <summary>Which human a person is; null for service accounts.</summary>
    public int? Human(string person) => _human.TryGetValue(person, out var human) ? human : null;

    /// <summary>Humans that may approve nothing of what this person asks for.</summary>
    public IReadOnlySet<int> Own(Someone person)
    {
        if (person.IsHuman)
        {
            return new HashSet<int> { _human[person.Id] };
        }

        var team = person.Team.Length == 0 ? [] : All.Where(other => other.IsHuman && other.Groups.Contains(person.Team, StringComparer.Ordinal)).Select(other => other.Id);
        return person.Owners.Concat(team).Select(Human).OfType<int>().ToHashSet();
    }

    // Links count from either side, as identity does it.
    private HashSet<string> Closure(Someone person, Dictionary<string, Someone> known)
    {
        var found = new HashSet<string>(StringComparer.Ordinal) { person.Id };
        var open = new Queue<string>(found);
        while (open.TryDequeue(out var current))
        {
            var next = (known.TryGetValue(current, out var record) ? record.Links : []).Concat(All.Where(other => other.Links.Contains(current, StringComparer.Ordinal)).Select(other => other.Id));
            foreach (var each in next.Where(found.Add).ToList())
            {
                open.Enqueue(each);
            }
        }

        return found;
    }
}
