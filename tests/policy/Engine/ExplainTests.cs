using Countersign.Policy.Contracts;

namespace Countersign.Policy.Tests.Engine;

[Trait("group", "unit")]
public sealed class ExplainTests
{
    private const string Rules = """
        - {name: read, effect: allow, when: {principals: {groups: [engineers]}, statements: [SELECT], reads: ["public.*"]}}
        - {name: write, effect: require_approval, when: {statements: [DELETE]}, approval: {groups: [dba], quorum: 2}}
        - {name: nowhere, effect: deny, message: No., when: {where: absent}}
        - {name: files, effect: deny, when: {functions: [pg_read_file]}}
        """;

    private static Explanation Explain(StatementFacts statement, params string[] groups) => Given.Engine(Given.Policy(Rules)).Explain(Given.Input(Given.Facts(statement), groups));

    [Fact]
    public void A_missing_where_clause_is_suggested_with_what_would_come_then()
    {
        var explanation = Explain(Given.Statement("DELETE") with { WhereAbsent = true });
        Assert.Equal(Outcome.Deny, explanation.Decision.Outcome);
        Assert.Equal(["Add a WHERE clause. Then: Needs approval by 2 of dba: run it and ask them."], explanation.Suggestions);
        var trace = explanation.Statements[0].Rules[0];
        Assert.Equal(("nowhere", true), (trace.Rule, trace.Matched));
        Assert.Equal(new ConditionTrace("where", true, "has no WHERE clause"), Assert.Single(trace.Conditions));
    }

    [Fact]
    public void Approval_says_whom_to_ask() => Assert.Equal(["Needs approval by 2 of dba: run it and ask them."], Explain(Given.Statement("DELETE")).Suggestions);

    [Fact]
    public void A_missing_group_a_missing_schema_and_a_refused_function_are_named()
    {
        Assert.Contains("You lack the group engineers.", Assert.Single(Explain(Given.Statement("SELECT").Reading("public.a"), "sales").Suggestions), StringComparison.Ordinal);
        Assert.Contains("Write orders with its schema", Assert.Single(Explain(Given.Statement("SELECT").Reading("orders")).Suggestions), StringComparison.Ordinal);
        Assert.Equal(["Don't call pg_read_file."], Explain(Given.Statement("SELECT").Reading("public.a").Calling("pg_read_file")).Suggestions);
    }

    [Fact]
    public void What_passes_has_nothing_to_suggest() => Assert.Empty(Explain(Given.Statement("SELECT").Reading("public.a")).Suggestions);

    [Fact]
    public void The_explanation_agrees_with_the_decision()
    {
        foreach (var kind in new[] { "SELECT", "DELETE", "INSERT" })
        {
            var explanation = Explain(Given.Statement(kind));
            Assert.Equal(explanation.Decision.Outcome, explanation.Statements.Max(statement => statement.Outcome));
            var matched = explanation.Statements.SelectMany(statement => statement.Rules).Where(trace => trace.Matched).Select(trace => trace.Rule).Distinct().Order();
            Assert.Equal(explanation.Decision.Rules.Select(hit => hit.Rule).Order(), matched);
        }
    }
}
