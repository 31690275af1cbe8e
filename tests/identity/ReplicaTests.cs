using System.Net;
using System.Net.Http.Json;
using Countersign.Fakes.Postgres;
using Countersign.Identity.Contracts;
using Countersign.Identity.Credentials;
using Countersign.Identity.Federation;
using Countersign.Identity.Persons;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.IdentityModel.JsonWebTokens;

namespace Countersign.Identity.Tests;

/// <summary>Two replicas of identity over one real PostgreSQL, with the same key: nothing is lost, and nothing is given out twice.</summary>
[Trait("group", "distributed")]
public sealed class ReplicaTests : IAsyncLifetime
{
    private const int Rounds = 8;
    private readonly string _folder = Directory.CreateTempSubdirectory("countersign-replicas-").FullName;
    private PostgresServer _postgres = null!;
    private IdentityHost _one = null!;
    private IdentityHost _other = null!;

    public async ValueTask InitializeAsync()
    {
        _postgres = await PostgresServer.StartAsync(new PostgresServerOptions { Settings = ["max_connections = 150"] });
        _one = await IdentityHost.StartAsync(Folder("one"), configuration: Storage());
        _other = await StartOtherAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _one.DisposeAsync();
        await _other.DisposeAsync();
        await _postgres.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task A_refresh_token_is_good_once_at_whichever_replica()
    {
        for (var round = 0; round < Rounds; round++)
        {
            var login = await _one.LogInAsync("alice");
            var answers = await Task.WhenAll(Enumerable.Range(0, 6).Select(async number =>
            {
                using var response = await Host(number).Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "refresh", refreshToken = login.RefreshToken, audience = AppIds.Approval });
                return response.StatusCode;
            }));
            Assert.InRange(answers.Count(status => status == HttpStatusCode.OK), 0, 1);
            Assert.All(answers, status => Assert.True(status is HttpStatusCode.OK or HttpStatusCode.Unauthorized));
        }
    }

    [Fact]
    public async Task A_native_login_is_begun_at_one_replica_and_ended_once_at_another()
    {
        var login = await _one.LogInAsync("alice");
        using var response = await login.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], 3600));
        var created = (await response.Content.ReadFromJsonAsync<CreatedCredential>(IdentityHost.Json))!;
        for (var round = 0; round < Rounds; round++)
        {
            using var begun = await _one.SendAsync(
                _one.ServiceToken(AppIds.Proxy), HttpMethod.Post, "/identity/v1/native-logins", new BeginNativeLogin(created.Credential.UserName, "orders", "127.0.0.1:5000"));
            var challenge = (await begun.Content.ReadFromJsonAsync<NativeLoginChallenge>(IdentityHost.Json))!;
            var client = new ScramClient(created.Secret);
            var proof = client.Proof(challenge.Nonce, challenge.Salt, challenge.Iterations);
            var complete = new CompleteNativeLogin(
                client.First, client.ServerFirst(challenge.Nonce, challenge.Salt, challenge.Iterations), client.FinalWithoutProof(challenge.Nonce), proof, "ses_1");
            var answers = await Task.WhenAll(Enumerable.Range(1, 6).Select(async number =>
            {
                using var ended = await Host(number).SendAsync(
                    Host(number).ServiceToken(AppIds.Proxy), HttpMethod.Post, $"/identity/v1/native-logins/{challenge.LoginId}", complete);
                return ended.StatusCode;
            }));
            Assert.Single(answers, status => status == HttpStatusCode.OK);
        }
    }

    [Fact]
    public async Task An_unknown_name_has_the_same_salt_at_every_replica()
    {
        var salts = new HashSet<string>();
        foreach (var host in new[] { _one, _other })
        {
            using var begun = await host.SendAsync(
                host.ServiceToken(AppIds.Proxy), HttpMethod.Post, "/identity/v1/native-logins", new BeginNativeLogin("nobody-aaaa", "orders", "127.0.0.1:1"));
            salts.Add((await begun.Content.ReadFromJsonAsync<NativeLoginChallenge>(IdentityHost.Json))!.Salt);
        }

        Assert.Single(salts);
    }

    [Fact]
    public async Task A_login_code_is_good_once_at_whichever_replica()
    {
        for (var round = 0; round < Rounds; round++)
        {
            var code = await Service<LoginCodes>(0).CreateAsync(new LoginFacts("pri_1", "per_1", null, [], 1), AppIds.Approval, default);
            var taken = await Task.WhenAll(Enumerable.Range(0, 6).Select(number => Task.Run(async () => await Service<LoginCodes>(number).TakeAsync(code, AppIds.Approval, default))));
            Assert.Single(taken, facts => facts is not null);
        }
    }

    [Fact]
    public async Task Revocations_have_numbers_without_gaps_and_no_beacon_goes_back_also_when_a_replica_dies()
    {
        var ids = new System.Collections.Concurrent.ConcurrentBag<string>();
        long heard = 0;
        using var stop = new CancellationTokenSource();
        var listening = Task.Run(async () =>
        {
            // As a proxy: a beacon of whichever replica, and then the feed of the other.
            for (var number = 0; !stop.IsCancellationRequested; number++)
            {
                var head = await HeadAsync(_other);
                Assert.True(head >= heard, $"{head} after {heard}");
                heard = head;
                if (number % 2 == 0)
                {
                    Assert.True(await HeadAsync(_other) >= heard);
                }
            }
        });
        await Task.WhenAll(Enumerable.Range(0, 4).Select(worker => Task.Run(async () =>
        {
            for (var number = 0; number < 15; number++)
            {
                var id = $"crd_{worker}_{number}";
                await Service<RevocationFeed>(worker).AddAsync("credential", id, default);
                ids.Add(id);
            }
        })));

        // One dies; the other goes on, and a new one knows everything.
        await _one.DisposeAsync();
        await Service<RevocationFeed>(1).AddAsync("credential", "crd_last", default);
        ids.Add("crd_last");
        _one = await IdentityHost.StartAsync(Folder("one"), configuration: Storage());
        await stop.CancelAsync();
        await listening;
        Assert.Equal(61, await HeadAsync(_one));
        foreach (var host in new[] { _one, _other })
        {
            var feed = await host.GetAsync<List<Revocation>>(host.ServiceToken(AppIds.Proxy), "/identity/v1/revocations?after=0");
            Assert.Equal(Enumerable.Range(1, 61).Select(number => (long)number), feed.Select(revocation => revocation.Sequence));
            Assert.Equal(ids.Order(StringComparer.Ordinal), feed.Select(revocation => revocation.Id).Order(StringComparer.Ordinal));
        }
    }

    [Fact]
    public async Task A_revocation_at_one_replica_is_known_at_the_other_at_once()
    {
        for (var round = 0; round < Rounds; round++)
        {
            var added = await Service<RevocationFeed>(round).AddAsync("credential", $"crd_{round}", default);
            Assert.Equal(added.Sequence, await HeadAsync(Host(round + 1)));
            Assert.Contains(
                await Host(round + 1).GetAsync<List<Revocation>>(Host(round + 1).ServiceToken(AppIds.Proxy), $"/identity/v1/revocations?after={added.Sequence - 1}"),
                revocation => revocation.Id == $"crd_{round}");
        }
    }

    [Fact]
    public async Task One_bootstrap_token_waits_any_replica_takes_it_and_one_person_is_first()
    {
        var file = Assert.Single(new[] { _one.BootstrapFile, _other.BootstrapFile }, File.Exists);
        var token = (await File.ReadAllTextAsync(file)).Trim();
        await Assert.ThrowsAsync<IdentityException>(async () => await Service<Bootstrap>(1).UseAsync(token + "x", "per_1", default));
        var first = await Task.WhenAll(Enumerable.Range(0, 6).Select(number => Task.Run(async () =>
        {
            try
            {
                await Service<Bootstrap>(number).UseAsync(token, $"per_{number}", default);
                return true;
            }
            catch (IdentityException)
            {
                return false;
            }
        })));
        Assert.Single(first, won => won);

        // Whoever has a copy of the token that was used can't make it a break-glass by a restart.
        await File.WriteAllTextAsync(_other.BootstrapFile, token);
        File.SetUnixFileMode(_other.BootstrapFile, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Assert.Equal(BootstrapStart.Used, await Service<Bootstrap>(1).StartAsync(default));
        Assert.False(File.Exists(_other.BootstrapFile));
    }

    [Fact]
    public async Task Somebody_who_logs_in_at_both_at_once_is_one_person()
    {
        var who = new ProviderIdentity { Issuer = "https://idp.example", Subject = "s-1", Name = "erin", AuthenticatedAt = DateTimeOffset.UtcNow };
        var others = Enumerable.Range(2, 4).Select(number => who with { Subject = $"s-{number}" });
        var signedIn = await Task.WhenAll(Enumerable.Repeat(who, 6).Concat(others)
            .Select((each, number) => Task.Run(async () => await Service<PersonDirectory>(number).SignInAsync(each, default))));
        Assert.Single(signedIn.Take(6).Select(each => each.Person.Id).Distinct());
        Assert.Equal(5, signedIn.Select(each => each.Person.Name).Distinct(StringComparer.OrdinalIgnoreCase).Count());
    }

    [Fact]
    public async Task A_browser_that_begins_at_one_replica_ends_at_another()
    {
        // As replicas are set up: each with a signing key of its own.
        await using var third = await IdentityHost.StartAsync(Folder("third"), configuration: Storage());
        Assert.NotEqual(KeyOf(_one), KeyOf(third));
        var (_, cookie, state) = await Service<BrowserLogin>(0).BeginAsync(AppIds.Approval, "https://countersign.example/", "https://countersign.example/identity/callback", default);
        foreach (var host in new[] { _one, _other, third })
        {
            var login = host.Services.GetRequiredService<BrowserLogin>();
            Assert.Equal("https://countersign.example/", login.Find(cookie, state)?.Return);
            Assert.Null(login.Find(cookie, state + "x"));
            Assert.Null(login.Find((cookie[0] == 'A' ? 'B' : 'A') + cookie[1..], state));
        }

        static string KeyOf(IdentityHost host) => host.Services.GetRequiredKeyedService<SigningKey>(AppIds.Identity).KeyId;
    }

    [Fact]
    public async Task Without_its_database_identity_gives_nothing_out_and_says_why()
    {
        var login = await _one.LogInAsync("alice");
        await _postgres.StopAsync();
        using var refresh = await _one.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "refresh", refreshToken = login.RefreshToken, audience = AppIds.Approval });
        Assert.Equal(HttpStatusCode.ServiceUnavailable, refresh.StatusCode);
        using var beacon = await _one.SendAsync(_one.ServiceToken(AppIds.Proxy), HttpMethod.Get, "/identity/v1/beacon");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, beacon.StatusCode);
        using var ready = await _one.Http.GetAsync("/health/ready");
        Assert.Contains("identity-postgres", await ready.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, ready.StatusCode);
        await _postgres.StartAgainAsync();
        await HttpExtensions.UntilAsync(async () =>
        {
            using var again = await _one.Http.GetAsync("/health/ready");
            return again.IsSuccessStatusCode;
        });
        using var later = await _one.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "refresh", refreshToken = login.RefreshToken, audience = AppIds.Approval });
        Assert.Equal(HttpStatusCode.OK, later.StatusCode);
    }

    private static async Task<long> HeadAsync(IdentityHost host)
    {
        var beacon = await host.GetAsync<string>(host.ServiceToken(AppIds.Proxy), "/identity/v1/beacon");
        return System.Text.Json.JsonSerializer.Deserialize<IdentityBeacon>(
            Microsoft.IdentityModel.Tokens.Base64UrlEncoder.Decode(new JsonWebToken(beacon).EncodedPayload), TokenJson.Options)!.RevocationHead;
    }

    private T Service<T>(int number)
        where T : notnull => Host(number).Services.GetRequiredService<T>();

    private IdentityHost Host(int number) => number % 2 == 0 ? _one : _other;

    private string Folder(string name) => Directory.CreateDirectory(Path.Combine(_folder, name)).FullName;

    private Dictionary<string, string?> Storage() => new()
    {
        ["Countersign:Storage:Postgres"] = $"Host=127.0.0.1;Port={_postgres.Port};Database=postgres;Username=postgres",
    };

    // The same keys, as a secret that both were given; its own folder for everything else.
    private async Task<IdentityHost> StartOtherAsync()
    {
        var keys = Directory.CreateDirectory(Path.Combine(Folder("other"), "keys"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute).FullName;
        foreach (var file in Directory.GetFiles(Path.Combine(_folder, "one", "keys")))
        {
            File.Copy(file, Path.Combine(keys, Path.GetFileName(file)));
        }

        return await IdentityHost.StartAsync(Path.Combine(_folder, "other"), configuration: Storage());
    }
}
