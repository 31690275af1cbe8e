using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.Hosting;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>
/// Follows a service by the beacons that it publishes, and asks for one where none comes: every two seconds, later while they come. News are fetched at once.
/// </summary>
/// <param name="news">Type of the event that says so.</param>
/// <param name="askEvery">How long beacons that come by event are enough: whatever stands between the service and its proxies can't keep them from asking.</param>
/// <param name="time">Clock.</param>
internal abstract class ServiceWatch(string news, TimeSpan askEvery, TimeProvider time) : BackgroundService
{
    private const string Beacon = "countersign.beacon";
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(2);

    // Three beacons may be lost before one is asked for.
    private static readonly TimeSpan WhileHeard = TimeSpan.FromSeconds(7);

    // A service that takes the connection and never answers must not hold up what is due after every round.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly Doorbell _doorbell = new();

    /// <summary>Clock.</summary>
    protected TimeProvider Clock { get; } = time;

    private string? _heard;
    private long _latest;
    private DateTimeOffset _askAgain;
    private TimeSpan _pause = Interval;

    /// <summary>Handler of the service's topic: beacons are taken as they come, news are fetched at once instead of at the next poll.</summary>
    public ValueTask OnEventAsync(BusEvent change)
    {
        if (change.Type == Beacon)
        {
            // Who published it doesn't matter: it is checked like one that was asked for.
            Volatile.Write(ref _heard, JsonSerializer.Deserialize<string>(change.Data.Span));
            _doorbell.Ring();
        }
        else if (change.Type == news && !TakeNews(change))
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

    /// <summary>Takes news as they came, where nothing has to be asked for them; they are of the service itself, which the bus has checked.</summary>
    /// <returns>False where the service must be asked.</returns>
    protected virtual bool TakeNews(BusEvent change) => false;

    /// <summary>One round.</summary>
    internal abstract Task FollowAsync(CancellationToken cancellation);

    /// <summary>The newest beacon: the one that came by event since the last round, or else one that is asked for. Old ones that come again are no word.</summary>
    /// <param name="client">Client of the service.</param>
    /// <param name="verify">Checks the signature.</param>
    /// <param name="issuedAt">When it was made, Unix seconds.</param>
    /// <param name="cancellation">Ends the wait.</param>
    protected async ValueTask<TBeacon> BeaconAsync<TBeacon>(
        HttpClient client, Func<string, ValueTask<TBeacon>> verify, Func<TBeacon, long> issuedAt, CancellationToken cancellation)
    {
        if (Interlocked.Exchange(ref _heard, null) is { } heard && Clock.GetUtcNow() < _askAgain)
        {
            try
            {
                var beacon = await verify(heard).ConfigureAwait(false);
                if (issuedAt(beacon) > _latest)
                {
                    (_latest, _pause) = (issuedAt(beacon), Spread(WhileHeard));
                    return beacon;
                }
            }
            catch (TokenRejectedException)
            {
                // Somebody else's.
            }
        }

        (_pause, _askAgain) = (Spread(Interval), Clock.GetUtcNow() + Spread(askEvery));
        var token = await client.GetFromJsonAsync<string>("v1/beacon", TokenJson.Options, cancellation).ConfigureAwait(false);
        var asked = await verify(token!).ConfigureAwait(false);
        _latest = Math.Max(_latest, issuedAt(asked));
        return asked;
    }

    /// <summary>
    /// Between half of a time and all of it. All proxies hear the same beacons and lose the same service in the same moment; without this they would all ask in the same
    /// moment too, from then on and for good.
    /// </summary>
    private static TimeSpan Spread(TimeSpan time) => time * (0.5 + (Random.Shared.NextDouble() / 2));

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
            await _doorbell.WaitAsync(_pause, stoppingToken).ConfigureAwait(false);
        }
    }
}
