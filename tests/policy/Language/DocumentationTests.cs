using System.Text.RegularExpressions;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language;

namespace Countersign.Policy.Tests.Language;

/// <summary>The reference says what the language is: its examples are valid, and it names every key that the decoder knows.</summary>
[Trait("group", "unit")]
public sealed partial class DocumentationTests
{
    private static readonly string Reference = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", "language.md"));

    [Fact]
    public void Every_example_of_the_reference_is_valid()
    {
        var examples = Example().Matches(Reference).Select(match => match.Groups[1].Value).ToList();
        Assert.True(examples.Count >= 5);
        foreach (var example in examples)
        {
            Assert.Empty(PolicyChecker.Check([new BundleDocument("language.md", example)], new CheckContext(), out _));
        }
    }

    [Theory]
    [InlineData("apiVersion: countersign/v1\nkind: Policy\nname: p\nx: 1\nrules: [{name: a, effect: require_approval, x: 1, when: {x: 1, principals: {x: 1}, connections: {x: 1}, time: {x: 1}}, obligations: {x: 1}, approval: {x: 1, all_of: [{x: 1}], assurance: {x: 1}}}]")]
    [InlineData("apiVersion: countersign/v1\nkind: MaskSet\nname: p\nx: 1\ncolumns: [{x: 1}]")]
    [InlineData("apiVersion: countersign/v1\nkind: ApproverGroup\nname: p\nx: 1")]
    [InlineData("apiVersion: countersign/v1\nkind: Settings\nname: p\nx: 1")]
    [InlineData("apiVersion: countersign/v1\nkind: Test\nname: p\nx: 1\nas: {x: 1}\nconnection: {x: 1}\ncases: [{x: 1}]")]
    public void Every_key_stands_in_the_reference(string yaml)
    {
        PolicyDecoder.TryDecode([new BundleDocument("p.yaml", yaml)], out var diagnostics);
        var unknown = diagnostics.Where(diagnostic => diagnostic.Code == "unknown-key").ToList();
        Assert.NotEmpty(unknown);
        foreach (var key in unknown.SelectMany(diagnostic => diagnostic.Message.Split("Known are: ")[1].TrimEnd('.').Split(", ")))
        {
            Assert.Matches($@"[`.{{\s]{Regex.Escape(key)}[`:]", Reference);
        }
    }

    [GeneratedRegex("```yaml\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Example();
}
