using System.Globalization;
using System.Text;

namespace Countersign.Benchmarks.Distribution;

/// <summary>What was measured: lines for programs (NAME, VALUE, GOAL, UNIT), and a page for people.</summary>
internal sealed class Figures
{
    private readonly StringBuilder _page = new();

    /// <summary>The page so far.</summary>
    public string Page => _page.ToString();

    /// <summary>A figure.</summary>
    public static void Add(string name, double value, string goal, string unit) =>
        Console.Out.WriteLine($"{name}\t{value.ToString(value < 10 ? "0.00" : "0", CultureInfo.InvariantCulture)}\t{goal}\t{unit}");

    /// <summary>A line of the page.</summary>
    public void Say(FormattableString line) => _page.Append(FormattableString.Invariant(line)).Append('\n');

    /// <summary>A value below which a share of the samples lies.</summary>
    public static double At(IEnumerable<double> values, double share)
    {
        var sorted = values.Order().ToList();
        return sorted[Math.Clamp((int)Math.Ceiling(share * sorted.Count) - 1, 0, sorted.Count - 1)];
    }
}
