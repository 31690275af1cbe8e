using System.Collections.Concurrent;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Countersign.Distributed.Tests.Double;
using Countersign.Platform.Dapr;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>Who has the broker's password, a sidecar or an app token still can't say anything in the name of a service.</summary>
public sealed class ForgeryTests
{
    private static CancellationToken Ending => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Events_that_nobody_signed_or_that_were_changed_are_not_handled()
    {
        var got = new ConcurrentQueue<string>();
        var fleet = new DoubleFleet(DoubleFleet.Quick);
        await using var runtime = await SidecarRuntime.StartAsync(fleet, new AppSpec(AppIds.Approval), ContractApps.Policy(Into(got)));
        var own = EventEnvelope.Write(
            new BusEvent(Topics.Approvals, "true", "t", """{"n":1,"s":"x"}"""u8.ToArray()), AppIds.Approval,
            runtime.Get<EventSignatures>(AppIds.Approval).Sign(new BusEvent(Topics.Approvals, "true", "t", """{"n":1,"s":"x"}"""u8.ToArray())));
        foreach (var (name, value) in new (string, JsonNode?)[]
        {
            ("countersignature", null), ("countersignature", "e30.e30.e30"), ("id", "other"), ("type", "other"), ("source", "identity"), ("data", new JsonObject { ["n"] = 2, ["s"] = "x" }),
            ("data", new JsonObject { ["n"] = 1, ["s"] = "x", ["more"] = null }), ("data", "x"), ("data", null),
        })
        {
            var envelope = JsonNode.Parse(own)!.AsObject();
            envelope[name] = value;
            fleet.Plane.PublishRaw(Topics.Approvals, Encoding.UTF8.GetBytes(envelope.ToJsonString()));
        }

        fleet.Plane.PublishRaw(Topics.Approvals, "{}"u8.ToArray());
        fleet.Plane.PublishRaw(Topics.Approvals, own);
        await Until.TrueAsync(() => !got.IsEmpty && fleet.Plane.PendingEvents == 0);
        Assert.Equal("true", Assert.Single(got));
        Assert.Empty(await runtime.Get<IDeadLetters>(AppIds.Policy).ListAsync(Ending));
    }

    [Fact]
    public async Task A_service_speaks_on_its_own_topics_only()
    {
        var got = new ConcurrentQueue<string>();
        var fleet = new DoubleFleet(DoubleFleet.Quick);
        await using var runtime = await SidecarRuntime.StartAsync(fleet, new AppSpec(AppIds.Proxy), new AppSpec(AppIds.Approval), ContractApps.Policy(Into(got)));
        await runtime.Get<IEventBus>(AppIds.Proxy).PublishAsync(Topics.Approvals, "forged", "t", "{}"u8.ToArray(), Ending);
        await runtime.Get<IEventBus>(AppIds.Approval).PublishAsync(Topics.Approvals, "true", "t", "{}"u8.ToArray(), Ending);
        await Until.TrueAsync(() => !got.IsEmpty && fleet.Plane.PendingEvents == 0);
        Assert.Equal("true", Assert.Single(got));
    }

    /// <summary>A service that has just been given another key publishes before everybody knows the key: nothing of it may be lost.</summary>
    [Fact]
    public async Task An_event_of_a_key_that_is_not_known_yet_comes_again()
    {
        var got = new ConcurrentQueue<string>();
        var fleet = new DoubleFleet(DoubleFleet.Quick with { Inbound = new Fakes.Sidecar.InboundRetry(TimeSpan.FromMilliseconds(50), 400) });
        await using var runtime = await SidecarRuntime.StartAsync(fleet, new AppSpec(AppIds.Approval), ContractApps.Policy(Into(got)));
        var path = Path.Combine(runtime.Folder, "trust", AppIds.Approval, "1.jwks.json");
        var enrolled = await File.ReadAllTextAsync(path, Ending);
        using var other = SigningKey.Create();
        Replace(path, new VerificationKeys([other.PublicKey]).ToJson());
        await runtime.Get<IEventBus>(AppIds.Approval).PublishAsync(Topics.Approvals, "early", "t", "{}"u8.ToArray(), Ending);
        await Until.TrueAsync(() => fleet.Plane.PendingEvents > 0);
        Replace(path, enrolled);
        await Until.TrueAsync(() => !got.IsEmpty && fleet.Plane.PendingEvents == 0);
        Assert.Equal("early", Assert.Single(got));

        static void Replace(string path, string text)
        {
            File.WriteAllText(path + ".tmp", text);
            File.Move(path + ".tmp", path, overwrite: true);
        }
    }

    /// <summary>Frozen: docs/formats/event.md.</summary>
    [Fact]
    public void The_form_that_is_hashed()
    {
        var form = "{1\"A:1,1\"a:[3\"xé,1E+21,0.5,true,null,],1\"b:{},}";
        Assert.Equal(
            System.Buffers.Text.Base64Url.EncodeToString(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(form))),
            EventSignatures.Hash("""{"a":["xé",1e21,0.50,true,null],"b":{},"A":1.0}"""u8));
        var envelope = JsonNode.Parse(EventEnvelope.Write(new BusEvent("audit", "e1", "countersign.audit", "{}"u8.ToArray()), "policy", "SIG"))!;
        Assert.Equal(
            """{"specversion":"1.0","id":"e1","source":"policy","type":"countersign.audit","topic":"audit","datacontenttype":"application/json","data":{},"countersignature":"SIG"}""",
            envelope.ToJsonString());
    }

    [Fact]
    public void A_sidecar_may_write_JSON_in_its_own_way()
    {
        Assert.Equal(EventSignatures.Hash("""{"b":[1.0,1e3,"é"],"a":{"y":null,"x":true}}"""u8), EventSignatures.Hash("""{ "a": {"x":true,"y":null}, "b": [1,1000,"\u00e9"] }"""u8));
        Assert.NotEqual(EventSignatures.Hash("""{"a":"1"}"""u8), EventSignatures.Hash("""{"a":1}"""u8));
        Assert.NotEqual(EventSignatures.Hash("""["a","b"]"""u8), EventSignatures.Hash("""["a\",2\"b"]"""u8));
        Assert.NotEqual(EventSignatures.Hash("""[[],1]"""u8), EventSignatures.Hash("""[[1]]"""u8));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("guessed")]
    // The token that the app shows the sidecar is not the one that it wants to be shown.
    [InlineData("api-token-of-policy-1234")]
    [InlineData("app-token-of-approval-1234")]
    public async Task What_is_for_the_sidecar_needs_the_token_of_this_app(string? token)
    {
        var got = new ConcurrentQueue<string>();
        await using var runtime = await SidecarRuntime.StartAsync(new DoubleFleet(DoubleFleet.Quick), ContractApps.Policy(Into(got)));
        using var http = new HttpClient { BaseAddress = runtime.AddressOf(AppIds.Policy) };
        if (token is not null)
        {
            http.DefaultRequestHeaders.TryAddWithoutValidation("dapr-api-token", token);
        }

        foreach (var path in new[] { "dapr/events/approvals", "dapr/news/approvals", "dapr/dead/approvals", "dapr/subscribe", "Dapr/Events/approvals", "actors/Request/x/method/HandleAsync" })
        {
            using var body = new StringContent("{}", Encoding.UTF8, "application/json");
            Assert.Equal(HttpStatusCode.Unauthorized, (await http.PostAsync(new Uri(path, UriKind.Relative), body, Ending)).StatusCode);
        }

        Assert.Empty(got);
    }

    [Fact]
    public async Task With_the_app_token_alone_nothing_is_handled_or_kept()
    {
        var got = new ConcurrentQueue<string>();
        await using var runtime = await SidecarRuntime.StartAsync(new DoubleFleet(DoubleFleet.Quick), ContractApps.Policy(Into(got)));
        using var http = new HttpClient { BaseAddress = runtime.AddressOf(AppIds.Policy) };
        http.DefaultRequestHeaders.TryAddWithoutValidation("dapr-api-token", SidecarRuntime.Tokens(AppIds.Policy).App);
        foreach (var path in new[] { "dapr/events/approvals", "dapr/dead/approvals" })
        {
            using var body = new StringContent("""{"specversion":"1.0","id":"x","source":"approval","type":"t","data":{}}""", Encoding.UTF8, "application/json");
            using var answer = await http.PostAsync(new Uri(path, UriKind.Relative), body, Ending);
            Assert.Equal("DROP", JsonNode.Parse(await answer.Content.ReadAsStringAsync(Ending))!["status"]!.GetValue<string>());
        }

        Assert.Empty(got);
        Assert.Empty(await runtime.Get<IDeadLetters>(AppIds.Policy).ListAsync(Ending));
    }

    [Fact]
    public async Task What_is_denied_at_the_sidecar_is_denied_in_the_service_too()
    {
        await using var runtime = await SidecarRuntime.StartAsync(new DoubleFleet(DoubleFleet.Quick), new AppSpec(AppIds.Proxy), ContractApps.Policy());
        using var denied = await runtime.Keyed<IServiceClients>(AppIds.Proxy).Create(AppIds.Policy).PostAsync(new Uri("v1/admin/x", UriKind.Relative), null, Ending);
        Assert.Equal("ERR_DIRECT_INVOKE", JsonNode.Parse(await denied.Content.ReadAsStringAsync(Ending))!["errorCode"]!.GetValue<string>());

        // Past the sidecar, with the proxy's own token, and with the app token that a stolen sidecar has.
        using var http = new HttpClient { BaseAddress = runtime.AddressOf(AppIds.Policy) };
        http.DefaultRequestHeaders.TryAddWithoutValidation("dapr-api-token", SidecarRuntime.Tokens(AppIds.Policy).App);
        http.DefaultRequestHeaders.TryAddWithoutValidation("dapr-caller-app-id", "identity");
        using var without = await http.PostAsync(new Uri("policy/v1/admin/x", UriKind.Relative), null, Ending);
        Assert.Equal(HttpStatusCode.Unauthorized, without.StatusCode);
        http.DefaultRequestHeaders.Authorization = new("Bearer", runtime.Keyed<ServiceTokens>(AppIds.Proxy).For(AppIds.Policy));
        using var foreign = await http.PostAsync(new Uri("policy/v1/admin/x", UriKind.Relative), null, Ending);
        Assert.Equal((HttpStatusCode.Forbidden, "caller-not-allowed"), (foreign.StatusCode, JsonNode.Parse(await foreign.Content.ReadAsStringAsync(Ending))!["code"]!.GetValue<string>()));
    }

    [Fact]
    public async Task A_broker_that_is_down_is_told_and_takes_nothing()
    {
        var fleet = new DoubleFleet(DoubleFleet.Quick with { Faults = new Fakes.Sidecar.BusFaults { Down = true } });
        await using var runtime = await SidecarRuntime.StartAsync(fleet, new AppSpec(AppIds.Approval));
        await Assert.ThrowsAsync<PortUnavailableException>(async () => await runtime.Get<IEventBus>(AppIds.Approval).PublishAsync(Topics.Approvals, "e", "t", "{}"u8.ToArray(), Ending));
    }

    private static BusSubscription Into(ConcurrentQueue<string> got) => new(AppIds.Policy, Topics.Approvals, (happened, _) =>
    {
        got.Enqueue(happened.Id);
        return ValueTask.CompletedTask;
    });
}
