using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Path;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>
/// Follows identity's beacon and revocation feed: ends sessions whose credential or person was revoked within seconds, and all of them when
/// the proxy has been without word for too long (I8).
/// </summary>
internal sealed partial class RevocationWatch(
    [FromKeyedServices(AppIds.Proxy)] IServiceClients clients, ITrustedKeys keys, HighestRevocation highest, Freshness freshness, SessionRegistry sessions,
    TimeProvider clock, IOptions<ProxyOptions> options, ILogger<RevocationWatch> logger)
    : ServiceWatch("countersign.revocation", options.Value.AskEvery, clock)
{
    private readonly Lock _gate = new();

    // The latest that the sessions were told of, and the latest that a beacon has named: an event may be ahead of the beacons that are on their way.
    private long _known = -1;
    private long _confirmed;

    protected override void Unreachable(string error) => LogUnreachable(error);

    // Whether sessions must end is asked also where nobody answers.
    protected override void RoundEnded()
    {
        if (freshness.IsDead && sessions.End(_ => true, "stale") is > 0 and var ended)
        {
            LogStale(ended);
        }
    }

    /// <summary>The next revocation, as it came: with a thousand proxies two questions of each would come to identity in the moment that it has revoked something.</summary>
    protected override bool TakeNews(BusEvent change)
    {
        if (JsonSerializer.Deserialize<Revocation>(change.Data.Span, TokenJson.Options) is not { Kind: not Revocation.Compacted } revocation)
        {
            return false;
        }

        lock (_gate)
        {
            // One behind a gap is asked for with those before it; the beacon says so too.
            return _known >= 0 && (revocation.Sequence <= _known || (revocation.Sequence == _known + 1 && Told(revocation)));
        }
    }

    internal override async Task FollowAsync(CancellationToken cancellation)
    {
        var client = clients.Create(AppIds.Identity);
        var signer = await keys.GetAsync(AppIds.Identity, cancellation).ConfigureAwait(false);
        var beacon = await BeaconAsync(
            client, token => signer.VerifyAsync<IdentityBeacon>(token, TokenTypes.Beacon, null, null, Clock.GetUtcNow(), requireExpiry: false), each => each.IssuedAt,
            cancellation).ConfigureAwait(false);
        var heard = Math.Max(_confirmed, highest.Sequence ?? 0);
        if (beacon.RevocationHead < heard)
        {
            // A head that went back is a restored backup or a replay: not a word to go on with.
            LogRolledBack(beacon.RevocationHead, heard);
            return;
        }

        lock (_gate)
        {
            if (_known < 0)
            {
                // Nothing is open yet that an earlier revocation could concern: logins are checked by identity itself.
                _known = beacon.RevocationHead;
            }
        }

        while (beacon.RevocationHead > _known)
        {
            // Signed, with what was asked and now: the beacon names the head's number only, and not what stands below it.
            var answer = await client.AskSignedAsync(
                keys, AppIds.Identity, AppIds.Proxy, $"v1/revocations?after={_known}", Clock, cancellation).ConfigureAwait(false);
            var news = answer.Read<IReadOnlyList<Revocation>>(TokenJson.Options) ?? [];
            if (news.Count == 0)
            {
                throw new HttpRequestException("the feed lacks what the beacon promises");
            }

            foreach (var revocation in news.OrderBy(each => each.Sequence))
            {
                lock (_gate)
                {
                    Take(revocation);
                }
            }
        }

        _confirmed = beacon.RevocationHead;
        highest.Raise(beacon.RevocationHead);
        freshness.IdentityAt(beacon.IssuedAt);
    }

    private void Take(Revocation revocation)
    {
        if (revocation.Sequence <= _known)
        {
            // An event was faster.
            return;
        }

        if (revocation.Kind == Revocation.Compacted)
        {
            // Identity has forgotten what this proxy never heard, being older than any session may live. None that is open is certain to be unrevoked.
            LogForgotten(_known, revocation.Sequence, sessions.End(_ => true, "stale"));
            _known = revocation.Sequence;
            return;
        }

        if (revocation.Sequence != _known + 1)
        {
            // The feed has no gaps: one that is left out must not be taken for known.
            throw new HttpRequestException("the feed lacks what the beacon promises");
        }

        Told(revocation);
    }

    private bool Told(Revocation revocation)
    {
        var ended = sessions.Revoke(revocation, Clock.GetUtcNow());
        LogRevoked(revocation.Kind, revocation.Id, ended);
        _known = revocation.Sequence;
        return true;
    }

    [LoggerMessage(3101, LogLevel.Warning, "Identity can't be followed: {Error}")]
    private partial void LogUnreachable(string error);

    [LoggerMessage(3102, LogLevel.Error, "The revocation feed went back from {Known} to {Head}; its word is not taken")]
    private partial void LogRolledBack(long head, long known);

    [LoggerMessage(3103, LogLevel.Information, "Revoked {Kind} {Id}: {Ended} sessions end")]
    private partial void LogRevoked(string kind, string id, int ended);

    [LoggerMessage(3105, LogLevel.Error, "Revocations {From} to {To} were never heard here and are no longer told: {Ended} sessions end")]
    private partial void LogForgotten(long from, long to, int ended);

    [LoggerMessage(3104, LogLevel.Error, "No word from policy or identity for too long: {Ended} sessions end")]
    private partial void LogStale(int ended);
}
