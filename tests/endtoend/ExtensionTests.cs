using System.Net;
using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;

namespace Countersign.EndToEnd.Tests;

/// <summary>More time for what was approved: by a new approval, for the same person and exactly the same, and never for what has ended (REST to ask, a client to run).</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed class ExtensionTests(World world) : Scenario(world)
{
    [Fact]
    public async Task What_was_extended_runs_once_and_its_extension_lets_nothing_run()
    {
        const string Delete = "delete from orders where id = 170";
        var asked = await AskAsync(World.Alice, new { connection = "shop", text = Delete, reason = "ticket 1" });
        await RefusedAsync(World.Alice, "not-extendable", new { connection = "shop", text = Delete, reason = "more", extends = asked.Id });
        await World.Bob.ApproveAsync(asked.Id);
        var until = (await World.Bob.RequestAsync(asked.Id)).ExpiresAt;

        var extension = await AskAsync(World.Alice, new { connection = "shop", text = Delete, reason = "not yet", extends = asked.Id });
        Assert.NotEqual(asked.Id, extension.Id);
        Assert.Equal((asked.Id, RequestState.Pending, false), (extension.Extends, extension.State, extension.BreakGlassAllowed));
        var self = await World.Alice.DecideAsync(extension.Id, approve: true);
        Assert.Equal((HttpStatusCode.Forbidden, "self-approval"), (self.Status, self.Code));
        await World.AuditedAsync("request.decision-refused", extension.Id);
        Assert.Equal(until, (await World.Bob.RequestAsync(asked.Id)).ExpiresAt);

        // By whom it was approved before or by somebody else, one after the other.
        await World.Bob.ApproveAsync(extension.Id);
        await World.StateAsync(extension.Id, RequestState.Consumed);
        var second = await AskAsync(World.Alice, new { connection = "shop", text = Delete, reason = "still not", extends = asked.Id });
        await World.Carol.ApproveAsync(second.Id);
        await World.StateAsync(second.Id, RequestState.Consumed);
        await World.AuditedAsync("request.extended", asked.Id);
        await RefusedAsync(World.Alice, "not-extendable", new { connection = "shop", text = Delete, reason = "of an extension", extends = extension.Id });
        await RefusedAsync(World.Carol, "not-extendable", new { connection = "shop", text = Delete, reason = "of somebody else's", extends = asked.Id });
        await RefusedAsync(World.Alice, "not-extendable", new { connection = "shop-copy", text = Delete, reason = "elsewhere", extends = asked.Id });
        await RefusedAsync(World.Alice, "not-extendable", new { connection = "shop", text = "delete from orders where id = 171", reason = "of something else", extends = asked.Id });
        await World.AuditedAsync("request.refused", World.Carol.Id);
        var now = await World.Bob.RequestAsync(asked.Id);
        Assert.Equal((RequestState.Approved, true), (now.State, now.ExpiresAt >= until));

        using var client = await World.Alice.ConnectAsync();
        Assert.Equal("DELETE 1", (await client.RunAsync(Delete)).Tags());
        await World.StateAsync(asked.Id, RequestState.Consumed);
        var again = await client.HeldAsync(Delete);
        Assert.DoesNotContain(again, new[] { asked.Id, extension.Id, second.Id });
        await client.CancelAsync();
        await client.ReadToReadyAsync();
        await RefusedAsync(World.Alice, "not-extendable", new { connection = "shop", text = Delete, reason = "used up", extends = asked.Id });
    }

    [Fact]
    public async Task What_has_ended_is_not_brought_back()
    {
        const string Delete = "delete from orders where id = 172";
        var asked = await AskAsync(World.Alice, new { connection = "shop", text = Delete, reason = "ticket 2" });
        await World.Bob.ApproveAsync(asked.Id);
        var extension = await AskAsync(World.Alice, new { connection = "shop", text = Delete, reason = "more", extends = asked.Id });
        Assert.Equal(HttpStatusCode.OK, (await World.Carol.PostAsync($"approval/v1/requests/{asked.Id}/revoke", new RevokeRequest("no"))).Status);

        // Asked for while it was good, and decided after it was taken back.
        var late = await World.Bob.DecideAsync(extension.Id, approve: true);
        Assert.Equal((HttpStatusCode.Conflict, "not-extendable"), (late.Status, late.Code));
        await World.AuditedAsync("request.decision-refused", extension.Id);
        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(extension.Id)).State);
        Assert.Equal(RequestState.Revoked, (await World.Bob.RequestAsync(asked.Id)).State);
        await RefusedAsync(World.Alice, "not-extendable", new { connection = "shop", text = Delete, reason = "again", extends = asked.Id }, but: extension.Id);

        // Soon over: what has expired is asked for anew.
        const string Brief = "delete from brief where id = 12";
        var brief = await AskAsync(World.Alice, new { connection = "shop", text = Brief, reason = "ticket 3" });
        await World.Bob.ApproveAsync(brief.Id);
        await World.StateAsync(brief.Id, RequestState.Expired);
        await RefusedAsync(World.Alice, "not-extendable", new { connection = "shop", text = Brief, reason = "late", extends = brief.Id }, but: extension.Id);
        using var client = await World.Alice.ConnectAsync();
        foreach (var text in new[] { Delete, Brief })
        {
            Assert.DoesNotContain(await client.HeldAsync(text), new[] { asked.Id, brief.Id, extension.Id });
            await client.CancelAsync();
            await client.ReadToReadyAsync();
        }

        Assert.Equal(2, await World.CountAsync("orders where id = 172") + await World.CountAsync("brief where id = 12"));
    }

    [Fact]
    public async Task A_window_is_extended_to_no_more_at_once_than_the_policy_allows()
    {
        const string Inside = "select count(*) from public.windowed";
        object Window(int seconds, string? extends = null) => new { connection = "shop", window = new { seconds, statements = new[] { "SELECT" }, relations = new[] { "public.windowed" } }, reason = "look", extends };
        var asked = await AskAsync(World.Carol, Window(3600));
        await World.Bob.ApproveAsync(asked.Id);
        using (var client = await World.Carol.ConnectAsync())
        {
            Assert.Equal("SELECT 1", (await client.RunAsync(Inside)).Tags());
        }

        var began = (await World.Bob.RequestAsync(asked.Id)).WindowBeganAt!.Value;
        await RefusedAsync(World.Carol, "window-too-long", Window(7200, asked.Id));
        await RefusedAsync(World.Carol, "not-extendable", Window(1800, asked.Id));
        var extension = await AskAsync(World.Carol, Window(3600, asked.Id));
        await World.Alice.ApproveAsync(extension.Id);
        await World.StateAsync(extension.Id, RequestState.Consumed);
        var now = await World.Bob.RequestAsync(asked.Id);
        Assert.Equal(began, now.WindowBeganAt);
        Assert.InRange(now.ExpiresAt, began.AddSeconds(3600), DateTimeOffset.UtcNow.AddSeconds(3601));

        // Taken back, it is over, extension or not.
        Assert.Equal(HttpStatusCode.OK, (await World.Bob.PostAsync($"approval/v1/requests/{asked.Id}/revoke", new RevokeRequest("enough"))).Status);
        using var later = await World.Carol.ConnectAsync();
        Assert.DoesNotContain(await later.HeldAsync(Inside), new[] { asked.Id, extension.Id });
        await later.CancelAsync();
        await later.ReadToReadyAsync();
    }

    private static async Task<RequestView> AskAsync(Person person, object body) => (await person.PostAsync("proxy/v1/requests", body)).Read<Asked>().Request!;

    /// <summary>Refused, and nothing was opened.</summary>
    private static async Task RefusedAsync(Person person, string code, object body, string? but = null)
    {
        var answer = await person.PostAsync("proxy/v1/requests", body);
        Assert.True(answer.Code == code && (int)answer.Status is >= 400 and < 500, answer.ToString());
        Assert.DoesNotContain(await person.GetAsync<List<RequestView>>("approval/v1/requests?filter=mine&state=pending"), request => request.Extends is not null && request.Id != but);
    }

    private sealed record Asked(RequestView? Request);
}
