using System.Net;
using Countersign.Approval.Contracts;
using Countersign.Approval.Grants;
using Countersign.Platform.Embedded;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Approval.Tests;

/// <summary>One server for the tests of a class: starting a silo takes a second.</summary>
public sealed class ServerFixture : IAsyncLifetime
{
    public ApprovalServer Server { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Server = await ApprovalServer.StartAsync(new() { ["Countersign:Approval:MaxPending"] = "100" });

    public async ValueTask DisposeAsync() => await Server.DisposeAsync();
}

/// <summary>The main flow and what is shown to whom, from outside.</summary>
[Trait("group", "approval")]
public sealed class RestTests(ServerFixture fixture) : IClassFixture<ServerFixture>
{
    private readonly ApprovalServer _server = fixture.Server;

    [Fact]
    public async Task Ask_approve_redeem_once()
    {
        var asked = await _server.OpenAsync();
        Assert.Equal(RequestState.Pending, asked.State);
        Assert.Equal("alice", asked.Requester);
        Assert.Null(asked.Grant);
        Assert.Equal($"https://countersign.example/approval/requests/{asked.Id}", asked.Link);

        var approved = await _server.ApproveAsync(asked);
        Assert.Equal(RequestState.Approved, approved.State);
        Assert.Null(approved.Grant);
        Assert.Equal("bob@example.com", Assert.Single(approved.Decisions).Name);
        Assert.NotNull((await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"))).Grant);
        Assert.Null((await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Peers.Token("bob"))).Grant);

        using var first = await _server.RedeemAsync(asked, "r1");
        var grant = (await ApprovalServer.ReadAsync<RedeemResult>(first)).Grant;
        using var again = await _server.RedeemAsync(asked, "r1");
        Assert.Equal(grant, (await ApprovalServer.ReadAsync<RedeemResult>(again)).Grant);
        using var second = await _server.RedeemAsync(asked, "r2");
        Assert.Equal("already-redeemed", await ApprovalServer.ProblemAsync(second, HttpStatusCode.Conflict));
        Assert.Equal(RequestState.Consumed, (await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Peers.Token("alice"))).State);

        var keys = await new FileTrustedKeys(Path.Combine(_server.Data, "keys")).GetAsync("approval", default);
        var claims = await keys.VerifyAsync<GrantClaims>(grant, TokenTypes.Grant, "approval", null, _server.Clock.GetUtcNow());
        Assert.Equal(asked.Id, claims.Request);
        Assert.Equal("alice", claims.Person);
        Assert.Equal("shop", claims.Connection);
        Assert.Equal(asked.Operations.Select(operation => operation.Digest), claims.Digests);
        Assert.Equal("bob", Assert.Single(claims.Approvers).Person);
        Assert.False(claims.Bootstrap);
        Assert.InRange(claims.ExpiresAt - claims.IssuedAt, 599, 600);
        using var jwks = await _server.SendAsync(HttpMethod.Get, "/approval/.well-known/jwks.json", null);
        var published = VerificationKeys.FromJson(await jwks.Content.ReadAsStringAsync());
        Assert.Equal(claims.Id, (await published.VerifyAsync<GrantClaims>(grant, TokenTypes.Grant, "approval", null, _server.Clock.GetUtcNow())).Id);

        await ApprovalServer.UntilAsync(() => _server.Audits.Any(audit => audit.Subject == asked.Id && audit.Action == "request.consumed"), "audit event");
        Assert.Equal(
            ["request.opened", "request.approved", "request.consumed"],
            _server.Audits.Where(audit => audit.Subject == asked.Id && audit.Success).DistinctBy(audit => audit.Id).Select(audit => audit.Action));
        await ApprovalServer.UntilAsync(() => _server.Changes.Any(change => change.Id == $"{asked.Id}:3"), "event");
        Assert.Equal(
            [RequestState.Pending, RequestState.Approved, RequestState.Consumed],
            _server.Changes.Where(change => change.Request == asked.Id).DistinctBy(change => change.Id).Select(change => change.State));
    }

    [Fact]
    public async Task A_list_is_redeemed_in_order_each_once()
    {
        var asked = await _server.OpenAsync(_server.Create(digests: [_server.Digest(), _server.Digest(), _server.Digest()]));
        await _server.ApproveAsync(asked);
        using var early = await _server.RedeemAsync(asked, "a", index: 1);
        Assert.Equal("out-of-order", await ApprovalServer.ProblemAsync(early, HttpStatusCode.Conflict));
        for (var index = 0; index < 3; index++)
        {
            using var redeemed = await _server.RedeemAsync(asked, $"r{index}", index);
            await ApprovalServer.ReadAsync<RedeemResult>(redeemed);
            using var twice = await _server.RedeemAsync(asked, $"s{index}", index);
            Assert.Equal("already-redeemed", await ApprovalServer.ProblemAsync(twice, HttpStatusCode.Conflict));
        }

        using var reused = await _server.RedeemAsync(asked, "r0", index: 2);
        Assert.Equal("redemption-reused", await ApprovalServer.ProblemAsync(reused, HttpStatusCode.Conflict));
        Assert.Equal(3, (await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"))).Redeemed);
    }

    [Fact]
    public async Task The_same_person_with_the_same_digests_attaches()
    {
        var create = _server.Create();
        var asked = await _server.OpenAsync(create);
        using var again = await _server.PostAsync("", _server.Service("proxy"), create);
        var attached = await ApprovalServer.ReadAsync<CreateRequestResult>(again);
        Assert.True(attached.Attached);
        Assert.Equal(asked.Id, attached.Request.Id);

        var other = _server.Create("bob", [.. create.Operations.Select(operation => operation.Digest)], [new RequestRequirement(["enrolled"], 1)]);
        Assert.NotEqual(asked.Id, (await _server.OpenAsync(other)).Id);

        await _server.ApproveAsync(asked);
        using var approved = await _server.PostAsync("", _server.Service("proxy"), create);
        var found = await ApprovalServer.ReadAsync<CreateRequestResult>(approved);
        Assert.Equal((asked.Id, RequestState.Approved, true), (found.Request.Id, found.Request.State, found.Attached));
        Assert.NotNull(found.Request.Grant);

        using var redeemed = await _server.RedeemAsync(asked, "r");
        await ApprovalServer.ReadAsync<RedeemResult>(redeemed);
        Assert.NotEqual(asked.Id, (await _server.OpenAsync(create)).Id);
    }

    [Fact]
    public async Task Asking_under_stricter_terms_is_a_request_of_its_own()
    {
        var create = _server.Create();
        var asked = await _server.OpenAsync(create);
        var stricter = await _server.OpenAsync(create with { AllOf = [new RequestRequirement(["dba"], 1), new RequestRequirement(["security"], 1)] });
        Assert.NotEqual(asked.Id, stricter.Id);
        Assert.Equal(stricter.Id, (await _server.OpenAsync(create)).Id);
    }

    [Fact]
    public async Task A_denial_is_final_and_backs_off()
    {
        var create = _server.Create();
        var asked = await _server.OpenAsync(create);
        using var silent = await _server.DecideAsync(asked, "bob", approve: false, comment: " ");
        Assert.Equal("comment-required", await ApprovalServer.ProblemAsync(silent, HttpStatusCode.BadRequest));
        using var denied = await _server.DecideAsync(asked, "bob", approve: false, comment: "not on a Friday");
        Assert.Equal(RequestState.Denied, (await ApprovalServer.ReadAsync<RequestView>(denied)).State);
        using var repeated = await _server.DecideAsync(asked, "bob", approve: false, comment: "again");
        Assert.Equal("not on a Friday", Assert.Single((await ApprovalServer.ReadAsync<RequestView>(repeated)).Decisions).Comment);
        using var late = await _server.DecideAsync(asked, "carol");
        Assert.Equal("wrong-state", await ApprovalServer.ProblemAsync(late, HttpStatusCode.Conflict));

        using var again = await _server.PostAsync("", _server.Service("proxy"), create);
        Assert.InRange(again.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 1, 60);
        Assert.Equal("recently-denied", await ApprovalServer.ProblemAsync(again, HttpStatusCode.TooManyRequests));
        await _server.OpenAsync();
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Quorum_counts_distinct_persons_over_all_requirements()
    {
        // carol is in both groups: she fills one seat, whichever leaves the other to somebody else.
        var asked = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["dba"], 1), new RequestRequirement(["security"], 1)]));
        Assert.Equal(RequestState.Pending, (await _server.ApproveAsync(asked, "carol")).State);
        Assert.Equal(RequestState.Pending, (await _server.ApproveAsync(asked, "carol")).State);
        var approved = await _server.ApproveAsync(asked, "dave");
        Assert.Equal(RequestState.Approved, approved.State);
        Assert.Equal(["carol", "dave"], approved.Decisions.Select(decision => decision.Person));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Linked_accounts_count_once()
    {
        _server.Peers.Person("erin", sameAs: ["erin2"]);
        _server.Peers.Person("erin2", sameAs: ["erin"]);
        var asked = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["enrolled"], 2)]));
        await _server.ApproveAsync(asked, "erin");
        using var twice = await _server.DecideAsync(asked, "erin2");
        Assert.Equal("already-counted", await ApprovalServer.ProblemAsync(twice, HttpStatusCode.Forbidden));
        Assert.Equal(RequestState.Pending, (await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Peers.Token("bob"))).State);
    }

    [Fact]
    public async Task A_required_reason_can_be_supplied_once_by_the_requester()
    {
        var asked = await _server.OpenAsync(_server.Create() with { ReasonRequired = true });
        using var without = await _server.DecideAsync(asked, "bob");
        Assert.Equal("reason-required", await ApprovalServer.ProblemAsync(without, HttpStatusCode.Conflict));
        using var foreign = await _server.PostAsync($"/{asked.Id}/reason", _server.Peers.Token("bob"), new ExplainRequest("because"));
        Assert.Equal("not-requester", await ApprovalServer.ProblemAsync(foreign, HttpStatusCode.Forbidden));
        using var given = await _server.PostAsync($"/{asked.Id}/reason", _server.Peers.Token("alice"), new ExplainRequest("INC-7"));
        Assert.Equal("INC-7", (await ApprovalServer.ReadAsync<RequestView>(given)).Reason);
        using var changed = await _server.PostAsync($"/{asked.Id}/reason", _server.Peers.Token("alice"), new ExplainRequest("something else"));
        Assert.Equal("wrong-state", await ApprovalServer.ProblemAsync(changed, HttpStatusCode.Conflict));
        Assert.Equal(RequestState.Approved, (await _server.ApproveAsync(asked)).State);
    }

    [Fact]
    public async Task Withdraw_and_revoke_end_it()
    {
        var byPerson = await _server.OpenAsync();
        using var foreign = await _server.PostAsync($"/{byPerson.Id}/withdraw", _server.Peers.Token("bob"));
        Assert.Equal("not-requester", await ApprovalServer.ProblemAsync(foreign, HttpStatusCode.Forbidden));
        using var own = await _server.PostAsync($"/{byPerson.Id}/withdraw", _server.Peers.Token("alice"));
        Assert.Equal(RequestState.Cancelled, (await ApprovalServer.ReadAsync<RequestView>(own)).State);

        var byProxy = await _server.OpenAsync();
        using var unproved = await _server.PostAsync($"/{byProxy.Id}/withdraw", _server.Service("proxy"));
        Assert.Equal("token-rejected", await ApprovalServer.ProblemAsync(unproved, HttpStatusCode.Unauthorized));
        using var proved = await _server.PostAsync($"/{byProxy.Id}/withdraw", _server.Service("proxy"), new WithdrawRequest(_server.Peers.Session("alice")));
        Assert.Equal(RequestState.Cancelled, (await ApprovalServer.ReadAsync<RequestView>(proved)).State);

        var approved = await _server.OpenAsync();
        await _server.ApproveAsync(approved);
        using var revoked = await _server.PostAsync($"/{approved.Id}/revoke", _server.Peers.Token("dave"), new RevokeRequest("second thoughts"));
        Assert.Equal(RequestState.Revoked, (await ApprovalServer.ReadAsync<RequestView>(revoked)).State);
        using var redeem = await _server.RedeemAsync(approved, "r");
        Assert.Equal("wrong-state", await ApprovalServer.ProblemAsync(redeem, HttpStatusCode.Conflict));
    }

    [Fact]
    public async Task Deadlines_count_without_a_wake_up()
    {
        var pending = await _server.OpenAsync();
        var approved = await _server.OpenAsync();
        await _server.ApproveAsync(approved);
        var shift = _server.Clock.Shift;
        try
        {
            _server.Clock.Shift = shift + TimeSpan.FromSeconds(601);
            using var redeem = await _server.RedeemAsync(approved, "r");
            Assert.Equal("expired", await ApprovalServer.ProblemAsync(redeem, HttpStatusCode.Gone));
            Assert.Equal(RequestState.Expired, (await _server.GetAsync<RequestView>($"/{approved.Id}", _server.Service("proxy"))).State);
            _server.Clock.Shift = shift + TimeSpan.FromSeconds(1801);
            using var decide = await _server.DecideAsync(pending, "bob");
            Assert.Equal("expired", await ApprovalServer.ProblemAsync(decide, HttpStatusCode.Gone));
        }
        finally
        {
            _server.Clock.Shift = shift;
        }

        // Once noticed it stays so, even if the clock goes back.
        using var back = await _server.DecideAsync(pending, "bob");
        Assert.Equal("expired", await ApprovalServer.ProblemAsync(back, HttpStatusCode.Gone));
    }

    [Fact]
    public async Task Lists_show_what_the_caller_could_decide_and_nothing_else()
    {
        var byAlice = await _server.OpenAsync();
        var byBob = await _server.OpenAsync(_server.Create("bob"));
        var forSecurity = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["security"], 1)]));
        var agreed = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["dba"], 2)]));
        await _server.ApproveAsync(agreed);
        var over = await _server.OpenAsync();
        await _server.ApproveAsync(over);

        async Task<string[]> List(string person, string query) =>
            [.. (await _server.GetAsync<RequestView[]>(query, _server.Peers.Token(person))).Select(request => request.Id)];

        var bob = await List("bob", "?filter=to-decide");
        Assert.Contains(byAlice.Id, bob);
        Assert.DoesNotContain(byBob.Id, bob);
        Assert.DoesNotContain(forSecurity.Id, bob);
        Assert.DoesNotContain(agreed.Id, bob);
        Assert.DoesNotContain(over.Id, bob);
        var carol = await List("carol", "");
        Assert.Contains(forSecurity.Id, carol);
        Assert.Contains(agreed.Id, carol);
        Assert.DoesNotContain(byAlice.Id, await List("alice", "?filter=to-decide"));
        _server.Peers.Person("mallory", enrolled: false);
        Assert.Empty(await List("mallory", "?filter=to-decide"));

        Assert.Contains(over.Id, await List("alice", "?filter=mine&state=approved"));
        Assert.DoesNotContain(byAlice.Id, await List("alice", "?filter=mine&state=approved"));
        Assert.DoesNotContain(byAlice.Id, await List("bob", "?filter=mine"));
        Assert.Contains(byAlice.Id, await List("dave", "?filter=all&state=pending,approved"));
        using var refused = await _server.SendAsync(HttpMethod.Get, "/approval/v1/requests?filter=all", _server.Peers.Token("mallory"));
        Assert.Equal("not-enrolled", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.Forbidden));
        using var unknown = await _server.SendAsync(HttpMethod.Get, "/approval/v1/requests?filter=everything", _server.Peers.Token("bob"));
        Assert.Equal("invalid-request", await ApprovalServer.ProblemAsync(unknown, HttpStatusCode.BadRequest));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task A_link_opened_by_somebody_else_shows_nothing()
    {
        var asked = await _server.OpenAsync();
        _server.Peers.Person("mallory", enrolled: false);
        using var foreign = await _server.SendAsync(HttpMethod.Get, $"/approval/v1/requests/{asked.Id}", _server.Peers.Token("mallory"));
        Assert.Equal("unknown-request", await ApprovalServer.ProblemAsync(foreign, HttpStatusCode.NotFound));
        using var service = await _server.SendAsync(HttpMethod.Get, $"/approval/v1/requests/{asked.Id}", _server.Service("policy"));
        Assert.Equal("unknown-request", await ApprovalServer.ProblemAsync(service, HttpStatusCode.NotFound));
    }

    /// <summary>Whoever gets in between (a sidecar may have any identity) would enrol whom they like, and put them into any group.</summary>
    [Trait("group", "attacks")]
    [Theory]
    [InlineData("unsigned")]
    [InlineData("another key")]
    [InlineData("identity's answer to another service")]
    public async Task An_answer_that_identity_and_policy_did_not_sign_for_this_question_decides_nothing(string how)
    {
        var asked = await _server.OpenAsync();
        var anyone = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["enrolled"], 1)]));
        using var foreign = SigningKey.Create();
        _server.Peers.Person("mallory", enrolled: false);
        using (var refused = await _server.DecideAsync(anyone, "mallory"))
        {
            Assert.Equal("not-enrolled", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.Forbidden));
        }

        _server.Peers.Person("mallory", enrolled: true);
        _server.Peers.Groups["dba"] = (["mallory"], null);
        _server.Peers.Impostor = how switch
        {
            "unsigned" => (null, ""),
            "another key" => (foreign, "approval"),
            _ => (_server.Peers.IdentityKey, "recorder"),
        };
        try
        {
            foreach (var request in new[] { asked, anyone })
            {
                using var decide = await _server.DecideAsync(request, "mallory");
                Assert.Equal("unavailable", await ApprovalServer.ProblemAsync(decide, HttpStatusCode.ServiceUnavailable));
            }

            using var create = await _server.PostAsync("", _server.Service("proxy"), _server.Create());
            Assert.Equal("unavailable", await ApprovalServer.ProblemAsync(create, HttpStatusCode.ServiceUnavailable));
        }
        finally
        {
            _server.Peers.Impostor = null;
            _server.Peers.Groups["dba"] = (["bob", "carol@example.com", "alice"], null);
        }

        Assert.Equal(RequestState.Pending, (await _server.GetAsync<RequestView>($"/{anyone.Id}", _server.Peers.Token("bob"))).State);
        Assert.Equal(RequestState.Approved, (await _server.ApproveAsync(asked)).State);
    }

    [Fact]
    public async Task When_identity_or_policy_is_down_nothing_changes()
    {
        var asked = await _server.OpenAsync();
        var anyone = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["enrolled"], 1)]));
        _server.Peers.IdentityDown = true;
        try
        {
            using var decide = await _server.DecideAsync(asked, "bob");
            Assert.Equal("unavailable", await ApprovalServer.ProblemAsync(decide, HttpStatusCode.ServiceUnavailable));
            using var create = await _server.PostAsync("", _server.Service("proxy"), _server.Create());
            Assert.Equal("unavailable", await ApprovalServer.ProblemAsync(create, HttpStatusCode.ServiceUnavailable));
        }
        finally
        {
            _server.Peers.IdentityDown = false;
        }

        _server.Peers.PolicyDown = true;
        try
        {
            using var decide = await _server.DecideAsync(asked, "bob");
            Assert.Equal("unavailable", await ApprovalServer.ProblemAsync(decide, HttpStatusCode.ServiceUnavailable));
            // The reserved group needs nobody to be asked.
            Assert.Equal(RequestState.Approved, (await _server.ApproveAsync(anyone)).State);
        }
        finally
        {
            _server.Peers.PolicyDown = false;
        }

        var still = await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"));
        Assert.Equal((RequestState.Pending, 1L), (still.State, still.Version));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Fifty_redemptions_at_once_are_one()
    {
        var asked = await _server.OpenAsync();
        await _server.ApproveAsync(asked);
        var answers = await Task.WhenAll(Enumerable.Range(0, 50).Select(number => _server.RedeemAsync(asked, $"race-{number}")));
        Assert.Single(answers, answer => answer.StatusCode == HttpStatusCode.OK);
        Assert.Equal(49, answers.Count(answer => answer.StatusCode == HttpStatusCode.Conflict));
        foreach (var answer in answers)
        {
            answer.Dispose();
        }
    }

    [Fact]
    public async Task Fifty_asks_for_the_same_at_once_are_one_request()
    {
        var create = _server.Create("dave");
        var answers = await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => _server.PostAsync("", _server.Service("proxy"), create)));
        var results = await Task.WhenAll(answers.Select(ApprovalServer.ReadAsync<CreateRequestResult>));
        Assert.Single(results.Select(result => result.Request.Id).Distinct());
        Assert.Single(results, result => !result.Attached);
        foreach (var answer in answers)
        {
            answer.Dispose();
        }
    }

    [Fact]
    public async Task Control_requests_are_asked_and_redeemed_by_their_own_service()
    {
        var create = _server.Create() with
        {
            Kind = RequestKind.Bundle,
            Assertion = _server.Peers.Token("alice", "policy"),
            Connection = "",
            Database = "",
            AllOf = [new RequestRequirement(["enrolled"], 1)],
        };
        using var byProxy = await _server.PostAsync("", _server.Service("proxy"), create);
        Assert.Equal("kind-not-allowed", await ApprovalServer.ProblemAsync(byProxy, HttpStatusCode.Forbidden));
        using var wrongToken = await _server.PostAsync("", _server.Service("policy"), create with { Assertion = _server.Peers.Token("alice") });
        Assert.Equal("token-rejected", await ApprovalServer.ProblemAsync(wrongToken, HttpStatusCode.Unauthorized));
        using var asked = await _server.PostAsync("", _server.Service("policy"), create);
        var request = (await ApprovalServer.ReadAsync<CreateRequestResult>(asked)).Request;
        using var self = await _server.DecideAsync(request, "alice");
        Assert.Equal("self-approval", await ApprovalServer.ProblemAsync(self, HttpStatusCode.Forbidden));
        await _server.ApproveAsync(request);
        using var stolen = await _server.RedeemAsync(request, "r");
        Assert.Equal("not-executor", await ApprovalServer.ProblemAsync(stolen, HttpStatusCode.Forbidden));
        using var redeemed = await _server.PostAsync(
            $"/{request.Id}/redeem", _server.Service("policy"), new RedeemRequest(0, request.Operations[0].Digest, "activate", ""));
        await ApprovalServer.ReadAsync<RedeemResult>(redeemed);
    }

    [Fact]
    public async Task The_first_person_acts_alone_on_control_requests_only_while_bootstrap_is_open()
    {
        _server.Peers.Person("first", bootstrapOpen: true);
        var control = _server.Create() with
        {
            Kind = RequestKind.Bundle,
            Assertion = _server.Peers.Token("first", "policy"),
            Connection = "",
            Database = "",
            AllOf = [new RequestRequirement(["security"], 2)],
        };
        using var asked = await _server.PostAsync("", _server.Service("policy"), control);
        var request = (await ApprovalServer.ReadAsync<CreateRequestResult>(asked)).Request;
        Assert.Contains(request.Id, (await _server.GetAsync<RequestView[]>("", _server.Peers.Token("first"))).Select(each => each.Id));
        var operation = await _server.OpenAsync(_server.Create("first", allOf: [new RequestRequirement(["enrolled"], 1)]));
        using var alone = await _server.DecideAsync(operation, "first");
        Assert.Equal("self-approval", await ApprovalServer.ProblemAsync(alone, HttpStatusCode.Forbidden));

        _server.Peers.Person("first");
        using var closed = await _server.DecideAsync(request, "first");
        Assert.Equal("self-approval", await ApprovalServer.ProblemAsync(closed, HttpStatusCode.Forbidden));
        _server.Peers.Person("first", bootstrapOpen: true);
        Assert.Equal(RequestState.Approved, (await _server.ApproveAsync(request, "first")).State);
        var grant = (await _server.GetAsync<RequestView>($"/{request.Id}", _server.Service("policy"))).Grant!;
        var keys = await new FileTrustedKeys(Path.Combine(_server.Data, "keys")).GetAsync("approval", default);
        Assert.True((await keys.VerifyAsync<GrantClaims>(grant, TokenTypes.Grant, "approval", null, _server.Clock.GetUtcNow())).Bootstrap);
    }

    [Fact]
    public async Task A_new_key_signs_and_the_old_one_still_verifies_also_after_a_restart()
    {
        await using var server = await ApprovalServer.StartAsync();
        async Task<string> GrantOf(RequestView request, string redemption)
        {
            using var redeemed = await server.RedeemAsync(request, redemption);
            return (await ApprovalServer.ReadAsync<RedeemResult>(redeemed)).Grant;
        }

        async Task<VerificationKeys> KeysAsync()
        {
            using var jwks = await server.SendAsync(HttpMethod.Get, "/approval/.well-known/jwks.json", null);
            Assert.True(jwks.Headers.CacheControl!.Public);
            Assert.Equal(TimeSpan.FromSeconds(60), jwks.Headers.CacheControl.MaxAge);
            using var again = new HttpRequestMessage(HttpMethod.Get, "/approval/.well-known/jwks.json");
            again.Headers.IfNoneMatch.Add(jwks.Headers.ETag!);
            using var unchanged = await server.Http.SendAsync(again);
            Assert.Equal(HttpStatusCode.NotModified, unchanged.StatusCode);
            return VerificationKeys.FromJson(await jwks.Content.ReadAsStringAsync());
        }

        var first = await server.OpenAsync();
        await server.ApproveAsync(first);
        var second = await server.OpenAsync();
        await server.ApproveAsync(second);
        var before = await GrantOf(first, "a");
        server.Services.GetRequiredService<GrantKeys>().Rotate();
        var third = await server.OpenAsync();
        await server.ApproveAsync(third);
        await server.RestartAsync();
        // Approved under the old key, redeemed after the rotation and a restart; signed with the new one since.
        var (old, fresh) = (await GrantOf(second, "b"), await GrantOf(third, "c"));
        Assert.Equal(before, await GrantOf(first, "a"));
        var keys = await KeysAsync();
        foreach (var grant in new[] { before, old, fresh })
        {
            await keys.VerifyAsync<GrantClaims>(grant, TokenTypes.Grant, "approval", null, server.Clock.GetUtcNow());
        }

        static string Kid(string token) => new Microsoft.IdentityModel.JsonWebTokens.JsonWebToken(token).Kid;
        Assert.Equal(Kid(before), Kid(old));
        Assert.NotEqual(Kid(before), Kid(fresh));
    }

    [Fact]
    public async Task What_is_over_and_old_leaves_the_store_unless_it_must_be_reviewed()
    {
        await using var server = await ApprovalServer.StartAsync(new() { ["Countersign:Approval:RetentionDays"] = "2" });
        var over = await server.OpenAsync();
        using (await server.DecideAsync(over, "bob", approve: false))
        {
        }

        var alone = await server.OpenAsync(server.Create("dave") with { BreakGlassAllowed = true });
        await server.DoAsync<RequestView>($"/{alone.Id}/break-glass", server.Peers.Token("dave"), new BreakGlassRequest(alone.Digest, "fire"));
        await server.StopHostAsync();
        server.Clock.Shift += TimeSpan.FromDays(1);
        await server.StartHostAsync();
        Assert.Equal(RequestState.Denied, (await server.GetAsync<RequestView>($"/{over.Id}", server.Service("proxy"))).State);
        await server.StopHostAsync();
        server.Clock.Shift += TimeSpan.FromDays(2);
        await server.StartHostAsync();
        var deadline = DateTimeOffset.UtcNow.AddSeconds(60);
        while (true)
        {
            using var gone = await server.SendAsync(HttpMethod.Get, $"/approval/v1/requests/{over.Id}", server.Service("proxy"));
            if (gone.StatusCode == HttpStatusCode.NotFound)
            {
                break;
            }

            Assert.True(DateTimeOffset.UtcNow < deadline, "it is still there");
            await Task.Delay(50);
        }

        Assert.DoesNotContain(over.Id, (await server.GetAsync<RequestView[]>("?filter=all", server.Peers.Token("bob"))).Select(request => request.Id));
        // Overdue by now, which was told without anybody asking; open until somebody looks.
        await ApprovalServer.UntilAsync(() => server.Audits.Any(audit => audit.Subject == alone.Id && audit.Action == "request.review-overdue"), "the overdue review");
        using var reviews = await server.SendAsync(HttpMethod.Get, "/approval/v1/reviews?state=overdue", server.Peers.Token("bob"));
        Assert.Contains(alone.Id, (await ApprovalServer.ReadAsync<RequestView[]>(reviews)).Select(request => request.Id));
    }
}
