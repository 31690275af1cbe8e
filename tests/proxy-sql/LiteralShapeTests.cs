using System.Globalization;
using System.Text;
using System.Text.Json;
using Countersign.Proxy.Sql.Analysis;
using Countersign.Proxy.Sql.Lexing;
using CsCheck;

namespace Countersign.Proxy.Sql.Tests;

public class LiteralShapeTests
{
    private static readonly string[] Templates =
    [
        "SELECT abalance FROM pgbench_accounts WHERE aid = {0};",
        "select * from t where a = {0} and b >= {1} or c <> {0}",
        "select a = {0}, count(*) filter (where b < {1}) from s.t group by a = {0} having max(c) != {1} order by 2 limit 10",
        "SELECT x FROM t WHERE id = {0} FOR UPDATE",
        "select f(a = {0}), set_config('work_mem', '1MB', b = {1}) from t",
        "select (select u.ssn from customers u where u.id = {0}) from t -- = 5",
        "select a from t where a = {0} union select b from u where \"b\" > {1}",
        "select * from (select 1) x where a = {0}::bigint and b <= {1} + 1 and c = {0} is true",
        "select case when a = {0} then b end from t join u on t.x = u.y and u.z = {1}",
        "select where a ={0}/* c */",
        "select a from t where a = {0} where b = {1}",
        "select a from t order by a = {0}, 1",
    ];

    // Whole numbers that mean something by their value, or aren't compared with a name, or stand where an option could.
    private static readonly string[] Kept =
    [
        "select * from t order by {0}", "select * from t limit {0}", "select cast(a as float({0}))", "select {0} = a", "select 1 = {0}",
        "select a = -{0}", "select a =- {0}", "select a = {0}.5", "select a = {0}e1", "select a = '{0}'", "select a = ${0}", "select a + {0}",
        "select a = {0}000000000", "set work_mem = {0}", "update t set a = {0} where b = {0}", "delete from t where a = {0}",
        "with x as (update t set a = {0}) select 1", "select * from (with x as (update t set a = {0} returning a) select a from x) y",
        "select 1 from t where a = {0}; drop table t", "insert into t select 1 where a = {0}", "alter table t set (fillfactor = {0})", "select $$ a = {0} $$",
        "select a = {0}_0", "select a = 0x{0}", "select a == {0}", "select a ~ {0}",
    ];

    private static readonly Gen<int> Number = Gen.OneOf(Gen.Int[0, 9], Gen.Int[0, 1000], Gen.Int[0, 999_999_999]);

    private static Gen<string> OneOf(string[] texts) => Gen.Int[0, texts.Length - 1].Select(index => texts[index]);

    private static string Fill(string template, int first, int second) => string.Format(CultureInfo.InvariantCulture, template, first, second);

    private static string? ShapeOf(string text)
    {
        var utf8 = Encoding.UTF8.GetBytes(text);
        var shape = new byte[utf8.Length];
        return LiteralShape.TryWrite(utf8, shape) ? Encoding.UTF8.GetString(shape) : null;
    }

    [Fact]
    public void An_analysis_by_shape_is_what_a_parse_of_the_text_gives()
    {
        using var shaped = new SqlParser(Sql.Library);
        using var uncached = new SqlParser(Sql.Library, new SqlParserOptions { CacheEntries = 0 });
        Gen.Select(OneOf(Templates), Number, Number).Sample(
            (template, first, second) =>
            {
                var text = Fill(template, first, second);
                var expected = Analyze(uncached, text);
                var found = Analyze(shaped, text);
                Assert.Equal(text, found.RecordedText);
                Assert.Equal(expected.TrimmedText, found.TrimmedText);
                Assert.Equal(Describe(expected), Describe(found));
            },
            iter: 2_000,
            threads: 1);
    }

    [Fact]
    public void Texts_of_one_shape_share_facts_and_model()
    {
        using var parser = new SqlParser(Sql.Library);
        for (var number = 100; number < 110; number++)
        {
            Analyze(parser, Fill(Templates[0], number, 0));
        }

        var one = Analyze(parser, Fill(Templates[0], 777, 0));
        var other = Analyze(parser, Fill(Templates[0], 888, 0));
        Assert.Same(one.Facts, other.Facts);
        Assert.Same(one.Shape, other.Shape);
        Assert.NotSame(one, other);
        Assert.Contains("888", other.RecordedText, StringComparison.Ordinal);
        Assert.NotSame(one.Facts, Analyze(parser, Fill(Templates[0], 77, 0)).Facts);
    }

    [Fact]
    public void Numbers_elsewhere_are_part_of_the_key() => Gen.Select(OneOf(Kept), Gen.Int[1, 99_999]).Sample((template, number) =>
    {
        var text = string.Format(CultureInfo.InvariantCulture, template, number);
        Assert.Null(ShapeOf(text));
    });

    [Fact]
    public void A_shape_changes_digits_only() => Gen.Select(OneOf(Templates), Number, Number).Sample((template, first, second) =>
    {
        var text = Fill(template, first, second);
        var shape = ShapeOf(text);
        if (shape is not null)
        {
            Assert.Equal(text.Length, shape.Length);
            for (var index = 0; index < text.Length; index++)
            {
                Assert.True(text[index] == shape[index] || (char.IsAsciiDigit(text[index]) && shape[index] == '0'), shape);
            }
        }
    });

    [Fact]
    public void The_shape_of_the_corpus_is_understood_as_the_corpus_is()
    {
        using var parser = new SqlParser(Sql.Library, new SqlParserOptions { CacheEntries = 0 });
        foreach (var text in new[] { "sql-evasion.jsonl", "sql-harmless.jsonl" }.SelectMany(name => File.ReadLines(Sql.Corpus(name))).Select(TextOf))
        {
            if (text.Length is > 0 and <= LiteralShape.MaxBytes && ShapeOf(text) is { } shape)
            {
                Assert.Equal(Describe(Analyze(parser, text)), Describe(Analyze(parser, shape)));
            }
        }
    }

    private static string TextOf(string line)
    {
        using var json = JsonDocument.Parse(line);
        return json.RootElement.GetProperty("sql").GetString()!;
    }

    private static SqlAnalysis Analyze(SqlParser parser, string text) =>
        parser.AnalyzeAsync(Encoding.UTF8.GetBytes(text)).AsTask().GetAwaiter().GetResult();

    /// <summary>Everything that decisions and masks are made of.</summary>
    private static string Describe(SqlAnalysis analysis)
    {
        var text = new StringBuilder(Sql.Describe(analysis.Facts));
        foreach (var statement in analysis.Statements)
        {
            text.Append(CultureInfo.InvariantCulture, $" [{statement.Facts.Start}+{statement.Facts.Length} {statement.Shape} {statement.Writes} {statement.Opaque} {statement.Effect} ");
            text.AppendJoin(' ', statement.Facts.ImpureFunctions).AppendJoin(' ', statement.Settings);
            foreach (var block in statement.Blocks)
            {
                text.Append(CultureInfo.InvariantCulture, $" ({block.Kind} {block.Distinct} ").AppendJoin(' ', block.Ordinals);
                text.AppendJoin(' ', block.Sources.Select(source => $"{source.Kind}:{source.Name}:{source.Alias}"));
                text.AppendJoin(' ', block.Outputs.Select(output => $"{output.Kind}:{output.Name}:{Columns(output.Reads)}"));
                text.Append(" filters ").Append(Columns(block.Filters)).Append(" stored ").Append(Columns(block.Stored)).Append(" compared ").Append(Columns(block.Compared));
                text.AppendJoin(' ', block.Calls.Select(call => call.Name)).Append(')');
            }
        }

        return text.ToString();
    }

    private static string Columns(SqlReads reads) => $"{string.Join(',', reads.Columns)}/{reads.Blocks.Count}/{string.Join(',', reads.Functions)}";
}
