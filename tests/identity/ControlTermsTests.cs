using System.Net;
using System.Net.Http.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Identity.Host;
using Countersign.Identity.Tests.Support;
using Countersign.Recorder.Contracts;

namespace Countersign.Identity.Tests;

/// <summary>Who must agree to an enrolment or a link is whom the policies in force name for changes of controls (I3), and where that can't be known nobody is asked.</summary>
[Trait("group", "identity")]
public sealed class ControlTermsTests : IAsyncLifetime
{
    private const string Security = "groups: [security], quorum: 2, timeout: 2h, grant_lifetime: 30m, assurance: {amr: [otp]}";
    private IdentityHost _host = null!;
    private Login _alice = null!;
    private Login _bob = null!;
    private Login _carol = null!;

    public async ValueTask InitializeAsync()
    {
        _host = await IdentityHost.StartAsync();
        _alice = await _host.BootstrapAsync();
        _bob = await _host.LogInAsync("bob");
        _carol = await _host.LogInAsync("carol");
        var first = await AskAsync(_bob.Person);
        Assert.Equal((EnrolledGroup, 1), (Assert.Single(Assert.Single(_host.Approval.Requests[first.RequestId].AllOf).AnyOf), _host.Approval.Requests[first.RequestId].AllOf[0].Quorum));
        await _host.Approval.ApproveAsync(first.RequestId, _alice.Person, bootstrap: true);
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(_bob.Person)).Enrolled);
    }

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    private static string EnrolledGroup => ControlRequests.EnrolledGroup;

    [Fact]
    public async Task It_is_asked_of_whom_the_policies_in_force_name_and_applied_with_no_fewer()
    {
        _host.Policy.Force(1, Security);
        var asked = await AskAsync(_carol.Person);
        var request = _host.Approval.Asked[asked.RequestId];
        Assert.Equal(("security", 2), (Assert.Single(Assert.Single(request.AllOf).AnyOf), request.AllOf[0].Quorum));
        Assert.Equal((7200, 1800, "otp"), (request.TimeoutSeconds, request.GrantLifetimeSeconds, Assert.Single(request.Assurance!.Amr)));
        var otp = new RequestAssurance(null, ["otp"]);

        // One approver is too few, and so are logins of any kind, or somebody else asked.
        await NotAppliedAsync(asked, claims => claims with { Assurance = otp });
        await NotAppliedAsync(await AskAsync(_carol.Person), claims => Two(claims));
        await NotAppliedAsync(await AskAsync(_carol.Person), claims => Two(claims) with { Assurance = otp, AllOf = [new RequestRequirement([EnrolledGroup], 1)] });
        var last = await AskAsync(_carol.Person);
        await _host.Approval.ApproveAsync(last.RequestId, _bob.Person, twist: claims => Two(claims) with { Assurance = otp });
        var ended = await EndedAsync(last);
        Assert.Equal(("enrol.applied", "somebody, other"), (ended.Action, ended.Details["detail"]));
        Assert.True((await _host.StandingAsync(_carol.Person)).Enrolled);
    }

    [Fact]
    public async Task Terms_that_became_stricter_while_a_change_waited_hold_for_it()
    {
        var asked = await AskAsync(_carol.Person);
        _host.Policy.Force(1, Security);
        await NotAppliedAsync(asked, claims => claims);
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task Where_the_terms_can_not_be_known_nothing_is_asked_for_and_nothing_applied()
    {
        async Task UnknownAsync()
        {
            var before = _host.Approval.Requests.Count;
            using var response = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{_carol.Person}/enrolment", new { });
            Assert.Equal((HttpStatusCode.ServiceUnavailable, "control-terms-unknown"), (response.StatusCode, await response.CodeAsync()));
            Assert.Equal(before, _host.Approval.Requests.Count);
        }

        var waits = await AskAsync(_carol.Person);
        _host.Policy.IsDown = true;
        await UnknownAsync();
        await _host.Approval.ApproveAsync(waits.RequestId, _bob.Person);
        await HttpExtensions.UntilAsync(() => Task.FromResult(_host.Logs.Lines.Any(line => line.Contains(waits.RequestId, StringComparison.Ordinal) && line.Contains("can't be followed", StringComparison.Ordinal))));
        Assert.False((await _host.StandingAsync(_carol.Person)).Enrolled);
        _host.Policy.IsDown = false;
        await HttpExtensions.UntilAsync(async () => (await _host.StandingAsync(_carol.Person)).Enrolled);

        // Policy's word alone is none: not a bundle that nobody approved, nor an older one, nor that there never was one.
        using (await _alice.SendAsync(HttpMethod.Delete, $"/identity/v1/persons/{_carol.Person}/enrolment"))
        {
        }

        _host.Policy.Force(3, "groups: [enrolled]", claims => claims with { Approvers = [] });
        await UnknownAsync();
        _host.Policy.Force(3, Security);
        Assert.Equal("security", _host.Approval.Requests[(await AskAsync(_carol.Person)).RequestId].AllOf[0].AnyOf[0]);
        _host.Policy.Force(2, "groups: [enrolled]");
        await UnknownAsync();
        _host.Policy.Force(4, "groups: [enrolled]", claims => claims with { AllOf = [new RequestRequirement([EnrolledGroup], 1)] });
        await UnknownAsync();
        _host.Policy.Envelope = null;
        await UnknownAsync();
        await using var again = await IdentityHost.StartAsync(_host.Data);
        using var forgotten = await again.SendAsync(_alice.AccessToken, HttpMethod.Post, $"/identity/v1/persons/{_carol.Person}/enrolment", new { });
        Assert.Equal("control-terms-unknown", await forgotten.CodeAsync());
    }

    private static GrantClaims Two(GrantClaims claims) => claims with { Approvers = [.. claims.Approvers, new GrantApprover("per_other", "other", claims.IssuedAt)] };

    private async Task NotAppliedAsync(RequestedChange asked, Func<GrantClaims, GrantClaims> twist)
    {
        await _host.Approval.ApproveAsync(asked.RequestId, _bob.Person, twist: twist);
        Assert.Equal("enrol.not-applied", (await EndedAsync(asked)).Action);
        Assert.False((await _host.StandingAsync(_carol.Person)).Enrolled);
    }

    private async Task<AuditEvent> EndedAsync(RequestedChange asked)
    {
        AuditEvent? ended = null;
        await HttpExtensions.UntilAsync(() => Task.FromResult(
            (ended = _host.Audit.Events.FirstOrDefault(e => e.Details.TryGetValue("request", out var request) && request == asked.RequestId)) is not null));
        return ended!;
    }

    private async Task<RequestedChange> AskAsync(string person)
    {
        using var response = await _alice.SendAsync(HttpMethod.Post, $"/identity/v1/persons/{person}/enrolment", new { });
        await response.MustSucceedAsync();
        return (await response.Content.ReadFromJsonAsync<RequestedChange>(IdentityHost.Json))!;
    }
}
