using Countersign.Approval.Contracts;
using Countersign.Fakes.Postgres;
using Countersign.Platform.Ports;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Microsoft.IdentityModel.JsonWebTokens;

namespace Countersign.Policy.Tests.Host;

/// <summary>Two replicas of policy over one real PostgreSQL: of changes that compete one comes into force, and both know it at once.</summary>
[Trait("group", "distributed")]
public sealed class ReplicaTests : IAsyncLifetime
{
    private PostgresServer _postgres = null!;
    private PolicyWorld _one = null!;
    private PolicyWorld _other = null!;

    public async ValueTask InitializeAsync()
    {
        _postgres = await PostgresServer.StartAsync(new PostgresServerOptions { Settings = ["max_connections = 150"] });
        _one = await PolicyWorld.StartReplicaAsync(Storage);
        _other = await PolicyWorld.StartReplicaAsync(Storage, _one);
    }

    public async ValueTask DisposeAsync()
    {
        await _one.DisposeAsync();
        await _other.DisposeAsync();
        await _postgres.DisposeAsync();
    }

    private string Storage => $"Host=127.0.0.1;Port={_postgres.Port};Database=postgres;Username=postgres";

    [Fact]
    public async Task Of_changes_that_compete_exactly_one_comes_into_force_a_round()
    {
        var activated = new List<(long Version, string Digest)>();
        for (var round = 1; round <= 4; round++)
        {
            // Each from the version in force, at both replicas, by several persons; all approved; both replicas hear of all.
            var asked = await Task.WhenAll(new[] { "alice", "bob", "carol", "dave" }.Select((person, number) => World(number).AskAsync(person, Change(round, person))));
            await Task.WhenAll(asked.Select(async change =>
            {
                await _one.DecideAsync(change.RequestId, RequestState.Approved);
                await _other.DecideAsync(change.RequestId, RequestState.Approved);
            }));
            var ended = await Task.WhenAll(asked.Select((change, number) => World(number + 1).EndedAsync(change.RequestId)));
            var active = Assert.Single(ended, change => change.State == "active");
            Assert.All(ended.Where(change => change != active), change => Assert.Equal("superseded", change.State));
            Assert.Equal(round, active.Version);
            activated.Add((active.Version, active.Digest));
            foreach (var world in new[] { _one, _other })
            {
                var envelope = await world.GetAsync<BundleEnvelope>(world.Service(AppIds.Proxy), "/policy/v1/bundle");
                Assert.Equal(active.Digest, BundleCodec.Digest(BundleCodec.Payload(envelope)));
                Assert.Equal(round, await VersionAsync(world));
            }
        }

        Assert.Equal([1, 2, 3, 4], activated.Select(change => (int)change.Version));
    }

    [Fact]
    public async Task A_replica_that_was_not_told_gives_out_no_old_bundle_and_no_old_beacon()
    {
        var asked = await _one.AskAsync("alice", Change(1, "alice"));
        await _one.DecideAsync(asked.RequestId, RequestState.Approved);
        await _one.EndedAsync(asked.RequestId);
        Assert.Equal(1, await VersionAsync(_other));
        Assert.Equal(asked.Digest, BundleCodec.Digest(BundleCodec.Payload(await _other.GetAsync<BundleEnvelope>(_other.Service(AppIds.Proxy), "/policy/v1/bundle"))));
    }

    [Fact]
    public async Task A_change_whose_replica_dies_comes_into_force_by_the_other()
    {
        var asked = await _one.AskAsync("alice", Change(1, "alice"));
        await _one.DisposeAsync();
        await _other.DecideAsync(asked.RequestId, RequestState.Approved, tell: false);
        Assert.Equal("active", (await _other.EndedAsync(asked.RequestId)).State);
        _one = await PolicyWorld.StartReplicaAsync(Storage, _other);
        Assert.Equal(1, await VersionAsync(_one));
    }

    [Fact]
    public async Task Without_its_database_policy_promises_nothing()
    {
        await _postgres.StopAsync();
        foreach (var path in new[] { "/policy/v1/beacon", "/policy/v1/bundle" })
        {
            using var response = await _one.SendAsync(_one.Service(AppIds.Proxy), HttpMethod.Get, path);
            Assert.Equal(System.Net.HttpStatusCode.ServiceUnavailable, response.StatusCode);
        }

        await _postgres.StartAgainAsync();
    }

    private static PolicyChangeRequest Change(int round, string person) => new()
    {
        Documents = [new BundleDocument($"{person}.yaml", Given.Policy($"- {{name: {person}-{round}, effect: allow, when: {{statements: [SELECT]}}}}\n", person))],
        Reason = $"round {round}",
    };

    private PolicyWorld World(int number) => number % 2 == 0 ? _one : _other;

    private static async Task<long> VersionAsync(PolicyWorld world)
    {
        var beacon = await world.GetAsync<string>(world.Service(AppIds.Proxy), "/policy/v1/beacon");
        return System.Text.Json.JsonSerializer.Deserialize<PolicyBeacon>(
            Microsoft.IdentityModel.Tokens.Base64UrlEncoder.Decode(new JsonWebToken(beacon).EncodedPayload), Countersign.Platform.Tokens.TokenJson.Options)!.Version;
    }
}
