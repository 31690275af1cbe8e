using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Postgres;

namespace Countersign.Distributed.Tests.Cluster;

/// <summary>The rows of docs/operations/failures.md that take several processes: one part is down, then it is back.</summary>
[Collection(ClusterCollection.Name)]
public sealed class OutageTests(WorkingCluster cluster) : IClassFixture<WorkingCluster>
{
    private static readonly SemaphoreSlim Prepared = new(1);
    private static int _next = 2;

    [Fact]
    public async Task Without_the_entrance_sessions_and_services_go_on_and_people_come_back_by_themselves()
    {
        var session = await ReadyAsync();
        var bob = await cluster.Bob.TokenAsync("approval");
        await cluster.Cluster["entrance"].KillAsync();
        await Assert.ThrowsAsync<HttpRequestException>(() => cluster.Alice.CallAsync(HttpMethod.Get, "identity/v1/persons"));
        Assert.Contains("***", await session.RunAsync("select customer from orders where id = 10"), StringComparison.Ordinal);
        // Held at the proxy, asked for and approved among the services: bob reaches approval on its own address.
        var (id, held) = Delete(session);
        using var approval = new HttpClient { BaseAddress = cluster.Cluster["approval"].Address };
        approval.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", bob);
        var waiting = await WaitingAsync(async () => await approval.GetFromJsonAsync<JsonElement>("approval/v1/requests?filter=to-decide"), id);
        using (var answer = await approval.PostAsJsonAsync($"approval/v1/requests/{waiting.GetProperty("id").GetString()}/approve", new { digest = waiting.GetProperty("digest").GetString(), comment = "" }))
        {
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        }

        Assert.Contains("DELETE 1", await held, StringComparison.Ordinal);
        cluster.Cluster["entrance"].Start();
        await cluster.Cluster["entrance"].AwaitAsync(ready: false, TestContext.Current.CancellationToken);
        Assert.Equal(JsonValueKind.Array, (await cluster.Alice.GoodAsync(HttpMethod.Get, "identity/v1/persons")).ValueKind);
    }

    [Fact]
    public async Task Without_its_sidecar_a_service_is_not_ready_reaches_nobody_and_recovers_alone()
    {
        var session = await ReadyAsync();
        await cluster.Cluster.StopSidecarAsync("approval");
        try
        {
            await Until.TrueAsync(async () => (await ChecksAsync("approval")).Single(check => check.Name == "sidecar").Status != "ok", 60);
            // Approval asks nobody and is asked by nobody: what needs it is refused, with nothing done.
            var (id, refused) = Delete(session);
            Assert.Contains("ERROR", await refused, StringComparison.Ordinal);
            Assert.Equal("1", await CountAsync(id));
            Assert.Equal(HttpStatusCode.ServiceUnavailable, (await cluster.Bob.CallAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide")).Status);
            // Others don't notice.
            Assert.Contains("***", await session.RunAsync("select customer from orders where id = 10"), StringComparison.Ordinal);
            Assert.All(await ChecksAsync("proxy-1"), check => Assert.Equal("ok", check.Status));
        }
        finally
        {
            await cluster.Cluster.StartSidecarAsync("approval");
        }

        await cluster.Cluster["approval"].AwaitAsync(ready: true, TestContext.Current.CancellationToken);
        await DoneAsync(session);
    }

    [Fact]
    public async Task A_proxy_without_its_sidecar_lets_nobody_ask_and_goes_on_with_what_it_knows()
    {
        var session = await ReadyAsync();
        var other = session with { Proxy = "proxy-2" };
        await Until.TrueAsync(async () => (await TryAsync(other, "select customer from orders where id = 10")).Contains("***", StringComparison.Ordinal), 60);
        await cluster.Cluster.StopSidecarAsync("proxy-2");
        try
        {
            await Until.TrueAsync(async () => (await ChecksAsync("proxy-2")).Single(check => check.Name == "sidecar").Status != "ok", 60);
            // Identity proves logins: without a way to it nobody new comes in. The other proxy takes them.
            Assert.DoesNotContain("***", await TryAsync(other, "select customer from orders where id = 10"), StringComparison.Ordinal);
            Assert.Contains("***", await session.RunAsync("select customer from orders where id = 10"), StringComparison.Ordinal);
        }
        finally
        {
            await cluster.Cluster.StartSidecarAsync("proxy-2");
        }

        await cluster.Cluster["proxy-2"].AwaitAsync(ready: true, TestContext.Current.CancellationToken);
        await DoneAsync(other);
    }

    [Theory]
    [InlineData("placement")]
    [InlineData("state")]
    public async Task Without_placement_or_the_actors_database_what_is_held_stays_held_and_nothing_is_half_done(string part)
    {
        var session = await ReadyAsync();
        var (id, held) = Delete(session);
        var waiting = await WaitingAsync(() => cluster.Bob.GoodAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide"), id);
        var request = waiting.GetProperty("id").GetString()!;
        var digest = new { digest = waiting.GetProperty("digest").GetString(), comment = "" };
        // The list has it before the proxy has its answer.
        await Until.TrueAsync(async () => await MetricAsync("proxy-1", "countersign_proxy_holds", "") is > 0);
        Down(part, true);
        try
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, (await cluster.Bob.CallAsync(HttpMethod.Post, $"approval/v1/requests/{request}/approve", digest)).Status);
            var (another, refused) = Delete(session);
            Assert.Contains("ERROR", await refused, StringComparison.Ordinal);
            Assert.False(held.IsCompleted, held.IsCompleted ? await held : "");
            Assert.Equal(("1", "1"), (await CountAsync(id), await CountAsync(another)));
            Assert.Contains("***", await session.RunAsync("select customer from orders where id = 10"), StringComparison.Ordinal);
        }
        finally
        {
            Down(part, false);
        }

        Assert.Equal("pending", (await cluster.Bob.GoodAsync(HttpMethod.Get, $"approval/v1/requests/{request}")).GetProperty("state").GetString());
        await cluster.Bob.ApproveAsync(request);
        Assert.Contains("DELETE 1", await held, StringComparison.Ordinal);
        Assert.Equal("0", await CountAsync(id));
    }

    [Fact]
    public async Task Without_the_broker_polls_bring_approvals_and_revocations_and_audit_events_wait_with_who_publishes_them()
    {
        var session = await ReadyAsync();
        var plane = cluster.Cluster.Plane;
        var doomed = await SessionAsync("proxy-1");
        plane.Faults.Down = true;
        string request;
        try
        {
            var (id, held) = Delete(session);
            var waiting = await WaitingAsync(() => cluster.Bob.GoodAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide"), id);
            request = waiting.GetProperty("id").GetString()!;
            await cluster.Bob.ApproveAsync(request);
            Assert.Contains("DELETE 1", await held, StringComparison.Ordinal);

            // A revoked credential ends what runs under it.
            var running = doomed.RunAsync("select pg_sleep(120)");
            await Until.TrueAsync(async () => await cluster.TruthAsync("select count(*) from pg_stat_activity where query like 'select pg_sleep(120)%' and state = 'active'") != "0");
            await cluster.Alice.GoodAsync(HttpMethod.Delete, $"identity/v1/credentials/{doomed.Credential}");
            Assert.DoesNotContain("(1 row)", await running, StringComparison.Ordinal);
            Assert.Equal("0", await cluster.TruthAsync("select count(*) from pg_stat_activity where query like 'select pg_sleep(120)%' and state = 'active'"));
            // Beacons as well: asked for, they are of now.
            foreach (var service in new[] { "identity", "policy" })
            {
                await Until.TrueAsync(async () => await MetricAsync("proxy-1", "countersign_proxy_beacon_age", $"\"{service}\"") is < 5 and > 0);
            }

            Assert.DoesNotContain($"{request}:", await AuditedAsync(request), StringComparison.Ordinal);
        }
        finally
        {
            plane.Faults.Down = false;
        }

        await Until.TrueAsync(async () => await AuditedAsync(request) is var audited && audited.Contains("request.approved", StringComparison.Ordinal) && audited.Contains("request.consumed", StringComparison.Ordinal), 90);
        await Until.TrueAsync(async () => (await AuditedAsync(doomed.Credential)).Contains("credential.revoked", StringComparison.Ordinal), 60);
        Assert.Equal(0, (await cluster.Bob.GoodAsync(HttpMethod.Get, "recorder/v1/dead-letters")).GetArrayLength());
    }

    private void Down(string part, bool down)
    {
        var outages = cluster.Cluster.Plane.Outages;
        _ = part == "placement" ? outages.Placement = down : outages.State = down;
    }

    /// <summary>A session's login at proxy-1, once the proxy has the policies; and a few more orders.</summary>
    private async Task<Login> ReadyAsync()
    {
        await Prepared.WaitAsync();
        try
        {
            await cluster.TruthAsync("insert into orders select id, 'customer ' || id from generate_series(10, 60) id on conflict do nothing");
        }
        finally
        {
            Prepared.Release();
        }

        var session = await SessionAsync("proxy-1");
        await Until.TrueAsync(async () => (await TryAsync(session, "select customer from orders where id = 10")).Contains("***", StringComparison.Ordinal), 60);
        await cluster.Bob.TokenAsync("approval");
        return session;
    }

    private async Task<Login> SessionAsync(string proxy)
    {
        var created = await cluster.Alice.GoodAsync(HttpMethod.Post, "identity/v1/credentials", new { connections = new[] { "orders" }, lifetimeSeconds = 3600 });
        var credential = created.GetProperty("credential");
        return new Login(cluster, proxy, credential.GetProperty("id").GetString()!, credential.GetProperty("userName").GetString()!, created.GetProperty("secret").GetString()!);
    }

    /// <summary>Begins to delete an order that is there.</summary>
    private static (int Id, Task<string> Running) Delete(Login session)
    {
        var id = 10 + Interlocked.Increment(ref _next);
        return (id, TryAsync(session, $"delete from orders where id = {id}"));
    }

    /// <summary>The main job once more: all is well again.</summary>
    private async Task DoneAsync(Login session)
    {
        var done = "";
        await Until.TrueAsync(
            async () =>
            {
                var (id, running) = Delete(session);
                await Task.WhenAny(running, Until.TrueAsync(async () => await ToDecideAsync(id) is not null, 60));
                if (running.IsCompleted || await ToDecideAsync(id) is not { } waiting)
                {
                    // Refused: not quite back yet.
                    return false;
                }

                await cluster.Bob.ApproveAsync(waiting.GetProperty("id").GetString()!);
                done = await running;
                return true;
            },
            90);
        Assert.Contains("DELETE 1", done, StringComparison.Ordinal);
    }

    private async Task<JsonElement?> ToDecideAsync(int id)
    {
        var (status, list) = await cluster.Bob.CallAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide");
        return status == HttpStatusCode.OK ? Find(list, id) : null;
    }

    private static JsonElement? Find(JsonElement list, int id) =>
        list.EnumerateArray().Where(each => each.GetProperty("operations")[0].GetProperty("text").GetString() == $"delete from orders where id = {id}").Cast<JsonElement?>().FirstOrDefault();

    private static async Task<JsonElement> WaitingAsync(Func<Task<JsonElement>> list, int id)
    {
        JsonElement? found = null;
        await Until.TrueAsync(async () => (found = Find(await list(), id)) is not null, 60);
        return found!.Value;
    }

    private Task<string> CountAsync(int id) => cluster.TruthAsync($"select count(*) from orders where id = {id}");

    /// <summary>What the log has of a subject, as an export says it.</summary>
    private async Task<string> AuditedAsync(string subject)
    {
        using var http = new HttpClient { BaseAddress = cluster.Cluster.Entrance };
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", await cluster.Bob.TokenAsync("recorder"));
        // An export is the whole log: not as often as a condition can be looked at.
        await Task.Delay(200);
        var export = await http.GetStringAsync("recorder/v1/export");
        return string.Join('\n', export.Split('\n').Where(line => line.Contains(subject, StringComparison.Ordinal) && line.Contains("\"action\"", StringComparison.Ordinal)));
    }

    private async Task<double?> MetricAsync(string name, string metric, string label)
    {
        using var http = new HttpClient { BaseAddress = cluster.Cluster[name].Address };
        var line = (await http.GetStringAsync("metrics")).Split('\n').FirstOrDefault(each =>
            each.StartsWith(metric, StringComparison.Ordinal) && each.Contains(label, StringComparison.Ordinal));
        return line is null ? null : double.Parse(line[(line.LastIndexOf('}') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture);
    }

    private async Task<IReadOnlyList<(string Name, string Status)>> ChecksAsync(string name)
    {
        using var http = new HttpClient { BaseAddress = cluster.Cluster[name].Address };
        using var answer = await http.GetAsync("health/ready");
        return [.. JsonSerializer.Deserialize<JsonElement>(await answer.Content.ReadAsStringAsync()).GetProperty("checks").EnumerateArray()
            .Select(check => (check.GetProperty("name").GetString()!, check.GetProperty("status").GetString()!))];
    }

    private static async Task<string> TryAsync(Login session, string sql) => await session.RunAsync(sql);

    /// <summary>A credential, and the proxy that it is used at.</summary>
    private sealed record Login(WorkingCluster Cluster, string Proxy, string Credential, string User, string Secret)
    {
        /// <summary>Runs psql; output and errors in one, whatever its exit code.</summary>
        public async Task<string> RunAsync(string input)
        {
            try
            {
                return await PostgresServer.RunAsync(
                    "psql", ["-X", "-A", $"host=127.0.0.1 port={Cluster.Cluster.PostgresPortOf(Proxy)} user={User} dbname=orders sslmode=disable"],
                    new Dictionary<string, string> { ["PGPASSWORD"] = Secret }, input);
            }
            catch (InvalidOperationException error)
            {
                return "ERROR: " + error.Message;
            }
        }
    }
}
