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
    private bool _news;
    private (object Beacon, long IssuedAt)? _latest;
    private DateTimeOffset _askAgain;
    private DateTimeOffset _heardAt = DateTimeOffset.MinValue;
    private DateTimeOffset _due;

    /// <summary>How long the next round waits for an event.</summary>
    internal TimeSpan Pause => _due > Clock.GetUtcNow() ? _due - Clock.GetUtcNow() : TimeSpan.Zero;

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
            Volatile.Write(ref _news, true);
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

    /// <summary>
    /// The newest beacon: the one that came by event since the last round, or else one that is asked for. One that is no newer than the latest is no word and no reason to
    /// ask either before it is time to: who has just asked hears the beacon of the same second a moment later.
    /// </summary>
    /// <param name="client">Client of the service.</param>
    /// <param name="verify">Checks the signature.</param>
    /// <param name="issuedAt">When it was made, Unix seconds.</param>
    /// <param name="cancellation">Ends the wait.</param>
    protected async ValueTask<TBeacon> BeaconAsync<TBeacon>(
        HttpClient client, Func<string, ValueTask<TBeacon>> verify, Func<TBeacon, long> issuedAt, CancellationToken cancellation)
    {
        var now = Clock.GetUtcNow();

        // A beacon that is heard in the same moment as news may have been made before them.
        var ask = Interlocked.Exchange(ref _news, false);
        if (Interlocked.Exchange(ref _heard, null) is { } heard && !ask && now < _askAgain)
        {
            try
            {
                var beacon = await verify(heard).ConfigureAwait(false);
                if (issuedAt(beacon) > (_latest?.IssuedAt ?? 0))
                {
                    (_latest, _heardAt, _due) = ((beacon!, issuedAt(beacon)), now, now + Spread(WhileHeard));
                    return beacon;
                }
            }
            catch (TokenRejectedException)
            {
                // Somebody else's.
            }

            if (now < _due && _latest is { Beacon: TBeacon latest })
            {
                return latest;
            }
        }

        (_due, _askAgain) = (now + Spread(Interval), now + Spread(askEvery));
        var token = await client.GetFromJsonAsync<string>("v1/beacon", TokenJson.Options, cancellation).ConfigureAwait(false);
        var asked = await verify(token!).ConfigureAwait(false);
        if (issuedAt(asked) >= (_latest?.IssuedAt ?? 0))
        {
            _latest = (asked!, issuedAt(asked));
        }

        // While beacons come by event the next one may take a little longer than the interval.
        if (now - _heardAt < WhileHeard)
        {
            _due = now + Spread(WhileHeard);
        }

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
            await _doorbell.WaitAsync(Pause, stoppingToken).ConfigureAwait(false);
        }
    }
}
