namespace Countersign.Approval.Workflow;

/// <summary>Whether people suffice. A person counts for one seat of one requirement, however many groups or accounts they have.</summary>
public static class Quorum
{
    /// <summary>Whether two persons count as the same one.</summary>
    public static bool Same(Vote left, Vote right) =>
        left.Person == right.Person || left.SameAs.Contains(right.Person, StringComparer.Ordinal) || right.SameAs.Contains(left.Person, StringComparer.Ordinal);

    /// <summary>How many distinct persons are still needed; 0 where all requirements are met.</summary>
    /// <param name="requirements">All of them must be met.</param>
    /// <param name="votes">Votes; only approvals count.</param>
    public static int Missing(IReadOnlyList<SpecRequirement> requirements, IReadOnlyList<Vote> votes)
    {
        var people = People(votes);
        var seats = requirements.SelectMany(requirement => Enumerable.Repeat(requirement, requirement.Quorum)).ToList();
        var taken = new int[people.Count];
        Array.Fill(taken, -1);
        var filled = 0;
        for (var seat = 0; seat < seats.Count; seat++)
        {
            if (TryFill(seat, seats, people, taken, new bool[people.Count]))
            {
                filled++;
            }
        }

        return seats.Count - filled;
    }

    /// <summary>Whether what one list of requirements asks for is at least what another one does, so that agreement to the first holds for the second.</summary>
    public static bool Covers(IReadOnlyList<SpecRequirement> held, IReadOnlyList<SpecRequirement> asked) => Covers(held, asked, 0, new bool[held.Count]);

    private static bool Covers(IReadOnlyList<SpecRequirement> held, IReadOnlyList<SpecRequirement> asked, int next, bool[] used)
    {
        if (next == asked.Count)
        {
            return true;
        }

        for (var index = 0; index < held.Count; index++)
        {
            if (used[index]
                || held[index].Quorum < asked[next].Quorum
                || !held[index].AnyOf.All(group => asked[next].AnyOf.Contains(group, StringComparer.Ordinal)))
            {
                continue;
            }

            used[index] = true;
            if (Covers(held, asked, next + 1, used))
            {
                return true;
            }

            used[index] = false;
        }

        return false;
    }

    // Augmenting paths (bipartite matching of seats and people): greedy filling would depend on the order of approvals.
    private static bool TryFill(int seat, List<SpecRequirement> seats, List<HashSet<string>> people, int[] taken, bool[] tried)
    {
        for (var person = 0; person < people.Count; person++)
        {
            if (tried[person] || !seats[seat].AnyOf.Any(people[person].Contains))
            {
                continue;
            }

            tried[person] = true;
            if (taken[person] < 0 || TryFill(taken[person], seats, people, taken, tried))
            {
                taken[person] = seat;
                return true;
            }
        }

        return false;
    }

    /// <summary>The groups of each distinct person who approved.</summary>
    private static List<HashSet<string>> People(IReadOnlyList<Vote> votes)
    {
        var clusters = new List<List<Vote>>();
        foreach (var vote in votes.Where(vote => vote.Approved))
        {
            var joined = new List<Vote> { vote };
            foreach (var cluster in clusters.Where(cluster => cluster.Any(other => Same(other, vote))).ToList())
            {
                joined.AddRange(cluster);
                clusters.Remove(cluster);
            }

            clusters.Add(joined);
        }

        return [.. clusters.Select(cluster => cluster.SelectMany(vote => vote.Groups).ToHashSet(StringComparer.Ordinal))];
    }
}
