using System.Buffers.Text;
using System.Net;
using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;

namespace Countersign.EndToEnd.Tests;

/// <summary>One person alone can take access away (I3), at once, and nothing else.</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed class RemovalTests(World world) : Scenario(world)
{
    private static readonly JsonSerializerOptions Web = new(JsonSerializerDefaults.Web);

    private static readonly BundleDocument Stop = new(
        "stop.yaml", "apiVersion: countersign/v1\nkind: Policy\nname: stop\nrules:\n  - name: reads\n    effect: deny\n    message: Stopped for now.\n    when: {reads: [\"*.orders\"]}\n");

    [Fact]
    public async Task Taking_away_reaches_a_live_session_at_once_and_is_reviewed_by_somebody_else()
    {
        using var client = await World.Alice.ConnectAsync();
        Assert.Equal("SELECT 1", (await client.RunAsync("select 1 from orders limit 1")).Tags());
        var done = (await World.Bob.PostAsync("policy/v1/changes", new PolicyChangeRequest { Documents = [Stop], AtOnce = true, Reason = "a leak" })).Read<PolicyChangeResult>();
        Assert.True(done.InForce);
        try
        {
            await World.EnforcedAsync();
            Assert.Equal("42501", (await client.RunAsync("select 1 from orders limit 1")).Error().Field('C'));
            var review = (await World.Carol.GetAsync<List<RequestView>>("approval/v1/reviews")).Single(request => request.Id == done.RequestId);
            Assert.Equal((RequestState.Consumed, World.Bob.Id, "a leak"), (review.State, review.Requester, review.Reason));
            Assert.Contains("New document stop.yaml", review.Operations[0].Text, StringComparison.Ordinal);
            Assert.NotEqual(HttpStatusCode.OK, (await World.Bob.PostAsync($"approval/v1/requests/{done.RequestId}/review", new ReviewRequest(review.Digest, true, "mine"))).Status);
            Assert.Equal(HttpStatusCode.OK, (await World.Carol.PostAsync($"approval/v1/requests/{done.RequestId}/review", new ReviewRequest(review.Digest, true, "right so"))).Status);

            // Giving back is no removal, and is nobody's alone.
            var back = await World.Bob.PostAsync("policy/v1/changes", new PolicyChangeRequest { RemovedDocuments = ["stop.yaml"], AtOnce = true });
            Assert.Equal((HttpStatusCode.Conflict, "not-a-removal"), (back.Status, back.Code));
        }
        finally
        {
            await World.ChangeAsync(new PolicyChangeRequest { RemovedDocuments = ["stop.yaml"] });
        }

        Assert.Equal("SELECT 1", (await client.RunAsync("select 1 from orders limit 1")).Tags());
    }

    [Fact]
    public async Task Policy_and_a_person_together_can_not_make_a_removal_out_of_a_change_that_gives()
    {
        var real = (await World.CallAsync(HttpMethod.Get, "policy/v1/bundle", Service("proxy", "policy"))).Read<BundleEnvelope>();
        var bundle = JsonSerializer.Deserialize<Bundle>(Base64Url.DecodeFromChars(real.Payload), Web)!;
        var forged = bundle with
        {
            Version = bundle.Version + 1,
            Documents = [.. bundle.Documents, new BundleDocument("open.yaml", "apiVersion: countersign/v1\nkind: Policy\nname: open\nrules:\n  - name: all\n    effect: allow\n    when: {complete: any}\n")],
        };
        var payload = JsonSerializer.SerializeToUtf8Bytes(forged, Web);
        var digest = Convert.ToHexStringLower(SHA256.HashData(payload));
        var signature = Sign("policy", TokenTypes.Bundle, new { iss = "policy", version = forged.Version, digest, iat = DateTimeOffset.UtcNow.ToUnixTimeSeconds() });

        // Approval itself gives the grant: it can't know what the digest is of.
        var ask = new CreateRequest
        {
            Kind = RequestKind.Bundle,
            Assertion = await World.Bob.TokenAsync("policy"),
            Operations = [new RequestedOperation(digest, "removes a document", [])],
            AllOf = [new RequestRequirement(["enrolled"], 1)],
            TimeoutSeconds = 600,
            GrantLifetimeSeconds = 600,
            InEffect = true,
        };
        var grant = (await World.CallAsync(HttpMethod.Post, "approval/v1/requests", Service("policy", "approval"), ask)).Read<CreateRequestResult>().Request.Grant!;
        Assert.True(JsonSerializer.Deserialize<GrantClaims>(Person.Claims(grant))!.Removal);
        using var client = await World.Alice.ConnectAsync();
        try
        {
            foreach (var before in new IReadOnlyList<BundleEnvelope>?[] { null, [real with { Before = null }], [.. real.Before ?? [], real with { Before = null }], [real with { Before = null }, real with { Before = null }] })
            {
                var rejected = World.LogLines().Count(line => line.Contains("A bundle was rejected", StringComparison.Ordinal));
                World.PolicyRelay.Forge = path => path switch
                {
                    "/policy/v1/beacon" => JsonSerializer.Serialize(Sign("policy", TokenTypes.Beacon, new PolicyBeacon(forged.Version, DateTimeOffset.UtcNow.ToUnixTimeSeconds()))),
                    "/policy/v1/bundle" => JsonSerializer.Serialize(new BundleEnvelope { Payload = Base64Url.EncodeToString(payload), Signature = signature, Grant = grant, Before = before }, Web),
                    _ => null,
                };
                await Until.TrueAsync("the proxy has refused it", () => Task.FromResult(World.LogLines().Count(line => line.Contains("A bundle was rejected", StringComparison.Ordinal)) > rejected));
                Assert.Equal("42501", (await client.RunAsync("drop database prod")).Error().Field('C'));
            }
        }
        finally
        {
            World.PolicyRelay.Forge = null;
            await World.CatchUpAsync();
        }

        Assert.Contains(World.LogLines(), line => line.Contains("does more than taking away", StringComparison.Ordinal));
    }

    private string Sign<T>(string service, string type, T claims) => World.Sign(service, type, claims);

    private string Service(string from, string to) => World.ServiceToken(from, to);
}
