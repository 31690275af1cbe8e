using System.Net;
using Countersign.Approval.Contracts;
using Countersign.Platform.Tokens;

namespace Countersign.Approval.Tests;

/// <summary>Every way to decide or redeem what one must not: refused with its code, reported, and nothing changed.</summary>
[Trait("group", "attacks")]
public sealed class RefusalTests(ServerFixture fixture) : IClassFixture<ServerFixture>
{
    private static readonly SigningKey Forged = SigningKey.Create();
    private readonly ApprovalServer _server = fixture.Server;

    public static TheoryData<string, int, string> Decisions => new()
    {
        { "the requester", 403, "self-approval" },
        { "second account linked before", 403, "self-approval" },
        { "second account that only the requester's side names", 403, "self-approval" },
        { "second account linked after the request was made", 403, "self-approval" },
        { "second account linked since, which only the requester's side names", 403, "self-approval" },
        { "second account unlinked after the request was made", 403, "self-approval" },
        { "owner of the service account that asked", 403, "self-approval" },
        { "service account of the requester", 403, "self-approval" },
        { "administrator who asked", 403, "self-approval" },
        { "not enrolled, though the token says so", 403, "not-enrolled" },
        { "service account of somebody else", 403, "not-enrolled" },
        { "disabled person", 403, "person-disabled" },
        { "enrolled, but in no group", 403, "not-in-group" },
        { "a group claim that should widen", 403, "not-in-group" },
        { "in the group, without the claim that narrows it", 403, "not-in-group" },
        { "removed from the group since", 403, "not-in-group" },
        { "another digest than shown", 409, "digest-mismatch" },
        { "no digest", 409, "digest-mismatch" },
        { "token of another audience", 401, "token-rejected" },
        { "token of another key", 401, "token-rejected" },
        { "session assertion as token", 401, "token-rejected" },
        { "expired token", 401, "token-rejected" },
        { "person whom identity does not know", 401, "token-rejected" },
        { "the proxy itself", 403, "caller-not-allowed" },
        { "a forged service token", 401, "token-rejected" },
        { "nobody", 401, "token-missing" },
    };

    [Theory]
    [MemberData(nameof(Decisions))]
    public async Task A_decision_that_must_not_count(string who, int status, string code)
    {
        var peers = _server.Peers;
        var requester = "req" + Guid.NewGuid().ToString("N")[..8];
        var approver = "app" + Guid.NewGuid().ToString("N")[..8];
        peers.Person(requester);
        peers.Person(approver);
        peers.Groups["g-" + approver] = ([approver, requester], null);
        var token = new Lazy<string?>(() => peers.Token(approver));
        var before = who switch
        {
            "second account linked before" => () => peers.Person(approver, sameAs: [requester]),
            "second account that only the requester's side names" => () => peers.Person(requester, sameAs: [approver]),
            "second account unlinked after the request was made" => () => peers.Person(requester, sameAs: [approver]),
            "owner of the service account that asked" => (Action)(() => peers.Person(requester, enrolled: false)),
            _ => () => { }
            ,
        };
        before();
        var owners = who == "owner of the service account that asked" ? new[] { approver } : null;
        var asked = await _server.OpenAsync(_server.Create(requester, allOf: [new RequestRequirement(["g-" + approver], 1)]) with { Assertion = peers.Session(requester, owners: owners) });
        var digest = asked.Digest;
        switch (who)
        {
            case "the requester":
                token = new(() => peers.Token(requester));
                break;
            case "second account linked after the request was made":
                peers.Person(approver, sameAs: [requester]);
                break;
            case "second account linked since, which only the requester's side names":
                peers.Person(requester, sameAs: [approver]);
                break;
            case "second account unlinked after the request was made":
                peers.Person(requester);
                break;
            case "service account of the requester":
                token = new(() => peers.Token(approver, kind: "service", owners: [requester]));
                break;
            case "administrator who asked":
                peers.Person(requester, groups: ["administrators", "countersign-admins"]);
                token = new(() => peers.Token(requester));
                break;
            case "not enrolled, though the token says so":
                peers.Person(approver, enrolled: false);
                break;
            case "service account of somebody else":
                token = new(() => peers.Token(approver, kind: "service", owners: ["dave"]));
                break;
            case "disabled person":
                peers.Person(approver, disabled: true);
                break;
            case "enrolled, but in no group":
                token = new(() => peers.Token("dave"));
                break;
            case "a group claim that should widen":
                peers.Person("mallet", groups: ["g-" + approver]);
                token = new(() => peers.Token("mallet"));
                break;
            case "in the group, without the claim that narrows it":
                peers.Groups["g-" + approver] = ([approver], "on-call");
                break;
            case "removed from the group since":
                peers.Groups["g-" + approver] = (["dave"], null);
                break;
            case "another digest than shown":
                digest = _server.Digest();
                break;
            case "no digest":
                digest = "";
                break;
            case "token of another audience":
                token = new(() => peers.Token(approver, "policy"));
                break;
            case "token of another key":
                token = new(() => peers.Token(approver, key: Forged));
                break;
            case "session assertion as token":
                token = new(() => peers.Session(approver));
                break;
            case "expired token":
                token = new(() => peers.Token(approver, lifetime: TimeSpan.FromMinutes(-1)));
                break;
            case "person whom identity does not know":
                token = new(() => peers.Token("ghost"));
                break;
            case "the proxy itself":
                token = new(() => _server.Service("proxy"));
                break;
            case "a forged service token":
                token = new(() => new ServiceTokens("proxy", Forged, _server.Clock).For("approval"));
                break;
            case "nobody":
                token = new(() => null);
                break;
            default:
                break;
        }

        foreach (var verb in new[] { "approve", "deny" })
        {
            using var response = await _server.PostAsync($"/{asked.Id}/{verb}", token.Value, new DecideRequest(digest, "because"));
            Assert.Equal(code, await ApprovalServer.ProblemAsync(response, (HttpStatusCode)status));
        }

        var still = await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"));
        Assert.Equal((RequestState.Pending, 1L, 0), (still.State, still.Version, still.Decisions.Count));
        if (code != "token-missing")
        {
            await ApprovalServer.UntilAsync(
                () => _server.Audits.Count(audit => audit.Subject == asked.Id && !audit.Success && audit.Details["code"] == code) >= 2, "audit events of both attempts");
        }
    }

    public static TheoryData<string, int, string> Redemptions => new()
    {
        { "not approved yet", 409, "wrong-state" },
        { "another person", 403, "not-executor" },
        { "another connection", 409, "wrong-connection" },
        { "another digest", 409, "digest-mismatch" },
        { "beyond the end", 409, "out-of-order" },
        { "before the beginning", 409, "out-of-order" },
        { "forged assertion", 401, "token-rejected" },
        { "expired assertion", 401, "token-rejected" },
        { "access token as assertion", 401, "token-rejected" },
        { "no assertion", 401, "token-rejected" },
        { "assertion of another audience", 401, "token-rejected" },
        { "a credential that the approver made", 409, "wrong-state" },
        { "another service", 403, "not-executor" },
        { "a service that may not redeem", 403, "caller-not-allowed" },
        { "a person", 403, "caller-not-allowed" },
        { "no redemption id", 400, "invalid-request" },
        { "guessed request id", 404, "unknown-request" },
        { "malformed request id", 404, "unknown-request" },
    };

    [Theory]
    [MemberData(nameof(Redemptions))]
    public async Task A_redemption_that_must_not_count(string what, int status, string code)
    {
        var peers = _server.Peers;
        var asked = await _server.OpenAsync();
        if (what != "not approved yet")
        {
            await _server.ApproveAsync(asked);
        }

        var good = asked.Operations[0].Digest;
        var assertion = what switch
        {
            "another person" => peers.Session("bob"),
            "another connection" => peers.Session("alice", "other"),
            "a credential that the approver made" => peers.Session("alice", owners: ["bob"]),
            "forged assertion" => peers.Session("alice", key: Forged),
            "expired assertion" => peers.Session("alice", lifetime: TimeSpan.FromMinutes(-1)),
            "access token as assertion" => peers.Token("alice"),
            "no assertion" => "",
            "assertion of another audience" => peers.Session("alice", audience: "approval"),
            _ => peers.Session("alice"),
        };
        var token = what switch
        {
            "another service" => _server.Service("policy"),
            "a service that may not redeem" => _server.Service("recorder"),
            "a person" => peers.Token("alice"),
            _ => _server.Service("proxy"),
        };
        var id = what switch
        {
            "guessed request id" => "apr_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "malformed request id" => "apr_..",
            _ => asked.Id,
        };
        var index = what == "beyond the end" ? 1 : what == "before the beginning" ? -1 : 0;
        var redemption = what == "no redemption id" ? "" : "r-" + what;
        using var response = await _server.PostAsync(
            $"/{id}/redeem", token, new RedeemRequest(index, what == "another digest" ? _server.Digest() : good, redemption, assertion));
        Assert.Equal(code, await ApprovalServer.ProblemAsync(response, (HttpStatusCode)status));

        var still = await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"));
        Assert.Equal((what == "not approved yet" ? RequestState.Pending : RequestState.Approved, 0), (still.State, still.Redeemed));
    }

    [Theory]
    [InlineData("disabled")]
    [InlineData("no longer enrolled")]
    [InlineData("linked to the requester")]
    public async Task An_approval_ends_with_the_standing_of_who_gave_it(string since)
    {
        var first = "one" + Guid.NewGuid().ToString("N")[..8];
        var second = "two" + Guid.NewGuid().ToString("N")[..8];
        _server.Peers.Person(first);
        _server.Peers.Person(second);
        void Change(string person) =>
            _server.Peers.Person(person, enrolled: since != "no longer enrolled", disabled: since == "disabled", sameAs: since == "linked to the requester" ? ["alice"] : null);

        // Before the quorum is met it is not counted.
        var both = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["enrolled"], 2)]));
        await _server.ApproveAsync(both, first);
        Change(first);
        Assert.Equal(RequestState.Pending, (await _server.ApproveAsync(both, second)).State);

        // Afterwards nothing is redeemed by it.
        var one = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["enrolled"], 1)]));
        Assert.Equal(RequestState.Approved, (await _server.ApproveAsync(one, second)).State);
        Change(second);
        using var refused = await _server.RedeemAsync(one, "r-" + since);
        Assert.Equal("wrong-state", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.Conflict));
    }

    [Fact]
    public async Task A_refusal_says_why_it_is_the_same_person()
    {
        _server.Peers.Person("grace", sameAs: ["alice"]);
        var asked = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["enrolled"], 1)]));
        using var response = await _server.DecideAsync(asked, "grace");
        Assert.Contains("you under another account, or a service account that you or your team own", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        using var self = await _server.DecideAsync(asked, "alice");
        Assert.Contains("administrators are no exception", await self.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_request_that_is_malformed_lists_all_its_problems()
    {
        var create = _server.Create() with { Operations = [new RequestedOperation("ABC", "x", [])], AllOf = [], TimeoutSeconds = 0, GrantLifetimeSeconds = 90_000 };
        using var response = await _server.PostAsync("", _server.Service("proxy"), create);
        var text = await response.Content.ReadAsStringAsync();
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.All(new[] { "digest", "allOf", "timeoutSeconds", "grantLifetimeSeconds" }, word => Assert.Contains(word, text, StringComparison.Ordinal));
        using var foreign = await _server.PostAsync("", _server.Service("proxy"), _server.Create() with { Assertion = _server.Peers.Session("alice", "other") });
        Assert.Equal("token-rejected", await ApprovalServer.ProblemAsync(foreign, HttpStatusCode.Unauthorized));
        using var person = await _server.PostAsync("", _server.Peers.Token("alice"), _server.Create());
        Assert.Equal("caller-not-allowed", await ApprovalServer.ProblemAsync(person, HttpStatusCode.Forbidden));
    }
}
