using System.Globalization;
using System.Text;

namespace Countersign.Approval.Contracts;

/// <summary>
/// Text as an approver must see it: whole, and with everything that shows as nothing or changes how the rest shows replaced by its code
/// point, <c>⟦U+202E⟧</c>. Line feeds, tabs and ordinary blanks stay.
/// </summary>
public static class VisibleText
{
    /// <summary>Begins a replaced code point.</summary>
    public const char Open = '\u27E6';

    /// <summary>Ends a replaced code point.</summary>
    public const char Close = '\u27E7';

    // More marks than this on one letter cover what stands beside it.
    private const int MaxMarks = 2;

    /// <summary>Makes everything visible. The result is not HTML: encode it afterwards.</summary>
    public static string Escape(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var visible = new StringBuilder(text.Length);
        var marks = 0;
        for (var index = 0; index < text.Length;)
        {
            if (!Rune.TryGetRuneAt(text, index, out var rune))
            {
                Append(visible, text[index]);
                index++;
                continue;
            }

            index += rune.Utf16SequenceLength;
            marks = IsMark(rune) ? marks + 1 : 0;
            if (MustShow(rune) || marks > MaxMarks || (marks > 0 && visible.Length == 0))
            {
                Append(visible, rune.Value);
            }
            else
            {
                visible.Append(rune.ToString());
            }
        }

        return visible.ToString();
    }

    private static void Append(StringBuilder visible, int codePoint) =>
        visible.Append(Open).Append("U+").Append(codePoint.ToString("X4", CultureInfo.InvariantCulture)).Append(Close);

    private static bool IsMark(Rune rune) =>
        Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark;

    private static bool MustShow(Rune rune) => rune.Value switch
    {
        '\n' or '\t' or ' ' => false,
        // Our own brackets: a text can't pretend that something was replaced.
        Open or Close => true,
        // Ignorable or blank, though their category says mark, letter or symbol.
        0x034F or 0x115F or 0x1160 or 0x17B4 or 0x17B5 or (>= 0x180B and <= 0x180F) or 0x2800 or 0x3164 or (>= 0xFE00 and <= 0xFE0F) or 0xFFA0 or 0xFFFC
            or (>= 0xE0000 and <= 0xE0FFF) => true,
        _ => Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse
            or UnicodeCategory.OtherNotAssigned or UnicodeCategory.SpaceSeparator or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
            or UnicodeCategory.EnclosingMark,
    };
}
