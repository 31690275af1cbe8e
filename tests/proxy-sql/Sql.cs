using System.Text;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Sql.Analysis;
using Countersign.Proxy.Sql.Native;

[assembly: Trait("group", "unit")]

namespace Countersign.Proxy.Sql.Tests;

/// <summary>The parser under test, one for all tests, and shorthand for what they look at.</summary>
internal static class Sql
{
    public static LibPgQuery Library { get; } = LibPgQuery.Load();

    public static SqlParser Parser { get; } = new(Library);

    public static SqlAnalysis Analyze(string text, bool standardConformingStrings = true) =>
        Parser.AnalyzeAsync(Encoding.UTF8.GetBytes(text), standardConformingStrings).AsTask().GetAwaiter().GetResult();

    public static OperationFacts Facts(string text) => Analyze(text).Facts;

    /// <summary>The only statement of a text that must be understood.</summary>
    public static SqlStatement One(string text)
    {
        var analysis = Analyze(text);
        Assert.True(analysis.Facts.Complete, $"{text}: {string.Join(',', analysis.Facts.Incomplete)}");
        return Assert.Single(analysis.Statements);
    }

    public static string Corpus(string name) => Path.Combine(AppContext.BaseDirectory, "corpus", name);

    /// <summary>Facts as one line, to compare and to read.</summary>
    public static string Describe(OperationFacts facts)
    {
        var text = new StringBuilder(facts.Complete ? "complete" : $"incomplete({string.Join(',', facts.Incomplete)})");
        foreach (var statement in facts.Statements)
        {
            text.Append(" | ").AppendJoin(',', statement.Kinds);
            foreach (var relation in statement.Relations)
            {
                text.Append(' ').Append(relation.Name).Append(':').Append(relation.Access);
            }

            text.AppendJoin("", statement.Functions.Select(function => $" {function}()"));
            text.AppendJoin("", statement.Settings.Select(setting => $" set:{setting}"));
            text.Append(statement.WhereAbsent ? " where-absent" : "").Append(statement.ReadOnly ? " read-only" : "");
        }

        return text.ToString();
    }
}
