using System.Text;
using Countersign.Proxy.Sql.Lexing;
using CsCheck;

namespace Countersign.Proxy.Sql.Tests;

/// <summary>The lexer against the real scanner, and the laws of trimming.</summary>
public class LexerTests
{
    /// <summary>Pieces that meet badly.</summary>
    private static readonly string[] Pieces =
    [
        "select", " ", "\n", "\r", "\t", "\f", "a", "E", "e", "U&", "u&", "n", "x", "b", "'", "''", "\\'", "\\", "\"", "\"\"", "$", "$$", "$a$", "$1", "1", "1.5", ".", "..", "1e5",
        ";", ",", "(", ")", "[", "]", ":", "::", ":=", "+", "-", "--", "/*", "*/", "*", "/", "<", ">", "=", "@", "|", "||", "?", "%", "~", "!", "#", "&", "\u00e9", "\u00a0", "\u4e2d", "_",
        "-- c\n", "/* c */", "'a'", "E'a\\''", "'a'\n'b'", "\"q;\"", "$$;$$", "uescape", "drop", "from", "t",
    ];

    private static readonly Gen<string> Text = Gen.Int[0, Pieces.Length - 1].Array[0, 14].Select(indexes => string.Concat(indexes.Select(index => Pieces[index])));

    [Fact]
    public void Tokens_are_where_the_real_scanner_has_them() => Text.Sample(
        text =>
        {
            var utf8 = Encoding.UTF8.GetBytes(text);
            var lexer = new SqlLexer(utf8);
            var tokens = new List<(int Start, int End)>();
            var terminated = true;
            while (lexer.Next() is { Kind: not SqlTokenKind.End } token)
            {
                terminated &= token.Terminated;
                tokens.Add((token.Start, token.End));
            }

            if (NativeScanner.Scan(text) is not { } expected || lexer.CommentInLiteral)
            {
                // The scanner fails where something isn't terminated, and on junk.
                return;
            }

            Assert.True(terminated, text);
            // Coarser tokens are right as long as no border of a token of ours lies inside one of the scanner's, and both cover the same.
            var borders = expected.SelectMany(token => new[] { token.Start, token.End }).ToHashSet();
            Assert.All(tokens, token => Assert.True(borders.Contains(token.Start) && borders.Contains(token.End), $"{text}: {token}"));
            Assert.Equal(Covered(expected.Select(token => (token.Start, token.End)), utf8), Covered(tokens, utf8));
        },
        iter: 50_000,
        print: text => System.Text.Json.JsonSerializer.Serialize(text));

    [Fact]
    public void Trimming_twice_is_trimming_once() => Text.Sample(
        text => Assert.Equal(SqlText.Trim(text), SqlText.Trim(SqlText.Trim(text))), iter: 20_000);

    [Fact]
    public void Trimming_never_changes_what_is_parsed() => Text.Sample(
        text =>
        {
            var whole = Sql.Facts(text);
            if (whole.Complete)
            {
                Assert.Equal(Sql.Describe(whole), Sql.Describe(Sql.Facts(SqlText.Trim(text))));
            }
        },
        iter: 20_000);

    [Theory]
    [InlineData("select 1", "select 1")]
    [InlineData(" ;; /* a */ select 1 -- b\n ; /* c */ ", "select 1")]
    [InlineData("select 1; select 2;", "select 1; select 2")]
    [InlineData("-- nothing", "")]
    [InlineData("", "")]
    [InlineData(" ; ", "")]
    [InlineData("/* /* */ select 1", "/* /* */ select 1")]
    [InlineData("select 'a -- b", "select 'a -- b")]
    [InlineData("select 1 /* open", "select 1 /* open")]
    [InlineData("select $$ -- $$ -- c", "select $$ -- $$")]
    [InlineData("select 1 --c\r;", "select 1")]
    [InlineData("\u00a0select 1", "\u00a0select 1")]
    [InlineData("select 'a'\n'b' ;", "select 'a'\n'b'")]
    [InlineData("select 1 as \"a;\" ;", "select 1 as \"a;\"")]
    [InlineData("select a --;\n+ 1", "select a --;\n+ 1")]
    public void A_text_is_trimmed_to_its_tokens(string text, string trimmed)
    {
        Assert.Equal(trimmed, SqlText.Trim(text));
        Assert.Equal(trimmed, Sql.Analyze(text).TrimmedText);
    }

    [Fact]
    public void A_backslash_ends_no_literal_only_where_the_setting_says_so()
    {
        Assert.Equal("select 'a\\'", SqlText.Trim("select 'a\\' -- '"));
        Assert.Equal("select 'a\\' -- '", SqlText.Trim("select 'a\\' -- '", false));
    }

    /// <summary>Every blank and comment between tokens, and the casing of words, may change without changing facts.</summary>
    [Fact]
    public void Blanks_comments_and_casing_change_no_facts()
    {
        var texts = CorpusCase.Read("sql-harmless.jsonl").Concat(CorpusCase.Read("sql-evasion.jsonl")).Where(row => row.PadTo == 0 && !row.NonConforming)
            .Select(row => row.Sql).Where(text => Sql.Facts(text).Complete || Sql.Facts(text).Statements.Count > 0).ToArray();
        (from index in Gen.Int[0, texts.Length - 1] from seed in Gen.Int select (text: texts[index], seed)).Sample(
            row => Assert.Equal(Sql.Describe(Sql.Facts(row.text)), Sql.Describe(Sql.Facts(Mutate(row.text, new Random(row.seed))))),
            iter: 3_000,
            print: row => Mutate(row.text, new Random(row.seed)));
    }

    /// <summary>Bytes that tokens cover; operator runs and adjoining tokens alike.</summary>
    private static string Covered(IEnumerable<(int Start, int End)> tokens, byte[] utf8)
    {
        var covered = new char[utf8.Length];
        Array.Fill(covered, ' ');
        foreach (var (start, end) in tokens)
        {
            Array.Fill(covered, 'x', start, end - start);
        }

        return new string(covered);
    }

    private static string Mutate(string text, Random random)
    {
        string[] blanks = [" ", "\n", "\t", " /* c */ ", " -- d\n", "/**/ ", "\r\n", " /* ' */ ", " -- \"\n", " /* $$ */ "];
        var utf8 = Encoding.UTF8.GetBytes(text);
        var lexer = new SqlLexer(utf8);
        var mutated = new StringBuilder();
        var previous = 0;
        SqlToken last = default;
        while (lexer.Next() is { Kind: not SqlTokenKind.End } token)
        {
            // The library's look-ahead doesn't skip comments (NOT /**/ IN, U&'' /**/ UESCAPE): blanks only there; and none where none stood.
            var apart = token.Start > previous;
            var word = last.Kind == SqlTokenKind.Word ? Encoding.UTF8.GetString(utf8[last.Start..last.End]).ToUpperInvariant() : "";
            var ahead = word is "NOT" or "NULLS" or "WITH" or "WITHOUT" or "FORMAT" or "UESCAPE"
                || (last.Kind is SqlTokenKind.Literal or SqlTokenKind.QuotedName && token.Kind is SqlTokenKind.Literal or SqlTokenKind.Word);
            mutated.Append(!apart ? "" : ahead ? " " : blanks[random.Next(blanks.Length)]);
            var content = Encoding.UTF8.GetString(utf8[token.Start..token.End]);
            mutated.Append(token.Kind == SqlTokenKind.Word && content.All(char.IsAscii)
                ? string.Concat(content.Select(c => random.Next(2) == 0 ? char.ToUpperInvariant(c) : char.ToLowerInvariant(c)))
                : content);
            previous = token.End;
            last = token;
        }

        return mutated.ToString();
    }
}
