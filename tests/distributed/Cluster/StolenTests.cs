using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Countersign.Platform.Tokens;

namespace Countersign.Distributed.Tests.Cluster;

/// <summary>What somebody can do who has stolen a part of the cluster: real services, real routes.</summary>
[Collection(ClusterCollection.Name)]
public sealed class StolenTests(RunningCluster running)
{
    private static readonly string[] Apps = ["identity", "policy", "approval", "recorder", "proxy"];

    // Everything that changes something or says what not everybody may know, by service.
    private static readonly (string App, string Verb, string Path)[] Routes =
    [
        ("identity", "POST", "identity/v1/bootstrap"), ("identity", "GET", "identity/v1/credentials"), ("identity", "POST", "identity/v1/credentials"),
        ("identity", "POST", "identity/v1/native-logins"), ("identity", "GET", "identity/v1/persons"), ("identity", "GET", "identity/v1/persons/per_x/standing"),
        ("identity", "POST", "identity/v1/persons/per_x/enrolment"), ("identity", "POST", "identity/v1/persons/per_x/disable"), ("identity", "GET", "identity/v1/revocations?after=0"),
        ("identity", "GET", "identity/v1/dead-letters"),
        ("policy", "GET", "policy/v1/bundle"), ("policy", "POST", "policy/v1/changes"), ("policy", "POST", "policy/v1/check"), ("policy", "GET", "policy/v1/connections"),
        ("policy", "GET", "policy/v1/approver-groups/dba"), ("policy", "POST", "policy/v1/dead-letters/replay?id=x"), ("policy", "GET", "policy/v1/dead-letters/letter?id=x"),
        ("approval", "POST", "approval/v1/requests"), ("approval", "GET", "approval/v1/requests?filter=all"), ("approval", "GET", "approval/v1/requests/apr_x"),
        ("approval", "POST", "approval/v1/requests/apr_x/approve"), ("approval", "POST", "approval/v1/requests/apr_x/deny"), ("approval", "POST", "approval/v1/requests/apr_x/redeem"),
        ("approval", "POST", "approval/v1/requests/apr_x/withdraw"), ("approval", "POST", "approval/v1/requests/apr_x/revoke"), ("approval", "GET", "approval/v1/dead-letters"),
        ("recorder", "POST", "recorder/v1/batches"), ("recorder", "GET", "recorder/v1/sessions"), ("recorder", "GET", "recorder/v1/operations"), ("recorder", "GET", "recorder/v1/export"),
        ("recorder", "DELETE", "recorder/v1/dead-letters?id=audit:x"),
        ("proxy", "POST", "proxy/v1/facts"), ("proxy", "GET", "proxy/v1/dead-letters"),
    ];

    [Fact]
    public async Task Tokens_between_sidecar_and_app_open_no_route_of_a_service()
    {
        foreach (var (app, verb, path) in Routes)
        {
            var (api, appToken) = running.Cluster.TokensOf(app);
            foreach (var (header, value) in new[] { ("x", "none"), ("dapr-api-token", appToken), ("dapr-api-token", api), ("Authorization", "Bearer " + appToken) })
            {
                var status = await CallAsync(app, verb, path, request =>
                {
                    request.Headers.TryAddWithoutValidation(header, value);
                    request.Headers.TryAddWithoutValidation("dapr-caller-app-id", "identity");
                });
                Assert.True(status == HttpStatusCode.Unauthorized, $"{verb} {path} with {header}: {status}");
            }
        }
    }

    [Fact]
    public async Task A_token_that_another_key_signed_or_that_is_for_another_service_opens_nothing()
    {
        using var foreign = SigningKey.Create();
        using var proxyKey = KeyOf("proxy");
        foreach (var (app, verb, path) in Routes)
        {
            var other = app == "policy" ? "recorder" : "policy";
            foreach (var token in new[]
            {
                new ServiceTokens("identity", foreign, TimeProvider.System).For(app),
                new ServiceTokens("identity", proxyKey, TimeProvider.System).For(app),
                new ServiceTokens("proxy", proxyKey, TimeProvider.System).For(other),
            })
            {
                var status = await CallAsync(app, verb, path, request => request.Headers.Authorization = new("Bearer", token));
                Assert.True(status == HttpStatusCode.Unauthorized, $"{verb} {path}: {status}");
            }
        }
    }

    /// <summary>A stolen proxy has its key: it may do what proxies do, and no more.</summary>
    [Fact]
    public async Task A_stolen_service_can_do_only_what_that_service_does()
    {
        using var key = KeyOf("proxy");
        var tokens = new ServiceTokens("proxy", key, TimeProvider.System);
        foreach (var (app, verb, path) in Routes.Where(route => route.Path.Contains("approve", StringComparison.Ordinal) || route.Path.Contains("deny", StringComparison.Ordinal)
            || route.Path.Contains("changes", StringComparison.Ordinal) || route.Path.Contains("enrolment", StringComparison.Ordinal) || route.Path.Contains("disable", StringComparison.Ordinal)
            || route.Path.Contains("export", StringComparison.Ordinal) || route.Path.Contains("dead-letters", StringComparison.Ordinal)
            || route.Path.Contains("approver-groups", StringComparison.Ordinal) || route.Path.Contains("revoke", StringComparison.Ordinal) || route.App == "proxy"))
        {
            var status = await CallAsync(app, verb, path, request => request.Headers.Authorization = new("Bearer", tokens.For(app)));
            Assert.True(status == HttpStatusCode.Forbidden, $"{verb} {path}: {status}");
        }
    }

    /// <summary>Dapr lets every app call every actor; what comes from anybody but approval is refused by the actor itself.</summary>
    [Trait("group", "attacks")]
    [Fact]
    public async Task Actors_take_no_word_but_approvals_own()
    {
        using var proxyKey = KeyOf("proxy");
        var message = Encoding.UTF8.GetBytes("""{"type":"read"}""");
        var tokens = new List<string> { "", "x", new ServiceTokens("proxy", proxyKey, TimeProvider.System).For("approval") };
        foreach (var issuer in new[] { "approval", "proxy" })
        {
            var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
            var hash = Convert.ToBase64String(System.Security.Cryptography.SHA256.HashData([.. Encoding.UTF8.GetBytes("Request\napr_x\n"), .. message]));
            tokens.Add(proxyKey.Sign(TokenTypes.Actor, new { iss = issuer, aud = "approval", iat = now, exp = now + 60, hash }));
        }

        using (var approvalKey = KeyOf("approval"))
        {
            // A seal that is good, of another message and of another actor.
            var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
            foreach (var text in new[] { "Request\napr_x\n{}", "Request\napr_y\n{\"type\":\"read\"}", "Requester\napr_x\n{\"type\":\"read\"}" })
            {
                tokens.Add(approvalKey.Sign(TokenTypes.Actor, new
                {
                    iss = "approval",
                    aud = "approval",
                    iat = now,
                    exp = now + 60,
                    hash = Convert.ToBase64String(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(text))),
                }));
            }
        }

        foreach (var app in Apps)
        {
            var name = app == "proxy" ? "proxy-1" : app;
            using var http = new HttpClient { BaseAddress = new Uri(running.Cluster.SidecarOf(name).HttpEndpoint) };
            http.DefaultRequestHeaders.Add("dapr-api-token", running.Cluster.TokensOf(app).Api);
            foreach (var token in tokens)
            {
                using var answer = await http.PutAsJsonAsync("/v1.0/actors/Request/apr_x/method/HandleAsync", new { message, token });
                var text = await answer.Content.ReadAsStringAsync();
                Assert.True(answer.IsSuccessStatusCode ? (string?)JsonNode.Parse(text)!["refusal"]!["code"] == "token-rejected" : (int)answer.StatusCode >= 400, $"{app}: {text}");
                Assert.DoesNotContain("\"document\"", text, StringComparison.Ordinal);
            }
        }

        // Past the sidecar, too: without the app token not even that.
        using var direct = new HttpClient { BaseAddress = running.Cluster["approval"].Address };
        Assert.Equal(HttpStatusCode.Unauthorized, (await direct.PutAsJsonAsync("actors/Request/apr_x/method/HandleAsync", new { message, token = "" })).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await direct.PutAsJsonAsync("actors/Request/apr_x/method/remind/deadline", new { })).StatusCode);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task The_proxy_can_ask_for_an_approval_at_its_sidecar_but_not_decide_one()
    {
        using var key = KeyOf("proxy");
        using var http = new HttpClient { BaseAddress = new Uri(running.Cluster.SidecarOf("proxy-1").HttpEndpoint) };
        http.DefaultRequestHeaders.Add("dapr-api-token", running.Cluster.TokensOf("proxy").Api);
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", new ServiceTokens("proxy", key, TimeProvider.System).For("approval"));
        foreach (var verb in new[] { "approve", "deny", "revoke", "break-glass" })
        {
            using var answer = await http.PostAsJsonAsync($"/v1.0/invoke/approval/method/approval/v1/requests/apr_x/{verb}", new { digest = "" });
            Assert.Equal((HttpStatusCode.Forbidden, "ERR_DIRECT_INVOKE"), (answer.StatusCode, (string?)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["errorCode"]));
        }

        using var asked = await http.PostAsJsonAsync("/v1.0/invoke/approval/method/approval/v1/requests", new { });
        Assert.DoesNotContain("ERR_DIRECT_INVOKE", await asked.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task A_stolen_service_can_not_record_what_another_one_did()
    {
        using var key = KeyOf("proxy");
        var ids = new Dictionary<string, string>();
        foreach (var service in new[] { "identity", "proxy" })
        {
            var id = ids[service] = $"stolen-{Guid.NewGuid():N}";
            var audit = Countersign.Recorder.Contracts.OcsfEvents.Write(new Countersign.Recorder.Contracts.AuditEvent
            {
                Id = id,
                Service = service,
                Action = "person.enrolled",
                At = DateTimeOffset.UtcNow,
                Person = "per_x",
                Name = "x",
                Subject = "per_x",
            });
            var happened = new Countersign.Platform.Ports.BusEvent("audit", id, "countersign.audit", audit);
            var signature = key.Sign(TokenTypes.Event, new Countersign.Platform.Dapr.EventClaims("proxy", "audit", id, "countersign.audit", Countersign.Platform.Dapr.EventSignatures.Hash(audit)));
            running.Cluster.Plane.PublishRaw("audit", Countersign.Platform.Dapr.EventEnvelope.Write(happened, "proxy", signature));
        }

        await Double.Until.TrueAsync(() => running.Cluster["recorder"].Tail(10_000).Any(line => line.Contains(ids["identity"], StringComparison.Ordinal)));
        await Double.Until.TrueAsync(() => running.Cluster.Plane.PendingEvents == 0);
        Assert.Contains(running.Cluster["recorder"].Tail(10_000), line => line.Contains(ids["identity"], StringComparison.Ordinal) && line.Contains("it is not recorded", StringComparison.Ordinal));
        // Of itself it may speak.
        Assert.DoesNotContain(running.Cluster["recorder"].Tail(10_000), line => line.Contains(ids["proxy"], StringComparison.Ordinal));
    }

    private SigningKey KeyOf(string app) => SigningKey.LoadOrCreate(Path.Combine(running.Cluster.DataOf(app == "proxy" ? "proxy-1" : app), "keys", app + ".key"));

    private async Task<HttpStatusCode> CallAsync(string app, string verb, string path, Action<HttpRequestMessage> prepare)
    {
        using var http = new HttpClient { BaseAddress = running.Cluster[app == "proxy" ? "proxy-1" : app].Address };
        using var request = new HttpRequestMessage(new HttpMethod(verb), path);
        request.Content = verb == "POST" ? new StringContent("{}", Encoding.UTF8, "application/json") : null;
        prepare(request);
        using var answer = await http.SendAsync(request);
        return answer.StatusCode;
    }
}

/// <summary>Tests that look at the same cluster.</summary>
[CollectionDefinition(Name)]
public sealed class ClusterCollection : ICollectionFixture<RunningCluster>
{
    /// <summary>Name.</summary>
    public const string Name = "cluster";
}
