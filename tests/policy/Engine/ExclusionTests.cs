using Countersign.Policy.Contracts;

namespace Countersign.Policy.Tests.Engine;

/// <summary>A leading <c>!</c> takes out of a list; in doubt it errs to the strict side like everything else.</summary>
[Trait("group", "unit")]
public sealed class ExclusionTests
{
    [Theory]
    [InlineData("setval", Outcome.RequireApproval)]
    [InlineData("nextval", Outcome.Allow)]
    [InlineData("pg_catalog.nextval", Outcome.Allow)]
    [InlineData("currval", Outcome.RequireApproval)] // may be another schema's
    [InlineData("pg_catalog.currval", Outcome.Allow)]
    [InlineData("app.currval", Outcome.RequireApproval)]
    public void A_hold_leaves_out_only_what_is_certainly_excluded(string function, Outcome outcome) => Assert.Equal(
        outcome,
        Given.Decide("- {name: a, effect: allow}\n- {name: h, effect: require_approval, when: {functions: ['*', '!nextval', '!pg_catalog.currval']}, approval: {groups: [dba]}}", Given.Input(Given.Statement("SELECT").Calling(function))).Outcome);

    [Theory]
    [InlineData("orders", Outcome.Allow)]
    [InlineData("public.orders", Outcome.Allow)]
    [InlineData("private.salaries", Outcome.Deny)]
    [InlineData("salaries", Outcome.Deny)] // may be the excluded one
    [InlineData("public.salaries", Outcome.Allow)]
    public void An_allow_leaves_out_what_may_be_excluded(string relation, Outcome outcome) => Assert.Equal(
        outcome, Given.Decide("- {name: a, effect: allow, when: {reads: ['*', '!private.salaries']}}", Given.Input(Given.Statement("SELECT").Reading(relation))).Outcome);

    [Fact]
    public void Statements_and_settings_can_exclude_too()
    {
        const string Rules = "- {name: a, effect: allow, when: {statements: ['*', '!DROP *'], settings: ['*', '!role']}}";
        Assert.Equal(Outcome.Allow, Given.Decide(Rules, Given.Input(Given.Statement("CREATE TABLE"))).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rules, Given.Input(Given.Statement("DROP TABLE"))).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide(Rules, Given.Input(Given.Statement("SET") with { Settings = ["work_mem"] })).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rules, Given.Input(Given.Statement("SET") with { Settings = ["role"] })).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rules, Given.Input(Given.Statement("SELECT") with { Settings = ["*"] })).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide(Rules, Given.Input(Given.Statement("RESET") with { Settings = ["role"], ResetSettings = ["role"] })).Outcome);
        Assert.Equal("never-matches", Assert.Single(Given.Check(Given.Policy("- {name: a, effect: deny, when: {statements: ['!SELECT']}}"))).Code);
    }

    [Fact]
    public void What_is_set_back_to_its_default_is_not_a_change()
    {
        const string Rules = "- {name: a, effect: allow}\n- {name: d, effect: deny, when: {settings: [role]}}";
        Assert.Equal(Outcome.Allow, Given.Decide(Rules, Given.Input(Given.Statement("RESET") with { Settings = ["role"], ResetSettings = ["role"] })).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rules, Given.Input(Given.Statement("SET") with { Settings = ["role", "work_mem"], ResetSettings = ["work_mem"] })).Outcome);
    }
}
