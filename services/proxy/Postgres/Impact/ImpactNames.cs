using System.Text;
using Countersign.Proxy.Sql.Lexing;

namespace Countersign.Proxy.Postgres.Impact;

/// <summary>Every name that stands in a text, whatever it names, as the server reads it: <c>t.f</c> may be a column, or a function of a row.</summary>
/// <param name="All">Names, each once.</param>
/// <param name="HasDefault">Whether the keyword DEFAULT stands in it. It is reserved: nothing else can be written like that.</param>
internal sealed record ImpactNames(IReadOnlyList<string> All, bool HasDefault)
{
    // NAMEDATALEN: the server cuts longer ones.
    private const int MaxBytes = 63;

    /// <summary>Names of a text; null where one can't be told with certainty.</summary>
    public static ImpactNames? Of(string text)
    {
        var utf8 = Encoding.UTF8.GetBytes(text);
        var lexer = new SqlLexer(utf8);
        var names = new HashSet<string>(StringComparer.Ordinal);
        var hasDefault = false;
        while (lexer.Next() is { Kind: not SqlTokenKind.End } token)
        {
            if (token.Kind is not (SqlTokenKind.Word or SqlTokenKind.QuotedName))
            {
                continue;
            }

            var length = token.End - token.Start;
            var name = Encoding.UTF8.GetString(utf8, token.Start, length);
            if (token.Kind == SqlTokenKind.QuotedName)
            {
                if (!token.Terminated || name[0] != '"')
                {
                    // U&"": escapes.
                    return null;
                }

                name = name[1..^1].Replace("\"\"", "\"", StringComparison.Ordinal);
            }

            if (Encoding.UTF8.GetByteCount(name) > MaxBytes)
            {
                return null;
            }

            names.Add(name);
            if (token.Kind == SqlTokenKind.Word)
            {
                // Whether letters beyond ASCII are folded depends on the server's encoding.
                names.Add(Ascii(name));
                names.Add(name.ToLowerInvariant());
                hasDefault |= string.Equals(name, "default", StringComparison.OrdinalIgnoreCase);
            }
        }

        return new ImpactNames([.. names], hasDefault);
    }

    private static string Ascii(string name) => string.Create(name.Length, name, static (span, text) =>
    {
        for (var index = 0; index < span.Length; index++)
        {
            span[index] = char.IsAsciiLetterUpper(text[index]) ? (char)(text[index] | 0x20) : text[index];
        }
    });
}
