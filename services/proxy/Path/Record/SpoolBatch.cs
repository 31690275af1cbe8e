using System.Collections.Concurrent;
using System.Threading.Tasks.Sources;

namespace Countersign.Proxy.Path.Record;

/// <summary>What one sync makes durable, and those who wait for it.</summary>
internal sealed class SpoolBatch(SpoolWriter writer)
{
    private static readonly SpoolWaiter Closed = new();
    private SpoolWaiter? _waiters;
    private volatile bool _durable;
    private volatile Exception? _failure;

    public bool IsDurable => _durable;

    /// <summary>Completes when the batch is durable.</summary>
    public ValueTask WaitAsync(CancellationToken cancellation)
    {
        if (_durable)
        {
            return ValueTask.CompletedTask;
        }

        if (cancellation.IsCancellationRequested)
        {
            return ValueTask.FromCanceled(cancellation);
        }

        var waiter = SpoolWaiter.Rent();
        var task = waiter.Prepare();
        SpoolWaiter? head;
        do
        {
            head = Volatile.Read(ref _waiters);
            if (ReferenceEquals(head, Closed))
            {
                // It ended meanwhile: the waiter completes itself, in the place of the batch.
                waiter.Complete(_failure);
                return task;
            }

            waiter.Next = head;
        }
        while (!ReferenceEquals(Interlocked.CompareExchange(ref _waiters, waiter, head), head));
        writer.Demand(this);
        waiter.CancelBy(cancellation);
        return task;
    }

    /// <summary>Ends the batch.</summary>
    /// <returns>Those who wait, in the order in which they came.</returns>
    public SpoolWaiter? Finish(Exception? failure, out int count)
    {
        _failure = failure;
        _durable = failure is null;
        var waiter = Interlocked.Exchange(ref _waiters, Closed);
        SpoolWaiter? first = null;
        count = 0;
        while (waiter is not null)
        {
            var next = waiter.Next;
            waiter.Next = first;
            first = waiter;
            waiter = next;
            count++;
        }

        return first;
    }
}

/// <summary>
/// Somebody who waits for a batch. Pooled: it goes back when both the batch and the one who awaits have let go of it. Runs the continuation where it is
/// completed: the spool decides on which thread that is.
/// </summary>
internal sealed class SpoolWaiter : IValueTaskSource
{
    private const int PoolSize = 4096;
    private static readonly ConcurrentQueue<SpoolWaiter> Pool = new();
    private static int _pooled;

    private ManualResetValueTaskSourceCore<bool> _core;
    private CancellationTokenRegistration _registration;
    private int _completed;
    private int _holders;

    public SpoolWaiter? Next { get; set; }

    public static SpoolWaiter Rent()
    {
        if (Pool.TryDequeue(out var waiter))
        {
            Interlocked.Decrement(ref _pooled);
            return waiter;
        }

        return new SpoolWaiter();
    }

    public ValueTask Prepare()
    {
        Next = null;
        _completed = 0;
        _holders = 2;
        return new ValueTask(this, _core.Version);
    }

    public void CancelBy(CancellationToken cancellation)
    {
        if (cancellation.CanBeCanceled)
        {
            // The batch may have completed it already; then the one who awaits finds the registration when it takes the result.
            _registration = cancellation.UnsafeRegister(static (state, token) => ((SpoolWaiter)state!).Cancel(token), this);
        }
    }

    /// <summary>Completes it for the batch, running its continuation here.</summary>
    public void Complete(Exception? failure)
    {
        if (Interlocked.Exchange(ref _completed, 1) == 0)
        {
            if (failure is null)
            {
                _core.SetResult(true);
            }
            else
            {
                _core.SetException(failure);
            }
        }

        Release();
    }

    public void GetResult(short token)
    {
        if (token != _core.Version)
        {
            throw new InvalidOperationException("This wait is over: it was awaited before.");
        }

        try
        {
            _core.GetResult(token);
        }
        finally
        {
            _registration.Dispose();
            _registration = default;
            Release();
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);

    private void Cancel(CancellationToken token)
    {
        if (Interlocked.Exchange(ref _completed, 1) == 0)
        {
            _core.SetException(new OperationCanceledException(token));
        }
    }

    private void Release()
    {
        if (Interlocked.Decrement(ref _holders) != 0)
        {
            return;
        }

        _core.Reset();
        if (Interlocked.Increment(ref _pooled) <= PoolSize)
        {
            Pool.Enqueue(this);
        }
        else
        {
            Interlocked.Decrement(ref _pooled);
        }
    }
}

/// <summary>Wakes some of those who waited, one behind the other, on a thread of the pool.</summary>
internal sealed class SpoolWake(SpoolWaiter first, int count, Exception? failure) : IThreadPoolWorkItem
{
    public void Execute() => Run(first, count, failure);

    /// <summary>Wakes so many.</summary>
    /// <returns>The next one.</returns>
    public static SpoolWaiter? Run(SpoolWaiter? waiter, int count, Exception? failure)
    {
        while (waiter is not null && count-- > 0)
        {
            // Read before: once completed it may be used again.
            var next = waiter.Next;
            waiter.Next = null;
            waiter.Complete(failure);
            waiter = next;
        }

        return waiter;
    }
}
