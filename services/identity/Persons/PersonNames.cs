using System.Globalization;
using System.Text;

namespace Countersign.Identity.Persons;

/// <summary>Display names: shown to approvers and usable in policies, so that they must neither deceive nor collide.</summary>
public static class PersonNames
{
    /// <summary>Longest name, in UTF-16 units.</summary>
    public const int MaxLength = 100;

    /// <summary>Drops what can't be seen or changes how the rest is shown (control, format, bidirectional characters), and cuts what is too long.</summary>
    public static string Clean(string name)
    {
        var clean = new StringBuilder();
        foreach (var rune in name.EnumerateRunes())
        {
            var category = Rune.GetUnicodeCategory(rune);
            if (category is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
                or UnicodeCategory.PrivateUse or UnicodeCategory.Surrogate or UnicodeCategory.OtherNotAssigned || clean.Length + 2 > MaxLength)
            {
                continue;
            }

            clean.Append(category == UnicodeCategory.SpaceSeparator ? " " : rune.ToString());
        }

        var text = clean.ToString().Trim();
        return text.Length == 0 ? "unnamed" : text;
    }

    /// <summary>
    /// Whether a name can look like another one without being it: beyond ASCII there are letters that look alike, and accents that can be written in
    /// two ways. Nor may a name be another person's id, since groups and policies take either. Such a name always shows a part of its person's id.
    /// </summary>
    public static bool CanDeceive(string name) => name.Any(c => c > '~') || name.StartsWith("per_", StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether a name looks like an e-mail address, by which policies and approver groups name persons: also persons who have not logged in yet.</summary>
    public static bool LooksLikeAddress(string name) => name.Contains('@', StringComparison.Ordinal);

    /// <summary>Two names with the same key are the same name.</summary>
    public static string Key(string name) => name.ToLowerInvariant();
}
