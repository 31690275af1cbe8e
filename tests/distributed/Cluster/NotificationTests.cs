using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Cluster;
using Countersign.Fakes.Postgres;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Countersign.Distributed.Tests.Cluster;

/// <summary>Notifications where approval is two processes on one PostgreSQL: told at least once and normally once, by whichever lives.</summary>
[Collection(ClusterCollection.Name)]
public sealed class NotificationTests : IAsyncLifetime
{
    private readonly ConcurrentQueue<(string Id, string Type)> _received = new();
    private readonly string _folder = Directory.CreateTempSubdirectory("cs-notify-").FullName;
    private volatile int _status = 200;
    private volatile bool _silent;
    private PostgresServer _store = null!;
    private WebApplication _receiver = null!;
    private FakeCluster _cluster = null!;
    private Visitor _alice = null!;

    public async ValueTask InitializeAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        _receiver = builder.Build();
        _receiver.MapPost("/siem", async (HttpContext http) =>
        {
            var body = await JsonSerializer.DeserializeAsync<JsonElement>(http.Request.Body);
            _received.Enqueue((http.Request.Headers["webhook-id"].ToString(), body.GetProperty("type").GetString()!));
            if (_silent)
            {
                await Task.Delay(Timeout.Infinite, http.RequestAborted);
            }

            http.Response.StatusCode = _status;
        });
        await _receiver.StartAsync();
        await File.WriteAllTextAsync(Path.Combine(_folder, "secret"), "whsec_" + Convert.ToBase64String(RandomNumberGenerator.GetBytes(32)));
        _store = await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true });
        Account[] accounts = [new("alice", Guid.NewGuid().ToString("N"))];
        _cluster = await FakeCluster.StartAsync(
            new FakeClusterOptions { Accounts = accounts, Instances = new Dictionary<string, int> { ["approval"] = 2 }, Settings = Settings }, CancellationToken.None);
        _alice = new Visitor(_cluster.Entrance, accounts[0]);
        await _alice.LogInAsync();
        await _alice.GoodAsync(HttpMethod.Post, "identity/v1/bootstrap", new { token = await File.ReadAllTextAsync(Path.Combine(_cluster.DataOf("identity"), "bootstrap-token")) });
        _alice.Renew();
    }

    public async ValueTask DisposeAsync()
    {
        if (_cluster is not null)
        {
            await _cluster.DisposeAsync();
        }

        await _receiver.DisposeAsync();
        if (_store is not null)
        {
            await _store.DisposeAsync();
        }

        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Each_is_told_once_by_one_replica_and_by_another_where_that_one_was_killed()
    {
        // Normally once: both replicas look at the same messages all the time.
        var asked = new List<string> { await AskAsync("one"), await AskAsync("two"), await AskAsync("three") };
        await Until.TrueAsync(() => asked.TrueForAll(id => Attempts(id) >= 1), 60);

        // Gone for good is a dead letter, which either replica shows, and sends again where somebody wants it.
        _status = 410;
        var refused = await AskAsync("four");
        var message = $"{refused}:1:siem";
        foreach (var replica in new[] { "approval-1", "approval-2" })
        {
            await Until.TrueAsync(async () => (await DeadAsync(replica)).SequenceEqual([message]), 60);
        }

        Assert.Equal(1, Attempts(refused));
        _status = 200;
        Assert.Equal(HttpStatusCode.Accepted, (await CallAsync("approval-2", HttpMethod.Post, $"approval/v1/notifications/dead/{message}/retry")).Status);
        await Until.TrueAsync(() => Attempts(refused) == 2, 60);
        Assert.Empty(await DeadAsync("approval-1"));

        // Both are killed while one of them sends: the receiver has heard, nobody has written down that it has.
        _silent = true;
        var open = await AskAsync("five");
        await Until.TrueAsync(() => Attempts(open) == 1, 60);
        await Task.WhenAll(_cluster["approval-1"].KillAsync(), _cluster["approval-2"].KillAsync());
        _silent = false;
        _cluster["approval-1"].Start();
        await _cluster["approval-1"].AwaitAsync(ready: false, TestContext.Current.CancellationToken);
        // After the dead one's lease, with the same id, and then not any more.
        await Until.TrueAsync(() => Attempts(open) == 2, 120);
        await Until.TrueAsync(async () => await WaitingAsync() == "0", 60);
        Assert.Equal(2, Attempts(open));
        Assert.All(asked, id => Assert.Equal(1, Attempts(id)));
    }

    private Dictionary<string, string> Settings(string app, string name)
    {
        if (app != "approval")
        {
            return [];
        }

        const string Notify = "Countersign__Approval__Notify__";
        return new Dictionary<string, string>
        {
            ["Countersign__Storage__Postgres"] =
                $"Host=127.0.0.1;Port={_store.Port};Username={PostgresServer.Superuser};Password={PostgresServer.Password};Database=postgres;SSL Mode=Disable",
            [Notify + "LeaseSeconds"] = "30",
            [Notify + "Webhooks__0__Name"] = "siem",
            [Notify + "Webhooks__0__Url"] = $"{_receiver.Urls.Single()}/siem",
            [Notify + "Webhooks__0__SecretFile"] = Path.Combine(_folder, "secret"),
        };
    }

    private int Attempts(string request) => _received.Count(each => each.Id == $"{request}:1:siem");

    private async Task<string> AskAsync(string name) =>
        (await _alice.GoodAsync(HttpMethod.Post, "identity/v1/service-accounts", new { name, reason = "tests" })).GetProperty("requestId").GetString()!;

    private async Task<string> WaitingAsync()
    {
        // What a sender has not finished; those that are told are remembered elsewhere.
        using var http = new HttpClient { BaseAddress = _cluster["approval-1"].Address };
        var line = (await http.GetStringAsync("metrics")).Split('\n').FirstOrDefault(each => each.StartsWith("countersign_notification_waiting{", StringComparison.Ordinal));
        return line is null ? "" : line[(line.IndexOf('}', StringComparison.Ordinal) + 1)..].Trim().Split(' ')[0];
    }

    private async Task<IEnumerable<string>> DeadAsync(string replica)
    {
        var (status, body) = await CallAsync(replica, HttpMethod.Get, "approval/v1/notifications/dead");
        Assert.Equal(HttpStatusCode.OK, status);
        return body.GetProperty("items").EnumerateArray().Select(each => each.GetProperty("id").GetString()!);
    }

    private async Task<(HttpStatusCode Status, JsonElement Body)> CallAsync(string replica, HttpMethod method, string path)
    {
        using var http = new HttpClient { BaseAddress = _cluster[replica].Address };
        using var request = new HttpRequestMessage(method, path);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", await _alice.TokenAsync("approval"));
        using var response = await http.SendAsync(request);
        var text = await response.Content.ReadAsStringAsync();
        return (response.StatusCode, text.Length == 0 ? default : JsonSerializer.Deserialize<JsonElement>(text));
    }
}
