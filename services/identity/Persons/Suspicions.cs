namespace Countersign.Identity.Persons;

/// <summary>Which persons look like second accounts of one human (I2). A suspicion links nobody: it has to be decided before one of them is enrolled. Pure.</summary>
public static class Suspicions
{
    /// <summary>
    /// Humans who claimed the same name (letter case, blanks and accounts' sub-addresses aside) and about whom nobody has decided: they are neither linked nor
    /// said to be two. Names are mostly e-mail addresses that the provider verified, or user names.
    /// </summary>
    public static IReadOnlyList<string> Of(string person, IReadOnlyDictionary<string, PersonRecord> persons)
    {
        if (!persons.TryGetValue(person, out var record) || record.Kind != PersonKinds.Human)
        {
            return [];
        }

        var key = Key(record);
        var same = SamePersons.Humans(person, persons);
        return
        [
            .. persons.Values.Where(other => other.Kind == PersonKinds.Human && !same.Contains(other.Id) && Key(other) == key
                    && !record.Distinct.Contains(other.Id) && !other.Distinct.Contains(record.Id))
                .Select(other => other.Id).Order(StringComparer.Ordinal),
        ];
    }

    /// <summary>Persons with the same key look like one human.</summary>
    public static string Key(PersonRecord person)
    {
        ArgumentNullException.ThrowIfNull(person);
        var name = person.ClaimedName.Length > 0 ? person.ClaimedName : Unmarked(person);
        name = PersonNames.Key(string.Concat(name.Where(unit => unit != ' ')));
        var at = name.LastIndexOf('@');

        // alice+test@example.com is alice's mailbox as well.
        var plus = at > 0 ? name.IndexOf('+', 0, at) : -1;
        return plus > 0 ? string.Concat(name.AsSpan(0, plus), name.AsSpan(at)) : name;
    }

    // The mark that made a name unique: " #" and the beginning of the person's id.
    private static string Unmarked(PersonRecord person)
    {
        var mark = person.Name.LastIndexOf(" #", StringComparison.Ordinal);
        return mark > 0 && person.Id.StartsWith("per_" + person.Name[(mark + 2)..], StringComparison.Ordinal) ? person.Name[..mark] : person.Name;
    }
}
