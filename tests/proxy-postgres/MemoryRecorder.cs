using System.Collections.Concurrent;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Postgres.Tests;

internal sealed class MemoryRecorder : ISessionRecorder
{
    public ConcurrentQueue<MemoryRecording> Sessions { get; } = new();

    public bool Broken { get; set; }

    /// <summary>While true, receipts stay pending until <see cref="MemoryRecording.Flush"/>.</summary>
    public volatile bool Slow;

    public IEnumerable<OperationEntry> Operations => Sessions.SelectMany(session => session.Operations);

    public IEnumerable<CompletionEntry> Completions => Sessions.SelectMany(session => session.Completions);

    public ValueTask<ISessionRecording> OpenAsync(string session, SessionStartEntry start, CancellationToken cancellation)
    {
        if (Broken)
        {
            throw new RecordingFailedException("disk");
        }

        var recording = new MemoryRecording(this, start);
        Sessions.Enqueue(recording);
        return ValueTask.FromResult<ISessionRecording>(recording);
    }
}

internal sealed class MemoryRecording(MemoryRecorder recorder, SessionStartEntry start) : ISessionRecording
{
    private readonly CancellationTokenSource _failed = new();
    private readonly ConcurrentQueue<Receipt> _receipts = new();

    public SessionStartEntry Start => start;

    public ConcurrentQueue<OperationEntry> Operations { get; } = new();

    public ConcurrentQueue<CompletionEntry> Completions { get; } = new();

    public ConcurrentQueue<HoldEntry> Holds { get; } = new();

    public ConcurrentQueue<string> GatewayStatements { get; } = new();

    public TaskCompletionSource<SessionEndEntry> Ended { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public CancellationToken Failed => _failed.Token;

    public Task<SessionEndEntry> EndedAsync() => Ended.Task.WaitAsync(TimeSpan.FromSeconds(20));

    public void Fail() => _failed.Cancel();

    public void ClearReceipts() => _receipts.Clear();

    public void Flush()
    {
        foreach (var receipt in _receipts)
        {
            receipt.Finish();
        }
    }

    public RecordReceipt Append(OperationEntry entry, RecordLevel level)
    {
        Operations.Enqueue(entry);
        var receipt = new Receipt(Operations.Count, !recorder.Slow);
        _receipts.Enqueue(receipt);
        return receipt;
    }

    public void Complete(CompletionEntry entry) => Completions.Enqueue(entry);

    public ValueTask RecordHoldAsync(HoldEntry entry, CancellationToken cancellation)
    {
        Holds.Enqueue(entry);
        return ValueTask.CompletedTask;
    }

    public void RecordGateway(string statement) => GatewayStatements.Enqueue(statement);

    public ValueTask EndAsync(SessionEndEntry entry, CancellationToken cancellation)
    {
        Ended.TrySetResult(entry);
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private sealed class Receipt(long sequence, bool durable) : RecordReceipt(sequence)
    {
        private readonly TaskCompletionSource _done = Make(durable);

        public override bool IsDurable => _done.Task.IsCompletedSuccessfully;

        public override ValueTask WaitAsync(CancellationToken cancellation) => new(_done.Task.WaitAsync(cancellation));

        public void Finish() => _done.TrySetResult();

        private static TaskCompletionSource Make(bool durable)
        {
            var source = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            if (durable)
            {
                source.SetResult();
            }

            return source;
        }
    }
}
