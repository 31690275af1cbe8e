using System.Text;
using System.Text.Json;
using Countersign.Cli.Output;
using CsCheck;

namespace Countersign.Cli.Tests;

[Trait("group", "unit")]
public sealed class TerminalTextTests
{
    /// <summary>The table that every surface is tried with (tests/corpus/visible-text.jsonl).</summary>
    public static TheoryData<string, string, string> Table => [.. File.ReadLines(Path.Combine(AppContext.BaseDirectory, "corpus", "visible-text.jsonl"))
        .Select(line => JsonDocument.Parse(line).RootElement)
        .Select(each => (each.GetProperty("name").GetString()!, each.GetProperty("text").GetString()!, (each.TryGetProperty("terminal", out var own) ? own : each.GetProperty("visible")).GetString()!))];

    [Theory]
    [MemberData(nameof(Table))]
    public void What_is_shown_everywhere_is_shown_here(string name, string text, string visible)
    {
        Assert.NotEmpty(name);
        Assert.Equal(visible, string.Join('\n', TerminalText.Lines(text)));
    }

    [Theory]
    [InlineData("SELECT 1", "SELECT 1")]
    [InlineData("a\u001b[2Jb", "a⟦U+001B⟧[2Jb")]
    [InlineData("a\rb\tc\nd", "a⟦U+000D⟧b⟦U+0009⟧c⟦U+000A⟧d")]
    [InlineData("x\u202e--\u2066y", "x⟦U+202E⟧--⟦U+2066⟧y")]
    [InlineData("zero\u200bwidth\ufeff", "zero⟦U+200B⟧width⟦U+FEFF⟧")]
    [InlineData("no\u00a0break", "no⟦U+00A0⟧break")]
    [InlineData("c1\u009bm", "c1⟦U+009B⟧m")]
    [InlineData("tag\U000E0041", "tag⟦U+E0041⟧")]
    [InlineData("\u05d0 = 1", "⟦U+05D0⟧ = 1")]
    [InlineData("e\u0301", "e⟦U+0301⟧")]
    [InlineData("\u3164", "⟦U+3164⟧")]
    [InlineData("naïve café Ж 漢 €", "naïve café Ж 漢 €")]
    [InlineData("not an escape: ⟦U+202E⟧", "not an escape: ⟦U+27E6⟧U+202E⟦U+27E7⟧")]
    public void Whatever_could_deceive_is_shown_as_code_point(string text, string expected) => Assert.Equal(expected, TerminalText.Line(text));

    [Fact]
    public void Half_a_character_is_shown_as_what_it_is() => Assert.Equal("lone ⟦U+D800⟧!", TerminalText.Line("lone \ud800!"));

    [Fact]
    public void Nothing_is_left_out_and_two_texts_never_look_the_same() =>
        Gen.OneOf(Gen.String, Gen.OneOf<string>([.. new[] { "⟦U+202E⟧", "⟦U+", "\u202e", "⟦", "U+003C⟧", "\ud83d", "\ude00", "\n" }.Select(Gen.Const)])).Array[0, 8]
            .Select(string.Concat)
            .Sample(text => Assert.Equal(text, Decode(TerminalText.Line(text))));

    [Fact]
    public void What_is_shown_is_printable() =>
        Gen.String.Sample(text => Assert.DoesNotContain(TerminalText.Line(text).EnumerateRunes(), rune =>
            Rune.GetUnicodeCategory(rune) is System.Globalization.UnicodeCategory.Control or System.Globalization.UnicodeCategory.Format || rune == Rune.ReplacementChar && !text.Contains('\uFFFD', StringComparison.Ordinal)));

    [Fact]
    public void Lines_are_kept_apart_only_by_line_feeds() => Assert.Equal(["a⟦U+000D⟧", "b⟦U+2028⟧c", ""], TerminalText.Lines("a\r\nb\u2028c\n"));

    [Fact]
    public void Letters_of_other_alphabets_are_named() => Assert.Equal(["U+0430 (а)", "U+20AC (€)"], TerminalText.Unusual("sаlary € а\u202e"));

    // The inverse: possible only if every escape is unambiguous.
    private static string Decode(string shown)
    {
        var result = new StringBuilder();
        for (var index = 0; index < shown.Length; index++)
        {
            if (string.CompareOrdinal(shown, index, "⟦U+", 0, 3) != 0)
            {
                result.Append(shown[index]);
                continue;
            }

            var end = shown.IndexOf('⟧', index);
            var value = Convert.ToInt32(shown[(index + 3)..end], 16);
            result.Append(value is >= 0xD800 and <= 0xDFFF ? ((char)value).ToString() : char.ConvertFromUtf32(value));
            index = end;
        }

        return result.ToString();
    }
}
