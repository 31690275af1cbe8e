using System.Net;
using System.Text.RegularExpressions;
using Countersign.Approval.Contracts;
using Countersign.Approval.Host.Inbox;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Approval.Tests;

/// <summary>The inbox of an approver over REST and as a page.</summary>
[Trait("group", "approval")]
public sealed partial class InboxTests : IAsyncLifetime
{
    private ApprovalServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await ApprovalServer.StartAsync(new() { ["Countersign:Approval:MaxPending"] = "100" });

    public async ValueTask DisposeAsync() => await _server.DisposeAsync();

    [Fact]
    public async Task Everybody_sees_what_they_may_decide_and_how_much_it_is()
    {
        var dba = await _server.OpenAsync();
        var shop = await _server.OpenAsync(_server.Create("dave") with { Assertion = _server.Peers.Session("dave", "other"), Connection = "other" });
        var security = await _server.OpenAsync(_server.Create(allOf: [new RequestRequirement(["security"], 1)]));
        var vague = await _server.OpenAsync(_server.Create() with { ReasonRequired = true });

        var bob = await InboxAsync("bob");
        Assert.Equal([vague.Id, shop.Id, dba.Id], bob.Items.Select(item => item.Request.Id));
        Assert.Equal(new InboxCounts(3, 0, 0, true), bob.Counts);
        Assert.Equal(["reason-required", null, null], bob.Items.Select(item => item.Blocked));
        Assert.Equal(1, bob.Items[1].Missing);
        Assert.Null(bob.Next);
        // Who asked sees nothing of their own, also where they are in the group.
        Assert.Equal([shop.Id], (await InboxAsync("alice")).Items.Select(item => item.Request.Id));
        Assert.Equal([security.Id], (await InboxAsync("dave")).Items.Select(item => item.Request.Id));
        _server.Peers.Person("mallory", enrolled: false);
        Assert.Empty((await InboxAsync("mallory")).Items);

        Assert.Equal([shop.Id], (await InboxAsync("bob", "?connection=other")).Items.Select(item => item.Request.Id));
        Assert.Equal([shop.Id], (await InboxAsync("bob", "?requester=DAVE@example.com")).Items.Select(item => item.Request.Id));
        Assert.Equal(2, (await InboxAsync("bob", "?requester=alice&kind=operation")).Counts.ToDecide);
        Assert.Empty((await InboxAsync("bob", "?kind=bundle")).Items);
        foreach (var wrong in new[] { "?kind=x", "?state=x", "?limit=0", "?limit=201", "?after=x" })
        {
            using var refused = await _server.SendAsync(HttpMethod.Get, "/approval/v1/inbox" + wrong, _server.Peers.Token("bob"));
            Assert.Equal("invalid-request", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.BadRequest));
        }
    }

    [Fact]
    public async Task Pages_hold_everything_once()
    {
        var asked = new List<string>();
        for (var number = 0; number < 5; number++)
        {
            asked.Insert(0, (await _server.OpenAsync()).Id);
        }

        var (seen, after) = (new List<string>(), "");
        do
        {
            var page = await InboxAsync("bob", $"?limit=2&after={after}");
            Assert.Equal(5, page.Counts.ToDecide);
            seen.AddRange(page.Items.Select(item => item.Request.Id));
            after = page.Next;
        }
        while (after is not null);
        Assert.Equal(asked, seen);
    }

    [Fact]
    public async Task What_lies_beyond_what_one_call_looks_at_is_on_the_next_pages()
    {
        _server.Services.GetRequiredService<ApproverInbox>().MostLookedAt = 3;
        var asked = new List<string>();
        for (var number = 0; number < 11; number++)
        {
            asked.Insert(0, (await _server.OpenAsync(_server.Create(number == 0 ? "dave" : "alice"))).Id);
        }

        async Task<List<string>> AllAsync(string filter)
        {
            var (seen, after) = (new List<string>(), "");
            do
            {
                var page = await InboxAsync("bob", $"?{filter}&after={after}");
                Assert.False(page.Counts.Complete);
                seen.AddRange(page.Items.Select(item => item.Request.Id));
                after = page.Next;
            }
            while (after is not null);
            return seen;
        }

        Assert.Equal(asked, await AllAsync("limit=2"));
        Assert.Equal(asked, await AllAsync("limit=200"));
        Assert.Equal([asked[^1]], await AllAsync("requester=dave@example.com"));
        Assert.Equal([asked[^1]], await AllAsync("requester=dave&limit=1"));
        Assert.Empty(await AllAsync("kind=bundle"));
    }

    [Fact]
    public async Task Reviews_are_there_for_others_until_one_is_made()
    {
        var asked = await _server.OpenAsync(_server.Create() with { BreakGlassAllowed = true });
        await _server.DoAsync<RequestView>($"/{asked.Id}/break-glass", _server.Peers.Token("alice"), new BreakGlassRequest(asked.Digest, "fire"));
        var item = Assert.Single((await InboxAsync("dave", "?state=review")).Items);
        Assert.Equal((InboxTask.Review, asked.Id), (item.Task, item.Request.Id));
        Assert.Empty((await InboxAsync("alice")).Items);
        Assert.Empty((await InboxAsync("dave", "?state=pending")).Items);
        Assert.Empty((await InboxAsync("dave", "?state=overdue")).Items);
        _server.Clock.Shift += TimeSpan.FromHours(25);
        Assert.Equal(new InboxCounts(0, 1, 1, true), (await InboxAsync("dave", "?state=overdue")).Counts);
        await _server.DoAsync<RequestView>($"/{asked.Id}/review", _server.Peers.Token("dave"), new ReviewRequest(asked.Digest, true, "there was a fire"));
        Assert.Empty((await InboxAsync("carol")).Items);
    }

    [Fact]
    public async Task Several_are_decided_each_by_itself()
    {
        var (one, two, other, own) = (await _server.OpenAsync(), await _server.OpenAsync(), await _server.OpenAsync(), await _server.OpenAsync(_server.Create("bob")));
        var results = await DecideAsync("bob", [
            new InboxDecision(one.Id, one.Digest, true),
            new InboxDecision(two.Id, two.Digest, false, "no"),
            new InboxDecision(other.Id, one.Digest, true),
            new InboxDecision(own.Id, own.Digest, true),
            new InboxDecision("apr_nothing", one.Digest, true),
        ]);
        Assert.Equal(
            new (string, int, string?, RequestState?)[] { (one.Id, 200, null, RequestState.Approved), (two.Id, 200, null, RequestState.Denied), (other.Id, 409, "digest-mismatch", null), (own.Id, 403, "self-approval", null), ("apr_nothing", 404, "unknown-request", null) },
            results.Results.Select(each => (each.Id, each.Status, each.Code, each.State)));
        Assert.Equal(RequestState.Pending, (await _server.GetAsync<RequestView>($"/{other.Id}", _server.Service("proxy"))).State);
        Assert.Equal(RequestState.Pending, (await _server.GetAsync<RequestView>($"/{own.Id}", _server.Service("proxy"))).State);
        await ApprovalServer.UntilAsync(() => _server.Audits.Count(audit => audit is { Action: "request.decision-refused", Person: "bob" }) >= 3, "audit events");

        // Denying needs a comment here too, and identity down stops all of it.
        var silent = await DecideAsync("bob", [new InboxDecision(other.Id, other.Digest, false)]);
        Assert.Equal((400, "comment-required"), (silent.Results[0].Status, silent.Results[0].Code));
        _server.Peers.IdentityDown = true;
        var down = await DecideAsync("bob", [new InboxDecision(other.Id, other.Digest, true)]);
        Assert.Equal((503, "unavailable"), (down.Results[0].Status, down.Results[0].Code));
        _server.Peers.IdentityDown = false;

        foreach (var wrong in new InboxDecision[][] { [], [new(other.Id, other.Digest, true), new(other.Id, other.Digest, true)], [.. Enumerable.Range(0, 51).Select(n => new InboxDecision($"apr_{n}", "", true))] })
        {
            using var refused = await _server.SendAsync(HttpMethod.Post, "/approval/v1/inbox/decisions", _server.Peers.Token("bob"), new InboxDecisions(wrong));
            Assert.Equal("invalid-request", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.BadRequest));
        }

        using var service = await _server.SendAsync(HttpMethod.Post, "/approval/v1/inbox/decisions", _server.Service("proxy"), new InboxDecisions([new(other.Id, other.Digest, true)]));
        Assert.Equal(HttpStatusCode.Forbidden, service.StatusCode);
        Assert.Equal(RequestState.Pending, (await _server.GetAsync<RequestView>($"/{other.Id}", _server.Service("proxy"))).State);
    }

    [Fact]
    public async Task The_page_shows_all_of_it_and_decides_what_is_ticked()
    {
        var hostile = await _server.OpenAsync(_server.Create() with
        {
            Operations = [new RequestedOperation(_server.Digest(), "DELETE FROM a -- \u202E<script>alert(1)</script>", ["\u200B\"><img>"])],
            Reason = "<b>please</b>",
        });
        var plain = await _server.OpenAsync();
        var large = await _server.OpenAsync(_server.Create() with { Operations = [new RequestedOperation(_server.Digest(), "SELECT '" + new string('x', 30_000) + "'", [])] });
        using var browser = new PageTests.Browser(_server);
        await browser.LogInAsync("/approval/inbox", "bob");
        using var shown = await browser.GetAsync("/approval/inbox");
        var html = await shown.Content.ReadAsStringAsync();
        Assert.StartsWith("default-src 'none'; style-src 'sha256-", shown.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        Assert.DoesNotContain("<script", html, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("<img", html, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("<b>", html, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain(Tags().Matches(html), tag => tag.Value.Contains(" on", StringComparison.OrdinalIgnoreCase) || tag.Value.Contains(" style", StringComparison.OrdinalIgnoreCase));
        Assert.Contains("<mark>&#x27E6;U&#x2B;202E&#x27E7;</mark>&lt;script&gt;alert(1)&lt;/script&gt;", html, StringComparison.Ordinal);
        Assert.Contains("<mark>&#x27E6;U&#x2B;200B&#x27E7;</mark>&quot;&gt;&lt;img&gt;", html, StringComparison.Ordinal);
        Assert.Contains("3 to decide, 0 to review", html, StringComparison.Ordinal);
        // Too long to be looked at among others: it is linked, never cut, and can't be ticked.
        Assert.Contains($"href=\"/approval/requests/{large.Id}\"", html, StringComparison.Ordinal);
        Assert.DoesNotContain($"value=\"{large.Id}\"", html, StringComparison.Ordinal);
        Assert.DoesNotContain("xxxx", html, StringComparison.Ordinal);

        var fields = new List<KeyValuePair<string, string>> { new("decision", "approve"), new("comment", "fine"), new("pick", hostile.Id), new("pick", plain.Id) };
        foreach (Match hidden in Hidden().Matches(html))
        {
            fields.Add(new(hidden.Groups[1].Value, hidden.Groups[2].Value));
        }

        foreach (var (changed, status) in new (Func<KeyValuePair<string, string>, KeyValuePair<string, string>>, HttpStatusCode)[]
        {
            (field => field.Key == "form" ? new("form", "00") : field, HttpStatusCode.Forbidden),
            (field => field.Key == "decision" ? new("decision", "maybe") : field, HttpStatusCode.BadRequest),
            (field => field.Key == "pick" ? new("unpick", field.Value) : field, HttpStatusCode.BadRequest),
        })
        {
            using var refused = await browser.PostAsync("/approval/inbox", fields.Select(changed));
            Assert.Equal(status, refused.StatusCode);
        }

        using var foreign = await browser.PostAsync("/approval/inbox", fields, "cross-site");
        Assert.Equal(HttpStatusCode.Forbidden, foreign.StatusCode);
        using var stranger = new PageTests.Browser(_server);
        using var loggedOut = await stranger.PostAsync("/approval/inbox", fields);
        Assert.Equal(HttpStatusCode.Unauthorized, loggedOut.StatusCode);
        Assert.Equal(3, (await InboxAsync("bob")).Counts.ToDecide);

        // The digest is what the page showed: another one of the same session decides nothing.
        using var done = await browser.PostAsync("/approval/inbox", fields.Select(field => field.Key == "digest." + plain.Id ? new(field.Key, hostile.Digest) : field));
        var said = await done.Content.ReadAsStringAsync();
        Assert.Equal(HttpStatusCode.OK, done.StatusCode);
        Assert.Contains("approved by you; it is approved", said, StringComparison.Ordinal);
        Assert.Contains("<strong>refused</strong>", said, StringComparison.Ordinal);
        var approved = await _server.GetAsync<RequestView>($"/{hostile.Id}", _server.Service("proxy"));
        Assert.Equal((RequestState.Approved, "fine"), (approved.State, approved.Decisions.Single().Comment));
        Assert.Equal(RequestState.Pending, (await _server.GetAsync<RequestView>($"/{plain.Id}", _server.Service("proxy"))).State);

        using var filtered = await browser.GetAsync("/approval/inbox?connection=%22%3E%3Cimg%3E&kind=");
        var none = await filtered.Content.ReadAsStringAsync();
        Assert.Contains("There is nothing for you here", none, StringComparison.Ordinal);
        Assert.DoesNotContain("<img", none, StringComparison.Ordinal);
        using var wrong = await browser.GetAsync("/approval/inbox?kind=x");
        Assert.Equal(HttpStatusCode.BadRequest, wrong.StatusCode);
    }

    private async Task<InboxView> InboxAsync(string person, string query = "")
    {
        using var response = await _server.SendAsync(HttpMethod.Get, "/approval/v1/inbox" + query, _server.Peers.Token(person));
        return await ApprovalServer.ReadAsync<InboxView>(response);
    }

    private async Task<InboxDecisionResults> DecideAsync(string person, InboxDecision[] decisions)
    {
        using var response = await _server.SendAsync(HttpMethod.Post, "/approval/v1/inbox/decisions", _server.Peers.Token(person), new InboxDecisions(decisions));
        return await ApprovalServer.ReadAsync<InboxDecisionResults>(response);
    }

    [GeneratedRegex("<[a-z]+ [^>]*")]
    private static partial Regex Tags();

    [GeneratedRegex("<input type=\"hidden\" name=\"([^\"]+)\" value=\"([^\"]+)\"")]
    private static partial Regex Hidden();
}
