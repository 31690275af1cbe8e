using Countersign.Platform.Ports;
using Dapr.Client;

namespace Countersign.Platform.Dapr;

/// <summary>What a process needs of its sidecar before it is composed. The sidecar may start after its app, so it is asked again until it answers.</summary>
internal static class SidecarAtStart
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200);

    /// <summary>Asks until there is an answer.</summary>
    /// <param name="options">The sidecar.</param>
    /// <param name="patience">How long.</param>
    /// <param name="ask">The question; <see cref="PortUnavailableException"/> where there is no answer.</param>
    /// <exception cref="PortUnavailableException">There was none in all that time.</exception>
    public static async Task<T> AskAsync<T>(DaprOptions options, TimeSpan patience, Func<DaprClient, CancellationToken, ValueTask<T>> ask)
    {
        using var dapr = new DaprClientBuilder().UseHttpEndpoint(options.HttpEndpoint).UseGrpcEndpoint(options.GrpcEndpoint).UseDaprApiToken(options.ApiToken).Build();
        using var limit = new CancellationTokenSource(patience);
        while (true)
        {
            try
            {
                return await ask(dapr, limit.Token);
            }
            catch (PortUnavailableException) when (!limit.IsCancellationRequested)
            {
                // Not yet.
            }
            catch (OperationCanceledException error)
            {
                throw new PortUnavailableException("the sidecar doesn't answer", error);
            }

            await Task.Delay(Pause, CancellationToken.None);
        }
    }
}
