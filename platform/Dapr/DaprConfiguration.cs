using System.Globalization;
using Countersign.Platform.Ports;
using Dapr.Client;
using Grpc.Core;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;

namespace Countersign.Platform.Dapr;

/// <summary>
/// Settings from the sidecar's configuration store, read once at start. What the process was started with counts more. Whoever can write to the store must not choose whom a
/// service trusts, where it sends its tokens or what it enforces: what may come from there is listed, and can only say more in logs or allow less.
/// </summary>
internal static class DaprConfiguration
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>Everything that may come from there, and which values. The upper bounds are the defaults.</summary>
    private static readonly Dictionary<string, Func<string, bool>> Allowed = new(StringComparer.OrdinalIgnoreCase)
    {
        ["Logging:LogLevel:Countersign"] = value => value is "Information" or "Debug",
        ["Countersign:Proxy:MaxSessions"] = value => IsNumber(value, 1, 1000),
        ["Countersign:Proxy:StaleAfter"] = value => IsTime(value, TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(30)),
        ["Countersign:Proxy:DeadAfter"] = value => IsTime(value, TimeSpan.FromSeconds(30), TimeSpan.FromSeconds(120)),
        ["Countersign:Approval:MaxPending"] = value => IsNumber(value, 1, 5),
        ["Countersign:Storage:MaxConnections"] = value => IsNumber(value, 4, 20),
    };

    public static void Add(IHostApplicationBuilder builder, DaprOptions options)
    {
        if (options.ConfigurationStore.Length == 0)
        {
            return;
        }

        var items = SidecarAtStart.AskAsync(options, Patience, (dapr, cancellation) => ReadAsync(dapr, options, cancellation)).GetAwaiter().GetResult();
        var settings = Accepted(items).ToDictionary(item => item.Key, item => (string?)item.Value, StringComparer.OrdinalIgnoreCase);
        builder.Configuration.Sources.Insert(0, new Microsoft.Extensions.Configuration.Memory.MemoryConfigurationSource { InitialData = settings });
    }

    internal static IEnumerable<KeyValuePair<string, string>> Accepted(IEnumerable<KeyValuePair<string, string>> items) =>
        items.Where(item => Allowed.TryGetValue(item.Key, out var isGood) && isGood(item.Value)).DistinctBy(item => item.Key, StringComparer.OrdinalIgnoreCase);

    private static bool IsNumber(string value, int least, int most) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most;

    private static bool IsTime(string value, TimeSpan least, TimeSpan most) =>
        TimeSpan.TryParseExact(value, "c", CultureInfo.InvariantCulture, out var time) && time >= least && time <= most;

    private static async ValueTask<IEnumerable<KeyValuePair<string, string>>> ReadAsync(DaprClient dapr, DaprOptions options, CancellationToken cancellation)
    {
        try
        {
            // By name: without names a store gives everything that it has, which needs more rights there (in Redis, KEYS).
            var found = await dapr.GetConfiguration(options.ConfigurationStore, [.. Allowed.Keys], cancellationToken: cancellation);
            return found.Items.Select(item => KeyValuePair.Create(item.Key, item.Value.Value));
        }
        catch (Exception error) when (error is global::Dapr.DaprException or RpcException or OperationCanceledException)
        {
            throw new PortUnavailableException($"the configuration store {options.ConfigurationStore} can't be read", error);
        }
    }
}
