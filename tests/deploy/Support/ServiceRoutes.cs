using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Standalone;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Deploy.Tests.Support;

/// <summary>A route of the code.</summary>
/// <param name="Service">App id of the service it belongs to, from its first segment.</param>
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

    private static (IReadOnlyList<ServiceRoute>, IReadOnlyList<Subscribed>) Compose()
    {
        var data = Directory.CreateTempSubdirectory("countersign-deploy-");
        try
        {
            using var app = StandaloneHost.Build(
            [
                "--urls=http://127.0.0.1:1", "--environment=Development", $"--Countersign:Data={data.FullName}", "--Countersign:BaseUrl=http://127.0.0.1:1",
                "--Countersign:DevIssuer:Enabled=true", "--Countersign:Proxy:PostgresPort=0", "--Logging:LogLevel:Default=Error",
            ]);
            var routes =
                from source in ((IEndpointRouteBuilder)app).DataSources
                from endpoint in source.Endpoints.OfType<RouteEndpoint>()
                from method in endpoint.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? ["GET", "POST"]
                let path = Fill(endpoint.RoutePattern)
                select new ServiceRoute(path.Split('/')[1], method, path, Callers(endpoint));
            return ([.. routes], [.. app.Services.GetServices<BusSubscription>().Select(each => new Subscribed(each.Subscriber, each.Topic, each.EveryInstance)).Distinct()]);
        }
        finally
        {
            data.Delete(recursive: true);
        }
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
