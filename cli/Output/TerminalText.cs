using System.Globalization;
using System.Text;
using Countersign.Approval.Contracts;

namespace Countersign.Cli.Output;

/// <summary>
/// Makes text from elsewhere safe and exact to look at on a terminal: whatever could move the cursor, reorder, hide or imitate is shown as
/// <c>⟦U+202E⟧</c>, as on the page of a request (<see cref="VisibleText"/>), and nothing is left out. Stricter than a page has to be: a terminal has no
/// markup that isolates directions or keeps marks in their cell. Two different texts never look the same for a reason other than the shapes of
/// letters, which <see cref="Unusual"/> names.
/// </summary>
internal static class TerminalText
{
    /// <summary>For one line: line breaks are shown as code points too.</summary>
    public static string Line(string text)
    {
        var result = new StringBuilder(text.Length + 8);
        Append(result, text);
        return result.ToString();
    }

    /// <summary>For a block: split at line feeds only, each line made visible. A carriage return stays visible in its line.</summary>
    public static IReadOnlyList<string> Lines(string text) => [.. text.Split('\n').Select(Line)];

    /// <summary>Characters outside of ASCII that are shown as they are: letters of other alphabets can look like Latin ones.</summary>
    /// <returns>Each distinct one as <c>U+0430 (а)</c>, in order of appearance, at most 20 and then a count of the rest.</returns>
    public static IReadOnlyList<string> Unusual(string text)
    {
        const int Most = 20;
        var runes = text.EnumerateRunes().Where(rune => !rune.IsAscii && !MustEscape(rune)).Distinct().ToList();
        var shown = runes.Take(Most).Select(rune => $"U+{rune.Value:X4} ({rune})");
        return runes.Count > Most ? [.. shown, $"and {runes.Count - Most} more"] : [.. shown];
    }

    private static void Append(StringBuilder result, string text)
    {
        var rest = text.AsSpan();
        while (!rest.IsEmpty)
        {
            if (Rune.DecodeFromUtf16(rest, out var rune, out var length) != System.Buffers.OperationStatus.Done)
            {
                Escape(result, rest[0]);
                rest = rest[1..];
                continue;
            }

            if (MustEscape(rune))
            {
                Escape(result, rune.Value);
            }
            else
            {
                result.Append(rest[..length]);
            }

            rest = rest[length..];
        }
    }

    private static void Escape(StringBuilder result, int value) => result.Append(CultureInfo.InvariantCulture, $"{VisibleText.Open}U+{value:X4}{VisibleText.Close}");

    private static bool MustEscape(Rune rune) => Rune.GetUnicodeCategory(rune) switch
    {
        UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse => true,
        UnicodeCategory.OtherNotAssigned or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator => true,
        UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark => true,
        UnicodeCategory.SpaceSeparator => rune.Value != ' ',
        // The brackets of an escape must not be forgeable.
        _ => rune.Value is VisibleText.Open or VisibleText.Close || IsRightToLeft(rune.Value) || IsBlank(rune.Value),
    };

    // Right-to-left letters reorder the punctuation around them where a terminal implements UAX 9, without any control character.
    private static bool IsRightToLeft(int value) =>
        value is (>= 0x0590 and <= 0x08FF) or (>= 0xFB1D and <= 0xFDFF) or (>= 0xFE70 and <= 0xFEFF) or (>= 0x10800 and <= 0x10FFF)
            or (>= 0x1E800 and <= 0x1EFFF);

    // Letters and symbols that look like nothing: Hangul fillers and the blank Braille pattern.
    private static bool IsBlank(int value) => value is 0x115F or 0x1160 or 0x3164 or 0xFFA0 or 0x2800;
}
