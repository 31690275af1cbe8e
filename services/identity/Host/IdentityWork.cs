using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Identity.Credentials;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Identity.Host;

/// <summary>Identity's half of the freshness beacon (I8).</summary>
internal sealed class Beacon([FromKeyedServices(AppIds.Identity)] SigningKey key, RevocationFeed revocations, TimeProvider time)
{
    public const string EventType = "countersign.beacon";

    private readonly LatestToken<IdentityBeacon> _beacons = new(key, TokenTypes.Beacon);

    /// <summary>A fresh one, of this second, that knows what other replicas have revoked: a head never goes back for a proxy, whichever replica it asks.</summary>
    public async ValueTask<string> SignAsync(CancellationToken cancellation)
    {
        await revocations.CatchUpAsync(cancellation);
        return _beacons.Sign(new IdentityBeacon(revocations.Head, time.GetUtcNow().ToUnixTimeSeconds()));
    }
}

/// <summary>What identity does by itself: bootstrap at start, the beacon every 2 s, open changes, left-over audit events, forgetting.</summary>
internal sealed partial class IdentityWork(
    Bootstrap bootstrap, PersonDirectory persons, RevocationFeed revocations, Beacon beacon, ControlRequests changes, RemovalReviews reviews, TrustedKeySet trustedKeys,
    ControlTermsInForce terms, AuditTrail audit, IEventBus bus, LoginCookieSecret cookies,
    AccessCredentials credentials, AccessTokens tokens, ILoginExchanges exchanges, LoginCodes codes, IdentityReadiness readiness, TimeProvider time, ILogger<IdentityWork> logger) : BackgroundService
{
    private static readonly TimeSpan BeaconPeriod = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan PollPeriod = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan LoginPrunePeriod = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan KeysPeriod = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan TermsPeriod = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan PrunePeriod = TimeSpan.FromHours(1);

    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        await revocations.CatchUpAsync(cancellationToken);
        await cookies.LoadAsync(cancellationToken);
        switch (await bootstrap.StartAsync(cancellationToken))
        {
            case BootstrapStart.Waiting:
                LogWaiting(bootstrap.Path);
                break;
            case BootstrapStart.Reopened:
                LogReopened(bootstrap.Path);
                await audit.RecordAsync("bootstrap.reopened", "", "host", "bootstrap", cancellationToken, details: new Dictionary<string, string> { ["kind"] = "break-glass" });
                break;
            default:
                // Between using the token and enrolling the person lies a crash window of one write.
                if (await bootstrap.FirstAsync(cancellationToken) is { } first && await bootstrap.IsOpenForAsync(first, cancellationToken))
                {
                    await persons.EnrolFirstAsync(first, cancellationToken);
                }

                break;
        }

        readiness.IsStarted = true;
        await base.StartAsync(cancellationToken);
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(
        RepeatAsync(BeaconPeriod, "beacon", PublishBeaconAsync, stoppingToken),
        RepeatAsync(PollPeriod, "changes", FollowAsync, stoppingToken),
        RepeatAsync(KeysPeriod, "keys", trustedKeys.LookAsync, stoppingToken),
        RepeatAsync(TermsPeriod, "terms", terms.LookAsync, stoppingToken),
        RepeatAsync(PrunePeriod, "prune", PruneAsync, stoppingToken),
        RepeatAsync(LoginPrunePeriod, "login prune", PruneLoginsAsync, stoppingToken));

    private async Task PublishBeaconAsync(CancellationToken cancellation)
    {
        var signed = await beacon.SignAsync(cancellation);
        await bus.PublishAsync(
            Topics.Identity, $"identity-beacon:{time.GetUtcNow().ToUnixTimeMilliseconds()}", Beacon.EventType, JsonSerializer.SerializeToUtf8Bytes(signed), cancellation);
    }

    private async Task FollowAsync(CancellationToken cancellation)
    {
        await audit.FlushAsync(cancellation);
        await changes.PollAsync(cancellation);
        await reviews.PollAsync(cancellation);
    }

    private async Task PruneLoginsAsync(CancellationToken cancellation)
    {
        await exchanges.PruneAsync(cancellation);
        await codes.PruneAsync(cancellation);
    }

    private async Task PruneAsync(CancellationToken cancellation)
    {
        await credentials.PruneAsync(cancellation);
        await tokens.PruneAsync(cancellation);
        await revocations.CompactAsync(cancellation);
    }

    private async Task RepeatAsync(TimeSpan period, string what, Func<CancellationToken, Task> work, CancellationToken stopping)
    {
        using var timer = new PeriodicTimer(period, time);
        try
        {
            do
            {
                try
                {
                    await work(stopping);
                }
#pragma warning disable CA1031 // the next round tries again; a beacon that stays away stops the proxies, which is what must happen
                catch (Exception error) when (!stopping.IsCancellationRequested)
#pragma warning restore CA1031
                {
                    LogFailed(error, what);
                }
            }
            while (await timer.WaitForNextTickAsync(stopping));
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
        }
    }

    [LoggerMessage(2110, LogLevel.Warning, "Nobody is enrolled yet. The token in {Path} names the first person; it works once")]
    private partial void LogWaiting(string path);

    [LoggerMessage(2111, LogLevel.Critical, "Bootstrap was reopened on the host by {Path}: who uses the token may act alone until another person is enrolled")]
    private partial void LogReopened(string path);

    [LoggerMessage(2112, LogLevel.Error, "Identity's {What} failed; it is tried again")]
    private partial void LogFailed(Exception error, string what);
}

/// <summary>Whether identity has read its state.</summary>
internal sealed class IdentityReadiness
{
    public volatile bool IsStarted;
}
