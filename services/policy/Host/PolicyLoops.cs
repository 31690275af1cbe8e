using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Platform.Ports;
using Countersign.Policy.Bundles;
using Microsoft.Extensions.Options;

namespace Countersign.Policy.Host;

/// <summary>Publishes the freshness beacon (I8): as long as proxies hear it they know that they know the latest bundle.</summary>
internal sealed partial class BeaconLoop(
    PolicyState state, BundleSigner signer, IEventBus bus, IOptions<PolicyOptions> options, TimeProvider clock, ILogger<BeaconLoop> logger) : BackgroundService
{
    internal const string EventType = "countersign.beacon";

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(options.Value.BeaconSeconds), clock);
        do
        {
            try
            {
                // A service that doesn't know what is in force must not promise that it does.
                await state.RefreshAsync(stoppingToken);
                if (state.Unusable is not null)
                {
                    continue;
                }

                var now = clock.GetUtcNow();
                var beacon = JsonSerializer.SerializeToUtf8Bytes(signer.Beacon(state.Version, now));
                await bus.PublishAsync(Topics.Policy, $"policy-beacon:{now.ToUnixTimeMilliseconds()}", EventType, beacon, stoppingToken);
            }
            catch (PortUnavailableException error)
            {
                LogNotPublished(error.Message);
            }
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    [LoggerMessage(3020, LogLevel.Warning, "The policy beacon was not taken: {Reason}")]
    private partial void LogNotPublished(string reason);
}

/// <summary>Looks after open changes: at start, when approval says that a request changed, and every few seconds in case that was missed.</summary>
internal sealed partial class ChangeLoop(ChangeService changes, IOptions<PolicyOptions> options, TimeProvider clock, ILogger<ChangeLoop> logger) : BackgroundService
{
    /// <summary>Handler of topic <c>approvals</c>.</summary>
    public static async ValueTask OnChangedAsync(ChangeService changes, BusEvent happened, CancellationToken cancellation)
    {
        if (happened.Type == "countersign.request.changed"
            && JsonSerializer.Deserialize<RequestChanged>(happened.Data.Span, JsonSerializerOptions.Web) is { State: not RequestState.Pending } changed)
        {
            await changes.ProcessAsync(changed.Request, cancellation);
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(options.Value.PollSeconds), clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                await changes.ProcessAllAsync(stoppingToken);
            }
            catch (Exception error) when (error is PortUnavailableException or InvalidDataException or JsonException)
            {
                LogFailed(error);
            }
        }
    }

    [LoggerMessage(3021, LogLevel.Warning, "Open changes can't be looked after now")]
    private partial void LogFailed(Exception error);
}
