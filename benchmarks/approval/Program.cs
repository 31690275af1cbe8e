using System.Globalization;

namespace Countersign.Benchmarks.Approval;

/// <summary>
/// <c>seed STORE COUNT [KEY]</c>: opens COUNT requests of many persons through the grains, and prints the memory that each takes in the process that opened it. A store
/// that a real service goes on with takes documents with seals of that service's key only.
/// <c>load STORE</c>: starts the grains on a store, and prints the memory of that process. <c>latency …</c>: see <see cref="Latency"/>.
/// </summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        switch (args)
        {
            case ["seed", var store, var count]:
                await Memory.SeedAsync(store, int.Parse(count, CultureInfo.InvariantCulture), null);
                return 0;
            case ["seed", var store, var count, var key]:
                await Memory.SeedAsync(store, int.Parse(count, CultureInfo.InvariantCulture), key);
                return 0;
            case ["load", var store]:
                await Memory.LoadAsync(store);
                return 0;
            case ["latency", var http, var gateway, var user, var secret, var refreshToken, var direct, var samples]:
                using (var latency = new Latency(new Uri(http), refreshToken))
                {
                    await latency.RunAsync(int.Parse(gateway, CultureInfo.InvariantCulture), user, secret, direct, int.Parse(samples, CultureInfo.InvariantCulture));
                }

                return 0;
            default:
                await Console.Error.WriteLineAsync("seed STORE COUNT [KEY] | load STORE | latency HTTP GATEWAY-PORT USER SECRET REFRESH-TOKEN-FILE DIRECT-CONNECTION SAMPLES");
                return 2;
        }
    }
}
