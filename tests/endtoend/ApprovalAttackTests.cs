using System.Net;
using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;
using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.EndToEnd.Tests;

/// <summary>People who try to agree with themselves, or to make one approval go further than it was given for (I1, I2).</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed class ApprovalAttackTests(World world) : Scenario(world)
{
    [Fact]
    public async Task Nobody_approves_their_own_and_nobody_who_is_not_enrolled_approves_anything()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders where id = 20");
        var digest = (await World.Bob.RequestAsync(request)).Digest;

        // Alice is the first person, an administrator, and in the group of approvers.
        var own = await World.Alice.DecideAsync(request, approve: true, digest: digest);
        Assert.Equal((HttpStatusCode.Forbidden, "self-approval"), (own.Status, own.Code));
        foreach (var approve in new[] { true, false })
        {
            var stranger = await World.Dave.DecideAsync(request, approve, "no", digest);
            Assert.Equal((HttpStatusCode.Forbidden, "not-enrolled"), (stranger.Status, stranger.Code));
        }

        var wrong = await World.Bob.DecideAsync(request, approve: true, digest: new string('0', 64));
        Assert.Equal((HttpStatusCode.Conflict, "digest-mismatch"), (wrong.Status, wrong.Code));
        await World.AuditedAsync("request.decision-refused", request);
        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(request)).State);
        Assert.Equal(1, await World.CountAsync("orders where id = 20"));
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    [Fact]
    public async Task A_second_account_of_the_same_person_counts_as_the_same_person()
    {
        var asked = await World.Alice.PostAsync($"identity/v1/persons/{World.Alice.Id}/links", new { person = World.Alice2.Id, reason = "both are mine" });
        await World.Bob.ApproveAsync(Holds.RequestOf(asked.Body)!);
        using var client = await World.Alice.ConnectAsync();
        await Until.TrueAsync("they are linked", async () =>
            (await World.Bob.CallAsync(HttpMethod.Get, $"identity/v1/persons/{World.Alice.Id}/standing")).Body.Contains(World.Alice2.Id, StringComparison.Ordinal));
        var request = await client.HeldAsync("delete from orders where id = 21");
        var answer = await World.Alice2.DecideAsync(request, approve: true);
        Assert.Equal((HttpStatusCode.Forbidden, "self-approval"), (answer.Status, answer.Code));
        await World.AuditedAsync("request.decision-refused", request);
        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(request)).State);
        Assert.Equal(1, await World.CountAsync("orders where id = 21"));

        // And the other way round.
        using var second = await World.Alice2.ConnectAsync();
        var other = await second.HeldAsync("delete from orders where id = 22");
        answer = await World.Alice.DecideAsync(other, approve: true);
        Assert.Equal((HttpStatusCode.Forbidden, "self-approval"), (answer.Status, answer.Code));
        await World.AuditedAsync("request.decision-refused", other);
        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(other)).State);
        Assert.Equal(1, await World.CountAsync("orders where id = 22"));
        await second.CancelAsync();
        await second.ReadToReadyAsync();
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    [Fact]
    public async Task What_ones_own_or_ones_teams_service_account_asks_is_not_approved_by_oneself()
    {
        // Carol makes it, alice owns it with her, and bob agrees.
        var name = $"etl {Guid.NewGuid():N}";
        var asked = await World.Carol.PostAsync("identity/v1/service-accounts", new { name, owners = new[] { World.Alice.Id }, reason = "nightly" });
        await World.Bob.ApproveAsync(Holds.RequestOf(asked.Body)!);
        var account = await Until.NotNullAsync("the account", async () =>
            (await World.Bob.GetAsync<List<PersonView>>("identity/v1/persons")).FirstOrDefault(person => person.Name == name)?.Id);
        var credential = (await World.Carol.PostAsync("identity/v1/credentials", new CreateCredential(["shop"], 3600, account))).Read<CreatedCredential>();
        using var client = await RawClient.LogInAsync(World.GatewayPort, credential.Credential.UserName, credential.Secret, "shop");
        var request = await client.HeldAsync("insert into never_in_transaction values (90)");
        Assert.Equal(account, (await World.Bob.RequestAsync(request)).Requester);
        foreach (var owner in new[] { World.Carol, World.Alice })
        {
            var answer = await owner.DecideAsync(request, approve: true);
            Assert.Equal((HttpStatusCode.Forbidden, "self-approval"), (answer.Status, answer.Code));
        }

        await World.AuditedAsync("request.decision-refused", request);
        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(request)).State);
        Assert.Equal(0, await World.CountAsync("never_in_transaction where id = 90"));

        await World.Bob.ApproveAsync(request);
        Assert.Equal("INSERT 0 1", (await client.ReadToReadyAsync()).Tags());
    }

    [Fact]
    public async Task What_has_expired_is_not_approved_and_what_was_approved_expires()
    {
        using var client = await World.Alice.ConnectAsync();
        var late = await client.HeldAsync("delete from brief where id = 1");
        Assert.Equal("42501", (await client.ReadToReadyAsync()).Error().Field('C'));
        var answer = await World.Bob.DecideAsync(late, approve: true);
        Assert.Equal((HttpStatusCode.Gone, "expired"), (answer.Status, answer.Code));
        await World.AuditedAsync("request.decision-refused", late);
        Assert.Equal(1, await World.CountAsync("brief where id = 1"));

        string unused;
        using (var gone = await World.Alice.ConnectAsync())
        {
            unused = await gone.HeldAsync("delete from brief where id = 2");
        }

        await World.Bob.ApproveAsync(unused);
        await World.StateAsync(unused, RequestState.Expired);
        Assert.NotEqual(unused, await client.HeldAsync("delete from brief where id = 2"));
        Assert.Equal(1, await World.CountAsync("brief where id = 2"));
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    [Fact]
    public async Task An_approval_is_good_for_its_person_its_connection_and_its_context_only()
    {
        const string Delete = "delete from orders where id = 23";
        var request = await ApprovedAsync(World.Alice, Delete);
        await HeldAnewAsync(World.Carol, request, Delete);
        await HeldAnewAsync(World.Alice, request, Delete, connection: "shop-copy");
        await HeldAnewAsync(World.Alice, request, Delete, connection: "root");
        await HeldAnewAsync(World.Alice, request, "delete from orders where id=23");
        await HeldAnewAsync(World.Alice, request, "delete from orders where id = 24");
        await HeldAnewAsync(World.Alice, request, Delete, before: "set datestyle = 'SQL, DMY'");
        await HeldAnewAsync(World.Alice, request, Delete, before: "set timezone = 'Asia/Tokyo'");
        await HeldAnewAsync(World.Alice, request, Delete, before: "begin");
        await World.TruthAsync("alter role shop_app set search_path = evil, public");
        try
        {
            await HeldAnewAsync(World.Alice, request, Delete);
        }
        finally
        {
            await World.TruthAsync("alter role shop_app reset search_path");
        }

        Assert.Equal(1, await World.CountAsync("orders where id = 23"));
        Assert.Equal(1, await World.CountAsync("evil.orders where id = 23"));

        // In the context that it was given for, it still is good.
        using var client = await World.Alice.ConnectAsync();
        Assert.Equal("DELETE 1", (await client.RunAsync(Delete)).Tags());
    }

    [Fact]
    public async Task A_temporary_table_that_came_since_needs_another_approval()
    {
        const string Delete = "delete from orders where id = 25";
        using var client = await World.Alice.ConnectAsync();
        var request = await ApprovedAsync(World.Alice, Delete);
        var create = await client.HeldAsync("create temp table orders (id int)");
        await World.Bob.ApproveAsync(create);
        Assert.Equal("CREATE TABLE", (await client.ReadToReadyAsync()).Tags());
        Assert.NotEqual(request, await client.HeldAsync(Delete));
        await client.CancelAsync();
        await client.ReadToReadyAsync();
        Assert.Equal(1, await World.CountAsync("orders where id = 25"));
    }

    [Fact]
    public async Task An_approval_is_used_once_however_many_sessions_try_at_once()
    {
        const string Insert = "insert into u values (77, 77)";
        await ApprovedAsync(World.Alice, Insert);
        var clients = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => World.Alice.ConnectAsync()));
        var outcomes = await Task.WhenAll(clients.Select(async client =>
        {
            client.Query(Insert);
            await client.FlushAsync();
            while (true)
            {
                var reply = await client.ReadAsync();
                if (reply.Type is 'C' or 'E' || (reply.Type == 'N' && Holds.RequestOf(reply) is not null))
                {
                    return reply.Type;
                }
            }
        }));
        Assert.Single(outcomes, 'C');
        Assert.Equal(1, await World.CountAsync("u where a = 77"));
        foreach (var (client, outcome) in clients.Zip(outcomes))
        {
            if (outcome == 'N')
            {
                await client.CancelAsync();
                await client.ReadToReadyAsync();
            }

            client.Dispose();
        }

        Assert.Equal(1, await World.CountAsync("u where a = 77"));
    }

    [Fact]
    public async Task What_was_approved_under_a_policy_that_has_become_stricter_does_not_run()
    {
        const string Insert = "insert into ledger values (1, 'later forbidden')";
        await ApprovedAsync(World.Alice, Insert);
        var stricter = new BundleDocument("no-ledger", """
            apiVersion: countersign/v1
            kind: Policy
            name: no-ledger
            rules:
              - name: closed
                effect: deny
                message: The ledger is closed.
                when: {writes: ["*.ledger"]}
            """);
        using var live = await World.Alice.ConnectAsync();
        await World.ChangeAsync(new PolicyChangeRequest { Documents = [stricter] });
        try
        {
            var error = (await live.RunAsync(Insert)).Error();
            Assert.Equal("42501", error.Field('C'));
            Assert.Contains("The ledger is closed.", error.Field('M'), StringComparison.Ordinal);
            Assert.Equal(0, await World.CountAsync("ledger"));
        }
        finally
        {
            await World.ChangeAsync(new PolicyChangeRequest { RemovedDocuments = ["no-ledger"] });
        }
    }

    [Fact]
    public async Task An_approval_that_was_taken_back_does_not_run()
    {
        const string Delete = "delete from orders where id = 26";
        var request = await ApprovedAsync(World.Alice, Delete);
        Assert.Equal(HttpStatusCode.OK, (await World.Carol.PostAsync($"approval/v1/requests/{request}/revoke", new { comment = "second thoughts" })).Status);
        await HeldAnewAsync(World.Alice, request, Delete);
        Assert.Equal(1, await World.CountAsync("orders where id = 26"));
    }

    [Fact]
    public async Task A_policy_change_of_ones_own_is_not_approved_by_oneself()
    {
        var open = new BundleDocument("open", """
            apiVersion: countersign/v1
            kind: Policy
            name: open
            rules:
              - name: all
                effect: allow
                when: {complete: any}
            """);
        var asked = (await World.Alice.PostAsync("policy/v1/changes", new PolicyChangeRequest { Documents = [open], Reason = "hurry" })).Read<PolicyChangeResult>();
        var own = await World.Alice.DecideAsync(asked.RequestId, approve: true);
        Assert.Equal((HttpStatusCode.Forbidden, "self-approval"), (own.Status, own.Code));
        var stranger = await World.Dave.DecideAsync(asked.RequestId, approve: true);
        Assert.Equal((HttpStatusCode.Forbidden, "not-enrolled"), (stranger.Status, stranger.Code));

        await World.AuditedAsync("request.decision-refused", asked.RequestId);
        Assert.Equal("pending", (await World.Alice.GetAsync<PolicyChangeView>($"policy/v1/changes/{asked.RequestId}")).State);
        Assert.Equal(HttpStatusCode.OK, (await World.Bob.DecideAsync(asked.RequestId, approve: false, "certainly not")).Status);
    }

    private async Task<string> ApprovedAsync(Person person, string text)
    {
        string request;
        using (var client = await person.ConnectAsync())
        {
            request = await client.HeldAsync(text);
        }

        await World.Bob.ApproveAsync(request);
        return request;
    }

    private static async Task HeldAnewAsync(Person person, string request, string text, string connection = "shop", string? before = null)
    {
        using var client = await person.ConnectAsync(connection);
        if (before is not null)
        {
            (await client.RunAsync(before)).Tags();
        }

        Assert.NotEqual(request, await client.HeldAsync(text));
        await client.CancelAsync();
        Assert.Equal("57014", (await client.ReadToReadyAsync()).Error().Field('C'));
    }
}
