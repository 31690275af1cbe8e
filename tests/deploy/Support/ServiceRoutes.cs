using Countersign.Approval.Host;
using Countersign.Identity.Host;
using Countersign.Platform.Dapr;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Policy.Host;
using Countersign.Proxy.Host;
using Countersign.Recorder.Host;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Countersign.Deploy.Tests.Support;

/// <summary>A route of the code.</summary>
/// <param name="Service">App id of the service that has it.</param>
/// <param name="Method">HTTP method.</param>
/// <param name="Path">A path that it takes, with parameters filled in.</param>
/// <param name="Services">Services that may call it; null where it asks nobody who they are and no service needs it.</param>
internal sealed record ServiceRoute(string Service, string Method, string Path, IReadOnlyList<string>? Services);

/// <summary>A subscription of the code.</summary>
/// <param name="Subscriber">App id.</param>
/// <param name="Topic">Topic.</param>
/// <param name="News">Whether every instance hears everything.</param>
internal sealed record Subscribed(string Subscriber, string Topic, bool News);

/// <summary>The routes and subscriptions of all five services, from the composition itself.</summary>
internal static class ServiceRoutes
{
    private static readonly Lazy<(IReadOnlyList<ServiceRoute> Routes, IReadOnlyList<Subscribed> Subscriptions)> Read = new(Compose);

    public static IReadOnlyList<ServiceRoute> All => Read.Value.Routes;

    public static IReadOnlyList<Subscribed> Subscriptions => Read.Value.Subscriptions;

    // Each service as its own process composes it, with a sidecar; nothing is started.
    private static (IReadOnlyList<ServiceRoute>, IReadOnlyList<Subscribed>) Compose()
    {
        var routes = new List<ServiceRoute>();
        var subscriptions = new List<Subscribed>();
        foreach (var (appId, add, map) in new (string, Action<IHostApplicationBuilder>, Action<IEndpointRouteBuilder>)[]
        {
            (AppIds.Identity, builder => builder.AddIdentityService(), app => app.MapIdentityService()),
            (AppIds.Policy, builder => builder.AddPolicyService(), app => app.MapPolicyService()),
            (AppIds.Approval, builder => builder.AddApprovalService(), app => app.MapApprovalService()),
            (AppIds.Recorder, builder => builder.AddRecorderService(), app => app.MapRecorderService()),
            (AppIds.Proxy, builder => builder.AddProxyService(), app => app.MapProxyService()),
        })
        {
            var data = Directory.CreateTempSubdirectory("countersign-deploy-");
            try
            {
                var builder = WebApplication.CreateBuilder(
                [
                    "--urls=http://127.0.0.1:1", "--environment=Development", $"--Countersign:Data={data.FullName}", "--Countersign:BaseUrl=http://127.0.0.1:1",
                    "--Countersign:DevIssuer:Enabled=true", "--Countersign:Proxy:PostgresPort=0", "--Logging:LogLevel:Default=Error",
                    "--Countersign:Platform=Dapr", "--Countersign:Dapr:ApiToken=0123456789abcdef-1", "--Countersign:Dapr:AppToken=0123456789abcdef-2",
                ]);
                builder.AddCountersignHosting($"countersign-{appId}");
                builder.AddServicePlatform(appId);
                add(builder);
                using var app = builder.Build();
                app.UseCountersignHosting();
                app.MapServicePlatform(appId);
                map(app);
                routes.AddRange(
                    from source in ((IEndpointRouteBuilder)app).DataSources
                    from endpoint in source.Endpoints.OfType<RouteEndpoint>()
                    from method in endpoint.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? ["GET", "POST"]
                    select new ServiceRoute(appId, method, Fill(endpoint.RoutePattern), Callers(endpoint)));
                subscriptions.AddRange(app.Services.GetServices<BusSubscription>().Select(each => new Subscribed(each.Subscriber, each.Topic, each.EveryInstance)));
            }
            finally
            {
                data.Delete(recursive: true);
            }
        }

        return (routes, [.. subscriptions.Distinct()]);
    }

    private static IReadOnlyList<string>? Callers(RouteEndpoint endpoint) =>
        endpoint.Metadata.GetMetadata<CallerRequirement>()?.Services ?? endpoint.Metadata.GetMetadata<ServiceCallers>()?.Services;

    private static string Fill(Microsoft.AspNetCore.Routing.Patterns.RoutePattern pattern) =>
        "/" + string.Join('/', pattern.PathSegments.Select(segment => string.Concat(segment.Parts.Select(part => part switch
        {
            Microsoft.AspNetCore.Routing.Patterns.RoutePatternLiteralPart literal => literal.Content,
            _ => "x1",
        }))));
}
