using System.Globalization;

namespace Countersign.Benchmarks.Distribution;

/// <summary>Processor time of processes, user and system, by name.</summary>
internal static class ProcessorTime
{
    // USER_HZ: 100 on every Linux that .NET runs on.
    private const double MicrosecondsPerTick = 10_000;

    public static Dictionary<string, double> Read(IReadOnlyList<(string Name, int Process)> processes)
    {
        var times = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach (var (name, process) in processes)
        {
            // The name in parentheses may have blanks: fields are counted from behind it.
            var stat = File.ReadAllText($"/proc/{process}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            times[name] = times.GetValueOrDefault(name) + ((long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture)) * MicrosecondsPerTick);
        }

        return times;
    }
}
