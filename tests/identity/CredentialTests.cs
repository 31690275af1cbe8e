using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Identity.Tests;

/// <summary>Access credentials, native logins with them, revocation and the beacon, over HTTP.</summary>
[Trait("group", "identity")]
public sealed class CredentialTests : IAsyncLifetime
{
    private IdentityHost _host = null!;

    public async ValueTask InitializeAsync() => _host = await IdentityHost.StartAsync();

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    [Fact]
    public async Task A_native_client_logs_in_and_the_proxy_gets_a_signed_session_assertion()
    {
        var alice = await _host.LogInAsync("alice");
        var created = await CreateAsync(alice, "orders");
        Assert.Matches("^alice-[a-z2-7]{4}$", created.Credential.UserName);
        Assert.Matches("^[a-z2-7]{32}$", created.Secret);

        var (result, client) = await LogInAsync(created.Credential.UserName, created.Secret, "orders");
        Assert.True(client.Accepts(result.ServerSignature));
        var keys = new VerificationKeys([_host.Services.GetRequiredKeyedService<SigningKey>(AppIds.Identity).PublicKey]);
        var claims = await keys.VerifyAsync<SessionAssertionClaims>(result.Assertion, TokenTypes.Session, AppIds.Identity, "session", DateTimeOffset.UtcNow);
        Assert.Equal((alice.Person, "orders", "ses_1", AppIds.Proxy), (claims.Person, claims.Connection, claims.Session, claims.Proxy));
        Assert.Equal((created.Credential.Id, "human", "alice@example.test"), (claims.Credential, claims.Kind, claims.Name));
        Assert.Equal(["dba", "team-alice"], claims.Groups.Order());
        Assert.Equal(created.Credential.ExpiresAt.ToUnixTimeSeconds(), claims.ExpiresAt);
        Assert.Equal(alice.Claims.AuthenticatedAt, claims.AuthenticatedAt);
    }

    [Fact]
    public async Task Making_and_listing_somebodys_credentials_reads_nobody_elses()
    {
        var alice = await _host.LogInAsync("alice");
        var first = await CreateAsync(alice, "orders");

        // Whoever reads this one fails.
        var store = _host.Services.GetRequiredKeyedService<IStateStore>(AppIds.Identity);
        Assert.True(await store.TrySaveAsync("credentials", "somebody-2222", "null"u8.ToArray(), null, TestContext.Current.CancellationToken));
        var second = await CreateAsync(alice, "orders");
        var listed = await _host.GetAsync<List<CredentialView>>(alice.AccessToken, "/identity/v1/credentials");
        Assert.Equal([second.Credential.Id, first.Credential.Id], listed.Select(view => view.Id));
    }

    [Fact]
    public async Task Credentials_of_a_release_without_an_index_are_listed()
    {
        var store = _host.Services.GetRequiredKeyedService<IStateStore>(AppIds.Identity);
        var alice = await _host.LogInAsync("alice");
        var created = await CreateAsync(alice, "orders");
        foreach (var (collection, key) in new[] { ("credential-index", "all"), ($"credentials-of/{alice.Person}", created.Credential.UserName) })
        {
            var item = (await store.GetAsync(collection, key, TestContext.Current.CancellationToken))!;
            Assert.True(await store.TryDeleteAsync(collection, key, item.ETag, TestContext.Current.CancellationToken));
        }

        await using var restarted = await IdentityHost.StartAsync(_host.Data);
        var listed = await restarted.GetAsync<List<CredentialView>>(alice.AccessToken, "/identity/v1/credentials");
        Assert.Equal(created.Credential.Id, Assert.Single(listed).Id);
    }

    [Fact]
    public async Task The_secret_is_nowhere_in_the_data_directory()
    {
        var created = await CreateAsync(await _host.LogInAsync("alice"), "orders");
        var secret = System.Text.Encoding.ASCII.GetBytes(created.Secret);
        Assert.DoesNotContain(created.Secret, created.ToString(), StringComparison.Ordinal);
        foreach (var file in Directory.EnumerateFiles(_host.Data, "*", SearchOption.AllDirectories))
        {
            using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            using var copy = new MemoryStream();
            await stream.CopyToAsync(copy);
            Assert.True(copy.ToArray().AsSpan().IndexOf(secret) < 0, file);
        }
    }

    [Fact]
    public async Task A_wrong_secret_an_unknown_name_and_a_forged_exchange_are_all_the_same_401()
    {
        var alice = await _host.LogInAsync("alice");
        var created = await CreateAsync(alice, "orders");
        var name = created.Credential.UserName;
        foreach (var (user, secret) in new[] { (name, "wrong"), ("nobody-aaaa", created.Secret), ("alice", created.Secret), ("", ""), ("a b'\"é", "x") })
        {
            await FailsAsync(user, secret, "orders", "login-failed");
        }

        // What a proxy could try: another nonce, another salt, fewer iterations, a name attribute of somebody else, extensions.
        var client = new ScramClient(created.Secret);
        var challenge = await BeginAsync(name, "orders");
        await RefusedAsync(challenge.LoginId, Exchange(client, challenge) with { ServerFirst = client.ServerFirst("other", challenge.Salt, challenge.Iterations) });
        challenge = await BeginAsync(name, "orders");
        await RefusedAsync(challenge.LoginId, Exchange(client, challenge) with { ClientFinalWithoutProof = "c=biws,r=other" });
        challenge = await BeginAsync(name, "orders");
        await RefusedAsync(challenge.LoginId, Exchange(client, challenge) with { ClientFirstBare = "m=x," + client.First });
        challenge = await BeginAsync(name, "orders");
        await RefusedAsync(challenge.LoginId, Exchange(client, challenge) with { ClientProof = "" });
        challenge = await BeginAsync(name, "orders");
        await RefusedAsync(challenge.LoginId, Exchange(client, challenge) with { Session = "" });
    }

    [Fact]
    public async Task A_login_can_be_completed_once()
    {
        var created = await CreateAsync(await _host.LogInAsync("alice"), "orders");
        var client = new ScramClient(created.Secret);
        var challenge = await BeginAsync(created.Credential.UserName, "orders");
        using var first = await CompleteAsync(challenge.LoginId, Exchange(client, challenge));
        await first.MustSucceedAsync();
        await RefusedAsync(challenge.LoginId, Exchange(client, challenge));
        await RefusedAsync("lgn_made-up", Exchange(client, challenge));
    }

    [Fact]
    public async Task The_mock_salt_of_an_unknown_name_stays_also_over_a_restart_and_differs_between_names()
    {
        var one = await BeginAsync("nobody-aaaa", "orders");
        var again = await BeginAsync("nobody-aaaa", "orders");
        var other = await BeginAsync("nobody-aaab", "orders");
        Assert.Equal(one.Salt, again.Salt);
        Assert.NotEqual(one.Salt, other.Salt);
        Assert.NotEqual(one.Nonce, again.Nonce);
        await using var restarted = await IdentityHost.StartAsync(_host.Data);
        using var response = await restarted.SendAsync(
            restarted.ServiceToken(AppIds.Proxy), HttpMethod.Post, "/identity/v1/native-logins", new BeginNativeLogin("nobody-aaaa", "orders", "127.0.0.1:1"));
        Assert.Equal(one.Salt, (await response.Content.ReadFromJsonAsync<NativeLoginChallenge>(IdentityHost.Json))!.Salt);
        var created = await CreateAsync(await _host.LogInAsync("alice"), "orders");
        var real = await BeginAsync(created.Credential.UserName, "orders");
        Assert.Equal((one.Salt.Length, one.Iterations, one.Nonce.Length, one.LoginId.Length), (real.Salt.Length, real.Iterations, real.Nonce.Length, real.LoginId.Length));
    }

    [Fact]
    public async Task A_credential_is_for_its_connections_until_it_is_revoked_and_revocation_is_in_feed_event_and_beacon()
    {
        var alice = await _host.LogInAsync("alice");
        var created = await CreateAsync(alice, "orders", "billing");
        await LogInAsync(created.Credential.UserName, created.Secret, "billing");
        await FailsAsync(created.Credential.UserName, created.Secret, "hr", "connection-not-allowed");
        var everything = await CreateAsync(alice, "*");
        await LogInAsync(everything.Credential.UserName, everything.Secret, "hr");

        var before = (await BeaconAsync()).RevocationHead;
        using var revoked = await alice.SendAsync(HttpMethod.Delete, $"/identity/v1/credentials/{created.Credential.Id}");
        await revoked.MustSucceedAsync();
        await FailsAsync(created.Credential.UserName, created.Secret, "billing", "credential-revoked");
        var feed = await _host.GetAsync<List<Revocation>>(_host.ServiceToken(AppIds.Proxy), $"/identity/v1/revocations?after={before}");
        Assert.Equal([(before + 1, "credential", created.Credential.Id)], feed.Select(entry => (entry.Sequence, entry.Kind, entry.Id)));
        Assert.Equal(before + 1, (await BeaconAsync()).RevocationHead);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Identity.Any(e => e.Type == "countersign.revocation" && e.Id == $"revocation:{before + 1}")));
        Assert.NotNull((await _host.GetAsync<List<CredentialView>>(alice.AccessToken, "/identity/v1/credentials")).Single(view => view.Id == created.Credential.Id).RevokedAt);

        using var twice = await alice.SendAsync(HttpMethod.Delete, $"/identity/v1/credentials/{created.Credential.Id}");
        await twice.MustSucceedAsync();
        Assert.Equal(before + 1, (await BeaconAsync()).RevocationHead);
    }

    [Fact]
    public async Task Beacons_are_published_signed()
    {
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Identity.Any(e => e.Type == "countersign.beacon")));
        var published = JsonSerializer.Deserialize<string>(_host.Audit.Identity.First(e => e.Type == "countersign.beacon").Data.Span)!;
        Assert.InRange((await VerifyBeaconAsync(published)).IssuedAt, DateTimeOffset.UtcNow.ToUnixTimeSeconds() - 60, DateTimeOffset.UtcNow.ToUnixTimeSeconds());
    }

    [Fact]
    public async Task Disabling_a_person_takes_everything_at_once()
    {
        var alice = await _host.BootstrapAsync();
        var bob = await _host.LogInAsync("bob");
        var created = await CreateAsync(bob, "orders");
        using var response = await alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{bob.Person}/disable");
        await response.MustSucceedAsync();
        await FailsAsync(created.Credential.UserName, created.Secret, "orders", "credential-revoked");
        using var refresh = await _host.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "refresh", refreshToken = bob.RefreshToken, audience = AppIds.Identity });
        Assert.Equal(HttpStatusCode.Unauthorized, refresh.StatusCode);
        using var browser = new Browser(_host.BaseUrl);
        var (idToken, nonce) = await browser.CodeFlowAsync("bob", IdentityHost.DevPassword("bob"));
        using var login = await _host.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "id_token", idToken, nonce, audience = AppIds.Identity });
        Assert.Equal((HttpStatusCode.Forbidden, "person-disabled"), (login.StatusCode, await login.CodeAsync()));
        using var another = await bob.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], 600));
        Assert.Equal("person-disabled", await another.CodeAsync());
        var feed = await _host.GetAsync<List<Revocation>>(_host.ServiceToken(AppIds.Proxy), "/identity/v1/revocations");
        Assert.Equal(["credential", "person"], feed.Select(entry => entry.Kind));
        Assert.Equal([1L, 2L], feed.Select(entry => entry.Sequence));
        Assert.True((await _host.StandingAsync(bob.Person)).Disabled);
    }

    [Fact]
    public async Task Credentials_of_others_are_neither_seen_nor_revoked_by_who_is_not_enrolled()
    {
        var alice = await _host.BootstrapAsync();
        var bob = await _host.LogInAsync("bob");
        var created = await CreateAsync(alice, "orders");
        Assert.Empty(await _host.GetAsync<List<CredentialView>>(bob.AccessToken, "/identity/v1/credentials"));
        using var refused = await bob.SendAsync(HttpMethod.Delete, $"/identity/v1/credentials/{created.Credential.Id}");
        Assert.Equal(HttpStatusCode.NotFound, refused.StatusCode);
        var bobs = await CreateAsync(bob, "orders");
        using var allowed = await alice.SendAsync(HttpMethod.Delete, $"/identity/v1/credentials/{bobs.Credential.Id}");
        await allowed.MustSucceedAsync();
    }

    [Theory]
    [InlineData(59)]
    [InlineData(43_201)]
    [InlineData(-1)]
    [InlineData(int.MaxValue)]
    public async Task A_lifetime_out_of_range_is_refused(int seconds)
    {
        var alice = await _host.LogInAsync("alice");
        using var response = await alice.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], seconds));
        Assert.Equal("lifetime-out-of-range", await response.CodeAsync());
        using var none = await alice.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential([], 60));
        Assert.Equal("connections-malformed", await none.CodeAsync());
    }

    [Fact]
    public async Task Only_a_proxy_can_begin_logins_and_read_revocations()
    {
        var alice = await _host.LogInAsync("alice");
        foreach (var token in new[] { alice.AccessToken, _host.ServiceToken(AppIds.Policy), _host.ServiceToken(AppIds.Approval) })
        {
            using var login = await _host.SendAsync(token, HttpMethod.Post, "/identity/v1/native-logins", new BeginNativeLogin("x", "y", "z"));
            Assert.Equal(HttpStatusCode.Forbidden, login.StatusCode);
            using var feed = await _host.SendAsync(token, HttpMethod.Get, "/identity/v1/revocations");
            Assert.Equal(HttpStatusCode.Forbidden, feed.StatusCode);
        }
    }

    [Fact]
    public async Task What_services_decide_on_is_signed_for_who_asked()
    {
        var alice = await _host.BootstrapAsync();
        var keys = _host.Services.GetRequiredService<ITrustedKeys>();
        foreach (var (asker, path) in new[] { (AppIds.Approval, $"v1/persons/{alice.Person}/standing"), (AppIds.Policy, "v1/persons"), (AppIds.Proxy, "v1/revocations?after=0"), (AppIds.Recorder, "v1/persons/per_nobody/standing") })
        {
            using var client = new HttpClient { BaseAddress = new Uri(_host.BaseUrl + "/identity/") };
            client.DefaultRequestHeaders.Authorization = new("Bearer", _host.ServiceToken(asker));
            var answer = await client.AskSignedAsync(keys, AppIds.Identity, asker, path, TimeProvider.System, TestContext.Current.CancellationToken);
            Assert.Equal(path.Contains("nobody", StringComparison.Ordinal) ? HttpStatusCode.NotFound : HttpStatusCode.OK, answer.Status);
            await Assert.ThrowsAsync<TokenRejectedException>(
                () => client.AskSignedAsync(keys, AppIds.Identity, "other", path, TimeProvider.System, TestContext.Current.CancellationToken));
        }
    }

    [Fact]
    public async Task State_survives_a_restart()
    {
        var alice = await _host.BootstrapAsync();
        var created = await CreateAsync(alice, "orders");
        using var revoke = await alice.SendAsync(HttpMethod.Delete, $"/identity/v1/credentials/{(await CreateAsync(alice, "x")).Credential.Id}");
        await using var restarted = await IdentityHost.StartAsync(_host.Data);
        Assert.True((await restarted.StandingAsync(alice.Person)) is { Enrolled: true, BootstrapOpen: true });
        var tokens = await restarted.TokensAsync(new { grant = "refresh", refreshToken = alice.RefreshToken, audience = AppIds.Policy });
        Assert.Equal(alice.Person, restarted.VerifyAccess(tokens.AccessToken).Person);
        Assert.Single(await restarted.GetAsync<List<Revocation>>(restarted.ServiceToken(AppIds.Proxy), "/identity/v1/revocations"));
        Assert.Equal(2, (await restarted.GetAsync<List<CredentialView>>(alice.AccessToken, "/identity/v1/credentials")).Count);
        Assert.False(File.Exists(restarted.BootstrapFile));
        Assert.Equal(created.Credential.UserName, (await restarted.GetAsync<List<CredentialView>>(alice.AccessToken, "/identity/v1/credentials"))[1].UserName);
    }

    private static CompleteNativeLogin Exchange(ScramClient client, NativeLoginChallenge challenge) => new(
        client.First, client.ServerFirst(challenge.Nonce, challenge.Salt, challenge.Iterations), client.FinalWithoutProof(challenge.Nonce),
        client.Proof(challenge.Nonce, challenge.Salt, challenge.Iterations), "ses_1");

    private static async Task<CreatedCredential> CreateAsync(Login login, params string[] connections)
    {
        using var response = await login.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(connections, 600));
        await response.MustSucceedAsync();
        return (await response.Content.ReadFromJsonAsync<CreatedCredential>(IdentityHost.Json))!;
    }

    private async Task<NativeLoginChallenge> BeginAsync(string user, string connection)
    {
        using var response = await _host.SendAsync(
            _host.ServiceToken(AppIds.Proxy), HttpMethod.Post, "/identity/v1/native-logins", new BeginNativeLogin(user, connection, "127.0.0.1:5000"));
        await response.MustSucceedAsync();
        return (await response.Content.ReadFromJsonAsync<NativeLoginChallenge>(IdentityHost.Json))!;
    }

    private Task<HttpResponseMessage> CompleteAsync(string loginId, CompleteNativeLogin complete)
        => _host.SendAsync(_host.ServiceToken(AppIds.Proxy), HttpMethod.Post, $"/identity/v1/native-logins/{loginId}", complete);

    private async Task<(NativeLoginResult Result, ScramClient Client)> LogInAsync(string user, string secret, string connection)
    {
        var client = new ScramClient(secret);
        var challenge = await BeginAsync(user, connection);
        using var response = await CompleteAsync(challenge.LoginId, Exchange(client, challenge));
        await response.MustSucceedAsync();
        return ((await response.Content.ReadFromJsonAsync<NativeLoginResult>(IdentityHost.Json))!, client);
    }

    private async Task FailsAsync(string user, string secret, string connection, string code)
    {
        var challenge = await BeginAsync(user, connection);
        using var response = await CompleteAsync(challenge.LoginId, Exchange(new ScramClient(secret), challenge));
        Assert.Equal((HttpStatusCode.Unauthorized, code), (response.StatusCode, await response.CodeAsync()));
    }

    private async Task RefusedAsync(string loginId, CompleteNativeLogin complete)
    {
        using var response = await CompleteAsync(loginId, complete);
        Assert.Equal((HttpStatusCode.Unauthorized, "login-failed"), (response.StatusCode, await response.CodeAsync()));
    }

    private async Task<IdentityBeacon> BeaconAsync()
        => await VerifyBeaconAsync(await _host.GetAsync<string>(_host.ServiceToken(AppIds.Proxy), "/identity/v1/beacon"));

    private async Task<IdentityBeacon> VerifyBeaconAsync(string beacon)
    {
        var keys = new VerificationKeys([_host.Services.GetRequiredKeyedService<SigningKey>(AppIds.Identity).PublicKey]);
        return await keys.VerifyAsync<IdentityBeacon>(beacon, TokenTypes.Beacon, null, null, DateTimeOffset.UtcNow, requireExpiry: false);
    }
}
