using System.CommandLine;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Countersign.Cli.Commands;

/// <summary>Times and durations on the command line, and options that several commands have.</summary>
internal static partial class Arguments
{
    public static Option<string?> From() => new("--from") { Description = "From this time on: ISO 8601 (UTC if it has no zone), or how long ago: 30m, 2h, 7d.", HelpName = "TIME" };

    public static Option<string?> To() => new("--to") { Description = "Before this time.", HelpName = "TIME" };

    public static Option<int?> Limit() => new("--limit") { Description = "At most this many (default 100).", HelpName = "N" };

    public static Option<bool> Wait(string description) => new("--wait") { Description = description };

    public static Option<string?> Timeout() => new("--timeout") { Description = "How long to wait, e.g. 30s, 10m (default 30m).", HelpName = "DURATION" };

    /// <summary>A point in time as the services take it, or null.</summary>
    public static string? Time(string? text, TimeProvider clock)
    {
        if (text is null)
        {
            return null;
        }

        if (TryDuration(text) is { } ago)
        {
            return Text(clock.GetUtcNow() - ago);
        }

        return DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time)
            ? Text(time)
            : throw CliException.Usage($"'{text}' is not a time.", "Use 2026-11-24T18:00:00Z, 2026-11-24, or 2h for two hours ago.");
    }

    /// <summary>A duration such as 45s, 30m, 8h, 7d.</summary>
    public static TimeSpan Duration(string? text, TimeSpan otherwise) =>
        text is null ? otherwise : TryDuration(text) ?? throw CliException.Usage($"'{text}' is not a duration.", "Use a number and a unit: 45s, 30m, 8h, 7d.");

    private static string Text(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.FFFFFFF'Z'", CultureInfo.InvariantCulture);

    private static TimeSpan? TryDuration(string text)
    {
        var match = DurationPattern().Match(text);
        if (!match.Success)
        {
            return null;
        }

        var number = int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture);
        return match.Groups[2].ValueSpan[0] switch
        {
            's' => TimeSpan.FromSeconds(number),
            'm' => TimeSpan.FromMinutes(number),
            'h' => TimeSpan.FromHours(number),
            _ => TimeSpan.FromDays(number),
        };
    }

    [GeneratedRegex(@"\A([0-9]{1,6})([smhd])\z", RegexOptions.CultureInvariant)]
    private static partial Regex DurationPattern();
}
