using System.Text.RegularExpressions;

namespace Countersign.Architecture.Tests;

/// <summary>One number, one event: whoever searches or alerts by it finds one thing.</summary>
[Trait("group", "unit")]
public sealed partial class LoggingTests
{
    [Fact]
    public void Every_log_event_has_a_number_of_its_own()
    {
        var events = (
            from file in Repository.SourceFiles()
            where !Repository.Relative(file).StartsWith("tests/", StringComparison.Ordinal)
            from Match match in Attribute().Matches(File.ReadAllText(file))
            select (Number: match.Groups["id"].Value, File: Repository.Relative(file))).ToList();
        Assert.True(events.Count > 40, "the pattern finds hardly any events: it is wrong");
        Assert.Empty(events.Where(each => each.Number.Length == 0).Select(each => $"{each.File}: an event without a number"));
        Assert.Empty(events.GroupBy(each => each.Number).Where(group => group.Count() > 1).Select(group => $"{group.Key}: {string.Join(", ", group.Select(each => each.File))}"));
    }

    [GeneratedRegex(@"\[LoggerMessage\(\s*(?:EventId\s*=\s*)?(?<id>\d*)")]
    private static partial Regex Attribute();
}
