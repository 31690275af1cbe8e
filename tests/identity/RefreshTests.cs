using System.Net;
using System.Net.Http.Json;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Tests;

/// <summary>Refresh tokens over HTTP: once each, and a second use ends the login.</summary>
[Trait("group", "identity")]
public sealed class RefreshTests : IAsyncLifetime
{
    private IdentityHost _host = null!;

    public async ValueTask InitializeAsync() => _host = await IdentityHost.StartAsync();

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    [Fact]
    public async Task Each_refresh_gives_a_token_for_the_service_asked_for_and_the_next_refresh_token()
    {
        var alice = await _host.LogInAsync("alice");
        var one = await _host.TokensAsync(new { grant = "refresh", refreshToken = alice.RefreshToken, audience = AppIds.Policy });
        Assert.Equal((AppIds.Policy, alice.Person), (_host.VerifyAccess(one.AccessToken).Audience, _host.VerifyAccess(one.AccessToken).Person));
        Assert.Equal(alice.Claims.AuthenticatedAt, _host.VerifyAccess(one.AccessToken).AuthenticatedAt);
        var two = await _host.TokensAsync(new { grant = "refresh", refreshToken = one.RefreshToken, audience = AppIds.Recorder });
        Assert.NotEqual(one.RefreshToken, two.RefreshToken);
    }

    [Fact]
    public async Task Using_one_twice_ends_the_whole_login()
    {
        var alice = await _host.LogInAsync("alice");
        var other = await _host.LogInAsync("alice");
        var next = await _host.TokensAsync(new { grant = "refresh", refreshToken = alice.RefreshToken, audience = AppIds.Policy });
        await RefusedAsync(alice.RefreshToken);
        await RefusedAsync(next.RefreshToken!);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Events.Any(e => e is { Action: "login.refresh-reused", Success: false } && e.Person == alice.Person)));
        await _host.TokensAsync(new { grant = "refresh", refreshToken = other.RefreshToken, audience = AppIds.Policy });
    }

    [Fact]
    public async Task Of_two_at_once_at_most_one_gets_something()
    {
        var alice = await _host.LogInAsync("alice");
        var answers = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ =>
            _host.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "refresh", refreshToken = alice.RefreshToken, audience = AppIds.Policy })));
        Assert.True(answers.Count(answer => answer.IsSuccessStatusCode) <= 1);
    }

    [Theory]
    [InlineData("")]
    [InlineData("ref_made-up")]
    public async Task A_made_up_one_is_refused(string token) => await RefusedAsync(token);

    [Fact]
    public async Task A_wrong_audience_does_not_cost_the_token()
    {
        var alice = await _host.LogInAsync("alice");
        using var wrong = await _host.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "refresh", refreshToken = alice.RefreshToken, audience = "everything" });
        Assert.Equal((HttpStatusCode.BadRequest, "audience-unknown"), (wrong.StatusCode, await wrong.CodeAsync()));
        await _host.TokensAsync(new { grant = "refresh", refreshToken = alice.RefreshToken, audience = AppIds.Policy });
    }

    [Fact]
    public async Task Refresh_tokens_are_not_in_the_data_directory()
    {
        var alice = await _host.LogInAsync("alice");
        var token = System.Text.Encoding.ASCII.GetBytes(alice.RefreshToken);
        foreach (var file in Directory.EnumerateFiles(Path.Combine(_host.Data, "state")))
        {
            using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            using var copy = new MemoryStream();
            await stream.CopyToAsync(copy);
            Assert.True(copy.ToArray().AsSpan().IndexOf(token) < 0, file);
        }
    }

    private async Task RefusedAsync(string token)
    {
        using var response = await _host.Http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "refresh", refreshToken = token, audience = AppIds.Policy });
        Assert.Equal((HttpStatusCode.Unauthorized, "refresh-token-rejected"), (response.StatusCode, await response.CodeAsync()));
    }
}
