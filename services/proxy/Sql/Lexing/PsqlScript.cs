using System.Text;

namespace Countersign.Proxy.Sql.Lexing;

/// <summary>
/// Splits a script as psql does (psqlscan.l of psql 14 and later): at semicolons outside of parentheses and of the body of a SQL-standard function. Each
/// part is one simple Query of psql's. What only psql itself can do (backslash commands, variables) is a problem, not a guess.
/// </summary>
public static class PsqlScript
{
    /// <summary>Most statements of one script.</summary>
    public const int MaxStatements = 1000;

    /// <summary>Splits a script.</summary>
    /// <param name="script">The file's text.</param>
    /// <param name="problem">Why it can't be split with certainty, for people; null where it was.</param>
    /// <returns>The statements in order, each with its semicolon and whatever stands before it; empty where there is a problem.</returns>
    public static IReadOnlyList<string> Split(string script, out string? problem)
    {
        ArgumentNullException.ThrowIfNull(script);

        // As psql does with the first line of a file.
        var utf8 = Encoding.UTF8.GetBytes(script.StartsWith('\uFEFF') ? script[1..] : script);
        var statements = new List<string>();
        problem = utf8.AsSpan().Contains((byte)0) ? "It has a NUL character." : Scan(utf8, statements);
        return problem is null ? statements : [];
    }

    private static string? Scan(ReadOnlySpan<byte> utf8, List<string> statements)
    {
        var lexer = new SqlLexer(utf8);
        var start = 0;
        var any = false;
        var parentheses = 0;
        var body = new FunctionBody();
        while (true)
        {
            var token = lexer.Next();
            switch (token.Kind)
            {
                case SqlTokenKind.End:
                    return any ? Add(statements, utf8[start..]) : null;
                case SqlTokenKind.Semicolon when parentheses == 0 && !body.Open:
                    if (any && Add(statements, utf8[start..token.End]) is { } tooMany)
                    {
                        return tooMany;
                    }

                    start = token.End;
                    any = false;
                    body = new FunctionBody();
                    continue;
            }

            any = true;
            var text = utf8[token.Start..token.End];
            if (!token.Terminated)
            {
                return $"Line {Line(utf8, token.Start)}: a literal, name or comment begins here and never ends.";
            }

            if (token.Kind == SqlTokenKind.Word)
            {
                body = body.Word(text, parentheses);
            }
            else if (text is [(byte)'\\'])
            {
                return $"Line {Line(utf8, token.Start)}: backslash commands are run by psql itself and can't be approved ahead of time. Leave them out.";
            }
            else if (text is [(byte)':'] && token.End < utf8.Length && BeginsVariable(utf8[token.End]))
            {
                return $"Line {Line(utf8, token.Start)}: psql may put a variable in here, so what will run isn't known. Write the value, or a blank behind the colon where none is meant.";
            }
            else if (text is [(byte)'('])
            {
                parentheses++;
            }
            else if (text is [(byte)')'] && parentheses > 0)
            {
                parentheses--;
            }
        }
    }

    private static string? Add(List<string> statements, ReadOnlySpan<byte> text)
    {
        if (statements.Count == MaxStatements)
        {
            return $"It has more than {MaxStatements} statements.";
        }

        statements.Add(Encoding.UTF8.GetString(text));
        return null;
    }

    // A variable of digits only can't be a predefined one, and array slices look like that.
    private static bool BeginsVariable(byte next) =>
        next is (>= (byte)'a' and <= (byte)'z') or (>= (byte)'A' and <= (byte)'Z') or (byte)'_' or (byte)'\'' or (byte)'"' or (byte)'{' or >= 0x80;

    private static int Line(ReadOnlySpan<byte> utf8, int at) => utf8[..at].Count((byte)'\n') + 1;

    /// <summary>psql's heuristic for CREATE [OR REPLACE] FUNCTION or PROCEDURE … BEGIN ATOMIC … END, whose semicolons don't end the statement.</summary>
    private readonly record struct FunctionBody(int Words, string Beginning, int Depth)
    {
        public FunctionBody()
            : this(0, "", 0)
        {
        }

        public bool Open => Depth > 0;

        public FunctionBody Word(ReadOnlySpan<byte> word, int parentheses)
        {
            var lower = Encoding.UTF8.GetString(word).ToLowerInvariant();
            var beginning = Words < 4 && lower is "create" or "or" or "replace" or "function" or "procedure" ? Beginning.PadRight(Words, '?') + lower[0] : Beginning;
            var depth = Depth;
            if (parentheses == 0
                && (beginning.StartsWith("cf", StringComparison.Ordinal) || beginning.StartsWith("cp", StringComparison.Ordinal)
                    || beginning.StartsWith("corf", StringComparison.Ordinal) || beginning.StartsWith("corp", StringComparison.Ordinal)))
            {
                depth += lower switch
                {
                    "begin" => 1,
                    "case" when depth > 0 => 1,
                    "end" when depth > 0 => -1,
                    _ => 0,
                };
            }

            return new FunctionBody(Words + 1, beginning, depth);
        }
    }
}
