namespace Countersign.Identity.Persons;

/// <summary>Who counts as the same human or team (I2). Pure.</summary>
public static class SamePersons
{
    /// <summary>
    /// This person; whoever they are linked with, over any number of links; the service accounts that any of these own; and, for a service account,
    /// its owners with their own links and accounts. Two owners of one account don't become one person by that: each can still approve what the
    /// other does in their own name, but neither what the account does.
    /// </summary>
    public static IReadOnlyCollection<string> Of(string person, IReadOnlyDictionary<string, PersonRecord> persons)
    {
        var same = new SortedSet<string>(StringComparer.Ordinal) { person };
        var humans = Humans(person, persons);
        same.UnionWith(humans);
        foreach (var owner in humans.Where(persons.ContainsKey).SelectMany(id => persons[id].Owners).ToList())
        {
            same.UnionWith(Humans(owner, persons));
        }

        foreach (var account in persons.Values.Where(candidate => candidate.Owners.Any(same.Contains)))
        {
            same.Add(account.Id);
        }

        return same;
    }

    /// <summary>This person and everybody linked with them. A link counts from either side, so that one that is half written holds already.</summary>
    public static IReadOnlyCollection<string> Humans(string person, IReadOnlyDictionary<string, PersonRecord> persons)
    {
        var found = new SortedSet<string>(StringComparer.Ordinal) { person };
        var open = new Queue<string>([person]);
        while (open.TryDequeue(out var current))
        {
            var linked = persons.Values.Where(other => other.Links.Contains(current)).Select(other => other.Id);
            if (persons.TryGetValue(current, out var record))
            {
                linked = linked.Concat(record.Links);
            }

            foreach (var next in linked.ToList())
            {
                if (found.Add(next))
                {
                    open.Enqueue(next);
                }
            }
        }

        return found;
    }
}
