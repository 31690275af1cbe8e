using System.Diagnostics.Metrics;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Logs;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Countersign.Platform.Hosting;

/// <summary>Traces, metrics and logs. Meters and activity sources named <c>Countersign.*</c> are picked up by name.</summary>
internal static class Telemetry
{
    /// <summary>Standard key of the OpenTelemetry SDK; also as environment variable.</summary>
    private const string OtlpEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";

    public static void Add(IHostApplicationBuilder builder, string serviceName)
    {
        var telemetry = builder.Services.AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService(serviceName, serviceNamespace: "countersign"))
            .WithTracing(tracing => tracing
                .AddSource("Countersign.*", "Microsoft.Orleans.*")
                .AddAspNetCoreInstrumentation(options => options.Filter = context => !IsNoise(context.Request.Path))
                .AddHttpClientInstrumentation())
            .WithMetrics(metrics => metrics
                .AddMeter("Countersign.*", "Microsoft.Orleans")
                .AddAspNetCoreInstrumentation()
                .AddHttpClientInstrumentation()
                .AddRuntimeInstrumentation()
                .AddPrometheusExporter()
                .OwnOnly());
        if (!string.IsNullOrEmpty(builder.Configuration[OtlpEndpoint]))
        {
            builder.Logging.AddOpenTelemetry(logging => logging.IncludeScopes = true);
            telemetry.UseOtlpExporter();
        }
    }

    // Meters are found by name in the whole process: another host in it (tests have many) would show its figures here, and use up the 1,000 that a provider takes.
    private static MeterProviderBuilder OwnOnly(this MeterProviderBuilder metrics) => ((IDeferredMeterProviderBuilder)metrics).Configure((provider, built) =>
    {
        var own = provider.GetRequiredService<IMeterFactory>();
        built.AddView(instrument => instrument.Meter.Scope is IMeterFactory other && !ReferenceEquals(own, other) ? MetricStreamConfiguration.Drop : null);
    });

    /// <summary>Who may scrape: <c>loopback</c> (default) or <c>all</c>.</summary>
    private const string Exposure = "Countersign:Metrics";

    public static void Map(WebApplication app)
    {
        if (app.Configuration[Exposure] is not "all")
        {
            app.Use(static (context, next) =>
            {
                if (!context.Request.Path.StartsWithSegments("/metrics") || IsLocal(context))
                {
                    return next(context);
                }

                context.Response.StatusCode = StatusCodes.Status404NotFound;
                return Task.CompletedTask;
            });
        }

        app.MapPrometheusScrapingEndpoint("/metrics").DisableHttpMetrics();
    }

    /// <summary>Wrong values of the option.</summary>
    public static string? Wrong(IConfiguration configuration) =>
        configuration[Exposure] is null or "" or "loopback" or "all" ? null : $"{Exposure} must be loopback or all.";

    // A reverse proxy on the same machine passes on what comes from anywhere.
    private static bool IsLocal(HttpContext context) =>
        (context.Connection.RemoteIpAddress is null || System.Net.IPAddress.IsLoopback(context.Connection.RemoteIpAddress))
        && !context.Request.Headers.ContainsKey("X-Forwarded-For") && !context.Request.Headers.ContainsKey("Forwarded");

    private static bool IsNoise(Microsoft.AspNetCore.Http.PathString path) => path.StartsWithSegments("/health") || path.StartsWithSegments("/metrics");
}
