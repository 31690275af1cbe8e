using System.Text;
using System.Text.RegularExpressions;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Lexing;

/// <summary>
/// Replaces secrets in the text that is recorded. By what the statement is where it parsed; where it did not, but looks as if it held a
/// secret, all literals go: a record that shows too little is better than one that keeps a password.
/// </summary>
public static partial class Secrets
{
    private const string Mask = "'***'";

    private static readonly byte[][] Hints =
    [
        .. new[] { "passw", "pwd", "secret", "token", "crypt", "pgp_", "hmac", "dblink", "mapping", "subscription", "server", "_key", "credential", "conninfo", "://" }
            .Select(Encoding.ASCII.GetBytes),
    ];

    /// <summary>Whether a text may hold a secret: a cheap test that most texts fail.</summary>
    public static bool MayContain(ReadOnlySpan<byte> utf8)
    {
        byte[]? rented = null;
        var lower = utf8.Length <= 1024 ? stackalloc byte[utf8.Length] : (rented = System.Buffers.ArrayPool<byte>.Shared.Rent(utf8.Length)).AsSpan(0, utf8.Length);
        try
        {
            for (var i = 0; i < utf8.Length; i++)
            {
                var c = utf8[i];
                lower[i] = c is >= (byte)'A' and <= (byte)'Z' ? (byte)(c | 0x20) : c;
            }

            foreach (var hint in Hints)
            {
                if (lower.IndexOf(hint) >= 0)
                {
                    return true;
                }
            }

            // Escapes in names and literals can spell any of them.
            return lower.IndexOf("u&"u8) >= 0;
        }
        finally
        {
            if (rented is not null)
            {
                System.Buffers.ArrayPool<byte>.Shared.Return(rented);
            }
        }
    }

    /// <summary>The text for the record.</summary>
    /// <param name="utf8">The text.</param>
    /// <param name="standardConformingStrings">How literals are read.</param>
    /// <param name="statements">What it is; null where it did not parse.</param>
    public static string Hide(ReadOnlySpan<byte> utf8, bool standardConformingStrings, IReadOnlyList<SqlStatement>? statements)
    {
        if (!MayContain(utf8))
        {
            return Encoding.UTF8.GetString(utf8);
        }

        var text = new StringBuilder();
        var done = 0;
        var lexer = new SqlLexer(utf8, standardConformingStrings);
        var current = 0;
        var rule = statements is null ? Rule.All : Rule.ByName;
        var previous = default(SqlToken);
        var assigned = false;
        while (lexer.Next() is { Kind: not SqlTokenKind.End } token)
        {
            if (statements is not null)
            {
                while (current < statements.Count && token.Start >= statements[current].Facts.Start)
                {
                    rule = RuleOf(statements[current]);
                    assigned = false;
                    current++;
                }
            }

            var content = utf8[token.Start..token.End];
            var replacement = token.Kind switch
            {
                SqlTokenKind.Literal => IsSecret(rule, utf8, previous, content) ? Mask : null,
                SqlTokenKind.DollarLiteral => Dollar(rule, utf8, previous, content, standardConformingStrings),
                // SET my.password = word
                SqlTokenKind.Word or SqlTokenKind.Number or SqlTokenKind.QuotedName when rule == Rule.Setting && assigned => Mask,
                _ => null,
            };
            assigned |= token.Kind == SqlTokenKind.Operator && content[^1] == '=';
            assigned |= token.Kind == SqlTokenKind.Word && Is(content, "to"u8);
            if (replacement is not null)
            {
                text.Append(Encoding.UTF8.GetString(utf8[done..token.Start])).Append(replacement);
                done = token.End;
            }

            previous = token;
        }

        return text.Append(Encoding.UTF8.GetString(utf8[done..])).ToString();
    }

    private enum Rule
    {
        /// <summary>Literals behind a name that means a secret, and literals that look like one.</summary>
        ByName,
        /// <summary>All literals, and the words assigned.</summary>
        Setting,
        /// <summary>All literals but a user's name.</summary>
        Mapping,
        /// <summary>All literals.</summary>
        All,
    }

    private static Rule RuleOf(SqlStatement statement)
    {
        var facts = statement.Facts;
        if (facts.Settings.Any(name => SecretName().IsMatch(name) || name is "*" or "primary_conninfo"))
        {
            return Rule.Setting;
        }

        if (facts.Kinds.Any(kind => kind is "CREATE USER MAPPING" or "ALTER USER MAPPING"))
        {
            return Rule.Mapping;
        }

        if (facts.Kinds.Any(kind => kind is "CREATE SUBSCRIPTION" or "ALTER SUBSCRIPTION")
            || facts.Functions.Any(function => SecretFunction().IsMatch(function.Name)))
        {
            return Rule.All;
        }

        return Rule.ByName;
    }

    private static bool IsSecret(Rule rule, ReadOnlySpan<byte> utf8, SqlToken previous, ReadOnlySpan<byte> literal)
    {
        if (rule is Rule.All or Rule.Setting)
        {
            return true;
        }

        var name = previous.Kind is SqlTokenKind.Word or SqlTokenKind.QuotedName ? Encoding.UTF8.GetString(utf8[previous.Start..previous.End]).Trim('"') : "";
        if (rule == Rule.Mapping)
        {
            return name is not ("user" or "username");
        }

        return SecretName().IsMatch(name) || name.StartsWith("U&", StringComparison.OrdinalIgnoreCase) || SecretContent().IsMatch(Encoding.UTF8.GetString(literal));
    }

    /// <summary>A dollar-quoted literal is mostly code: the code stays readable, the literals in it go.</summary>
    private static string? Dollar(Rule rule, ReadOnlySpan<byte> utf8, SqlToken previous, ReadOnlySpan<byte> literal, bool standardConformingStrings)
    {
        if (IsSecret(rule, utf8, previous, literal) && (rule != Rule.ByName || SecretName().IsMatch(Encoding.UTF8.GetString(utf8[previous.Start..previous.End]))))
        {
            return Mask;
        }

        var tagEnd = literal[1..].IndexOf((byte)'$') + 2;
        if (literal.Length < 2 * tagEnd || !MayContain(literal))
        {
            return null;
        }

        var tag = Encoding.UTF8.GetString(literal[..tagEnd]);
        return tag + HideAll(literal[tagEnd..^tagEnd], standardConformingStrings) + tag;
    }

    /// <summary>Replaces every literal of a body; one inside another goes as a whole, so this never nests.</summary>
    private static string HideAll(ReadOnlySpan<byte> body, bool standardConformingStrings)
    {
        var text = new StringBuilder();
        var done = 0;
        var lexer = new SqlLexer(body, standardConformingStrings);
        while (lexer.Next() is { Kind: not SqlTokenKind.End } token)
        {
            if (token.Kind is SqlTokenKind.Literal or SqlTokenKind.DollarLiteral)
            {
                text.Append(Encoding.UTF8.GetString(body[done..token.Start])).Append(Mask);
                done = token.End;
            }
        }

        return text.Append(Encoding.UTF8.GetString(body[done..])).ToString();
    }

    private static bool Is(ReadOnlySpan<byte> word, ReadOnlySpan<byte> lower) => System.Text.Ascii.EqualsIgnoreCase(word, lower);

    [GeneratedRegex("passw|pwd|secret|token|credential|api_?key|access_?key|private_?key|passphrase|encryption_?key|_key$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex SecretName();

    [GeneratedRegex("^(crypt|pgp_.*|encrypt(_iv)?|decrypt(_iv)?|hmac|dblink_connect(_u)?|dblink)$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex SecretFunction();

    /// <summary>A literal that holds an assignment to a password, or an address with one.</summary>
    [GeneratedRegex("(passw|pwd|secret|token)[a-z_]*[\"']*\\s*(=|:|\\s)|://[^/\\s]*:[^/\\s]*@", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex SecretContent();
}
