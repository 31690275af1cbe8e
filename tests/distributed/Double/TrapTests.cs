using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Countersign.Fakes.Sidecar;
using Dapr.Client;
using Grpc.Core;

namespace Countersign.Distributed.Tests.Double;

/// <summary>The double has the surprises of the real sidecar. A double without them would prove nothing.</summary>
public sealed class TrapTests : IAsyncLifetime
{
    private const string Api = "api-token-0123456789";
    private const string AppToken = "app-token-0123456789";
    private readonly List<IAsyncDisposable> _ended = [];
    private Plane _plane = null!;

    public ValueTask InitializeAsync()
    {
        _plane = Keep(new Plane(Options()));
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        _ended.Reverse();
        foreach (var each in _ended)
        {
            await each.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_first_write_of_a_key_that_exists_is_a_general_error_and_not_aborted()
    {
        var (_, _, dapr) = await AddAsync("approval");
        var first = new StateOptions { Concurrency = ConcurrencyMode.FirstWrite };
        await dapr.SaveStateAsync("statestore", "k", 1, first);
        var error = await Assert.ThrowsAsync<global::Dapr.DaprException>(() => dapr.SaveStateAsync("statestore", "k", 2, first));
        Assert.Equal(StatusCode.Internal, Assert.IsType<RpcException>(error.InnerException).StatusCode);
        Assert.Equal(1, await dapr.GetStateAsync<int>("statestore", "k"));
    }

    [Fact]
    public async Task An_etag_that_is_not_current_is_aborted_one_that_is_none_of_the_store_is_refused_and_an_empty_one_writes_blindly()
    {
        var (_, _, dapr) = await AddAsync("approval");
        await dapr.SaveStateAsync("statestore", "k", 1);
        var (_, etag) = await dapr.GetStateAndETagAsync<int>("statestore", "k");
        Assert.True(await dapr.TrySaveStateAsync("statestore", "k", 2, etag));
        Assert.False(await dapr.TrySaveStateAsync("statestore", "k", 3, etag));
        Assert.False(await dapr.TrySaveStateAsync("statestore", "absent", 3, etag));
        await Assert.ThrowsAsync<global::Dapr.DaprException>(() => dapr.TrySaveStateAsync("statestore", "k", 3, "1"));
        await dapr.SaveStateAsync("statestore", "k", 4);
        Assert.Equal(4, await dapr.GetStateAsync<int>("statestore", "k"));
    }

    [Fact]
    public async Task Keys_are_of_the_app_id_and_end_with_their_time_to_live()
    {
        var (_, _, one) = await AddAsync("approval");
        var (_, _, other) = await AddAsync("policy");
        await one.SaveStateAsync("statestore", "k", 1);
        Assert.Equal("1", Encoding.UTF8.GetString(_plane.PeekState("approval||k")!));
        Assert.Equal(0, await other.GetStateAsync<int>("statestore", "k"));
        await one.SaveStateAsync("statestore", "brief", 1, metadata: new Dictionary<string, string> { ["ttlInSeconds"] = "1" });
        Assert.Equal(1, await one.GetStateAsync<int>("statestore", "brief"));
        await Until.TrueAsync(async () => await one.GetStateAsync<int>("statestore", "brief") == 0);
    }

    [Fact]
    public async Task A_transaction_happens_as_a_whole_or_not_at_all()
    {
        var (_, _, dapr) = await AddAsync("approval");
        await dapr.SaveStateAsync("statestore", "a", 1);
        await Assert.ThrowsAsync<global::Dapr.DaprException>(() => dapr.ExecuteStateTransactionAsync("statestore",
        [
            new StateTransactionRequest("a", "2"u8.ToArray(), StateOperationType.Upsert),
            new StateTransactionRequest("b", "2"u8.ToArray(), StateOperationType.Upsert, Guid.NewGuid().ToString()),
        ]));
        Assert.Equal(1, await dapr.GetStateAsync<int>("statestore", "a"));
    }

    [Fact]
    public async Task Reminders_come_without_due_time_and_period_and_repeat()
    {
        var (app, sidecar, _) = await AddAsync("approval", app => app.Entities = ["T"]);
        using var http = Client(sidecar);
        await OkAsync(http.PutAsJsonAsync(sidecar.HttpEndpoint + "//v1.0/actors/T/a1/reminders/wake", new { dueTime = "0h0m0s50ms", period = "0h0m0s50ms", data = "x" }));
        await Until.TrueAsync(() => app.To("/actors/T/a1/method/remind/wake").Count >= 2);
        var body = JsonNode.Parse(app.To("/actors/T/a1/method/remind/wake")[0].Body)!;
        Assert.Equal(("", "", "x"), ((string)body["dueTime"]!, (string)body["period"]!, (string)body["data"]!));
        await OkAsync(http.DeleteAsync(sidecar.HttpEndpoint + "//v1.0/actors/T/a1/reminders/wake"));
        Assert.Empty(_plane.RemindersOf("T"));
    }

    [Fact]
    public async Task A_one_shot_that_fails_is_tried_three_times_more_and_then_lost()
    {
        var (app, sidecar, _) = await AddAsync("approval", app =>
        {
            app.Entities = ["T"];
            app.Answer = _ => Task.FromResult((500, ""));
        });
        using var http = Client(sidecar);
        await OkAsync(http.PutAsJsonAsync(sidecar.HttpEndpoint + "//v1.0/actors/T/a1/reminders/once", new { dueTime = "0h0m0s1ms", period = "" }));
        await Until.TrueAsync(() => _plane.RemindersOf("T").Count == 0);
        Assert.Equal(4, app.To("/actors/T/a1/method/remind/once").Count);
    }

    [Theory]
    [InlineData("""{"dueTime":"1s","period":"P1D"}""")]
    [InlineData("""{"dueTime":"1s","period":"","ttl":"5s"}""")]
    [InlineData("""{"dueTime":"soon"}""")]
    public async Task The_scheduler_refuses_days_and_a_one_shot_with_an_end(string body)
    {
        var (_, sidecar, _) = await AddAsync("approval", app => app.Entities = ["T"]);
        using var http = Client(sidecar);
        using var content = new StringContent(body);
        Assert.Equal(HttpStatusCode.BadRequest, (await http.PutAsync("v1.0/actors/T/a1/reminders/r", content)).StatusCode);
    }

    [Fact]
    public async Task Only_the_host_of_a_type_registers_reminders_and_has_its_state_but_anybody_calls_it()
    {
        var (app, _, _) = await AddAsync("approval", app => app.Entities = ["T"]);
        var (_, other, _) = await AddAsync("proxy");
        using var http = Client(other);
        Assert.Equal(HttpStatusCode.Forbidden, (await http.PutAsJsonAsync("v1.0/actors/T/a1/reminders/r", new { dueTime = "1s" })).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await http.GetAsync("v1.0/actors/T/a1/state/doc")).StatusCode);
        await OkAsync(http.PutAsJsonAsync("v1.0/actors/T/a1/method/Handle", 1));
        Assert.Equal("proxy", app.To("/actors/T/a1/method/Handle")[0].Headers["dapr-caller-app-id"]);
    }

    [Fact]
    public async Task Turns_of_an_actor_do_not_overlap_and_others_do_not_wait()
    {
        int now = 0, most = 0, mostOfAll = 0, all = 0;
        var (_, sidecar, _) = await AddAsync("approval", app =>
        {
            app.Entities = ["T"];
            app.Answer = async request =>
            {
                var one = request.Path.Contains("/same/", StringComparison.Ordinal);
                most = Math.Max(most, one ? Interlocked.Increment(ref now) : most);
                mostOfAll = Math.Max(mostOfAll, Interlocked.Increment(ref all));
                await Task.Delay(10);
                Interlocked.Decrement(ref all);
                if (one)
                {
                    Interlocked.Decrement(ref now);
                }

                return (200, "1");
            };
        });
        using var http = Client(sidecar);
        await Task.WhenAll(Enumerable.Range(0, 20).Select(i => OkAsync(http.PutAsJsonAsync($"v1.0/actors/T/{(i % 2 == 0 ? "same" : $"o{i}")}/method/M", i))));
        Assert.Equal(1, most);
        Assert.True(mostOfAll > 1);
    }

    [Theory]
    [InlineData(204, HttpStatusCode.InternalServerError)]
    [InlineData(404, HttpStatusCode.NotFound)]
    [InlineData(500, HttpStatusCode.InternalServerError)]
    public async Task Any_answer_of_an_actor_but_200_is_an_error(int status, HttpStatusCode expected)
    {
        var (_, sidecar, _) = await AddAsync("approval", app =>
        {
            app.Entities = ["T"];
            app.Answer = _ => Task.FromResult((status, ""));
        });
        using var http = Client(sidecar);
        Assert.Equal(expected, (await http.PutAsJsonAsync("v1.0/actors/T/a/method/M", 1)).StatusCode);
    }

    [Fact]
    public async Task Bodies_end_at_4_MiB_and_headers_at_4_KiB()
    {
        var (_, sidecar, _) = await AddAsync("policy");
        await AddAsync("approval");
        using var http = Client(sidecar);
        using var large = new ByteArrayContent(new byte[(4 * 1024 * 1024) + 1]);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, (await http.PostAsync("v1.0/invoke/approval/method/x", large)).StatusCode);
        using var request = new HttpRequestMessage(HttpMethod.Get, "v1.0/invoke/approval/method/x");
        request.Headers.Add("x-large", new string('x', 4097));
        Assert.Equal((HttpStatusCode)431, (await http.SendAsync(request)).StatusCode);
    }

    [Fact]
    public async Task Without_the_api_token_nothing_is_answered_but_health()
    {
        var (_, sidecar, _) = await AddAsync("policy");
        using var http = new HttpClient { BaseAddress = new Uri(sidecar.HttpEndpoint) };
        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync("/v1.0/metadata")).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync("/v1.0/invoke/policy/method/x")).StatusCode);
        Assert.Equal(HttpStatusCode.NoContent, (await http.GetAsync("/v1.0/healthz/outbound")).StatusCode);
        using var dapr = new DaprClientBuilder().UseHttpEndpoint(sidecar.HttpEndpoint).UseGrpcEndpoint(sidecar.GrpcEndpoint).UseDaprApiToken("another").Build();
        var error = await Assert.ThrowsAsync<global::Dapr.DaprException>(() => dapr.GetStateAsync<int>("statestore", "k"));
        Assert.Equal(StatusCode.Unauthenticated, Assert.IsType<RpcException>(error.InnerException).StatusCode);
    }

    [Fact]
    public async Task Invocation_carries_the_caller_the_app_token_and_what_was_sent()
    {
        var (app, _, _) = await AddAsync("policy");
        var (_, sidecar, _) = await AddAsync("proxy");
        using var http = Client(sidecar);
        using var request = new HttpRequestMessage(HttpMethod.Post, "v1.0/invoke/policy/method/policy/v1/a%2Fb?x=1") { Content = new StringContent("body") };
        request.Headers.Add("Authorization", "Bearer t");
        request.Headers.Add("dapr-caller-app-id", "identity");
        await OkAsync(http.SendAsync(request));
        var got = Assert.Single(app.Requests);
        Assert.Equal(("POST", "/policy/v1/a%2Fb?x=1", "body"), (got.Method, got.Path, got.Body));
        Assert.Equal(("proxy", AppToken, "Bearer t"), (got.Headers["dapr-caller-app-id"], got.Headers["dapr-api-token"], got.Headers["Authorization"]));
    }

    private static readonly string[] Verbs = ["GET", "POST"];

    [Theory]
    // One last part, or none.
    [InlineData("/a/v1/requests/*", "POST", "a/v1/requests", true)]
    [InlineData("/a/v1/requests/*", "POST", "a/v1/requests/x", true)]
    [InlineData("/a/v1/requests/*", "POST", "a/v1/requests/x/approve", false)]
    [InlineData("/a/v1/requests/*", "POST", "A/V1/Requests/x", true)]
    // A star alone in the middle stands for nothing.
    [InlineData("/a/*/redeem", "POST", "a/x/redeem", false)]
    [InlineData("/a/apr_*/redeem", "POST", "a/apr_1/redeem", true)]
    [InlineData("/a/**/redeem", "POST", "a/x/redeem", true)]
    [InlineData("/a/**/redeem", "POST", "a/x/approve", false)]
    // A whole name answers for all that is below it.
    [InlineData("/a/v1/requests", "POST", "a/v1/requests/x/approve", true)]
    [InlineData("/a/v1/requests", "DELETE", "a/v1/requests", false)]
    public void Paths_of_access_control_match_as_the_runtime_matches_them(string allowed, string verb, string path, bool expected)
    {
        var rules = SidecarRules.Parse($$"""
            spec:
              accessControl:
                defaultAction: deny
                trustDomain: acme
                policies:
                - {appId: proxy, defaultAction: deny, trustDomain: acme, namespace: default, operations: [{name: "{{allowed}}", httpVerb: [{{string.Join(", ", Verbs)}}], action: allow}]}
            """);
        Assert.Equal(expected, rules.MayInvoke("proxy", "acme", path, verb));
        Assert.False(rules.MayInvoke("recorder", "acme", path, verb));
        Assert.False(rules.MayInvoke("proxy", "public", path, verb));
    }

    [Fact]
    public async Task Access_control_refuses_an_invocation_and_lets_the_actor_call_through()
    {
        var (app, _, _) = await AddAsync("approval", app => app.Entities = ["T"], """
            spec:
              accessControl:
                defaultAction: deny
                trustDomain: acme
                policies:
                - {appId: proxy, defaultAction: deny, trustDomain: acme, namespace: default, operations: [{name: /approval/v1/requests/*, httpVerb: [POST], action: allow}]}
            """);
        var (_, sidecar, _) = await AddAsync("proxy", null, "spec: {accessControl: {defaultAction: deny, trustDomain: acme}}");
        using var http = Client(sidecar);
        await OkAsync(http.PostAsJsonAsync("v1.0/invoke/approval/method/approval/v1/requests", 1));
        Assert.Equal(HttpStatusCode.Forbidden, (await http.PostAsJsonAsync("v1.0/invoke/approval/method/approval/v1/requests/x/approve", 1)).StatusCode);
        await OkAsync(http.PutAsJsonAsync("v1.0/actors/T/x/method/Handle", 1));
        Assert.Equal(2, app.Requests.Count);
    }

    [Fact]
    public async Task Secrets_and_apis_are_what_the_configuration_allows()
    {
        await _plane.DisposeAsync();
        _plane = Keep(new Plane(Options() with { Secrets = [new("secrets", new Dictionary<string, string> { ["a"] = "1", ["b"] = "2" })] }));
        var (_, sidecar, dapr) = await AddAsync("proxy", null, """
            spec:
              secrets: {scopes: [{storeName: secrets, defaultAccess: deny, allowedSecrets: ["a"]}]}
              api: {allowed: [{name: secrets, version: v1, protocol: grpc}, {name: invoke, version: v1.0, protocol: http}]}
            """);
        Assert.Equal("1", (await dapr.GetSecretAsync("secrets", "a"))["a"]);
        var error = await Assert.ThrowsAsync<global::Dapr.DaprException>(() => dapr.GetSecretAsync("secrets", "b"));
        Assert.Equal(StatusCode.PermissionDenied, Assert.IsType<RpcException>(error.InnerException).StatusCode);
        await Assert.ThrowsAsync<global::Dapr.DaprException>(() => dapr.GetStateAsync<int>("statestore", "k"));
        using var http = Client(sidecar);
        Assert.Equal(HttpStatusCode.NotFound, (await http.GetAsync("v1.0/metadata")).StatusCode);
    }

    [Fact]
    public async Task A_secret_store_is_there_for_its_apps_only_and_an_object_is_one_secret_where_it_says_so()
    {
        await _plane.DisposeAsync();
        var values = new Dictionary<string, IReadOnlyDictionary<string, string>> { ["shop"] = new Dictionary<string, string> { ["user"] = "app", ["port"] = "5432" } };
        var empty = new Dictionary<string, string>();
        _plane = Keep(new Plane(Options() with
        {
            Outages = new PlaneOutages(),
            Secrets = [new("target-credentials", empty) { Scopes = ["proxy"], MultiValued = true, Objects = values }, new("flat", empty) { Objects = values }],
        }));
        var (_, _, proxy) = await AddAsync("proxy", null, "spec: {}");
        var (_, _, policy) = await AddAsync("policy", null, "spec: {}");
        Assert.Equal(values["shop"], await proxy.GetSecretAsync("target-credentials", "shop"));
        await Assert.ThrowsAsync<global::Dapr.DaprException>(() => policy.GetSecretAsync("target-credentials", "shop"));
        await Assert.ThrowsAsync<global::Dapr.DaprException>(() => proxy.GetSecretAsync("flat", "shop"));
        Assert.Equal(new Dictionary<string, string> { ["shop:user"] = "app" }, await proxy.GetSecretAsync("flat", "shop:user"));

        // That there is none and that the store is down: the sidecar says the same.
        var absent = await Assert.ThrowsAsync<global::Dapr.DaprException>(() => proxy.GetSecretAsync("target-credentials", "crm"));
        _plane.Outages.Secrets = true;
        var down = await Assert.ThrowsAsync<global::Dapr.DaprException>(() => proxy.GetSecretAsync("target-credentials", "shop"));
        Assert.All(new[] { absent, down }, error => Assert.Equal(StatusCode.Internal, Assert.IsType<RpcException>(error.InnerException).StatusCode));
    }

    internal static PlaneOptions Options() => new() { RetryPause = TimeSpan.FromMilliseconds(20), ProbeInterval = TimeSpan.FromMilliseconds(30), Redelivery = TimeSpan.FromMilliseconds(100) };

    private static async Task OkAsync(Task<HttpResponseMessage> answer)
    {
        using var response = await answer;
        Assert.True(response.IsSuccessStatusCode, $"{(int)response.StatusCode}: {await response.Content.ReadAsStringAsync()}");
    }

    private static HttpClient Client(Sidecar sidecar)
    {
        var http = new HttpClient { BaseAddress = new Uri(sidecar.HttpEndpoint + "/") };
        http.DefaultRequestHeaders.Add("dapr-api-token", Api);
        return http;
    }

    private T Keep<T>(T each)
        where T : IAsyncDisposable
    {
        _ended.Add(each);
        return each;
    }

    private async Task<(FakeApp App, Sidecar Sidecar, DaprClient Dapr)> AddAsync(string appId, Action<FakeApp>? setup = null, string? configuration = null)
    {
        var app = Keep(await FakeApp.StartAsync(setup));
        var sidecar = Keep(await _plane.AddAsync(new SidecarOptions
        {
            AppId = appId,
            App = app.Address,
            ApiToken = Api,
            AppToken = AppToken,
            Configuration = configuration,
        }));
        await Until.TrueAsync(() => sidecar.IsAppWell);
        return (app, sidecar, new DaprClientBuilder().UseHttpEndpoint(sidecar.HttpEndpoint).UseGrpcEndpoint(sidecar.GrpcEndpoint).UseDaprApiToken(Api).Build());
    }
}
