using System.Net;
using System.Net.Http.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Identity.Host;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;

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

    [Trait("group", "attacks")]
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

    [Trait("group", "attacks")]
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

    [Trait("group", "attacks")]
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

    [Trait("group", "attacks")]
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

    [Trait("group", "attacks")]
    [Fact]
    public async Task An_address_that_the_provider_does_not_vouch_for_is_nobodys_name()
    {
        // An approver group lists carol@example.test, who has never logged in. Mallory may call himself what he likes.
        var directory = (Persons.PersonDirectory)_host.Services.GetService(typeof(Persons.PersonDirectory))!;
        var mallory = await directory.SignInAsync(
            new Persons.ProviderIdentity { Issuer = "https://idp.example", Subject = "m", Name = "carol@example.test", AuthenticatedAt = DateTimeOffset.UtcNow }, default);
        Assert.Matches("^carol@example.test #[a-z2-7]{4,}$", mallory.Person.Name);
        var carol = await _host.LogInAsync("carol");
        Assert.Equal("carol@example.test", carol.Claims.Name);

        // Nor does a service account get such a name, whatever two people agree to.
        var asked = await AskAsync(_alice, "/identity/v1/service-accounts", new { name = "dave@example.test" });
        await _host.Approval.ApproveAsync(asked.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(async () => (await _host.GetAsync<List<PersonView>>(_alice.AccessToken, "/identity/v1/persons"))
            .Any(person => person.Name.StartsWith("dave@example.test #", StringComparison.Ordinal)));
        Assert.Equal("dave@example.test", (await _host.LogInAsync("dave")).Claims.Name);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task A_second_account_of_the_same_address_is_not_enrolled_before_somebody_has_decided_whose_it_is()
    {
        var carol = await _host.LogInAsync("carol");
        var directory = (Persons.PersonDirectory)_host.Services.GetService(typeof(Persons.PersonDirectory))!;
        var second = (await directory.SignInAsync(
            new Persons.ProviderIdentity { Issuer = "https://other.example", Subject = "carol", Name = "Carol+work@example.test", AuthenticatedAt = DateTimeOffset.UtcNow }, default)).Person.Id;
        foreach (var account in new[] { second, carol.Person })
        {
            using var refused = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{account}/enrolment", new { });
            Assert.Equal("link-undecided", await refused.CodeAsync());
        }

        var views = await _host.GetAsync<List<PersonView>>(_alice.AccessToken, "/identity/v1/persons");
        Assert.Equal([second], views.Single(view => view.Id == carol.Person).Suspected);
        Assert.Empty(views.Single(view => view.Id == _bob.Person).Suspected);

        // Two humans, says a second person: then each may be enrolled.
        var asked = await AskAsync(_alice, $"/identity/v1/persons/{second}/links", new { person = carol.Person, distinct = true });
        Assert.Contains("two humans", asked.Text, StringComparison.Ordinal);
        await _host.Approval.ApproveAsync(asked.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(async () => (await _host.GetAsync<List<PersonView>>(_alice.AccessToken, "/identity/v1/persons")).All(view => view.Suspected.Count == 0));
        using var twice = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{second}/links", new { person = carol.Person, distinct = true });
        Assert.Equal("change-impossible", await twice.CodeAsync());
        await AskAsync(_alice, $"/identity/v1/persons/{second}/enrolment", new { });

        // Not by saying so of oneself.
        using var own = await carol.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{carol.Person}/links", new { person = second, distinct = true });
        Assert.Equal("not-enrolled", await own.CodeAsync());
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task An_account_that_shows_up_between_asking_and_approving_stops_an_enrolment()
    {
        var carol = await _host.LogInAsync("carol");
        var asked = await AskAsync(_alice, $"/identity/v1/persons/{carol.Person}/enrolment", new { });
        var directory = (Persons.PersonDirectory)_host.Services.GetService(typeof(Persons.PersonDirectory))!;
        await directory.SignInAsync(
            new Persons.ProviderIdentity { Issuer = "https://other.example", Subject = "c", Name = "CAROL@example.test", AuthenticatedAt = DateTimeOffset.UtcNow }, default);
        await _host.Approval.ApproveAsync(asked.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Events.Any(e => e.Action == "enrol.not-applied" && e.Subject == carol.Person)));
        Assert.False((await _host.StandingAsync(carol.Person)).Enrolled);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Owners_of_a_service_account_change_by_a_second_person_and_a_team_owns_like_a_person()
    {
        var carol = await _host.LogInAsync("carol");
        var asked = await AskAsync(carol, "/identity/v1/service-accounts", new { name = "etl", team = "team-bob" });
        Assert.Contains("everybody in the group team-bob", asked.Text, StringComparison.Ordinal);
        await _host.Approval.ApproveAsync(asked.RequestId, _bob.Person);
        var account = "";
        await HttpExtensions.UntilAsync(async () =>
            (account = (await _host.GetAsync<List<PersonView>>(_alice.AccessToken, "/identity/v1/persons")).SingleOrDefault(person => person.Name == "etl")?.Id ?? "").Length > 0);

        // Bob is in the team: what the account asks for isn't his to approve, and what he asks for isn't the account's.
        Assert.Equal(new[] { account, carol.Person, _bob.Person }.Order(StringComparer.Ordinal), (await _host.StandingAsync(account)).SameAs);
        Assert.Contains(account, (await _host.StandingAsync(_bob.Person)).SameAs);
        using (var made = await _bob.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], 600, account)))
        {
            await made.MustSucceedAsync();
        }

        var given = await AskAsync(carol, $"/identity/v1/service-accounts/{account}/owners", new { owners = new[] { _alice.Person } });
        Assert.Contains("nobody else", given.Text, StringComparison.Ordinal);
        await _host.Approval.ApproveAsync(given.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(account)).SameAs.Contains(_alice.Person));
        Assert.Equal(new[] { account, _alice.Person }.Order(StringComparer.Ordinal), (await _host.StandingAsync(account)).SameAs);
        using var stranger = await carol.SendAsync(HttpMethod.Post, $"/identity/v1/service-accounts/{account}/owners", new { owners = new[] { carol.Person } });
        Assert.Equal("not-enrolled", await stranger.CodeAsync());
        using var nobody = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/service-accounts/{account}/owners", new { owners = Array.Empty<string>(), team = "x" });
        Assert.Equal("service-account-malformed", await nobody.CodeAsync());
    }

    [Fact]
    public async Task Disabling_a_person_takes_everything_from_their_linked_accounts_too_and_is_reviewed()
    {
        var carol = await _host.LogInAsync("carol");
        var dave = await _host.LogInAsync("dave");
        var link = await AskAsync(_alice, $"/identity/v1/persons/{carol.Person}/links", new { person = dave.Person });
        await _host.Approval.ApproveAsync(link.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(dave.Person)).SameAs.Contains(carol.Person));
        using (var disabled = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{carol.Person}/disable", new { reason = "left" }))
        {
            await disabled.MustSucceedAsync();
        }

        Assert.True((await _host.StandingAsync(dave.Person)).Disabled);
        var feed = await _host.GetAsync<List<Revocation>>(_host.ServiceToken(AppIds.Proxy), "/identity/v1/revocations");
        Assert.Equal(new[] { carol.Person, dave.Person }.Order(StringComparer.Ordinal), feed.Where(one => one.Kind == "person").Select(one => one.Id).Order(StringComparer.Ordinal));
        var review = _host.Approval.Requests.Values.Single(request => request.Review is not null);
        Assert.Equal((_alice.Person, "left"), (review.Requester, review.Reason));
        Assert.Contains("was disabled, with the linked dave@example.test", review.Operations[0].Text, StringComparison.Ordinal);

        // Doing it again changes nothing, and asks nobody to review it again.
        using (await _bob.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{carol.Person}/disable"))
        {
        }

        Assert.Single(_host.Approval.Requests.Values, request => request.Review is not null);
    }

    [Fact]
    public async Task A_removal_never_waits_for_its_review_which_is_opened_once_approval_is_back()
    {
        _host.Approval.IsDown = true;
        var carol = await _host.LogInAsync("carol");
        using (var disabled = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{carol.Person}/disable"))
        {
            await disabled.MustSucceedAsync();
        }

        Assert.True((await _host.StandingAsync(carol.Person)).Disabled);
        _host.Approval.IsDown = false;
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Approval.Requests.Values.Any(request => request.Review is not null)));
        await HttpExtensions.UntilAsync(async () => (await UnreviewedAsync(_host)).Count == 0);
    }

    [Fact]
    public async Task A_review_that_could_not_be_opened_is_opened_after_a_restart_and_listed_until_then()
    {
        _host.Approval.IsDown = true;
        var carol = await _host.LogInAsync("carol");
        using (var disabled = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{carol.Person}/disable", new { reason = "left" }))
        {
            await disabled.MustSucceedAsync();
        }

        var left = Assert.Single(await UnreviewedAsync(_host));
        Assert.Equal((_alice.Person, "left", ""), (left.Requester, left.Reason, left.Problem));
        Assert.Contains("was disabled", left.Text, StringComparison.Ordinal);
        using (var stranger = await (await _host.LogInAsync("dave")).SendAsync(HttpMethod.Get, "/identity/v1/removals"))
        {
            Assert.Equal("not-enrolled", await stranger.CodeAsync());
        }

        // Another process, which never had Alice's token, and is refused at first: it says so once, and keeps it on the list.
        await using var again = await IdentityHost.StartAsync(_host.Data);
        again.Approval.Refuses = true;
        await HttpExtensions.UntilAsync(async () => (await UnreviewedAsync(again)).Single().Problem.Length > 0);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Events.Concat(again.Audit.Events).Any(e => e is { Action: "removal.not-reviewed", Success: false })));
        again.Approval.Refuses = false;
        var store = again.Services.GetRequiredKeyedService<IStateStore>(AppIds.Identity);
        var item = (await store.GetAsync("unreviewed", left.Id, default))!;
        var due = System.Text.Json.JsonSerializer.Deserialize<UnreviewedRemoval>(item.Value.Span, IdentityHost.Json)! with { NextAt = DateTimeOffset.UtcNow };
        Assert.True(await store.TrySaveAsync("unreviewed", left.Id, System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(due, IdentityHost.Json), item.ETag, default));
        await HttpExtensions.UntilAsync(() => Task.FromResult(again.Approval.Requests.Values.Any(request => request.Review is not null)));
        var opened = again.Approval.Requests.Values.Single(request => request.Review is not null);
        Assert.Equal((_alice.Person, "left", left.Id), (opened.Requester, opened.Reason, opened.Context["removal"]));
        await HttpExtensions.UntilAsync(async () => (await UnreviewedAsync(again)).Count == 0);
    }

    private async Task<List<UnreviewedView>> UnreviewedAsync(IdentityHost host) => await host.GetAsync<List<UnreviewedView>>(_alice.AccessToken, "/identity/v1/removals");

    [Fact]
    public async Task What_one_takes_from_oneself_needs_no_review_but_what_one_takes_from_others_does()
    {
        var carol = await _host.LogInAsync("carol");
        async Task<CreatedCredential> Make(Login who)
        {
            using var made = await who.SendAsync(HttpMethod.Post, "/identity/v1/credentials", new CreateCredential(["orders"], 600));
            return (await made.Content.ReadFromJsonAsync<CreatedCredential>(IdentityHost.Json))!;
        }

        var (one, two) = (await Make(carol), await Make(carol));
        using (var own = await carol.SendAsync(HttpMethod.Delete, $"/identity/v1/credentials/{one.Credential.Id}"))
        {
            await own.MustSucceedAsync();
        }

        Assert.DoesNotContain(_host.Approval.Requests.Values, request => request.Review is not null);
        using (var others = await _alice.SendAsync(HttpMethod.Delete, $"/identity/v1/credentials/{two.Credential.Id}?reason=leak"))
        {
            await others.MustSucceedAsync();
        }

        Assert.Equal("leak", _host.Approval.Requests.Values.Single(request => request.Review is not null).Reason);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Another_set_of_service_keys_is_loud_until_two_people_agree_to_it()
    {
        var view = await _host.GetAsync<TrustedKeysView>(_alice.AccessToken, "/identity/v1/keys");
        Assert.Equal(5, view.Keys.Count);
        Assert.Empty(view.Added);
        using (var none = await _alice.SendAsync(HttpMethod.Post, "/identity/v1/keys/approval", new { }))
        {
            Assert.Equal("change-impossible", await none.CodeAsync());
        }

        var work = (TrustedKeySet)_host.Services.GetService(typeof(TrustedKeySet))!;
        await work.LookAsync(default);
        await work.LookAsync(default);
        Assert.DoesNotContain(_host.Audit.Events, e => e.Action == "keys.not-approved");

        // Somebody with the host enrols a key of their own for policy.
        using var planted = Platform.Tokens.SigningKey.Create();
        Platform.Embedded.FileTrustedKeys.Publish(Path.Combine(_host.Data, "keys"), AppIds.Policy, planted);
        await work.LookAsync(default);
        await work.LookAsync(default);
        await work.LookAsync(default);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Events.Any(e => e is { Action: "keys.not-approved", Success: false })));
        Assert.Single(_host.Audit.Events, e => e.Action == "keys.not-approved");

        var asked = await AskAsync(_alice, "/identity/v1/keys/approval", new { reason = "rotation" });
        Assert.Equal(RequestKind.Key, _host.Approval.Requests[asked.RequestId].Kind);
        Assert.Matches("(?m)^\\+ policy [0-9a-f]{64}$", asked.Text);
        Assert.Matches("(?m)^- policy [0-9a-f]{64}$", asked.Text);
        Assert.Matches("(?m)^  identity [0-9a-f]{64}$", asked.Text);
        await _host.Approval.ApproveAsync(asked.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(async () => (await _host.GetAsync<TrustedKeysView>(_alice.AccessToken, "/identity/v1/keys")) is { Added.Count: 0, Removed.Count: 0 });
        using var stranger = await (await _host.LogInAsync("carol")).SendAsync(HttpMethod.Get, "/identity/v1/keys");
        Assert.Equal("not-enrolled", await stranger.CodeAsync());
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
