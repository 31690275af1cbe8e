using System.Net;
using System.Text.Json;
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
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Platform.Tests;

/// <summary>Answers on which another service decides something: taken from the service itself, for this question, now, and from nobody between.</summary>
[Trait("group", "unit")]
public sealed class SignedAnswerTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _directory = new();
    private readonly FakeTimeProvider _clock = new(DateTimeOffset.UtcNow);
    private WebApplication _app = null!;
    private HttpClient _client = null!;

    // What somebody between the two does.
    private Func<HttpResponseMessage, Task> _between = _ => Task.CompletedTask;
    private string? _asks;

    public async ValueTask InitializeAsync()
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddRoutingCore();
        builder.Logging.ClearProviders();
        builder.Services.AddSingleton<TimeProvider>(_clock);
        builder.AddCountersignHosting("test");
        builder.AddEmbeddedPlatform(_directory.Path);
        _app = builder.Build();
        _app.UseCountersignHosting();
        _app.MapGet("/identity/v1/things/{id}", (string id, string? n) => id == "none" ? Results.NotFound() : id == "bad" ? Results.StatusCode(409) : Results.Json(new Thing(id, n ?? "")))
            .SignsAnswers(AppIds.Identity).RequireCaller(AppIds.Identity, Callers.Persons | Callers.Services, AppIds.Approval, AppIds.Policy);
        _app.MapGet("/identity/v1/plain", () => Results.Json(new Thing("plain", ""))).RequireCaller(AppIds.Identity, Callers.Services, AppIds.Approval);
        await _app.StartAsync();
        var address = _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
        _client = new HttpClient(new Between(this)) { BaseAddress = new Uri(address + "/identity/") };
        _client.DefaultRequestHeaders.Authorization = new("Bearer", _app.Services.GetRequiredKeyedService<ServiceTokens>(AppIds.Approval).For(AppIds.Identity));
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _app.DisposeAsync();
        _directory.Dispose();
    }

    [Theory]
    [InlineData("v1/things/per_1", "per_1", "")]
    [InlineData("v1/things/a%20b%C3%A9?n=1%202", "a bé", "1 2")]
    [InlineData("v1/things/a%3Fb?n=%3F", "a?b", "?")]
    public async Task An_answer_comes_as_it_was_signed(string path, string id, string n) =>
        Assert.Equal(new Thing(id, n), (await AskAsync(path)).Read<Thing>(JsonSerializerOptions.Web));

    [Fact]
    public async Task That_there_is_nothing_is_signed_too_and_other_failures_are_no_answer()
    {
        Assert.Null((await AskAsync("v1/things/none")).Read<Thing>(JsonSerializerOptions.Web));
        Assert.Equal(HttpStatusCode.Conflict, (await Assert.ThrowsAsync<HttpRequestException>(() => AskAsync("v1/things/bad"))).StatusCode);

        _between = response =>
        {
            response.StatusCode = HttpStatusCode.NotFound;
            return Task.CompletedTask;
        };
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/things/per_1"));
    }

    [Fact]
    public async Task A_route_that_does_not_sign_answers_nothing_that_counts()
    {
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/plain"));
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/unknown"));
    }

    [Fact]
    public async Task What_was_changed_repeated_or_said_to_somebody_else_is_refused()
    {
        var first = "";
        _between = response =>
        {
            first = response.Headers.GetValues(SignedAnswers.SignatureHeader).Single();
            return Task.CompletedTask;
        };
        await AskAsync("v1/things/per_1");

        // The very same answer to the same question, of before.
        _between = response => Replace(response, first);
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/things/per_1"));

        _between = response =>
        {
            response.Content = new StringContent("""{"id":"per_1","n":"changed"}""");
            return Task.CompletedTask;
        };
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/things/per_1"));

        // Another question was put to identity than the one that was asked, with its nonce.
        (_between, _asks) = (_ => Task.CompletedTask, "v1/things/per_2");
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/things/per_1"));
        _asks = "v1/things/per_1?n=2";
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/things/per_1?n=1"));
        _asks = null;

        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/things/per_1", asker: AppIds.Policy));
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/things/per_1", answerer: AppIds.Policy));

        // In time only.
        _between = _ =>
        {
            _clock.Advance(SignedAnswers.Lifetime + VerificationKeys.Leeway);
            return Task.CompletedTask;
        };
        await Assert.ThrowsAsync<TokenRejectedException>(() => AskAsync("v1/things/per_1"));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("short")]
    [InlineData("with a blank in it, and more")]
    public async Task Nothing_is_signed_without_a_nonce_or_for_who_is_not_let_in(string? nonce)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "v1/things/per_1");
        if (nonce is not null)
        {
            request.Headers.TryAddWithoutValidation(SignedAnswers.NonceHeader, nonce);
        }

        using var plain = await _client.SendAsync(request);
        Assert.Equal((HttpStatusCode.OK, false), (plain.StatusCode, plain.Headers.Contains(SignedAnswers.SignatureHeader)));

        using var stranger = new HttpRequestMessage(HttpMethod.Get, "v1/things/per_1");
        stranger.Headers.Authorization = new("Bearer", _app.Services.GetRequiredKeyedService<ServiceTokens>(AppIds.Recorder).For(AppIds.Identity));
        stranger.Headers.TryAddWithoutValidation(SignedAnswers.NonceHeader, "0123456789abcdef0123");
        using var refused = await _client.SendAsync(stranger);
        Assert.Equal((HttpStatusCode.Forbidden, false), (refused.StatusCode, refused.Headers.Contains(SignedAnswers.SignatureHeader)));
        Assert.Equal("caller-not-allowed", await refused.Code());
    }

    private Task<SignedAnswer> AskAsync(string path, string answerer = AppIds.Identity, string asker = AppIds.Approval) =>
        _client.AskSignedAsync(_app.Services.GetRequiredService<ITrustedKeys>(), answerer, asker, path, _clock, TestContext.Current.CancellationToken);

    private static Task Replace(HttpResponseMessage response, string signature)
    {
        response.Headers.Remove(SignedAnswers.SignatureHeader);
        response.Headers.Add(SignedAnswers.SignatureHeader, signature);
        return Task.CompletedTask;
    }

    private sealed record Thing(string Id, string N);

    private sealed class Between(SignedAnswerTests test) : DelegatingHandler(new SocketsHttpHandler())
    {
        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            request.RequestUri = test._asks is { } asks ? new Uri(test._client.BaseAddress!, asks) : request.RequestUri;
            var response = await base.SendAsync(request, cancellationToken);
            await test._between(response);
            return response;
        }
    }
}
