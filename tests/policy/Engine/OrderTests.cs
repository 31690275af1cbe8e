using CsCheck;
using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;

namespace Countersign.Policy.Tests.Engine;

/// <summary>Invariant I4 as laws, over generated rules and operations.</summary>
[Trait("group", "unit")]
public sealed class OrderTests
{
    private static readonly string[] Kinds = ["SELECT", "DELETE", "UPDATE", "INSERT", "DROP TABLE", "SET"];
    private static readonly string[] Relations = ["public.a", "public.b", "private.a", "a", "b"];

    private static readonly Gen<string> Rule = Gen.Select(
        One("allow", "allow", "require_approval", "deny"),
        One("", "statements: [SELECT]", "statements: [SELECT, DELETE]", "statements: ['D*']", "statements: ['*']"),
        One("", "", "reads: ['public.*']", "reads: [a]", "writes: [private.a]", "where: absent", "functions: [f]", "settings: [role]"),
        One("", "", "", "complete: false", "time: {from: \"09:00\", to: \"12:00\"}", "time: {timezone: No/Where}", "client_address: [10.0.0.0/8]", "principals: {groups: [engineers]}", "principals: {kind: service}"),
        One("", "", "", "mode: shadow, "),
        One("dba", "owners", "security"),
        Gen.Select(Gen.Int[1, 3], One("", "", ", window: 1h", ", window: 30m, break_glass: true", ", break_glass: true, dry_run: true", ", assurance: {max_age: 15m}", ", assurance: {max_age: 1h, amr: [otp]}", ", assurance: {amr: [mfa]}, dry_run: true")),
        (effect, one, two, three, mode, group, more) =>
        {
            var (quorum, extra) = more;
            var when = string.Join(", ", new[] { one, two, three }.Where(part => part.Length > 0));
            var terms = effect == "require_approval" ? $", approval: {{groups: [{group}], quorum: {quorum}, timeout: {quorum * 10}m{extra}}}, obligations: {{row_limit: {quorum * 5}}}" : "";
            return $"effect: {effect}, {mode}when: {{{when}}}{terms}, message: m{quorum}";
        });

    private static readonly Gen<StatementFacts> Statement = Gen.Select(
        One(Kinds).Array[1, 3],
        Gen.Select(One(Relations), One(RelationAccess.Read, RelationAccess.Update, RelationAccess.Read | RelationAccess.Delete)).Array[0, 3],
        Gen.Bool,
        One(Array.Empty<string>(), ["role"], ["*"]),
        (kinds, relations, absent, settings) => new StatementFacts
        {
            Kinds = kinds,
            Relations = [.. relations.Select(one => new RelationUse(one.Item1.Split('.') is [var schema, var name] ? new ObjectName(schema, name) : new ObjectName(null, one.Item1), one.Item2))],
            WhereAbsent = absent,
            Settings = settings,
        });

    private static readonly Gen<OperationFacts> Facts = Gen.Select(
        Statement.Array[0, 3], One(true, true, true, false), (statements, complete) => complete ? Given.Facts(statements) : Given.Incomplete(statements));

    [Fact]
    public void Order_of_rules_and_documents_never_matters() =>
        Gen.Select(Rule.Array[1, 8], Facts, Gen.Int[0, int.MaxValue]).Sample(
            (rules, facts, seed) =>
            {
                var named = rules.Select((rule, index) => $"- {{name: r{index}, {rule}}}").ToArray();
                var shuffled = named.ToArray();
                new Random(seed).Shuffle(shuffled);
                var one = Given.Engine(Given.Policy(string.Join('\n', named))).Evaluate(Given.Input(facts));
                var other = Given.Engine(Given.Policy(string.Join('\n', shuffled))).Evaluate(Given.Input(facts));
                Assert.Equal(Json(one), Json(other));

                // The same rules as documents of their own, in any order: only the policies' names differ.
                var documents = shuffled.Select(rule => new BundleDocument(rule, Given.Policy(rule, "p-" + rule.Split(' ', ',')[2]))).ToList();
                var bundle = new Bundle { Version = 7, CreatedAt = Given.Now, Documents = documents, Connections = [Given.Connection()] };
                var split = PolicyEngine.Compile(bundle).Evaluate(Given.Input(facts)).Decision;
                Assert.Equal(one.Decision.Outcome, split.Outcome);
                Assert.Equal(System.Text.Json.JsonSerializer.Serialize(one.Decision.Terms), System.Text.Json.JsonSerializer.Serialize(split.Terms));
                Assert.Equal(System.Text.Json.JsonSerializer.Serialize(one.Decision.Obligations), System.Text.Json.JsonSerializer.Serialize(split.Obligations));
            },
            iter: 2000);

    [Fact]
    public void An_operation_is_as_strict_as_its_strictest_statement_and_one_rule_more_to_deny_never_loosens() =>
        Gen.Select(Rule.Array[1, 6], Statement.Array[1, 4], Gen.Bool).Sample(
            (rules, statements, complete) =>
            {
                var policy = Given.Policy(string.Join('\n', rules.Select((rule, index) => $"- {{name: r{index}, {rule}}}")));
                var engine = Given.Engine(policy);
                OperationFacts Of(params StatementFacts[] some) => complete ? Given.Facts(some) : Given.Incomplete(some);
                var whole = engine.Evaluate(Given.Input(Of(statements))).Decision;
                Assert.Equal(statements.Max(statement => engine.Evaluate(Given.Input(Of(statement))).Decision.Outcome), whole.Outcome);
                var more = Given.Engine(policy + "\n- {name: extra, effect: deny, when: {statements: [DELETE, SET]}}").Evaluate(Given.Input(Of(statements))).Decision;
                Assert.True(more.Outcome >= whole.Outcome);
                var hold = Given.Engine(policy + "\n- {name: extra, effect: require_approval, when: {statements: [DELETE, SET]}, approval: {groups: [dba]}}").Evaluate(Given.Input(Of(statements))).Decision;
                Assert.True(hold.Outcome >= whole.Outcome || !statements.Any(statement => statement.Kinds.Contains("DELETE") || statement.Kinds.Contains("SET")) || Explained(whole, hold));
            },
            iter: 2000);

    [Fact]
    public void What_no_rule_matches_is_denied_and_terms_exist_exactly_with_approval() =>
        Gen.Select(Rule.Array[0, 6], Facts).Sample(
            (rules, facts) =>
            {
                var policy = Given.Policy("- {name: r, effect: allow, when: {principals: {groups: [nobody]}}}\n" + string.Join('\n', rules.Select((rule, index) => $"- {{name: r{index}, {rule}}}")));
                var decision = Given.Engine(policy).Evaluate(Given.Input(facts)).Decision;
                Assert.Equal(decision.Outcome == Outcome.RequireApproval, decision.Terms is not null);
                if (decision.Rules.All(hit => hit.Shadow))
                {
                    Assert.Equal(Outcome.Deny, decision.Outcome);
                }

                if (decision.Outcome != Outcome.Allow)
                {
                    Assert.NotEmpty(decision.Message);
                    Assert.NotEmpty(decision.Hint);
                }

                if (decision.Rules.Any(hit => hit.Error.Length > 0 && !hit.Shadow))
                {
                    Assert.Equal(Outcome.Deny, decision.Outcome);
                }
            },
            iter: 2000);

    private static Gen<T> One<T>(params T[] items) => Gen.Int[0, items.Length - 1].Select(index => items[index]);

    /// <summary>A new hold may turn a default deny into a hold: it is the first rule that says anything of the statement.</summary>
    private static bool Explained(Decision before, Decision after) =>
        before.Outcome == Outcome.Deny && after.Outcome == Outcome.RequireApproval && !before.Rules.Any(hit => !hit.Shadow && hit.Effect == Outcome.Deny);

    private static string Json(EvaluationResult result) => System.Text.Json.JsonSerializer.Serialize(result);
}
