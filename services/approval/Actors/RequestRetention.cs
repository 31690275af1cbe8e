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

/// <summary>Deletes requests that are over and old. What they were is in the recorder.</summary>
internal sealed partial class RequestSweeper(
    [FromKeyedServices(AppIds.Approval)] IStateStore store, RequestIndex index, RequestRetention retention, TimeProvider clock, ILogger<RequestSweeper> logger)
    : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromHours(6);

    /// <returns>How many were deleted.</returns>
    public async Task<int> SweepAsync(CancellationToken cancellation)
    {
        var deleted = 0;
        var now = clock.GetUtcNow();
        await foreach (var item in store.ListAsync(Collections.Requests, cancellation))
        {
            // The etag: whoever changed it since has a reason to keep it.
            if (retention.Ended(StateStoreDocuments.Read<RequestDocument>(item), now)
                && await store.TryDeleteAsync(Collections.Requests, item.Key, item.ETag, cancellation))
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

        using var timer = new PeriodicTimer(Interval, clock);
        try
        {
            do
            {
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
                }
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
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
