using Countersign.Policy.Contracts;

namespace Countersign.Policy.Tests.Engine;

[Trait("group", "unit")]
public sealed class ObligationTests
{
    private static readonly StatementFacts Read = Given.Statement("SELECT") with { ReadOnly = true };

    [Fact]
    public void Defaults_are_strict()
    {
        var obligations = Given.Decide("- {name: a, effect: allow}", Given.Input(Read)).Obligations;
        Assert.Equal(
            (RecordLevel.Durable, null, FilterOnMasked.Deny, Outcome.Deny, null),
            (obligations.Record, obligations.RowLimit, obligations.FilterOnMasked, obligations.Laundering, obligations.MaskingTerms));
        Assert.Equal(RecordLevel.Acknowledged, Given.Decide("- {name: a, effect: require_approval, approval: {groups: [dba]}}", Given.Input(Read)).Obligations.Record);
    }

    [Fact]
    public void The_strictest_of_what_rules_say_wins_and_silence_has_no_say()
    {
        const string Rules = """
            - {name: a, effect: allow, obligations: {row_limit: 100, filter_on_masked: allow, record: buffered}, when: {statements: [SELECT]}}
            - {name: b, effect: allow, obligations: {row_limit: 10, record: acknowledged}}
            - {name: c, effect: allow}
            - {name: d, effect: deny, mode: shadow}
            """;
        var obligations = Given.Decide(Rules, Given.Input(Read)).Obligations;
        Assert.Equal((RecordLevel.Acknowledged, 10, FilterOnMasked.Allow), (obligations.Record, obligations.RowLimit, obligations.FilterOnMasked));
    }

    [Fact]
    public void Between_statements_defaults_count_too()
    {
        const string Rules = """
            - {name: a, effect: allow, obligations: {filter_on_masked: allow, record: buffered}, when: {statements: [SELECT]}}
            - {name: b, effect: allow, when: {statements: [SHOW]}}
            """;
        var show = Given.Statement("SHOW") with { ReadOnly = true };
        Assert.Equal((RecordLevel.Buffered, FilterOnMasked.Allow), (Given.Decide(Rules, Given.Input(Read)).Obligations.Record, Given.Decide(Rules, Given.Input(Read)).Obligations.FilterOnMasked));
        var both = Given.Decide(Rules, Given.Input(Read, show)).Obligations;
        Assert.Equal((RecordLevel.Durable, FilterOnMasked.Deny), (both.Record, both.FilterOnMasked));
    }

    [Fact]
    public void Buffered_never_holds_for_what_may_write() => Assert.Equal(
        RecordLevel.Durable,
        Given.Decide("- {name: a, effect: allow, obligations: {record: buffered}, when: {statements: [SELECT]}}", Given.Input(Read with { ReadOnly = false })).Obligations.Record);

    [Fact]
    public void Terms_are_everybody_and_the_shortest_times()
    {
        const string Rules = """
            - {name: a, effect: require_approval, approval: {groups: [dba], quorum: 1, timeout: 1h}, obligations: {in_transaction: hold(30s)}}
            - {name: b, effect: require_approval, approval: {all_of: [{any_of: [dba], quorum: 2}, {any_of: [owners, dba]}], grant_lifetime: 5m, reason_required: true}}
            - {name: c, effect: require_approval, approval: {all_of: [{any_of: [dba, owners]}], timeout: 20m}, when: {statements: [INSERT]}}
            """;
        var terms = Given.Decide(Rules, Given.Input(Read, Given.Statement("INSERT"))).Terms!;
        Assert.Equal(["dba 2", "dba,owners 1"], terms.AllOf.Select(part => $"{string.Join(',', part.AnyOf)} {part.Quorum}"));
        Assert.Equal((TimeSpan.FromMinutes(20), TimeSpan.FromMinutes(5), true, false, TimeSpan.FromSeconds(30)), (terms.Timeout, terms.GrantLifetime, terms.ReasonRequired, terms.RefuseInTransaction, terms.HoldInTransaction));
        var refuse = Given.Decide(Rules + "\n- {name: d, effect: require_approval, approval: {groups: [dba]}, obligations: {in_transaction: refuse}}", Given.Input(Read)).Terms!;
        Assert.True(refuse.RefuseInTransaction);
    }

    [Fact]
    public void What_lets_more_through_needs_every_rule_and_a_login_satisfies_all()
    {
        const string Rules = """
            - {name: a, effect: require_approval, approval: {groups: [dba], window: 2h, break_glass: true, dry_run: true, assurance: {max_age: 30m, amr: [otp]}}}
            - {name: b, effect: require_approval, approval: {groups: [dba], window: 1h, break_glass: true, dry_run: true, assurance: {max_age: 15m, amr: [hwk, otp]}}, when: {statements: [SELECT, INSERT]}}
            - {name: c, effect: require_approval, approval: {groups: [dba]}, when: {statements: [INSERT]}}
            """;
        var terms = Given.Decide(Rules, Given.Input(Read)).Terms!;
        Assert.Equal((TimeSpan.FromHours(1), true, true), (terms.LongestWindow, terms.BreakGlass, terms.DryRun));
        Assert.Equal((TimeSpan.FromMinutes(15), "hwk otp"), (terms.Assurance!.MaxAge, string.Join(' ', terms.Assurance.Amr)));

        // One rule, or one statement, that says nothing of it is enough.
        foreach (var statements in new[] { new[] { Given.Statement("INSERT") }, [Read, Given.Statement("INSERT")] })
        {
            terms = Given.Decide(Rules, Given.Input(statements)).Terms!;
            Assert.Equal((null, false, false), (terms.LongestWindow, terms.BreakGlass, terms.DryRun));
            Assert.Equal(TimeSpan.FromMinutes(15), terms.Assurance!.MaxAge);
        }

        terms = Given.Decide("- {name: a, effect: require_approval, approval: {groups: [dba]}}", Given.Input(Read)).Terms!;
        Assert.Equal((null, null, false, false), (terms.Assurance, terms.LongestWindow, terms.BreakGlass, terms.DryRun));
    }

    [Fact]
    public void Explaining_says_how_approvers_must_log_in_and_what_else_may_be_asked_for()
    {
        const string Rules = "- {name: a, effect: require_approval, approval: {groups: [dba], window: 2h, break_glass: true, dry_run: true, assurance: {max_age: 30m, amr: [otp]}}}";
        var suggestions = string.Join(' ', Given.Engine(Given.Policy(Rules)).Explain(Given.Input(Read)).Suggestions);
        foreach (var part in new[] { "login of the last 30m and with otp", "access window of at most 2h", "rolled back", "countersign break-glass" })
        {
            Assert.Contains(part, suggestions, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Holding_because_of_a_mask_has_terms_of_its_own()
    {
        const string Rules = "- {name: a, effect: allow, obligations: {filter_on_masked: require_approval}, approval: {groups: [dba]}, when: {statements: [SELECT]}}\n- {name: b, effect: allow, when: {statements: [SHOW]}}\n";
        var decision = Given.Decide(Rules, Given.Input(Read));
        Assert.Null(decision.Terms);
        Assert.Equal(["dba"], Assert.Single(decision.Obligations.MaskingTerms!.AllOf).AnyOf);
        Assert.Null(Given.Decide(Rules, Given.Input(Read, Given.Statement("SHOW"))).Obligations.MaskingTerms);
    }

    [Fact]
    public void Masks_are_the_union_of_all_sets_the_principal_is_not_exempt_from()
    {
        const string Yaml = """
            apiVersion: countersign/v1
            kind: MaskSet
            name: one
            columns: [{column: public.c.ssn, strategy: last4}, {column: public.c.email, strategy: redact}]
            detectors: [card]
            exempt: {groups: [support]}
            ---
            apiVersion: countersign/v1
            kind: MaskSet
            name: two
            columns: [{column: public.c.ssn, strategy: "null"}]
            detectors: [email, card]
            ---
            apiVersion: countersign/v1
            kind: MaskSet
            name: three
            connections: {labels: {env: prod}}
            columns: [{column: public.c.other, strategy: redact}]

            """ + "---\n";
        var engine = Given.Engine(Yaml + Given.Policy("- {name: a, effect: allow}"));
        var all = engine.Evaluate(Given.Input(Read)).Decision.Obligations;
        Assert.Equal([new ColumnMask("public", "c", "email", "redact"), new ColumnMask("public", "c", "ssn", "null")], all.Masks);
        Assert.Equal(["card", "email"], all.Detectors);
        var support = engine.Evaluate(Given.Input(Given.Facts(Read), "support")).Decision.Obligations;
        Assert.Equal([new ColumnMask("public", "c", "ssn", "null")], support.Masks);
    }
}
