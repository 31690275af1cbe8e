using Countersign.Platform.Ports;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;

namespace Countersign.Platform.Dapr;

/// <summary>
/// The connection string of the service's database from the sidecar's secret store, where <c>Countersign:Storage:PostgresSecret</c> names it in the place of a file: with Vault behind
/// the sidecar, no password lies on the service's disk. Read once at start.
/// </summary>
internal static class StorageSecret
{
    public const string Setting = "Countersign:Storage:PostgresSecret";
    private const string Target = "Countersign:Storage:Postgres";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <exception cref="PortUnavailableException">The sidecar doesn't answer.</exception>
    /// <exception cref="InvalidOperationException">There is no such secret for this service, or a connection string beside it.</exception>
    public static void Add(IHostApplicationBuilder builder, DaprOptions options)
    {
        if (builder.Configuration[Setting] is not { Length: > 0 } name)
        {
            return;
        }

        if (builder.Configuration[Target] is { Length: > 0 } || builder.Configuration[Target + "File"] is { Length: > 0 })
        {
            throw new InvalidOperationException($"{Setting} and {Target} or {Target}File are both set; one of them is enough.");
        }

        var secret = SidecarAtStart.AskAsync(options, Patience, (dapr, cancellation) => new DaprSecrets(dapr, options).GetAsync(name, cancellation)).GetAwaiter().GetResult()
            ?? throw new InvalidOperationException($"{Setting}: the sidecar has no secret of that name for this service.");
        builder.Configuration.AddInMemoryCollection([KeyValuePair.Create<string, string?>(Target, secret.Trim())]);
    }
}
