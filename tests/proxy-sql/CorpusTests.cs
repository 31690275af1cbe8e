using System.Text;
using System.Text.Json;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Sql.Tests;

/// <summary>One case of a corpus file (JSON Lines, tests/corpus/sql-*.jsonl).</summary>
public sealed record CorpusCase
{
    public string Sql { get; init; } = "";
    /// <summary>Blanks are added up to so many bytes.</summary>
    public int PadTo { get; init; }
    /// <summary>standard_conforming_strings is off.</summary>
    public bool NonConforming { get; init; }
    /// <summary>Kinds that must show in some statement.</summary>
    public IReadOnlyList<string> Kinds { get; init; } = [];
    /// <summary>Kinds that must not show: the server would not run them either.</summary>
    public IReadOnlyList<string> Without { get; init; } = [];
    /// <summary>Code that must be given; null where the facts must be complete.</summary>
    public string? Incomplete { get; init; }
    /// <summary>name:Access that must show.</summary>
    public IReadOnlyList<string> Relations { get; init; } = [];
    public IReadOnlyList<string> Functions { get; init; } = [];
    public IReadOnlyList<string> Settings { get; init; } = [];
    public bool? WhereAbsent { get; init; }
    public bool? ReadOnly { get; init; }
    /// <summary>A function that isn't known to be pure must show.</summary>
    public bool Impure { get; init; }
    /// <summary>Where a harmless text comes from.</summary>
    public string? From { get; init; }

    public string Text => PadTo > 0 ? Sql.PadRight(PadTo) : Sql;

    public static IEnumerable<CorpusCase> Read(string file) =>
        File.ReadLines(Tests.Sql.Corpus(file)).Select(line => JsonSerializer.Deserialize<CorpusCase>(line, Web)!);

    private static JsonSerializerOptions Web { get; } = new(JsonSerializerDefaults.Web) { UnmappedMemberHandling = System.Text.Json.Serialization.JsonUnmappedMemberHandling.Disallow };
}

/// <summary>Attempts to hide something must show it or be incomplete; harmless texts must be understood. Both against the real grammar.</summary>
public class CorpusTests
{
    public static TheoryData<int, string> Evasions() => Rows("sql-evasion.jsonl");

    public static TheoryData<int, string> Harmless() => Rows("sql-harmless.jsonl");

    [Theory]
    [MemberData(nameof(Evasions))]
    public void An_evasion_shows(int line, string sql)
    {
        _ = sql;
        Check(CorpusCase.Read("sql-evasion.jsonl").ElementAt(line - 1));
    }

    [Theory]
    [MemberData(nameof(Harmless))]
    public void A_harmless_text_is_understood(int line, string sql)
    {
        _ = sql;
        var expected = CorpusCase.Read("sql-harmless.jsonl").ElementAt(line - 1);
        Assert.Null(expected.Incomplete);
        Check(expected);
    }

    [Fact]
    public void The_corpora_are_as_large_as_they_should_be()
    {
        Assert.True(Evasions().Count >= 120);
        Assert.True(Harmless().Count >= 120);
    }

    private static TheoryData<int, string> Rows(string file)
    {
        var rows = new TheoryData<int, string>();
        foreach (var (index, row) in CorpusCase.Read(file).Index())
        {
            rows.Add(index + 1, row.Sql.Length > 100 ? row.Sql[..100] : row.Sql);
        }

        return rows;
    }

    private static void Check(CorpusCase expected)
    {
        var facts = Sql.Analyze(expected.Text, !expected.NonConforming).Facts;
        var described = Sql.Describe(facts);
        if (expected.Incomplete is { } code)
        {
            Assert.False(facts.Complete, described);
            Assert.True(facts.Incomplete.Contains(code), described);
        }
        else
        {
            Assert.True(facts.Complete, described);
        }

        foreach (var kind in expected.Kinds)
        {
            Assert.True(facts.Statements.Any(statement => statement.Kinds.Contains(kind)), $"{kind}: {described}");
        }

        foreach (var kind in expected.Without)
        {
            Assert.False(facts.Statements.Any(statement => statement.Kinds.Contains(kind)), $"without {kind}: {described}");
        }

        foreach (var relation in expected.Relations)
        {
            var (name, access) = (relation[..relation.LastIndexOf(':')], Enum.Parse<RelationAccess>(relation[(relation.LastIndexOf(':') + 1)..]));
            Assert.True(
                facts.Statements.Any(statement => statement.Relations.Any(use => use.Name.ToString() == name && use.Access.HasFlag(access))), $"{relation}: {described}");
        }

        foreach (var function in expected.Functions)
        {
            Assert.True(facts.Statements.Any(statement => statement.Functions.Any(name => name.ToString() == function)), $"{function}(): {described}");
        }

        foreach (var setting in expected.Settings)
        {
            Assert.True(facts.Statements.Any(statement => statement.Settings.Contains(setting)), $"set {setting}: {described}");
        }

        if (expected.WhereAbsent is { } absent)
        {
            Assert.True(facts.Statements.Any(statement => statement.WhereAbsent) == absent, $"where absent {absent}: {described}");
        }

        if (expected.ReadOnly is { } readOnly)
        {
            Assert.True(facts.Statements.All(statement => statement.ReadOnly) == readOnly, $"read only {readOnly}: {described}");
        }

        if (expected.Impure)
        {
            Assert.True(facts.Statements.Any(statement => statement.ImpureFunctions.Count > 0), $"impure: {described}");
        }
    }
}
