namespace Countersign.Policy.Language.Patterns;

/// <summary>A pattern with <c>*</c> (any number of characters) and <c>?</c> (one), matched ordinally, without backtracking beyond one star.</summary>
/// <param name="Pattern">The pattern.</param>
/// <param name="Excludes">Whether it takes out of its list what it matches (written with a leading <c>!</c>).</param>
public readonly record struct Glob(string Pattern, bool Excludes = false)
{
    /// <summary>A pattern as an item of a list, where a leading <c>!</c> excludes.</summary>
    public static Glob Item(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.StartsWith('!') ? new Glob(text[1..], Excludes: true) : new Glob(text);
    }

    /// <summary>Whether a list takes a text: one of its patterns matches, and none that excludes.</summary>
    public static bool Takes(IReadOnlyList<Glob> list, ReadOnlySpan<char> text)
    {
        ArgumentNullException.ThrowIfNull(list);
        var taken = false;
        for (var i = 0; i < list.Count; i++)
        {
            if (list[i].IsMatch(text))
            {
                if (list[i].Excludes)
                {
                    return false;
                }

                taken = true;
            }
        }

        return taken;
    }

    /// <summary>Matches everything.</summary>
    public bool IsAny => Pattern == "*";

    /// <summary>Whether the pattern has no wildcard.</summary>
    public bool IsLiteral => Pattern.AsSpan().IndexOfAny('*', '?') < 0;

    /// <summary>Whether the whole text matches. Linear for one star, at worst pattern times text.</summary>
    public bool IsMatch(ReadOnlySpan<char> text)
    {
        var pattern = Pattern.AsSpan();
        int p = 0, t = 0, star = -1, resume = 0;
        while (t < text.Length)
        {
            if (p < pattern.Length && pattern[p] == '*')
            {
                star = p++;
                resume = t;
            }
            else if (p < pattern.Length && (pattern[p] == '?' || pattern[p] == text[t]))
            {
                p++;
                t++;
            }
            else if (star >= 0)
            {
                p = star + 1;
                t = ++resume;
            }
            else
            {
                return false;
            }
        }

        while (p < pattern.Length && pattern[p] == '*')
        {
            p++;
        }

        return p == pattern.Length;
    }
}
