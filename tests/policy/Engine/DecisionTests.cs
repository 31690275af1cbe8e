using Countersign.Policy.Contracts;

namespace Countersign.Policy.Tests.Engine;

[Trait("group", "unit")]
public sealed class DecisionTests
{
    private const string Select = "- {name: read, effect: allow, when: {principals: {groups: [engineers]}, statements: [SELECT, SHOW]}}\n";
    private const string Delete = "- {name: hold, effect: require_approval, when: {statements: [DELETE]}, approval: {groups: [dba]}}\n";
    private const string NoWhere = "- {name: nowhere, effect: deny, message: No WHERE., hint: Add one., when: {where: absent}}\n";

    [Fact]
    public void Nothing_matched_is_a_deny_that_names_the_nearest_rule()
    {
        var decision = Given.Decide(Select, Given.Input(Given.Statement("INSERT")));
        Assert.Equal(Outcome.Deny, decision.Outcome);
        Assert.Empty(decision.Rules);
        Assert.Contains("No rule allows INSERT on 'shop'", decision.Message, StringComparison.Ordinal);
        Assert.Contains("p/read", decision.Hint, StringComparison.Ordinal);
        Assert.Null(decision.Terms);
        Assert.Contains("lack the group engineers", Given.Decide(Select, Given.Input(Given.Facts(Given.Statement("SELECT")), "sales")).Hint, StringComparison.Ordinal);
    }

    [Fact]
    public void Deny_beats_approval_beats_allow()
    {
        var all = Given.Policy(Select + Delete + NoWhere + "- {name: more, effect: allow, when: {statements: ['*']}}\n");
        Assert.Equal(Outcome.Allow, Given.Engine(all).Evaluate(Given.Input(Given.Statement("SELECT"))).Decision.Outcome);
        Assert.Equal(Outcome.RequireApproval, Given.Engine(all).Evaluate(Given.Input(Given.Statement("DELETE"))).Decision.Outcome);
        var denied = Given.Engine(all).Evaluate(Given.Input(Given.Statement("DELETE") with { WhereAbsent = true })).Decision;
        Assert.Equal(("No WHERE.", "Add one."), (denied.Message, denied.Hint));
        Assert.Equal("nowhere", denied.Rules[0].Rule);
    }

    [Fact]
    public void The_strictest_statement_decides_the_operation_and_each_needs_its_own_allow()
    {
        var input = Given.Input(Given.Statement("SELECT"), Given.Statement("DELETE"));
        var decision = Given.Decide(Select + Delete, input);
        Assert.Equal(Outcome.RequireApproval, decision.Outcome);
        Assert.Equal([("hold", 1), ("read", 0)], decision.Rules.Select(hit => (hit.Rule, hit.Statement)));
        Assert.Equal(Outcome.Deny, Given.Decide(Select + Delete, Given.Input(Given.Statement("SELECT"), Given.Statement("DELETE"), Given.Statement("INSERT"))).Outcome);
    }

    [Theory]
    [InlineData("SELECT", true)]
    [InlineData("SELECT,DELETE", false)]
    [InlineData("DELETE,SELECT", false)]
    [InlineData("SELECT,SHOW", true)]
    public void An_allow_must_cover_all_kinds_nested_ones_too(string kinds, bool allowed) =>
        Assert.Equal(allowed ? Outcome.Allow : Outcome.Deny, Given.Decide(Select, Given.Input(Given.Statement(kinds.Split(',')))).Outcome);

    [Fact]
    public void A_deny_needs_one_kind_only() => Assert.Equal(
        Outcome.Deny,
        Given.Decide("- {name: all, effect: allow}\n- {name: never, effect: deny, when: {statements: [DELETE]}}", Given.Input(Given.Statement("SELECT", "DELETE"))).Outcome);

    [Theory]
    [InlineData("public.orders", "public.*", true)]
    [InlineData("orders", "public.*", false)] // may be in any schema
    [InlineData("orders", "*.orders", true)]
    [InlineData("orders", "orders", true)]
    [InlineData("private.orders", "public.*", false)]
    [InlineData("public.orders,private.x", "public.*", false)]
    public void An_allow_covers_relations_only_for_certain(string reads, string pattern, bool allowed) => Assert.Equal(
        allowed ? Outcome.Allow : Outcome.Deny,
        Given.Decide($"- {{name: a, effect: allow, when: {{reads: ['{pattern}']}}}}", Given.Input(Given.Statement("SELECT").Reading(reads.Split(',')))).Outcome);

    [Theory]
    [InlineData("private.salaries", "private.salaries", true)]
    [InlineData("salaries", "private.salaries", true)] // may be that one
    [InlineData("public.salaries", "private.salaries", false)]
    [InlineData("public.a,private.salaries", "private.*", true)]
    public void A_deny_covers_relations_that_may_be_meant(string reads, string pattern, bool denied) => Assert.Equal(
        denied ? Outcome.Deny : Outcome.Allow,
        Given.Decide($"- {{name: all, effect: allow}}\n- {{name: d, effect: deny, when: {{reads: ['{pattern}']}}}}", Given.Input(Given.Statement("SELECT").Reading(reads.Split(',')))).Outcome);

    [Fact]
    public void Reads_and_writes_are_told_apart()
    {
        const string Rules = "- {name: all, effect: allow}\n- {name: d, effect: deny, when: {writes: [public.audit]}}";
        Assert.Equal(Outcome.Allow, Given.Decide(Rules, Given.Input(Given.Statement("SELECT").Reading("public.audit"))).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rules, Given.Input(Given.Statement("UPDATE").Writing("audit"))).Outcome);
    }

    [Fact]
    public void Functions_and_settings_match_by_name()
    {
        const string Rules = "- {name: all, effect: allow}\n- {name: f, effect: deny, when: {functions: [pg_read_file, 'lo_*']}}\n- {name: s, effect: deny, when: {settings: [role, 'session_*']}}";
        Assert.Equal(Outcome.Deny, Given.Decide(Rules, Given.Input(Given.Statement("SELECT").Calling("pg_catalog.pg_read_file"))).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rules, Given.Input(Given.Statement("SELECT").Calling("lower", "lo_import"))).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide(Rules, Given.Input(Given.Statement("SELECT").Calling("lower"))).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rules, Given.Input(Given.Statement("SET") with { Settings = ["role"] })).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rules, Given.Input(Given.Statement("SELECT") with { Settings = ["*"] })).Outcome);
        const string Allow = "- {name: a, effect: allow, when: {statements: [SET], settings: ['w*', '?']}}";
        Assert.Equal(Outcome.Deny, Given.Decide(Allow, Given.Input(Given.Statement("SET") with { Settings = ["*"] })).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide(Allow, Given.Input(Given.Statement("SET") with { Settings = ["work_mem"] })).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Allow, Given.Input(Given.Statement("SET") with { Settings = ["work_mem", "role"] })).Outcome);
    }

    [Fact]
    public void Functions_with_effects_are_matched_apart()
    {
        const string Rules = "- {name: a, effect: allow, when: {impure_functions: [nextval]}}\n- {name: h, effect: require_approval, when: {impure_functions: ['public.*']}, approval: {groups: [dba]}}";
        StatementFacts Calls(string all, string impure) => Given.Statement("SELECT").Calling(all.Split(',')) with { ImpureFunctions = [.. impure.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(name => new ObjectName(null, name))] };
        Assert.Equal(Outcome.Allow, Given.Decide(Rules, Given.Input(Calls("lower,nextval", ""))).Outcome);
        Assert.Equal(Outcome.RequireApproval, Given.Decide(Rules, Given.Input(Calls("lower,purge", "purge"))).Outcome);
        Assert.Equal(Outcome.RequireApproval, Given.Decide(Rules, Given.Input(Calls("nextval", "nextval"))).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide("- {name: a, effect: allow, when: {impure_functions: [nextval]}}", Given.Input(Calls("purge", "purge"))).Outcome);
    }

    [Fact]
    public void What_is_not_understood_is_allowed_only_where_a_rule_spells_it_out()
    {
        var incomplete = Given.Input(Given.Incomplete(Given.Statement("CALL")));
        Assert.Equal(Outcome.Deny, Given.Decide("- {name: a, effect: allow}", incomplete).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide("- {name: a, effect: allow, when: {complete: true}}", incomplete).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide("- {name: a, effect: allow, when: {complete: any, statements: [CALL]}}", incomplete).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide("- {name: a, effect: allow, when: {complete: false}}", incomplete).Outcome);
        Assert.Equal(Outcome.RequireApproval, Given.Decide("- {name: a, effect: allow}\n- {name: h, effect: require_approval, when: {complete: false}, approval: {groups: [dba]}}", incomplete).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide("- {name: a, effect: allow}\n- {name: h, effect: require_approval, when: {complete: false}, approval: {groups: [dba]}}", Given.Input(Given.Statement("CALL"))).Outcome);
    }

    [Fact]
    public void Text_that_does_not_parse_has_no_kinds_that_an_allow_could_cover()
    {
        var garbage = Given.Input(Given.Incomplete());
        Assert.Equal(Outcome.Deny, Given.Decide("- {name: a, effect: allow, when: {complete: any, statements: ['*']}}", garbage).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide("- {name: a, effect: allow}", garbage).Outcome);
        Assert.Equal(Outcome.RequireApproval, Given.Decide("- {name: h, effect: require_approval, when: {complete: false}, approval: {groups: [dba]}}", garbage).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide("- {name: a, effect: allow, when: {complete: any}}", garbage).Outcome);
    }

    [Fact]
    public void Empty_text_needs_any_allow_for_the_principal()
    {
        var empty = Given.Input(Given.Facts());
        Assert.Equal(Outcome.Allow, Given.Decide(Select, empty).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Select, Given.Input(Given.Facts(), "sales")).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide(Select + "- {name: h, effect: require_approval, approval: {groups: [dba]}}\n- {name: d, effect: deny, when: {statements: ['*']}}", empty).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Select + "- {name: d, effect: deny, when: {client_address: [10.0.0.0/8]}}", empty).Outcome);
    }

    [Fact]
    public void An_unknown_connection_is_denied() =>
        Assert.Equal(Outcome.Deny, Given.Decide("- {name: a, effect: allow}", Given.Input(Given.Statement("SELECT")) with { Connection = "other" }).Outcome);

    [Fact]
    public void Principals_are_selected_by_all_that_is_said_of_them()
    {
        const string Rule = "- {name: a, effect: allow, when: {principals: {groups: [a, engineers], persons: [ALICE@example.com], kind: human, amr: [pwd, otp], acr: [high]}}}";
        var input = Given.Input(Given.Statement("SELECT"));
        Assert.Equal(Outcome.Deny, Given.Decide(Rule, input).Outcome);
        var strong = input with { Principal = input.Principal with { Acr = "high", Amr = ["otp", "pwd"] } };
        Assert.Equal(Outcome.Allow, Given.Decide(Rule, strong).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rule, strong with { Principal = strong.Principal with { Kind = "service" } }).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rule, strong with { Principal = strong.Principal with { Name = "mallory@example.com" } }).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rule, strong with { Principal = strong.Principal with { Groups = ["Engineers"] } }).Outcome);
    }

    [Theory]
    [InlineData("{days: [mon], from: \"09:00\", to: \"17:00\"}", "2026-05-04T09:00:00Z", true)]
    [InlineData("{days: [mon], from: \"09:00\", to: \"17:00\"}", "2026-05-04T17:00:00Z", false)]
    [InlineData("{days: [mon], from: \"09:00\", to: \"17:00\", timezone: America/New_York}", "2026-05-04T13:00:00Z", true)]
    [InlineData("{days: [mon], from: \"09:00\", to: \"17:00\", timezone: America/New_York}", "2026-05-04T12:59:00Z", false)]
    [InlineData("{days: [mon], from: \"22:00\", to: \"06:00\"}", "2026-05-05T05:59:00Z", true)] // began on Monday
    [InlineData("{days: [mon], from: \"22:00\", to: \"06:00\"}", "2026-05-04T05:59:00Z", false)] // began on Sunday
    [InlineData("{from: \"20:00\", to: \"24:00\"}", "2026-05-05T23:59:59Z", true)]
    public void Time_windows_are_on_the_clock_of_their_zone(string window, string now, bool allowed)
    {
        var input = Given.Input(Given.Statement("SELECT")) with { Now = DateTimeOffset.Parse(now, System.Globalization.CultureInfo.InvariantCulture) };
        Assert.Equal(allowed ? Outcome.Allow : Outcome.Deny, Given.Decide($"- {{name: a, effect: allow, when: {{time: {window}}}}}", input).Outcome);
    }

    [Theory]
    [InlineData("10.1.2.3", true)]
    [InlineData("::ffff:10.1.2.3", true)]
    [InlineData("11.1.2.3", false)]
    [InlineData("", false)]
    [InlineData("nonsense", false)]
    public void Client_networks_err_to_the_strict_side(string address, bool inside)
    {
        var input = Given.Input(Given.Statement("SELECT")) with { ClientAddress = address };
        Assert.Equal(inside ? Outcome.Allow : Outcome.Deny, Given.Decide("- {name: a, effect: allow, when: {client_address: [10.0.0.0/8]}}", input).Outcome);
        var unreadable = address is "" or "nonsense";
        Assert.Equal(inside || unreadable ? Outcome.Deny : Outcome.Allow, Given.Decide("- {name: a, effect: allow}\n- {name: d, effect: deny, when: {client_address: [10.0.0.0/8]}}", input).Outcome);
    }

    [Fact]
    public void A_rule_that_errs_denies_and_only_where_its_other_conditions_hold()
    {
        // The checker refuses this zone; a proxy whose machine lacks it must deny all the same.
        const string Rules = "- {name: all, effect: allow}\n- {name: odd, effect: allow, when: {statements: [INSERT], time: {timezone: Mars/Olympus}}}";
        var decision = Given.Decide(Rules, Given.Input(Given.Statement("INSERT")));
        Assert.Equal(Outcome.Deny, decision.Outcome);
        Assert.Contains("Mars/Olympus", decision.Rules[0].Error, StringComparison.Ordinal);
        Assert.Contains("p/odd", decision.Message, StringComparison.Ordinal);
        Assert.Equal(Outcome.Allow, Given.Decide(Rules, Given.Input(Given.Statement("SELECT"))).Outcome);
        Assert.Equal(Outcome.Allow, Given.Decide(Rules.Replace("effect: allow, when", "effect: allow, mode: shadow, when", StringComparison.Ordinal), Given.Input(Given.Statement("INSERT"))).Outcome);
    }

    [Fact]
    public void A_shadow_rule_only_says_what_it_would_have_done()
    {
        var decision = Given.Decide(Select + "- {name: dark, effect: deny, mode: shadow}", Given.Input(Given.Statement("SELECT")));
        Assert.Equal(Outcome.Allow, decision.Outcome);
        Assert.Equal([("read", false), ("dark", true)], decision.Rules.Select(hit => (hit.Rule, hit.Shadow)));
        Assert.Equal(Outcome.Deny, Given.Decide("- {name: dark, effect: allow, mode: shadow}", Given.Input(Given.Statement("SELECT"))).Outcome);
    }

    [Fact]
    public void What_depends_on_the_moment_is_not_cacheable()
    {
        bool Cacheable(string rule, DecisionInput input) => Given.Engine(Given.Policy(rule)).Evaluate(input).Cacheable;
        var select = Given.Input(Given.Statement("SELECT"));
        Assert.True(Cacheable(Select + Delete, select));
        Assert.False(Cacheable("- {name: a, effect: allow, when: {time: {from: \"09:00\"}}}", select));
        Assert.False(Cacheable("- {name: a, effect: allow, when: {client_address: [10.0.0.0/8]}}", select));
        Assert.False(Cacheable("- {name: a, effect: allow, when: {principals: {max_age: 1h}}}", select));
        Assert.True(Cacheable("- {name: a, effect: allow, when: {statements: [INSERT], time: {from: \"09:00\"}}}", select));
    }

    [Fact]
    public void A_login_must_be_recent_where_a_rule_says_so()
    {
        const string Rule = "- {name: a, effect: allow, when: {principals: {max_age: 10m}}}";
        var input = Given.Input(Given.Statement("SELECT"));
        Assert.Equal(Outcome.Allow, Given.Decide(Rule, input).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rule, input with { Now = Given.Now.AddMinutes(6) }).Outcome);
        Assert.Equal(Outcome.Deny, Given.Decide(Rule, input with { Now = Given.Now.AddMinutes(-6) }).Outcome); // logged in tomorrow: a clock is wrong
    }
}
