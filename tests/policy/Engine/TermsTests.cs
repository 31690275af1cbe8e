using CsCheck;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Tests.Engine;

[Trait("group", "unit")]
public sealed class TermsTests
{
    [Theory]
    [InlineData("dba 1", "dba 1", true)]
    [InlineData("dba 1", "dba 2", true)]
    [InlineData("dba 2", "dba 1", false)]
    [InlineData("dba,owners 1", "dba 1", true)] // any of more groups is less
    [InlineData("dba 1", "dba,owners 1", false)]
    [InlineData("dba 1;owners 1", "dba 1", false)]
    [InlineData("dba 1;owners 1", "owners 1;dba 1", true)]
    [InlineData("dba,owners 1;dba 1", "dba 1", false)] // one quorum can't stand for two
    [InlineData("dba,owners 1;dba 1", "dba 1;owners 1", true)]
    [InlineData("dba 1", "", false)]
    public void A_grant_covers_what_is_no_stricter(string now, string approved, bool covered)
    {
        var decision = new Decision { Outcome = Outcome.RequireApproval, BundleVersion = 1, Terms = new ApprovalTerms { AllOf = Parse(now) } };
        Assert.Equal(covered, Terms.NoStricterThan(decision, Parse(approved)));
        Assert.True(Terms.NoStricterThan(decision with { Outcome = Outcome.Allow, Terms = null }, Parse(approved)));
        Assert.False(Terms.NoStricterThan(decision with { Outcome = Outcome.Deny, Terms = null }, Parse(approved)));
        Assert.False(Terms.NoStricterThan(decision with { Terms = null }, Parse(approved)));
    }

    [Theory]
    [InlineData("", "", true)]
    [InlineData("", "15 otp", true)]
    [InlineData("15", "15", true)]
    [InlineData("15", "10", true)]
    [InlineData("15", "20", false)] // an older login was good enough then
    [InlineData("15", "", false)]
    [InlineData("15", " otp", false)]
    [InlineData(" otp", "15", false)]
    [InlineData(" otp", "15 mfa,otp", true)]
    [InlineData("15 mfa,otp", "15 otp", false)]
    public void Approvers_must_have_logged_in_as_well_as_now_asked(string now, string approved, bool covered)
    {
        var decision = new Decision
        {
            Outcome = Outcome.RequireApproval,
            BundleVersion = 1,
            Terms = new ApprovalTerms { AllOf = Parse("dba 1"), Assurance = Login(now) },
        };
        Assert.Equal(covered, Terms.NoStricterThan(decision, Parse("dba 1"), Login(approved)));
        Assert.False(Terms.NoStricterThan(decision, Parse("owners 1"), Login(approved)));
        Assert.True(Terms.NoStricterThan(decision with { Outcome = Outcome.Allow, Terms = null }, Parse("dba 1"), Login(approved)));
        Assert.False(Terms.NoStricterThan(decision with { Outcome = Outcome.Deny, Terms = null }, Parse("dba 1"), Login(approved)));
    }

    [Fact]
    public void The_strictest_terms_follow_from_neither_side_alone_and_their_order_does_not_matter() =>
        Gen.Select(Random, Random, Random).Sample((a, b, c) =>
        {
            var both = Terms.Strictest(a, b)!;
            Assert.Equal(Text(both), Text(Terms.Strictest(b, a)!));
            Assert.Equal(Text(Terms.Strictest(both, c)!), Text(Terms.Strictest(a, Terms.Strictest(b, c))!));
            Assert.Equal(Text(both), Text(Terms.Strictest(both, b)!));
            foreach (var part in new[] { a, b })
            {
                // Who satisfied both satisfied either.
                var decision = new Decision { Outcome = Outcome.RequireApproval, BundleVersion = 1, Terms = part };
                Assert.True(Terms.NoStricterThan(decision, both.AllOf, both.Assurance));
                Assert.True(both.Timeout <= part.Timeout && both.GrantLifetime <= part.GrantLifetime && both.HoldInTransaction <= part.HoldInTransaction);
                Assert.True((both.LongestWindow ?? TimeSpan.Zero) <= (part.LongestWindow ?? TimeSpan.Zero));
                Assert.True((!both.BreakGlass || part.BreakGlass) && (!both.DryRun || part.DryRun) && (both.ReasonRequired || !part.ReasonRequired));
            }
        });

    private static readonly Gen<TimeSpan> Minutes = Gen.Int[1, 5].Select(minutes => TimeSpan.FromMinutes(minutes));

    private static readonly Gen<ApproverAssurance?> Assurances = Gen.Select(
        Gen.Int[0, 3], Gen.Bool, Gen.Bool, Gen.Bool,
        (age, otp, mfa, none) => none ? null : new ApproverAssurance(age == 0 ? null : TimeSpan.FromMinutes(age), [.. new[] { otp ? "otp" : "", mfa ? "mfa" : "" }.Where(one => one.Length > 0).Order(StringComparer.Ordinal)]));

    private static readonly Gen<ApprovalTerms> Random = Gen.Select(
        Gen.Select(Gen.Int[0, 2], Gen.Int[1, 3], (group, quorum) => new ApproverRequirement([new[] { "dba", "owners", "security" }[group]], quorum)).Array[1, 3],
        Minutes, Minutes, Minutes, Assurances, Minutes, Gen.Int[0, 15],
        (all, timeout, grant, hold, login, window, flags) => new ApprovalTerms
        {
            AllOf = Terms.AllOf(all),
            Timeout = timeout,
            GrantLifetime = grant,
            HoldInTransaction = hold,
            Assurance = login,
            LongestWindow = (flags & 1) == 0 ? null : window,
            BreakGlass = (flags & 2) != 0,
            DryRun = (flags & 4) != 0,
            ReasonRequired = (flags & 8) != 0,
        });

    private static string Text(ApprovalTerms terms) => System.Text.Json.JsonSerializer.Serialize(terms);

    private static ApproverAssurance? Login(string text) => text.Length == 0
        ? null
        : text.Split(' ') is [var age, .. var rest]
            ? new ApproverAssurance(age.Length == 0 ? null : TimeSpan.FromMinutes(int.Parse(age, System.Globalization.CultureInfo.InvariantCulture)), rest.Length == 0 ? [] : rest[0].Split(','))
            : null;

    private static ApproverRequirement[] Parse(string text) =>
        [.. text.Split(';', StringSplitOptions.RemoveEmptyEntries).Select(part => part.Split(' ')).Select(part => new ApproverRequirement(part[0].Split(','), int.Parse(part[1], System.Globalization.CultureInfo.InvariantCulture)))];
}
