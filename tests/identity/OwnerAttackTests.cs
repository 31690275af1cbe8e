using System.Net;
using System.Net.Http.Json;
using Countersign.Identity.Contracts;
using Countersign.Identity.Host;
using Countersign.Identity.Persons;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Identity.Tests;

/// <summary>Bob, of the team that owns an account, wants to run as the account and approve it himself: as former owner, or as one who no longer says of what team he is (I2).</summary>
[Trait("group", "attacks")]
public sealed class OwnerAttackTests : IAsyncLifetime
{
    private IdentityHost _host = null!;
    private Login _alice = null!;
    private Login _bob = null!;
    private Login _carol = null!;
    private string _account = "";
    private CreatedCredential _credential = null!;

    public async ValueTask InitializeAsync()
    {
        _host = await IdentityHost.StartAsync();
        _alice = await _host.BootstrapAsync();
        _bob = await _host.LogInAsync("bob");
        await DoAsync(_alice, $"/identity/v1/persons/{_bob.Person}/enrolment", new { }, _alice, bootstrap: true);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(_bob.Person)).Enrolled);
        _carol = await _host.LogInAsync("carol");
        await DoAsync(_carol, "/identity/v1/service-accounts", new { name = "etl", team = "team-bob" }, _bob);
        await HttpExtensions.UntilAsync(async () =>
            (_account = (await _host.GetAsync<List<PersonView>>(_alice.AccessToken, "/identity/v1/persons")).SingleOrDefault(person => person.Name == "etl")?.Id ?? "").Length > 0);
        using var made = await _bob.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], 600, _account));
        await made.MustSucceedAsync();
        _credential = (await made.Content.ReadFromJsonAsync<CreatedCredential>(IdentityHost.Json))!;
    }

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    [Fact]
    public async Task A_former_owner_does_not_go_on_as_the_account_to_approve_it_then()
    {
        // By name Bob owns nothing; that he made the credential makes what it asks for his own.
        Assert.Equal(new[] { _carol.Person, _bob.Person }.Order(StringComparer.Ordinal), (await AssertionAsync()).Owners.Order(StringComparer.Ordinal));

        await DoAsync(_carol, $"/identity/v1/service-accounts/{_account}/owners", new { owners = new[] { _alice.Person } }, _bob);
        await HttpExtensions.UntilAsync(async () => !(await _host.StandingAsync(_account)).SameAs.Contains(_bob.Person));
        await HttpExtensions.UntilAsync(async () => (await _host.GetAsync<List<Revocation>>(_host.ServiceToken(AppIds.Proxy), "/identity/v1/revocations"))
            .Any(one => (one.Kind, one.Id) == ("credential", _credential.Credential.Id)));
        using var refused = await NativeClient.LogInAsync(_host, _credential, "orders");
        Assert.Equal((HttpStatusCode.Unauthorized, "credential-revoked"), (refused.StatusCode, await refused.CodeAsync()));
    }

    [Fact]
    public async Task Leaving_out_ones_groups_at_a_login_ends_no_membership_of_a_team()
    {
        var bob = await _host.LogInAsync("bob", scope: "openid email");
        Assert.Empty(bob.Claims.Groups);
        Assert.Contains(_bob.Person, (await _host.StandingAsync(_account)).SameAs);
        Assert.Contains(_account, (await _host.StandingAsync(_bob.Person)).SameAs);
        Assert.Contains(_bob.Person, (await AssertionAsync()).Owners);

        // What is left out gives nothing either.
        using var more = await bob.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], 600, _account));
        Assert.Equal("not-the-owner", await more.CodeAsync());

        // The provider's word that he is in other groups does end it, and then his credential is good no longer.
        var directory = _host.Services.GetRequiredService<PersonDirectory>();
        var principal = (await directory.FindPrincipalAsync(_bob.Claims.Subject, default))!;
        await directory.SignInAsync(
            new ProviderIdentity { Issuer = principal.Issuer, Subject = principal.Subject, Name = "bob", Groups = ["dba"], HasGroups = true, AuthenticatedAt = DateTimeOffset.UtcNow }, default);
        Assert.DoesNotContain(_bob.Person, (await _host.StandingAsync(_account)).SameAs);
        using var refused = await NativeClient.LogInAsync(_host, _credential, "orders");
        Assert.Equal((HttpStatusCode.Unauthorized, "credential-revoked"), (refused.StatusCode, await refused.CodeAsync()));
    }

    private async Task<SessionAssertionClaims> AssertionAsync()
    {
        using var response = await NativeClient.LogInAsync(_host, _credential, "orders");
        await response.MustSucceedAsync();
        var result = (await response.Content.ReadFromJsonAsync<NativeLoginResult>(IdentityHost.Json))!;
        var keys = new VerificationKeys([_host.Services.GetRequiredKeyedService<SigningKey>(AppIds.Identity).PublicKey]);
        return await keys.VerifyAsync<SessionAssertionClaims>(result.Assertion, TokenTypes.Session, AppIds.Identity, "session", DateTimeOffset.UtcNow);
    }

    private async Task DoAsync(Login requester, string path, object body, Login approver, bool bootstrap = false)
    {
        using var response = await requester.SendAsync(HttpMethod.Post, path, body);
        await response.MustSucceedAsync();
        var asked = (await response.Content.ReadFromJsonAsync<RequestedChange>(IdentityHost.Json))!;
        await _host.Approval.ApproveAsync(asked.RequestId, approver.Person, bootstrap);
    }
}
