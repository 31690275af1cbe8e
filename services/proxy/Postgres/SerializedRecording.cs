using System.Diagnostics;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Postgres;

/// <summary>A recording takes one call at a time; here operations begin in the client's half of a session and end in the target's.</summary>
internal sealed class SerializedRecording(ISessionRecording inner) : ISessionRecording
{
    private readonly Lock _gate = new();

    public CancellationToken Failed => inner.Failed;

    public ActivityContext Trace => inner.Trace;

    public RecordReceipt Append(OperationEntry entry, RecordLevel level)
    {
        lock (_gate)
        {
            return inner.Append(entry, level);
        }
    }

    public void Complete(CompletionEntry entry)
    {
        lock (_gate)
        {
            inner.Complete(entry);
        }
    }

    public ValueTask RecordHoldAsync(HoldEntry entry, CancellationToken cancellation)
    {
        // The entry is appended before the call returns; only its durability is waited for.
        lock (_gate)
        {
            return inner.RecordHoldAsync(entry, cancellation);
        }
    }

    public void RecordGateway(string statement)
    {
        lock (_gate)
        {
            inner.RecordGateway(statement);
        }
    }

    public ValueTask EndAsync(SessionEndEntry entry, CancellationToken cancellation)
    {
        lock (_gate)
        {
            return inner.EndAsync(entry, cancellation);
        }
    }

    public ValueTask DisposeAsync() => inner.DisposeAsync();
}
