namespace Countersign.Proxy.Sql.Tests;

/// <summary>Hostile text neither kills the process nor burns it, and never passes for understood where it wasn't.</summary>
[Trait("area", "hostile")]
public class HostileTests
{
    public static TheoryData<string> Names() => new(Hostile.Shapes.Keys);

    /// <summary>The largest text of each shape that the bounds accept is parsed and walked, with half of the stack that the parser has.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void The_largest_accepted_text_of_every_shape_is_survived(string shape)
    {
        var size = Hostile.LargestAccepted(shape);
        var outcome = Hostile.Analyze(shape, size, new SqlParserOptions().StackBytes / 2);

        Assert.DoesNotContain("dies", outcome, StringComparison.Ordinal);
        Assert.NotEqual("hangs", outcome);
        Assert.NotEqual("", outcome);
    }

    /// <summary>The rows of what was measured to kill or burn an unguarded parser.</summary>
    [Theory]
    [InlineData("plus", 100_000, "complete")]
    [InlineData("plus", 1_000_000, "too-long")]
    [InlineData("plus", 300_000, "too-many-tokens")]
    [InlineData("cast", 250_000, "too-many-tokens")]
    [InlineData("isnull", 100_000, "complete")]
    [InlineData("union", 50_000, "complete")]
    [InlineData("union", 1_000_000, "too-long")]
    [InlineData("sub-selects", 3_000, "too-deep")]
    [InlineData("sub-selects", 400, "complete")]
    [InlineData("parentheses", 10_000, "too-deep")]
    [InlineData("brackets", 10_000, "too-deep")]
    [InlineData("not-prefix", 10_000, "syntax")]
    [InlineData("minus-prefix", 10_000, "syntax")]
    [InlineData("case", 10_000, "syntax")]
    [InlineData("comments", 10_000, "comment-depth")]
    [InlineData("comments", 64, "complete")]
    [InlineData("comments", 65, "comment-depth")]
    [InlineData("comment-open", 64, "syntax")]
    [InlineData("literal", 900_000, "complete")]
    [InlineData("literal", 10_000_000, "too-long")]
    [InlineData("in-list", 400_000, "complete")]
    [InlineData("statements", 100_000, "too-many-statements")]
    [InlineData("explain", 10_000, "syntax")]
    public void A_text_beyond_a_bound_is_incomplete_and_one_within_is_understood(string shape, int size, string outcome) =>
        Assert.Equal(outcome, Hostile.Analyze(shape, size));

    /// <summary>What is parsed on the caller's thread must fit a small one: a quarter of what threads of the pool have at least.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void What_is_parsed_inline_fits_a_small_stack(string shape)
    {
        var options = new SqlParserOptions();
        var size = 1;
        while (Fits(shape, size + 1, options) && size < 4_000)
        {
            size++;
        }

        var outcome = Hostile.Analyze(shape, size, 384 * 1024);

        Assert.DoesNotContain("dies", outcome, StringComparison.Ordinal);
        Assert.NotEqual("hangs", outcome);
    }

    private static bool Fits(string shape, int size, SqlParserOptions options)
    {
        var text = System.Text.Encoding.UTF8.GetBytes(Hostile.Shapes[shape](size));
        var scan = Lexing.PreScan.Of(text, true, options.Bounds);
        return scan.Rejection is null && text.Length <= options.InlineBytes && scan.DeepTokens <= options.InlineDeepTokens
            && scan.ParenthesisDepth <= options.InlineParenthesisDepth;
    }
}
