using System.Globalization;
using System.Text;
using Countersign.Approval.Contracts;

namespace Countersign.Approval.Notify;

/// <summary>Bounds texts. Nothing is cut in silence: what is left out is counted, and said.</summary>
public static class Excerpts
{
    /// <summary>Longest part of one statement.</summary>
    public const int MaxStatement = 2_000;

    /// <summary>Longest part of a reason or comment.</summary>
    public const int MaxSentence = 500;

    /// <summary>Longest name.</summary>
    public const int MaxName = 200;

    /// <summary>Statements that are shown.</summary>
    public const int MaxStatements = 5;

    /// <summary>Entries of a list that are shown.</summary>
    public const int MaxEntries = 20;

    /// <summary>The beginning of a text, made visible.</summary>
    /// <param name="text">The text as it is.</param>
    /// <param name="max">Longest part, in UTF-16 units of the visible text.</param>
    public static Excerpt Of(string text, int max) => Cut(VisibleText.Escape(text), 0, max);

    /// <summary>A name or the like: bounded, on one line, with a note in it where it isn't whole.</summary>
    public static string Name(string text)
    {
        // Made visible first, which leaves two kinds of blanks that could end a line or look like a column.
        return Noted(Cut(VisibleText.Escape(text).Replace('\n', ' ').Replace('\t', ' '), 0, MaxName));
    }

    /// <summary>Names; the last one says how many are left out.</summary>
    public static IReadOnlyList<string> Names(IReadOnlyCollection<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        return names.Count <= MaxEntries ? [.. names.Select(Name)] : [.. names.Take(MaxEntries - 1).Select(Name), $"({names.Count - MaxEntries + 1} more)"];
    }

    /// <summary>The text with a note of what isn't in it.</summary>
    public static string Noted(Excerpt excerpt)
    {
        ArgumentNullException.ThrowIfNull(excerpt);
        return excerpt.MoreCharacters == 0 ? excerpt.Text : excerpt.Text + Note(excerpt.MoreCharacters);
    }

    /// <summary>A note of what isn't there.</summary>
    public static string Note(int more) => string.Create(CultureInfo.InvariantCulture, $" … ({more} more characters)");

    /// <summary>The longest beginning that a rule of the place lets through.</summary>
    /// <param name="excerpt">An excerpt.</param>
    /// <param name="max">Longest text.</param>
    /// <param name="length">How long a character is there, e.g. encoded.</param>
    public static Excerpt Fit(Excerpt excerpt, int max, Func<Rune, int> length)
    {
        ArgumentNullException.ThrowIfNull(excerpt);
        ArgumentNullException.ThrowIfNull(length);
        var (used, end) = (0, 0);
        foreach (var rune in excerpt.Text.EnumerateRunes())
        {
            used += length(rune);
            if (used > max)
            {
                return Cut(excerpt.Text, excerpt.MoreCharacters, end);
            }

            end += rune.Utf16SequenceLength;
        }

        return excerpt;
    }

    private static Excerpt Cut(string visible, int more, int max)
    {
        if (visible.Length <= max)
        {
            return new Excerpt(visible, more);
        }

        var end = max > 0 && char.IsHighSurrogate(visible[max - 1]) ? max - 1 : max;
        // Half of a replaced code point would be no code point.
        var open = end == 0 ? -1 : visible.LastIndexOf(VisibleText.Open, end - 1);
        if (open >= 0 && visible.IndexOf(VisibleText.Close, open) >= end)
        {
            end = open;
        }

        return new Excerpt(visible[..end], more + visible.Length - end);
    }
}
