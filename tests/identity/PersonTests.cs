using Countersign.Identity.Persons;
using CsCheck;

namespace Countersign.Identity.Tests;

/// <summary>Pure parts of persons: who is the same, what a change says, what a name may hold.</summary>
[Trait("group", "unit")]
public sealed class PersonTests
{
    private static PersonRecord Human(string id, params string[] links)
        => new() { Id = id, Name = id, Kind = PersonKinds.Human, Links = links, CreatedAt = default };

    private static PersonRecord Account(string id, params string[] owners)
        => new() { Id = id, Name = id, Kind = PersonKinds.Service, Owners = owners, CreatedAt = default };

    private static Dictionary<string, PersonRecord> Set(params PersonRecord[] persons) => persons.ToDictionary(person => person.Id);

    [Fact]
    public void Links_count_from_either_side_and_over_any_number_of_steps()
    {
        var persons = Set(Human("a", "b"), Human("b"), Human("c", "b"), Human("d"));
        Assert.Equal(["a", "b", "c"], SamePersons.Of("a", persons));
        Assert.Equal(["a", "b", "c"], SamePersons.Of("c", persons));
        Assert.Equal(["d"], SamePersons.Of("d", persons));
        Assert.Equal(["unknown"], SamePersons.Of("unknown", persons));
    }

    [Fact]
    public void A_service_account_counts_as_all_its_owners_in_all_their_guises_and_each_owner_as_the_account()
    {
        var persons = Set(Human("a", "a2"), Human("a2"), Human("b"), Account("s", "a", "b"), Account("t", "a2"));
        Assert.Equal(["a", "a2", "b", "s", "t"], SamePersons.Of("s", persons));
        Assert.Equal(["a", "a2", "s", "t"], SamePersons.Of("a", persons));
        Assert.Equal(["b", "s"], SamePersons.Of("b", persons));
    }

    [Fact]
    public void Being_the_same_human_is_an_equivalence_and_standing_never_forgets_it()
    {
        var graph = Gen.Select(Gen.Int[1, 7], Gen.Int[0, 6].Array[0, 8], Gen.Int[0, 6].Array[0, 8]);
        graph.Sample((count, from, to) =>
        {
            var links = from.Zip(to).Where(pair => pair.First < count && pair.Second < count && pair.First != pair.Second).ToList();
            var persons = Enumerable.Range(0, count).Select(n => Human($"p{n}", [.. links.Where(link => link.First == n).Select(link => $"p{link.Second}")]))
                .ToDictionary(person => person.Id);
            foreach (var one in persons.Keys)
            {
                var same = SamePersons.Humans(one, persons);
                Assert.Contains(one, same);
                Assert.True(SamePersons.Of(one, persons).ToHashSet().IsSupersetOf(same));
                Assert.All(same, other => Assert.Equal(same, SamePersons.Humans(other, persons)));
            }
        }, iter: 500);
    }

    [Fact]
    public void An_owner_is_never_outside_of_what_the_account_counts_as()
    {
        var graph = Gen.Select(Gen.Int[0, 4].Array[1, 5], Gen.Int[0, 4].Array[0, 6], Gen.Int[0, 4].Array[0, 6]);
        graph.Sample((owners, from, to) =>
        {
            var persons = Enumerable.Range(0, 5).Select(n => Human($"p{n}", [.. from.Zip(to).Where(link => link.First == n && link.Second != n).Select(link => $"p{link.Second}")]))
                .Append(Account("s", [.. owners.Select(owner => $"p{owner}").Distinct()])).ToDictionary(person => person.Id);
            var same = SamePersons.Of("s", persons);
            Assert.All(owners, owner => Assert.All(SamePersons.Humans($"p{owner}", persons), guise => Assert.Contains(guise, same)));
            Assert.All(owners, owner => Assert.Contains("s", SamePersons.Of($"p{owner}", persons)));
        }, iter: 500);
    }

    [Fact]
    public void The_change_document_is_frozen()
    {
        var change = new IdentityChange(ChangeKinds.Enrol, ["per_b"], "björn@example.test");
        Assert.Equal("""{"change":"enrol","name":"bj\u00f6rn@example.test","persons":["per_b"],"version":1}""", change.ToDocument());
        Assert.Equal("5a1782024eb99b6c92a78d6f6aab4fff4efdd9b30ba5ab4f77c415f53eef83b6", change.Digest());
        var account = new IdentityChange(ChangeKinds.ServiceAccount, ["per_s", "per_a", "per_b"], "a\"b\\c\n\u202e");
        Assert.Equal("""{"change":"service-account","name":"a\u0022b\u005cc\u000a\u202e","persons":["per_s","per_a","per_b"],"version":1}""", account.ToDocument());
    }

    [Fact]
    public void A_team_makes_the_document_another_version_and_documents_without_one_stay_what_they_were()
    {
        var account = new IdentityChange(ChangeKinds.Owners, ["per_s", "per_a"], "etl", "team\"x");
        Assert.Equal("""{"change":"owners","name":"etl","persons":["per_s","per_a"],"team":"team\u0022x","version":2}""", account.ToDocument());
        Assert.Equal("""{"change":"owners","name":"etl","persons":["per_s","per_a"],"version":1}""", (account with { Team = "" }).ToDocument());
    }

    [Theory]
    [InlineData("alice@example.com", "ALICE@Example.com", true)]
    [InlineData("alice@example.com", "alice+ops@example.com", true)]
    [InlineData("alice+a@example.com", "alice+b@example.com", true)]
    [InlineData("Alice Smith", "alicesmith", true)]
    [InlineData("alice@example.com", "alice@example.org", false)]
    [InlineData("alice@example.com", "bob@example.com", false)]
    [InlineData("+a@example.com", "+b@example.com", false)]
    public void Accounts_of_one_address_look_like_one_human(string one, string other, bool alike)
    {
        var persons = Set(Human("a") with { ClaimedName = one }, Human("b") with { ClaimedName = other }, Account("s") with { ClaimedName = one });
        Assert.Equal(alike ? ["b"] : [], Suspicions.Of("a", persons));
        Assert.Equal(alike ? ["a"] : [], Suspicions.Of("b", persons));
        persons["b"] = persons["b"] with { Distinct = ["a"] };
        Assert.Empty(Suspicions.Of("a", persons));
        persons["b"] = persons["b"] with { Distinct = [], Links = ["a"] };
        Assert.Empty(Suspicions.Of("a", persons));
    }

    [Fact]
    public void Persons_of_before_are_compared_without_the_mark_that_made_their_names_unique()
    {
        var persons = Set(Human("per_abcdef") with { Name = "alice@x.org #abcd" }, Human("per_zz") with { Name = "alice@x.org" }, Human("per_yy") with { Name = "alice@x.org #abcd" });
        Assert.Equal(["per_zz"], Suspicions.Of("per_abcdef", persons));
    }

    [Fact]
    public void Documents_of_different_changes_differ()
    {
        static Gen<string> OneOf(params string[] values) => Gen.Int[0, values.Length - 1].Select(index => values[index]);
        var texts = Gen.Select(OneOf(ChangeKinds.Enrol, ChangeKinds.Link, ChangeKinds.Unlink), OneOf("a", "b", "a\",\"b", "é").Array[1, 3], OneOf("", "x", "\"", "\\u0022"));
        Gen.Select(texts, texts).Sample((left, right) =>
        {
            var one = new IdentityChange(left.Item1, left.Item2, left.Item3);
            var other = new IdentityChange(right.Item1, right.Item2, right.Item3);
            var equal = one.Kind == other.Kind && one.Name == other.Name && one.Persons.SequenceEqual(other.Persons);
            Assert.Equal(equal, one.ToDocument() == other.ToDocument());
        }, iter: 3000);
    }

    [Theory]
    [InlineData("alice@example.test", "alice@example.test")]
    [InlineData("  Alice\u00a0A  ", "Alice A")]
    [InlineData("ali\u200bce\u202e\u0000\n", "alice")]
    [InlineData("\u200b", "unnamed")]
    [InlineData("e\u0301", "e\u0301")]
    public void Names_hold_nothing_that_deceives(string given, string expected) => Assert.Equal(expected, PersonNames.Clean(given));

    [Fact]
    public void Ids_follow_from_issuer_and_subject_and_keep_them_apart()
    {
        Assert.Equal("per_ohu74wcpuc24hiw4kux64jf6qb", Ids.OfPrincipal("per_", "https://idp.example", "alice"));
        Assert.NotEqual(Ids.OfPrincipal("per_", "a", "bc"), Ids.OfPrincipal("per_", "ab", "c"));
        Assert.NotEqual(Ids.OfPrincipal("per_", "1:a", "x"), Ids.OfPrincipal("per_", "1", ":ax"));
    }
}
