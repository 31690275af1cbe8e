using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Policy.Host;
using Countersign.Policy.Language;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Tests.Host;

/// <summary>Who takes others out of approver groups alone must leave enough who can put them back (I3).</summary>
[Trait("group", "unit")]
public sealed class LockOutTests
{
    private const string Both = "control_approval: {all_of: [{any_of: [sec], quorum: 1}, {any_of: [ops], quorum: 1}]}";

    private static readonly PersonView Alice = Person("alice");
    private static readonly PersonView Bob = Person("bob");
    private static readonly PersonView Carol = Person("carol");
    private static readonly PersonView Dave = Person("dave");

    [Fact]
    public void One_person_can_not_be_left_for_two_seats()
    {
        // Each requirement by itself would still have its one person: bob, for both.
        Assert.Contains("not enough different persons for 1 of sec and 1 of ops", Check(Both, ["bob", "carol"], ["bob", "dave"], ["bob"], ["bob"], "alice"), StringComparison.Ordinal);
        Assert.Null(Check(Both, ["bob", "carol"], ["bob", "dave"], ["bob"], ["bob", "dave"], "alice"));

        // Who takes somebody out fills no seat of what they ask for next.
        Assert.NotNull(Check(Both, ["bob", "carol"], ["bob", "dave"], ["bob", "carol"], ["bob"], "carol"));
        Assert.NotNull(Check(Both.Replace("[ops]", "[sec]", StringComparison.Ordinal), ["bob", "carol", "dave"], ["dave"], ["bob"], ["dave"], "alice"));
    }

    [Theory]
    [InlineData("enrolled")]
    [InlineData("disabled")]
    [InlineData("linked")]
    [InlineData("service")]
    [InlineData("unknown")]
    public void Only_persons_who_can_approve_are_left(string dave)
    {
        var left = dave switch
        {
            "enrolled" => Dave with { Enrolled = false },
            "disabled" => Dave with { Disabled = true },
            "linked" => Dave with { Links = ["per_bob"] },
            "service" => Dave with { Kind = "service" },
            _ => Dave with { Name = "somebody@example.com", Id = "per_else" },
        };
        const string Control = "control_approval: {groups: [sec], quorum: 2}";
        Assert.Null(Check(Control, ["bob", "carol", "dave"], [], ["bob", "dave"], [], "alice"));
        Assert.NotNull(Check(Control, ["bob", "carol", "dave"], [], ["bob", "dave"], [], "alice", left));
    }

    [Fact]
    public void What_nobody_could_approve_before_is_no_reason_and_neither_is_a_group_that_is_as_it_was()
    {
        const string Control = "control_approval: {groups: [sec], quorum: 3}";
        Assert.Null(Check(Control, ["bob", "carol"], ["dave"], ["bob"], ["dave"], "alice"));
        Assert.Null(Check(Both, ["bob"], ["bob", "dave"], ["bob"], ["bob", "dave"], "alice"));
        Assert.Null(Check("control_approval: {groups: [enrolled]}", ["bob", "carol"], [], ["bob"], [], "alice"));
    }

    private static string? Check(string control, string[] sec, string[] ops, string[] secLeft, string[] opsLeft, string requester, PersonView? dave = null) =>
        RemovalRules.LocksOut(Documents(control, sec, ops), Documents(control, secLeft, opsLeft), $"per_{requester}", [Alice, Bob, Carol, dave ?? Dave]);

    private static PolicySet Documents(string control, string[] sec, string[] ops) => PolicyDecoder.Decode(
    [
        new BundleDocument("a.yaml", $"apiVersion: countersign/v1\nkind: Settings\nname: s\n{control}\n---\n{Group("sec", sec)}---\n{Group("ops", ops.Length == 0 ? ["nobody"] : ops)}"),
    ]);

    private static string Group(string name, string[] persons) =>
        $"apiVersion: countersign/v1\nkind: ApproverGroup\nname: {name}\npersons: [{string.Join(", ", persons.Select(person => $"{person}@example.com"))}]\n";

    private static PersonView Person(string name) => new($"per_{name}", $"{name}@example.com", true, false, []);
}
