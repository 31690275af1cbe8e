using Countersign.Approval.Actors;
using Countersign.Approval.Workflow;

namespace Countersign.Fakes.Workflow;

/// <summary>What every host of the workflows must do. One suite: derive a class for each host, and give it a runtime.</summary>
public abstract class WorkflowContract
{
    private static readonly TimeSpan Review = TimeSpan.FromHours(1);

    /// <summary>A runtime that has been started on empty storage.</summary>
    /// <param name="world">What the runtime's process gets instead of identity, bus, keys and clock.</param>
    /// <param name="settings">How workflows behave.</param>
    protected abstract Task<IWorkflowRuntime> StartAsync(ContractWorld world, WorkflowSettings settings);

    [Fact]
    public async Task Asked_agreed_and_redeemed_once()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        var asked = Good(await runtime.AskAsync(Spec("apr_a")));
        Assert.Equal(("alice", WorkflowState.Pending, 1L), (asked.Spec.Requester.Person, asked.State, asked.Version));
        foreach (var (code, token, digest) in new[]
        {
            (RefusalCodes.SelfApproval, "alice", asked.Spec.Digest), (RefusalCodes.SelfApproval, "alice2", asked.Spec.Digest),
            (RefusalCodes.NotEnrolled, "outsider", asked.Spec.Digest), (RefusalCodes.TokenRejected, "forged", asked.Spec.Digest), (RefusalCodes.DigestMismatch, "bob", "other"),
        })
        {
            Assert.Equal(code, (await runtime.SendAsync("apr_a", new DecideMessage(true, digest, "", token))).Refusal?.Code);
        }

        var approved = await ApproveAsync(runtime, asked);
        Assert.Equal((WorkflowState.Approved, 2L), (approved.State, approved.Version));
        Assert.False((await runtime.SendAsync("apr_a", new DecideMessage(true, asked.Spec.Digest, "", "bob"))).Fresh);
        Assert.Equal(RefusalCodes.NotExecutor, (await runtime.SendAsync("apr_a", Redeem(asked, "x", person: "bob"))).Refusal?.Code);
        var redeemed = await runtime.SendAsync("apr_a", Redeem(asked, "x"));
        Assert.Equal((WorkflowState.Consumed, true), (Good(redeemed).State, redeemed.Fresh));
        var again = await runtime.SendAsync("apr_a", Redeem(asked, "x"));
        Assert.Equal((false, redeemed.Document!.Grant, redeemed.Document.Version), (again.Fresh, Good(again).Grant, again.Document!.Version));
        Assert.Equal(RefusalCodes.AlreadyRedeemed, (await runtime.SendAsync("apr_a", Redeem(asked, "y"))).Refusal?.Code);
        // Told before the answer was given.
        Assert.Equal(["request.opened", "request.approved", "request.consumed"], world.Told.Of("apr_a"));
    }

    /// <summary>Two million characters, which is what the API allows, at what they can need at worst: control characters are six bytes each in JSON.</summary>
    [Fact]
    public async Task The_largest_request_that_may_be_asked_for_comes_through()
    {
        var (_, runtime) = await StartAsync();
        await using var __ = runtime;
        const int Most = 1024 * 1024;
        var text = new string('\u0007', Most / 2) + string.Concat(Enumerable.Repeat("\U0001F512", Most / 4));
        var spec = Spec("apr_large") with { Operations = [new SpecOperation("a", text, [])], Transaction = [text] };
        var asked = Good(await runtime.AskAsync(spec));
        Assert.Equal((Most, text), (asked.Spec.Transaction[0].Length, asked.Spec.Operations[0].Text));
        await ApproveAsync(runtime, asked);
        await runtime.StopAsync();
        await runtime.StartAsync();
        Assert.Equal(WorkflowState.Consumed, Good(await runtime.SendAsync("apr_large", Redeem(asked, "x"))).State);
    }

    [Fact]
    public async Task Races_have_one_winner()
    {
        var (_, runtime) = await StartAsync();
        await using var __ = runtime;
        var asked = await Task.WhenAll(Enumerable.Range(0, 20).Select(number => Task.Run(() => runtime.AskAsync(Spec($"apr_{number}", "same")))));
        var request = Good(Assert.Single(asked, answer => answer.Fresh));
        Assert.All(asked, answer => Assert.Equal(request.Spec.Id, Good(answer).Spec.Id));
        await ApproveAsync(runtime, request);
        var answers = await Task.WhenAll(Enumerable.Range(0, 20).Select(number => Task.Run(() => runtime.SendAsync(request.Spec.Id, Redeem(request, $"r{number}")))));
        Assert.Single(answers, answer => answer.Refusal is null);
        Assert.Equal(19, answers.Count(answer => answer.Refusal?.Code == RefusalCodes.AlreadyRedeemed));
    }

    [Fact]
    public async Task A_restart_brings_back_everything()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        var pending = Good(await runtime.AskAsync(Spec("apr_p", "p")));
        var list = Good(await runtime.AskAsync(Spec("apr_l", "l0", "l1", "l1")));
        await ApproveAsync(runtime, list);
        Good(await runtime.SendAsync("apr_l", Redeem(list, "first")));
        await runtime.StopAsync();
        await runtime.StartAsync();

        var attached = await runtime.AskAsync(Spec("apr_p2", "p"));
        Assert.Equal(("apr_p", false, pending.Deadline), (Good(attached).Spec.Id, attached.Fresh, attached.Document!.Deadline));
        Assert.Equal(RefusalCodes.AlreadyRedeemed, (await runtime.SendAsync("apr_l", Redeem(list, "other"))).Refusal?.Code);
        Assert.False((await runtime.SendAsync("apr_l", Redeem(list, "first"))).Fresh);
        for (var index = 1; index < 3; index++)
        {
            var next = await runtime.AskAsync(Spec($"apr_n{index}", "l1"));
            Assert.Equal(("apr_l", index), (Good(next).Spec.Id, next.Index));
            Good(await runtime.SendAsync("apr_l", Redeem(list, $"r{index}", index)));
        }

        Assert.Equal(WorkflowState.Approved, (await ApproveAsync(runtime, pending)).State);
        Assert.Equal("request.consumed", world.Told.Of("apr_l")[^1]);
    }

    [Fact]
    public async Task The_clock_ends_what_is_open_without_anybody_asking()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        Good(await runtime.AskAsync(Spec("apr_soon") with { Timeout = TimeSpan.FromSeconds(1) }));
        await ToldAsync(world, "apr_soon", "request.expired");

        // Also where the process changed in between, and where it was not there at all.
        Good(await runtime.AskAsync(Spec("apr_later", "b") with { Timeout = TimeSpan.FromSeconds(3) }));
        Good(await runtime.AskAsync(Spec("apr_away", "c") with { Timeout = TimeSpan.FromHours(1) }));
        await runtime.StopAsync();
        world.Clock.Shift += TimeSpan.FromMinutes(61);
        await runtime.StartAsync();
        await ToldAsync(world, "apr_away", "request.expired");
        await ToldAsync(world, "apr_later", "request.expired");
        Good(await runtime.AskAsync(Spec("apr_last", "d") with { Timeout = TimeSpan.FromSeconds(3) }));
        await runtime.StopAsync();
        await runtime.StartAsync();
        await ToldAsync(world, "apr_last", "request.expired");
    }

    [Fact]
    public async Task A_deadline_counts_whether_or_not_somebody_woke()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        var asked = Good(await runtime.AskAsync(Spec("apr_a")));
        world.Clock.Shift += TimeSpan.FromHours(2);
        Assert.Equal(RefusalCodes.Expired, (await runtime.SendAsync("apr_a", new DecideMessage(true, asked.Spec.Digest, "", "bob"))).Refusal?.Code);
        world.Clock.Shift -= TimeSpan.FromHours(2);
        Assert.Equal(RefusalCodes.Expired, (await runtime.SendAsync("apr_a", new DecideMessage(true, asked.Spec.Digest, "", "bob"))).Refusal?.Code);
    }

    [Fact]
    public async Task What_could_not_be_told_is_told_later_also_by_another_process()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        world.Told.Down = true;
        var asked = Good(await runtime.AskAsync(Spec("apr_a")));
        await ApproveAsync(runtime, asked);
        Assert.Empty(world.Told.Of("apr_a"));
        await runtime.StopAsync();
        world.Told.Down = false;
        await runtime.StartAsync();
        await ToldAsync(world, "apr_a", "request.approved");
        Assert.Equal(["request.opened", "request.approved"], world.Told.Of("apr_a"));

        world.Told.Down = true;
        Good(await runtime.SendAsync("apr_a", Redeem(asked, "x")));
        world.Told.Down = false;
        await ToldAsync(world, "apr_a", "request.consumed");
    }

    [Fact]
    public async Task With_the_store_down_nothing_is_half_done()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        var asked = Good(await runtime.AskAsync(Spec("apr_a")));
        var approved = Good(await runtime.AskAsync(Spec("apr_b", "b")));
        await ApproveAsync(runtime, approved);
        runtime.FailStore(true);
        RequestMessage[] messages =
        [
            new DecideMessage(true, asked.Spec.Digest, "", "bob"), new DecideMessage(false, asked.Spec.Digest, "no", "bob"), new WithdrawMessage("alice", null),
            Redeem(asked, "x"), new RevokeMessage("", "bob"), new ReadMessage(),
        ];
        foreach (var message in messages)
        {
            Assert.Equal(RefusalCodes.Unavailable, (await runtime.SendAsync("apr_a", message)).Refusal?.Code);
        }

        Assert.Equal(RefusalCodes.Unavailable, (await runtime.SendAsync("apr_b", Redeem(approved, "x"))).Refusal?.Code);
        Assert.Equal(RefusalCodes.Unavailable, (await runtime.AskAsync(Spec("apr_c", "c"))).Refusal?.Code);
        runtime.FailStore(false);
        Assert.Equal((WorkflowState.Pending, 1L), await StateAsync(runtime, "apr_a"));
        Assert.Equal((WorkflowState.Approved, 2L), await StateAsync(runtime, "apr_b"));
        Assert.Equal(["request.opened"], world.Told.Of("apr_a"));
        Assert.Empty(world.Told.Of("apr_c"));
        Good(await runtime.SendAsync("apr_b", Redeem(approved, "x")));

        world.Evidence.Down = true;
        Assert.Equal(RefusalCodes.Unavailable, (await runtime.SendAsync("apr_a", new DecideMessage(true, asked.Spec.Digest, "", "bob"))).Refusal?.Code);
        world.Evidence.Down = false;
        Assert.Equal(WorkflowState.Approved, (await ApproveAsync(runtime, asked)).State);
    }

    [Fact]
    public async Task A_window_begins_with_its_first_use_and_ends_by_itself()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        var asked = Good(await runtime.AskAsync(WindowSpec("apr_w", TimeSpan.FromSeconds(4))));
        var approved = await ApproveAsync(runtime, asked);
        Assert.Null(approved.Grant);
        var began = Good(await runtime.SendAsync("apr_w", Redeem(asked, "u1")));
        Assert.Equal(began.WindowBeganAt + TimeSpan.FromSeconds(4), began.Deadline);
        var again = await runtime.SendAsync("apr_w", Redeem(asked, "u2"));
        Assert.Equal((false, began.Grant, began.Version), (again.Fresh, Good(again).Grant, again.Document!.Version));
        await runtime.StopAsync();
        await runtime.StartAsync();
        await ToldAsync(world, "apr_w", "request.expired");
        Assert.Equal(RefusalCodes.Expired, (await runtime.SendAsync("apr_w", Redeem(asked, "u1"))).Refusal?.Code);
    }

    [Fact]
    public async Task Going_alone_opens_a_review_that_is_reported_once_where_it_is_late()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        var asked = Good(await runtime.AskAsync(Spec("apr_g") with { BreakGlassAllowed = true }));
        Assert.Equal(RefusalCodes.NotRequester, (await runtime.SendAsync("apr_g", new BreakGlassMessage(asked.Spec.Digest, "fire", "bob"))).Refusal?.Code);
        Assert.Equal(WorkflowState.Approved, Good(await runtime.SendAsync("apr_g", new BreakGlassMessage(asked.Spec.Digest, "fire", "alice"))).State);
        Assert.Equal("request.break-glass", world.Told.Of("apr_g")[^1]);
        Assert.Equal(WorkflowState.Consumed, Good(await runtime.SendAsync("apr_g", Redeem(asked, "x"))).State);

        // Long after it is consumed, in another process, something still wakes.
        await runtime.StopAsync();
        world.Clock.Shift += Review;
        await runtime.StartAsync();
        await ToldAsync(world, "apr_g", "request.review-overdue");
        Assert.Equal(RefusalCodes.SelfApproval, (await runtime.SendAsync("apr_g", new ReviewMessage(asked.Spec.Digest, true, "ok", "alice2"))).Refusal?.Code);
        Assert.False(Good(await runtime.SendAsync("apr_g", new ReviewMessage(asked.Spec.Digest, true, "ok", "bob"))).AwaitsReview);
        Assert.Single(world.Told.Of("apr_g"), action => action == "request.review-overdue");
    }

    [Fact]
    public async Task An_extension_arrives_once_whatever_fails_in_between()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        var asked = Good(await runtime.AskAsync(WindowSpec("apr_w", TimeSpan.FromMinutes(10))));
        Assert.Equal(RefusalCodes.NotExtendable, (await runtime.AskAsync(WindowSpec("apr_e0", TimeSpan.FromMinutes(10)) with { Extends = "apr_w" })).Refusal?.Code);
        await ApproveAsync(runtime, asked);
        var began = Good(await runtime.SendAsync("apr_w", Redeem(asked, "u")));
        world.Clock.Shift += TimeSpan.FromMinutes(5);
        var extension = Good(await runtime.AskAsync(WindowSpec("apr_e", TimeSpan.FromMinutes(10)) with { Extends = "apr_w" }));

        world.Told.Down = true;
        Assert.Equal(WorkflowState.Consumed, (await ApproveAsync(runtime, extension)).State);
        Assert.Null((await runtime.SendAsync("apr_w", new ReadMessage())).Document!.Extensions);
        await runtime.StopAsync();
        world.Told.Down = false;
        await runtime.StartAsync();
        await ToldAsync(world, "apr_w", "request.extended");
        var extended = (await runtime.SendAsync("apr_w", new ReadMessage())).Document!;
        Assert.InRange(extended.Deadline - began.Deadline, TimeSpan.FromMinutes(5) - TimeSpan.FromSeconds(30), TimeSpan.FromMinutes(6));
        Assert.NotEqual(began.Grant, extended.Grant);
        var grant = (await runtime.SendAsync("apr_e", new ReadMessage())).Document!.Grant!;
        Assert.Equal(extended.Version, Good(await runtime.SendAsync("apr_w", new ExtendMessage(grant))).Version);
        Assert.Equal(RefusalCodes.TokenRejected, (await runtime.SendAsync("apr_w", new ExtendMessage("forged"))).Refusal?.Code);
    }

    [Fact]
    public async Task A_revocation_of_what_runs_is_told_before_it_is_answered()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        var asked = Good(await runtime.AskAsync(Spec("apr_r")));
        await ApproveAsync(runtime, asked);
        Good(await runtime.SendAsync("apr_r", Redeem(asked, "x")));
        Assert.Equal(WorkflowState.Revoked, Good(await runtime.SendAsync("apr_r", new RevokeMessage("stop", "carol"))).State);
        Assert.Equal("request.revoked", world.Told.Of("apr_r")[^1]);
        Assert.Equal(RefusalCodes.WrongState, (await runtime.SendAsync("apr_r", Redeem(asked, "x"))).Refusal?.Code);
    }

    [Fact]
    public async Task Duplicates_and_what_comes_out_of_order_change_nothing()
    {
        var (world, runtime) = await StartAsync();
        await using var _ = runtime;
        var asked = Good(await runtime.AskAsync(Spec("apr_d", "a", "b")));
        Assert.Equal(RefusalCodes.WrongState, (await runtime.SendAsync("apr_d", Redeem(asked, "x"))).Refusal?.Code);
        Assert.Equal(RefusalCodes.WrongState, (await runtime.SendAsync("apr_d", new RevokeMessage("", "bob"))).Refusal?.Code);
        await ApproveAsync(runtime, asked);
        Assert.Equal(RefusalCodes.OutOfOrder, (await runtime.SendAsync("apr_d", Redeem(asked, "y", 1))).Refusal?.Code);
        Good(await runtime.SendAsync("apr_d", Redeem(asked, "x")));
        RequestMessage[] late =
        [
            new OpenMessage(asked.Spec, ScriptedSigner.SealOf(asked.Spec)), new DecideMessage(true, asked.Spec.Digest, "", "bob"), Redeem(asked, "x"), new ReadMessage(), new ObserveMessage(),
        ];
        foreach (var message in late.Concat(late))
        {
            var answer = await runtime.SendAsync("apr_d", message);
            Assert.Equal((false, null), (answer.Fresh, answer.Refusal));
        }

        Assert.Equal(RefusalCodes.RedemptionReused, (await runtime.SendAsync("apr_d", Redeem(asked, "x", 1))).Refusal?.Code);
        Assert.Equal(RefusalCodes.IdTaken, (await runtime.SendAsync("apr_d", Sealed(asked.Spec with { Digest = "other" }))).Refusal?.Code);
        Assert.Equal((WorkflowState.Approved, 3L), await StateAsync(runtime, "apr_d"));
        Assert.Equal(["request.opened", "request.approved", "request.redeemed"], world.Told.Of("apr_d"));
    }

    [Fact]
    public async Task What_is_no_message_does_nothing()
    {
        var (_, runtime) = await StartAsync();
        await using var __ = runtime;
        foreach (var type in new[] { WorkflowTypes.Request, WorkflowTypes.Requester })
        {
            Assert.Null((await runtime.SendAsync(type, "nobody", Array.Empty<byte>())).Document);
            foreach (var text in new[] { "{", "[]", """{"type":"seize"}""", "null" })
            {
                Assert.NotNull((await runtime.SendAsync(type, "nobody", System.Text.Encoding.UTF8.GetBytes(text))).Refusal);
            }
        }

        Assert.Equal(RefusalCodes.Unknown, (await runtime.SendAsync("apr_unknown", new DecideMessage(true, "", "", "bob"))).Refusal?.Code);
        // Nobody but approval opens a request, least of all one that is in effect already; and only the service that asked redeems a control request.
        var forged = Spec("apr_forged") with { Requester = new SpecRequester("alice", "alice", ["alice"]), Kind = WorkflowKind.Bundle, InEffect = true };
        foreach (var seal in new[] { "", "sealed:", ScriptedSigner.SealOf(forged with { InEffect = false }) })
        {
            Assert.Equal(RefusalCodes.TokenRejected, (await runtime.SendAsync("apr_forged", new OpenMessage(forged, seal))).Refusal?.Code);
        }

        var bundle = Good(await runtime.SendAsync("apr_bundle", Sealed(forged with { Id = "apr_bundle", AskedBy = "policy", InEffect = false })));
        await ApproveAsync(runtime, bundle);
        Assert.Equal(RefusalCodes.NotExecutor, (await runtime.SendAsync("apr_bundle", Redeem(bundle, "x"))).Refusal?.Code);
        Assert.Equal(RefusalCodes.TokenRejected, (await runtime.SendAsync("apr_bundle", Redeem(bundle, "x") with { ServiceToken = "policy" })).Refusal?.Code);
        Good(await runtime.SendAsync("apr_bundle", Redeem(bundle, "x") with { ServiceToken = "service:policy" }));

        // The requester's actor takes nobody else's word.
        var foreign = await runtime.SendAsync(
            WorkflowTypes.Requester, "bob", System.Text.Json.JsonSerializer.SerializeToUtf8Bytes<RequesterMessage>(new AskMessage(Spec("apr_f"), "session:alice"), WorkflowJson.Options));
        Assert.Equal(RefusalCodes.TokenRejected, foreign.Refusal?.Code);
    }

    /// <summary>A spec of operations with these digests.</summary>
    protected static RequestSpec Spec(string id, params string[] digests)
    {
        string[] operations = digests is { Length: > 0 } ? digests : ["a"];
        return new RequestSpec
        {
            Id = id,
            Kind = WorkflowKind.Operation,
            AskedBy = "proxy",
            Requester = new SpecRequester("", "", []),
            Connection = "shop",
            Operations = [.. operations.Select(digest => new SpecOperation(digest, "DELETE", []))],
            Digest = string.Join('+', operations),
            AllOf = [new SpecRequirement(["dba"], 1)],
            Timeout = TimeSpan.FromHours(1),
            GrantLifetime = TimeSpan.FromHours(1),
        };
    }

    private static RequestSpec WindowSpec(string id, TimeSpan length) => Spec(id, "w") with
    {
        Kind = WorkflowKind.AccessWindow,
        Window = new SpecWindow(length, ["SELECT"], ["public.orders"]),
    };

    private static RedeemMessage Redeem(RequestDocument request, string id, int index = 0, string person = "alice") =>
        new(index, request.Spec.Operations[index].Digest, id, "session:" + person, "service:proxy");

    private static OpenMessage Sealed(RequestSpec spec) => new(spec, ScriptedSigner.SealOf(spec));

    private static RequestDocument Good(ActorAnswer answer)
    {
        Assert.True(answer.Refusal is null, answer.Refusal?.Message);
        return answer.Document!;
    }

    private static async Task<RequestDocument> ApproveAsync(IWorkflowRuntime runtime, RequestDocument asked) =>
        Good(await runtime.SendAsync(asked.Spec.Id, new DecideMessage(true, asked.Spec.Digest, "", "bob")));

    private static async Task<(WorkflowState, long)> StateAsync(IWorkflowRuntime runtime, string request)
    {
        var document = Good(await runtime.SendAsync(request, new ReadMessage()));
        return (document.State, document.Version);
    }

    private static async Task ToldAsync(ContractWorld world, string request, string action)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(90));
        while (!world.Told.Of(request).Contains(action))
        {
            Assert.False(limit.IsCancellationRequested, $"waited in vain for {action} of {request}");
            await Task.Delay(20, CancellationToken.None);
        }
    }

    private async Task<(ContractWorld World, IWorkflowRuntime Runtime)> StartAsync()
    {
        var world = new ContractWorld();
        var settings = new WorkflowSettings(new RequesterLimits(100, TimeSpan.FromMinutes(1), TimeSpan.FromHours(1)), Review, new RequestRetention(null));
        return (world, await StartAsync(world, settings));
    }
}
