using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Countersign.Approval.Contracts;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Proxy.Path.Tests;

/// <summary>What is measured and traced of the data path, and what never is.</summary>
[Trait("group", "unit")]
public sealed class TelemetryTests : IDisposable
{
    private const string Secret = "hunter2";
    private const string Text = $"delete from accounts where pin = '{Secret}'";

    private readonly Journal _journal = new();
    private readonly FakeTimeProvider _clock = new(new DateTimeOffset(2026, 11, 24, 12, 0, 0, TimeSpan.Zero));
    private readonly FunctionDecider _decider = new();
    private readonly MemoryRecording _memory;
    private readonly MemoryApprovals _approvals;
    private readonly Peer _peer;
    private readonly OperationPath _path;
    private readonly Listener _heard = new();
    private long _number;

    public TelemetryTests()
    {
        _memory = new MemoryRecording(_journal);
        _approvals = new MemoryApprovals(_journal, _clock);
        _peer = new Peer(_journal);
        _path = new OperationPath(_decider, _approvals, _clock);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _heard.Dispose();

    [Fact]
    public async Task An_allowed_operation_is_counted_and_has_no_span()
    {
        _heard.Begin();
        Assert.True(await RunAsync(Sessions.Make(_memory)));
        Assert.Equal(["countersign.proxy.operations 1 countersign.decision=allow countersign.protocol=test"], _heard.Measured);
        Assert.Empty(_heard.Spans);
    }

    [Fact]
    public async Task A_refused_operation_is_counted_by_reason_and_has_a_span()
    {
        _heard.Begin();
        _decider.Rule = _ => Decisions.Deny;
        Assert.False(await RunAsync(Sessions.Make(_memory)));
        Assert.Contains("countersign.proxy.operations 1 countersign.decision=deny countersign.protocol=test", _heard.Measured);
        Assert.Contains("countersign.proxy.operations.refused 1 countersign.protocol=test countersign.reason=policy", _heard.Measured);
        var span = Assert.Single(_heard.Spans);
        Assert.Equal(
            ("countersign.operation", "ses_1", "deny", "policy", 1L),
            (span.OperationName, span.GetTagItem("countersign.session.id"), span.GetTagItem("countersign.decision"), span.GetTagItem("countersign.reason"),
                span.GetTagItem("countersign.operation.number")));
    }

    [Fact]
    public async Task A_wait_for_the_record_is_measured()
    {
        _heard.Begin();
        _memory.Slow = true;
        var run = RunAsync(Sessions.Make(_memory));
        Assert.DoesNotContain(_heard.Measured, line => line.StartsWith("countersign.proxy.record.wait", StringComparison.Ordinal));
        _memory.Flush();
        await run;
        Assert.Contains(_heard.Measured, line => line.StartsWith("countersign.proxy.record.wait", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_hold_is_counted_while_it_lasts_and_its_span_names_request_and_grant()
    {
        _heard.Begin();
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync(Sessions.Make(_memory));
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        Assert.Equal(["countersign.proxy.holds 1"], _heard.Measured);
        Assert.Empty(_heard.Spans);
        _clock.Advance(TimeSpan.FromSeconds(42));
        _approvals.Decide(request.Id, RequestState.Approved);
        Assert.True(await run);
        Assert.Contains("countersign.proxy.holds -1", _heard.Measured);
        Assert.Contains("countersign.proxy.hold.duration 42 countersign.outcome=approved", _heard.Measured);
        Assert.Contains("countersign.proxy.operations 1 countersign.decision=approved countersign.protocol=test", _heard.Measured);
        var span = Assert.Single(_heard.Spans);
        Assert.Equal((request.Id, "approved"), (span.GetTagItem("countersign.request.id"), span.GetTagItem("countersign.decision")));
        Assert.Equal(_memory.Operations[0].Grant, span.GetTagItem("countersign.grant.id"));
    }

    [Fact]
    public async Task A_hold_whose_client_leaves_is_not_counted_any_more()
    {
        _heard.Begin();
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync(Sessions.Make(_memory));
        await _peer.Held.Task.WaitAsync(Cancel);
        _peer.Disconnect();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        Assert.Contains("countersign.proxy.holds -1", _heard.Measured);
        Assert.Contains("countersign.proxy.hold.duration 0 countersign.outcome=disconnected", _heard.Measured);
        Assert.Single(_heard.Spans);
    }

    [Fact]
    public async Task A_session_is_counted_once_and_its_operations_belong_to_its_trace()
    {
        _heard.Begin();
        var recording = await new MeasuredRecorder(new Recorder(_memory)).OpenAsync("ses_1", Start, Cancel);
        Assert.Equal(["countersign.proxy.sessions 1 countersign.protocol=test"], _heard.Measured);
        _decider.Rule = _ => Decisions.Deny;
        await RunAsync(Sessions.Make(recording));
        recording.Complete(new CompletionEntry { Operation = 2, Outcome = "ok", DurationMicroseconds = 2_500_000 });
        await recording.EndAsync(new SessionEndEntry("client", 2, 100, 2000), Cancel);
        await recording.DisposeAsync();

        Assert.Contains("countersign.proxy.operation.duration 2.5 countersign.outcome=ok countersign.protocol=test", _heard.Measured);
        Assert.Contains("countersign.proxy.io 100 countersign.protocol=test network.io.direction=receive", _heard.Measured);
        Assert.Contains("countersign.proxy.io 2000 countersign.protocol=test network.io.direction=transmit", _heard.Measured);
        Assert.Single(_heard.Measured, "countersign.proxy.sessions -1 countersign.protocol=test");
        Assert.Single(_heard.Measured, "countersign.proxy.sessions.ended 1 countersign.protocol=test countersign.reason=client");
        var session = Assert.Single(_heard.Spans, span => span.OperationName == "countersign.session");
        var operation = Assert.Single(_heard.Spans, span => span.OperationName == "countersign.operation");
        Assert.Equal((session.TraceId, session.SpanId), (operation.TraceId, operation.ParentSpanId));
        Assert.Equal("per_alice", session.GetTagItem("countersign.person.id"));
    }

    [Fact]
    public async Task A_session_that_is_cut_off_is_not_counted_any_more()
    {
        _heard.Begin();
        var recording = await new MeasuredRecorder(new Recorder(_memory)).OpenAsync("ses_1", Start, Cancel);
        await recording.DisposeAsync();
        Assert.Single(_heard.Measured, "countersign.proxy.sessions -1 countersign.protocol=test");
        Assert.Single(_heard.Spans);
    }

    [Fact]
    public async Task Neither_texts_nor_messages_nor_secrets_are_measured_or_traced()
    {
        _heard.Begin();
        var recording = await new MeasuredRecorder(new Recorder(_memory)).OpenAsync("ses_1", Start, Cancel);
        var session = Sessions.Make(recording);
        await RunAsync(session);
        _decider.Rule = _ => Decisions.Deny with { Message = $"Not with {Secret}." };
        await RunAsync(session);
        _decider.Rule = _ => Decisions.Hold() with { Message = $"Not with {Secret}." };
        var run = RunAsync(session);
        _approvals.Decide((await _peer.Held.Task.WaitAsync(Cancel)).Id, RequestState.Denied);
        await run;
        recording.Complete(new CompletionEntry { Operation = 1, Outcome = "error", ErrorCode = "42501" });
        await recording.EndAsync(new SessionEndEntry("client", 3, 1, 1), Cancel);

        Assert.Equal(3, _heard.Spans.Count);
        foreach (var span in _heard.Spans)
        {
            Assert.Empty(span.Events);
            Assert.Null(span.StatusDescription);
            Assert.Equal(span.OperationName, span.DisplayName);
            Assert.All(span.TagObjects, tag => Assert.True(IsClean(tag.Value), $"{tag.Key}={tag.Value}"));
        }

        Assert.All(_heard.Measured, line => Assert.True(IsClean(line), line));
        // The session's assertion is a bearer's token in the proxy's hand; the application name is the client's own text.
        static bool IsClean(object? value) => value?.ToString() is not { } text
            || (!text.Contains(Secret, StringComparison.Ordinal) && !text.Contains("delete", StringComparison.OrdinalIgnoreCase)
                && !text.Contains("Not with", StringComparison.Ordinal) && text != "assertion" && !text.Contains("my-client", StringComparison.Ordinal));
    }

    private static SessionStartEntry Start { get; } = new()
    {
        Principal = "pri_alice",
        Person = "per_alice",
        Name = "alice",
        Credential = "cre_1",
        Connection = "demo",
        Database = "demo",
        DatabaseRole = "app",
        Protocol = "test",
        Client = "127.0.0.1:5000",
        Application = "my-client",
        Proxy = "proxy-1",
    };

    private Task<bool> RunAsync(PathSession session) =>
        _path.RunAsync(session, new TextOperation(Text) { Number = ++_number, Kind = "query" }, _peer, Cancel).AsTask();

    private sealed class Recorder(MemoryRecording recording) : ISessionRecorder
    {
        public ValueTask<ISessionRecording> OpenAsync(string session, SessionStartEntry start, CancellationToken cancellation) => new(recording);
    }

    /// <summary>Hears what comes out of its own test only: instruments are of the process, and tests run beside one another.</summary>
    private sealed class Listener : IDisposable
    {
        private static readonly AsyncLocal<Listener?> Mine = new();
        private readonly MeterListener _meters = new();
        private readonly ActivityListener _activities;
        private readonly ConcurrentQueue<string> _measured = new();
        private readonly ConcurrentQueue<Activity> _spans = new();

        public Listener()
        {
            _meters.InstrumentPublished = (instrument, listener) =>
            {
                if (instrument.Meter.Name == "Countersign.Proxy")
                {
                    listener.EnableMeasurementEvents(instrument);
                }
            };
            _meters.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Hear(instrument, value, tags));
            _meters.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Hear(instrument, value, tags));
            _meters.Start();
            _activities = new ActivityListener
            {
                ShouldListenTo = source => source.Name == "Countersign.Proxy",
                Sample = (ref ActivityCreationOptions<ActivityContext> _) => Mine.Value == this ? ActivitySamplingResult.AllData : ActivitySamplingResult.None,
                ActivityStopped = span =>
                {
                    if (Mine.Value == this)
                    {
                        _spans.Enqueue(span);
                    }
                },
            };
            ActivitySource.AddActivityListener(_activities);
        }

        public ConcurrentQueue<string> Measured => _measured;

        public ConcurrentQueue<Activity> Spans => _spans;

        public void Begin() => Mine.Value = this;

        public void Dispose()
        {
            _meters.Dispose();
            _activities.Dispose();
        }

        private void Hear(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            if (Mine.Value != this)
            {
                return;
            }

            var words = tags.ToArray().Select(tag => $" {tag.Key}={tag.Value}").Order(StringComparer.Ordinal);
            _measured.Enqueue(FormattableString.Invariant($"{instrument.Name} {value}{string.Concat(words)}"));
        }
    }
}
