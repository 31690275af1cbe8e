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
    /// <summary>Appends an operation. The result is there when the record is as durable as asked (invariant I5).</summary>
    /// <param name="entry">The operation and its decision.</param>
    /// <param name="level">How durable.</param>
    /// <param name="cancellation">Cancels the wait, not the record.</param>
    /// <exception cref="RecordingFailedException">The record is not there: the session must end.</exception>
    ValueTask<RecordReceipt> RecordAsync(OperationEntry entry, RecordLevel level, CancellationToken cancellation);

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
}

/// <summary>Proof that an operation is recorded. Only the spool can make one.</summary>
public sealed class RecordReceipt
{
    internal RecordReceipt(long sequence, RecordLevel level)
    {
        Sequence = sequence;
        Level = level;
    }

    /// <summary>Number of the entry in its session.</summary>
    public long Sequence { get; }

    /// <summary>How durable it is.</summary>
    public RecordLevel Level { get; }
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
