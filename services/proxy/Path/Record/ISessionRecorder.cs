using System.Diagnostics;
using Countersign.Policy.Contracts;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Path.Record;

/// <summary>Opens recordings. One implementation: the spool.</summary>
public interface ISessionRecorder
{
    /// <summary>Begins the recording of a session; completes once its start entry is durable.</summary>
    /// <param name="session">Session id.</param>
    /// <param name="start">Who, through what, to where.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <exception cref="RecordingFailedException">The spool can't take it: no session.</exception>
    ValueTask<ISessionRecording> OpenAsync(string session, SessionStartEntry start, CancellationToken cancellation);
}

/// <summary>The recording of one session. Calls for one session come from its own loop, one at a time, and keep their order.</summary>
public interface ISessionRecording : IAsyncDisposable
{
    /// <summary>Appends an operation. Returns at once; the receipt says when the record is as durable as asked (invariant I5).</summary>
    /// <param name="entry">The operation and its decision.</param>
    /// <param name="level">How durable: for <see cref="RecordLevel.Buffered"/> the receipt is complete at once.</param>
    /// <exception cref="RecordingFailedException">The spool has failed or is full: the session must end.</exception>
    RecordReceipt Append(OperationEntry entry, RecordLevel level);

    /// <summary>Appends how an operation ended; written with the next sync, never waited for.</summary>
    /// <exception cref="RecordingFailedException">The spool has failed.</exception>
    void Complete(CompletionEntry entry);

    /// <summary>Appends that a hold began or ended; durable when the task completes.</summary>
    ValueTask RecordHoldAsync(HoldEntry entry, CancellationToken cancellation);

    /// <summary>Appends a statement of the gateway's own; written with the next sync.</summary>
    /// <param name="statement">Name of the constant statement.</param>
    void RecordGateway(string statement);

    /// <summary>Appends the end of the session and its seal; durable when the task completes.</summary>
    ValueTask EndAsync(SessionEndEntry entry, CancellationToken cancellation);

    /// <summary>Signalled when the spool fails: the session must end, with this reason.</summary>
    CancellationToken Failed { get; }

    /// <summary>Where spans of the session's operations belong; nowhere while nobody traces.</summary>
    ActivityContext Trace => default;
}

/// <summary>Proof that an operation is recorded, or about to be. Only the spool can make one.</summary>
public abstract class RecordReceipt
{
    internal RecordReceipt(long sequence) => Sequence = sequence;

    /// <summary>Number of the entry in its session.</summary>
    public long Sequence { get; }

    /// <summary>Whether the record is as durable as was asked.</summary>
    public abstract bool IsDurable { get; }

    /// <summary>Completes when the record is as durable as was asked; at once where <see cref="IsDurable"/>.</summary>
    /// <exception cref="RecordingFailedException">It will never be: the session must end.</exception>
    public abstract ValueTask WaitAsync(CancellationToken cancellation);
}

/// <summary>Something could not be recorded; nothing may go on without its record.</summary>
public sealed class RecordingFailedException : Exception
{
    /// <summary>Says what failed, without data of the session.</summary>
    public RecordingFailedException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public RecordingFailedException()
    {
    }

    /// <summary>Says what failed.</summary>
    public RecordingFailedException(string message)
        : base(message)
    {
    }
}
