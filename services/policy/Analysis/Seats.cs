namespace Countersign.Policy.Analysis;

/// <summary>Whether some humans are enough for some requirements: each fills one seat only, whatever groups they are in.</summary>
internal static class Seats
{
    /// <summary>Whether all seats can be filled with distinct humans.</summary>
    /// <param name="requirements">Who could fill a seat of each requirement, and how many it has.</param>
    /// <param name="without">Who fills none.</param>
    public static bool CanBeFilled(IReadOnlyList<(HashSet<int> Candidates, int Quorum)> requirements, IReadOnlySet<int> without)
    {
        var seats = requirements.SelectMany(requirement => Enumerable.Repeat(requirement.Candidates, requirement.Quorum)).ToList();
        var taken = new Dictionary<int, int>();
        for (var seat = 0; seat < seats.Count; seat++)
        {
            if (!Fill(seat, seats, without, taken, []))
            {
                return false;
            }
        }

        return true;
    }

    // Augmenting paths (Kuhn): who sits somewhere moves over if there is another seat for them.
    private static bool Fill(int seat, List<HashSet<int>> seats, IReadOnlySet<int> without, Dictionary<int, int> taken, HashSet<int> asked)
    {
        foreach (var human in seats[seat])
        {
            if (without.Contains(human) || !asked.Add(human))
            {
                continue;
            }

            if (!taken.TryGetValue(human, out var other) || Fill(other, seats, without, taken, asked))
            {
                taken[human] = seat;
                return true;
            }
        }

        return false;
    }
}
