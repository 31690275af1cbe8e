using Countersign.Deploy.Tests.Support;

namespace Countersign.Deploy.Tests;

/// <summary>What is denied at the sidecar is denied in the service, and the other way round: components/ and the routes of the code say the same.</summary>
[Trait("group", "distributed")]
public sealed class AccessControlTests
{
    public static TheoryData<string> Services => [.. DaprFiles.Services];

    [Theory]
    [MemberData(nameof(Services))]
    public void The_sidecar_lets_through_what_the_service_does(string service)
    {
        var sidecar = Sidecar(service);
        var different =
            from route in ServiceRoutes.All
            where route.Service == service
            from caller in DaprFiles.Services
            let inCode = route.Services?.Contains(caller) == true
            where sidecar.Allows(caller, route.Method, route.Path) != inCode
            select $"{caller} -> {route.Method} {route.Path}: {(inCode ? "allowed in the code, denied" : "denied in the code, allowed")} in components/configuration/{service}.yaml";
        Assert.Empty(different);
    }

    [Theory]
    [MemberData(nameof(Services))]
    public void What_is_for_the_own_sidecar_is_closed_to_other_apps(string service)
    {
        // The sidecar adds the app's token to what it passes on, so these must not be reachable by invocation at all.
        var sidecar = Sidecar(service);
        string[] internals =
        [
            "/dapr/subscribe", "/dapr/config", "/healthz", "/health/live", "/health/ready", "/metrics", "/actors/x/1/method/y", "/actors/x/1/method/remind/y", "/actors/x/1/method/timer/y",
            "/dapr/events/audit", "/dapr/news/policy", "/dapr/dead/audit", "/dev-issuer/login", "/", $"/{service}",
        ];
        foreach (var caller in DaprFiles.Services.Append("unknown"))
        {
            foreach (var method in new[] { "GET", "POST", "PUT", "DELETE" })
            {
                Assert.Empty(internals.Where(path => sidecar.Allows(caller, method, path)).Select(path => $"{caller} -> {method} {path}"));
            }
        }
    }

    [Fact]
    public void The_proxy_can_ask_for_an_approval_and_can_not_decide_one()
    {
        var sidecar = Sidecar("approval");
        Assert.True(sidecar.Allows("proxy", "POST", "/approval/v1/requests"));
        Assert.True(sidecar.Allows("proxy", "POST", "/approval/v1/requests/q1/redeem"));
        foreach (var word in new[] { "approve", "deny", "revoke", "reason", "break-glass", "review", "APPROVE" })
        {
            Assert.False(sidecar.Allows("proxy", "POST", $"/approval/v1/requests/q1/{word}"), word);
        }
    }

    [Fact]
    public void A_stranger_is_refused_everywhere() =>
        Assert.All(ServiceRoutes.All.Where(route => DaprFiles.Services.Contains(route.Service)), route => Assert.False(Sidecar(route.Service).Allows("stranger", route.Method, route.Path)));

    [Fact]
    public void The_routes_are_the_real_ones()
    {
        // The comparison above must not become empty unseen.
        Assert.True(ServiceRoutes.All.Count(route => route.Services is { Count: > 0 }) >= 15);
        Assert.All(DaprFiles.Services, service => Assert.Contains(ServiceRoutes.All, route => route.Service == service));
        Assert.Contains(ServiceRoutes.All, route => route is { Method: "POST", Path: "/approval/v1/requests/x1/approve", Services: { Count: 0 } });
    }

    [Fact]
    public void A_name_at_the_end_of_an_operation_opens_what_is_below_it()
    {
        // Why components/ has /* where something longer stays closed. Dapr's own tests call it a prefix.
        var open = new SidecarAccess(new("deny", "d", [new("a", "deny", "d", "default", [new("/x/requests", ["POST"], "allow")])]));
        Assert.True(open.Allows("a", "POST", "/x/requests/1/approve"));
        var closed = new SidecarAccess(new("deny", "d", [new("a", "deny", "d", "default", [new("/x/*", ["POST"], "allow")])]));
        Assert.True(closed.Allows("a", "POST", "/x/requests"));
        Assert.False(closed.Allows("a", "POST", "/x/requests/1/approve"));
        Assert.False(closed.Allows("b", "POST", "/x/requests"));
        Assert.False(closed.Allows("a", "GET", "/x/requests"));
    }

    private static SidecarAccess Sidecar(string service) => new(DaprFiles.Configurations[service].Spec.AccessControl);
}
