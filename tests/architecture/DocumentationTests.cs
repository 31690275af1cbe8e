using System.Text.RegularExpressions;

namespace Countersign.Architecture.Tests;

/// <summary>Pages that name things that are gone are worse than none.</summary>
[Trait("group", "unit")]
public sealed partial class DocumentationTests
{
    private static readonly string[] Pages =
    [
        Path.Combine(Repository.Root, "README.md"),
        .. Directory.EnumerateFiles(Path.Combine(Repository.Root, "docs"), "*.md", SearchOption.AllDirectories).Order(StringComparer.Ordinal),
    ];

    [Fact]
    public void Every_link_leads_somewhere()
    {
        var broken =
            from page in Pages
            from Match link in Link().Matches(File.ReadAllText(page))
            let target = link.Groups[1].Value
            where !target.Contains("://", StringComparison.Ordinal) && !Path.Exists(Path.Combine(Path.GetDirectoryName(page)!, target))
            select $"{Repository.Relative(page)}: {target}";
        Assert.Empty(broken);
    }

    [Fact]
    public void Every_path_that_a_page_names_exists()
    {
        var gone =
            from page in Pages
            from Match path in CodePath().Matches(File.ReadAllText(page))
            where !Path.Exists(Path.Combine(Repository.Root, path.Groups[1].Value))
            select $"{Repository.Relative(page)}: {path.Groups[1].Value}";
        Assert.Empty(gone);
    }

    [Fact]
    public void Every_format_and_decision_is_in_its_index()
    {
        foreach (var (folder, index) in new[] { ("formats", "formats/README.md"), ("decisions", "README.md"), ("operations", "README.md"), ("policies", "README.md") })
        {
            var text = File.ReadAllText(Path.Combine(Repository.Root, "docs", index));
            Assert.Empty(Directory.EnumerateFiles(Path.Combine(Repository.Root, "docs", folder), "*.md").Select(Path.GetFileName)
                .Where(name => name != "README.md" && !text.Contains(name!, StringComparison.Ordinal)));
        }
    }

    [GeneratedRegex(@"\]\(([^)#\s]+)")]
    private static partial Regex Link();

    [GeneratedRegex("`((?:services|platform|hosts|cli|tests|benchmarks|eng|policies)/[A-Za-z0-9_./-]+)`")]
    private static partial Regex CodePath();
}
