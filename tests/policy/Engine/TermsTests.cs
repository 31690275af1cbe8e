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

    private static ApproverRequirement[] Parse(string text) =>
        [.. text.Split(';', StringSplitOptions.RemoveEmptyEntries).Select(part => part.Split(' ')).Select(part => new ApproverRequirement(part[0].Split(','), int.Parse(part[1], System.Globalization.CultureInfo.InvariantCulture)))];
}
