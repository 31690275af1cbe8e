using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Policy.Tests.Host;

[Trait("group", "unit")]
public sealed class PolicyServiceTests
{
    private const string Dba = "apiVersion: countersign/v1\nkind: ApproverGroup\nname: dba\npersons: [bob@example.com, carol@example.com]\nidp_group: dbas\n---\n";

    private static readonly string Rules = Dba + Given.Policy("- {name: read, effect: allow, when: {principals: {groups: [engineers]}, statements: [SELECT]}}\n- {name: hold, effect: require_approval, when: {statements: [DELETE]}, approval: {groups: [dba]}}\n- {name: nowhere, effect: deny, when: {where: absent}}\n");

    private static readonly PolicyChangeRequest First = new()
    {
        Documents = [new BundleDocument("main.yaml", Rules)],
        Connections = [Given.Connection("shop", ("env", "test")) with { Tls = "disable", Credential = new SealedCredential("s", "k", "ZW5j", "Y3Q") }],
        Reason = "first",
    };

    [Fact]
    public async Task A_change_comes_into_force_when_somebody_else_has_approved_it_and_not_before()
    {
        await using var world = await PolicyWorld.StartAsync();
        var asked = await world.AskAsync("alice", First);
        Assert.Equal((1, "http://approval/1"), (asked.Version, asked.Link));
        var request = Assert.Single(world.Asked);
        Assert.Equal((RequestKind.Bundle, "first", asked.Digest), (request.Kind, request.Reason, Assert.Single(request.Operations).Digest));
        Assert.Equal(asked.Diff, request.Operations[0].Text);
        Assert.Contains("+ kind: ApproverGroup", asked.Diff, StringComparison.Ordinal);
        Assert.Contains("New connection shop", asked.Diff, StringComparison.Ordinal);
        Assert.Equal(("enrolled", 1), (Assert.Single(request.AllOf[0].AnyOf), request.AllOf[0].Quorum));
        using (var none = await world.SendAsync(world.Service(AppIds.Proxy), HttpMethod.Get, "/policy/v1/bundle"))
        {
            Assert.Equal(HttpStatusCode.NotFound, none.StatusCode);
        }

        await world.DecideAsync(asked.RequestId, RequestState.Approved);
        Assert.Equal(("active", ""), ((await world.EndedAsync(asked.RequestId)).State, (await world.EndedAsync(asked.RequestId)).Problem));
        var envelope = await world.GetAsync<BundleEnvelope>(world.Service(AppIds.Proxy), "/policy/v1/bundle");
        var verified = await new BundleVerifier(world.Services.GetRequiredService<ITrustedKeys>()).VerifyAsync(envelope, null, DateTimeOffset.UtcNow, CancellationToken.None);
        Assert.Equal((1, asked.Digest), (verified.Bundle.Version, verified.Digest));
        Assert.Equal("Y3Q", verified.Bundle.Connections[0].Credential!.Ciphertext);

        await PolicyWorld.UntilAsync(() => Task.FromResult(world.PolicyEvents.Any(happened => happened.Type == "countersign.bundle") && world.Audit.Any(happened => happened.Action == "bundle.activated")));
        Assert.Contains(world.Audit, happened => happened is { Action: "bundle.change-requested", Person: "per_alice" });
        Assert.Equal("bob@example.com", world.Audit.First(happened => happened.Action == "bundle.activated").Details["approvers"]);
    }

    [Fact]
    public async Task A_beacon_says_every_moment_which_version_is_in_force()
    {
        await using var world = await PolicyWorld.StartAsync();
        await ActivateAsync(world, First);
        var keys = await world.Services.GetRequiredService<ITrustedKeys>().GetAsync(AppIds.Policy, CancellationToken.None);
        async Task<PolicyBeacon> Read(string token) => await keys.VerifyAsync<PolicyBeacon>(token, TokenTypes.Beacon, null, null, DateTimeOffset.UtcNow, requireExpiry: false);
        Assert.Equal(1, (await Read(await world.GetAsync<string>(world.Service(AppIds.Proxy), "/policy/v1/beacon"))).Version);
        await PolicyWorld.UntilAsync(async () =>
        {
            foreach (var happened in world.PolicyEvents.Where(happened => happened.Type == "countersign.beacon"))
            {
                if ((await Read(JsonSerializer.Deserialize<string>(happened.Data.Span)!)).Version == 1)
                {
                    return true;
                }
            }

            return false;
        });
    }

    [Fact]
    public async Task An_approval_that_no_event_told_of_is_found_also_after_a_restart()
    {
        var world = await PolicyWorld.StartAsync();
        try
        {
            var asked = await world.AskAsync("alice", First);
            world = await world.RestartAsync();
            await world.DecideAsync(asked.RequestId, RequestState.Approved, tell: false);
            Assert.Equal("active", (await world.EndedAsync(asked.RequestId)).State);
            world = await world.RestartAsync();
            Assert.Equal(1, (await world.GetAsync<PolicyDocumentsInForce>(world.Person("alice"), "/policy/v1/documents")).Version);
        }
        finally
        {
            await world.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_redemption_that_was_answered_before_a_crash_is_taken_up_again()
    {
        await using var world = await PolicyWorld.StartAsync();
        var asked = await world.AskAsync("alice", First);
        await world.DecideAsync(asked.RequestId, RequestState.Consumed, tell: false);
        Assert.Equal("active", (await world.EndedAsync(asked.RequestId)).State);
    }

    [Theory]
    [InlineData(RequestState.Denied, "Denied by bob@example.com: no way.")]
    [InlineData(RequestState.Expired, "Nobody decided in time")]
    [InlineData(RequestState.Revoked, "taken back")]
    public async Task What_is_not_approved_changes_nothing(RequestState state, string problem)
    {
        await using var world = await PolicyWorld.StartAsync();
        var asked = await world.AskAsync("alice", First);
        await world.DecideAsync(asked.RequestId, state, comment: "no way");
        var ended = await world.EndedAsync(asked.RequestId);
        Assert.Equal("refused", ended.State);
        Assert.Contains(problem, ended.Problem, StringComparison.Ordinal);
        using var none = await world.SendAsync(world.Service(AppIds.Proxy), HttpMethod.Get, "/policy/v1/bundle");
        Assert.Equal(HttpStatusCode.NotFound, none.StatusCode);
    }

    [Fact]
    public async Task A_grant_that_is_not_for_it_changes_nothing()
    {
        GrantClaims[] Forgeries(GrantClaims good) =>
        [
            good with { Digests = [new string('a', 64)] }, good with { Kind = RequestKind.Operation }, good with { Approvers = [new GrantApprover("per_alice", "alice", 0)] },
            good with { ExpiresAt = DateTimeOffset.UtcNow.AddMinutes(-1).ToUnixTimeSeconds() }, good with { Issuer = "policy" },
        ];
        await using var world = await PolicyWorld.StartAsync();
        for (var forgery = 0; forgery < 5; forgery++)
        {
            world.Forge = (_, claims) => Forgeries(claims)[forgery];
            var asked = await world.AskAsync("alice", First);
            await world.DecideAsync(asked.RequestId, RequestState.Approved);
            var ended = await world.EndedAsync(asked.RequestId);
            Assert.Equal("refused", ended.State);
            Assert.Contains("can't come into force", ended.Problem, StringComparison.Ordinal);
        }

        Assert.Equal(0, (await world.GetAsync<PolicyDocumentsInForce>(world.Person("alice"), "/policy/v1/documents")).Version);
    }

    [Fact]
    public async Task Of_two_changes_from_one_version_the_later_to_be_approved_is_refused_with_what_to_do()
    {
        await using var world = await PolicyWorld.StartAsync();
        await ActivateAsync(world, First);
        var one = await world.AskAsync("alice", new PolicyChangeRequest { Documents = [new BundleDocument("one.yaml", Given.Policy("- {name: a, effect: deny, when: {statements: [DO]}}", "one"))] });
        var other = await world.AskAsync("carol", new PolicyChangeRequest { Documents = [new BundleDocument("two.yaml", Given.Policy("- {name: a, effect: deny, when: {statements: [CALL]}}", "two"))] });
        await world.DecideAsync(other.RequestId, RequestState.Approved);
        Assert.Equal("active", (await world.EndedAsync(other.RequestId)).State);
        await world.DecideAsync(one.RequestId, RequestState.Approved);
        var ended = await world.EndedAsync(one.RequestId);
        Assert.Equal("superseded", ended.State);
        Assert.Contains("made from version 1, but version 2", ended.Problem, StringComparison.Ordinal);
        var documents = await world.GetAsync<PolicyDocumentsInForce>(world.Person("alice"), "/policy/v1/documents");
        Assert.Equal((2, "main.yaml two.yaml"), (documents.Version, string.Join(' ', documents.Documents.Select(document => document.Name))));
        using var late = await world.SendAsync(world.Person("alice"), HttpMethod.Post, "/policy/v1/changes", new PolicyChangeRequest { BaseVersion = 1, RemovedDocuments = ["two.yaml"] });
        Assert.Equal(HttpStatusCode.Conflict, late.StatusCode);
    }

    [Fact]
    public async Task The_same_change_asked_for_twice_is_one_request()
    {
        await using var world = await PolicyWorld.StartAsync();
        var one = await world.AskAsync("alice", First);
        Assert.Equal(one.RequestId, (await world.AskAsync("alice", First)).RequestId);
        Assert.NotEqual(one.RequestId, (await world.AskAsync("carol", First)).RequestId);
    }

    [Fact]
    public async Task The_settings_in_force_say_who_must_agree_to_the_next_change()
    {
        await using var world = await PolicyWorld.StartAsync();
        const string Settings = "apiVersion: countersign/v1\nkind: Settings\nname: settings\ncontrol_approval: {groups: [dba], quorum: 2, timeout: 2h, grant_lifetime: 15m, reason_required: true}\n";
        await ActivateAsync(world, First with { Documents = [.. First.Documents, new BundleDocument("settings.yaml", Settings)] });
        await world.AskAsync("alice", new PolicyChangeRequest { RemovedDocuments = ["settings.yaml"] });
        var request = world.Asked.Last();
        Assert.Equal(("dba", 2, 7200, 900, true), (request.AllOf[0].AnyOf[0], request.AllOf[0].Quorum, request.TimeoutSeconds, request.GrantLifetimeSeconds, request.ReasonRequired));
    }

    [Fact]
    public async Task What_is_wrong_is_refused_with_all_errors_and_asked_of_nobody()
    {
        await using var world = await PolicyWorld.StartAsync();
        var bad = First with
        {
            Documents = [new BundleDocument("a.yaml", Given.Policy("- {name: x, effect: allow, when: {connections: {names: [nowhere]}}}\n- {name: x, effect: maybe}")), new BundleDocument("../b", "x: y")],
            Connections = [Given.Connection() with { Host = "db.example.com", Tls = "disable" }],
        };
        using var response = await world.SendAsync(world.Person("alice"), HttpMethod.Post, "/policy/v1/changes", bad);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        var problem = await response.Content.ReadFromJsonAsync<JsonElement>();
        Assert.Equal("policy-invalid", problem.GetProperty("code").GetString());
        var codes = problem.GetProperty("errors").EnumerateArray().Select(error => error.GetProperty("code").GetString()).ToHashSet();
        Assert.Superset(new HashSet<string?> { "unknown-name", "bad-value", "tls", "name", "missing-key" }, codes);
        Assert.Empty(world.Asked);
        await PolicyWorld.UntilAsync(() => Task.FromResult(world.Audit.Any(happened => happened is { Action: "bundle.change-rejected", Success: false })));
        using var empty = await world.SendAsync(world.Person("alice"), HttpMethod.Post, "/policy/v1/changes", new PolicyChangeRequest());
        Assert.Equal(HttpStatusCode.BadRequest, empty.StatusCode);
        foreach (var body in new[] { "{\"documents\":[null]}", "{\"documents\":[{\"name\":null,\"yaml\":\"\"}]}", "nonsense", "null", "{\"connections\":[{\"name\":\"a\"}]}" })
        {
            using var malformed = await world.SendAsync(world.Person("alice"), HttpMethod.Post, "/policy/v1/changes", body);
            Assert.Equal(HttpStatusCode.BadRequest, malformed.StatusCode);
        }
    }

    [Fact]
    public async Task Only_who_may_call_gets_an_answer()
    {
        await using var world = await PolicyWorld.StartAsync();
        async Task Status(HttpStatusCode expected, string token, string path, HttpMethod? method = null)
        {
            using var response = await world.SendAsync(token, method ?? HttpMethod.Get, path, method == HttpMethod.Post ? "{}" : null);
            Assert.Equal(expected, response.StatusCode);
        }

        await Status(HttpStatusCode.Forbidden, world.Person("alice"), "/policy/v1/bundle");
        await Status(HttpStatusCode.Forbidden, world.Person("alice"), "/policy/v1/approver-groups/dba");
        await Status(HttpStatusCode.Forbidden, world.Service(AppIds.Proxy), "/policy/v1/approver-groups/dba");
        await Status(HttpStatusCode.Forbidden, world.Service(AppIds.Proxy), "/policy/v1/changes", HttpMethod.Post);
        await Status(HttpStatusCode.Unauthorized, world.Person("alice", AppIds.Approval), "/policy/v1/documents");
        await Status(HttpStatusCode.Unauthorized, "x", "/policy/v1/connections");
    }

    [Fact]
    public async Task What_is_in_force_is_read_by_enrolled_persons_and_a_change_by_who_asked_for_it()
    {
        await using var world = await PolicyWorld.StartAsync();
        var asked = await world.AskAsync("mallory", First);
        await world.DecideAsync(asked.RequestId, RequestState.Approved);
        Assert.Equal("active", (await world.EndedAsync(asked.RequestId)).State);
        async Task<HttpStatusCode> Status(string who, string path, object? body = null)
        {
            using var response = await world.SendAsync(world.Person(who), body is null ? HttpMethod.Get : HttpMethod.Post, path, body);
            return response.StatusCode;
        }

        var other = new PolicyExplainRequest { Connection = "shop", Text = "select 1", Principal = new ExplainPrincipal { Name = "x@example.com" } };
        Assert.Equal(HttpStatusCode.Forbidden, await Status("mallory", "/policy/v1/documents"));
        Assert.Equal(HttpStatusCode.Forbidden, await Status("mallory", "/policy/v1/explain", other));
        Assert.Equal(HttpStatusCode.OK, await Status("mallory", "/policy/v1/explain", other with { Principal = null }));
        Assert.Equal(HttpStatusCode.OK, await Status("mallory", $"/policy/v1/changes/{asked.RequestId}"));
        Assert.Equal(HttpStatusCode.NotFound, await Status("eve", $"/policy/v1/changes/{asked.RequestId}"));
        Assert.Equal(HttpStatusCode.OK, await Status("alice", $"/policy/v1/changes/{asked.RequestId}"));
        Assert.Equal(HttpStatusCode.OK, await Status("alice", "/policy/v1/documents"));
        world.Enrolled.Remove("per_alice");
        Assert.Equal(HttpStatusCode.Forbidden, await Status("alice", "/policy/v1/documents"));
    }

    [Fact]
    public async Task Taking_away_is_in_force_at_once_by_one_enrolled_person_and_open_for_review()
    {
        var world = await PolicyWorld.StartAsync();
        await ActivateAsync(world, First);
        var stop = new PolicyChangeRequest { Documents = [new BundleDocument("stop.yaml", Given.Policy("- {name: all, effect: deny, when: {statements: [SELECT]}}", "stop"))], AtOnce = true, Reason = "leak" };
        var done = await world.AskAsync("alice", stop);
        Assert.True(done.InForce);
        Assert.Equal((true, "leak", RequestKind.Bundle), (world.Asked.Last().InEffect, world.Asked.Last().Reason, world.Asked.Last().Kind));
        var envelope = await world.GetAsync<BundleEnvelope>(world.Service(AppIds.Proxy), "/policy/v1/bundle");
        var verifier = new BundleVerifier(world.Services.GetRequiredService<ITrustedKeys>());
        Assert.Equal(2, (await verifier.VerifyAsync(envelope, null, DateTimeOffset.UtcNow, CancellationToken.None)).Bundle.Version);
        Assert.Equal("active", (await world.EndedAsync(done.RequestId)).State);

        // Once more; and it outlives a restart.
        Assert.True((await world.AskAsync("alice", new PolicyChangeRequest { RemovedConnections = ["shop"], AtOnce = true })).InForce);
        await using var again = await world.RestartAsync();
        envelope = await again.GetAsync<BundleEnvelope>(again.Service(AppIds.Proxy), "/policy/v1/bundle");
        Assert.Equal((3, 2), ((await verifier.VerifyAsync(envelope, null, DateTimeOffset.UtcNow, CancellationToken.None)).Bundle.Version, envelope.Before!.Count));

        // Giving it back is a change like any other, and so is saying that it may stay.
        using (var refused = await again.SendAsync(again.Person("alice"), HttpMethod.Post, "/policy/v1/changes", new PolicyChangeRequest { RemovedDocuments = ["stop.yaml"], AtOnce = true }))
        {
            Assert.Equal(HttpStatusCode.Conflict, refused.StatusCode);
        }

        var confirm = await again.AskAsync("alice", new PolicyChangeRequest { Reason = "stays" });
        Assert.False(confirm.InForce);
        await again.DecideAsync(confirm.RequestId, RequestState.Approved);
        Assert.Equal("active", (await again.EndedAsync(confirm.RequestId)).State);
        Assert.Null((await again.GetAsync<BundleEnvelope>(again.Service(AppIds.Proxy), "/policy/v1/bundle")).Before);
    }

    [Theory]
    [InlineData("alice", "more", HttpStatusCode.Conflict, "not-a-removal")]
    [InlineData("alice", "group", HttpStatusCode.Conflict, "not-a-removal")]
    [InlineData("carol", "less", HttpStatusCode.Forbidden, "not-enrolled")]
    [InlineData("bob", "bob's", HttpStatusCode.Conflict, "not-a-removal")]
    public async Task Nothing_else_is_in_force_at_once(string who, string change, HttpStatusCode status, string code)
    {
        await using var world = await PolicyWorld.StartAsync();
        await ActivateAsync(world, First);
        world.Persons.AddRange(new[] { "alice", "bob", "carol" }.Select(name => new PersonView($"per_{name}", $"{name}@example.com", true, false, []) { Groups = ["dbas"] }));
        var rules = change switch
        {
            "more" => Rules + "- {name: more, effect: allow, when: {principals: {groups: [engineers]}, statements: [INSERT]}}\n",
            "group" => Rules.Replace("bob@", "mallory@", StringComparison.Ordinal),
            "bob's" => Rules.Replace(", carol@example.com", "", StringComparison.Ordinal), // only bob would be left to approve, and not what bob asks for
            _ => Rules.Replace("statements: [DELETE]}, approval: {groups: [dba]}}\n", "statements: [DELETE]}, approval: {groups: [dba]}}\n- {name: stop, effect: deny}\n", StringComparison.Ordinal),
        };
        using var response = await world.SendAsync(world.Person(who), HttpMethod.Post, "/policy/v1/changes", new PolicyChangeRequest { Documents = [new BundleDocument("main.yaml", rules)], AtOnce = true });
        Assert.Equal((status, code), (response.StatusCode, (await response.Content.ReadFromJsonAsync<JsonElement>()).GetProperty("code").GetString()));
        Assert.Equal(1, (await world.GetAsync<PolicyDocumentsInForce>(world.Person("alice"), "/policy/v1/documents")).Version);
    }

    [Fact]
    public async Task A_removal_comes_into_force_with_a_grant_that_says_so_only()
    {
        await using var world = await PolicyWorld.StartAsync();
        await ActivateAsync(world, First);
        world.Forge = (_, claims) => claims with { Removal = false };
        using var response = await world.SendAsync(world.Person("alice"), HttpMethod.Post, "/policy/v1/changes", new PolicyChangeRequest { RemovedConnections = ["shop"], AtOnce = true });
        Assert.Equal(HttpStatusCode.Conflict, response.StatusCode);
        Assert.Equal(1, (await world.GetAsync<PolicyDocumentsInForce>(world.Person("alice"), "/policy/v1/documents")).Version);

        // The other way round: an approved change doesn't become one that nobody had to approve.
        world.Forge = (_, claims) => claims with { Removal = true, Approvers = [] };
        var asked = await world.AskAsync("alice", new PolicyChangeRequest { Documents = [new BundleDocument("more.yaml", Given.Policy("- {name: a, effect: allow}", "more"))] });
        await world.DecideAsync(asked.RequestId, RequestState.Approved);
        Assert.Equal("refused", (await world.EndedAsync(asked.RequestId)).State);
    }

    [Fact]
    public async Task A_segregation_report_says_what_is_thin_and_what_has_changed_since()
    {
        await using var world = await PolicyWorld.StartAsync();
        await ActivateAsync(world, First);
        world.Persons.AddRange(
        [
            new PersonView("per_alice", "alice@example.com", true, false, []) { Groups = ["engineers"] },
            new PersonView("per_bob", "bob@example.com", true, false, []) { Groups = ["dbas"] },
        ]);
        using (var refused = await world.SendAsync(world.Person("carol"), HttpMethod.Get, "/policy/v1/sod-report"))
        {
            Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        }

        var one = await world.GetAsync<SegregationReport>(world.Person("alice"), "/policy/v1/sod-report");
        Assert.Equal((1, 1, 2, 2), (one.Snapshot, one.BundleVersion, one.Humans, one.Approvers));
        Assert.Null(one.Changes);
        Assert.Contains(one.Findings, finding => finding is { Kind: "one-person-only", Id: "one-person-only:p/hold:dba" });
        Assert.Equal(1, (await world.GetAsync<SegregationReport>(world.Person("alice"), "/policy/v1/sod-report")).Snapshot);

        world.Persons.Add(new PersonView("per_carol", "carol@example.com", true, false, []) { Groups = ["dbas"] });
        var two = await world.GetAsync<SegregationReport>(world.Person("alice"), "/policy/v1/sod-report");
        Assert.Equal((2, 1L, 1L), (two.Snapshot, two.Changes!.Since, two.Changes.BundleVersion));
        Assert.Contains("group dba: carol@example.com", two.Changes.Added);
        Assert.Contains(two.Changes.Removed, line => line.StartsWith("finding medium one-person-only:p/hold:dba", StringComparison.Ordinal));
        Assert.Equal((1, 0), ((await world.GetAsync<SegregationReport>(world.Person("alice"), "/policy/v1/sod-report?since=1")).Changes!.Since, (await world.GetAsync<SegregationReport>(world.Person("alice"), "/policy/v1/sod-report?since=2")).Changes!.Added.Count));
        using var unknown = await world.SendAsync(world.Person("alice"), HttpMethod.Get, "/policy/v1/sod-report?since=9");
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
    }

    [Fact]
    public async Task An_approver_group_is_signed_for_who_asked_and_a_standing_that_identity_did_not_sign_is_none()
    {
        await using var world = await PolicyWorld.StartAsync();
        await ActivateAsync(world, First);
        using var approval = new HttpClient { BaseAddress = new Uri(world.Client.BaseAddress!, "policy/") };
        approval.DefaultRequestHeaders.Authorization = new("Bearer", world.Service(AppIds.Approval));
        var keys = world.Services.GetRequiredService<ITrustedKeys>();
        Task<SignedAnswer> AskAsync(string asker) =>
            approval.AskSignedAsync(keys, AppIds.Policy, asker, "v1/approver-groups/dba", TimeProvider.System, TestContext.Current.CancellationToken);
        Assert.Equal("dba", (await AskAsync(AppIds.Approval)).Read<ApproverGroupView>(JsonSerializerOptions.Web)!.Name);
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync(AppIds.Recorder));

        // The recorder answers for identity: alice isn't enrolled by that.
        await using var taken = await PolicyWorld.StartAsync(answerer: AppIds.Recorder);
        using var documents = await taken.SendAsync(taken.Person("alice"), HttpMethod.Get, "/policy/v1/documents");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, documents.StatusCode);
        using var own = await world.SendAsync(world.Person("alice"), HttpMethod.Get, "/policy/v1/documents");
        Assert.Equal(HttpStatusCode.OK, own.StatusCode);
    }

    [Fact]
    public async Task Groups_and_connections_are_told_without_secrets()
    {
        await using var world = await PolicyWorld.StartAsync();
        await ActivateAsync(world, First);
        var group = await world.GetAsync<ApproverGroupView>(world.Service(AppIds.Approval), "/policy/v1/approver-groups/dba");
        Assert.Equal(("dba", "bob@example.com,carol@example.com", "dbas"), (group.Name, string.Join(',', group.Persons), group.IdpGroup));
        using var unknown = await world.SendAsync(world.Service(AppIds.Approval), HttpMethod.Get, "/policy/v1/approver-groups/enrolled");
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
        var connection = Assert.Single(await world.GetAsync<List<Connection>>(world.Person("alice"), "/policy/v1/connections"));
        Assert.Equal(("shop", null), (connection.Name, connection.Credential));
    }

    [Fact]
    public async Task Explaining_checking_and_testing_ask_the_parser_and_change_nothing()
    {
        await using var world = await PolicyWorld.StartAsync();
        await ActivateAsync(world, First);
        var engineer = world.Person("alice", groups: "engineers");
        var explanation = await world.PostAsync<Explanation>(engineer, "/policy/v1/explain", new PolicyExplainRequest { Connection = "shop", Text = "delete from orders" });
        Assert.Equal(Outcome.Deny, explanation.Decision.Outcome);
        Assert.Equal(["Add a WHERE clause. Then: Needs approval by 1 of dba: run it and ask them."], explanation.Suggestions);
        Assert.Equal(Outcome.Allow, (await world.PostAsync<Explanation>(engineer, "/policy/v1/explain", new PolicyExplainRequest { Connection = "shop", Text = "select 1" })).Decision.Outcome);
        var other = new PolicyExplainRequest { Connection = "shop", Text = "select 1", Principal = new ExplainPrincipal { Name = "x@example.com" } };
        Assert.Equal(Outcome.Deny, (await world.PostAsync<Explanation>(engineer, "/policy/v1/explain", other)).Decision.Outcome);

        var bad = new PolicyDocuments { Documents = [new BundleDocument("bad.yaml", Given.Policy("- {name: x, effect: require_approval, approval: {groups: [nobody]}}", "q"))] };
        Assert.Equal("unknown-name", Assert.Single((await world.PostAsync<PolicyCheckResult>(engineer, "/policy/v1/check", bad)).Errors).Code);
        const string Tests = "apiVersion: countersign/v1\nkind: Test\nname: t\nas: {name: a@example.com, groups: [engineers]}\nconnection: shop\ncases:\n- {name: reads, texts: [select 1, select 2], expect: allow, rule: p/read}\n- {name: wrong, text: delete from a where b, expect: allow}\n- {name: held, text: delete from a where b, expect: require_approval, approvers: [dba]}\n";
        var report = await world.PostAsync<PolicyTestReport>(engineer, "/policy/v1/test", new PolicyDocuments { Documents = [new BundleDocument("t.yaml", Tests)] });
        Assert.Equal([true, true, false, true], report.Tests.Select(test => test.Passed));
        Assert.Contains("Expected allow, got require_approval", report.Tests[2].Message, StringComparison.Ordinal);
        var alone = await world.PostAsync<PolicyTestReport>(engineer, "/policy/v1/test", new PolicyDocuments { Alone = true, Documents = [new BundleDocument("all.yaml", Rules + "---\n" + Tests.Replace("connection: shop", "connection: {name: any}", StringComparison.Ordinal))] });
        Assert.Equal(4, alone.Tests.Count);
    }

    private static async Task ActivateAsync(PolicyWorld world, PolicyChangeRequest change)
    {
        var asked = await world.AskAsync("alice", change);
        await world.DecideAsync(asked.RequestId, RequestState.Approved);
        Assert.Equal("active", (await world.EndedAsync(asked.RequestId)).State);
    }
}
