using System.Diagnostics;
using System.Diagnostics.Metrics;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Hold;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Path;

/// <summary>
/// Metrics and traces of the data path (docs/operations/telemetry.md). Tags are ids and closed sets of words: never a text, a parameter, a message or a
/// secret. Nobody listening costs a branch; an allowed operation has counters but no span.
/// </summary>
internal static class PathTelemetry
{
    public const string Name = "Countersign.Proxy";
    public const string SessionSpan = "countersign.session";
    public const string OperationSpan = "countersign.operation";

    private static readonly Meter Meter = new(Name);
    private static readonly ActivitySource Source = new(Name);
    private static readonly UpDownCounter<long> Sessions = Meter.CreateUpDownCounter<long>("countersign.proxy.sessions", "{session}", "Sessions that are open");
    private static readonly Counter<long> SessionsEnded = Meter.CreateCounter<long>("countersign.proxy.sessions.ended", "{session}", "Sessions that have ended");
    private static readonly Counter<long> Transferred = Meter.CreateCounter<long>("countersign.proxy.io", "By", "Bytes from and to clients, added when their session ends");
    private static readonly Counter<long> Operations = Meter.CreateCounter<long>("countersign.proxy.operations", "{operation}", "Operations that were decided");
    private static readonly Counter<long> Refusals = Meter.CreateCounter<long>("countersign.proxy.operations.refused", "{operation}", "Operations that were refused");
    private static readonly Histogram<double> Duration = Meter.CreateHistogram<double>("countersign.proxy.operation.duration", "s", "From forwarding an operation to its end");
    private static readonly Histogram<double> RecordWait = Meter.CreateHistogram<double>("countersign.proxy.record.wait", "s", "Wait of an operation for its record, before it is forwarded");
    private static readonly UpDownCounter<long> Holds = Meter.CreateUpDownCounter<long>("countersign.proxy.holds", "{operation}", "Operations whose clients wait for approval now");
    private static readonly Histogram<double> HoldDuration = Meter.CreateHistogram<double>("countersign.proxy.hold.duration", "s", "How long a client waited for approval");

    public static Activity? SessionBegan(string session, SessionStartEntry start)
    {
        Sessions.Add(1, Protocol(start.Protocol));
        if (!Source.HasListeners() || Source.StartActivity(SessionSpan, ActivityKind.Server) is not { } span)
        {
            return null;
        }

        span.SetTag("countersign.session.id", session);
        span.SetTag("countersign.principal.id", start.Principal);
        span.SetTag("countersign.person.id", start.Person);
        span.SetTag("countersign.credential.id", start.Credential);
        span.SetTag("countersign.connection", start.Connection);
        span.SetTag("countersign.protocol", start.Protocol);
        span.SetTag("countersign.proxy.id", start.Proxy);
        return span;
    }

    public static void SessionEnded(Activity? span, string protocol, SessionEndEntry end)
    {
        Sessions.Add(-1, Protocol(protocol));
        SessionsEnded.Add(1, Protocol(protocol), new("countersign.reason", end.Reason));
        Transferred.Add(end.BytesIn, Protocol(protocol), new("network.io.direction", "receive"));
        Transferred.Add(end.BytesOut, Protocol(protocol), new("network.io.direction", "transmit"));
        span?.SetTag("countersign.reason", end.Reason);
        span?.SetTag("countersign.operations", end.Operations);
        span?.Dispose();
    }

    /// <summary>A span for an operation that is held or refused; null where nobody listens.</summary>
    public static Activity? Operation(PathSession session, Operation operation, UnderstoodOperation understood, Decision decision)
    {
        if (!Source.HasListeners() || Source.StartActivity(OperationSpan, ActivityKind.Server, session.Recording.Trace) is not { } span)
        {
            return null;
        }

        span.SetTag("countersign.session.id", session.Id);
        span.SetTag("countersign.person.id", session.Claims.Person);
        span.SetTag("countersign.connection", session.Connection);
        span.SetTag("countersign.protocol", understood.Facts.Protocol);
        span.SetTag("countersign.operation.number", operation.Number);
        span.SetTag("countersign.operation.kind", operation.Kind);
        span.SetTag("countersign.bundle.version", decision.BundleVersion);
        return span;
    }

    public static void Forwarded(Activity? span, Operation operation, UnderstoodOperation understood, RedeemedGrant? grant)
    {
        var decision = grant is null ? "allow" : "approved";
        Operations.Add(1, Protocol(understood.Facts.Protocol), new("countersign.decision", decision));
        if (span is not null)
        {
            span.SetTag("countersign.decision", decision);
            span.SetTag("countersign.request.id", operation.Pending?.Request);
            span.SetTag("countersign.grant.id", grant?.Claims.Id);
        }
    }

    public static void Refused(Activity? span, Operation operation, UnderstoodOperation understood, Refusal refusal)
    {
        var reason = Word(refusal.Reason);
        Operations.Add(1, Protocol(understood.Facts.Protocol), new("countersign.decision", "deny"));
        Refusals.Add(1, Protocol(understood.Facts.Protocol), new("countersign.reason", reason));
        if (span is not null)
        {
            span.SetTag("countersign.decision", "deny");
            span.SetTag("countersign.reason", reason);
            span.SetTag("countersign.request.id", operation.Pending?.Request);
        }
    }

    public static void Completed(string protocol, CompletionEntry entry) =>
        Duration.Record(entry.DurationMicroseconds / 1e6, Protocol(protocol), new("countersign.outcome", entry.Outcome));

    /// <summary>A timestamp where somebody wants to know the wait for the record, else 0.</summary>
    public static long RecordWaitBegins() => RecordWait.Enabled ? Stopwatch.GetTimestamp() : 0;

    public static void RecordWaited(long began)
    {
        if (began != 0)
        {
            RecordWait.Record(Stopwatch.GetElapsedTime(began).TotalSeconds);
        }
    }

    public static void HoldBegan() => Holds.Add(1);

    /// <param name="waited">How long.</param>
    /// <param name="phase">As recorded: <c>approved</c>, <c>denied</c>, <c>expired</c>, <c>cancelled</c>, <c>disconnected</c>, <c>refused</c>.</param>
    public static void HoldEnded(TimeSpan waited, string phase)
    {
        Holds.Add(-1);
        HoldDuration.Record(waited.TotalSeconds, new KeyValuePair<string, object?>("countersign.outcome", phase));
    }

    private static KeyValuePair<string, object?> Protocol(string protocol) => new("countersign.protocol", protocol);

    private static string Word(RefusalReason reason) => reason switch
    {
        RefusalReason.Policy => "policy",
        RefusalReason.Approval => "approval",
        RefusalReason.Cancelled => "cancelled",
        RefusalReason.Unavailable => "unavailable",
        RefusalReason.InTransaction => "in-transaction",
        _ => "other",
    };
}
