using System.Text;
using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;
using Countersign.Policy.Language;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Native;

namespace Countersign.Policy.Tests.Engine;

/// <summary>The shipped policies are valid, and their own examples hold with facts of the real parser.</summary>
[Trait("group", "unit")]
public sealed class StarterPolicyTests
{
    private static readonly IReadOnlyList<BundleDocument> Documents =
        [.. Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "policies", "starter"), "*.yaml").Order(StringComparer.Ordinal).Select(file => new BundleDocument(Path.GetFileName(file), File.ReadAllText(file)))];

    [Fact]
    public void They_are_valid() => Assert.Empty(PolicyChecker.Check(Documents, new CheckContext([Given.Connection("shop", ("env", "demo"))]), out _));

    [Fact]
    public async Task Their_examples_hold()
    {
        using var parser = new SqlParser(LibPgQuery.Load());
        var runner = new PolicyTestRunner(async (protocol, text, cancellation) =>
        {
            Assert.Equal("postgres", protocol);
            return (await parser.AnalyzeAsync(Encoding.UTF8.GetBytes(text), true, cancellation)).Facts;
        });
        var results = await runner.RunAsync(PolicyDecoder.Decode(Documents), [], Given.Now, CancellationToken.None);
        Assert.True(results.Count > 100, "there are examples");
        var failed = results.Where(result => !result.Passed).Select(result => $"{result.At} {result.Case}: {result.Text}\n    {result.Detail}").ToList();
        Assert.True(failed.Count == 0, string.Join('\n', failed));
    }

    [Fact]
    public void Each_rule_decides_at_least_one_example_or_is_covered_by_name()
    {
        var set = PolicyDecoder.Decode(Documents);
        var named = set.Tests.SelectMany(test => test.Cases).Where(one => one.Rule is not null).Select(one => one.Rule!.Value.Value).ToHashSet();
        var rules = set.Policies.SelectMany(policy => policy.Rules.Select(rule => $"{policy.Name.Value}/{rule.Name.Value}")).ToHashSet();
        Assert.Equal(["dangerous/file-functions", "dangerous/server-files", "dangerous/server-functions", "reads/session"], rules.Except(named).Order(StringComparer.Ordinal));
    }
}
