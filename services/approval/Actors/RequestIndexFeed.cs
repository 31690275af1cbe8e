using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Actors;

/// <summary>
/// Keeps the index of this instance up with what other instances save: by their events, where there is a bus between them, and by looking for what was written to the
/// store, in case an event got lost.
/// </summary>
internal sealed partial class RequestIndexFeed(
    [FromKeyedServices(AppIds.Approval)] IStateStore store, RequestIndex index, TimeProvider clock, ILogger<RequestIndexFeed> logger) : BackgroundService
{
    /// <summary>Longest time after which a list has what another instance did, whatever becomes of events.</summary>
    internal static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    // Rounds after which it looks back as well, for a write that took long.
    private const int RoundsToLookBack = 12;
    private readonly ChangeReader _changes = new(store, Collections.Requests, clock);

    /// <summary>Takes over all there is. To be done before anything is served.</summary>
    /// <param name="seen">What to do with each.</param>
    /// <param name="cancellation">Ends it.</param>
    public async Task LoadAsync(Action<RequestDocument> seen, CancellationToken cancellation)
    {
        await foreach (var item in _changes.ReadAsync(again: false, cancellation))
        {
            var document = StateStoreDocuments.Read<RequestDocument>(item);
            index.Update(document);
            seen(document);
        }
    }

    /// <summary>Another instance said that it changed a request.</summary>
    public async ValueTask OnChangedAsync(BusEvent changed, CancellationToken cancellation)
    {
        if (JsonSerializer.Deserialize<RequestChanged>(changed.Data.Span, JsonSerializerOptions.Web) is { Request: { Length: > 0 } request }
            && await store.LoadAsync<RequestDocument>(Collections.Requests, request, cancellation) is { Document: { } document })
        {
            index.Update(document);
        }
    }

    /// <summary>Takes over what others wrote since.</summary>
    internal async Task CatchUpAsync(bool again, CancellationToken cancellation)
    {
        await foreach (var item in _changes.ReadAsync(again, cancellation))
        {
            index.Update(StateStoreDocuments.Read<RequestDocument>(item));
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, clock);
        try
        {
            for (var round = 1; await timer.WaitForNextTickAsync(stoppingToken); round++)
            {
                try
                {
                    await CatchUpAsync(round % RoundsToLookBack == 0, stoppingToken);
                }
                catch (PortUnavailableException error)
                {
                    LogBehind(error);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    [LoggerMessage(2544, LogLevel.Warning, "Lists may lack what other instances did")]
    private partial void LogBehind(Exception error);
}
