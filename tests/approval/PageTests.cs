using System.Net;
using System.Text.RegularExpressions;
using Countersign.Approval.Contracts;

namespace Countersign.Approval.Tests;

/// <summary>The page behind the link, as a browser sees it.</summary>
[Trait("group", "approval")]
public sealed partial class PageTests(ServerFixture fixture) : IClassFixture<ServerFixture>
{
    private readonly ApprovalServer _server = fixture.Server;

    [Fact]
    public async Task Log_in_look_and_approve()
    {
        var asked = await _server.OpenAsync(Hostile());
        using var browser = new Browser(_server);
        var page = $"/approval/requests/{asked.Id}";
        await browser.LogInAsync(page, "bob");

        using var shown = await browser.GetAsync(page);
        var html = await shown.Content.ReadAsStringAsync();
        Assert.Equal(HttpStatusCode.OK, shown.StatusCode);
        var policy = shown.Headers.GetValues("Content-Security-Policy").Single();
        Assert.StartsWith("default-src 'none'; style-src 'sha256-", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("<script", html, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain(Tags().Matches(html), tag => tag.Value.Contains(" on", StringComparison.OrdinalIgnoreCase) || tag.Value.Contains(" style", StringComparison.OrdinalIgnoreCase));
        Assert.Contains("&lt;script&gt;alert(1)&lt;/script&gt;", html, StringComparison.Ordinal);
        Assert.Contains("<mark>&#x27E6;U&#x2B;202E&#x27E7;</mark>", html, StringComparison.Ordinal);
        Assert.DoesNotContain('\u202E', html);
        Assert.Contains(new string('x', 20_000), html, StringComparison.Ordinal);
        Assert.Contains(asked.Digest, html, StringComparison.Ordinal);
        Assert.Contains("search_path", html, StringComparison.Ordinal);
        Assert.Contains("BEGIN; UPDATE earlier", html, StringComparison.Ordinal);
        Assert.Contains("production/no-delete", html, StringComparison.Ordinal);
        Assert.Contains("<em>NULL</em>", html, StringComparison.Ordinal);

        using var done = await browser.PostAsync($"{page}/approve", Form(html) with { Comment = "fine" });
        Assert.Equal((HttpStatusCode.SeeOther, page), (done.StatusCode, done.Headers.Location?.ToString()));
        var approved = await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"));
        Assert.Equal((RequestState.Approved, "fine"), (approved.State, approved.Decisions.Single().Comment));
        using var after = await browser.GetAsync(page);
        Assert.DoesNotContain("<form", await after.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task What_it_would_do_and_what_was_asked_before_is_shown_and_escaped()
    {
        const string Evil = "<img src=x>\u202E\u05D0";
        const string Shown = "&lt;img src=x&gt;<mark>&#x27E6;U&#x2B;202E&#x27E7;</mark>&#x5D0;";
        _server.Peers.Person("kim");
        await _server.OpenAsync(_server.Create("kim") with { Operations = [new RequestedOperation(_server.Digest(), "before " + Evil, [])] });
        var asked = await _server.OpenAsync(_server.Create("kim") with
        {
            Impact = new RequestImpact(
                ["update " + Evil], 42, ["Has no condition: all rows are affected.", "a/b holds it: " + Evil],
                new DryRunResult(7, ["id", "c " + Evil], [["1", "old " + Evil]], [["1", "new " + Evil], ["2", null]])),
        });
        using var browser = new Browser(_server);
        var page = $"/approval/requests/{asked.Id}";
        await browser.LogInAsync(page, "bob");
        using var shown = await browser.GetAsync(page);
        using var inbox = await browser.GetAsync("/approval/inbox?requester=kim");
        var html = await shown.Content.ReadAsStringAsync();
        var list = await inbox.Content.ReadAsStringAsync();
        string[] both = [$"<dd>update {Shown}</dd>", "42, by the planner", "<li>Has no condition: all rows are affected.</li>", $"<li>a/b holds it: {Shown}</li>"];
        string[] whole = ["rolled back: 7 rows", $"<th>c {Shown}</th>", $"<td>old {Shown}</td>", $"<td>new {Shown}</td>", "<td><em>NULL</em></td>"];
        Assert.All(both, part => Assert.Contains(part, list, StringComparison.Ordinal));
        Assert.All([.. both, .. whole], part => Assert.Contains(part, html, StringComparison.Ordinal));
        Assert.Matches($"<li>[0-9: -]+ UTC pending shop: before {Regex.Escape(Shown)}</li>", html);
        foreach (var text in new[] { html, list })
        {
            Assert.DoesNotContain("<img", text, StringComparison.Ordinal);
            Assert.DoesNotContain('\u202E', text);
        }
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Letters_that_are_written_from_right_to_left_reorder_nothing()
    {
        // Shown by the letters' own direction, the condition would stand before the table.
        var asked = await _server.OpenAsync(_server.Create() with { Operations = [new RequestedOperation(_server.Digest(), "DELETE FROM \"\u05D0\" -- \u05D1 WHERE id = 1", [])] });
        using var browser = new Browser(_server);
        var page = $"/approval/requests/{asked.Id}";
        await browser.LogInAsync(page, "bob");
        foreach (var path in new[] { page, "/approval/inbox" })
        {
            using var shown = await browser.GetAsync(path);
            var html = await shown.Content.ReadAsStringAsync();
            var style = Regex.Match(html, "<style>(.*?)</style>", RegexOptions.Singleline).Groups[1].Value;
            Assert.Contains("*{direction:ltr;unicode-bidi:isolate-override}", style, StringComparison.Ordinal);

            // Nothing takes it back but where the person who looks writes.
            var others = Regex.Matches(style, "([^{}]*){[^{}]*(?:unicode-bidi|direction):[^{}]*}").Select(rule => rule.Groups[1].Value.Trim());
            Assert.Equal(["*", "textarea,input"], others);
            Assert.DoesNotMatch("<[a-z]+ [^>]*(dir|style)=", html);
            Assert.DoesNotMatch("<bd[io]", html);
        }
    }

    [Fact]
    public async Task Deny_needs_a_comment_and_says_so_on_the_page()
    {
        var asked = await _server.OpenAsync();
        using var browser = new Browser(_server);
        var page = $"/approval/requests/{asked.Id}";
        await browser.LogInAsync(page, "bob");
        using var shown = await browser.GetAsync(page);
        var form = Form(await shown.Content.ReadAsStringAsync());
        using var silent = await browser.PostAsync($"{page}/deny", form);
        Assert.Equal(HttpStatusCode.BadRequest, silent.StatusCode);
        Assert.Contains("Say why you deny it", await silent.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        using var done = await browser.PostAsync($"{page}/deny", form with { Comment = "no" });
        Assert.Equal(HttpStatusCode.SeeOther, done.StatusCode);
        Assert.Equal(RequestState.Denied, (await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"))).State);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task A_foreign_form_decides_nothing()
    {
        var asked = await _server.OpenAsync();
        var other = await _server.OpenAsync();
        using var browser = new Browser(_server);
        var page = $"/approval/requests/{asked.Id}";
        await browser.LogInAsync(page, "bob");
        using var shown = await browser.GetAsync(page);
        var form = Form(await shown.Content.ReadAsStringAsync());
        using var elsewhere = await browser.GetAsync($"/approval/requests/{other.Id}");
        var otherForm = Form(await elsewhere.Content.ReadAsStringAsync());

        using var without = await browser.PostAsync($"{page}/approve", form with { Token = "" });
        Assert.Equal(HttpStatusCode.Forbidden, without.StatusCode);
        using var ofOther = await browser.PostAsync($"{page}/approve", form with { Token = otherForm.Token });
        Assert.Equal(HttpStatusCode.Forbidden, ofOther.StatusCode);
        using var crossSite = await browser.PostAsync($"{page}/approve", form, "cross-site");
        Assert.Equal(HttpStatusCode.Forbidden, crossSite.StatusCode);
        using var digest = await browser.PostAsync($"{page}/approve", form with { Digest = other.Digest });
        Assert.Equal(HttpStatusCode.Conflict, digest.StatusCode);
        using var stranger = new Browser(_server);
        using var loggedOut = await stranger.PostAsync($"{page}/approve", form);
        Assert.Equal(HttpStatusCode.Unauthorized, loggedOut.StatusCode);
        await ApprovalServer.UntilAsync(() => _server.Audits.Any(audit => audit is { Success: false } && audit.Details["code"] == "logged-out"), "an audit event of a form without a session");
        var still = await _server.GetAsync<RequestView>($"/{asked.Id}", _server.Service("proxy"));
        Assert.Equal((RequestState.Pending, 1L), (still.State, still.Version));
    }

    [Fact]
    public async Task The_requester_is_told_why_they_cannot_decide()
    {
        var asked = await _server.OpenAsync();
        using var browser = new Browser(_server);
        var page = $"/approval/requests/{asked.Id}";
        await browser.LogInAsync(page, "alice");
        using var shown = await browser.GetAsync(page);
        var html = await shown.Content.ReadAsStringAsync();
        Assert.Contains("You asked for this yourself", html, StringComparison.Ordinal);
        Assert.DoesNotContain("<form", html, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/approval/requests/")]
    [InlineData("/approval/inbox")]
    public async Task A_page_says_so_where_what_it_needs_is_down(string page)
    {
        if (page.EndsWith('/'))
        {
            page += (await _server.OpenAsync()).Id;
        }

        using var browser = new Browser(_server);
        await browser.LogInAsync(page, "bob");
        using var shown = await browser.GetAsync(page);
        var form = page.EndsWith("inbox", StringComparison.Ordinal) ? null : Form(await shown.Content.ReadAsStringAsync());
        using var other = new Browser(_server);
        using var begun = await other.GetAsync(page);
        var back = Uri.UnescapeDataString(begun.Headers.Location!.ToString().Split("return=")[1]);

        var answers = new List<HttpResponseMessage>();
        _server.Peers.IdentityDown = true;
        try
        {
            answers.AddRange([await other.GetAsync($"{back}&code=any"), await browser.GetAsync(page)]);
            if (form is not null)
            {
                answers.Add(await browser.PostAsync($"{page}/approve", form));
            }
        }
        finally
        {
            _server.Peers.IdentityDown = false;
        }

        foreach (var answer in answers)
        {
            Assert.Equal((HttpStatusCode.ServiceUnavailable, "text/html"), (answer.StatusCode, answer.Content.Headers.ContentType?.MediaType));
            Assert.Contains("Nothing was decided", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            answer.Dispose();
        }
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task A_login_that_was_not_begun_in_this_browser_is_refused()
    {
        var asked = await _server.OpenAsync();
        var page = $"/approval/requests/{asked.Id}";
        _server.Peers.LoginCodes["stolen"] = "bob";
        using var victim = new Browser(_server);
        using var forced = await victim.GetAsync($"{page}?login=0123&code=stolen");
        Assert.Equal(HttpStatusCode.BadRequest, forced.StatusCode);
        using var begun = await victim.GetAsync(page);
        Assert.Equal(HttpStatusCode.Found, begun.StatusCode);
        using var wrong = await victim.GetAsync($"{page}?login=0123&code=stolen");
        Assert.Equal(HttpStatusCode.BadRequest, wrong.StatusCode);
        Assert.True(_server.Peers.LoginCodes.ContainsKey("stolen"));
        using var unknown = await victim.GetAsync("/approval/requests/apr_nope");
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
    }

    private CreateRequest Hostile() => _server.Create() with
    {
        Operations =
        [
            new RequestedOperation(_server.Digest(), "DELETE FROM a -- \u202E<script>alert(1)</script>\n" + new string('x', 20_000), ["\u200B\"><img>", null]),
        ],
        Transaction = ["BEGIN; UPDATE earlier SET x = 1"],
    };

    private static FormFields Form(string html) => new(
        Regex.Match(html, "name=\"form\" value=\"([0-9a-f]+)\"").Groups[1].Value, Regex.Match(html, "name=\"digest\" value=\"([0-9a-f]+)\"").Groups[1].Value, "");

    [GeneratedRegex("<[a-z]+ [^>]*")]
    private static partial Regex Tags();

    internal sealed record FormFields(string Token, string Digest, string Comment);

    /// <summary>Keeps cookies, follows nothing by itself. Comes by https, which something in front of the service ends: secure cookies are sent, and must be.</summary>
    internal sealed class Browser : IDisposable
    {
        private readonly ApprovalServer _server;
        private readonly HttpClient _http;
        private readonly Dictionary<string, string> _cookies = [];

        public Browser(ApprovalServer server)
        {
            _server = server;
            _http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false }) { BaseAddress = server.Http.BaseAddress };
        }

        public async Task<HttpResponseMessage> GetAsync(string path)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            return await SendAsync(request);
        }

        private async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request)
        {
            var cookies = string.Join("; ", _cookies.Where(cookie => cookie.Value.Length > 0).Select(cookie => $"{cookie.Key}={cookie.Value}"));
            if (cookies.Length > 0)
            {
                request.Headers.Add("Cookie", cookies);
            }

            var response = await _http.SendAsync(request);
            foreach (var cookie in response.Headers.TryGetValues("Set-Cookie", out var set) ? set : [])
            {
                var pair = cookie.Split(';')[0].Split('=', 2);
                _cookies[pair[0]] = pair[1];
            }

            return response;
        }

        public async Task LogInAsync(string page, string person)
        {
            using var redirect = await GetAsync(page);
            Assert.Equal(HttpStatusCode.Found, redirect.StatusCode);
            var location = redirect.Headers.Location!.ToString();
            Assert.StartsWith("/identity/login?audience=approval&return=", location, StringComparison.Ordinal);
            var back = Uri.UnescapeDataString(location.Split("return=")[1]);
            Assert.StartsWith(page + "?login=", back, StringComparison.Ordinal);
            var code = Guid.NewGuid().ToString("N");
            _server.Peers.LoginCodes[code] = person;
            using var done = await GetAsync($"{back}&code={code}");
            Assert.Equal((HttpStatusCode.Found, page), (done.StatusCode, done.Headers.Location?.ToString()));
            Assert.All(done.Headers.GetValues("Set-Cookie"), cookie =>
            {
                Assert.Contains("httponly", cookie, StringComparison.OrdinalIgnoreCase);
                Assert.Contains("samesite=lax", cookie, StringComparison.OrdinalIgnoreCase);
                Assert.Contains("; secure", cookie, StringComparison.OrdinalIgnoreCase);
            });
        }

        public Task<HttpResponseMessage> PostAsync(string path, FormFields form, string site = "same-origin") => PostAsync(
            path, new Dictionary<string, string> { ["form"] = form.Token, ["digest"] = form.Digest, ["comment"] = form.Comment }, site);

        public async Task<HttpResponseMessage> PostAsync(string path, IEnumerable<KeyValuePair<string, string>> fields, string site = "same-origin")
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new FormUrlEncodedContent(fields) };
            request.Headers.Add("Sec-Fetch-Site", site);
            return await SendAsync(request);
        }

        public void Dispose() => _http.Dispose();
    }
}
