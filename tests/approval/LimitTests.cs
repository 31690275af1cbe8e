using System.Net;
using Countersign.Approval.Actors;
using Countersign.Approval.Contracts;
using Microsoft.Extensions.DependencyInjection;
using Orleans;

namespace Countersign.Approval.Tests;

/// <summary>Limits against fatigue, and what a restart must bring back.</summary>
[Trait("group", "approval")]
public sealed class LimitTests
{
    [Trait("group", "attacks")]
    [Fact]
    public async Task Five_pending_requests_a_person()
    {
        await using var server = await ApprovalServer.StartAsync(new() { ["Countersign:Approval:BackOffSeconds"] = "5" });
        var pending = new List<RequestView>();
        for (var number = 0; number < 5; number++)
        {
            pending.Add(await server.OpenAsync());
        }

        using var sixth = await server.PostAsync("", server.Service("proxy"), server.Create());
        Assert.Equal("too-many-pending", await ApprovalServer.ProblemAsync(sixth, HttpStatusCode.TooManyRequests));
        await server.OpenAsync(server.Create("dave"));
        // Approved ones don't wait for anybody.
        await server.ApproveAsync(pending[0]);
        await server.OpenAsync();

        var create = server.Create("bob");
        using var denied = await server.DecideAsync(await server.OpenAsync(create), "carol", approve: false);
        Assert.Equal(HttpStatusCode.OK, denied.StatusCode);
        using var again = await server.PostAsync("", server.Service("proxy"), create);
        Assert.Equal("recently-denied", await ApprovalServer.ProblemAsync(again, HttpStatusCode.TooManyRequests));
        server.Clock.Shift += TimeSpan.FromSeconds(6);
        var second = await server.OpenAsync(create);
        Assert.Equal(RequestState.Pending, second.State);

        // A second denial of the same holds twice as long.
        using var deniedAgain = await server.DecideAsync(second, "carol", approve: false);
        Assert.Equal(HttpStatusCode.OK, deniedAgain.StatusCode);
        server.Clock.Shift += TimeSpan.FromSeconds(6);
        using var longer = await server.PostAsync("", server.Service("proxy"), create);
        Assert.InRange(longer.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 1, 5);
        Assert.Equal("recently-denied", await ApprovalServer.ProblemAsync(longer, HttpStatusCode.TooManyRequests));
        await server.OpenAsync(server.Create("bob"));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Second_accounts_and_service_accounts_give_nobody_more_pending_requests()
    {
        await using var server = await ApprovalServer.StartAsync();
        server.Peers.Person("alice", sameAs: ["alice2", "etl"]);
        server.Peers.Person("alice2", enrolled: false, sameAs: ["alice", "etl"]);
        server.Peers.Person("etl", enrolled: false, sameAs: ["alice", "alice2", "erin"]);
        server.Peers.Person("erin", enrolled: false, sameAs: ["etl"]);
        async Task FullAsync(string person)
        {
            using var refused = await server.PostAsync("", server.Service("proxy"), server.Create(person));
            Assert.Equal("too-many-pending", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.TooManyRequests));
        }

        var first = await server.OpenAsync(server.Create("alice"));
        await server.OpenAsync(server.Create("alice"));
        await server.OpenAsync(server.Create("alice2"));
        await server.OpenAsync(server.Create("alice2"));
        var create = server.Create("etl");
        var last = await server.OpenAsync(create);
        await FullAsync("alice");
        await FullAsync("alice2");
        await FullAsync("etl");

        // The same again is the same request, and a second owner is another person: only what the account asks for is theirs too.
        Assert.Equal(last.Id, (await server.OpenAsync(create)).Id);
        for (var number = 0; number < 4; number++)
        {
            await server.OpenAsync(server.Create("erin"));
        }

        await FullAsync("erin");
        await server.ApproveAsync(first);
        await server.OpenAsync(server.Create("alice2"));
        await FullAsync("alice");
    }

    [Fact]
    public async Task Requests_and_their_deadlines_outlive_the_host()
    {
        await using var server = await ApprovalServer.StartAsync();
        var create = server.Create();
        var pending = await server.OpenAsync(create);
        var approved = await server.OpenAsync();
        await server.ApproveAsync(approved);
        var list = await server.OpenAsync(server.Create(digests: [server.Digest(), server.Digest()]));
        await server.ApproveAsync(list);
        using (var half = await server.RedeemAsync(list, "half"))
        {
            Assert.Equal(HttpStatusCode.OK, half.StatusCode);
        }

        var overdue = await server.OpenAsync(server.Create("dave") with { TimeoutSeconds = 60 });

        await server.RestartAsync();

        // The same statement finds its own request, and deadlines are those of before.
        var attached = await server.OpenAsync(create);
        Assert.Equal((pending.Id, pending.ExpiresAt), (attached.Id, attached.ExpiresAt));
        Assert.Contains(pending.Id, (await server.GetAsync<RequestView[]>("?filter=to-decide", server.Peers.Token("bob"))).Select(request => request.Id));
        Assert.Equal(RequestState.Approved, (await server.ApproveAsync(pending)).State);
        using (var redeemed = await server.RedeemAsync(approved, "after"))
        {
            Assert.Equal(HttpStatusCode.OK, redeemed.StatusCode);
        }

        using (var twice = await server.RedeemAsync(list, "other"))
        {
            Assert.Equal("already-redeemed", await ApprovalServer.ProblemAsync(twice, HttpStatusCode.Conflict));
        }

        using (var same = await server.RedeemAsync(list, "half"))
        {
            Assert.Equal(HttpStatusCode.OK, same.StatusCode);
        }

        // A deadline that passes while nothing runs is noticed at the next start, without anybody asking.
        await server.StopHostAsync();
        server.Clock.Shift += TimeSpan.FromSeconds(61);
        await server.StartHostAsync();
        await ApprovalServer.UntilAsync(
            () => server.Changes.Any(change => change.Request == overdue.Id && change.State == RequestState.Expired), "the expiry to be told");
    }

    [Fact]
    public async Task The_clock_ends_a_request_by_itself_also_after_a_restart()
    {
        await using var server = await ApprovalServer.StartAsync();
        var first = await server.OpenAsync(server.Create() with { TimeoutSeconds = 1 });
        await ApprovalServer.UntilAsync(() => server.Changes.Any(change => change.Request == first.Id && change.State == RequestState.Expired), "the first expiry");
        var second = await server.OpenAsync(server.Create() with { TimeoutSeconds = 4 });
        await server.RestartAsync();
        await ApprovalServer.UntilAsync(() => server.Changes.Any(change => change.Request == second.Id && change.State == RequestState.Expired), "the second expiry");
    }

    [Fact]
    public async Task Nobody_but_this_process_speaks_to_the_grains()
    {
        await using var server = await ApprovalServer.StartAsync();
        var asked = await server.OpenAsync();
        var grain = server.Services.GetRequiredService<IGrainFactory>().GetGrain<IRequestGrain>(asked.Id);
        await Assert.ThrowsAsync<UnauthorizedAccessException>(() => grain.HandleAsync([]));
        Orleans.Runtime.RequestContext.Set("countersign.process", new string('0', 64));
        await Assert.ThrowsAsync<UnauthorizedAccessException>(() => grain.HandleAsync([]));
    }
}
