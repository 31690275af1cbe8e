using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text;
using Countersign.Proxy.Sql.Lexing;
using Countersign.Proxy.Sql.Native;

namespace Countersign.Proxy.Sql.Tests;

/// <summary>
/// Hostile texts, analysed in a process of its own: a stack overflow in the native parser kills whoever calls it. The child is this
/// assembly again, told by its environment what to do before xunit sees it.
/// </summary>
internal static class Hostile
{
    private const string Case = "COUNTERSIGN_SQL_HOSTILE_CASE";
    private const string Size = "COUNTERSIGN_SQL_HOSTILE_SIZE";
    private const string StackBytes = "COUNTERSIGN_SQL_HOSTILE_STACK";

    /// <summary>Shapes by name: each makes a text of about so many repetitions.</summary>
    public static Dictionary<string, Func<int, string>> Shapes { get; } = new()
    {
        ["plus"] = n => "select 1" + Repeat("+1", n),
        ["cast"] = n => "select 1" + Repeat("::a", n),
        ["isnull"] = n => "select a" + Repeat(" isnull", n),
        ["is-not-null"] = n => "select a" + Repeat(" is not null", n),
        ["in-list-chain"] = n => "select a" + Repeat(" in(1)", n),
        ["collate"] = n => "select a" + Repeat(" collate c", n),
        ["at-time-zone"] = n => "select a" + Repeat(" at time zone b", n),
        ["operator"] = n => "select a" + Repeat(" operator(x.+) a", n),
        ["between"] = n => "select a" + Repeat(" between 1 and 2", n),
        ["like"] = n => "select a" + Repeat("~~a", n),
        ["and"] = n => "select a where a" + Repeat(" and a", n),
        ["or-and"] = n => "select a where a" + Repeat(" or a and a", n),
        ["union"] = n => "select 1" + Repeat(" union all select 1", n),
        ["union-short"] = n => "select" + Repeat(" union select", n),
        ["except"] = n => "table a" + Repeat(" except table a", n),
        ["join"] = n => "select from a" + Repeat(" cross join a", n),
        ["natural-join"] = n => "select from a" + Repeat(" natural join a", n),
        ["join-on"] = n => "select from a" + Repeat(" join a on b", n),
        ["from-list"] = n => "select from a" + Repeat(",a", n),
        ["subscript"] = n => "select a" + Repeat("[1]", n),
        ["fields"] = n => "select a" + Repeat(".b", n),
        ["minus-prefix"] = n => "select " + Repeat("- ", n) + "1",
        ["not-prefix"] = n => "select " + Repeat("not ", n) + "true",
        ["case"] = n => "select " + Repeat("case when 1 then ", n) + "1" + Repeat(" end", n),
        ["parentheses"] = n => "select " + Repeat("(", n) + "1" + Repeat(")", n),
        ["brackets"] = n => "select array" + Repeat("[", n) + "1" + Repeat("]", n),
        ["sub-selects"] = n => Repeat("select (", n) + "select 1" + Repeat(")", n),
        ["from-sub-selects"] = n => Repeat("select * from (", n) + "select 1" + Repeat(") a", n),
        ["ctes-nested"] = n => Repeat("with a as (", n) + "select 1" + Repeat(") table a", n),
        ["ctes-many"] = n => "with a0 as (select 1)" + string.Concat(Enumerable.Range(1, n).Select(i => $",a{i} as (table a{i - 1})")) + $" table a{n}",
        ["functions-nested"] = n => "select " + Repeat("f(", n) + "a" + Repeat(")", n),
        ["comments"] = n => Repeat("/*", n) + Repeat("*/", n) + " select 1",
        ["comment-open"] = n => Repeat("/*", n) + " select 1",
        ["literal"] = n => "select '" + new string('x', n) + "'",
        ["in-list"] = n => "select a in (1" + Repeat(",1", n) + ")",
        ["statements"] = n => Repeat("select 1;", n),
        ["semicolons"] = n => new string(';', n),
        ["insert"] = n => "insert into t values (1,'a')" + Repeat(",(1,'a')", n),
        ["params"] = n => "select $1" + Repeat("||$1", n),
        ["quotes"] = n => new string('\'', n),
        ["dollars"] = n => new string('$', n),
        ["open-dollar-tags"] = n => string.Concat(Enumerable.Range(0, n).Select(i => $"$a{i}$")),
        ["explain"] = n => Repeat("explain ", n) + "select 1",
        ["prepare"] = n => Repeat("prepare a as ", n) + "select 1",
        ["schema-elements"] = n => "create schema a" + Repeat(" create table t()", n),
        ["names"] = n => "select " + string.Join(',', Enumerable.Range(0, n).Select(i => $"c{i}")),
        ["functions-many"] = n => "select " + string.Join(',', Enumerable.Range(0, n).Select(i => $"f{i}(a)")),
        ["relations-many"] = n => "select from " + string.Join(',', Enumerable.Range(0, n).Select(i => $"r{i}")),
    };

    [ModuleInitializer]
    internal static void RunChild()
    {
        if (Environment.GetEnvironmentVariable(Case) is not { } shape)
        {
            return;
        }

        var size = int.Parse(Environment.GetEnvironmentVariable(Size)!, System.Globalization.CultureInfo.InvariantCulture);
        var text = Encoding.UTF8.GetBytes(Shapes[shape](size));
        var stack = Environment.GetEnvironmentVariable(StackBytes);
        var options = stack is null ? new SqlParserOptions()
            : new SqlParserOptions { StackBytes = int.Parse(stack, System.Globalization.CultureInfo.InvariantCulture), InlineBytes = 0, Threads = 1 };
        using var parser = new SqlParser(LibPgQuery.Load(), options);
        var analysis = parser.AnalyzeAsync(text).AsTask().GetAwaiter().GetResult();
        Console.WriteLine(analysis.Facts.Complete ? "complete" : string.Join(',', analysis.Facts.Incomplete));
        Environment.Exit(0);
    }

    /// <summary>Analyses a shape in a child process; what its facts are, or how the child ended.</summary>
    public static string Analyze(string shape, int size, int? stackBytes = null)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "Countersign.Proxy.Sql.Tests"))
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment[Case] = shape;
        start.Environment[Size] = size.ToString(System.Globalization.CultureInfo.InvariantCulture);
        if (stackBytes is { } bytes)
        {
            start.Environment[StackBytes] = bytes.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }

        using var child = Process.Start(start)!;
        var errors = child.StandardError.ReadToEndAsync();
        var output = child.StandardOutput.ReadToEndAsync();
        if (!child.WaitForExit(TimeSpan.FromSeconds(60)))
        {
            child.Kill();
            return "hangs";
        }

        return child.ExitCode == 0 ? output.Result.Trim() : $"dies with {child.ExitCode}: {errors.Result[..Math.Min(errors.Result.Length, 300)]}";
    }

    /// <summary>The largest size of a shape that the bounds let through to the native parser.</summary>
    public static int LargestAccepted(string shape)
    {
        int low = 0, high = 1 << 20;
        while (low < high)
        {
            var middle = low + ((high - low + 1) / 2);
            if (PreScan.Of(Encoding.UTF8.GetBytes(Shapes[shape](middle)), true, SqlBounds.Default).Rejection is null)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        return low;
    }

    private static string Repeat(string text, int count) => new StringBuilder(text.Length * count).Insert(0, text, count).ToString();
}
