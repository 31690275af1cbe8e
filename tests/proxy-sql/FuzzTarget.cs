using System.Text;
using Countersign.Proxy.Sql.Lexing;

namespace Countersign.Proxy.Sql.Tests;

/// <summary>Any bytes in: no crash, no exception, and what holds for every analysis holds. A fuzzer calls <see cref="Run"/>; unit tests run it over the corpora.</summary>
public static class FuzzTarget
{
    public static void Run(ReadOnlySpan<byte> bytes)
    {
        foreach (var standardConformingStrings in new[] { true, false })
        {
            var task = Sql.Parser.AnalyzeAsync(bytes.ToArray(), standardConformingStrings).AsTask();
            var analysis = task.GetAwaiter().GetResult();
            var facts = analysis.Facts;
            Assert.Equal(facts.Statements.Count, analysis.Statements.Count);
            var end = 0;
            foreach (var statement in facts.Statements)
            {
                Assert.NotEmpty(statement.Kinds);
                Assert.True(statement.Start >= end && statement.Length > 0 && statement.Start + statement.Length <= bytes.Length);
                Assert.False(statement.ReadOnly && (statement.WhereAbsent || statement.Settings.Count > 0 || statement.ImpureFunctions.Count > 0));
                end = statement.Start + statement.Length;
            }

            var (start, stop) = SqlText.Trim(bytes, standardConformingStrings);
            Assert.True(start <= stop && stop <= bytes.Length);
            if (facts.Complete && stop > start)
            {
                Assert.NotEmpty(facts.Statements);
            }
        }
    }
}

public class FuzzTargetTests
{
    [Fact]
    public void The_target_runs_over_the_corpora()
    {
        foreach (var text in Seeds())
        {
            FuzzTarget.Run(Encoding.UTF8.GetBytes(text));
        }
    }

    [Fact]
    public void The_target_runs_over_damaged_corpora()
    {
        var random = new Random(4);
        foreach (var text in Seeds())
        {
            var bytes = Encoding.UTF8.GetBytes(text);
            for (var i = 0; i < 6 && bytes.Length > 1; i++)
            {
                var damaged = bytes.ToArray();
                switch (i % 3)
                {
                    case 0:
                        damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
                        break;
                    case 1:
                        damaged = damaged[..random.Next(damaged.Length)];
                        break;
                    default:
                        var at = random.Next(damaged.Length);
                        damaged = [.. damaged[at..], .. damaged[..at]];
                        break;
                }

                FuzzTarget.Run(damaged);
            }
        }
    }

    private static IEnumerable<string> Seeds() =>
        CorpusCase.Read("sql-evasion.jsonl").Concat(CorpusCase.Read("sql-harmless.jsonl")).Select(row => row.Sql)
            .Concat(File.ReadLines(Sql.Corpus("sql-statements.tsv")).Select(line => line.Split('\t')[2]))
            .Concat(Hostile.Shapes.Values.Select(shape => shape(60)));
}
