using System.Globalization;

namespace Countersign.Policy.Language.Patterns;

/// <summary>Durations as policies write them: a whole number and one of <c>s</c>, <c>m</c>, <c>h</c>, <c>d</c>.</summary>
public static class Durations
{
    /// <summary>Reads <c>90s</c>, <c>30m</c>, <c>12h</c>, <c>7d</c>; at most 366 days, more than nothing.</summary>
    public static bool TryParse(string text, out TimeSpan duration)
    {
        duration = default;
        if (text.Length is < 2 or > 8 || !int.TryParse(text.AsSpan(0, text.Length - 1), NumberStyles.None, CultureInfo.InvariantCulture, out var number) || number == 0)
        {
            return false;
        }

        long? seconds = text[^1] switch
        {
            's' => number,
            'm' => number * 60L,
            'h' => number * 3600L,
            'd' => number * 86400L,
            _ => null,
        };
        if (seconds is null or > 366 * 86400L)
        {
            return false;
        }

        duration = TimeSpan.FromSeconds(seconds.Value);
        return true;
    }

    /// <summary>The shortest way to write a whole number of seconds.</summary>
    public static string Format(TimeSpan duration)
    {
        var seconds = (long)duration.TotalSeconds;
        return seconds % 86400 == 0 && seconds > 0 ? $"{seconds / 86400}d"
            : seconds % 3600 == 0 && seconds > 0 ? $"{seconds / 3600}h"
            : seconds % 60 == 0 && seconds > 0 ? $"{seconds / 60}m"
            : $"{seconds}s";
    }
}
