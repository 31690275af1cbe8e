namespace Countersign.Proxy.Sql.Lexing;

/// <summary>What a token is; as coarse as trimming, bounding and masking secrets need it.</summary>
public enum SqlTokenKind
{
    /// <summary>No more tokens.</summary>
    End,
    /// <summary>An unquoted identifier or keyword.</summary>
    Word,
    /// <summary>A quoted identifier, <c>U&amp;""</c> too.</summary>
    QuotedName,
    /// <summary>A string constant of any form, with its prefix and all its continuations.</summary>
    Literal,
    /// <summary>A dollar-quoted string constant.</summary>
    DollarLiteral,
    /// <summary>A numeric constant.</summary>
    Number,
    /// <summary><c>$1</c>.</summary>
    Parameter,
    /// <summary>A run of operator characters, <c>::</c>, <c>:=</c>, or a character that no token begins with.</summary>
    Operator,
    /// <summary>One of <c>, ( ) [ ] . :</c>.</summary>
    Punctuation,
    /// <summary><c>;</c></summary>
    Semicolon,
}

/// <summary>A token.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Start">Byte offset.</param>
/// <param name="End">Byte offset behind it.</param>
/// <param name="Terminated">False for a literal or quoted name that the text ends in.</param>
public readonly record struct SqlToken(SqlTokenKind Kind, int Start, int End, bool Terminated = true);

/// <summary>
/// PostgreSQL's lexical rules (scan.l) over UTF-8 bytes: blanks, nested comments, all forms of constants with their continuations, operators that end
/// where a comment begins. It never fails: what is not terminated is a token up to the end, so that nothing is ever taken for a comment that isn't one.
/// </summary>
public ref struct SqlLexer
{
    private readonly ReadOnlySpan<byte> text;
    private readonly bool standardConformingStrings;
    private readonly int end;
    private int position;

    /// <summary>A lexer over a whole text or a part of it.</summary>
    /// <param name="utf8">The text.</param>
    /// <param name="standardConformingStrings">False where a backslash escapes in plain literals.</param>
    /// <param name="start">Where to begin.</param>
    public SqlLexer(ReadOnlySpan<byte> utf8, bool standardConformingStrings = true, int start = 0)
    {
        text = utf8;
        end = utf8.Length;
        position = start;
        this.standardConformingStrings = standardConformingStrings;
    }

    /// <summary>Deepest nesting of comments met so far.</summary>
    public int MaxCommentDepth { get; private set; }

    /// <summary>
    /// True where a comment stood between the parts of a constant. The server reads one constant; libpg_query, whose scanner keeps comments as tokens,
    /// reads two, the second without the first one's escapes.
    /// </summary>
    public bool CommentInLiteral { get; private set; }

    /// <summary>Where the first hint (<c>/*+ … */</c>) begins, -1 where there is none. pg_hint_plan and kin read them: they are no mere comments.</summary>
    public int FirstHint { get; private set; } = -1;

    /// <summary>Behind the last hint.</summary>
    public int LastHintEnd { get; private set; }

    /// <summary>The next token; blanks and comments are skipped.</summary>
    public SqlToken Next()
    {
        var unclosed = SkipBlanks();
        if (unclosed >= 0)
        {
            // A comment that never ends is an error for the server; as a token it stays part of the trimmed text.
            position = end;
            return new SqlToken(SqlTokenKind.Operator, unclosed, end, false);
        }

        if (position >= end)
        {
            return new SqlToken(SqlTokenKind.End, end, end);
        }

        var start = position;
        var c = text[start];
        if (IsWordStart(c))
        {
            return WordOrPrefixed(start, c);
        }

        switch (c)
        {
            case (byte)'\'':
                return Quoted(SqlTokenKind.Literal, start, start + 1, standardConformingStrings ? StringForm.Plain : StringForm.Escape);
            case (byte)'"':
                return QuotedName(start, start + 1);
            case (byte)'$':
                return Dollar(start);
            case (byte)';':
                position++;
                return new SqlToken(SqlTokenKind.Semicolon, start, position);
            case (byte)',' or (byte)'(' or (byte)')' or (byte)'[' or (byte)']':
                position++;
                return new SqlToken(SqlTokenKind.Punctuation, start, position);
            case (byte)':':
                position++;
                if (position < end && text[position] is (byte)':' or (byte)'=')
                {
                    position++;
                    return new SqlToken(SqlTokenKind.Operator, start, position);
                }

                return new SqlToken(SqlTokenKind.Punctuation, start, position);
            case (byte)'.' when start + 1 >= end || !IsDigit(text[start + 1]):
                position++;
                if (position < end && text[position] == '.')
                {
                    position++;
                    return new SqlToken(SqlTokenKind.Operator, start, position);
                }

                return new SqlToken(SqlTokenKind.Punctuation, start, position);
        }

        if (IsDigit(c) || c == '.')
        {
            return Number(start);
        }

        position++;
        if (IsOperator(c))
        {
            while (position < end && IsOperator(text[position]) && !BeginsComment(position))
            {
                position++;
            }
        }

        return new SqlToken(SqlTokenKind.Operator, start, position);
    }

    /// <summary>Whether a byte is a blank of the grammar (a no-break space is not: it is part of an identifier).</summary>
    public static bool IsBlank(byte c) => c is (byte)' ' or (byte)'\t' or (byte)'\n' or (byte)'\r' or (byte)'\f' or (byte)'\v';

    private enum StringForm
    {
        Plain,
        Escape,
    }

    private static bool IsDigit(byte c) => c is >= (byte)'0' and <= (byte)'9';

    private static bool IsWordStart(byte c) => c is (>= (byte)'a' and <= (byte)'z') or (>= (byte)'A' and <= (byte)'Z') or (byte)'_' or >= 0x80;

    private static bool IsWordPart(byte c) => IsWordStart(c) || IsDigit(c) || c == '$';

    private static bool IsOperator(byte c) => "~!@#^&|`?+-*/%<>="u8.Contains(c);

    private readonly bool BeginsComment(int at) =>
        at + 1 < end && ((text[at] == '-' && text[at + 1] == '-') || (text[at] == '/' && text[at + 1] == '*'));

    /// <summary>Skips blanks and comments. Returns where an unterminated comment begins, else -1.</summary>
    private int SkipBlanks()
    {
        while (position < end)
        {
            var c = text[position];
            if (IsBlank(c))
            {
                position++;
            }
            else if (c == '-' && BeginsComment(position))
            {
                position = EndOfLine(position);
            }
            else if (c == '/' && BeginsComment(position))
            {
                var start = position;
                if (!SkipComment())
                {
                    return start;
                }
            }
            else
            {
                break;
            }
        }

        return -1;
    }

    private readonly int EndOfLine(int from)
    {
        var length = text[from..end].IndexOfAny((byte)'\n', (byte)'\r');
        return length < 0 ? end : from + length;
    }

    private bool SkipComment()
    {
        var depth = 0;
        var start = position;
        while (position < end)
        {
            var c = text[position];
            if (c == '/' && position + 1 < end && text[position + 1] == '*')
            {
                depth++;
                MaxCommentDepth = Math.Max(MaxCommentDepth, depth);
                position += 2;
            }
            else if (c == '*' && position + 1 < end && text[position + 1] == '/')
            {
                position += 2;
                if (--depth == 0)
                {
                    if (text[start + 2] == '+')
                    {
                        FirstHint = FirstHint < 0 ? start : FirstHint;
                        LastHintEnd = position;
                    }

                    return true;
                }
            }
            else
            {
                position++;
            }
        }

        return false;
    }

    private SqlToken WordOrPrefixed(int start, byte c)
    {
        if (start + 1 < end)
        {
            var next = text[start + 1];
            var letter = c | 0x20;
            if (next == '\'' && letter is 'e' or 'b' or 'x' or 'n')
            {
                var escapes = letter == 'e' || (letter == 'n' && !standardConformingStrings);
                return Quoted(SqlTokenKind.Literal, start, start + 2, escapes ? StringForm.Escape : StringForm.Plain);
            }

            if (letter == 'u' && next == '&' && start + 2 < end)
            {
                if (text[start + 2] == '\'')
                {
                    return Quoted(SqlTokenKind.Literal, start, start + 3, StringForm.Plain);
                }

                if (text[start + 2] == '"')
                {
                    return QuotedName(start, start + 3);
                }
            }
        }

        position = start + 1;
        while (position < end && IsWordPart(text[position]))
        {
            position++;
        }

        return new SqlToken(SqlTokenKind.Word, start, position);
    }

    private SqlToken Quoted(SqlTokenKind kind, int start, int inside, StringForm form)
    {
        position = inside;
        while (true)
        {
            if (!SkipToQuoteEnd(form))
            {
                position = end;
                return new SqlToken(kind, start, end, false);
            }

            // 'a' <blanks with a line break> 'b' is one constant, and the second part keeps the form of the first.
            var next = Continuation(position);
            if (next < 0)
            {
                return new SqlToken(kind, start, position);
            }

            position = next;
        }
    }

    /// <summary>From inside a string behind its closing quote; doubled quotes are inside. False where the text ends first.</summary>
    private bool SkipToQuoteEnd(StringForm form)
    {
        while (position < end)
        {
            var rest = text[position..end];
            var at = form == StringForm.Escape ? rest.IndexOfAny((byte)'\'', (byte)'\\') : rest.IndexOf((byte)'\'');
            if (at < 0)
            {
                return false;
            }

            position += at;
            if (text[position] == '\\')
            {
                position = Math.Min(position + 2, end);
            }
            else if (position + 1 < end && text[position + 1] == '\'')
            {
                position += 2;
            }
            else
            {
                position++;
                return true;
            }
        }

        return false;
    }

    /// <summary>Where the continuation of a constant begins (behind its opening quote), or -1: blanks or <c>--</c> comments with at least one line break, then a quote.</summary>
    private int Continuation(int from)
    {
        var at = from;
        var newline = false;
        var comment = false;
        while (at < end)
        {
            var c = text[at];
            if (c is (byte)'\n' or (byte)'\r')
            {
                newline = true;
                at++;
            }
            else if (IsBlank(c))
            {
                at++;
            }
            else if (c == '-' && at + 1 < end && text[at + 1] == '-')
            {
                comment = true;
                at = EndOfLine(at);
                if (at == end)
                {
                    return -1;
                }
            }
            else
            {
                if (!newline || c != '\'')
                {
                    return -1;
                }

                CommentInLiteral |= comment;
                return at + 1;
            }
        }

        return -1;
    }

    /// <summary>A number: at most one point, then an exponent. Letters that follow are junk and an error for the server: they don't begin a literal such as e''.</summary>
    private SqlToken Number(int start)
    {
        var point = text[start] == '.';
        position = start + 1;
        while (position < end)
        {
            var c = text[position];
            if (c == '.' && !point && (position + 1 >= end || text[position + 1] != '.'))
            {
                point = true;
            }
            else if (!IsDigit(c) && !IsWordStart(c))
            {
                break;
            }
            else if (IsWordStart(c) && c != '_')
            {
                // Behind an exponent or a base's letter there is no point any more.
                point = true;
                var signed = c is (byte)'e' or (byte)'E' && position + 2 < end && text[position + 1] is (byte)'+' or (byte)'-' && IsDigit(text[position + 2]);
                position += signed ? 1 : 0;
            }

            position++;
        }

        return new SqlToken(SqlTokenKind.Number, start, position);
    }

    private SqlToken QuotedName(int start, int inside)
    {
        position = inside;
        while (position < end)
        {
            var at = text[position..end].IndexOf((byte)'"');
            if (at < 0)
            {
                break;
            }

            position += at + 1;
            if (position >= end || text[position] != '"')
            {
                return new SqlToken(SqlTokenKind.QuotedName, start, position);
            }

            position++;
        }

        position = end;
        return new SqlToken(SqlTokenKind.QuotedName, start, end, false);
    }

    private SqlToken Dollar(int start)
    {
        var at = start + 1;
        if (at < end && IsDigit(text[at]))
        {
            while (at < end && IsDigit(text[at]))
            {
                at++;
            }

            position = at;
            return new SqlToken(SqlTokenKind.Parameter, start, at);
        }

        if (at < end && IsWordStart(text[at]))
        {
            while (at < end && (IsWordStart(text[at]) || IsDigit(text[at])))
            {
                at++;
            }
        }

        if (at >= end || text[at] != '$')
        {
            position = start + 1;
            return new SqlToken(SqlTokenKind.Operator, start, position);
        }

        var tag = text[start..(at + 1)];
        var close = text[(at + 1)..end].IndexOf(tag);
        if (close < 0)
        {
            position = end;
            return new SqlToken(SqlTokenKind.DollarLiteral, start, end, false);
        }

        position = at + 1 + close + tag.Length;
        return new SqlToken(SqlTokenKind.DollarLiteral, start, position);
    }
}
