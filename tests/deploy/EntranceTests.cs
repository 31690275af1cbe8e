using System.Net;
using Countersign.Entrance;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Countersign.Deploy.Tests;

/// <summary>One origin in front of services that run apart.</summary>
[Trait("group", "distributed")]
public sealed class EntranceTests : IAsyncLifetime
{
    private readonly List<WebApplication> _apps = [];
    private readonly HttpClient _http = new(new SocketsHttpHandler { AllowAutoRedirect = false });
    private readonly Dictionary<string, string> _services = [];

    public async ValueTask InitializeAsync()
    {
        foreach (var appId in EntranceOptions.AppIds)
        {
            var builder = WebApplication.CreateSlimBuilder(["--urls=http://127.0.0.1:0", "--Logging:LogLevel:Default=Error"]);
            var app = builder.Build();
            // Says who answered, what arrived, and what of the sidecar's came along.
            app.Map("/{**path}", (HttpContext http) => Results.Text($"{appId} {http.Request.Method} {http.Request.Path}{http.Request.QueryString} token={http.Request.Headers["dapr-api-token"]} bearer={http.Request.Headers.Authorization}"));
            _services[appId] = await StartAsync(app);
        }

        var entrance = EntranceHost.Build(["--urls=http://127.0.0.1:0", "--Logging:LogLevel:Default=Error", .. _services.Select(each => $"--Countersign:Entrance:Services:{each.Key}:0={each.Value}")]);
        _http.BaseAddress = new Uri(await StartAsync(entrance));
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        foreach (var app in _apps.AsEnumerable().Reverse())
        {
            await app.StopAsync(TestContext.Current.CancellationToken);
            await app.DisposeAsync();
        }
    }

    [Theory]
    [InlineData("identity", "/identity/v1/login")]
    [InlineData("policy", "/policy/v1/changes?x=1")]
    [InlineData("approval", "/approval/requests/q1")]
    [InlineData("recorder", "/recorder/v1/sessions?limit=1")]
    [InlineData("proxy", "/proxy/v1/ca")]
    public async Task A_request_goes_to_the_service_of_its_first_segment(string service, string path)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path) { Headers = { { "Authorization", "Bearer t" }, { "dapr-api-token", "stolen" }, { "dapr-caller-app-id", "policy" } } };
        using var answer = await _http.SendAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal($"{service} GET {path} token= bearer=Bearer t", await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("/dapr/events/audit")]
    [InlineData("/Dapr/news/policy")]
    [InlineData("/%64apr/news/policy")]
    [InlineData("/identity/../dapr/subscribe")]
    [InlineData("/identity/%2e%2e/dapr/subscribe")]
    [InlineData("//dapr/subscribe")]
    [InlineData("/dapr/subscribe")]
    [InlineData("/actors/Request/1/method/HandleAsync")]
    [InlineData("/dev-issuer/login")]
    [InlineData("/healthz")]
    [InlineData("/")]
    public async Task What_is_for_sidecars_is_not_reachable(string path)
    {
        foreach (var method in new[] { HttpMethod.Get, HttpMethod.Post, HttpMethod.Put })
        {
            using var request = new HttpRequestMessage(method, new Uri(_http.BaseAddress!.AbsoluteUri.TrimEnd('/') + path));
            using var answer = await _http.SendAsync(request, TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.NotFound, answer.StatusCode);
        }
    }

    [Fact]
    public void Every_error_of_the_options_is_listed()
    {
        var options = new EntranceOptions { Services = { ["identity"] = ["http://127.0.0.1:1", "nowhere"], ["other"] = ["http://127.0.0.1:1"] } };
        var result = new EntranceOptionsCheck().Validate(null, options);
        Assert.True(result.Failed);
        Assert.Equal(1 + 1 + 4, result.Failures!.Count());
        var thrown = Record.Exception(() => EntranceHost.Build(["--Logging:LogLevel:Default=Error"]));
        Assert.IsType<OptionsValidationException>(thrown);
    }

    private async Task<string> StartAsync(WebApplication app)
    {
        _apps.Add(app);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
    }
}
