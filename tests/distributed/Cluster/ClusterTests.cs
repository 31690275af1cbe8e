using System.Collections.Concurrent;
using System.Net;
using System.Text.Json;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Cluster;
using Countersign.Fakes.Sidecar;

namespace Countersign.Distributed.Tests.Cluster;

/// <summary>One cluster for all tests that only look at it.</summary>
public sealed class RunningCluster : IAsyncLifetime
{
    /// <summary>The cluster.</summary>
    public FakeCluster Cluster { get; private set; } = null!;

    /// <summary>First person.</summary>
    public Visitor Alice { get; private set; } = null!;

    /// <summary>Second person.</summary>
    public Visitor Bob { get; private set; } = null!;

    /// <summary>Store of target credentials behind the proxies' sidecars, as Vault: asked for each secret anew.</summary>
    public ConcurrentDictionary<string, IReadOnlyDictionary<string, string>> TargetCredentials { get; } = new();

    /// <inheritdoc/>
    public async ValueTask InitializeAsync()
    {
        Account[] accounts = [new("alice", Guid.NewGuid().ToString("N")), new("bob", Guid.NewGuid().ToString("N"))];
        Cluster = await FakeCluster.StartAsync(new FakeClusterOptions
        {
            Accounts = accounts,
            Proxies = 2,
            Plane = new FakeClusterOptions().Plane with { Outages = new PlaneOutages(), Secrets = [new SecretComponent("target-credentials", new Dictionary<string, string>()) { Objects = TargetCredentials }] },
        }, CancellationToken.None);
        (Alice, Bob) = (new Visitor(Cluster.Entrance, accounts[0]), new Visitor(Cluster.Entrance, accounts[1]));
        await Alice.LogInAsync();
        await Bob.LogInAsync();
        await new TwoPeople(Alice, Bob).BootstrapAsync(Path.Combine(Cluster.DataOf("identity"), "bootstrap-token"));
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Cluster is not null)
        {
            await Cluster.DisposeAsync();
        }
    }
}

/// <summary>Five services as processes of their own on the double: what one does reaches the others.</summary>
[Collection(ClusterCollection.Name)]
public sealed class ClusterTests(RunningCluster running)
{
    [Fact]
    public async Task An_enrolment_goes_through_identity_approval_and_back_by_event()
    {
        var (alice, bob) = (running.Alice, running.Bob);
        var asked = await alice.GoodAsync(HttpMethod.Post, $"identity/v1/persons/{bob.Id}/enrolment", new { reason = "second person" });
        var request = asked.GetProperty("requestId").GetString()!;
        var shown = await alice.GoodAsync(HttpMethod.Get, $"approval/v1/requests/{request}");
        Assert.Equal("pending", shown.GetProperty("state").GetString());
        // Bootstrap: the first person may act alone until there is a second one.
        var decided = await alice.GoodAsync(HttpMethod.Post, $"approval/v1/requests/{request}/approve", new { digest = shown.GetProperty("digest").GetString(), comment = "" });
        Assert.NotEqual("pending", decided.GetProperty("state").GetString());
        await Until.TrueAsync(async () =>
            (await alice.GoodAsync(HttpMethod.Get, "identity/v1/persons")).EnumerateArray().Any(each => each.GetProperty("id").GetString() == bob.Id && each.GetProperty("enrolled").GetBoolean()));
        bob.Renew();
        // The list comes from the copies of the actors' documents, the record by the bus.
        var listed = await bob.GoodAsync(HttpMethod.Get, "approval/v1/requests?filter=all");
        Assert.Contains(listed.EnumerateArray(), each => each.GetProperty("id").GetString() == request);
        await Until.TrueAsync(() => running.Cluster.Plane.PendingEvents == 0);
        Assert.Equal(0, (await bob.GoodAsync(HttpMethod.Get, "recorder/v1/dead-letters")).GetArrayLength());
    }

    [Theory]
    [InlineData("identity")]
    [InlineData("policy")]
    [InlineData("approval")]
    [InlineData("recorder")]
    [InlineData("proxy-1")]
    public async Task Every_service_says_that_its_sidecar_is_well(string name)
    {
        using var http = new HttpClient { BaseAddress = running.Cluster[name].Address };
        var health = JsonSerializer.Deserialize<JsonElement>(await (await http.GetAsync("health/ready")).Content.ReadAsStringAsync());
        Assert.Equal("ok", Assert.Single(health.GetProperty("checks").EnumerateArray(), check => check.GetProperty("name").GetString() == "sidecar").GetProperty("status").GetString());
    }

    [Fact]
    public async Task The_entrance_does_not_lead_to_what_is_for_sidecars()
    {
        using var http = new HttpClient { BaseAddress = running.Cluster.Entrance };
        foreach (var path in new[] { "dapr/subscribe", "dapr/config", "actors/Request/x/method/HandleAsync" })
        {
            Assert.Equal(HttpStatusCode.NotFound, (await http.GetAsync(path)).StatusCode);
        }
    }
}
