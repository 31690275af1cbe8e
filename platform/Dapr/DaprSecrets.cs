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
        SecretNames.Check(name);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(options.TimeoutSeconds));
        try
        {
            var found = await dapr.GetSecretAsync(options.SecretStore, name, cancellationToken: limit.Token).ConfigureAwait(false);
            return found.TryGetValue(name, out var secret) ? secret : found.Count == 1 ? found.Values.Single() : null;
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
