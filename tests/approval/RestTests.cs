using System.Net;
using Countersign.Approval.Contracts;
using Countersign.Platform.Embedded;
using Countersign.Platform.Tokens;

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
}
