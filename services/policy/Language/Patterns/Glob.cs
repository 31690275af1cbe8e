namespace Countersign.Policy.Language.Patterns;

/// <summary>A pattern with <c>*</c> (any number of characters) and <c>?</c> (one), matched ordinally, without backtracking beyond one star.</summary>
public readonly record struct Glob(string Pattern)
{
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
