using System.Text.Unicode;

namespace Countersign.Proxy.Sql.Lexing;

/// <summary>Bounds on what is given to the native parser. A native stack overflow can't be caught and a quadratic scanner can't be interrupted, so what
/// exceeds a bound is never parsed; its facts are incomplete.</summary>
public sealed record SqlBounds
{
    /// <summary>The bounds that the parser's stacks were measured with.</summary>
    public static SqlBounds Default { get; } = new();

    /// <summary>Longest text in bytes.</summary>
    public int Bytes { get; init; } = 1 << 20;

    /// <summary>Deepest nesting of comments: the scanner is quadratic in it.</summary>
    public int CommentDepth { get; init; } = 64;

    /// <summary>Most words, operators, dots and brackets: every level of a left-deep tree costs at least one of them, so it bounds the depth of the native recursion.</summary>
    public int DeepTokens { get; init; } = 200_000;

    /// <summary>Deepest nesting of parentheses and brackets: bounds how deep query blocks nest.</summary>
    public int ParenthesisDepth { get; init; } = 500;

    /// <summary>Most statements in one text.</summary>
    public int Statements { get; init; } = 2_000;
}

/// <summary>What a pass over the text in C# finds before the native parser sees it.</summary>
/// <param name="Rejection">Stable code of the bound that it exceeds; null where it may be parsed.</param>
/// <param name="Start">First byte of the first token, or of a hint before it.</param>
/// <param name="End">Behind the last token; semicolons around are left out. Start = End where there is none.</param>
/// <param name="DeepTokens">See <see cref="SqlBounds.DeepTokens"/>.</param>
/// <param name="ParenthesisDepth">Deepest nesting of parentheses and brackets.</param>
/// <param name="Secretive">True where a word or literal hints at a secret (PASSWORD and kin), so that the record needs a closer look.</param>
public readonly record struct PreScan(string? Rejection, int Start, int End, int DeepTokens, int ParenthesisDepth, bool Secretive)
{
    /// <summary>Longer than the bound.</summary>
    public const string TooLong = "too-long";
    /// <summary>Not UTF-8.</summary>
    public const string Encoding = "encoding";
    /// <summary>A NUL byte: a C string ends there.</summary>
    public const string Nul = "nul";
    /// <summary>Comments nested too deep.</summary>
    public const string CommentDepth = "comment-depth";
    /// <summary>Too many tokens.</summary>
    public const string TooManyTokens = "too-many-tokens";
    /// <summary>Parentheses nested too deep.</summary>
    public const string TooDeep = "too-deep";

    /// <summary>A comment between the parts of a constant: the native scanner reads it differently than the server.</summary>
    public const string CommentInLiteral = "comment-in-literal";

    /// <summary>Scans a text once.</summary>
    public static PreScan Of(ReadOnlySpan<byte> utf8, bool standardConformingStrings, SqlBounds bounds)
    {
        ArgumentNullException.ThrowIfNull(bounds);
        if (utf8.Length > bounds.Bytes)
        {
            return new PreScan(TooLong, 0, utf8.Length, 0, 0, true);
        }

        if (utf8.Contains((byte)0))
        {
            return new PreScan(Nul, 0, utf8.Length, 0, 0, true);
        }

        if (!Utf8.IsValid(utf8))
        {
            return new PreScan(Encoding, 0, utf8.Length, 0, 0, true);
        }

        var lexer = new SqlLexer(utf8, standardConformingStrings);
        int start = -1, end = 0, deep = 0, depth = 0, maxDepth = 0;
        while (true)
        {
            var token = lexer.Next();
            if (token.Kind == SqlTokenKind.End)
            {
                break;
            }

            if (token.Kind == SqlTokenKind.Semicolon)
            {
                continue;
            }

            if (start < 0)
            {
                start = token.Start;
            }

            end = token.End;
            switch (token.Kind)
            {
                case SqlTokenKind.Word:
                    deep++;
                    break;
                case SqlTokenKind.Operator:
                    // The lexer keeps a run of operator characters together; so does the grammar, but for signs (`- - -1` is three).
                    deep += token.End - token.Start;
                    break;
                case SqlTokenKind.Punctuation when utf8[token.Start] is (byte)'(' or (byte)'[':
                    deep += utf8[token.Start] == '[' ? 1 : 0;
                    maxDepth = Math.Max(maxDepth, ++depth);
                    break;
                case SqlTokenKind.Punctuation when utf8[token.Start] is (byte)')' or (byte)']':
                    depth--;
                    break;
                case SqlTokenKind.Punctuation when utf8[token.Start] is (byte)'.':
                    deep++;
                    break;
            }
        }

        if (start >= 0 && lexer.FirstHint >= 0)
        {
            start = Math.Min(start, lexer.FirstHint);
            end = Math.Max(end, lexer.LastHintEnd);
        }

        var rejection = lexer.MaxCommentDepth > bounds.CommentDepth ? CommentDepth
            : maxDepth > bounds.ParenthesisDepth ? TooDeep
            : deep > bounds.DeepTokens ? TooManyTokens
            : lexer.CommentInLiteral ? CommentInLiteral
            : null;
        return new PreScan(rejection, Math.Max(start, 0), Math.Max(end, Math.Max(start, 0)), deep, maxDepth, Secrets.MayContain(utf8));
    }
}
