using System.Collections.Concurrent;
using System.Text.Json;
using Countersign.Approval.Actors;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;

namespace Countersign.Fakes.Workflow;

/// <summary>The smallest runtime: documents and wake-ups in memory, turns of one workflow one after another. Says what the shells need, and nothing else.</summary>
public sealed class InMemoryRuntime(ContractWorld world, WorkflowSettings settings) : IWorkflowRuntime, IWorkflowHost
{
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(20);
    private readonly ConcurrentDictionary<(string Type, string Id), (byte[] Json, int ETag)> _documents = new();
    private readonly ConcurrentDictionary<string, DateTimeOffset> _wakes = new();
    private readonly ConcurrentDictionary<(string Type, string Id), Workflow> _running = new();
    private CancellationTokenSource _stopping = new();
    private Task _waking = Task.CompletedTask;
    private volatile bool _down;
    private int _etag;

    /// <inheritdoc/>
    public IWorkflowHost Workflows => this;

    /// <inheritdoc/>
    public Task StartAsync()
    {
        _stopping = new CancellationTokenSource();
        _waking = Task.Run(() => WakeAsync(_stopping.Token));
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task StopAsync()
    {
        await _stopping.CancelAsync();
        await _waking;
        _running.Clear();
        _stopping.Dispose();
    }

    /// <inheritdoc/>
    public void FailStore(bool down) => _down = down;

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => new(StopAsync());

    /// <inheritdoc/>
    public async ValueTask<ReadOnlyMemory<byte>> SendAsync(string type, string id, ReadOnlyMemory<byte> message, CancellationToken cancellation) =>
        await Of(type, id).TurnAsync(shell => shell.HandleAsync(message, cancellation));

    private RequestParts Parts => new(world.Evidence, world.Signer, world.Told, world.Clock, this, world.Told, settings.ReviewWithin);

    private Workflow Of(string type, string id) => _running.GetOrAdd((type, id), _ => new Workflow(type == WorkflowTypes.Request
        ? new Shell(new RequestShell(id, new Host<RequestDocument>(this, type, id), Parts))
        : new Shell(new RequesterShell(id, new Host<RequesterDocument>(this, type, id), Parts, settings.Limits))));

    private async Task WakeAsync(CancellationToken stopping)
    {
        // What a process that ended left to do is done by the next one, without anybody asking.
        foreach (var (type, id) in _documents.Keys)
        {
            Of(type, id).Untidy = true;
        }

        while (!stopping.IsCancellationRequested)
        {
            foreach (var (id, at) in _wakes)
            {
                if (at <= world.Clock.GetUtcNow())
                {
                    await TryAsync(Of(WorkflowTypes.Request, id), shell => shell.WakeAsync(CancellationToken.None));
                }
            }

            foreach (var workflow in _running.Values.Where(workflow => workflow.Untidy))
            {
                await TryAsync(workflow, shell => shell.TidyAsync(CancellationToken.None));
            }

            await Task.Delay(Tick, CancellationToken.None);
        }
    }

    private static async Task TryAsync(Workflow workflow, Func<Shell, ValueTask> act)
    {
        try
        {
            await workflow.TurnAsync(async shell =>
            {
                await act(shell);
                return 0;
            });
        }
        catch (PortUnavailableException)
        {
            // Again with the next tick.
        }
    }

    private sealed class Shell
    {
        private readonly RequestShell? _request;
        private readonly RequesterShell? _requester;

        public Shell(RequestShell request) => _request = request;

        public Shell(RequesterShell requester) => _requester = requester;

        public bool Untidy => _request?.Untidy ?? _requester!.Untidy;

        public ValueTask<byte[]> HandleAsync(ReadOnlyMemory<byte> message, CancellationToken cancellation) =>
            _request?.HandleAsync(message, cancellation) ?? _requester!.HandleAsync(message, cancellation);

        public ValueTask WakeAsync(CancellationToken cancellation) => _request?.WakeAsync(cancellation) ?? _requester!.WakeAsync(cancellation);

        public ValueTask TidyAsync(CancellationToken cancellation) => _request?.TidyAsync(cancellation) ?? _requester!.TidyAsync(cancellation);
    }

    private sealed class Workflow(Shell shell)
    {
        private readonly SemaphoreSlim _turn = new(1, 1);

        public volatile bool Untidy;

        public async ValueTask<T> TurnAsync<T>(Func<Shell, ValueTask<T>> act)
        {
            await _turn.WaitAsync();
            try
            {
                return await act(shell);
            }
            finally
            {
                Untidy = shell.Untidy;
                _turn.Release();
            }
        }
    }

    private sealed class Host<TDocument>(InMemoryRuntime runtime, string type, string id) : IRunnerHost<TDocument>
        where TDocument : class
    {
        public ValueTask<Stored<TDocument>?> LoadAsync(CancellationToken cancellation)
        {
            Check();
            return new(runtime._documents.TryGetValue((type, id), out var stored)
                ? new Stored<TDocument>(JsonSerializer.Deserialize<TDocument>(stored.Json, WorkflowJson.Options)!, $"{stored.ETag}")
                : null);
        }

        public ValueTask<bool> SaveAsync(TDocument document, string? etag, CancellationToken cancellation)
        {
            Check();
            var next = (JsonSerializer.SerializeToUtf8Bytes(document, WorkflowJson.Options), Interlocked.Increment(ref runtime._etag));
            return new(etag is null
                ? runtime._documents.TryAdd((type, id), next)
                : runtime._documents.TryGetValue((type, id), out var known) && $"{known.ETag}" == etag && runtime._documents.TryUpdate((type, id), next, known));
        }

        public ValueTask WakeAtAsync(DateTimeOffset when, CancellationToken cancellation)
        {
            Check();
            runtime._wakes[id] = when;
            return ValueTask.CompletedTask;
        }

        public ValueTask CancelWakeAsync(CancellationToken cancellation)
        {
            runtime._wakes.TryRemove(id, out _);
            return ValueTask.CompletedTask;
        }

        private void Check()
        {
            if (runtime._down)
            {
                throw new PortUnavailableException("the store is down");
            }
        }
    }
}
