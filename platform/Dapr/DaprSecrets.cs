using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Dapr.Client;
using Grpc.Core;

namespace Countersign.Platform.Dapr;

/// <summary>Secrets through the sidecar, whose scopes say which of them this app may have.</summary>
internal sealed class DaprSecrets(DaprClient dapr, DaprOptions options) : ISecrets
{
    public async ValueTask<string?> GetAsync(string name, CancellationToken cancellation)
    {
        var found = await ReadAsync(dapr, options, options.SecretStore, name, cancellation).ConfigureAwait(false);
        return found is null ? null : found.TryGetValue(name, out var secret) ? secret : found.Count == 1 ? found.Values.Single() : null;
    }

    /// <summary>All values of one secret; null where this app may not have it.</summary>
    internal static async ValueTask<IReadOnlyDictionary<string, string>?> ReadAsync(
        DaprClient dapr, DaprOptions options, string store, string name, CancellationToken cancellation)
    {
        SecretNames.Check(name);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(options.TimeoutSeconds));
        try
        {
            return await dapr.GetSecretAsync(store, name, cancellationToken: limit.Token).ConfigureAwait(false);
        }
        catch (Exception error) when ((error as RpcException ?? error.InnerException as RpcException)?.StatusCode is StatusCode.PermissionDenied or StatusCode.NotFound)
        {
            return null;
        }
        catch (Exception error) when (error is global::Dapr.DaprException or RpcException or HttpRequestException
            || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new PortUnavailableException($"the secret {name} can't be read", error);
        }
    }
}

/// <summary>
/// Credentials of targets through the sidecar. A store gives a secret as one value or as several: both go on as they are. That there is none, most stores report as
/// they do a failure (1.18: <c>Internal</c>), and so it is one.
/// </summary>
internal sealed class DaprTargetSecrets(DaprClient dapr, DaprOptions options) : ITargetSecrets
{
    public ValueTask<IReadOnlyDictionary<string, string>?> GetAsync(string name, CancellationToken cancellation) =>
        DaprSecrets.ReadAsync(dapr, options, options.TargetSecretStore, name, cancellation);
}
