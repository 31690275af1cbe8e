using System.Net;
using Countersign.Approval.Contracts;

namespace Countersign.Approval.Tests;

/// <summary>A file of several statements is one request; each of them finds its place in it when it comes.</summary>
[Trait("group", "approval")]
public sealed class ListRequestTests(ServerFixture fixture) : IClassFixture<ServerFixture>
{
    private readonly ApprovalServer _server = fixture.Server;

    [Fact]
    public async Task Statements_of_an_approved_file_attach_in_order_also_where_they_repeat()
    {
        var (first, twice, last) = (_server.Digest(), _server.Digest(), _server.Digest());
        string[] file = [first, twice, twice, last];
        var person = NewPerson();
        var list = await _server.OpenAsync(_server.Create(person, file) with { Assertion = _server.Peers.Token(person, "proxy") });
        Assert.Equal((person, 4), (list.Requester, list.Operations.Count));

        // While it is pending a statement waits with its list.
        var waiting = await AskAsync(person, first);
        Assert.Equal((list.Id, true, 0, RequestState.Pending), (waiting.Request.Id, waiting.Attached, waiting.Index, waiting.Request.State));
        await _server.ApproveAsync(list);
        for (var index = 0; index < file.Length; index++)
        {
            var found = await AskAsync(person, file[index]);
            Assert.Equal((list.Id, true, index, RequestState.Approved), (found.Request.Id, found.Attached, found.Index, found.Request.State));
            using var redeemed = await _server.RedeemAsync(list, $"run-{index}", index, person);
            Assert.Equal(file, (await _server.GrantAsync(redeemed)).Digests);
        }

        Assert.Equal(RequestState.Consumed, (await _server.GetAsync<RequestView>($"/{list.Id}", _server.Service("proxy"))).State);
        var anew = await AskAsync(person, first);
        Assert.False(anew.Attached);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task What_does_not_come_next_or_lies_elsewhere_is_a_request_of_its_own()
    {
        var (one, two, three) = (_server.Digest(), _server.Digest(), _server.Digest());
        var person = NewPerson();
        var list = await _server.OpenAsync(_server.Create(person, [one, two, three]));
        await _server.ApproveAsync(list);
        Assert.False((await AskAsync(person, two)).Attached);
        Assert.False((await AskAsync(person, one, allOf: [new RequestRequirement(["dba"], 1), new RequestRequirement(["security"], 1)])).Attached);
        Assert.False((await AskAsync(person, one, connection: "other")).Attached);
        Assert.False((await AskAsync(NewPerson(), one)).Attached);
        using (var stricter = await _server.PostAsync("", _server.Service("proxy"), _server.Create(person, [one]) with { Assurance = new RequestAssurance(null, ["otp"]) }))
        {
            Assert.False((await ApprovalServer.ReadAsync<CreateRequestResult>(stricter)).Attached);
        }

        using (var redeemed = await _server.RedeemAsync(list, "first", 0, person))
        {
            Assert.Equal(HttpStatusCode.OK, redeemed.StatusCode);
        }

        // The rest of it, held as one, begins at the second.
        var rest = await AskAsync(person, two, three);
        Assert.Equal((list.Id, true, 1), (rest.Request.Id, rest.Attached, rest.Index));
        Assert.False((await AskAsync(person, three, two)).Attached);
    }

    [Fact]
    public async Task The_proxy_sees_what_a_session_may_use_and_nothing_else()
    {
        var person = NewPerson();
        var approved = await _server.OpenAsync(_server.Create(person));
        await _server.ApproveAsync(approved);
        await _server.OpenAsync(_server.Create(person));
        var elsewhere = await _server.OpenAsync(_server.Create(person) with { Connection = "other", Assertion = _server.Peers.Session(person, "other") });
        await _server.ApproveAsync(elsewhere);
        var usable = await _server.DoAsync<RequestView[]>("/usable", _server.Service("proxy"), new UsableRequests(_server.Peers.Session(person)));
        Assert.Equal(approved.Id, Assert.Single(usable).Id);
        Assert.Equal([elsewhere.Id], (await _server.DoAsync<RequestView[]>("/usable", _server.Service("proxy"), new UsableRequests(_server.Peers.Session(person, "other")))).Select(each => each.Id));
        Assert.Empty(await _server.DoAsync<RequestView[]>("/usable", _server.Service("proxy"), new UsableRequests(_server.Peers.Session(NewPerson()))));
        await _server.RefusedAsync("token-rejected", HttpStatusCode.Unauthorized, "request.read-refused", "/usable", _server.Service("proxy"), new UsableRequests(_server.Peers.Token(person)));
        using var policy = await _server.PostAsync("/usable", _server.Service("policy"), new UsableRequests(_server.Peers.Session(person)));
        Assert.Equal("caller-not-allowed", await ApprovalServer.ProblemAsync(policy, HttpStatusCode.Forbidden));
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Ahead_of_time_it_is_the_persons_own_token_that_counts()
    {
        var person = NewPerson();
        foreach (var token in new[] { _server.Peers.Token(person), _server.Peers.Token(person, "policy"), _server.Service("proxy", "proxy") })
        {
            using var refused = await _server.PostAsync("", _server.Service("proxy"), _server.Create(person) with { Assertion = token });
            Assert.Equal("token-rejected", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.Unauthorized));
        }
    }

    private async Task<CreateRequestResult> AskAsync(string person, string digest, RequestRequirement[]? allOf = null, string connection = "shop")
    {
        using var response = await _server.PostAsync(
            "", _server.Service("proxy"), _server.Create(person, [digest], allOf) with { Connection = connection, Assertion = _server.Peers.Session(person, connection) });
        return await ApprovalServer.ReadAsync<CreateRequestResult>(response);
    }

    private async Task<CreateRequestResult> AskAsync(string person, params string[] digests)
    {
        using var response = await _server.PostAsync("", _server.Service("proxy"), _server.Create(person, digests));
        return await ApprovalServer.ReadAsync<CreateRequestResult>(response);
    }

    private string NewPerson()
    {
        var person = "p" + Guid.NewGuid().ToString("N")[..10];
        _server.Peers.Person(person);
        return person;
    }
}
