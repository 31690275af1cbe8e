using System.Net;
using System.Security.Cryptography;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Identity.Host;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Identity.Tests;

/// <summary>I3: how the first person comes to be, and that nobody alone makes a second one afterwards.</summary>
[Trait("group", "identity")]
public sealed class BootstrapTests : IAsyncLifetime
{
    private IdentityHost _host = null!;

    public async ValueTask InitializeAsync() => _host = await IdentityHost.StartAsync();

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    [Fact]
    public async Task The_token_lies_in_a_file_of_its_owner_names_one_person_and_is_gone()
    {
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_host.BootstrapFile));
        var token = await File.ReadAllTextAsync(_host.BootstrapFile);
        var alice = await _host.LogInAsync("alice");
        Assert.False(alice.Claims.Enrolled);
        using var wrong = await alice.SendAsync(HttpMethod.Post, "/identity/v1/bootstrap", new { token = token.Trim()[..^1] + "x" });
        Assert.Equal((HttpStatusCode.Forbidden, "bootstrap-token-wrong"), (wrong.StatusCode, await wrong.CodeAsync()));
        using var empty = await alice.SendAsync(HttpMethod.Post, "/identity/v1/bootstrap", new { token = "" });
        Assert.Equal(HttpStatusCode.Forbidden, empty.StatusCode);

        using var right = await alice.SendAsync(HttpMethod.Post, "/identity/v1/bootstrap", new { token });
        await right.MustSucceedAsync();
        Assert.False(File.Exists(_host.BootstrapFile));
        var again = await _host.LogInAsync("alice");
        Assert.True(again.Claims is { Enrolled: true, Bootstrap: true });

        var bob = await _host.LogInAsync("bob");
        using var late = await bob.SendAsync(HttpMethod.Post, "/identity/v1/bootstrap", new { token });
        Assert.Equal((HttpStatusCode.Conflict, "bootstrap-closed"), (late.StatusCode, await late.CodeAsync()));
        using var none = await bob.SendAsync(HttpMethod.Post, "/identity/v1/bootstrap", new { token = "" });
        Assert.Equal(HttpStatusCode.Conflict, none.StatusCode);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Events.Count(e => e.Action.StartsWith("bootstrap.", StringComparison.Ordinal)) >= 5));
        Assert.Equal(1, _host.Audit.Events.Count(e => e is { Action: "bootstrap.used", Success: true } && e.Person == alice.Person));
        Assert.Equal(4, _host.Audit.Events.Count(e => e is { Action: "bootstrap.refused", Success: false }));
    }

    [Fact]
    public async Task Of_many_who_use_the_token_at_once_one_is_first()
    {
        var token = await File.ReadAllTextAsync(_host.BootstrapFile);
        var logins = new List<Login>();
        foreach (var name in new[] { "alice", "bob", "carol", "dave" })
        {
            logins.Add(await _host.LogInAsync(name));
        }

        var answers = await Task.WhenAll(logins.Select(login => login.SendAsync(HttpMethod.Post, "/identity/v1/bootstrap", new { token })));
        Assert.Single(answers, answer => answer.IsSuccessStatusCode);
        var standings = await Task.WhenAll(logins.Select(login => _host.StandingAsync(login.Person)));
        Assert.Single(standings, standing => standing.Enrolled);
        Assert.Single(standings, standing => standing.BootstrapOpen);
    }

    [Fact]
    public async Task A_token_file_that_others_can_read_is_not_used()
    {
        File.SetUnixFileMode(_host.BootstrapFile, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead);
        var alice = await _host.LogInAsync("alice");
        using var response = await alice.SendAsync(HttpMethod.Post, "/identity/v1/bootstrap", new { token = await File.ReadAllTextAsync(_host.BootstrapFile) });
        Assert.Equal("bootstrap-token-exposed", await response.CodeAsync());
    }

    [Fact]
    public async Task The_first_person_acts_alone_until_a_second_one_is_enrolled_and_never_again()
    {
        var alice = await _host.BootstrapAsync();
        var bob = await _host.LogInAsync("bob");
        var carol = await _host.LogInAsync("carol");

        // Alone, with the grant marked so.
        var forBob = await AskAsync(alice, bob.Person);
        await _host.Approval.ApproveAsync(forBob.RequestId, alice.Person, bootstrap: true);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(bob.Person)).Enrolled);
        Assert.False((await _host.StandingAsync(alice.Person)).BootstrapOpen);
        Assert.False((await _host.LogInAsync("alice")).Claims.Bootstrap);

        // The same trick a second time changes nothing, whatever approval says.
        var forCarol = await AskAsync(alice, carol.Person);
        await _host.Approval.ApproveAsync(forCarol.RequestId, alice.Person, bootstrap: true);
        await RefusedAsync(carol.Person);
        Assert.False((await _host.StandingAsync(carol.Person)).Enrolled);

        // With a second person it works.
        var withBob = await AskAsync(alice, carol.Person);
        await _host.Approval.ApproveAsync(withBob.RequestId, bob.Person);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(carol.Person)).Enrolled);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Events.Count(e => e is { Action: "enrol.applied", Success: true }) == 2));
    }

    [Fact]
    public async Task The_change_an_approver_sees_is_bound_by_its_digest()
    {
        var alice = await _host.BootstrapAsync();
        var bob = await _host.LogInAsync("bob");
        var asked = await AskAsync(alice, bob.Person);
        var view = _host.Approval.Requests[asked.RequestId];
        Assert.Equal(RequestKind.Enrolment, view.Kind);
        Assert.Equal(["enrolled"], view.AllOf.Single().AnyOf);
        Assert.Contains("bob@example.test", view.Operations.Single().Text, StringComparison.Ordinal);
        Assert.Contains(bob.Person, view.Operations.Single().Text, StringComparison.Ordinal);
        var document = view.Context["document"];
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(document))), view.Operations.Single().Digest);
    }

    public static TheoryData<string> BadGrants => ["other request", "other digest", "other kind", "other person", "nobody", "requester", "expired", "other signer"];

    [Theory]
    [MemberData(nameof(BadGrants))]
    public async Task A_grant_that_is_not_for_this_changes_nothing(string flaw)
    {
        var alice = await _host.BootstrapAsync();
        var bob = await _host.LogInAsync("bob");
        var carol = await _host.LogInAsync("carol");
        var forBob = await AskAsync(alice, bob.Person);
        await _host.Approval.ApproveAsync(forBob.RequestId, alice.Person, bootstrap: true);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(bob.Person)).Enrolled);

        using var stranger = SigningKey.Create();
        _host.Approval.Signer = flaw == "other signer" ? stranger : null;
        var asked = await AskAsync(alice, carol.Person);
        await _host.Approval.ApproveAsync(asked.RequestId, flaw == "requester" ? alice.Person : bob.Person, twist: claims => flaw switch
        {
            "other request" => claims with { Request = "apr_other" },
            "other digest" => claims with { Digests = [new string('0', 64)] },
            "other kind" => claims with { Kind = RequestKind.Bundle },
            "other person" => claims with { Person = bob.Person },
            "nobody" => claims with { Approvers = [] },
            "expired" => claims with { ExpiresAt = claims.IssuedAt - 10 },
            _ => claims,
        });
        await RefusedAsync(carol.Person);
        Assert.False((await _host.StandingAsync(carol.Person)).Enrolled);
    }

    [Fact]
    public async Task A_request_that_ends_otherwise_changes_nothing_and_approval_may_be_away_for_a_while()
    {
        var alice = await _host.BootstrapAsync();
        var bob = await _host.LogInAsync("bob");
        var denied = await AskAsync(alice, bob.Person);
        await _host.Approval.ChangeAsync(denied.RequestId, RequestState.Denied, announce: false);
        await RefusedAsync(bob.Person);
        Assert.False((await _host.StandingAsync(bob.Person)).Enrolled);

        var asked = await AskAsync(alice, bob.Person);
        _host.Approval.IsDown = true;
        using var refused = await alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{bob.Person}/enrolment", new { });
        Assert.Equal(HttpStatusCode.ServiceUnavailable, refused.StatusCode);
        await _host.Approval.ApproveAsync(asked.RequestId, alice.Person, bootstrap: true, announce: false);
        _host.Approval.IsDown = false;
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(bob.Person)).Enrolled);
        Assert.Equal($"identity:{asked.RequestId}", _host.Approval.Redemptions.Last());
    }

    [Fact]
    public async Task Who_merely_logged_in_can_neither_enrol_nor_disable_nor_read_about_others()
    {
        var alice = await _host.BootstrapAsync();
        var bob = await _host.LogInAsync("bob");
        foreach (var path in new[] { $"persons/{bob.Person}/enrolment", $"persons/{alice.Person}/disable" })
        {
            using var response = await bob.SendAsync(HttpMethod.Post, "/identity/v1/" + path, new { });
            Assert.Equal((HttpStatusCode.Forbidden, "not-enrolled"), (response.StatusCode, await response.CodeAsync()));
        }

        await _host.LogInAsync("carol");
        Assert.Equal(["alice@example.test", "bob@example.test"], (await _host.GetAsync<List<PersonView>>(bob.AccessToken, "/identity/v1/persons")).Select(person => person.Name));
        Assert.Equal(3, (await _host.GetAsync<List<PersonView>>(alice.AccessToken, "/identity/v1/persons")).Count);
    }

    [Fact]
    public async Task Addresses_are_told_to_who_mails_and_to_nobody_else()
    {
        var alice = await _host.BootstrapAsync();
        await _host.LogInAsync("bob");
        const string Path = "/identity/v1/persons";
        var told = await _host.GetAsync<List<PersonView>>(_host.ServiceToken(AppIds.Approval), Path);
        Assert.Equal(["alice@example.test", "bob@example.test"], told.Select(person => person.Mail));
        Assert.Equal(alice.Person, Assert.Single(await _host.GetAsync<List<PersonView>>(_host.ServiceToken(AppIds.Approval), Path + "?enrolled=true")).Id);
        foreach (var other in new[] { alice.AccessToken, _host.ServiceToken(AppIds.Policy), _host.ServiceToken(AppIds.Recorder) })
        {
            using var response = await _host.SendAsync(other, HttpMethod.Get, Path);
            Assert.DoesNotContain("\"mail\"", await response.Content.ReadAsStringAsync(), StringComparison.OrdinalIgnoreCase);
        }
    }

    [Fact]
    public async Task Only_the_host_reopens_bootstrap_and_that_is_break_glass()
    {
        var alice = await _host.BootstrapAsync();
        var bob = await _host.LogInAsync("bob");
        var forBob = await AskAsync(alice, bob.Person);
        await _host.Approval.ApproveAsync(forBob.RequestId, alice.Person, bootstrap: true);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(bob.Person)).Enrolled);

        const string Token = "an-operator-wrote-this-token-0123456789";
        await File.WriteAllTextAsync(_host.BootstrapFile, Token);
        File.SetUnixFileMode(_host.BootstrapFile, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        var carol = await _host.LogInAsync("carol");
        using var early = await carol.SendAsync(HttpMethod.Post, "/identity/v1/bootstrap", new { token = Token });
        Assert.Equal("bootstrap-closed", await early.CodeAsync());

        await using var again = await IdentityHost.StartAsync(_host.Data);
        await HttpExtensions.UntilAsync(() => Task.FromResult(again.Audit.Events.Any(e => e.Action == "bootstrap.reopened" && e.Details["kind"] == "break-glass")));
        var reopened = await again.LogInAsync("carol");
        using var used = await reopened.SendAsync(HttpMethod.Post, "/identity/v1/bootstrap", new { token = Token });
        await used.MustSucceedAsync();
        Assert.True((await again.StandingAsync(reopened.Person)) is { Enrolled: true, BootstrapOpen: true });
        Assert.False((await again.StandingAsync(alice.Person)).BootstrapOpen);
    }

    private static async Task<RequestedChange> AskAsync(Login requester, string person)
    {
        using var response = await requester.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{person}/enrolment", new { reason = "joins the team" });
        await response.MustSucceedAsync();
        return (await System.Net.Http.Json.HttpContentJsonExtensions.ReadFromJsonAsync<RequestedChange>(response.Content, IdentityHost.Json))!;
    }

    private Task RefusedAsync(string person)
        => HttpExtensions.UntilAsync(() => Task.FromResult(_host.Audit.Events.Any(e => e is { Action: "enrol.not-applied", Success: false } && e.Subject == person)));
}
