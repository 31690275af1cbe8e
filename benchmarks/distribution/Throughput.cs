using System.Globalization;
using System.Text.RegularExpressions;
using Countersign.Fakes.Postgres;

namespace Countersign.Benchmarks.Distribution;

/// <summary>
/// The same clients at one proxy and at two, interleaved. Proxies decide by themselves, so two serve twice as many where there are cores for them; what the
/// control plane and the sidecars spend on an operation says how far that goes, whatever machine it was measured on.
/// </summary>
internal static partial class Throughput
{
    private const int Clients = 16;
    private static readonly string[] ControlPlane = ["identity", "policy", "approval", "recorder"];

    public static async Task RunAsync(World world, Figures figures, int rounds, int seconds)
    {
        var ports = world.Composition.PostgresPorts;
        await RunOnceAsync(world, ports, seconds);
        var (one, two) = (new List<Run>(), new List<Run>());
        for (var round = 0; round < rounds; round++)
        {
            one.Add(await RunOnceAsync(world, [ports[0]], seconds));
            two.Add(await RunOnceAsync(world, ports, seconds));
            await Console.Error.WriteLineAsync(FormattableString.Invariant($"round {round + 1}: one proxy {one[^1].PerSecond:0} tps, two {two[^1].PerSecond:0} tps"));
        }

        var ratios = one.Zip(two, (single, both) => both.PerSecond / single.PerSecond).ToList();
        var control = two.Select(run => run.Of(ControlPlane)).ToList();
        var proxies = two.Select(run => run.Of("proxy-1", "proxy-2")).ToList();
        Figures.Add("one-proxy", Figures.At(one.Select(run => run.PerSecond), 0.5), "-", "transactions/s");
        Figures.Add("two-proxies", Figures.At(two.Select(run => run.PerSecond), 0.5), "-", "transactions/s");
        Figures.Add("two-proxies-ratio", Figures.At(ratios, 0.5), Environment.ProcessorCount >= 8 ? ">=1.8" : "-", "ratio to one proxy");
        Figures.Add("control-plane-cpu", Figures.At(control, 0.5), "-", "us of processor a transaction");
        Figures.Add("proxy-cpu", Figures.At(proxies, 0.5), "-", "us of processor a transaction");
        Figures.Add("sidecar-cpu", Figures.At(two.Select(run => run.Of("sidecars")), 0.5), "-", "us of processor a transaction");

        figures.Say($"## One proxy and two");
        figures.Say($"");
        figures.Say($"{rounds} interleaved rounds of {seconds} s, pgbench -S -M prepared, {Clients} clients in all, reads recorded `durable`. Median ratio {Figures.At(ratios, 0.5):0.00} ({ratios.Min():0.00} to {ratios.Max():0.00}).");
        figures.Say($"pgbench, the target, proxies, control plane and sidecars share {Environment.ProcessorCount} cores: **the ratio is bounded by them** unless there are about eight. What doesn't depend on the machine's size is the processor time of a transaction:");
        figures.Say($"");
        figures.Say($"| process | one proxy, us a transaction | two proxies, us a transaction |");
        figures.Say($"| --- | --- | --- |");
        foreach (var name in two[0].Cpu.Keys.Order(StringComparer.Ordinal))
        {
            figures.Say($"| {name} | {Figures.At(one.Select(run => run.Of(name)), 0.5):0.0} | {Figures.At(two.Select(run => run.Of(name)), 0.5):0.0} |");
        }

        figures.Say($"");
        figures.Say($"| | one proxy | two proxies |");
        figures.Say($"| --- | --- | --- |");
        figures.Say($"| transactions/s, median | {Figures.At(one.Select(run => run.PerSecond), 0.5):0} | {Figures.At(two.Select(run => run.PerSecond), 0.5):0} |");
        figures.Say($"| lowest to highest | {one.Min(run => run.PerSecond):0} to {one.Max(run => run.PerSecond):0} | {two.Min(run => run.PerSecond):0} to {two.Max(run => run.PerSecond):0} |");
        figures.Say($"");
    }

    private static async Task<Run> RunOnceAsync(World world, IReadOnlyList<int> ports, int seconds)
    {
        var before = ProcessorTime.Read(world.Composition.Processes);
        var outputs = await Task.WhenAll(ports.Select(port => PostgresServer.RunAsync(
            Path.Combine(PostgresServer.Programs, "pgbench"),
            ["-n", "-S", "-M", "prepared", "-c", $"{Clients / ports.Count}", "-j", "1", "-T", $"{seconds}", "-h", "127.0.0.1", "-p", $"{port}", "-U", world.Credential.User, "bench"],
            new Dictionary<string, string> { ["PGPASSWORD"] = world.Credential.Secret, ["PGSSLMODE"] = "disable", ["PGGSSENCMODE"] = "disable" })));
        var after = ProcessorTime.Read(world.Composition.Processes);
        var count = outputs.Sum(output => Read(Count(), output));
        var rate = outputs.Sum(output => Read(Rate(), output));
        return new Run(rate, after.ToDictionary(each => each.Key, each => (each.Value - before[each.Key]) / count));
    }

    private static double Read(Regex pattern, string output) => pattern.Match(output) is { Success: true } match
        ? double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)
        : throw new InvalidOperationException($"pgbench did not say what it did: {output}");

    [GeneratedRegex(@"transactions actually processed: (\d+)")]
    private static partial Regex Count();

    [GeneratedRegex(@"tps = ([0-9.]+)")]
    private static partial Regex Rate();

    /// <param name="PerSecond">Transactions a second.</param>
    /// <param name="Cpu">Processor time a transaction in microseconds, by process.</param>
    private sealed record Run(double PerSecond, Dictionary<string, double> Cpu)
    {
        public double Of(params string[] names) => names.Sum(name => Cpu.GetValueOrDefault(name));
    }
}
