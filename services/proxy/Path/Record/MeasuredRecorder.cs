using System.Diagnostics;
using Countersign.Policy.Contracts;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Path.Record;

/// <summary>A recorder that also counts: every session and how every operation ended passes here, whatever the protocol.</summary>
/// <param name="inner">The recorder.</param>
internal sealed class MeasuredRecorder(ISessionRecorder inner) : ISessionRecorder
{
    public async ValueTask<ISessionRecording> OpenAsync(string session, SessionStartEntry start, CancellationToken cancellation)
    {
        var recording = await inner.OpenAsync(session, start, cancellation).ConfigureAwait(false);
        return new Recording(recording, start.Protocol, PathTelemetry.SessionBegan(session, start));
    }

    private sealed class Recording(ISessionRecording inner, string protocol, Activity? span) : ISessionRecording
    {
        private int _ended;

        public CancellationToken Failed => inner.Failed;

        public ActivityContext Trace { get; } = span?.Context ?? default;

        public RecordReceipt Append(OperationEntry entry, RecordLevel level) => inner.Append(entry, level);

        public void Complete(CompletionEntry entry)
        {
            inner.Complete(entry);
            PathTelemetry.Completed(protocol, entry);
        }

        public ValueTask RecordHoldAsync(HoldEntry entry, CancellationToken cancellation) => inner.RecordHoldAsync(entry, cancellation);

        public void RecordGateway(string statement) => inner.RecordGateway(statement);

        public ValueTask EndAsync(SessionEndEntry entry, CancellationToken cancellation)
        {
            Ended(entry);
            return inner.EndAsync(entry, cancellation);
        }

        public ValueTask DisposeAsync()
        {
            // Without an end of its own it was cut off on the way.
            Ended(new SessionEndEntry("shutdown", 0, 0, 0));
            return inner.DisposeAsync();
        }

        private void Ended(SessionEndEntry entry)
        {
            if (Interlocked.Exchange(ref _ended, 1) == 0)
            {
                PathTelemetry.SessionEnded(span, protocol, entry);
            }
        }
    }
}
