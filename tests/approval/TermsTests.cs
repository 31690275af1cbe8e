using System.Net;
using Countersign.Approval.Contracts;

namespace Countersign.Approval.Tests;

/// <summary>Assurance, windows, break-glass and reviews, extension and revocation from outside. Each refusal is an audit event and changes nothing.</summary>
[Trait("group", "approval")]
public sealed class TermsTests(ServerFixture fixture) : IClassFixture<ServerFixture>
{
    private readonly ApprovalServer _server = fixture.Server;

    [Trait("group", "attacks")]
    [Fact]
    public async Task An_approver_is_told_how_to_log_in()
    {
        var asked = await _server.OpenAsync(_server.Create() with { Assurance = new RequestAssurance(900, ["otp"]) });
        Assert.Equal((900, "otp"), (asked.Assurance!.MaxAgeSeconds, Assert.Single(asked.Assurance.Amr)));
        var old = _server.Peers.Token("bob", amr: ["otp", "pwd"], age: TimeSpan.FromHours(1));
        await _server.RefusedAsync("assurance-too-low", HttpStatusCode.Forbidden, "request.decision-refused", $"/{asked.Id}/approve", old, new DecideRequest(asked.Digest));
        using (var weak = await _server.PostAsync($"/{asked.Id}/approve", _server.Peers.Token("bob", amr: ["pwd"]), new DecideRequest(asked.Digest)))
        {
            Assert.Contains("Log in again with otp", await weak.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            Assert.Equal("error=\"insufficient_user_authentication\", max_age=900, amr_values=\"otp\"", Assert.Single(weak.Headers.WwwAuthenticate).Parameter);
        }

        // The list still shows it: it is theirs to decide, after a new login.
        Assert.Contains(asked.Id, (await _server.GetAsync<RequestView[]>("?filter=to-decide", old)).Select(request => request.Id));
        var approved = await _server.DoAsync<RequestView>($"/{asked.Id}/approve", _server.Peers.Token("bob", amr: ["otp"]), new DecideRequest(asked.Digest));
        Assert.Equal(RequestState.Approved, approved.State);
        using var redeemed = await _server.RedeemAsync(asked, "r");
        Assert.Equal(900, (await _server.GrantAsync(redeemed)).Assurance!.MaxAgeSeconds);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task An_access_window_from_asking_to_its_end()
    {
        var window = new AccessWindow(3600, ["SELECT", "UPDATE"], ["public.orders"]);
        var asked = await _server.OpenAsync(Window("alice", window));
        Assert.Equal(window.Relations, asked.Window!.Relations);
        await _server.RefusedAsync("wrong-state", HttpStatusCode.Conflict, "request.redemption-refused", $"/{asked.Id}/redeem", _server.Service("proxy"), Redeem(asked));
        await _server.ApproveAsync(asked);
        var shift = _server.Clock.Shift;
        try
        {
            _server.Clock.Shift += TimeSpan.FromSeconds(500);
            using var first = await _server.RedeemAsync(asked, "w1");
            var began = _server.Clock.GetUtcNow();
            var grant = await _server.GrantAsync(first);
            Assert.Empty(grant.Digests);
            Assert.Equal((3600, RequestKind.AccessWindow), (grant.Window!.Seconds, grant.Kind));
            Assert.Equal(grant.ExpiresAt, grant.WindowEndsAt);
            Assert.InRange(grant.WindowEndsAt!.Value - began.ToUnixTimeSeconds(), 3570, 3600);

            _server.Clock.Shift += TimeSpan.FromSeconds(3000);
            using var again = await _server.RedeemAsync(asked, "w2");
            Assert.Equal(grant.WindowEndsAt, (await _server.GrantAsync(again)).WindowEndsAt);
            var usable = await _server.DoAsync<RequestView[]>("/usable", _server.Service("proxy"), new UsableRequests(_server.Peers.Session("alice")));
            Assert.Equal(1, Assert.Single(usable, each => each.Id == asked.Id).Redeemed);
            await _server.RefusedAsync(
                "not-executor", HttpStatusCode.Forbidden, "request.redemption-refused", $"/{asked.Id}/redeem", _server.Service("proxy"),
                new RedeemRequest(0, asked.Operations[0].Digest, "w3", _server.Peers.Session("dave")));
            Assert.Contains(_server.Audits, audit => audit.Subject == asked.Id && !audit.Success && audit.Person == "dave");

            _server.Clock.Shift += TimeSpan.FromSeconds(601);
            using var over = await _server.RedeemAsync(asked, "w1");
            Assert.Equal("expired", await ApprovalServer.ProblemAsync(over, HttpStatusCode.Gone));
        }
        finally
        {
            _server.Clock.Shift = shift;
        }
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Going_ahead_alone_alerts_at_once_and_is_reviewed_by_somebody_else()
    {
        var plain = await _server.OpenAsync();
        await AloneRefusedAsync("break-glass-not-allowed", plain, "alice", "fire");
        var asked = await _server.OpenAsync(_server.Create() with { BreakGlassAllowed = true });
        await AloneRefusedAsync("not-requester", asked, "bob", "fire");
        await AloneRefusedAsync("reason-required", asked, "alice", " ", HttpStatusCode.Conflict);
        await _server.RefusedAsync("token-rejected", HttpStatusCode.Unauthorized, "request.break-glass-refused", $"/{asked.Id}/break-glass", _server.Peers.Token("alice", actor: "dave"), new BreakGlassRequest(asked.Digest, "fire"));
        await _server.RefusedAsync("unknown-request", HttpStatusCode.NotFound, "request.break-glass-refused", "/apr_aaaaaaaaaaaaaaaaaaaaaaaaaa/break-glass", _server.Peers.Token("alice"), new BreakGlassRequest(asked.Digest, "fire"));
        await _server.RefusedAsync("no-open-review", HttpStatusCode.Conflict, "request.review-refused", $"/{asked.Id}/review", _server.Peers.Token("bob"), new ReviewRequest(asked.Digest, true, "ok"));

        RequestView alone;
        _server.Peers.PolicyDown = true;
        try
        {
            // An emergency doesn't depend on more than it must.
            alone = await _server.DoAsync<RequestView>($"/{asked.Id}/break-glass", _server.Peers.Token("alice"), new BreakGlassRequest(asked.Digest, "fire"));
        }
        finally
        {
            _server.Peers.PolicyDown = false;
        }

        Assert.Equal((RequestState.Approved, true), (alone.State, alone.BreakGlass));
        await ApprovalServer.UntilAsync(() => _server.Audits.Any(audit => audit.Subject == asked.Id && audit.Action == "request.break-glass"), "the alert");
        var alert = _server.Audits.First(audit => audit.Subject == asked.Id && audit.Action == "request.break-glass");
        Assert.Equal(("alice", "fire", "high"), (alert.Person, alert.Details["comment"], alert.Details["severity"]));
        using (var redeemed = await _server.RedeemAsync(asked, "r"))
        {
            var grant = await _server.GrantAsync(redeemed);
            Assert.True(grant.BreakGlass);
            Assert.Empty(grant.Approvers);
        }

        Assert.Contains(asked.Id, await ReviewsAsync("bob", "open"));
        Assert.DoesNotContain(asked.Id, await ReviewsAsync("bob", "overdue"));
        _server.Peers.Person("mallory", enrolled: false);
        Assert.DoesNotContain(asked.Id, await ReviewsAsync("mallory", "open"));
        Assert.Contains(asked.Id, await ReviewsAsync("alice", "open"));
        await _server.RefusedAsync("self-approval", HttpStatusCode.Forbidden, "request.review-refused", $"/{asked.Id}/review", _server.Peers.Token("alice"), new ReviewRequest(asked.Digest, true, "ok"));
        _server.Peers.Person("alice3", sameAs: ["alice"]);
        await _server.RefusedAsync("self-approval", HttpStatusCode.Forbidden, "request.review-refused", $"/{asked.Id}/review", _server.Peers.Token("alice3"), new ReviewRequest(asked.Digest, true, "ok"));
        await _server.RefusedAsync("digest-mismatch", HttpStatusCode.Conflict, "request.review-refused", $"/{asked.Id}/review", _server.Peers.Token("bob"), new ReviewRequest(_server.Digest(), true, "ok"));
        var closed = await _server.DoAsync<RequestView>($"/{asked.Id}/review", _server.Peers.Token("dave"), new ReviewRequest(asked.Digest, false, "could have waited"));
        Assert.Equal(("dave", false, "could have waited"), (closed.Review!.ClosedBy, closed.Review.Justified, closed.Review.Comment));
        Assert.DoesNotContain(asked.Id, await ReviewsAsync("bob", "open"));
        Assert.Contains(asked.Id, await ReviewsAsync("bob", "closed"));
    }

    [Fact]
    public async Task What_is_in_effect_already_is_only_reviewed()
    {
        var removal = _server.Create() with
        {
            Kind = RequestKind.Enrolment,
            Assertion = _server.Peers.Token("alice", "identity"),
            Connection = "",
            Database = "",
            AllOf = [new RequestRequirement(["enrolled"], 1)],
            InEffect = true,
        };
        using (var proxy = await _server.PostAsync("", _server.Service("proxy"), _server.Create() with { InEffect = true }))
        {
            Assert.Equal("invalid-request", await ApprovalServer.ProblemAsync(proxy, HttpStatusCode.BadRequest));
        }

        using (var foreign = await _server.PostAsync("", _server.Service("policy"), removal))
        {
            Assert.Equal("kind-not-allowed", await ApprovalServer.ProblemAsync(foreign, HttpStatusCode.Forbidden));
        }

        _server.Peers.Person("mallory", enrolled: false);
        using (var outsider = await _server.PostAsync("", _server.Service("identity"), removal with { Assertion = _server.Peers.Token("mallory", "identity") }))
        {
            Assert.Equal("token-rejected", await ApprovalServer.ProblemAsync(outsider, HttpStatusCode.Unauthorized));
        }

        var reported = await _server.DoAsync<CreateRequestResult>("", _server.Service("identity"), removal);
        Assert.Equal((RequestState.Consumed, false), (reported.Request.State, reported.Attached));
        var grant = await _server.VerifyAsync(reported.Request.Grant!);
        Assert.Equal((true, 0, "alice"), (grant.Removal, grant.Approvers.Count, grant.Person));
        Assert.Null(reported.Request.Review!.ClosedBy);
        Assert.Contains(reported.Request.Id, await ReviewsAsync("bob", "open"));
        await _server.DoAsync<RequestView>($"/{reported.Request.Id}/review", _server.Peers.Token("bob"), new ReviewRequest(reported.Request.Digest, true, "fine"));
        Assert.DoesNotContain(reported.Request.Id, await ReviewsAsync("bob", "open"));
    }

    [Fact]
    public async Task An_approved_extension_gives_a_running_window_more_time()
    {
        var window = new AccessWindow(600, ["SELECT"], ["public.orders"]);
        var create = Window("dave", window);
        var asked = await _server.OpenAsync(create);
        using (var early = await _server.PostAsync("", _server.Service("proxy"), create with { Extends = asked.Id }))
        {
            Assert.Equal("not-extendable", await ApprovalServer.ProblemAsync(early, HttpStatusCode.Conflict));
        }

        await _server.ApproveAsync(asked, "bob");
        using var first = await _server.RedeemAsync(asked, "w1", person: "dave");
        var before = (await _server.GrantAsync(first)).WindowEndsAt!.Value;
        var shift = _server.Clock.Shift;
        try
        {
            _server.Clock.Shift += TimeSpan.FromSeconds(300);
            foreach (var wrong in new[] { create with { Extends = asked.Id, Window = window, Operations = [new RequestedOperation(_server.Digest(), "other", [])] }, create with { Extends = "apr_aaaaaaaaaaaaaaaaaaaaaaaaaa" } })
            {
                using var refused = await _server.PostAsync("", _server.Service("proxy"), wrong);
                Assert.Equal("not-extendable", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.Conflict));
            }

            var extension = await _server.OpenAsync(create with { Extends = asked.Id });
            Assert.Equal((asked.Id, RequestState.Pending), (extension.Extends, extension.State));
            using (var self = await _server.DecideAsync(extension, "dave"))
            {
                Assert.Equal("self-approval", await ApprovalServer.ProblemAsync(self, HttpStatusCode.Forbidden));
            }

            Assert.Equal(RequestState.Consumed, (await _server.ApproveAsync(extension, "carol")).State);
            using var again = await _server.RedeemAsync(asked, "w2", person: "dave");
            var grant = await _server.GrantAsync(again);
            Assert.InRange(grant.WindowEndsAt!.Value - before, 295, 330);
            Assert.Equal([extension.Id], grant.ExtendedBy!);
            using var own = await _server.RedeemAsync(extension, "x", person: "dave");
            Assert.NotEqual(HttpStatusCode.OK, own.StatusCode);
        }
        finally
        {
            _server.Clock.Shift = shift;
        }
    }

    [Fact]
    public async Task A_revocation_reaches_what_was_redeemed_already()
    {
        var asked = await _server.OpenAsync();
        await _server.ApproveAsync(asked);
        using (var redeemed = await _server.RedeemAsync(asked, "r"))
        {
            Assert.Equal(HttpStatusCode.OK, redeemed.StatusCode);
        }

        _server.Peers.Person("mallory", enrolled: false);
        await _server.RefusedAsync("not-enrolled", HttpStatusCode.Forbidden, "request.revocation-refused", $"/{asked.Id}/revoke", _server.Peers.Token("mallory"), new RevokeRequest("x"));
        _server.Peers.PolicyDown = true;
        try
        {
            var revoked = await _server.DoAsync<RequestView>($"/{asked.Id}/revoke", _server.Peers.Token("dave"), new RevokeRequest("stop"));
            Assert.Equal((RequestState.Revoked, "dave", "stop"), (revoked.State, revoked.Revocation!.Person, revoked.Revocation.Comment));
        }
        finally
        {
            _server.Peers.PolicyDown = false;
        }

        // The event is out before the answer: nothing waits for a timer.
        Assert.Contains(_server.Changes, change => change.Request == asked.Id && change.State == RequestState.Revoked);
        using var replay = await _server.RedeemAsync(asked, "r");
        Assert.Equal("wrong-state", await ApprovalServer.ProblemAsync(replay, HttpStatusCode.Conflict));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Who_acts_in_another_ones_name_decides_nothing_and_is_the_requester_too()
    {
        var asked = await _server.OpenAsync();
        await _server.RefusedAsync("token-rejected", HttpStatusCode.Unauthorized, "request.decision-refused", $"/{asked.Id}/approve", _server.Peers.Token("bob", actor: "alice"), new DecideRequest(asked.Digest));

        // carol acts as alice: neither carol, nor carol's second account, may approve it.
        _server.Peers.Person("carol2", sameAs: ["carol"]);
        _server.Peers.Person("carol", sameAs: ["carol2"]);
        var impersonated = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["enrolled"], 1)]) with { Assertion = _server.Peers.Session("alice", actor: "carol") });
        foreach (var person in new[] { "alice", "carol", "carol2" })
        {
            using var refused = await _server.DecideAsync(impersonated, person);
            Assert.Equal("self-approval", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.Forbidden));
        }

        // A team's service account: none of its owners, and no second account of theirs.
        _server.Peers.Person("bot", enrolled: false);
        var byTeam = await _server.OpenAsync(_server.Create("bot", allOf: [new RequestRequirement(["enrolled"], 1)]) with { Assertion = _server.Peers.Session("bot", owners: ["carol", "dave"]) });
        foreach (var person in new[] { "carol", "carol2", "dave" })
        {
            using var refused = await _server.DecideAsync(byTeam, person);
            Assert.Equal("self-approval", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.Forbidden));
        }

        _server.Peers.Person("carol");
        Assert.Equal(RequestState.Approved, (await _server.ApproveAsync(byTeam, "bob")).State);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task What_is_asked_for_is_checked()
    {
        var window = new AccessWindow(60, ["SELECT"], ["public.orders"]);
        (string Word, CreateRequest Create)[] wrong =
        [
            ("window", _server.Create() with { Window = window }),
            ("window", Window("alice", null)),
            ("window.seconds", Window("alice", window with { Seconds = 0 })),
            ("window.seconds", Window("alice", window with { Seconds = 86_401 })),
            ("window.statements", Window("alice", window with { Statements = [] })),
            ("window.relations", Window("alice", window with { Relations = ["orders"] })),
            ("window.relations", Window("alice", window with { Relations = ["public.orders", "public.orders"] })),
            ("operations", Window("alice", window) with { Operations = [new RequestedOperation(_server.Digest(), "a", []), new RequestedOperation(_server.Digest(), "b", [])] }),
            ("breakGlassAllowed", Window("alice", window) with { BreakGlassAllowed = true }),
            ("assurance", _server.Create() with { Assurance = new RequestAssurance(0, []) }),
            ("extends", _server.Create() with { Extends = "apr_x" }),
            ("impact", _server.Create() with { Impact = new RequestImpact([], null, [new string('x', 5000)], null) }),
            ("null", _server.Create() with { Operations = [new RequestedOperation(_server.Digest(), null!, [])] }),
            ("null", _server.Create() with { AllOf = [new RequestRequirement(null!, 1)] }),
        ];
        foreach (var (word, create) in wrong)
        {
            using var response = await _server.PostAsync("", _server.Service("proxy"), create);
            Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
            Assert.Contains(word, await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task An_approver_sees_the_impact_and_what_was_asked_before()
    {
        _server.Peers.Person("iris");
        var impact = new RequestImpact(["write public.orders"], 42, ["takes a lock"], new DryRunResult(1, ["id", "name"], [["1", null]], [["1", "x"]]));
        var first = await _server.OpenAsync(_server.Create("iris"));
        var asked = await _server.OpenAsync(_server.Create("iris") with { Impact = impact });
        var seen = await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Peers.Token("bob"));
        Assert.Equal((42L, 1L, "x"), (seen.Impact!.EstimatedRows, seen.Impact.DryRun!.Rows, seen.Impact.DryRun.After[0][1]));
        Assert.Contains("pending shop: DELETE FROM orders", Assert.Single(seen.Earlier), StringComparison.Ordinal);
        Assert.Empty((await _server.GetAsync<RequestView>($"/{first.Id}", _server.Peers.Token("bob"))).Earlier);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Nobody_extends_what_somebody_else_was_granted()
    {
        _server.Peers.Person("liam");
        _server.Peers.Person("mia");
        var create = _server.Create("liam");
        var asked = await _server.OpenAsync(create);
        await _server.DoAsync<RequestView>($"/{asked.Id}/approve", _server.Peers.Token("bob"), new DecideRequest(asked.Digest, ""));
        var until = (await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"))).ExpiresAt;

        // The very same operation, and a request that is there and approved: only the person is another one.
        using (var foreign = await _server.PostAsync("", _server.Service("proxy"), create with { Assertion = _server.Peers.Session("mia"), Extends = asked.Id }))
        {
            Assert.Equal("not-extendable", await ApprovalServer.ProblemAsync(foreign, HttpStatusCode.Conflict));
        }

        Assert.Empty(await _server.GetAsync<RequestView[]>("?filter=mine", _server.Peers.Token("mia")));
        Assert.Equal(until, (await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"))).ExpiresAt);
        var own = await _server.OpenAsync(create with { Extends = asked.Id });
        Assert.Equal((asked.Id, RequestState.Pending), (own.Extends, own.State));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task What_was_found_at_the_target_is_not_shown_to_whoever_asked_in_any_guise()
    {
        _server.Peers.Person("jane", sameAs: ["jane2"]);
        _server.Peers.Person("jane2", sameAs: ["jane"]);
        _server.Peers.Groups["dba"] = ([.. _server.Peers.Groups["dba"].Persons, "jane", "jane2"], null);
        var impact = new RequestImpact(
            ["read and delete from public.salaries"], 1, ["It was tried, and the target answered 22012; nothing was changed."], new DryRunResult(1, ["salary"], [["salary-90000"]], []));
        var create = _server.Create("jane") with { Impact = impact };
        using var created = await _server.PostAsync("", _server.Service("proxy"), create);
        var asked = (await ApprovalServer.ReadAsync<CreateRequestResult>(created)).Request;
        List<RequestView> views =
        [
            asked,
            await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy")),
            await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Peers.Token("jane")),
            await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Peers.Token("jane2")),
        ];
        foreach (var list in new[] { "requests?filter=mine", "requests?filter=all", "requests?filter=to-decide", "reviews?state=open" })
        {
            foreach (var guise in new[] { "jane", "jane2" })
            {
                using var response = await _server.SendAsync(HttpMethod.Get, $"/approval/v1/{list}", _server.Peers.Token(guise));
                views.AddRange((await ApprovalServer.ReadAsync<RequestView[]>(response)).Where(request => request.Id == asked.Id));
            }
        }

        // Own, mine and all, of both accounts that are enrolled.
        Assert.Equal(4 + 3, views.Count);
        Assert.All(views, view =>
        {
            Assert.Equal(["read and delete from public.salaries"], view.Impact!.Relations);
            Assert.Equal((null, null, 0), (view.Impact.EstimatedRows, view.Impact.DryRun, view.Impact.Notes.Count));
        });
        foreach (var guise in new[] { "jane", "jane2" })
        {
            using var browser = new PageTests.Browser(_server);
            await browser.LogInAsync($"/approval/requests/{asked.Id}", guise);
            foreach (var page in new[] { $"/approval/requests/{asked.Id}", "/approval/inbox" })
            {
                using var shown = await browser.GetAsync(page);
                var html = await shown.Content.ReadAsStringAsync();
                Assert.DoesNotContain("salary-90000", html, StringComparison.Ordinal);
                Assert.DoesNotContain("answered 22012", html, StringComparison.Ordinal);
            }
        }

        Assert.Equal("salary-90000", (await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Peers.Token("bob"))).Impact!.DryRun!.Before[0][0]);
        using var inbox = await _server.SendAsync(HttpMethod.Get, "/approval/v1/inbox", _server.Peers.Token("bob"));
        Assert.Equal(1, (await ApprovalServer.ReadAsync<InboxView>(inbox)).Items.Single(item => item.Request.Id == asked.Id).Request.Impact!.EstimatedRows);
        await _server.DoAsync<RequestView>($"/{asked.Id}/approve", _server.Peers.Token("bob"), new DecideRequest(asked.Digest, ""));
        Assert.Null((await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Peers.Token("jane"))).Impact!.DryRun);
    }

    private async Task AloneRefusedAsync(string code, RequestView asked, string person, string reason, HttpStatusCode status = HttpStatusCode.Forbidden)
    {
        await _server.RefusedAsync(code, status, "request.break-glass-refused", $"/{asked.Id}/break-glass", _server.Peers.Token(person), new BreakGlassRequest(asked.Digest, reason));
        Assert.Equal((RequestState.Pending, 1L), await StateAsync(asked));
    }

    private async Task<(RequestState, long)> StateAsync(RequestView asked)
    {
        var now = await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"));
        return (now.State, now.Version);
    }

    private async Task<string[]> ReviewsAsync(string person, string state)
    {
        using var response = await _server.SendAsync(HttpMethod.Get, $"/approval/v1/reviews?state={state}", _server.Peers.Token(person));
        return [.. (await ApprovalServer.ReadAsync<RequestView[]>(response)).Select(request => request.Id)];
    }

    private CreateRequest Window(string person, AccessWindow? window) => _server.Create(person) with
    {
        Kind = RequestKind.AccessWindow,
        Assertion = _server.Peers.Token(person, "proxy"),
        Window = window,
        Operations = [new RequestedOperation(_server.Digest(), "an access window", [])],
        AllOf = [new RequestRequirement(["enrolled"], 1)],
    };

    private RedeemRequest Redeem(RequestView asked) => new(0, asked.Operations[0].Digest, "w", _server.Peers.Session("alice"));
}
