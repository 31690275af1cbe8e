using Countersign.Policy.Contracts;
using Countersign.Policy.Language;

namespace Countersign.Policy.Tests.Language;

[Trait("group", "unit")]
public sealed class DecodingTests
{
    private const string Head = "apiVersion: countersign/v1\nkind: Policy\nname: p\n";

    [Fact]
    public void A_policy_with_every_key_is_decoded()
    {
        const string Yaml = """
            apiVersion: countersign/v1
            kind: Policy
            name: everything
            description: All keys there are.
            rules:
              - name: one
                effect: require_approval
                mode: shadow
                message: Hold it.
                hint: Ask early.
                when:
                  principals: {groups: [engineers], persons: [alice@example.com], kind: human, amr: [mfa], acr: [high], max_age: 1h}
                  connections: {names: ["shop-*"], labels: {env: [prod, staging], tier: gold}}
                  protocol: postgres
                  statements: [DELETE, "CREATE *"]
                  reads: [public.customers, '"Mixed.Case".*']
                  writes: ["*.orders"]
                  functions: [pg_sleep]
                  impure_functions: ["*"]
                  settings: [work_mem]
                  where: absent
                  complete: any
                  time: {days: [mon-fri, sun], from: "22:00", to: "06:00", timezone: Europe/Berlin}
                  client_address: [10.0.0.0/8, "2001:db8::/32", 192.0.2.1]
                obligations: {record: acknowledged, row_limit: 10, filter_on_masked: require_approval, laundering: require_approval, in_transaction: hold(30s)}
                approval: {all_of: [{any_of: [dba, owners], quorum: 2}, {any_of: [security]}], timeout: 45m, grant_lifetime: 5m, reason_required: true, assurance: {max_age: 15m, amr: [otp]}, window: 1h, break_glass: true, dry_run: true}
            ---
            apiVersion: countersign/v1
            kind: MaskSet
            name: masks
            connections: {names: [shop]}
            columns:
              - {column: public.customers.ssn, strategy: last4}
              - {column: '*.customers."E.Mail"', strategy: "null"}
            detectors: [card]
            exempt: {groups: [support]}
            """;
        var set = PolicyDecoder.Decode([new BundleDocument("a.yaml", Yaml)]);
        var rule = Assert.Single(Assert.Single(set.Policies).Rules);
        Assert.True(rule.Shadow);
        Assert.Equal(2, rule.When.Statements!.Count);
        Assert.Equal("\"Mixed.Case\".*", rule.When.Reads![1].ToString());
        Assert.Equal([DayOfWeek.Sunday, DayOfWeek.Monday, DayOfWeek.Tuesday, DayOfWeek.Wednesday, DayOfWeek.Thursday, DayOfWeek.Friday], rule.When.Time!.Days!.Order());
        Assert.Equal(3, rule.When.ClientAddress!.Count);
        Assert.Equal(TimeSpan.FromSeconds(30), rule.Obligations!.InTransaction!.Value.Value);
        Assert.Equal(2, rule.Approval!.AllOf[0].Quorum);
        Assert.Equal((TimeSpan.FromMinutes(15), "otp"), (rule.Approval.Assurance!.MaxAge, Assert.Single(rule.Approval.Assurance.Amr)));
        Assert.Equal((TimeSpan.FromHours(1), true, true), (rule.Approval.Window, rule.Approval.BreakGlass, rule.Approval.DryRun));
        Assert.Equal(new ColumnMask("*", "customers", "E.Mail", "null"), set.MaskSets[0].Columns[1].Value);
        Assert.Equal("a.yaml:6:5", rule.At.ToString());
    }

    [Fact]
    public void All_errors_come_at_once_with_their_places()
    {
        const string Yaml = """
            apiVersion: countersign/v1
            kind: Policy
            name: Bad Name
            color: red
            rules:
              - name: a
                effect: maybe
                when: {statments: [DELETE], statements: [drop]}
              - name: b
                effect: deny
                when: {principals: {groups: engineers}, complete: yes}
            """;
        var errors = Assert.Throws<PolicyFormatException>(() => PolicyDecoder.Decode([new BundleDocument("x.yaml", Yaml)])).Diagnostics;
        Assert.Equal(
            [
                "x.yaml:3:7 bad-value", "x.yaml:4:1 unknown-key", "x.yaml:7:13 bad-value", "x.yaml:8:12 unknown-key", "x.yaml:8:46 bad-value",
                "x.yaml:11:33 wrong-type", "x.yaml:11:55 bad-value",
            ],
            errors.Select(error => $"{error.At} {error.Code}"));
    }

    [Theory]
    [InlineData("apiVersion: countersign/v1\nkind: Policy\nname: p\nname: q\nrules: []", "duplicate-key")]
    [InlineData(Head + "rules: &a\n  - {name: x, effect: deny}\n", "anchor")]
    [InlineData(Head + "rules: *a\n", "alias")]
    [InlineData(Head + "rules: !!python/object []\n", "tag")]
    [InlineData(Head + "rules: {a: b}\n", "wrong-type")]
    [InlineData(Head + "rules: []\n", "empty-list")]
    [InlineData("apiVersion: countersign/v2\nkind: Policy\nname: p\nrules: [{name: a, effect: deny}]", "bad-value")]
    [InlineData("kind: Policy\nname: p\nrules: [{name: a, effect: deny}]", "missing-key")]
    [InlineData("apiVersion: countersign/v1\nkind: Thing\nname: p", "bad-value")]
    [InlineData("just text", "wrong-type")]
    [InlineData("- a\n- b", "wrong-type")]
    [InlineData("a: [b", "yaml")]
    [InlineData(Head + "rules: [{name: 123, effect: deny}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: no, effect: deny}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: a, effect: deny, message: null}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: a, effect: deny, when: {}, approval: {}}]", "missing-key")]
    [InlineData(Head + "rules: [{name: a, effect: allow, obligations: {row_limit: 0}}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: a, effect: allow, obligations: {row_limit: '5'}}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: a, effect: allow, obligations: {record: none}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, obligations: {in_transaction: hold(2h)}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, when: {reads: [a.b.c]}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, when: {reads: ['a.\"b']}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, when: {client_address: [10.0.0.1/8]}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, when: {time: {from: '25:00'}}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, when: {time: {from: '10:00', to: '10:00'}}}]", "never-matches")]
    [InlineData(Head + "rules: [{name: a, effect: allow, when: {principals: {}}}]", "empty-map")]
    [InlineData(Head + "rules: [{name: a, effect: allow, when: {statements: [SELECT, SELECT]}}]", "duplicate-item")]
    [InlineData(Head + "rules: [{name: a, effect: allow, when: {principals: {max_age: 5}}}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], quorum: 0}}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], all_of: [{any_of: [x]}]}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], timeout: 8d}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], window: 2d}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], window: 30s}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], break_glass: yes}}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], dry_run: 'true'}}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], assurance: {}}}]", "empty-map")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], assurance: otp}}]", "wrong-type")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], assurance: {max_age: 31d}}}]", "bad-value")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], assurance: {amr: []}}}]", "empty-list")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], assurance: {amr: [a, b, c, d, e, f, g, h, i, j, k]}}}]", "too-large")]
    [InlineData(Head + "rules: [{name: a, effect: allow, approval: {groups: [x], assurance: {acr: high}}}]", "unknown-key")]
    [InlineData("apiVersion: countersign/v1\nkind: MaskSet\nname: m\ncolumns: [{column: customers.ssn, strategy: redact}]", "bad-value")]
    [InlineData("apiVersion: countersign/v1\nkind: MaskSet\nname: m\ncolumns: [{column: public.customers.s*, strategy: redact}]", "bad-value")]
    [InlineData("apiVersion: countersign/v1\nkind: MaskSet\nname: m\ncolumns: [{column: public.Customers.ssn, strategy: redact}]", "never-matches")]
    [InlineData("apiVersion: countersign/v1\nkind: MaskSet\nname: m\ncolumns: [{column: public.customers.ssn, strategy: blur}]", "bad-value")]
    [InlineData("apiVersion: countersign/v1\nkind: MaskSet\nname: m", "missing-key")]
    public void What_is_wrong_is_an_error(string yaml, string code)
    {
        var error = Assert.Throws<PolicyFormatException>(() => PolicyDecoder.Decode([new BundleDocument("p.yaml", yaml)]));
        Assert.Contains(error.Diagnostics, diagnostic => diagnostic.Code == code);
        Assert.All(error.Diagnostics, diagnostic => Assert.True(diagnostic.At is { File: "p.yaml", Line: > 0, Column: > 0 }));
    }

    [Fact]
    public void Depth_size_and_number_are_bounded()
    {
        Code("too-deep", "a: " + new string('[', 100_000));
        Code("too-deep", string.Concat(Enumerable.Range(0, 40).Select(depth => new string(' ', depth) + "a:\n")));
        Code("too-large", new string('#', 600_000));
        Code("too-large", "a: [" + string.Concat(Enumerable.Repeat("a,", 60_000)) + "]");
        Code("too-large", string.Concat(Enumerable.Repeat("--- a\n", 2000)));
        Assert.Empty(PolicyDecoder.Decode([new BundleDocument("p.yaml", string.Concat(Enumerable.Repeat("---\n", 40_000)))]).Policies);
    }

    [Fact]
    public void Bytes_that_are_not_utf8_are_an_error()
    {
        var error = Assert.Throws<PolicyFormatException>(() => PolicyDecoder.Decode([0x61, 0x3a, 0xff]));
        Assert.Equal("encoding", Assert.Single(error.Diagnostics).Code);
    }

    private static void Code(string code, string yaml)
    {
        var error = Assert.Throws<PolicyFormatException>(() => PolicyDecoder.Decode([new BundleDocument("p.yaml", yaml)]));
        Assert.Contains(error.Diagnostics, diagnostic => diagnostic.Code == code);
    }
}
