using CsCheck;
using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;

namespace Countersign.Policy.Tests.Engine;

/// <summary>What one person may put into force alone (I3): whatever passes as a removal lets nothing through that was not let through before.</summary>
[Trait("group", "unit")]
public sealed class RemovalTests
{
    private const string Groups = "apiVersion: countersign/v1\nkind: ApproverGroup\nname: dba\npersons: [bob@example.com, carol@example.com, dora@example.com]\n---\n";
    private const string Masks = "apiVersion: countersign/v1\nkind: MaskSet\nname: m\ncolumns: [{column: public.a.x, strategy: last4}]\nexempt: {groups: [support]}\n---\n";
    private const string Settings = "apiVersion: countersign/v1\nkind: Settings\nname: s\ncontrol_approval: {groups: [dba]}\n---\n";
    private const string Allow = "- {name: read, effect: allow, when: {statements: [SELECT]}}\n";
    private const string Hold = "- {name: hold, effect: require_approval, when: {statements: [DELETE]}, approval: {groups: [dba]}}\n";
    private const string Deny = "- {name: never, effect: deny, when: {where: absent}}\n";

    private static readonly Connection Shop = Given.Connection("shop", ("env", "prod"));
    private static readonly Connection Crm = Given.Connection("crm", ("env", "test"));

    [Fact]
    public void Taking_away_passes()
    {
        var before = All(Allow + Hold + Deny);
        Passes(before, before);
        Passes(before, All(Hold + Deny));
        Passes(before, All(Allow + Hold + Deny + "- {name: more, effect: deny, when: {statements: [UPDATE]}}\n"));
        Passes(before, All(Allow + Hold + Deny + "- {name: more, effect: deny, mode: shadow}\n"));
        Passes(All(Allow + "- {name: more, effect: deny, mode: shadow}\n"), All(Allow + "- {name: more, effect: deny}\n"));
        Passes(before, All(Hold + Allow + Deny)); // the order means nothing
        Passes(before, Of(Groups + Masks + Settings + Given.Policy(Allow + Hold + Deny), Shop)); // a connection less
        Passes(before, All(Allow + Hold + Deny, Groups.Replace(", dora@example.com", "", StringComparison.Ordinal)));
        Passes(before, All(Allow + Hold + Deny, Groups.Replace("persons:", "idp_group: dbas\npersons:", StringComparison.Ordinal)));
        Passes(before, All(Allow + Hold + Deny, Groups.Replace("bob@", "BOB@", StringComparison.Ordinal)));
        Passes(before, All(Allow + Hold + Deny, Groups + Masks.Replace("name: m", "name: more", StringComparison.Ordinal)));
        Passes(before, Of(Groups + Masks + Settings + Given.Policy(Deny), Shop, Crm)); // holds may go with all that they limit
        Passes(before, All(Allow + Hold + Deny + "---\napiVersion: countersign/v1\nkind: Test\nname: t\nas: {name: a}\nconnection: {name: shop}\ncases: [{name: a, text: SELECT 1, expect: allow}]\n"));
    }

    [Fact]
    public void Anything_else_does_not()
    {
        var before = All(Allow + Hold + Deny);
        Fails("new or changed", before, All(Allow + Hold + Deny + "- {name: more, effect: allow}\n"));
        Fails("new or changed", before, All(Allow.Replace("[SELECT]", "[SELECT, DELETE]", StringComparison.Ordinal) + Hold + Deny));
        Fails("new or changed", before, All(Allow.Replace("read", "other", StringComparison.Ordinal) + Hold + Deny));
        Fails("new or changed", before, All(Allow + Hold.Replace("groups: [dba]", "groups: [dba], quorum: 2", StringComparison.Ordinal) + Deny)); // stricter, but nobody looks that closely
        Fails("no longer denies", before, All(Allow + Hold));
        Fails("no longer denies", before, All(Allow + Hold + Deny.Replace("effect: deny", "effect: deny, mode: shadow", StringComparison.Ordinal)));
        Fails("no longer denies", before, All(Allow + Hold + Deny.Replace("where: absent", "where: absent, statements: [DELETE]", StringComparison.Ordinal)));
        Fails("without the terms of rule p/hold", before, All(Allow + Deny));
        Fails("without the terms of rule p/limited", All(Allow + "- {name: limited, effect: allow, obligations: {row_limit: 5}}\n"), All(Allow));
        Fails("new or changed", All(Allow + "- {name: shown, effect: allow, mode: shadow}\n"), All(Allow + "- {name: shown, effect: allow}\n"));
        Fails("approver group 'dba'", before, All(Allow + Hold + Deny, Groups.Replace("dora@", "mallory@", StringComparison.Ordinal)));
        Fails("approver group 'more' is new", before, All(Allow + Hold + Deny, Groups + Groups.Replace("name: dba", "name: more", StringComparison.Ordinal)));
        Fails("no longer narrowed", All(Allow, Groups.Replace("persons:", "idp_group: dbas\npersons:", StringComparison.Ordinal)), All(Allow));
        Fails("mask set 'm'", before, Of(Groups + Settings + Given.Policy(Allow + Hold + Deny), Shop, Crm));
        Fails("mask set 'm'", before, Of(Groups + Settings + Masks.Replace("[support]", "[support, engineers]", StringComparison.Ordinal) + Given.Policy(Allow + Hold + Deny), Shop, Crm));
        Fails("settings", before, Of(Groups + Masks + Given.Policy(Allow + Hold + Deny), Shop, Crm));
        Fails("settings", before, Of(Groups + Masks + Settings.Replace("[dba]", "[enrolled]", StringComparison.Ordinal) + Given.Policy(Allow + Hold + Deny), Shop, Crm));
        Fails("'new' is new", before, before with { Connections = [Shop, Crm, Given.Connection("new")] });
        foreach (var changed in new[]
        {
            Shop with { Host = "10.0.0.1" }, Shop with { Port = 1 }, Shop with { Database = "x" }, Shop with { Tls = "disable" }, Shop with { TrustedCertificates = "x" },
            Shop with { ProxyGroup = "x" }, Shop with { CredentialFrom = CredentialProviders.SecretStore }, Shop with { Credential = new SealedCredential("s", "k", "e", "c") }, Shop with { Protocol = "x" },
            Given.Connection("shop", ("env", "test")), Given.Connection("shop"), Given.Connection("shop", ("env", "prod"), ("tier", "gold")), Given.Connection("shop", ("tier", "prod")),
        })
        {
            Fails("'shop' is another one", before, before with { Connections = [changed, Crm] });
        }
    }

    /// <summary>A rule that is taken out of a policy by a quote, a number or a key that merely looks alike is not the same rule.</summary>
    [Theory]
    [InlineData("message: \"a\"", "message: a")]
    [InlineData("message: a, hint: bc", "message: ab, hint: c")]
    [InlineData("when: {functions: [a, b]}", "when: {functions: [a.b]}")]
    [InlineData("when: {functions: [a, b]}", "when: {functions: [ab]}")]
    [InlineData("obligations: {row_limit: 1}", "obligations: {row_limit: 11}")]
    public void Looking_alike_is_not_enough(string one, string other)
    {
        Bundle With(string part) => All($"- {{name: a, effect: allow, {part}}}\n");
        Fails("rule", With(one), With(other));
        Fails("rule", With(other), With(one));
        Passes(With(one), With(one));
    }

    [Fact]
    public void What_passes_never_lets_more_through() =>
        Gen.Select(Rule.Array[1, 7], Rule.Array[0, 2], Gen.Int[0, 127], Gen.Int[0, 3], Facts, Gen.Bool).Sample(
            (rules, more, kept, change, facts, support) =>
            {
                var before = Of(Groups + Masks + Policy(rules.Select((rule, index) => (rule, index))), Shop, Crm);
                var left = rules.Select((rule, index) => (rule, index)).Where(one => ((kept >> one.index) & 1) != 0).Concat(more.Select((rule, index) => (rule, index: 10 + index)));
                var masks = change == 1 ? Masks + Masks.Replace("name: m", "name: more", StringComparison.Ordinal).Replace("last4", "redact", StringComparison.Ordinal) : change == 2 ? "" : Masks;
                var after = Of(Groups + masks + Policy(left), change == 3 ? [Crm] : [Shop, Crm]);
                if (Removal.WhyNot(before, after) is not null)
                {
                    return;
                }

                foreach (var name in new[] { "shop", "crm" })
                {
                    var input = Given.Input(facts, support ? ["support"] : ["engineers"]) with { Connection = name };
                    NoLooser(PolicyEngine.Compile(before).Evaluate(input).Decision, PolicyEngine.Compile(after).Evaluate(input).Decision);
                }
            },
            iter: 4000);

    [Fact]
    public void Removals_in_a_row_are_a_removal() =>
        Gen.Select(Rule.Array[1, 6], Gen.Int[0, 63], Gen.Int[0, 63]).Sample(
            (rules, one, two) =>
            {
                Bundle With(int kept) => Of(Policy(rules.Select((rule, index) => (rule, index)).Where(each => ((kept >> each.index) & 1) != 0)), Shop, Crm);
                var (a, b, c) = (With(63), With(one), With(one & two));
                if (Removal.WhyNot(a, b) is null && Removal.WhyNot(b, c) is null)
                {
                    Assert.Null(Removal.WhyNot(a, c));
                }
            },
            iter: 2000);

    private static readonly Gen<string> Rule = Gen.Select(
        One("allow", "allow", "allow", "require_approval", "deny", "deny"),
        One("", "statements: [SELECT]", "statements: [SELECT, DELETE]", "statements: ['*']"),
        One("", "", "reads: ['public.*']", "writes: [a]", "where: absent", "connections: {names: [shop]}", "connections: {labels: {env: test}}", "complete: false"),
        One("", "", "", "mode: shadow, "),
        One("", "", "row_limit: 5", "row_limit: 50, record: acknowledged", "filter_on_masked: allow", "record: durable"),
        One("", ", quorum: 2", ", timeout: 1h, window: 1h", ", break_glass: true", ", assurance: {amr: [otp]}"),
        (effect, one, two, mode, obligations, terms) =>
        {
            var when = string.Join(", ", new[] { one, two }.Where(part => part.Length > 0));
            var with = effect != "deny" && obligations.Length > 0 ? $", obligations: {{{obligations}}}" : "";
            return $"effect: {effect}, {mode}when: {{{when}}}{with}{(effect == "require_approval" ? $", approval: {{groups: [dba]{terms}}}" : "")}";
        });

    private static readonly Gen<OperationFacts> Facts = Gen.Select(
        Gen.Select(One("SELECT", "DELETE", "UPDATE"), One("public.a", "a", "public.b"), Gen.Bool, (kind, relation, absent) =>
            (kind == "SELECT" ? Given.Statement(kind).Reading(relation) : Given.Statement(kind).Writing(relation)) with { WhereAbsent = absent && kind != "SELECT" }).Array[1, 2],
        Gen.Int[0, 4], (statements, complete) => complete > 0 ? Given.Facts(statements) : Given.Incomplete(statements));

    private static void NoLooser(Decision before, Decision after)
    {
        Assert.True(after.Outcome >= before.Outcome);
        if (after.Outcome == Outcome.Deny)
        {
            return;
        }

        var (was, now) = (before.Obligations, after.Obligations);
        Assert.True(now.RowLimit is { } limit ? limit <= (was.RowLimit ?? long.MaxValue) : was.RowLimit is null);
        Assert.True(now.Record >= was.Record && now.FilterOnMasked <= was.FilterOnMasked && now.Laundering >= was.Laundering);
        foreach (var mask in was.Masks)
        {
            Assert.Contains(now.Masks, one => one == mask || (one with { Strategy = "" } == mask with { Strategy = "" } && Array.IndexOf(Strategies, one.Strategy) < Array.IndexOf(Strategies, mask.Strategy)));
        }

        if (after.Outcome == Outcome.RequireApproval)
        {
            // Whatever was agreed to on the new terms would have been enough on the old ones.
            Assert.True(Terms.NoStricterThan(before, after.Terms!.AllOf, after.Terms.Assurance));
            if (before.Terms is { } old)
            {
                Assert.True((after.Terms.LongestWindow ?? TimeSpan.Zero) <= (old.LongestWindow ?? TimeSpan.Zero) && (!after.Terms.BreakGlass || old.BreakGlass) && after.Terms.Timeout <= old.Timeout);
            }
        }
    }

    private static readonly string[] Strategies = ["null", "redact", "hash", "last4"];

    private static string Policy(IEnumerable<(string Rule, int Index)> rules) =>
        Given.Policy("- {name: base, effect: deny, mode: shadow}\n" + string.Concat(rules.Select(one => $"- {{name: r{one.Index}, {one.Rule}}}\n")));

    private static Bundle All(string rules, string groups = Groups) => Of(groups + (groups.EndsWith("---\n", StringComparison.Ordinal) ? "" : "---\n") + Masks + Settings + Given.Policy(rules), Shop, Crm);

    private static Bundle Of(string yaml, params Connection[] connections) =>
        new() { Version = 7, CreatedAt = Given.Now, Documents = [new BundleDocument("p.yaml", yaml)], Connections = connections };

    private static void Passes(Bundle before, Bundle after) => Assert.Null(Removal.WhyNot(before, after));

    private static void Fails(string why, Bundle before, Bundle after) => Assert.Contains(why, Removal.WhyNot(before, after) ?? "it passed", StringComparison.Ordinal);

    private static Gen<T> One<T>(params T[] items) => Gen.Int[0, items.Length - 1].Select(index => items[index]);
}
