using CsCheck;
using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Hold;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Proxy.Path.Tests;

/// <summary>What grants let pass beside the exact operation: lists, windows, break-glass; and that taking one back ends what runs (I1, I8).</summary>
[Trait("group", "unit")]
public sealed class GrantTests
{
    private static readonly DateTimeOffset Noon = new(2026, 11, 24, 12, 0, 0, TimeSpan.Zero);
    private static readonly AccessWindow Window = new(3600, ["SELECT", "UPDATE"], ["public.orders", "public.items"]);
    private readonly Journal _journal = new();
    private readonly FakeTimeProvider _clock = new(Noon);
    private readonly FunctionDecider _decider = new() { Rule = _ => WithWindow };
    private readonly MemoryRecording _recording;
    private readonly MemoryApprovals _approvals;
    private readonly RunningGrants _running = new();
    private readonly Peer _peer;
    private readonly OperationPath _path;
    private readonly PathSession _session;
    private long _number;

    public GrantTests()
    {
        _recording = new MemoryRecording(_journal);
        _approvals = new MemoryApprovals(_journal, _clock);
        _peer = new Peer(_journal) { Facts = Statement(["UPDATE"], "public.orders") };
        _path = new OperationPath(_decider, _approvals, _clock);
        _session = Sessions.Make(_recording, _running);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static Decision WithWindow { get; } = Decisions.Hold() with
    {
        Terms = new ApprovalTerms { AllOf = [new ApproverRequirement(["dba"], 1)], LongestWindow = TimeSpan.FromHours(1) },
    };

    [Fact]
    public async Task Revoked_while_it_runs_ends_the_session_with_the_reason()
    {
        var request = await ApprovedAsync("delete from t");
        Assert.Equal([request], _running.Requests);
        Assert.Equal(1, _running.Revoke(request, "taken back by carol"));
        await Until(() => _session.Grants.Ending.IsCancellationRequested);
        Assert.Equal("taken back by carol", _session.Grants.Message);
    }

    [Fact]
    public async Task What_is_over_is_not_ended()
    {
        var request = await ApprovedAsync("delete from t");
        _session.Grants.Release(_ => true);
        Assert.Empty(_running.Requests);
        Assert.Equal(0, _running.Revoke(request, "late"));
        Assert.False(_session.Grants.Ending.IsCancellationRequested);
    }

    [Fact]
    public async Task Revoked_between_its_redemption_and_its_start_never_starts()
    {
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _running.Revoke(request.Id, "taken back");
        _approvals.Decide(request.Id, RequestState.Approved);
        Assert.False(await run);
        Assert.Empty(_peer.Forwarded);
        Assert.Equal("taken back", Assert.Single(_peer.Refused).Refusal.Message);
    }

    [Fact]
    public async Task Revoked_while_its_record_is_written_never_starts()
    {
        _recording.Slow = true;
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _approvals.Decide(request.Id, RequestState.Approved);
        await Until(() => _running.Runs(request.Id));
        _running.Revoke(request.Id, "taken back");
        await Until(() => _session.Grants.Ending.IsCancellationRequested);
        _recording.Flush();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        Assert.Empty(_peer.Forwarded);
    }

    [Fact]
    public async Task A_list_that_was_approved_ahead_is_run_in_order_each_once()
    {
        var list = _approvals.Ahead(Ask(Digest("delete from a"), Digest("delete from b")));
        Assert.True(await RunAsync("delete from a"));
        Assert.True(await RunAsync("delete from b"));
        Assert.Equal([$"redeem {list} 0", $"redeem {list} 1"], _journal.Events.Where(what => what.StartsWith("redeem", StringComparison.Ordinal)));
        Assert.DoesNotContain(_journal.Events, what => what.StartsWith("told", StringComparison.Ordinal));

        var again = RunAsync("delete from a").AsTask();
        var held = await _peer.Held.Task.WaitAsync(Cancel);
        Assert.NotEqual(list, held.Id);
        _approvals.Decide(held.Id, RequestState.Denied);
        Assert.False(await again);
    }

    [Fact]
    public async Task Out_of_its_order_a_list_lets_nothing_pass()
    {
        var list = _approvals.Ahead(Ask(Digest("delete from a"), Digest("delete from b")));
        var run = RunAsync("delete from b").AsTask();
        var held = await _peer.Held.Task.WaitAsync(Cancel);
        Assert.NotEqual(list, held.Id);
        _approvals.Decide(held.Id, RequestState.Denied);
        Assert.False(await run);
        Assert.Empty(_peer.Forwarded);
    }

    [Fact]
    public async Task Where_nothing_is_held_in_a_transaction_what_was_approved_ahead_passes_and_the_rest_is_refused()
    {
        _decider.Rule = _ => WithWindow with { Terms = WithWindow.Terms! with { RefuseInTransaction = true, LongestWindow = null } };
        _peer.Transaction = new TransactionView(true, ["begin"]);
        _approvals.Ahead(Ask(Digest("delete from a")));
        Assert.True(await RunAsync("delete from a"));
        Assert.False(await RunAsync("delete from b"));
        Assert.Equal(RefusalReason.InTransaction, Assert.Single(_peer.Refused).Refusal.Reason);
        Assert.Empty(_approvals.Asked);
    }

    [Fact]
    public async Task A_window_is_opened_once_and_lets_pass_what_lies_in_it()
    {
        var window = Ahead();
        Assert.True(await RunAsync("update public.orders set a = 1"));
        Assert.True(await RunAsync("update public.orders set a = 2"));
        Assert.Single(_journal.Events, $"open {window}");
        Assert.All(_recording.Operations, entry =>
        {
            Assert.Equal(("approved", window, "grant-" + window), (entry.Decision, entry.Request, entry.Grant));
            Assert.NotEmpty(entry.Approvers);
        });
        Assert.Empty(_approvals.Asked);
    }

    [Fact]
    public async Task After_its_end_a_window_lets_nothing_pass_and_other_sessions_have_the_same_end()
    {
        var window = Ahead();
        Assert.True(await RunAsync("update public.orders set a = 1"));
        _clock.Advance(TimeSpan.FromMinutes(59));
        _running.Confirm(window, _clock.GetUtcNow());
        Assert.True(await RunAsync("update public.orders set a = 2"));
        var other = Sessions.Make(_recording, _running);
        Assert.True(await _path.RunAsync(other, new TextOperation("update public.orders set a = 3") { Number = 1, Kind = "query" }, _peer, Cancel));
        _clock.Advance(TimeSpan.FromMinutes(2));
        _running.Confirm(window, _clock.GetUtcNow());
        await HeldAsync();
    }

    [Fact]
    public async Task A_window_that_nobody_confirms_is_asked_for_again()
    {
        var window = Ahead();
        Assert.True(await RunAsync("update public.orders set a = 1"));
        _clock.Advance(SessionGrants.WindowTrust + TimeSpan.FromSeconds(1));
        Assert.True(await RunAsync("update public.orders set a = 2"));
        Assert.Equal(2, _journal.Events.Count(what => what == $"open {window}"));
        _clock.Advance(SessionGrants.WindowTrust + TimeSpan.FromSeconds(1));
        _approvals.Down = true;
        Assert.False(await RunAsync("update public.orders set a = 3"));
        Assert.Equal(RefusalReason.Unavailable, Assert.Single(_peer.Refused).Refusal.Reason);
    }

    [Fact]
    public async Task A_revoked_window_lets_nothing_pass_and_ends_only_who_uses_it_now()
    {
        var window = Ahead();
        Assert.True(await RunAsync("update public.orders set a = 1"));
        _session.Grants.Release(_ => true);
        Assert.Equal([window], _running.Requests);
        _approvals.Decide(window, RequestState.Revoked);
        Assert.Equal(0, _running.Revoke(window, "taken back"));
        Assert.False(_session.Grants.Ending.IsCancellationRequested);
        await HeldAsync();
    }

    [Theory]
    [InlineData("longer than the policy allows now")]
    [InlineData("no windows any more")]
    [InlineData("another approver")]
    [InlineData("a second person")]
    [InlineData("a fresher login")]
    public async Task A_stricter_policy_closes_a_window(string what)
    {
        Ahead();
        Assert.True(await RunAsync("update public.orders set a = 1"));
        var terms = WithWindow.Terms!;
        _decider.Rule = _ => WithWindow with
        {
            Terms = what switch
            {
                "longer than the policy allows now" => terms with { LongestWindow = TimeSpan.FromMinutes(59) },
                "no windows any more" => terms with { LongestWindow = null },
                "another approver" => terms with { AllOf = [new ApproverRequirement(["security"], 1)] },
                "a second person" => terms with { AllOf = [new ApproverRequirement(["dba"], 2)] },
                _ => terms with { Assurance = new ApproverAssurance(TimeSpan.FromMinutes(5), []) },
            },
        };
        await HeldAsync();
    }

    [Theory]
    [InlineData("kind")]
    [InlineData("no window")]
    [InlineData("no end")]
    [InlineData("over")]
    [InlineData("person")]
    [InlineData("connection")]
    [InlineData("request")]
    [InlineData("approvers")]
    [InlineData("self")]
    [InlineData("break-glass")]
    [InlineData("no scope")]
    [InlineData("wider scope")]
    public async Task A_window_grant_for_something_else_opens_nothing(string what)
    {
        Ahead();
        _approvals.Tamper = claims => what switch
        {
            "kind" => claims with { Kind = RequestKind.Operation },
            "no window" => claims with { Window = null },
            "no end" => claims with { WindowEndsAt = null },
            "over" => claims with { WindowEndsAt = Noon.ToUnixTimeSeconds() },
            "person" => claims with { Person = "per_eve" },
            "connection" => claims with { Connection = "other" },
            "request" => claims with { Request = "apr_9" },
            "approvers" => claims with { Approvers = [] },
            "self" => claims with { Approvers = [new GrantApprover(Sessions.Person, "alice", 0)] },
            "break-glass" => claims with { BreakGlass = true },
            "wider scope" => claims with { Window = claims.Window! with { Relations = [.. claims.Window.Relations, "public.customers"] } },
            _ => claims with { Window = claims.Window! with { Statements = [] } },
        };
        await HeldAsync();
    }

    [Fact]
    public async Task A_window_of_another_database_opens_nothing()
    {
        _approvals.Ahead(Ask(AccessWindowDigest.Compute(Sessions.Person, "demo", "other", Window)) with { Kind = RequestKind.AccessWindow, Window = Window, Database = "other" });
        await HeldAsync();

        // Nor where approval shows it as this one's.
        _approvals.Ahead(Ask(AccessWindowDigest.Compute(Sessions.Person, "demo", "other", Window)) with { Kind = RequestKind.AccessWindow, Window = Window });
        await HeldAsync();
    }

    [Fact]
    public async Task A_session_that_is_not_as_it_began_opens_no_window_and_uses_none()
    {
        var window = Ahead();
        await HeldAsync(ownContext: false);
        Assert.DoesNotContain($"open {window}", _journal.Events);
        Assert.True(await RunAsync("update public.orders set a = 1"));
        await HeldAsync(ownContext: false);
        Assert.True(await RunAsync("update public.orders set a = 2"));
        Assert.Single(_journal.Events, $"open {window}");
    }

    [Fact]
    public void Nothing_that_isn_t_named_lies_in_a_window() => Gen.Select(
        Gen.Int[0, 3].Select(index => new[] { "SELECT", "UPDATE", "DELETE", "TRUNCATE" }[index]).Array[0, 3], Gen.Int[0, 4].Select(index => new[] { "public.orders", "public.items", "orders", "evil.orders", "public.customers" }[index]).Array[0, 3],
        Gen.Bool, Gen.Bool, Gen.Bool).Sample((kinds, relations, incomplete, impure, settings) =>
    {
        var statement = Statement(kinds, relations) with
        {
            ImpureFunctions = impure ? [new ObjectName(null, "lo_unlink")] : [],
            Settings = settings ? ["search_path"] : [],
        };
        var facts = new OperationFacts { Protocol = "test", Grammar = "test", Incomplete = incomplete ? ["syntax"] : [], Statements = [Statement(["UPDATE"], "public.orders"), statement] };
        var expected = !incomplete && !impure && !settings && kinds.Length > 0 && relations.Length > 0
            && kinds.All(Window.Statements.Contains) && relations.All(Window.Relations.Contains);
        return OpenWindow.Covers(Window, facts) == expected;
    });

    [Fact]
    public async Task Break_glass_passes_only_where_the_policy_of_now_has_it_and_is_recorded_as_such()
    {
        _decider.Rule = _ => WithWindow with { Terms = WithWindow.Terms! with { BreakGlass = true } };
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        Assert.True(Assert.Single(_approvals.Asked).BreakGlassAllowed);
        _approvals.BreakGlass(request.Id);
        Assert.True(await run);
        var entry = Assert.Single(_recording.Operations);
        Assert.True(entry is { BreakGlass: true, Decision: "approved", Approvers.Count: 0 });
    }

    [Fact]
    public async Task Break_glass_that_the_policy_took_away_meanwhile_passes_nothing()
    {
        _decider.Rule = _ => WithWindow with { Terms = WithWindow.Terms! with { BreakGlass = true } };
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _decider.Rule = _ => WithWindow;
        _approvals.BreakGlass(request.Id);
        Assert.False(await run);
        Assert.Empty(_peer.Forwarded);
        Assert.All(_recording.Operations, entry => Assert.False(entry.BreakGlass));
    }

    [Fact]
    public async Task The_client_is_told_of_progress()
    {
        var run = RunAsync("delete from t").AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _approvals.Progress(request.Id);
        Assert.Equal(request.Id, Assert.Single(_peer.Progressed).Id);
        _approvals.Decide(request.Id, RequestState.Denied);
        Assert.False(await run);
    }

    /// <summary>Random sessions, operations, releases and revocations: who runs something under what is taken back ends, and nobody else.</summary>
    [Fact]
    public void Exactly_who_runs_under_what_was_revoked_ends() => Gen.Select(Gen.Int[0, 4], Gen.Int[0, 3], Gen.Int[0, 2]).Array[1, 60].Sample(steps =>
    {
        var running = new RunningGrants();
        var sessions = Enumerable.Range(0, 4).Select(_ => Sessions.Make(_recording, running)).ToArray();
        var model = sessions.Select(_ => new List<(TextOperation Operation, string Request)>()).ToArray();
        var ended = new HashSet<int>();
        var revoked = new HashSet<string>();
        foreach (var (action, at, which) in steps)
        {
            var request = $"apr_{which}";
            switch (action)
            {
                case 0 or 1:
                    var operation = new TextOperation("delete") { Number = 1, Kind = "query" };
                    var grant = new RedeemedGrant(Claims(request), "");
                    try
                    {
                        sessions[at].Grants.Begin(new GrantUse(sessions[at], operation, new OperationFacts { Protocol = "test", Grammar = "test" }, grant));
                        Assert.DoesNotContain(request, revoked);
                        model[at].Add((operation, request));
                    }
                    catch (RedemptionRefusedException)
                    {
                        Assert.Contains(request, revoked);
                    }

                    break;
                case 2 when model[at].Count > 0:
                    var over = model[at][0].Operation;
                    sessions[at].Grants.Release(each => ReferenceEquals(each, over));
                    model[at].RemoveAt(0);
                    break;
                case 3:
                    sessions[at].Grants.Close();
                    model[at].Clear();
                    break;
                case 4:
                    var hit = Enumerable.Range(0, 4).Where(index => model[index].Exists(use => use.Request == request)).ToList();
                    Assert.Equal(hit.Count, running.Revoke(request, "taken back"));
                    ended.UnionWith(hit);
                    revoked.Add(request);
                    break;
                default:
                    break;
            }

            Assert.Equal(model.SelectMany(uses => uses.Select(use => use.Request)).Distinct().Order(), running.Requests.Order());
            Assert.All(Enumerable.Range(0, 4), index => Assert.Equal(ended.Contains(index), sessions[index].Grants.Message is not null));
        }
    });

    private static GrantClaims Claims(string request) => new()
    {
        Id = "grant",
        Issuer = "approval",
        Request = request,
        Kind = RequestKind.Operation,
        Person = Sessions.Person,
        Connection = "demo",
        Digests = [],
        AllOf = [],
        Approvers = [],
        IssuedAt = 0,
        ExpiresAt = 0,
    };

    private static StatementFacts Statement(string[] kinds, params string[] relations) => new()
    {
        Kinds = kinds,
        Relations = [.. relations.Select(relation => relation.Split('.') is [var schema, var name]
            ? new RelationUse(new ObjectName(schema, name), RelationAccess.Update)
            : new RelationUse(new ObjectName(null, relation), RelationAccess.Update))],
    };

    private static CreateRequest Ask(params string[] digests) => new()
    {
        Kind = RequestKind.Operation,
        Assertion = "assertion",
        Connection = "demo",
        Database = "demo",
        Operations = [.. digests.Select(digest => new RequestedOperation(digest, "", []))],
        AllOf = [new RequestRequirement(["dba"], 1)],
        TimeoutSeconds = 60,
        GrantLifetimeSeconds = 600,
    };

    private string Ahead() => _approvals.Ahead(Ask(AccessDigest) with { Kind = RequestKind.AccessWindow, Window = Window });

    private static readonly string AccessDigest = AccessWindowDigest.Compute(Sessions.Person, "demo", "demo", Window);

    private static string Digest(string text) => OperationDigest.Compute(new OperationIdentity
    {
        Protocol = "test",
        Text = text,
        Connection = "demo",
        Database = "demo",
        DatabaseRole = "app",
        Person = Sessions.Person,
        Context = new Dictionary<string, string> { [PostgresContext.SearchPath] = "public" },
    });

    private async Task<string> ApprovedAsync(string text)
    {
        var run = RunAsync(text).AsTask();
        var request = await _peer.Held.Task.WaitAsync(Cancel);
        _approvals.Decide(request.Id, RequestState.Approved);
        Assert.True(await run);
        return request.Id;
    }

    /// <summary>An operation that lies in the window by its scope is held.</summary>
    private async Task HeldAsync(bool ownContext = true)
    {
        var forwarded = _peer.Forwarded.Count;
        var peer = new Peer(_journal) { Facts = _peer.Facts, OwnContext = ownContext };
        var run = _path.RunAsync(_session, new TextOperation("update public.orders set a = 9") { Number = ++_number, Kind = "query" }, peer, Cancel).AsTask();
        var held = await peer.Held.Task.WaitAsync(Cancel);
        _approvals.Decide(held.Id, RequestState.Denied);
        Assert.False(await run);
        Assert.Empty(peer.Forwarded);
        Assert.Equal(forwarded, _peer.Forwarded.Count);
    }

    private static async Task Until(Func<bool> so)
    {
        while (!so())
        {
            await Task.Yield();
        }
    }

    private ValueTask<bool> RunAsync(string text) =>
        _path.RunAsync(_session, new TextOperation(text) { Number = ++_number, Kind = "query" }, _peer, Cancel);
}
