using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.Hosting;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>Follows a service: asks it every two seconds, and at once when it has news.</summary>
/// <param name="news">Type of the event that says so.</param>
internal abstract class ServiceWatch(string news) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(2);

    // A service that takes the connection and never answers must not hold up what is due after every round.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly Doorbell _doorbell = new();

    /// <summary>Handler of the service's topic: news are fetched at once instead of at the next poll.</summary>
    public ValueTask OnEventAsync(BusEvent change)
    {
        if (change.Type == news)
        {
            _doorbell.Ring();
        }

        return ValueTask.CompletedTask;
    }

    public override void Dispose()
    {
        _doorbell.Dispose();
        base.Dispose();
    }

    /// <summary>One round.</summary>
    internal abstract Task FollowAsync(CancellationToken cancellation);

    /// <summary>The service didn't answer, or not as it should.</summary>
    /// <param name="error">Name of the error; nothing of the answer.</param>
    protected abstract void Unreachable(string error);

    /// <summary>Called after every round, whatever became of it.</summary>
    protected virtual void RoundEnded()
    {
    }

    protected sealed override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                using var limit = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
                limit.CancelAfter(Patience);
                await FollowAsync(limit.Token).ConfigureAwait(false);
            }
            catch (Exception error) when (
                error is (HttpRequestException or JsonException or TokenRejectedException or PortUnavailableException or OperationCanceledException)
                && !stoppingToken.IsCancellationRequested)
            {
                Unreachable(error.GetType().Name);
            }

            RoundEnded();
            await _doorbell.WaitAsync(Interval, stoppingToken).ConfigureAwait(false);
        }
    }
}
