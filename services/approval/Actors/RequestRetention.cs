using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Actors;

/// <summary>How long requests are kept that are over.</summary>
/// <param name="Keep">From their end on; null for ever.</param>
public sealed record RequestRetention(TimeSpan? Keep)
{
    /// <summary>Whether a request may be deleted: nothing can run under it, nobody must review it, and everybody was told.</summary>
    public bool Ended(RequestDocument document, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(document);
        return Keep is { } keep && document.IsTerminal && !document.AwaitsReview && document.Outbox.Count == 0 && document.Deadline + keep <= now && !document.MayRun(now);
    }
}

/// <summary>Deletes what there is of a request that is over and old.</summary>
internal interface IFinishedRequests
{
    /// <summary>Deletes it, unless it has a reason to stay.</summary>
    /// <param name="listed">As it was found in the service's own store.</param>
    /// <param name="now">The clock.</param>
    /// <param name="cancellation">Ends it; what is left is found by the next sweep.</param>
    /// <returns>False where it stays.</returns>
    ValueTask<bool> DeleteAsync(StateItem listed, DateTimeOffset now, CancellationToken cancellation);
}

/// <summary>Where the documents themselves are in the service's own store.</summary>
internal sealed class OwnFinishedRequests([FromKeyedServices(AppIds.Approval)] IStateStore store) : IFinishedRequests
{
    // The etag: whoever changed it since has a reason to keep it.
    public ValueTask<bool> DeleteAsync(StateItem listed, DateTimeOffset now, CancellationToken cancellation) =>
        store.TryDeleteAsync(Collections.Requests, listed.Key, listed.ETag, cancellation);
}

/// <summary>Deletes requests that are over and old. What they were is in the recorder.</summary>
internal sealed partial class RequestSweeper(
    [FromKeyedServices(AppIds.Approval)] IStateStore store, IFinishedRequests finished, RequestIndex index, RequestRetention retention, TimeProvider clock,
    ILogger<RequestSweeper> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromHours(6);

    // A sidecar may come up after its app.
    private static readonly TimeSpan Again = TimeSpan.FromMinutes(1);

    /// <returns>How many were deleted.</returns>
    public async Task<int> SweepAsync(CancellationToken cancellation)
    {
        var deleted = 0;
        var now = clock.GetUtcNow();
        await foreach (var item in new ChangeReader(store, Collections.Requests, clock).ReadAsync(again: false, cancellation))
        {
            if (retention.Ended(StateStoreDocuments.Read<RequestDocument>(item), now) && await finished.DeleteAsync(item, now, cancellation))
            {
                index.Remove(item.Key);
                deleted++;
            }
        }

        return deleted;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (retention.Keep is null)
        {
            return;
        }

        try
        {
            while (true)
            {
                var pause = Interval;
                try
                {
                    if (await SweepAsync(stoppingToken) is > 0 and var deleted)
                    {
                        LogDeleted(deleted);
                    }
                }
                catch (PortUnavailableException error)
                {
                    LogNotSwept(error);
                    pause = Again;
                }

                await Task.Delay(pause, clock, stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    [LoggerMessage(2531, LogLevel.Information, "{Count} approval requests that were over and old were deleted")]
    private partial void LogDeleted(int count);

    [LoggerMessage(2532, LogLevel.Warning, "Old approval requests could not be deleted; they are looked at again later")]
    private partial void LogNotSwept(Exception error);
}
