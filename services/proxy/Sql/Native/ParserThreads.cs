using System.Threading.Channels;

namespace Countersign.Proxy.Sql.Native;

/// <summary>A few threads with large stacks and a bounded queue, for texts whose tree may be deep. Callers wait without holding a thread.</summary>
internal sealed class ParserThreads : IDisposable
{
    private readonly Channel<Work> queue;
    private readonly Thread[] threads;

    /// <param name="count">Number of threads.</param>
    /// <param name="stackBytes">Stack of each; pages are only committed where they are touched.</param>
    /// <param name="queueLength">How many texts may wait; further callers wait for room.</param>
    public ParserThreads(int count, int stackBytes, int queueLength)
    {
        queue = Channel.CreateBounded<Work>(new BoundedChannelOptions(queueLength) { FullMode = BoundedChannelFullMode.Wait });
        threads = new Thread[count];
        for (var i = 0; i < count; i++)
        {
            threads[i] = new Thread(Loop, stackBytes) { IsBackground = true, Name = $"sql-parser-{i}" };
            threads[i].Start();
        }
    }

    /// <summary>Runs a function on one of the threads.</summary>
    public async ValueTask<T> RunAsync<T>(Func<T> function, CancellationToken cancellation)
    {
        var work = new Work<T>(function);
        await queue.Writer.WriteAsync(work, cancellation).ConfigureAwait(false);
        return await work.Task.WaitAsync(cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void Dispose() => queue.Writer.TryComplete();

    private void Loop()
    {
        var reader = queue.Reader;
        while (reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
        {
            while (reader.TryRead(out var work))
            {
                work.Run();
            }
        }
    }

    private abstract class Work
    {
        public abstract void Run();
    }

    private sealed class Work<T>(Func<T> function) : Work
    {
        private readonly TaskCompletionSource<T> done = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<T> Task => done.Task;

        public override void Run()
        {
            try
            {
                done.SetResult(function());
            }
#pragma warning disable CA1031 // The caller gets it; the thread lives on.
            catch (Exception error)
#pragma warning restore CA1031
            {
                done.SetException(error);
            }
        }
    }
}
