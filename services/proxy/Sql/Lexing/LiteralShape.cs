namespace Countersign.Proxy.Sql.Lexing;

/// <summary>
/// The shape of a text: itself, with the digits of the whole numbers that columns are compared with written as 0. Texts of one shape have the same facts and the
/// same model, byte for byte the same offsets too, so that a client that writes its keys into its texts is understood once.
/// </summary>
/// <remarks>
/// Why that is certain: the grammar makes a constant of a whole number, whatever its value, where it stands behind a comparison operator in an expression, and no
/// fact is taken from such a constant. Whole numbers elsewhere mean something by their value (<c>ORDER BY 2</c>, <c>float(24)</c>, <c>LIMIT</c>) and
/// are kept, as are those of ten digits or more, which the grammar reads as another kind of number. One SELECT without SET only: in other statements
/// <c>name = 5</c> can be an option. See docs/decisions/0403-one-shape-one-analysis.md.
/// </remarks>
public static class LiteralShape
{
    /// <summary>Longest text that is looked at: the caller keeps the shape on its stack.</summary>
    public const int MaxBytes = 1024;

    private const int MaxDigits = 9;

    /// <summary>Writes the shape of a text.</summary>
    /// <param name="utf8">A text that passed the first scan, read with standard_conforming_strings on.</param>
    /// <param name="shape">Room for as many bytes.</param>
    /// <returns>False where the text has no other shape than itself.</returns>
    public static bool TryWrite(ReadOnlySpan<byte> utf8, Span<byte> shape)
    {
        var lexer = new SqlLexer(utf8);
        var token = lexer.Next();
        if (!IsWord(utf8, token, "select"u8))
        {
            return false;
        }

        utf8.CopyTo(shape);
        var found = false;
        SqlToken before = default, last = token;
        while ((token = lexer.Next()).Kind != SqlTokenKind.End)
        {
            if (last.Kind == SqlTokenKind.Semicolon || !token.Terminated || IsWord(utf8, token, "set"u8))
            {
                return false;
            }

            if (token.Kind == SqlTokenKind.Number && (before.Kind is SqlTokenKind.Word or SqlTokenKind.QuotedName) && IsComparison(utf8, last) && IsWhole(utf8, token))
            {
                shape[token.Start..token.End].Fill((byte)'0');
                found = true;
            }

            before = last;
            last = token;
        }

        return found;
    }

    private static bool IsWord(ReadOnlySpan<byte> utf8, SqlToken token, ReadOnlySpan<byte> lowerCase) =>
        token.Kind == SqlTokenKind.Word && System.Text.Ascii.EqualsIgnoreCase(utf8[token.Start..token.End], lowerCase);

    private static bool IsComparison(ReadOnlySpan<byte> utf8, SqlToken token)
    {
        if (token.Kind != SqlTokenKind.Operator)
        {
            return false;
        }

        var text = utf8[token.Start..token.End];
        return text.SequenceEqual("="u8) || text.SequenceEqual("<"u8) || text.SequenceEqual(">"u8) || text.SequenceEqual("<="u8) || text.SequenceEqual(">="u8)
            || text.SequenceEqual("<>"u8) || text.SequenceEqual("!="u8);
    }

    private static bool IsWhole(ReadOnlySpan<byte> utf8, SqlToken token) =>
        token.End - token.Start <= MaxDigits && !utf8[token.Start..token.End].ContainsAnyExceptInRange((byte)'0', (byte)'9');
}
