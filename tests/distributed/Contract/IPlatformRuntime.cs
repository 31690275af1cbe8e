using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>A service as the contract needs one: what it subscribes to, and what it answers.</summary>
/// <param name="AppId">App id.</param>
internal sealed record AppSpec(string AppId)
{
    /// <summary>Its subscriptions.</summary>
    public IReadOnlyList<BusSubscription> Subscriptions { get; init; } = [];

    /// <summary>Its routes.</summary>
    public Action<IEndpointRouteBuilder> Map { get; init; } = _ => { };
}

/// <summary>Services composed on one of the platforms.</summary>
internal interface IPlatformRuntime : IAsyncDisposable
{
    /// <summary>What a service has.</summary>
    IServiceProvider Of(string appId);
}

/// <summary>The services of the contract.</summary>
internal static class ContractApps
{
    /// <summary>
    /// What policy answers: <c>/policy/v1/echo</c> to every service, <c>/policy/v1/admin/x</c> to identity only. The sidecar's list (where there is one) says the same.
    /// </summary>
    public static AppSpec Policy(params BusSubscription[] subscriptions) => new(AppIds.Policy)
    {
        Subscriptions = subscriptions,
        Map = app =>
        {
            app.MapPost("/policy/v1/echo", async (HttpContext context) => $"{context.GetCaller().Service}:{await new StreamReader(context.Request.Body).ReadToEndAsync()}")
                .RequireCaller(AppIds.Policy, Callers.Services, AppIds.Proxy, AppIds.Identity, AppIds.Approval);
            app.MapPost("/policy/v1/admin/x", () => "done").RequireCaller(AppIds.Policy, Callers.Services, AppIds.Identity);
        },
    };

    /// <summary>Access control of policy's sidecar.</summary>
    public const string PolicyRules = """
        apiVersion: dapr.io/v1alpha1
        kind: Configuration
        metadata: {name: policy}
        spec:
          accessControl:
            defaultAction: deny
            trustDomain: "countersign"
            policies:
            - appId: proxy
              defaultAction: deny
              trustDomain: "countersign"
              namespace: "default"
              operations: [{name: /policy/v1/*, httpVerb: ["POST"], action: allow}]
            - appId: identity
              defaultAction: deny
              trustDomain: "countersign"
              namespace: "default"
              operations: [{name: /policy/v1/*, httpVerb: ["POST"], action: allow}, {name: /policy/v1/admin/*, httpVerb: ["POST"], action: allow}]
        """;

    /// <summary>Configuration of every other sidecar: its secrets.</summary>
    public const string OtherRules = """
        apiVersion: dapr.io/v1alpha1
        kind: Configuration
        metadata: {name: other}
        spec:
          accessControl: {defaultAction: deny, trustDomain: "countersign"}
          secrets: {scopes: [{storeName: secrets, defaultAccess: deny, allowedSecrets: ["contract"]}]}
        """;

    /// <summary>Secrets that the store has; only the first is allowed.</summary>
    public static IReadOnlyDictionary<string, string> Secrets { get; } = new Dictionary<string, string> { ["contract"] = "s3cret value", ["other"] = "not yours" };

    /// <summary>A secret of the store of target credentials that is one text.</summary>
    public const string TargetAsText = """{"user":"app","password":"one text","host":"127.0.0.1","port":5432,"tls":"disable"}""";

    /// <summary>One that has several values.</summary>
    public static IReadOnlyDictionary<string, string> TargetAsValues { get; } = new Dictionary<string, string>
    {
        ["user"] = "app",
        ["password"] = "several values",
        ["host"] = "127.0.0.1",
        ["port"] = "5432",
        ["tls"] = "disable",
    };

    public static T Get<T>(this IPlatformRuntime runtime, string appId)
        where T : notnull => runtime.Of(appId).GetRequiredService<T>();

    public static T Keyed<T>(this IPlatformRuntime runtime, string appId)
        where T : notnull => runtime.Of(appId).GetRequiredKeyedService<T>(appId);
}
