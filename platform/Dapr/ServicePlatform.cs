using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Dapr;

/// <summary>What a service of its own process runs on: <c>Countersign:Platform</c> is <c>Embedded</c> (the default) or <c>Dapr</c>.</summary>
public static class ServicePlatform
{
    /// <summary>Setting that chooses.</summary>
    public const string Setting = "Countersign:Platform";

    /// <summary>Whether this process has a sidecar.</summary>
    public static bool IsDapr(IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return (configuration[Setting] ?? "Embedded").ToUpperInvariant() switch
        {
            "EMBEDDED" => false,
            "DAPR" => true,
            _ => throw new OptionsValidationException(Setting, typeof(string), [$"{Setting}: Embedded or Dapr"]),
        };
    }

    /// <summary>Registers the platform that is chosen.</summary>
    /// <param name="builder">Builder of the process.</param>
    /// <param name="appId">The one service of this process.</param>
    public static IHostApplicationBuilder AddServicePlatform(this IHostApplicationBuilder builder, string appId)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var data = builder.Configuration["Countersign:Data"] ?? "./.countersign";
        return IsDapr(builder.Configuration) ? builder.AddDaprPlatform(appId, data) : builder.AddEmbeddedPlatform(data, appId);
    }

    /// <summary>Maps what the platform needs. Call it after hosting and before the routes of the service.</summary>
    public static WebApplication MapServicePlatform(this WebApplication app, string appId)
    {
        ArgumentNullException.ThrowIfNull(app);
        if (IsDapr(app.Configuration))
        {
            app.MapDaprPlatform();
        }

        app.MapDeadLetters(appId);
        return app;
    }
}
