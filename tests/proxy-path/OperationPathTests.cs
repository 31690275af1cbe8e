using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Record;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Proxy.Path.Tests;

[Trait("group", "unit")]
public sealed class OperationPathTests
{
    private readonly Journal _journal = new();
    private readonly FakeTimeProvider _clock = new(new DateTimeOffset(2026, 11, 24, 12, 0, 0, TimeSpan.Zero));
    private readonly FunctionDecider _decider = new();
    private readonly MemoryRecording _recording;
    private readonly MemoryApprovals _approvals;
    private readonly Peer _peer;
    private readonly OperationPath _path;
    private readonly PathSession _session;
    private long _number;

    public OperationPathTests()
    {
        _recording = new MemoryRecording(_journal);
        _approvals = new MemoryApprovals(_journal, _clock);
        _peer = new Peer(_journal);
        _path = new OperationPath(_decider, _approvals, _clock);
        _session = Sessions.Make(_recording);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Allowed_is_recorded_then_forwarded()
    {
        Assert.True(await RunAsync("select 1"));
        Assert.Equal(["record 1 allow Durable", "forward 1"], _journal.Events);
    }

    [Fact]
    public async Task Denied_is_recorded_before_the_person_is_told_and_never_forwarded()
    {
        _decider.Rule = _ => Decisions.Deny;
        Assert.False(await RunAsync("drop database x"));
        Assert.Equal(["record 1 deny Durable", "refuse 1"], _journal.Events);
        Assert.Equal("No.", _recording.Operations[0].Message);
        Assert.Equal(["starter/no-drop"], _recording.Operations[0].Rules);
    }

    [Fact]
    public async Task A_write_waits_until_its_record_is_durable()
    {
        _recording.Slow = true;
        var run = RunAsync("update t set a = 1").AsTask();
        Assert.False(run.IsCompleted);
        Assert.Empty(_peer.Forwarded);
        _recording.Flush();
        Assert.True(await run);
        Assert.Equal(["record 1 allow Durable", "durable 1", "forward 1"], _journal.Events);
    }

    [Fact]
    public async Task A_certain_read_overlaps_its_record_and_carries_the_receipt_that_guards_its_result()
    {
        _recording.Slow = true;
        _peer.ReadOnly = true;
        Assert.True(await RunAsync("select 1"));
        Assert.False(_peer.Permits[0].Receipt.IsDurable);
    }

    [Fact]
    public async Task A_read_that_is_not_understood_does_not_overlap()
    {
        _recording.Slow = true;
        _peer.ReadOnly = true;
        _peer.Incomplete = true;
        var run = RunAsync("select f()").AsTask();
        Assert.Empty(_peer.Forwarded);
        _recording.Flush();
        Assert.True(await run);
    }

    [Fact]
    public async Task Buffered_counts_for_allowed_reads_only()
    {
        _decider.Rule = _ => Decisions.Allow with { Obligations = new Obligations { Record = RecordLevel.Buffered } };
        await RunAsync("delete from t");
        _peer.ReadOnly = true;
        await RunAsync("select 1");
        Assert.Equal(["record 1 allow Durable", "forward 1", "record 2 allow Buffered", "forward 2"], _journal.Events);
    }

    [Fact]
    public async Task Without_a_record_there_is_no_effect()
    {
        _recording.Broken = true;
        await Assert.ThrowsAsync<RecordingFailedException>(async () => await RunAsync("select 1"));
        Assert.Empty(_peer.Forwarded);
    }

    [Fact]
    public async Task A_record_that_fails_while_it_is_awaited_stops_the_operation()
    {
        _recording.Slow = true;
        var run = RunAsync("delete from t").AsTask();
        _recording.Receipts[0].Fail();
        await Assert.ThrowsAsync<RecordingFailedException>(() => run);
        Assert.Empty(_peer.Forwarded);
    }

    [Fact]
    public async Task Held_is_told_waits_is_redeemed_recorded_and_forwarded_once()
    {
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        Assert.Empty(_peer.Forwarded);
        _approvals.Decide(request.Id, RequestState.Approved);
        Assert.True(await run);
        Assert.Equal(
            ["ask apr_1", "hold 1 began", "told apr_1", "Approved apr_1", "hold 1 approved", "redeem apr_1 0", "record 1 approved Acknowledged", "forward 1"],
            _journal.Events);
        Assert.Equal("bob", _recording.Operations[0].Approvers[0].Name);
    }

    [Theory]
    [InlineData(RequestState.Denied, RefusalReason.Approval)]
    [InlineData(RequestState.Expired, RefusalReason.Approval)]
    [InlineData(RequestState.Cancelled, RefusalReason.Cancelled)]
    [InlineData(RequestState.Revoked, RefusalReason.Approval)]
    public async Task Held_and_not_approved_is_refused(RequestState state, RefusalReason reason)
    {
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync("delete from t").AsTask();
        _approvals.Decide((await _peer.Held.Task.WaitAsync(Cancel)).Id, state);
        Assert.False(await run);
        Assert.Equal(reason, _peer.Refused[0].Refusal.Reason);
        Assert.Empty(_peer.Forwarded);
    }

    [Fact]
    public async Task A_denial_tells_who_and_why()
    {
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync("delete from t").AsTask();
        _approvals.Decide((await _peer.Held.Task.WaitAsync(Cancel)).Id, RequestState.Denied);
        await run;
        Assert.Equal("bob denied apr_1: not today", _peer.Refused[0].Refusal.Message);
    }

    [Fact]
    public async Task Cancel_withdraws_the_request()
    {
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _peer.Cancel();
        Assert.False(await run);
        Assert.Equal(RequestState.Cancelled, _approvals.StateOf(request.Id));
        Assert.Equal(RefusalReason.Cancelled, _peer.Refused[0].Refusal.Reason);
    }

    [Fact]
    public async Task Disconnect_keeps_the_request_and_the_same_operation_attaches_to_it()
    {
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _peer.Disconnect();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        Assert.Equal(RequestState.Pending, _approvals.StateOf(request.Id));
        Assert.Equal("disconnected", _recording.Holds[^1].Phase);

        _approvals.Decide(request.Id, RequestState.Approved);
        var again = new Peer(_journal);
        Assert.True(await _path.RunAsync(_session, new TextOperation("delete from t") { Number = 2, Kind = "query" }, again, Cancel));
        Assert.Contains("attach apr_1", _journal.Events);
        Assert.Single(again.Forwarded);
    }

    [Fact]
    public async Task Approved_is_decided_again_and_a_deny_of_now_wins()
    {
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _decider.Rule = _ => Decisions.Deny;
        _approvals.Decide(request.Id, RequestState.Approved);
        Assert.False(await run);
        Assert.DoesNotContain("redeem apr_1 0", _journal.Events);
    }

    [Theory]
    [InlineData(new[] { "dba:1" }, new[] { "dba:1" }, true)]
    [InlineData(new[] { "dba:1" }, new[] { "dba:2" }, false)]
    [InlineData(new[] { "dba:2" }, new[] { "dba:1" }, true)]
    [InlineData(new[] { "dba:1" }, new[] { "dba+sec:1" }, true)]
    [InlineData(new[] { "dba+sec:1" }, new[] { "dba:1" }, false)]
    [InlineData(new[] { "dba:1" }, new[] { "dba:1", "sec:1" }, false)]
    [InlineData(new[] { "dba:1" }, new[] { "dba+sec:1", "dba:1" }, false)]
    [InlineData(new[] { "dba:1", "sec:1" }, new[] { "dba+sec:1", "dba:1" }, true)]
    public async Task A_grant_holds_only_on_terms_no_stricter(string[] approved, string[] now, bool passes)
    {
        _decider.Rule = _ => Decisions.Hold(Requirements(approved));
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _decider.Rule = _ => Decisions.Hold(Requirements(now));
        _approvals.Decide(request.Id, RequestState.Approved);
        Assert.Equal(passes, await run);
        Assert.Equal(passes ? 1 : 0, _peer.Forwarded.Count);
    }

    [Fact]
    public async Task A_context_that_changed_while_held_needs_another_approval()
    {
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _peer.Context[PostgresContext.SearchPath] = "evil, public";
        _approvals.Decide(request.Id, RequestState.Approved);
        Assert.False(await run);
        Assert.Contains("context changed", _peer.Refused[0].Refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_pipeline_is_asked_for_once_and_redeemed_in_order()
    {
        _decider.Rule = text => text.StartsWith("delete", StringComparison.Ordinal) ? Decisions.Hold() : Decisions.Allow;
        var second = new TextOperation("select 1") { Number = 2, Kind = "bind" };
        var third = new TextOperation("delete from u") { Number = 3, Kind = "bind" };
        _peer.Pipeline.AddRange([second, third]);
        var run = _path.RunAsync(_session, new TextOperation("delete from t") { Number = 1, Kind = "bind" }, _peer, Cancel).AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        Assert.Equal(["delete from t", "delete from u"], request.Operations.Select(operation => operation.Text));
        _approvals.Decide(request.Id, RequestState.Approved);
        Assert.True(await run);
        Assert.True(await _path.RunAsync(_session, second, _peer, Cancel));
        Assert.True(await _path.RunAsync(_session, third, _peer, Cancel));
        Assert.Single(_approvals.Asked);
        Assert.Equal(["redeem apr_1 0", "redeem apr_1 1"], _journal.Events.Where(what => what.StartsWith("redeem", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Approval_down_refuses_and_forwards_nothing()
    {
        _decider.Rule = _ => Decisions.Hold();
        _approvals.Down = true;
        Assert.False(await RunAsync("delete from t"));
        Assert.Equal(RefusalReason.Unavailable, _peer.Refused[0].Refusal.Reason);
    }

    [Fact]
    public async Task A_policy_that_refuses_holds_in_a_transaction_asks_nobody()
    {
        _decider.Rule = _ => Decisions.Hold() with { Terms = new ApprovalTerms { AllOf = [new ApproverRequirement(["dba"], 1)], RefuseInTransaction = true } };
        _peer.Transaction = new TransactionView(true, ["insert into t values (1)"]);
        Assert.False(await RunAsync("delete from t"));
        Assert.Equal(RefusalReason.InTransaction, _peer.Refused[0].Refusal.Reason);
        Assert.Empty(_approvals.Asked);
    }

    [Fact]
    public async Task A_hold_in_a_transaction_ends_after_its_limit_and_the_request_stays()
    {
        _decider.Rule = _ => Decisions.Hold();
        _peer.Transaction = new TransactionView(true, ["insert into t values (1)"]);
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        Assert.Equal(["insert into t values (1)"], request.Transaction);
        _clock.Advance(TimeSpan.FromSeconds(61));
        Assert.False(await run);
        Assert.Equal(RefusalReason.InTransaction, _peer.Refused[0].Refusal.Reason);
        Assert.Equal(RequestState.Pending, _approvals.StateOf(request.Id));
    }

    [Fact]
    public async Task The_same_approval_runs_once()
    {
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _approvals.Decide(request.Id, RequestState.Approved);
        Assert.True(await run);
        _approvals.Decide(request.Id, RequestState.Consumed);
        var again = new Peer(_journal);
        var second = _path.RunAsync(_session, new TextOperation("delete from t") { Number = 2, Kind = "query" }, again, Cancel).AsTask();
        var asked = await again.Held.Task.WaitAsync(Cancel);
        Assert.NotEqual(request.Id, asked.Id);
        _approvals.Decide(asked.Id, RequestState.Denied);
        Assert.False(await second);
    }

    [Theory]
    [MemberData(nameof(BadGrants))]
    public async Task A_grant_that_is_for_something_else_is_refused(string what, Func<GrantClaims, GrantClaims> tamper)
    {
        Assert.NotNull(what);
        _approvals.Tamper = tamper;
        _decider.Rule = _ => Decisions.Hold();
        var run = RunAsync("delete from t").AsTask();
        _approvals.Decide((await _peer.Held.Task.WaitAsync(Cancel)).Id, RequestState.Approved);
        Assert.False(await run);
        Assert.Empty(_peer.Forwarded);
        Assert.Equal(RefusalReason.Approval, _peer.Refused[0].Refusal.Reason);
    }

    public static TheoryData<string, Func<GrantClaims, GrantClaims>> BadGrants() => new()
    {
        { "kind", claims => claims with { Kind = RequestKind.Bundle } },
        { "request", claims => claims with { Request = "apr_9" } },
        { "person", claims => claims with { Person = "per_eve" } },
        { "connection", claims => claims with { Connection = "other" } },
        { "digest", claims => claims with { Digests = [new string('0', 64)] } },
        { "no digests", claims => claims with { Digests = [] } },
        { "expired", claims => claims with { ExpiresAt = claims.IssuedAt - 1 } },
        { "future", claims => claims with { IssuedAt = claims.IssuedAt + 60 } },
        { "bootstrap", claims => claims with { Bootstrap = true } },
        { "self", claims => claims with { Approvers = [new GrantApprover(Sessions.Person, "alice", 0)] } },
        { "nobody", claims => claims with { Approvers = [] } },
        { "weaker requirement", claims => claims with { AllOf = [new RequestRequirement(["interns"], 1)] } },
        { "no requirement", claims => claims with { AllOf = [] } },
        { "quorum of none", claims => claims with { AllOf = [new RequestRequirement(["dba"], 0)] } },
        { "fewer approvers than it says", claims => claims with { AllOf = [new RequestRequirement(["dba"], 2)] } },
        { "one person twice", claims => claims with { AllOf = [new RequestRequirement(["dba"], 2)], Approvers = [claims.Approvers[0], claims.Approvers[0] with { Name = "robert" }] } },
        { "break-glass that the policy doesn't know", claims => claims with { BreakGlass = true, Approvers = [] } },
        { "an extension's", claims => claims with { Extends = "apr_2" } },
        { "a removal's", claims => claims with { Removal = true } },
        { "a window's", claims => claims with { Window = new AccessWindow(60, ["SELECT"], ["public.t"]) } },
    };

    private static ApproverRequirement[] Requirements(string[] texts) => [.. texts.Select(text =>
    {
        var parts = text.Split(':');
        return new ApproverRequirement(parts[0].Split('+'), int.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture));
    })];

    private ValueTask<bool> RunAsync(string text) =>
        _path.RunAsync(_session, new TextOperation(text) { Number = ++_number, Kind = "query" }, _peer, Cancel);
}
