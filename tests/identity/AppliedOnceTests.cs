using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Identity.Host;
using Countersign.Identity.Persons;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Identity.Tests;

/// <summary>A change that was approved is applied once: a crash before that is written down gives back nothing that was taken away since.</summary>
[Trait("group", "identity")]
public sealed class AppliedOnceTests : IAsyncLifetime
{
    private IdentityHost _host = null!;
    private PersonDirectory _persons = null!;

    public async ValueTask InitializeAsync()
    {
        _host = await IdentityHost.StartAsync();
        _persons = _host.Services.GetRequiredService<PersonDirectory>();
    }

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    [Fact]
    public async Task An_enrolment_that_was_withdrawn_does_not_come_back_when_identity_did_not_write_down_that_it_was_applied()
    {
        var alice = await _host.BootstrapAsync();
        var (bob, carol) = (await _host.LogInAsync("bob"), await _host.LogInAsync("carol"));
        async Task<RequestedChange> Enrol(Login person, Login approver)
        {
            using var response = await alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{person.Person}/enrolment", new { });
            var change = (await response.Content.ReadFromJsonAsync<RequestedChange>(IdentityHost.Json))!;
            await _host.Approval.ApproveAsync(change.RequestId, approver.Person, bootstrap: approver == alice);
            await HttpExtensions.UntilAsync(async () => await StateAsync(change.RequestId) == "applied");
            return change;
        }

        await Enrol(bob, alice);
        var asked = await Enrol(carol, bob);
        Assert.True((await _host.StandingAsync(carol.Person)).Enrolled);
        using (var withdrawn = await alice.SendAsync(HttpMethod.Delete, $"/identity/v1/persons/{carol.Person}/enrolment"))
        {
            await withdrawn.MustSucceedAsync();
        }

        // As it was before the crash: approved and redeemed, applied to the person, but not written down.
        var store = _host.Services.GetRequiredKeyedService<IStateStore>(AppIds.Identity);
        var item = (await store.GetAsync("changes", asked.RequestId, default))!;
        var before = JsonSerializer.Deserialize<PendingChange>(item.Value.Span, IdentityHost.Json)! with { State = "pending" };
        var redemptions = _host.Approval.Redemptions.Count;
        Assert.True(await store.TrySaveAsync("changes", asked.RequestId, JsonSerializer.SerializeToUtf8Bytes(before, IdentityHost.Json), item.ETag, default));
        await HttpExtensions.UntilAsync(async () => _host.Approval.Redemptions.Count > redemptions && await StateAsync(asked.RequestId) == "applied");
        Assert.False((await _host.StandingAsync(carol.Person)).Enrolled);
    }

    [Fact]
    public async Task No_kind_of_change_is_made_twice()
    {
        async Task<string> Person(string name) => (await _persons.SignInAsync(
            new ProviderIdentity { Issuer = "https://idp.example", Subject = name, Name = name, AuthenticatedAt = DateTimeOffset.UtcNow }, default)).Person.Id;
        var (one, other) = (await Person("one"), await Person("other"));
        string[] pair = [.. new[] { one, other }.Order(StringComparer.Ordinal)];
        async Task<PersonRecord> Apply(IdentityChange change, string request)
        {
            await _persons.ApplyAsync(change, request, default);
            return await _persons.GetAsync(change.Persons[0], default);
        }

        await _persons.DisableAsync(one, default);
        Assert.False((await Apply(new IdentityChange(ChangeKinds.Enable, [one], "one"), "apr_1")).Disabled);
        await _persons.DisableAsync(one, default);
        Assert.True((await Apply(new IdentityChange(ChangeKinds.Enable, [one], "one"), "apr_1")).Disabled);
        Assert.False((await Apply(new IdentityChange(ChangeKinds.Enable, [one], "one"), "apr_2")).Disabled);

        var (link, unlink) = (new IdentityChange(ChangeKinds.Link, pair, ""), new IdentityChange(ChangeKinds.Unlink, pair, ""));
        Assert.NotEmpty((await Apply(link, "apr_3")).Links);
        Assert.Empty((await Apply(unlink, "apr_4")).Links);
        Assert.Empty((await Apply(link, "apr_3")).Links);
        Assert.NotEmpty((await Apply(link, "apr_5")).Links);
        Assert.NotEmpty((await Apply(unlink, "apr_4")).Links);
        Assert.NotEmpty((await _persons.GetAsync(pair[1], default)).Links);

        var account = new IdentityChange(ChangeKinds.ServiceAccount, ["per_etl", one], "etl");
        await Apply(account, "apr_6");
        Assert.Equal([other], (await Apply(new IdentityChange(ChangeKinds.Owners, ["per_etl", other], "etl"), "apr_7")).Owners);
        Assert.Equal([one], (await Apply(new IdentityChange(ChangeKinds.Owners, ["per_etl", one], "etl"), "apr_8")).Owners);
        Assert.Equal([one], (await Apply(new IdentityChange(ChangeKinds.Owners, ["per_etl", other], "etl"), "apr_7")).Owners);
        Assert.Equal([one], (await Apply(account, "apr_6")).Owners);
    }

    private async Task<string> StateAsync(string request)
    {
        var item = await _host.Services.GetRequiredKeyedService<IStateStore>(AppIds.Identity).GetAsync("changes", request, default);
        return JsonSerializer.Deserialize<JsonElement>(item!.Value.Span).GetProperty("state").GetString()!;
    }
}
