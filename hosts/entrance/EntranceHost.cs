using Countersign.Platform.Hosting;
using Microsoft.Extensions.Options;
using Yarp.ReverseProxy.Configuration;
using Yarp.ReverseProxy.Transforms;

namespace Countersign.Entrance;

/// <summary>
/// One origin in front of services that run apart: browsers and the CLI know one address. It forwards by the first segment and decides nothing; who calls,
/// the services find out themselves. What is for a service's own sidecar (events, actors, health, metrics) isn't reachable through it.
/// </summary>
public static class EntranceHost
{
    /// <summary>Composes the host.</summary>
    /// <param name="args">Configuration on the command line.</param>
    public static WebApplication Build(string[] args)
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-entrance");
        builder.Services.AddOptions<EntranceOptions>().BindChecked(builder.Configuration.GetSection(EntranceOptions.Section)).ValidateOnStart();
        builder.Services.AddSingleton<IValidateOptions<EntranceOptions>, EntranceOptionsCheck>();
        var options = new EntranceOptions();
        builder.Configuration.GetSection(EntranceOptions.Section).BindChecked(options);
        // Nothing is made of options that are wrong; the check says so at start.
        var good = new EntranceOptionsCheck().Validate(null, options).Succeeded;
        builder.Services.AddReverseProxy()
            .LoadFromMemory(good ? Routes(options) : [], good ? Clusters(options) : [])
            .AddTransforms(context =>
            {
                // Tokens of sidecars: whoever comes from outside has none.
                context.AddRequestHeaderRemove("dapr-api-token");
                context.AddRequestHeaderRemove("dapr-caller-app-id");
                context.AddXForwarded(ForwardedTransformActions.Set);
            });
        // The services have their own, smaller limits; an entrance that is smaller would hide them.
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Limits.MaxRequestBodySize = 64 * 1024 * 1024);

        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapReverseProxy();
        return app;
    }

    /// <summary>What is forwarded.</summary>
    internal static IReadOnlyList<RouteConfig> Routes(EntranceOptions options)
    {
        var open = EntranceOptions.AppIds.Select(appId => Route(appId, appId, $"/{appId}/{{**rest}}"));
        return [.. open, .. options.DevIssuer ? [Route("dev-issuer", "identity", "/dev-issuer/{**rest}")] : Array.Empty<RouteConfig>()];
    }

    private static RouteConfig Route(string id, string cluster, string path) => new()
    {
        RouteId = id,
        ClusterId = cluster,
        Match = new RouteMatch { Path = path },
    };

    private static IReadOnlyList<ClusterConfig> Clusters(EntranceOptions options) =>
    [
        .. options.Services.Select(service => new ClusterConfig
        {
            ClusterId = service.Key,
            LoadBalancingPolicy = "PowerOfTwoChoices",
            HealthCheck = new HealthCheckConfig
            {
                Active = new ActiveHealthCheckConfig { Enabled = true, Path = "/health/ready", Interval = TimeSpan.FromSeconds(1), Timeout = TimeSpan.FromSeconds(3), Policy = "ConsecutiveFailures" },
                // With none that is ready the request still goes somewhere, and the service says itself what is wrong.
                AvailableDestinationsPolicy = "HealthyOrPanic",
            },
            // A replica that is about to stop says so for some seconds (Countersign:StopDelay): one look must be enough.
            Metadata = new Dictionary<string, string> { ["ConsecutiveFailuresHealthPolicy.Threshold"] = "1" },
            Destinations = service.Value.Select((address, index) => (address, index)).ToDictionary(
                each => $"{service.Key}-{each.index + 1}", each => new DestinationConfig { Address = each.address }),
        }),
    ];
}
