using System.Text.RegularExpressions;
using Countersign.Deploy.Tests.Support;

namespace Countersign.Deploy.Tests;

/// <summary>Every script of the repository is bash that parses, stops at errors, and can be run.</summary>
[Trait("group", "unit")]
public sealed class ScriptTests
{
    public static TheoryData<string> Scripts => [.. Directory.EnumerateFiles(Tree.Root, "*.sh").Select(Tree.Relative).Concat(Tree.Files("eng", "*.sh")).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Scripts))]
    public async Task A_script_parses(string path)
    {
        (await Shell.RunAsync("bash", ["-n", Tree.At(path)])).Good();
        var text = Tree.Read(path);
        if (text.StartsWith("#!", StringComparison.Ordinal))
        {
            Assert.StartsWith("#!/usr/bin/env bash\n", text, StringComparison.Ordinal);
            Assert.Matches(new Regex("(?m)^set -e?uo pipefail$"), text);
            Assert.True((File.GetUnixFileMode(Tree.At(path)) & UnixFileMode.UserExecute) != 0, $"{path} is not executable");
        }
        else
        {
            // To be sourced.
            Assert.StartsWith("# shellcheck shell=bash\n", text, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("./cluster.sh", 2)]
    [InlineData("./cluster.sh up", 2)]
    [InlineData("./cluster.sh up --demo --issuer https://login.example", 2)]
    [InlineData("./cluster.sh up --demo --proxies 0", 2)]
    [InlineData("./cluster.sh up --demo --proxies ten", 2)]
    [InlineData("./cluster.sh sideways", 2)]
    [InlineData("./publish.sh", 2)]
    [InlineData("./publish.sh --help", 2)]
    [InlineData("./publish.sh eng", 2)]
    [InlineData("./eng/secrets.sh", 2)]
    [InlineData("./eng/secrets.sh --containers", 2)]
    [InlineData("./eng/install.sh everything", 2)]
    public async Task Wrong_usage_is_refused_before_anything_happens(string command, int code)
    {
        var ended = await Shell.BashAsync(command);
        Assert.Equal(code, ended.Code);
        Assert.NotEmpty(ended.Output.Trim());
    }
}
