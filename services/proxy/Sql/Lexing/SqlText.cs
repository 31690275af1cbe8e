using System.Text;

namespace Countersign.Proxy.Sql.Lexing;

/// <summary>What is done to the text of statements, by the grammar's lexical rules.</summary>
public static class SqlText
{
    /// <summary>The text from its first to its last token: blanks, comments and semicolons around it go, nothing else changes. Hints (<c>/*+ … */</c>) stay. Empty where there is no token.</summary>
    /// <remarks>What is not terminated (a literal, a comment) counts as a token: it is never trimmed.</remarks>
    public static string Trim(string text, bool standardConformingStrings = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        var utf8 = Encoding.UTF8.GetBytes(text);
        var (start, end) = Trim(utf8, standardConformingStrings);
        return Encoding.UTF8.GetString(utf8.AsSpan(start, end - start));
    }

    /// <summary>Byte range of the text from its first to its last token.</summary>
    public static (int Start, int End) Trim(ReadOnlySpan<byte> utf8, bool standardConformingStrings = true)
    {
        var lexer = new SqlLexer(utf8, standardConformingStrings);
        int start = -1, end = 0;
        while (lexer.Next() is { Kind: not SqlTokenKind.End } token)
        {
            if (token.Kind != SqlTokenKind.Semicolon)
            {
                start = start < 0 ? token.Start : start;
                end = token.End;
            }
        }

        return start < 0 ? (0, 0) : lexer.FirstHint < 0 ? (start, end) : (Math.Min(start, lexer.FirstHint), Math.Max(end, lexer.LastHintEnd));
    }
}
