using Countersign.Approval.Actors;
using Countersign.Approval.Workflow;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Workflow;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>What becomes of requests while a part behind the sidecars is down, and after it. On the double, whose parts can be switched off one by one.</summary>
public sealed class ActorOutageTests : IAsyncLifetime
{
    private readonly ContractWorld _world = new();
    private readonly DoubleFleet _fleet = new(DoubleFleet.Quick with { Outages = new Countersign.Fakes.Sidecar.PlaneOutages() });
    private ActorRuntime _runtime = null!;

    private Countersign.Fakes.Sidecar.PlaneOutages Outages => _fleet.Plane.Outages;

    public async ValueTask InitializeAsync()
    {
        _runtime = new ActorRuntime(
            _fleet, _world, new WorkflowSettings(new RequesterLimits(100, TimeSpan.FromMinutes(1), TimeSpan.FromHours(1)), TimeSpan.FromHours(1), new RequestRetention(TimeSpan.FromDays(2))));
        await _runtime.StartAsync();
    }

    public ValueTask DisposeAsync() => _runtime.DisposeAsync();

    [Fact]
    public async Task Without_the_scheduler_nothing_new_is_asked_for_deadlines_count_and_none_is_forgotten()
    {
        var expiring = Good(await _runtime.AskAsync(Spec("apr_old")));
        var pending = Good(await _runtime.AskAsync(Spec("apr_deny", "b")));
        Outages.Scheduler = true;
        // Without a wake-up a request would stay open for ever: so it isn't opened, and nothing of it is kept.
        Assert.Equal(RefusalCodes.Unavailable, (await _runtime.AskAsync(Spec("apr_new", "c"))).Refusal?.Code);
        Assert.Null(_fleet.Plane.PeekState("approval||requests/apr_new"));
        // An approval moves the deadline, a denial has none.
        Assert.Equal(RefusalCodes.Unavailable, (await _runtime.SendAsync("apr_deny", new DecideMessage(true, pending.Spec.Digest, "", "bob"))).Refusal?.Code);
        Assert.Equal(WorkflowState.Pending, Good(await _runtime.SendAsync("apr_deny", new ReadMessage())).State);
        Assert.Equal(WorkflowState.Denied, Good(await _runtime.SendAsync("apr_deny", new DecideMessage(false, pending.Spec.Digest, "no", "bob"))).State);

        _world.Clock.Shift += TimeSpan.FromHours(2);
        var late = await _runtime.SendAsync("apr_old", new DecideMessage(true, expiring.Spec.Digest, "", "bob"));
        Assert.NotNull(late.Refusal);
        Assert.Null((await _runtime.SendAsync("apr_old", new ReadMessage())).Document?.Grant);

        Outages.Scheduler = false;
        // What was asked for in vain is asked for again, and the wake-up that came due meanwhile comes.
        Assert.Equal(WorkflowState.Pending, Good(await _runtime.AskAsync(Spec("apr_new2", "c"))).State);
        await Until.TrueAsync(() => _world.Told.Of("apr_old").Contains("request.expired"));
        await Until.TrueAsync(() => _fleet.Plane.RemindersOf("Request").All(name => name.StartsWith("apr_new", StringComparison.Ordinal)), 60);
        Assert.Single(_world.Told.Of("apr_old"), action => action == "request.expired");
    }

    [Fact]
    public async Task A_turn_at_a_replica_that_is_leaving_is_taken_by_another_and_nobody_notices()
    {
        Outages.Leaving = 1;
        var asked = Good(await _runtime.AskAsync(Spec("apr_a")));
        Assert.Equal(0, Outages.Leaving);
        Outages.Leaving = 2;
        Assert.Equal(WorkflowState.Approved, Good(await _runtime.SendAsync("apr_a", new DecideMessage(true, asked.Spec.Digest, "", "bob"))).State);
        Assert.Equal(["request.opened", "request.approved"], _world.Told.Of("apr_a"));

        // Where nobody takes it, whoever asked is told, and nothing was changed.
        asked = Good(await _runtime.AskAsync(Spec("apr_b", "b")));
        Outages.Leaving = int.MaxValue;
        var message = System.Text.Json.JsonSerializer.SerializeToUtf8Bytes<RequestMessage>(new DecideMessage(true, asked.Spec.Digest, "", "bob"), WorkflowJson.Options);
        await Assert.ThrowsAsync<PortUnavailableException>(async () => await _runtime.Workflows.SendAsync(WorkflowTypes.Request, "apr_b", message, CancellationToken.None));
        Outages.Leaving = 0;
        Assert.Equal((WorkflowState.Pending, 1L), await StateAsync("apr_b"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Without_placement_no_request_is_reached_and_nothing_is_half_done(bool hangs)
    {
        var asked = Good(await _runtime.AskAsync(Spec("apr_a")));
        (Outages.Placement, Outages.PlacementHangs) = (!hangs, hangs);
        using var patience = new CancellationTokenSource(hangs ? TimeSpan.FromMilliseconds(300) : TimeSpan.FromSeconds(20));
        var message = System.Text.Json.JsonSerializer.SerializeToUtf8Bytes<RequestMessage>(new DecideMessage(true, asked.Spec.Digest, "", "bob"), WorkflowJson.Options);
        var error = await Assert.ThrowsAnyAsync<Exception>(async () => await _runtime.Workflows.SendAsync(WorkflowTypes.Request, "apr_a", message, patience.Token));
        Assert.True(error is PortUnavailableException || (hangs && error is OperationCanceledException), error.ToString());
        (Outages.Placement, Outages.PlacementHangs) = (false, false);
        Assert.Equal((WorkflowState.Pending, 1L), await StateAsync("apr_a"));
        Assert.Equal(["request.opened"], _world.Told.Of("apr_a"));
        Assert.Equal(WorkflowState.Approved, Good(await _runtime.SendAsync("apr_a", new DecideMessage(true, asked.Spec.Digest, "", "bob"))).State);
    }

    [Fact]
    public async Task Without_the_database_of_the_actors_nothing_is_decided_and_afterwards_everything_is_as_it_was()
    {
        var asked = Good(await _runtime.AskAsync(Spec("apr_a")));
        Outages.State = true;
        foreach (var message in new RequestMessage[] { new DecideMessage(true, asked.Spec.Digest, "", "bob"), new DecideMessage(false, asked.Spec.Digest, "no", "bob"), new ReadMessage() })
        {
            Assert.Equal(RefusalCodes.Unavailable, (await _runtime.SendAsync("apr_a", message)).Refusal?.Code);
        }

        Assert.Equal(RefusalCodes.Unavailable, (await _runtime.AskAsync(Spec("apr_b", "b"))).Refusal?.Code);
        Outages.State = false;
        Assert.Equal((WorkflowState.Pending, 1L), await StateAsync("apr_a"));
        Assert.Equal(["request.opened"], _world.Told.Of("apr_a"));
        Assert.Equal(RefusalCodes.Unknown, (await _runtime.SendAsync("apr_b", new ReadMessage())).Refusal?.Code);
        Assert.Equal(WorkflowState.Approved, Good(await _runtime.SendAsync("apr_a", new DecideMessage(true, asked.Spec.Digest, "", "bob"))).State);
    }

    [Fact]
    public async Task What_approval_did_not_write_for_a_workflow_is_not_acted_on()
    {
        var first = Good(await _runtime.AskAsync(Spec("apr_a")));
        Good(await _runtime.AskAsync(Spec("apr_b", "b")));
        Good(await _runtime.SendAsync("apr_a", new DecideMessage(true, first.Spec.Digest, "", "bob")));
        await Until.TrueAsync(() => _fleet.Plane.PeekState("approval||requests/apr_a") is { } tidied && System.Text.Json.Nodes.JsonNode.Parse(tidied)!["outbox"]!.AsArray().Count == 0);
        var (approved, pending) = (_fleet.Plane.PeekState("approval||requests/apr_a")!, _fleet.Plane.PeekState("approval||requests/apr_b")!);
        var reporting = _world.Told.Reported;

        // Good, of another request.
        _fleet.Plane.TamperState("approval||requests/apr_b", approved);
        Assert.Equal(RefusalCodes.Unavailable, (await _runtime.SendAsync("apr_b", new ReadMessage())).Refusal?.Code);
        Assert.Contains("foreign apr_b", reporting);
        _fleet.Plane.TamperState("approval||requests/apr_b", pending);
        Assert.Equal(WorkflowState.Pending, Good(await _runtime.SendAsync("apr_b", new ReadMessage())).State);

        // However a store formats it, it is the same one; with another word in it, it is not.
        var node = System.Text.Json.Nodes.JsonNode.Parse(pending)!;
        _fleet.Plane.TamperState("approval||requests/apr_b", System.Text.Encoding.UTF8.GetBytes(node.ToJsonString(new System.Text.Json.JsonSerializerOptions { WriteIndented = true })));
        Assert.Equal(WorkflowState.Pending, Good(await _runtime.SendAsync("apr_b", new ReadMessage())).State);
        node["spec"]!["timeout"] = "30.00:00:00";
        _fleet.Plane.TamperState("approval||requests/apr_b", System.Text.Encoding.UTF8.GetBytes(node.ToJsonString()));
        Assert.Equal(RefusalCodes.Unavailable, (await _runtime.SendAsync("apr_b", new ReadMessage())).Refusal?.Code);

        // A requester's document could open requests that nobody asked for.
        var requester = System.Text.Json.Nodes.JsonNode.Parse(_fleet.Plane.PeekState("approval||requesters/alice")!)!;
        requester["entries"] = new System.Text.Json.Nodes.JsonArray();
        _fleet.Plane.TamperState("approval||requesters/alice", System.Text.Encoding.UTF8.GetBytes(requester.ToJsonString()));
        Assert.Equal(RefusalCodes.Unavailable, (await _runtime.AskAsync(Spec("apr_c", "c"))).Refusal?.Code);
        Assert.Contains("foreign alice", reporting);
    }

    [Fact]
    public async Task What_is_over_and_old_leaves_the_actors_state_and_the_copies()
    {
        var sweeper = _runtime.Services.GetRequiredService<RequestSweeper>();
        var copies = _runtime.Services.GetRequiredKeyedService<IStateStore>(AppIds.Approval);
        var over = Good(await _runtime.AskAsync(Spec("apr_over")));
        var open = Good(await _runtime.AskAsync(Spec("apr_open", "b") with { Timeout = TimeSpan.FromDays(30) }));
        Good(await _runtime.SendAsync("apr_over", new DecideMessage(false, over.Spec.Digest, "no", "bob")));
        // Tidied: everybody was told.
        await Until.TrueAsync(() => !_fleet.Plane.RemindersOf("Request").Contains("apr_over/deadline"));
        await Until.TrueAsync(async () => (await copies.LoadAsync<RequestDocument>(Collections.Requests, "apr_over", default))!.Document.State == WorkflowState.Denied);
        _world.Clock.Shift += TimeSpan.FromDays(1);
        Assert.Equal(0, await sweeper.SweepAsync(default));
        Assert.NotNull(_fleet.Plane.PeekState("approval||requests/apr_over"));
        _world.Clock.Shift += TimeSpan.FromDays(2);

        // The copy may be behind: what the actor has decides.
        Outages.State = true;
        await Assert.ThrowsAsync<PortUnavailableException>(() => sweeper.SweepAsync(default));
        Outages.State = false;
        Assert.NotNull(await copies.GetAsync(Collections.Requests, "apr_over", default));
        Assert.Equal(1, await sweeper.SweepAsync(default));
        Assert.Null(_fleet.Plane.PeekState("approval||requests/apr_over"));
        Assert.Null(await copies.GetAsync(Collections.Requests, "apr_over", default));
        Assert.Equal(RefusalCodes.Unknown, (await _runtime.SendAsync("apr_over", new ReadMessage())).Refusal?.Code);
        Assert.Equal(WorkflowState.Pending, Good(await _runtime.SendAsync("apr_open", new ReadMessage())).State);
        Assert.Equal(open.Spec.Id, Assert.Single(_runtime.Services.GetRequiredService<RequestIndex>().Find(_world.Clock.GetUtcNow(), null, null)).Id);
    }

    [Fact]
    public async Task A_copy_that_says_that_a_request_is_over_deletes_none_that_is_not()
    {
        var copies = _runtime.Services.GetRequiredKeyedService<IStateStore>(AppIds.Approval);
        var open = Good(await _runtime.AskAsync(Spec("apr_open") with { Timeout = TimeSpan.FromDays(30) }));
        var copy = (await copies.LoadAsync<RequestDocument>(Collections.Requests, "apr_open", default))!;
        Assert.True(await copies.SaveAsync(
            Collections.Requests, "apr_open", open with { State = WorkflowState.Denied, Outbox = [], Deadline = open.CreatedAt, Version = 9 }, copy.ETag, default));
        _world.Clock.Shift += TimeSpan.FromDays(3);
        Assert.Equal(0, await _runtime.Services.GetRequiredService<RequestSweeper>().SweepAsync(default));
        Assert.Equal(WorkflowState.Pending, Good(await _runtime.SendAsync("apr_open", new ReadMessage())).State);
    }

    private static RequestSpec Spec(string id, string digest = "a") => new()
    {
        Id = id,
        Kind = WorkflowKind.Operation,
        AskedBy = "proxy",
        Requester = new SpecRequester("", "", []),
        Connection = "shop",
        Operations = [new SpecOperation(digest, "DELETE", [])],
        Digest = digest,
        AllOf = [new SpecRequirement(["dba"], 1)],
        Timeout = TimeSpan.FromHours(1),
        GrantLifetime = TimeSpan.FromHours(1),
    };

    private static RequestDocument Good(ActorAnswer answer)
    {
        Assert.True(answer.Refusal is null, answer.Refusal?.Message);
        return answer.Document!;
    }

    private async Task<(WorkflowState, long)> StateAsync(string request)
    {
        var document = Good(await _runtime.SendAsync(request, new ReadMessage()));
        return (document.State, document.Version);
    }
}
