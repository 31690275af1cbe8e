using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Actors;

/// <summary>
/// What a restart must bring back: the index, before anything is served; then effects that a crash left in outboxes, and deadlines that passed
/// while nothing ran (a reminder that came due then is up to a minute late).
/// </summary>
internal sealed partial class RequestRecovery(
    [FromKeyedServices(AppIds.Approval)] IStateStore store, RequestIndexFeed feed, IWorkflowHost workflows, TimeProvider clock, ILogger<RequestRecovery> logger)
    : IHostedLifecycleService, IDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private readonly List<(string Type, string Id)> _left = [];
    private readonly CancellationTokenSource _stopping = new();
    private Task _waking = Task.CompletedTask;

    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        var now = clock.GetUtcNow();
        var count = 0;
        await feed.LoadAsync(
            request =>
            {
                count++;
                if (request.Outbox.Count > 0 || request.WakeAt <= now)
                {
                    _left.Add((WorkflowTypes.Request, request.Spec.Id));
                }
            },
            cancellationToken);

        // Only where the actors keep theirs in the same store.
        await foreach (var item in new ChangeReader(store, Collections.Requesters, clock).ReadAsync(again: false, cancellationToken))
        {
            if (StateStoreDocuments.Read<RequesterDocument>(item).Outbox.Count > 0)
            {
                _left.Add((WorkflowTypes.Requester, item.Key));
            }
        }

        LogRecovered(count, _left.Count);
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken)
    {
        _waking = Task.Run(WakeAllAsync, CancellationToken.None);
        return Task.CompletedTask;
    }

    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        await _stopping.CancelAsync();
        await _waking;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public void Dispose() => _stopping.Dispose();

    // Again and again until all are woken: a sidecar may come up after its app.
    private async Task WakeAllAsync()
    {
        var left = _left;
        for (var round = 1; left.Count > 0; round++)
        {
            var again = new List<(string Type, string Id)>();
            foreach (var (type, id) in left)
            {
                try
                {
                    await workflows.SendAsync(type, id, ReadOnlyMemory<byte>.Empty, _stopping.Token);
                }
                catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
                {
                    return;
                }
                catch (PortUnavailableException error)
                {
                    again.Add((type, id));
                    if (round == 1)
                    {
                        LogNotWoken(error, type, id);
                    }
                }
            }

            left = again;
            await Task.Delay(left.Count > 0 ? Pause : TimeSpan.Zero, _stopping.Token).ContinueWith(_ => { }, TaskScheduler.Default);
            if (_stopping.IsCancellationRequested)
            {
                return;
            }
        }
    }

    [LoggerMessage(2501, LogLevel.Information, "{Count} approval requests are known, {Left} workflows have something left to do")]
    private partial void LogRecovered(int count, int left);

    [LoggerMessage(2502, LogLevel.Warning, "{Type} {Id} could not be woken yet")]
    private partial void LogNotWoken(Exception error, string type, string id);
}
