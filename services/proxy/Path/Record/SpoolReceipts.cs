namespace Countersign.Proxy.Path.Record;

/// <summary>Receipt of a buffered entry: as durable as was asked, at once.</summary>
internal sealed class BufferedReceipt(long sequence) : RecordReceipt(sequence)
{
    public override bool IsDurable => true;

    public override ValueTask WaitAsync(CancellationToken cancellation) => ValueTask.CompletedTask;
}

/// <summary>Receipt of an entry that must be on the proxy's disk.</summary>
internal sealed class DurableReceipt(long sequence, SpoolBatch batch) : RecordReceipt(sequence)
{
    public override bool IsDurable => batch.IsDurable;

    public override ValueTask WaitAsync(CancellationToken cancellation) => batch.WaitAsync(cancellation);
}

/// <summary>Receipt of an entry that the recorder must have.</summary>
internal sealed class AcknowledgedReceipt(long sequence, SpoolRecording recording) : RecordReceipt(sequence)
{
    public override bool IsDurable => recording.Acknowledgements.Reached(Sequence);

    public override ValueTask WaitAsync(CancellationToken cancellation) => recording.Acknowledgements.WaitAsync(Sequence, cancellation);
}

/// <summary>How far the recorder has a session, and those who wait for it. Rare: approved operations only.</summary>
internal sealed class Acknowledgements(TimeSpan timeout, TimeProvider clock)
{
    private readonly Lock _gate = new();
    private readonly List<(long Sequence, TaskCompletionSource Done)> _waiting = [];
    private long _reached;
    private Exception? _failure;

    public bool Reached(long sequence) => Volatile.Read(ref _reached) >= sequence;

    public async ValueTask WaitAsync(long sequence, CancellationToken cancellation)
    {
        TaskCompletionSource done;
        lock (_gate)
        {
            if (_reached >= sequence)
            {
                return;
            }

            if (_failure is not null)
            {
                throw _failure;
            }

            done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Add((sequence, done));
        }

        try
        {
            await done.Task.WaitAsync(timeout, clock, cancellation).ConfigureAwait(false);
        }
        catch (TimeoutException error)
        {
            throw new RecordingFailedException("The recorder did not confirm the record in time; nothing goes on without it.", error);
        }
        finally
        {
            lock (_gate)
            {
                _waiting.Remove((sequence, done));
            }
        }
    }

    public void Reach(long sequence)
    {
        lock (_gate)
        {
            if (sequence <= _reached)
            {
                return;
            }

            Volatile.Write(ref _reached, sequence);
            foreach (var (awaited, done) in _waiting)
            {
                if (awaited <= sequence)
                {
                    done.TrySetResult();
                }
            }
        }
    }

    public void Fail(Exception failure)
    {
        lock (_gate)
        {
            _failure ??= failure;
            foreach (var (_, done) in _waiting)
            {
                done.TrySetException(failure);
            }
        }
    }
}
