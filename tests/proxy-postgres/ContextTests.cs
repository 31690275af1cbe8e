namespace Countersign.Proxy.Postgres.Tests;

/// <summary>What was approved is what runs: whatever changes the meaning of a text changes its digest.</summary>
[Trait("group", "postgres")]
public sealed class ContextTests(ServerFixture server)
{
    [Fact]
    public async Task Every_change_of_context_is_another_digest()
    {
        await server.DirectAsync("create role context_other; create schema context_evil; create table context_t(a int); create table context_evil.context_t(a int);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        var digests = new Dictionary<string, string>();
        foreach (var before in new[]
        {
            "select 1", "set role context_other", "set session authorization context_other", "set search_path = context_evil, public", "set search_path = public",
            "create temp table context_t(a int)", "set timezone = 'Asia/Tokyo'", "set datestyle = 'German'", "begin", "begin isolation level serializable", "begin read only",
        })
        {
            using var client = await RawClient.LogInAsync(gateway.Port);
            client.Query(before);
            Assert.DoesNotContain(await client.RunAsync(), reply => reply.Type == 'E');
            client.Query("delete from context_t");
            await client.FlushAsync();
            var request = await gateway.Approvals.NextAsync();
            gateway.Approvals.Decide(request, approve: false);
            await client.ReadToReadyAsync();
            digests[before] = gateway.Approvals.Asked.Last().Operations[0].Digest;
        }

        // Whoever logs in and switches to the same role by another way is the same role.
        Assert.Equal(digests["set role context_other"], digests["set session authorization context_other"]);
        digests.Remove("set session authorization context_other");
        Assert.Equal(digests.Count, digests.Values.Distinct().Count());
    }
}
