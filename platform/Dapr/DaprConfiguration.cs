using Countersign.Platform.Ports;
using Dapr.Client;
using Grpc.Core;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;

namespace Countersign.Platform.Dapr;

/// <summary>Settings from the sidecar's configuration store, read once at start. What the process was started with counts more.</summary>
internal static class DaprConfiguration
{
    private const string Prefix = "Countersign:";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    // Whoever can write to the store must not choose whom a service trusts, which sidecar it has, or who logs people in.
    private static readonly string[] NotFromThere = [DaprOptions.Section, "Countersign:Trust", "Countersign:DevIssuer", "Countersign:Data", "Countersign:Identity:Provider", "Countersign:Platform"];

    public static void Add(IHostApplicationBuilder builder, DaprOptions options)
    {
        if (options.ConfigurationStore.Length == 0)
        {
            return;
        }

        var items = ReadAsync(options).GetAwaiter().GetResult();
        var settings = Accepted(items).ToDictionary(item => item.Key, item => (string?)item.Value, StringComparer.OrdinalIgnoreCase);
        builder.Configuration.Sources.Insert(0, new Microsoft.Extensions.Configuration.Memory.MemoryConfigurationSource { InitialData = settings });
    }

    internal static IEnumerable<KeyValuePair<string, string>> Accepted(IEnumerable<KeyValuePair<string, string>> items) => items
        .Select(item => KeyValuePair.Create(item.Key.Replace("__", ":", StringComparison.Ordinal), item.Value))
        .Where(item => item.Key.StartsWith(Prefix, StringComparison.OrdinalIgnoreCase)
            && !NotFromThere.Any(not => item.Key.Equals(not, StringComparison.OrdinalIgnoreCase) || item.Key.StartsWith(not + ":", StringComparison.OrdinalIgnoreCase)));

    private static async Task<IEnumerable<KeyValuePair<string, string>>> ReadAsync(DaprOptions options)
    {
        using var dapr = new DaprClientBuilder().UseHttpEndpoint(options.HttpEndpoint).UseGrpcEndpoint(options.GrpcEndpoint).UseDaprApiToken(options.ApiToken).Build();
        using var limit = new CancellationTokenSource(Patience);
        while (true)
        {
            try
            {
                var found = await dapr.GetConfiguration(options.ConfigurationStore, [], cancellationToken: limit.Token);
                return found.Items.Select(item => KeyValuePair.Create(item.Key, item.Value.Value));
            }
            catch (Exception error) when (error is global::Dapr.DaprException or RpcException or OperationCanceledException)
            {
                if (limit.IsCancellationRequested)
                {
                    throw new PortUnavailableException($"the configuration store {options.ConfigurationStore} can't be read", error);
                }
            }

            // The sidecar may start after its app.
            await Task.Delay(TimeSpan.FromMilliseconds(200), CancellationToken.None);
        }
    }
}
