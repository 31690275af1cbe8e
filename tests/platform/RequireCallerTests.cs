using System.Diagnostics.Metrics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Platform.Tests;

/// <summary>Real Kestrel, real keys: who gets through to a route, and how those are refused that don't.</summary>
[Trait("group", "unit")]
public sealed class RequireCallerTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _directory = new();
    private WebApplication _app = null!;
    private HttpClient _client = null!;
    private int _handled;

    public async ValueTask InitializeAsync()
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddRoutingCore();
        builder.Logging.ClearProviders();
        builder.AddCountersignHosting("test");
        builder.AddCountersignHosting("again");
        builder.AddEmbeddedPlatform(_directory.Path);
        builder.AddEmbeddedPlatform(_directory.Path, AppIds.Identity);
        builder.Services.AddReadiness("always", (_, _) => ValueTask.FromResult<string?>(null));
        builder.Services.AddReadiness("toggled", (_, _) => ValueTask.FromResult(_handled > 0 ? "an operation was handled" : null));
        _app = builder.Build();
        _app.UseCountersignHosting();
        var group = _app.MapGroup("/approval/v1");
        group.MapGet("/whoami", (HttpContext context) => { _handled++; return context.GetCaller().ToString(); })
            .RequireCaller(AppIds.Approval, Callers.Persons | Callers.Services, AppIds.Proxy);
        group.MapPost("/persons", (Body body) => { _handled++; return body.Name; }).RequireCaller(AppIds.Approval, Callers.Persons);
        group.MapPost("/small", (Body body) => body.Name).WithRequestBodyLimit(64);
        group.MapGet("/fails", string () => throw new InvalidOperationException("a secret"));
        group.MapGet("/problem", string () => throw new ProblemException(409, "digest-mismatch", "Another digest."));
        await _app.StartAsync();
        var address = _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
        _client = new HttpClient { BaseAddress = new Uri(address) };
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _app.DisposeAsync();
        _directory.Dispose();
    }

    [Fact]
    public async Task A_persons_token_and_an_allowed_services_token_get_through()
    {
        Assert.Equal("person per_1", await _client.SendWith(PersonToken(), "/approval/v1/whoami"));
        Assert.Equal("service proxy", await _client.SendWith(ServiceToken(AppIds.Proxy), "/approval/v1/whoami"));
    }

    [Fact]
    public async Task Clients_of_the_platform_attach_the_callers_token()
    {
        var clients = _app.Services.GetRequiredKeyedService<IServiceClients>(AppIds.Proxy);
        using var client = clients.Create(AppIds.Approval);
        Assert.Equal("service proxy", await client.GetStringAsync(new Uri("v1/whoami", UriKind.Relative)));
        using var other = _app.Services.GetRequiredKeyedService<IServiceClients>(AppIds.Recorder).Create(AppIds.Approval);
        Assert.Equal(HttpStatusCode.Forbidden, (await other.GetAsync(new Uri("v1/whoami", UriKind.Relative))).StatusCode);
    }

    public static TheoryData<string> BadTokens => [.. Bad.Keys];

    private static readonly Dictionary<string, Func<RequireCallerTests, string>> Bad = new()
    {
        ["other audience"] = test => test.PersonToken(claims => claims with { Audience = AppIds.Policy }),
        ["expired"] = test => test.PersonToken(claims => claims with { ExpiresAt = Now - 6 }),
        ["other issuer"] = test => test.PersonToken(claims => claims with { Issuer = "elsewhere" }),
        ["other type, good signature"] = test => test.Key(AppIds.Identity).Sign(TokenTypes.Session, Claims()),
        ["no type"] = test => test.Key(AppIds.Identity).Sign("JWT", Claims()),
        ["signed by another service"] = test => test.Key(AppIds.Proxy).Sign(TokenTypes.Access, Claims()),
        ["unknown key"] = _ => { using var key = SigningKey.Create(); return key.Sign(TokenTypes.Access, Claims()); },
        ["unknown key under a known id"] = test => Forged(test.Key(AppIds.Identity).KeyId),
        ["alg none"] = _ => Unsigned("none", Claims(), ""),
        ["alg None"] = _ => Unsigned("None", Claims(), ""),
        ["alg none with a signature"] = test => Unsigned("none", Claims(), test.PersonToken().Split('.')[2]),
        ["hmac with the public key"] = test => test.Hmac(),
        ["changed payload"] = test => Changed(test.PersonToken()),
        ["cut"] = test => test.PersonToken()[..^4],
        ["garbage"] = _ => "not-a-token",
        ["four parts"] = test => test.PersonToken() + ".x",
        ["service token for another audience"] = test => test.ServiceToken(AppIds.Proxy, audience: AppIds.Policy),
        ["service token in another's name"] = test => test.Key(AppIds.Proxy).Sign(
            TokenTypes.Service, new ServiceTokenClaims(AppIds.Approval, AppIds.Approval, Now, Now + 60)),
        ["service token of nobody"] = test => test.Key(AppIds.Proxy).Sign(
            TokenTypes.Service, new ServiceTokenClaims("../proxy", AppIds.Approval, Now, Now + 60)),
        ["expired service token"] = test => test.Key(AppIds.Proxy).Sign(
            TokenTypes.Service, new ServiceTokenClaims(AppIds.Proxy, AppIds.Approval, Now - 100, Now - 6)),
        ["no expiry"] = test => test.Key(AppIds.Identity).Sign(TokenTypes.Access, new { iss = "identity", aud = "approval", sub = "x", jti = "1", iat = Now }),
    };

    [Theory]
    [MemberData(nameof(BadTokens))]
    public async Task A_bad_token_is_a_401_and_reaches_nothing(string name)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/approval/v1/whoami");
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", Bad[name](this));
        using var response = await _client.SendAsync(request);
        Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
        Assert.Equal("token-rejected", await response.Code());
        Assert.Equal("Bearer", response.Headers.WwwAuthenticate.Single().Scheme);
        Assert.Equal(0, _handled);
    }

    [Fact]
    public async Task A_good_token_of_somebody_else_is_a_403()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/approval/v1/whoami");
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", ServiceToken(AppIds.Recorder));
        using var response = await _client.SendAsync(request);
        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
        Assert.Equal("caller-not-allowed", await response.Code());
        Assert.Equal(0, _handled);
    }

    [Fact]
    public async Task Who_is_not_authenticated_learns_nothing_about_their_body()
    {
        using var content = new StringContent("{ not json", Encoding.UTF8, "application/json");
        using var response = await _client.PostAsync(new Uri("/approval/v1/persons", UriKind.Relative), content);
        Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
        Assert.Equal("token-missing", await response.Code());
    }

    [Fact]
    public async Task Errors_are_problem_details_with_a_code_and_without_secrets()
    {
        using var problem = await _client.GetAsync(new Uri("/approval/v1/problem", UriKind.Relative));
        Assert.Equal((HttpStatusCode.Conflict, "digest-mismatch"), (problem.StatusCode, await problem.Code()));
        using var failure = await _client.GetAsync(new Uri("/approval/v1/fails", UriKind.Relative));
        Assert.Equal((HttpStatusCode.InternalServerError, "internal"), (failure.StatusCode, await failure.Code()));
        Assert.DoesNotContain("secret", await failure.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        using var missing = await _client.GetAsync(new Uri("/approval/v1/nothing", UriKind.Relative));
        Assert.Equal((HttpStatusCode.NotFound, "not-found"), (missing.StatusCode, await missing.Code()));
        using var malformed = await _client.PostAsJsonAsync("/approval/v1/small", new { name = 1 });
        Assert.Equal((HttpStatusCode.BadRequest, "bad-request"), (malformed.StatusCode, await malformed.Code()));
        using var large = await _client.PostAsJsonAsync("/approval/v1/small", new { name = new string('x', 100) });
        Assert.Equal((HttpStatusCode.RequestEntityTooLarge, "too-large"), (large.StatusCode, await large.Code()));
    }

    [Fact]
    public async Task Every_answer_has_security_headers()
    {
        using var response = await _client.GetAsync(new Uri("/approval/v1/nothing", UriKind.Relative));
        Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.Equal("DENY", response.Headers.GetValues("X-Frame-Options").Single());
        Assert.StartsWith("default-src 'none'", response.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        Assert.False(response.Headers.Contains("Server"));
        Assert.True(response.Headers.CacheControl!.NoStore);
    }

    [Fact]
    public async Task Health_and_metrics_answer()
    {
        Assert.Equal(HttpStatusCode.OK, (await _client.GetAsync(new Uri("/health/ready", UriKind.Relative))).StatusCode);
        Assert.Contains("# TYPE", await _client.GetStringAsync(new Uri("/metrics", UriKind.Relative)), StringComparison.Ordinal);
        foreach (var header in new[] { "X-Forwarded-For", "Forwarded" })
        {
            // A reverse proxy on this machine that passes on what came from elsewhere.
            using var passed = new HttpRequestMessage(HttpMethod.Get, "/metrics");
            passed.Headers.Add(header, "for=10.0.0.1");
            Assert.Equal(HttpStatusCode.NotFound, (await _client.SendAsync(passed)).StatusCode);
        }

        await _client.SendWith(PersonToken(), "/approval/v1/whoami");
        using var failing = await _client.GetAsync(new Uri("/health/ready", UriKind.Relative));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, failing.StatusCode);
        Assert.Contains("an operation was handled", await failing.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.OK, (await _client.GetAsync(new Uri("/health/live", UriKind.Relative))).StatusCode);
    }

    [Fact]
    public async Task Figures_of_another_host_in_the_process_are_not_shown_and_take_no_room()
    {
        await using var elsewhere = new ServiceCollection().AddMetrics().BuildServiceProvider();
        var foreign = elsewhere.GetRequiredService<IMeterFactory>().Create("Countersign.Elsewhere");
        for (var number = 0; number < 1_100; number++)
        {
            foreign.CreateCounter<long>($"countersign.elsewhere.{number}").Add(1);
        }

        _app.Services.GetRequiredService<IMeterFactory>().Create("Countersign.Own").CreateCounter<long>("countersign.own").Add(1);
        var shown = await _client.GetStringAsync(new Uri("/metrics", UriKind.Relative));
        Assert.Contains("countersign_own_total", shown, StringComparison.Ordinal);
        Assert.DoesNotContain("countersign_elsewhere", shown, StringComparison.Ordinal);
    }

    [Fact]
    public void A_route_can_not_be_protected_by_nobody()
    {
        var group = _app.MapGroup("/x");
        Assert.Throws<ArgumentException>(() => group.RequireCaller(AppIds.Approval, Callers.None));
        Assert.Throws<ArgumentException>(() => group.RequireCaller(AppIds.Approval, Callers.Services));
        Assert.Throws<ArgumentException>(() => group.RequireCaller(AppIds.Approval, Callers.Persons, AppIds.Proxy));
    }

    private static long Now => DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    private SigningKey Key(string appId) => _app.Services.GetRequiredKeyedService<SigningKey>(appId);

    private static AccessTokenClaims Claims() => new()
    {
        Issuer = AppIds.Identity,
        Audience = AppIds.Approval,
        Subject = "pri_1",
        Id = "1",
        IssuedAt = Now,
        ExpiresAt = Now + 900,
        Person = "per_1",
        Name = "Alice",
        Kind = "human",
        AuthenticatedAt = Now,
    };

    private string PersonToken(Func<AccessTokenClaims, AccessTokenClaims>? change = null)
        => Key(AppIds.Identity).Sign(TokenTypes.Access, change is null ? Claims() : change(Claims()));

    private string ServiceToken(string service, string audience = AppIds.Approval)
        => _app.Services.GetRequiredKeyedService<ServiceTokens>(service).For(audience);

    private static string Unsigned(string algorithm, AccessTokenClaims claims, string signature)
    {
        var header = JsonSerializer.SerializeToUtf8Bytes(new { alg = algorithm, typ = TokenTypes.Access });
        return $"{Base64UrlEncoder.Encode(header)}.{Base64UrlEncoder.Encode(JsonSerializer.SerializeToUtf8Bytes(claims))}.{signature}";
    }

    private static string Forged(string keyId)
    {
        using var key = SigningKey.Create();
        var parts = key.Sign(TokenTypes.Access, Claims()).Split('.');
        var header = Base64UrlEncoder.Encode($$"""{"alg":"ES256","typ":"at+jwt","kid":"{{keyId}}"}""");
        return $"{header}.{parts[1]}.{parts[2]}";
    }

    private string Hmac()
    {
        var key = new SymmetricSecurityKey(Encoding.UTF8.GetBytes(new VerificationKeys([Key(AppIds.Identity).PublicKey]).ToJson())) { KeyId = Key(AppIds.Identity).KeyId };
        var handler = new Microsoft.IdentityModel.JsonWebTokens.JsonWebTokenHandler { SetDefaultTimesOnTokenCreation = false };
        return handler.CreateToken(
            JsonSerializer.Serialize(Claims(), TokenJson.Options),
            new SigningCredentials(key, SecurityAlgorithms.HmacSha256),
            new Dictionary<string, object> { ["typ"] = TokenTypes.Access });
    }

    private static string Changed(string token)
    {
        var parts = token.Split('.');
        var payload = Base64UrlEncoder.Decode(parts[1]).Replace("per_1", "per_2", StringComparison.Ordinal);
        return $"{parts[0]}.{Base64UrlEncoder.Encode(payload)}.{parts[2]}";
    }

    private sealed record Body(string Name);
}

internal static class HttpAssertions
{
    public static async Task<string> SendWith(this HttpClient client, string token, string path)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        using var response = await client.SendAsync(request);
        response.EnsureSuccessStatusCode();
        return await response.Content.ReadAsStringAsync();
    }

    public static async Task<string?> Code(this HttpResponseMessage response)
    {
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        return (await response.Content.ReadFromJsonAsync<JsonElement>()).GetProperty("code").GetString();
    }
}
