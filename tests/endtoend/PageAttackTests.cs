using System.Net;
using System.Text.RegularExpressions;
using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;

namespace Countersign.EndToEnd.Tests;

/// <summary>The page behind the link, as browsers of different people see it.</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed partial class PageAttackTests(World world) : Scenario(world)
{
    [Fact]
    public async Task Hostile_text_is_shown_visibly_and_only_another_enrolled_person_can_decide()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders /* \u202E\u001B[2J<script>alert(1)</script> \u200B */ where id = 90");
        var link = (await World.Bob.RequestAsync(request)).Link;
        Assert.StartsWith(World.Address.AbsoluteUri, link, StringComparison.Ordinal);

        using (var bob = World.Http(cookies: true))
        {
            var html = await OpenAsync(bob, link, World.Bob);
            Assert.Contains("&#x27E6;U&#x2B;202E&#x27E7;", html, StringComparison.Ordinal);
            Assert.Contains("&#x27E6;U&#x2B;001B&#x27E7;", html, StringComparison.Ordinal);
            Assert.Contains("&#x27E6;U&#x2B;200B&#x27E7;", html, StringComparison.Ordinal);
            Assert.DoesNotContain("<script", html, StringComparison.OrdinalIgnoreCase);
            Assert.DoesNotContain('\u202E', html);
            Assert.DoesNotContain('\u001B', html);
            var form = Hidden().Matches(html).GroupBy(match => match.Groups[1].Value).ToDictionary(group => group.Key, group => WebUtility.HtmlDecode(group.First().Groups[2].Value));

            // Another site's form, or one without the token of this session, decides nothing.
            using (var forged = await bob.PostAsync($"{link}/approve", new FormUrlEncodedContent(new Dictionary<string, string> { ["digest"] = form["digest"] })))
            {
                Assert.Equal(HttpStatusCode.Forbidden, forged.StatusCode);
            }

            using (var cross = new HttpRequestMessage(HttpMethod.Post, $"{link}/approve") { Content = new FormUrlEncodedContent(form) })
            {
                cross.Headers.Add("Sec-Fetch-Site", "cross-site");
                using var answer = await bob.SendAsync(cross);
                Assert.Equal(HttpStatusCode.Forbidden, answer.StatusCode);
            }

            Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(request)).State);
        }

        using (var alice = World.Http(cookies: true))
        {
            Assert.DoesNotContain("<form", await OpenAsync(alice, link, World.Alice), StringComparison.Ordinal);
        }

        using (var dave = World.Http(cookies: true))
        {
            var html = await OpenAsync(dave, link, World.Dave);
            Assert.DoesNotContain("orders", html, StringComparison.Ordinal);
            Assert.DoesNotContain("<form", html, StringComparison.Ordinal);
        }

        using (var nobody = World.Http(cookies: true))
        {
            using var answer = await nobody.PostAsync($"{link}/approve", new FormUrlEncodedContent(new Dictionary<string, string> { ["digest"] = "x", ["form"] = "x" }));
            Assert.True(answer.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden, answer.StatusCode.ToString());
        }

        Assert.Equal(1, await World.CountAsync("orders where id = 90"));
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    /// <summary>Follows the link through the login.</summary>
    private static async Task<string> OpenAsync(HttpClient browser, string link, Person person)
    {
        using var first = await browser.GetAsync(link);
        var login = await first.Content.ReadAsStringAsync();
        var returnTo = Hidden().Matches(login).Single(match => match.Groups[1].Value == "return").Groups[2].Value;
        using var page = await browser.PostAsync("dev-issuer/login", new FormUrlEncodedContent(new Dictionary<string, string>
        {
            ["return"] = WebUtility.HtmlDecode(returnTo),
            ["name"] = person.Name,
            ["password"] = person.Password,
        }));
        return await page.Content.ReadAsStringAsync();
    }

    [GeneratedRegex("<input type=\"hidden\" name=\"([a-z]+)\" value=\"([^\"]*)\"")]
    private static partial Regex Hidden();
}
