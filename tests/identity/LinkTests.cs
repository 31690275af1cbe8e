using System.Net;
using System.Net.Http.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Identity.Host;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Tests;

/// <summary>Links, service accounts and their owners (I2), end to end over HTTP.</summary>
[Trait("group", "identity")]
public sealed class LinkTests : IAsyncLifetime
{
    private IdentityHost _host = null!;
    private Login _alice = null!;
    private Login _bob = null!;

    public async ValueTask InitializeAsync()
    {
        _host = await IdentityHost.StartAsync();
        _alice = await _host.BootstrapAsync();
        _bob = await _host.LogInAsync("bob");
        var asked = await AskAsync(_alice, $"/identity/v1/persons/{_bob.Person}/enrolment", new { });
        await _host.Approval.ApproveAsync(asked.RequestId, _alice.Person, bootstrap: true);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(_bob.Person)).Enrolled);
    }

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    [Fact]
    public async Task A_link_makes_two_persons_one_and_taking_it_away_needs_a_second_person_too()
    {
        var carol = await _host.LogInAsync("carol");
        var asked = await AskAsync(_alice, $"/identity/v1/persons/{carol.Person}/links", new { person = _bob.Person, reason = "two accounts" });
        Assert.Contains("one human", asked.Text, StringComparison.Ordinal);
        Assert.DoesNotContain(carol.Person, (await _host.StandingAsync(_bob.Person)).SameAs);
        await _host.Approval.ApproveAsync(asked.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(_bob.Person)).SameAs.Contains(carol.Person));
        Assert.Contains(_bob.Person, (await _host.StandingAsync(carol.Person)).SameAs);
        using var twice = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{_bob.Person}/links", new { person = carol.Person });
        Assert.Equal("change-impossible", await twice.CodeAsync());

        var unlink = await AskAsync(_alice, $"/identity/v1/persons/{carol.Person}/links", new { person = _bob.Person, remove = true });
        await _host.Approval.ChangeAsync(unlink.RequestId, RequestState.Denied);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Events.Any(e => e.Action == "unlink.not-applied")));
        Assert.Contains(carol.Person, (await _host.StandingAsync(_bob.Person)).SameAs);
        var again = await AskAsync(_alice, $"/identity/v1/persons/{carol.Person}/links", new { person = _bob.Person, remove = true });
        await _host.Approval.ApproveAsync(again.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(async () => !(await _host.StandingAsync(_bob.Person)).SameAs.Contains(carol.Person));
    }

    [Fact]
    public async Task A_linked_persons_yes_is_the_requesters_own()
    {
        var carol = await _host.LogInAsync("carol");
        var link = await AskAsync(_alice, $"/identity/v1/persons/{_alice.Person}/links", new { person = _bob.Person });
        await _host.Approval.ApproveAsync(link.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(_bob.Person)).SameAs.Contains(_alice.Person));
        var asked = await AskAsync(_alice, $"/identity/v1/persons/{carol.Person}/enrolment", new { });
        await _host.Approval.ApproveAsync(asked.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Events.Any(e => e.Action == "enrol.not-applied" && e.Subject == carol.Person)));
        Assert.False((await _host.StandingAsync(carol.Person)).Enrolled);
    }

    [Fact]
    public async Task A_service_account_counts_as_its_owners_who_alone_make_its_credentials()
    {
        var carol = await _host.LogInAsync("carol");
        var asked = await AskAsync(carol, "/identity/v1/service-accounts", new { name = "etl nightly", owners = new[] { _bob.Person } });
        await _host.Approval.ApproveAsync(asked.RequestId, _bob.Person);
        var account = "";
        await HttpExtensions.UntilAsync(async () =>
        {
            var persons = await _host.GetAsync<List<PersonView>>(_alice.AccessToken, "/identity/v1/persons");
            return (account = persons.SingleOrDefault(person => person.Name == "etl nightly")?.Id ?? "").Length > 0;
        });
        Assert.Equal(new[] { account, carol.Person, _bob.Person }.Order(StringComparer.Ordinal), (await _host.StandingAsync(account)).SameAs);
        Assert.Contains(account, (await _host.StandingAsync(_bob.Person)).SameAs);
        Assert.DoesNotContain(carol.Person, (await _host.StandingAsync(_bob.Person)).SameAs);

        using var stranger = await _alice.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], 600, account));
        Assert.Equal((HttpStatusCode.Forbidden, "not-the-owner"), (stranger.StatusCode, await stranger.CodeAsync()));
        using var other = await _alice.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], 600, carol.Person));
        Assert.Equal("not-the-owner", await other.CodeAsync());
        using var made = await carol.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], 600, account));
        await made.MustSucceedAsync();
        var created = (await made.Content.ReadFromJsonAsync<CreatedCredential>(IdentityHost.Json))!;
        Assert.StartsWith("etlnightly-", created.Credential.UserName, StringComparison.Ordinal);
        using var enrol = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{account}/enrolment", new { });
        Assert.Equal("change-impossible", await enrol.CodeAsync());
    }

    [Fact]
    public async Task Somebody_with_the_same_address_does_not_look_the_same()
    {
        var directory = (Persons.PersonDirectory)_host.Services.GetService(typeof(Persons.PersonDirectory))!;
        var second = await directory.SignInAsync(
            new Persons.ProviderIdentity { Issuer = "https://other.example", Subject = "x", Name = "ALICE@example.test", AuthenticatedAt = DateTimeOffset.UtcNow }, default);
        Assert.NotEqual(_alice.Person, second.Person.Id);
        Assert.StartsWith("ALICE@example.test #", second.Person.Name, StringComparison.Ordinal);
        var cyrillic = await directory.SignInAsync(
            new Persons.ProviderIdentity { Issuer = "https://other.example", Subject = "y", Name = "\u0430lice@example.test", AuthenticatedAt = DateTimeOffset.UtcNow }, default);
        Assert.Contains(" #", cyrillic.Person.Name, StringComparison.Ordinal);

        // Approver groups name persons by id or by name: nobody may be called what another's id is.
        var called = await directory.SignInAsync(
            new Persons.ProviderIdentity { Issuer = "https://other.example", Subject = "z", Name = _alice.Person, AuthenticatedAt = DateTimeOffset.UtcNow }, default);
        Assert.StartsWith($"{_alice.Person} #", called.Person.Name, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ending_a_session_and_withdrawing_an_enrolment_need_one_enrolled_person_only()
    {
        using var refused = await (await _host.LogInAsync("carol")).SendAsync(HttpMethod.Post, "/identity/v1/sessions/ses_1/revoke");
        Assert.Equal("not-enrolled", await refused.CodeAsync());
        using var ended = await _bob.SendAsync(HttpMethod.Post, "/identity/v1/sessions/ses_1/revoke");
        await ended.MustSucceedAsync();
        var feed = await _host.GetAsync<List<Revocation>>(_host.ServiceToken(AppIds.Proxy), "/identity/v1/revocations");
        Assert.Equal(("session", "ses_1"), (feed.Single().Kind, feed.Single().Id));
        using var withdrawn = await _alice.SendAsync(HttpMethod.Delete, $"/identity/v1/persons/{_bob.Person}/enrolment");
        await withdrawn.MustSucceedAsync();
        Assert.False((await _host.StandingAsync(_bob.Person)).Enrolled);
        // That doesn't make the first person alone again.
        Assert.False((await _host.StandingAsync(_alice.Person)).BootstrapOpen);
    }

    private static async Task<RequestedChange> AskAsync(Login requester, string path, object body)
    {
        using var response = await requester.SendAsync(HttpMethod.Post, path, body);
        await response.MustSucceedAsync();
        return (await response.Content.ReadFromJsonAsync<RequestedChange>(IdentityHost.Json))!;
    }
}
