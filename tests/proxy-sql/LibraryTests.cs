using System.Diagnostics;
using Countersign.Proxy.Sql.Native;

namespace Countersign.Proxy.Sql.Tests;

public class LibraryTests
{
    [Fact]
    public void The_grammar_is_told_and_compared_with_the_servers_version()
    {
        var library = Sql.Library;

        Assert.InRange(library.GrammarMajor, 15, 17);
        Assert.Equal($"libpg_query {library.GrammarMajor} ({library.GrammarNumber})", Sql.Facts("select 1").Grammar);
        Assert.True(Sql.Parser.GrammarMatches(library.GrammarMajor));
        Assert.True(Sql.Parser.GrammarMatches(library.GrammarMajor - 2));
        Assert.False(Sql.Parser.GrammarMatches(library.GrammarMajor + 1));
    }

    [Fact]
    public void A_library_that_is_named_and_does_not_load_is_a_clear_error_and_no_other_is_taken()
    {
        var error = Assert.Throws<LibPgQueryMissingException>(() => LibPgQuery.Load("/nowhere/libpg_query.so"));

        Assert.Contains("/nowhere/libpg_query.so", error.Message, StringComparison.Ordinal);
        Assert.Contains("eng/install-libpg-query.sh", error.Message, StringComparison.Ordinal);
    }

    /// <summary>The fallback of Debian bookworm. What only it fails to parse is incomplete, and the rest has the same facts.</summary>
    [Fact]
    public async Task The_older_grammar_gives_the_same_facts_or_none()
    {
        var path = Environment.GetEnvironmentVariable("COUNTERSIGN_LIBPG_QUERY_15") ?? "libpg_query.so.1504.0";
        LibPgQuery library;
        try
        {
            library = LibPgQuery.Load(path);
        }
        catch (LibPgQueryMissingException)
        {
            Assert.Skip("libpg_query 15 is not installed.");
            return;
        }

        using var parser = new SqlParser(library);
        Assert.Equal(15, parser.GrammarMajor);
        foreach (var row in CorpusCase.Read("sql-evasion.jsonl").Concat(CorpusCase.Read("sql-harmless.jsonl")))
        {
            var old = (await parser.AnalyzeAsync(System.Text.Encoding.UTF8.GetBytes(row.Text), !row.NonConforming)).Facts;
            if (!old.Incomplete.Contains("syntax") && !old.Incomplete.Contains("non-conforming-strings"))
            {
                Assert.Equal(Sql.Describe(Sql.Analyze(row.Text, !row.NonConforming).Facts), Sql.Describe(old));
            }
        }
    }

    [Fact]
    public void The_installer_needs_no_network_where_the_library_is_there()
    {
        // Found by walking up to the solution: the script is not copied.
        var root = new DirectoryInfo(AppContext.BaseDirectory);
        while (root is not null && !File.Exists(Path.Combine(root.FullName, "Countersign.slnx")))
        {
            root = root.Parent;
        }

        var start = new ProcessStartInfo("bash", [Path.Combine(root!.FullName, "eng/install-libpg-query.sh")]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["COUNTERSIGN_LIBPG_QUERY"] = "";
        // Nothing that could fetch is on the path.
        start.Environment["http_proxy"] = "http://127.0.0.1:1";
        using var installer = Process.Start(start)!;
        var output = installer.StandardOutput.ReadToEnd();
        installer.WaitForExit();

        Assert.Equal(0, installer.ExitCode);
        Assert.True(File.Exists(output.Trim().Split('\n')[^1]), output);
    }
}
