using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Actors.Dapr;

/// <summary>Keeps the index of this instance up with what other instances save: by their events, and by looking at all copies now and then.</summary>
internal sealed partial class RequestIndexFeed(
    [FromKeyedServices(AppIds.Approval)] IStateStore store, RequestIndex index, TimeProvider clock, ILogger<RequestIndexFeed> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    public async ValueTask OnChangedAsync(BusEvent changed, CancellationToken cancellation)
    {
        if (JsonSerializer.Deserialize<RequestChanged>(changed.Data.Span, JsonSerializerOptions.Web) is { Request: { Length: > 0 } request }
            && await store.LoadAsync<RequestDocument>(Collections.Requests, request, cancellation) is { Document: { } document })
        {
            index.Update(document);
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, clock);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                try
                {
                    await foreach (var item in store.ListAsync(Collections.Requests, stoppingToken))
                    {
                        index.Update(StateStoreDocuments.Read<RequestDocument>(item));
                    }
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
