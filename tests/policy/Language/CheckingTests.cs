namespace Countersign.Policy.Tests.Language;

[Trait("group", "unit")]
public sealed class CheckingTests
{
    private const string Dba = "apiVersion: countersign/v1\nkind: ApproverGroup\nname: dba\npersons: [bob@example.com, carol@example.com]\n---\n";

    [Theory]
    [InlineData("- {name: a, effect: deny}\n- {name: a, effect: deny}", "duplicate-name")]
    [InlineData("- {name: a, effect: require_approval}", "missing-key")]
    [InlineData("- {name: a, effect: require_approval, approval: {groups: [owners]}}", "unknown-name")]
    [InlineData("- {name: a, effect: require_approval, approval: {groups: [dba], quorum: 3}}", "quorum")]
    [InlineData("- {name: a, effect: deny, approval: {groups: [dba]}}", "not-applicable")]
    [InlineData("- {name: a, effect: deny, obligations: {row_limit: 5}}", "not-applicable")]
    [InlineData("- {name: a, effect: allow, approval: {groups: [dba]}}", "not-applicable")]
    [InlineData("- {name: a, effect: allow, obligations: {filter_on_masked: require_approval}}", "missing-key")]
    [InlineData("- {name: a, effect: allow, obligations: {in_transaction: refuse}}", "not-applicable")]
    [InlineData("- {name: a, effect: allow, obligations: {record: buffered}}", "buffered")]
    [InlineData("- {name: a, effect: allow, when: {statements: ['*']}, obligations: {record: buffered}}", "buffered")]
    [InlineData("- {name: a, effect: allow, when: {statements: [SELECT], complete: any}, obligations: {record: buffered}}", "buffered")]
    [InlineData("- {name: a, effect: require_approval, when: {statements: [SELECT]}, obligations: {record: buffered}, approval: {groups: [dba]}}", "buffered")]
    [InlineData("- {name: a, effect: deny, when: {statements: [DELET]}}", "never-matches")]
    [InlineData("- {name: a, effect: deny, when: {statements: ['DROP  *']}}", "never-matches")]
    [InlineData("- {name: a, effect: deny, when: {statements: [SELECT], where: absent}}", "never-matches")]
    [InlineData("- {name: a, effect: deny, when: {reads: [public.Customers]}}", "never-matches")]
    [InlineData("- {name: a, effect: deny, when: {protocol: mysql}}", "unknown-name")]
    [InlineData("- {name: a, effect: deny, when: {time: {timezone: Europe/Atlantis}}}", "unknown-name")]
    [InlineData("- {name: a, effect: deny, when: {connections: {names: [stop]}}}", "unknown-name")]
    [InlineData("- {name: a, effect: deny, when: {connections: {labels: {zone: eu}}}}", "unknown-name")]
    [InlineData("- {name: a, effect: deny, when: {connections: {labels: {env: dev}}}}", "unknown-name")]
    [InlineData("- {name: a, effect: deny, when: {connections: {names: [shop], labels: {env: prod}}}}", "never-matches")]
    [InlineData("- {name: a, effect: allow, when: {complete: any, reads: [public.x]}}", "incomplete-allow")]
    [InlineData("- {name: a, effect: allow, when: {complete: false, where: present}}", "incomplete-allow")]
    public void What_makes_no_sense_is_an_error(string rules, string code)
    {
        var errors = Given.Check(Dba + Given.Policy(rules), Given.Connection("shop", ("env", "test")), Given.Connection("live", ("env", "prod")));
        Assert.Equal(code, Assert.Single(errors).Code);
    }

    [Theory]
    [InlineData("- {name: a, effect: allow, when: {complete: any, statements: [CALL]}}")]
    [InlineData("- {name: a, effect: allow, when: {statements: [SELECT, SHOW, EXPLAIN]}, obligations: {record: buffered, row_limit: 5}}")]
    [InlineData("- {name: a, effect: require_approval, approval: {groups: [enrolled], quorum: 5}}")]
    [InlineData("- {name: a, effect: deny, when: {reads: ['\"Customers\".*'], connections: {names: ['l*'], labels: {env: [prod, test]}}}}")]
    [InlineData("- {name: a, effect: allow, obligations: {laundering: require_approval, in_transaction: refuse}, approval: {groups: [dba], quorum: 2}}")]
    public void What_makes_sense_is_not(string rules) =>
        Assert.Empty(Given.Check(Dba + Given.Policy(rules), Given.Connection("shop", ("env", "test")), Given.Connection("live", ("env", "prod"))));

    [Fact]
    public void Other_documents_are_checked_too()
    {
        const string Yaml = """
            apiVersion: countersign/v1
            kind: ApproverGroup
            name: enrolled
            persons: [bob@example.com, Bob@example.com]
            ---
            apiVersion: countersign/v1
            kind: Settings
            name: one
            principal_groups: [engineers]
            control_approval: {groups: [nobody]}
            ---
            apiVersion: countersign/v1
            kind: Settings
            name: two
            ---
            apiVersion: countersign/v1
            kind: MaskSet
            name: masks
            connections: {names: [absent]}
            detectors: [passport]
            columns:
              - {column: public.a.b, strategy: redact}
              - {column: public.a.b, strategy: hash}
            exempt: {groups: [support]}
            ---
            apiVersion: countersign/v1
            kind: Test
            name: tests
            as: {name: a@example.com, kind: robot}
            connection: elsewhere
            cases:
              - {name: one, text: SELECT 1, expect: allow, rule: p/q, approvers: [dbas]}
            """;
        var errors = Given.Check(Yaml, Given.Connection());
        Assert.Equal(
            [
                "3 reserved-name", "4 duplicate-item", "10 unknown-name", "14 duplicate-name", "19 unknown-name", "20 unknown-name", "23 duplicate-item",
                "24 unknown-name", "30 unknown-name", "32 bad-value", "32 bad-value", "32 unknown-name", "32 unknown-name",
            ],
            errors.Select(error => $"{error.At.Line} {error.Code}").OrderBy(text => int.Parse(text.Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture)).ThenBy(text => text, StringComparer.Ordinal));
    }
}
