using System.Collections.Concurrent;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Hold;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>
/// Ends what runs under an approval that was taken back, within a second: told by topic <c>approvals</c>, and, since an event may be lost, by asking for
/// each request under which something runs. Ends too what a stricter bundle wouldn't let run (I8).
/// </summary>
internal sealed partial class GrantWatch(
    [FromKeyedServices(AppIds.Proxy)] IServiceClients clients, ITrustedKeys keys, RunningGrants running, TimeProvider clock, ILogger<GrantWatch> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(700);

    // Who took it back is worth a moment, but not the second in which it must have ended.
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(400);
    private const int AtOnce = 8;

    private readonly ConcurrentQueue<string> _revoked = new();
    private readonly Doorbell _doorbell = new();

    /// <summary>An event says that a request has changed.</summary>
    public void Changed(RequestChanged changed)
    {
        // Also where nothing runs yet: the redemption's answer may be on its way.
        if (changed.State == RequestState.Revoked)
        {
            if (running.Runs(changed.Request))
            {
                _revoked.Enqueue(changed.Request);
                _doorbell.Ring();
            }
            else
            {
                running.Revoke(changed.Request, Text(changed.Request, null));
            }
        }
    }

    /// <summary>Another bundle is in force.</summary>
    public void BundleChanged(BundleInForce bundle)
    {
        if (running.Reconsider(bundle, clock.GetUtcNow()) is > 0 and var ended)
        {
            LogStricter(bundle.Version, ended);
        }
    }

    public override void Dispose()
    {
        _doorbell.Dispose();
        base.Dispose();
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(FollowAsync(stoppingToken), AskAsync(stoppingToken));

    /// <summary>
    /// Ends everything that was taken back. However many were: they have one moment together to learn by whom, and those for which it wasn't enough end without a name.
    /// </summary>
    internal async Task EndRevokedAsync(CancellationToken stopping)
    {
        var revoked = new HashSet<string>(StringComparer.Ordinal);
        while (_revoked.TryDequeue(out var request))
        {
            revoked.Add(request);
        }

        if (revoked.Count == 0)
        {
            return;
        }

        using var deadline = new CancellationTokenSource(Patience, clock);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, stopping);
        await Parallel.ForEachAsync(
            revoked, new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = CancellationToken.None },
            async (request, _) => End(request, await FindAsync(request, limit.Token).ConfigureAwait(false))).ConfigureAwait(false);
    }

    // Apart from the asking below: that may take long where much runs and approval is slow.
    private async Task FollowAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            await EndRevokedAsync(stopping).ConfigureAwait(false);
            await _doorbell.WaitAsync(Interval, stopping).ConfigureAwait(false);
        }
    }

    private async Task AskAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            if (running.Requests is { Count: > 0 } requests)
            {
                await Parallel.ForEachAsync(
                    requests, new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = CancellationToken.None },
                    async (request, _) => await LookAsync(request, stopping).ConfigureAwait(false)).ConfigureAwait(false);
            }

            await Task.Delay(Interval, stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task LookAsync(string request, CancellationToken cancellation)
    {
        if (await FindAsync(request, cancellation).ConfigureAwait(false) is not { } view)
        {
            return;
        }

        if (view.State is RequestState.Approved or RequestState.Consumed)
        {
            running.Confirm(request, clock.GetUtcNow());
        }
        else if (view.State is RequestState.Revoked)
        {
            End(request, view);
        }
    }

    private void End(string request, RequestView? view)
    {
        if (running.Revoke(request, Text(request, view)) is > 0 and var ended)
        {
            LogRevoked(request, ended);
        }
    }

    private static string Text(string request, RequestView? view) => view?.Revocation is { } revocation
        ? $"The approval {request} was taken back by {revocation.Name}{(revocation.Comment.Length > 0 ? $": {revocation.Comment}" : ".")}"
        : $"The approval {request} was taken back.";

    private async Task<RequestView?> FindAsync(string request, CancellationToken cancellation)
    {
        try
        {
            using var patience = new CancellationTokenSource(Patience, clock);
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation, patience.Token);
            var answer = await clients.Create(AppIds.Approval)
                .AskSignedAsync(keys, AppIds.Approval, AppIds.Proxy, $"v1/requests/{Uri.EscapeDataString(request)}", clock, limit.Token).ConfigureAwait(false);
            return answer.Read<RequestView>(TokenJson.Options);
        }
        catch (Exception error) when (
            error is HttpRequestException or JsonException or TokenRejectedException or PortUnavailableException or OperationCanceledException or IOException)
        {
            return null;
        }
    }

    [LoggerMessage(3121, LogLevel.Information, "The approval {Request} was taken back: {Ended} sessions end")]
    private partial void LogRevoked(string request, int ended);

    [LoggerMessage(3122, LogLevel.Information, "Bundle {Version} is stricter than what was approved: {Ended} sessions end")]
    private partial void LogStricter(long version, int ended);
}
