using System.Buffers.Text;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;
using Countersign.Identity.Contracts;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;

namespace Countersign.EndToEnd.Tests;

/// <summary>Stolen, foreign and made-up tokens at the services' own endpoints, with the keys of services that were broken into.</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed class TokenAttackTests(World world) : Scenario(world)
{
    private static readonly JsonSerializerOptions Web = new(JsonSerializerDefaults.Web);

    [Fact]
    public async Task No_token_but_an_approvers_own_decides()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders where id = 40");
        var digest = (await World.Bob.RequestAsync(request)).Digest;
        var good = await World.Bob.TokenAsync("approval");
        var claims = Person.Claims(good);
        using var foreign = SigningKey.Create();
        var tokens = new Dictionary<string, string?>
        {
            ["none at all"] = null,
            ["for another service"] = await World.Bob.TokenAsync("policy"),
            ["of the recorder"] = Service("recorder", "approval"),
            ["of the proxy"] = Service("proxy", "approval"),
            ["of policy"] = Service("policy", "approval"),
            ["of identity as a service"] = Service("identity", "approval"),
            ["of approval itself"] = Service("approval", "approval"),
            ["without signature"] = Unsigned(claims, "none"),
            ["without signature, other case"] = Unsigned(claims, "NonE"),
            ["by a foreign key"] = foreign.Sign(TokenTypes.Access, claims),
            ["by the proxy's key"] = Sign("proxy", TokenTypes.Access, claims),
            ["by approval's key"] = Sign("approval", TokenTypes.Access, claims),
            ["of another type"] = Sign("identity", TokenTypes.Session, claims),
            ["by the public key as a secret"] = await HmacAsync(good),
            ["with a changed person"] = Swap(good, World.Bob.Id, World.Carol.Id),
            ["expired"] = Sign("identity", TokenTypes.Access, JsonSerializer.Deserialize<AccessTokenClaims>(claims)! with { IssuedAt = 1000, ExpiresAt = 2000 }),
        };
        foreach (var (what, token) in tokens)
        {
            var answer = await World.CallAsync(HttpMethod.Post, $"approval/v1/requests/{request}/approve", token, new DecideRequest(digest));
            Assert.True(answer.Status is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden, $"{what}: {answer}");
        }

        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(request)).State);
        Assert.Equal(1, await World.CountAsync("orders where id = 40"));
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    [Fact]
    public async Task A_service_that_was_broken_into_gets_no_further_than_its_own_duties()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders where id = 41");
        var view = await World.Bob.RequestAsync(request);
        async Task RefusedAsync(HttpMethod method, string path, string token, object? body = null)
        {
            var answer = await World.CallAsync(method, path, token, body);
            Assert.True(answer.Status is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden, $"{method} {path}: {answer}");
        }

        async Task NotRedeemedAsync(string token, string assertion)
        {
            var answer = await World.CallAsync(HttpMethod.Post, $"approval/v1/requests/{request}/redeem", token, new RedeemRequest(0, view.Operations[0].Digest, "r1", assertion));
            Assert.True(answer.Status is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden or HttpStatusCode.Conflict, answer.ToString());
        }

        // The proxy can't make up who is at the keyboard: assertions are identity's.
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var assertion = Sign("proxy", TokenTypes.Session, new SessionAssertionClaims
        {
            Issuer = "identity",
            Audience = "session",
            Subject = "x",
            Session = "made-up",
            Proxy = "proxy-1",
            Connection = "shop",
            Credential = "x",
            Person = World.Carol.Id,
            Name = World.Carol.Email,
            Kind = "human",
            AuthenticatedAt = now,
            IssuedAt = now,
            ExpiresAt = now + 600,
        });
        await RefusedAsync(HttpMethod.Post, "approval/v1/requests", Service("proxy", "approval"), new CreateRequest
        {
            Kind = RequestKind.Operation,
            Assertion = assertion,
            Connection = "shop",
            Database = "shop",
            Operations = view.Operations,
            AllOf = view.AllOf,
            TimeoutSeconds = 600,
            GrantLifetimeSeconds = 600,
        });
        await NotRedeemedAsync(Service("proxy", "approval"), assertion);
        await NotRedeemedAsync(Service("recorder", "approval"), assertion);
        await NotRedeemedAsync(await World.Alice.TokenAsync("approval"), assertion);
        await RefusedAsync(HttpMethod.Post, "identity/v1/native-logins", Service("recorder", "identity"), new BeginNativeLogin("alice", "shop", "127.0.0.1"));
        await RefusedAsync(HttpMethod.Post, "identity/v1/native-logins", await World.Alice.TokenAsync("identity"), new BeginNativeLogin("alice", "shop", "127.0.0.1"));
        await RefusedAsync(HttpMethod.Post, "identity/v1/credentials", Service("proxy", "identity"), new CreateCredential(["*"], 600));
        await RefusedAsync(HttpMethod.Post, "policy/v1/changes", Service("proxy", "policy"), new PolicyChangeRequest { RemovedDocuments = ["dangerous"] });
        await RefusedAsync(HttpMethod.Post, "recorder/v1/batches", await World.Alice.TokenAsync("recorder"), new { });
        await RefusedAsync(HttpMethod.Post, "recorder/v1/batches", Service("policy", "recorder"), new { });
        await RefusedAsync(HttpMethod.Get, "policy/v1/bundle", await World.Alice.TokenAsync("policy"));
        await RefusedAsync(HttpMethod.Get, "recorder/v1/export", Service("proxy", "recorder"));
        Assert.Equal(RequestState.Pending, (await World.Bob.RequestAsync(request)).State);
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    [Fact]
    public async Task Who_is_not_enrolled_sees_nothing_of_others()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders where id = 42");
        Assert.Equal(HttpStatusCode.NotFound, (await World.Dave.CallAsync(HttpMethod.Get, $"approval/v1/requests/{request}")).Status);
        foreach (var action in new[] { "withdraw", "revoke", "reason" })
        {
            Assert.False((int)(await World.Dave.PostAsync($"approval/v1/requests/{request}/{action}", new { reason = "x", comment = "x" })).Status < 300);
        }

        Assert.DoesNotContain(request, (await World.Dave.CallAsync(HttpMethod.Get, "approval/v1/requests?filter=all")).Body, StringComparison.Ordinal);
        Assert.DoesNotContain(request, (await World.Dave.CallAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide")).Body, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.Forbidden, (await World.Dave.CallAsync(HttpMethod.Get, $"recorder/v1/operations?person={World.Alice.Id}")).Status);
        Assert.DoesNotContain("delete", (await World.Dave.CallAsync(HttpMethod.Get, "recorder/v1/operations")).Body, StringComparison.Ordinal);
        Assert.DoesNotContain("delete from orders", (await World.Dave.CallAsync(HttpMethod.Get, "recorder/v1/export")).Body, StringComparison.Ordinal);
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    [Fact]
    public async Task A_bundle_with_policys_signature_alone_is_not_enforced()
    {
        var real = (await World.CallAsync(HttpMethod.Get, "policy/v1/bundle", Service("proxy", "policy"))).Read<BundleEnvelope>();
        var bundle = JsonSerializer.Deserialize<Bundle>(Base64Url.DecodeFromChars(real.Payload), Web)!;
        var forged = bundle with
        {
            Version = bundle.Version + 1,
            Documents = [new BundleDocument("open", "apiVersion: countersign/v1\nkind: Policy\nname: open\nrules:\n  - name: all\n    effect: allow\n    when: {complete: any}\n")],
        };
        var payload = JsonSerializer.SerializeToUtf8Bytes(forged, Web);
        var digest = Convert.ToHexStringLower(SHA256.HashData(payload));
        var signature = Sign("policy", TokenTypes.Bundle, new { iss = "policy", version = forged.Version, digest, iat = DateTimeOffset.UtcNow.ToUnixTimeSeconds() });
        var grant = Person.Claims(real.Grant);
        var made = JsonSerializer.Deserialize<GrantClaims>(grant)! with { Digests = [digest] };
        var grants = new[] { "", real.Grant, Sign("policy", TokenTypes.Grant, made), Unsigned(JsonSerializer.SerializeToElement(made), "none", TokenTypes.Grant) };
        using var client = await World.Alice.ConnectAsync();
        try
        {
            foreach (var each in grants)
            {
                var before = World.LogLines().Count(line => line.Contains("A bundle was rejected", StringComparison.Ordinal));
                World.PolicyRelay.Forge = path => path switch
                {
                    "/policy/v1/beacon" => JsonSerializer.Serialize(Sign("policy", TokenTypes.Beacon, new PolicyBeacon(forged.Version, DateTimeOffset.UtcNow.ToUnixTimeSeconds()))),
                    "/policy/v1/bundle" => JsonSerializer.Serialize(new BundleEnvelope { Payload = Base64Url.EncodeToString(payload), Signature = signature, Grant = each }, Web),
                    _ => null,
                };
                await Until.TrueAsync("the proxy has refused it", () => Task.FromResult(
                    World.LogLines().Count(line => line.Contains("A bundle was rejected", StringComparison.Ordinal)) > before));
                await client.HeldAsync("delete from orders where id = 43");
                await client.CancelAsync();
                await client.ReadToReadyAsync();
                Assert.Equal("42501", (await client.RunAsync("drop database prod")).Error().Field('C'));
            }
        }
        finally
        {
            World.PolicyRelay.Forge = null;
            await World.CatchUpAsync();
        }

        Assert.Equal(1, await World.CountAsync("orders where id = 43"));
    }

    private string Sign<T>(string service, string type, T claims) => World.Sign(service, type, claims);

    private string Service(string from, string to) => World.ServiceToken(from, to);

    private static string Unsigned(JsonElement claims, string algorithm, string type = TokenTypes.Access) =>
        $"{Base64Url.EncodeToString(Encoding.UTF8.GetBytes($$"""{"alg":"{{algorithm}}","typ":"{{type}}"}"""))}.{Base64Url.EncodeToString(JsonSerializer.SerializeToUtf8Bytes(claims))}.";

    private async Task<string> HmacAsync(string good)
    {
        using var http = World.Http();
        var keys = await http.GetStringAsync("identity/.well-known/jwks.json");
        var jwk = JsonSerializer.Deserialize<JsonElement>(keys).GetProperty("keys")[0];
        var head = Base64Url.EncodeToString(Encoding.UTF8.GetBytes($$"""{"alg":"HS256","typ":"{{TokenTypes.Access}}","kid":"{{jwk.GetProperty("kid").GetString()}}"}"""));
        var signed = $"{head}.{good.Split('.')[1]}";
        return $"{signed}.{Base64Url.EncodeToString(HMACSHA256.HashData(Encoding.UTF8.GetBytes(jwk.GetRawText()), Encoding.ASCII.GetBytes(signed)))}";
    }

    private static string Swap(string token, string one, string other)
    {
        var parts = token.Split('.');
        var claims = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(parts[1])).Replace(one, other, StringComparison.Ordinal);
        return $"{parts[0]}.{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(claims))}.{parts[2]}";
    }
}
