using System.Text.RegularExpressions;
using Countersign.Deploy.Tests.Support;

namespace Countersign.Deploy.Tests;

/// <summary>The pages for those who run it name tests, files and settings that are there.</summary>
[Trait("group", "unit")]
public sealed partial class DocumentTests
{
    private static readonly Lazy<HashSet<string>> Tests = new(() =>
    [
        .. Tree.Files("tests", "*.cs").Where(path => !path.Contains("/obj/", StringComparison.Ordinal))
            .SelectMany(path => Method().Matches(Tree.Read(path)).Select(match => $"{Path.GetFileNameWithoutExtension(path)}.{match.Groups[1].Value}")),
    ]);

    public static TheoryData<string> Pages => ["threat-model.md", "failures.md", "distributed.md", "attacks.md"];

    [Theory]
    [MemberData(nameof(Pages))]
    public void A_test_that_is_named_exists(string page)
    {
        var named = Reference().Matches(Tree.Read("docs/operations/" + page)).Select(match => match.Groups[1].Value).Distinct().ToList();
        Assert.NotEmpty(named);
        Assert.Empty(named.Except(Tests.Value));
    }

    [Fact]
    public void Every_row_of_failures_has_a_test_or_says_that_it_has_none()
    {
        var rows = Tree.Read("docs/operations/failures.md").Split('\n').Where(line => line.StartsWith("| ", StringComparison.Ordinal)).Skip(2).ToList();
        Assert.True(rows.Count >= 20);
        Assert.Empty(rows.Where(row => !Reference().IsMatch(row) && !row.Contains("not tested", StringComparison.Ordinal)));
        var alerts = Tree.Read("deploy/observability/alerts.yaml");
        Assert.Empty(rows.SelectMany(row => Alert().Matches(row).Select(match => match.Value)).Where(alert => !alerts.Contains($"alert: {alert}\n", StringComparison.Ordinal)));
    }

    [Fact]
    public void Every_attack_is_tried_by_a_test_of_its_group()
    {
        var rows = Tree.Read("docs/operations/attacks.md").Split('\n').Where(line => line.StartsWith("| ", StringComparison.Ordinal)).Skip(2).ToList();
        Assert.True(rows.Count >= 40);
        var named = rows.Select(row => Reference().Match(row) is { Success: true } found ? found.Groups[1].Value : "none in: " + row).Distinct();
        Assert.Empty(named.Where(name => !Tree.Files("tests", $"{name.Split('.')[0]}.cs").Any(path => IsAttack(Tree.Read(path), name))));
    }

    // In the group: the class, or the test itself.
    private static bool IsAttack(string text, string name)
    {
        const string Group = "Trait(\"group\", \"attacks\")";
        var (type, method) = (text.IndexOf($"class {name.Split('.')[0]}", StringComparison.Ordinal), text.IndexOf($" {name.Split('.')[^1]}(", StringComparison.Ordinal));
        return type >= 0 && method >= 0
            && (text[..type].Contains(Group, StringComparison.Ordinal) || text[Math.Max(0, text.LastIndexOf("\n    }", method, StringComparison.Ordinal))..method].Contains(Group, StringComparison.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Pages))]
    public void A_link_leads_somewhere(string page)
    {
        foreach (Match link in Link().Matches(Tree.Read("docs/operations/" + page)))
        {
            var target = Path.GetFullPath(Path.Combine(Tree.At("docs/operations"), link.Groups[1].Value));
            Assert.True(File.Exists(target) || Directory.Exists(target), link.Value);
        }
    }

    [GeneratedRegex(@"`([A-Z]\w+Tests\.[A-Z]\w+)`")]
    private static partial Regex Reference();

    [GeneratedRegex(@"public (?:static )?(?:async )?(?:Task|void|ValueTask) ([A-Z]\w+)\(")]
    private static partial Regex Method();

    [GeneratedRegex(@"\bCountersign[A-Z][A-Za-z]+")]
    private static partial Regex Alert();

    [GeneratedRegex(@"\]\(((?!https?:)[^)#]+)\)")]
    private static partial Regex Link();
}
