using System.Buffers.Text;
using System.Net;
using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;
using Countersign.Identity.Contracts;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;

namespace Countersign.EndToEnd.Tests;

/// <summary>What was good once, or will be: older bundles, and the words of services whose clocks differ (I8).</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed class ClockAttackTests(World world) : Scenario(world)
{
    private const string Open = "apiVersion: countersign/v1\nkind: Policy\nname: open\nrules:\n  - name: all\n    effect: allow\n    when: {complete: any}\n";
    private static readonly JsonSerializerOptions Web = new(JsonSerializerDefaults.Web);

    [Fact]
    public async Task An_older_bundle_is_not_enforced_again_not_even_after_a_restart()
    {
        var stricter = new BundleDocument("no-ledger-2", """
            apiVersion: countersign/v1
            kind: Policy
            name: no-ledger-2
            rules:
              - name: closed-again
                effect: deny
                message: The ledger is closed again.
                when: {writes: ["*.ledger"]}
            """);

        // Genuine in every part: policy signed it, and bob agreed.
        var older = await BundleAsync();
        await World.ChangeAsync(new PolicyChangeRequest { Documents = [stricter] });
        try
        {
            using (var client = await World.Alice.ConnectAsync())
            {
                await RejectedAsync("is older than", older);
                await ClosedAsync(client);
                Assert.Contains(World.LogLines(), line => line.Contains("A bundle was rejected", StringComparison.Ordinal) && line.Contains("is older than", StringComparison.Ordinal));
            }

            // With its own beacon, which is genuine too, policy goes back as a whole.
            var version = JsonSerializer.Deserialize<Bundle>(Base64Url.DecodeFromChars(older.Payload), Web)!.Version;
            var back = Count("version went back");
            Serve(older, version);
            await Until.TrueAsync("the proxy has noticed", () => Task.FromResult(Count("version went back") > back));
            using (var client = await World.Alice.ConnectAsync())
            {
                await ClosedAsync(client);
            }

            // A proxy that has just started knows no bundle but what it has kept of the highest one.
            await World.Host.KillAsync();
            var rejected = Count("is older than");
            Serve(older, version + 2);
            await World.Host.StartAsync("health/live");
            await Until.TrueAsync("the proxy has refused it again", () => Task.FromResult(Count("is older than") > rejected));
            using (var http = World.Http())
            using (var ready = await http.GetAsync("health/ready", TestContext.Current.CancellationToken))
            {
                Assert.Equal(HttpStatusCode.ServiceUnavailable, ready.StatusCode);
            }

            var error = await Assert.ThrowsAnyAsync<Exception>(() => World.Alice.ConnectAsync());
            Assert.True(error is RefusedException or System.Net.Sockets.SocketException, error.ToString());

            World.PolicyRelay.Forge = null;
            await World.CatchUpAsync();
            await World.OpenAsync();
            using var after = await World.Alice.ConnectAsync();
            await ClosedAsync(after);
            Assert.Equal(0, await World.CountAsync("ledger where note = 'older'"));
        }
        finally
        {
            World.PolicyRelay.Forge = null;
            await World.CatchUpAsync();
            await World.ChangeAsync(new PolicyChangeRequest { RemovedDocuments = ["no-ledger-2"] });
        }

        async Task ClosedAsync(RawClient client)
        {
            var error = (await client.RunAsync("insert into ledger values (2, 'older')")).Error();
            Assert.Equal("42501", error.Field('C'));
            Assert.Contains("The ledger is closed again.", error.Field('M'), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Another_bundle_of_the_same_version_is_not_enforced_though_both_services_signed_it()
    {
        var real = await BundleAsync();
        var bundle = JsonSerializer.Deserialize<Bundle>(Base64Url.DecodeFromChars(real.Payload), Web)!;
        var payload = JsonSerializer.SerializeToUtf8Bytes(bundle with { Documents = [new BundleDocument("open.yaml", Open)] }, Web);
        var digest = Convert.ToHexStringLower(SHA256.HashData(payload));

        // Policy was broken into, and bob was shown nothing but a digest: the grant is genuine.
        var asked = (await World.CallAsync(HttpMethod.Post, "approval/v1/requests", World.ServiceToken("policy", "approval"), new CreateRequest
        {
            Kind = RequestKind.Bundle,
            Assertion = await World.Alice.TokenAsync("policy"),
            Operations = [new RequestedOperation(digest, "a small change", [])],
            AllOf = [new RequestRequirement(["enrolled"], 1)],
            TimeoutSeconds = 600,
            GrantLifetimeSeconds = 600,
        })).Read<CreateRequestResult>().Request;
        await World.Bob.ApproveAsync(asked.Id);
        var grant = (await World.CallAsync(
            HttpMethod.Post, $"approval/v1/requests/{asked.Id}/redeem", World.ServiceToken("policy", "approval"), new RedeemRequest(0, digest, "r1", ""))).Read<RedeemResult>().Grant;
        BundleEnvelope Envelope(long ahead) => new()
        {
            Payload = Base64Url.EncodeToString(payload),
            Signature = World.Sign("policy", TokenTypes.Bundle, new { iss = "policy", version = bundle.Version, digest, iat = DateTimeOffset.UtcNow.ToUnixTimeSeconds() + ahead }),
            Grant = grant,
        };
        using var client = await World.Alice.ConnectAsync("root");
        try
        {
            await RejectedAsync("another bundle of version", Envelope(0));
            await RejectedAsync("a clock is wrong", Envelope(60));
            Assert.Equal("42501", (await client.RunAsync("drop database prod")).Error().Field('C'));
            await client.HeldAsync("delete from orders where id = 44");
            await client.CancelAsync();
            await client.ReadToReadyAsync();
        }
        finally
        {
            World.PolicyRelay.Forge = null;
            await World.CatchUpAsync();
        }

        Assert.Equal(1, await World.CountAsync("orders where id = 44"));
        Assert.Equal("1", await World.TruthAsync("select count(*) from pg_database where datname = 'prod'"));
    }

    [Fact]
    public async Task A_beacon_of_the_future_is_no_word()
    {
        using var client = await World.Alice.ConnectAsync();
        var refused = Count("Policy can't be followed: TokenRejectedException");
        World.PolicyRelay.Forge = path => path == "/policy/v1/beacon"
            ? JsonSerializer.Serialize(World.Sign("policy", TokenTypes.Beacon, new PolicyBeacon(1_000_000, DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 60)))
            : null;
        await Until.TrueAsync("the proxy has refused it", () => Task.FromResult(Count("Policy can't be followed: TokenRejectedException") > refused));
        World.PolicyRelay.Forge = null;
        Assert.Equal("SELECT 1", (await client.RunAsync("select 1")).Tags());

        // Nor is anything remembered of it: else the true ones would be refused from here on.
        var back = Count("version went back");
        await World.CatchUpAsync();
        Assert.Equal(back, Count("version went back"));
    }

    [Fact]
    public async Task Tokens_of_clocks_that_differ_decide_ask_and_redeem_nothing()
    {
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders where id = 45");
        var view = await World.Bob.RequestAsync(request);
        var claims = JsonSerializer.Deserialize<AccessTokenClaims>(Person.Claims(await World.Bob.TokenAsync("approval", fresh: true)))!;
        string Token(int shift, int lifetime = 900)
        {
            var issued = DateTimeOffset.UtcNow.ToUnixTimeSeconds() + shift;
            return World.Sign("identity", TokenTypes.Access, claims with { IssuedAt = issued, ExpiresAt = issued + lifetime });
        }

        foreach (var token in new[] { Token(60), Token(8), Token(3600), Token(-1000), Token(-100, 90) })
        {
            var answer = await World.CallAsync(HttpMethod.Post, $"approval/v1/requests/{request}/approve", token, new DecideRequest(view.Digest));
            Assert.Equal((HttpStatusCode.Unauthorized, "token-rejected"), (answer.Status, answer.Code));
        }

        // A clock that differs by less than the leeway is nobody's fault.
        Assert.Equal(HttpStatusCode.OK, (await World.CallAsync(HttpMethod.Get, $"approval/v1/requests/{request}", Token(3))).Status);
        await World.AuditedAsync("request.attempt-refused", request);

        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var session = new SessionAssertionClaims
        {
            Issuer = "identity",
            Audience = "session",
            Subject = "x",
            Session = "made-up",
            Proxy = "proxy-1",
            Connection = "shop",
            Credential = "x",
            Person = World.Alice.Id,
            Name = World.Alice.Email,
            Kind = "human",
            AuthenticatedAt = now,
            IssuedAt = now,
            ExpiresAt = now + 600,
        };
        var create = new CreateRequest
        {
            Kind = RequestKind.Operation,
            Assertion = World.Sign("identity", TokenTypes.Session, session),
            Connection = "shop",
            Database = "shop",
            Operations = [new RequestedOperation(new string('c', 64), "delete from orders", [])],
            AllOf = view.AllOf,
            TimeoutSeconds = 600,
            GrantLifetimeSeconds = 600,
        };
        foreach (var (service, assertion) in new[]
        {
            (60, session), (-120, session), (0, session with { IssuedAt = now + 60, ExpiresAt = now + 600 }), (0, session with { IssuedAt = now - 600, ExpiresAt = now - 60 }),
        })
        {
            var signed = World.Sign("identity", TokenTypes.Session, assertion);
            var asked = await World.CallAsync(HttpMethod.Post, "approval/v1/requests", World.ServiceToken("proxy", "approval", service), create with { Assertion = signed });
            Assert.Equal((HttpStatusCode.Unauthorized, "token-rejected"), (asked.Status, asked.Code));
            var redeemed = await World.CallAsync(
                HttpMethod.Post, $"approval/v1/requests/{request}/redeem", World.ServiceToken("proxy", "approval", service), new RedeemRequest(0, view.Operations[0].Digest, "r1", signed));
            Assert.Equal((HttpStatusCode.Unauthorized, "token-rejected"), (redeemed.Status, redeemed.Code));
        }

        Assert.Equal((RequestState.Pending, view.Version), ((await World.Bob.RequestAsync(request)).State, (await World.Bob.RequestAsync(request)).Version));
        Assert.Equal(1, await World.CountAsync("orders where id = 45"));
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    [Theory]
    [InlineData(46, 60, 600, "clocks differ")]
    [InlineData(47, -700, 600, "expired")]
    public async Task A_grant_of_a_clock_that_differs_lets_nothing_run(int id, int shift, int lifetime, string why)
    {
        var delete = $"delete from orders where id = {id}";
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync(delete);
        World.ApprovalRelay.Rewrite = (path, body) =>
        {
            if (!path.EndsWith("/redeem", StringComparison.Ordinal) || !body.Contains("\"grant\"", StringComparison.Ordinal))
            {
                return null;
            }

            var claims = JsonSerializer.Deserialize<GrantClaims>(Person.Claims(JsonSerializer.Deserialize<RedeemResult>(body, Web)!.Grant))!;
            var issued = DateTimeOffset.UtcNow.ToUnixTimeSeconds() + shift;
            return JsonSerializer.Serialize(new RedeemResult(World.Sign("approval", TokenTypes.Grant, claims with { IssuedAt = issued, ExpiresAt = issued + lifetime })), Web);
        };
        await World.Bob.ApproveAsync(request);
        var error = (await client.ReadToReadyAsync()).Error();
        World.ApprovalRelay.Rewrite = null;
        Assert.Equal("42501", error.Field('C'));
        Assert.Contains(why, error.Field('M'), StringComparison.Ordinal);
        Assert.Equal(1, await World.CountAsync($"orders where id = {id}"));
        await World.RecordedAsync(delete, operation => operation is { Decision: not "approved" } or { Outcome: not "ok" });

        // It was redeemed, so it is used up, whatever came of it.
        Assert.NotEqual(request, await client.HeldAsync(delete));
        await client.CancelAsync();
        await client.ReadToReadyAsync();
        Assert.Equal(1, await World.CountAsync($"orders where id = {id}"));
    }

    private async Task<BundleEnvelope> BundleAsync() =>
        (await World.CallAsync(HttpMethod.Get, "policy/v1/bundle", World.ServiceToken("proxy", "policy"))).Read<BundleEnvelope>();

    private int Count(string text) => World.LogLines().Count(line => line.Contains(text, StringComparison.Ordinal));

    private void Serve(BundleEnvelope envelope, long version) => World.PolicyRelay.Forge = path => path switch
    {
        "/policy/v1/beacon" => JsonSerializer.Serialize(World.Sign("policy", TokenTypes.Beacon, new PolicyBeacon(version, DateTimeOffset.UtcNow.ToUnixTimeSeconds()))),
        "/policy/v1/bundle" => JsonSerializer.Serialize(envelope, Web),
        _ => null,
    };

    private async Task RejectedAsync(string why, BundleEnvelope envelope)
    {
        var before = Count(why);
        Serve(envelope, await World.VersionAsync() + 1);
        await Until.TrueAsync($"the proxy has refused it: {why}", () => Task.FromResult(Count(why) > before));
    }
}
