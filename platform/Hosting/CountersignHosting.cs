using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Hosting;

/// <summary>What every service process has: telemetry, health, problem details, callers, security headers and limits.</summary>
public static class CountersignHosting
{
    /// <summary>Largest request body in bytes where a route says nothing else (<see cref="WithRequestBodyLimit"/>).</summary>
    public const long DefaultRequestBodyLimit = 1024 * 1024;

    // At Information they log every address with its query, and one-time codes of logins are in there.
    private static readonly string[] Chatty =
    [
        "Microsoft.AspNetCore.Hosting.Diagnostics", "Microsoft.AspNetCore.Routing", "Microsoft.AspNetCore.Http.Result", "Microsoft.AspNetCore.Authentication",
        "Microsoft.EntityFrameworkCore", "OpenIddict", "Polly", "System.Net.Http.HttpClient",
    ];

    /// <summary>Registers the services of hosting. May be called several times: the first name wins, what is there already isn't added again.</summary>
    /// <param name="builder">Builder of the process.</param>
    /// <param name="serviceName"><c>service.name</c> of the telemetry.</param>
    public static IHostApplicationBuilder AddCountersignHosting(this IHostApplicationBuilder builder, string serviceName)
    {
        if (builder.Services.Any(service => service.ServiceType == typeof(HostingMarker)))
        {
            return builder;
        }

        FileModes.KeepToOwner();
        builder.Services.AddSingleton(new HostingMarker(serviceName));
        builder.Services.TryAddSingleton(TimeProvider.System);
        Telemetry.Add(builder, serviceName);
        builder.Services.AddOptions<StopOptions>().BindChecked(builder.Configuration.GetSection("Countersign")).ValidateOnStart();
        builder.Services.AddSingleton<IValidateOptions<StopOptions>, StopOptionsCheck>();
        builder.Services.AddSingleton<Stopping>();
        builder.Services.AddHostedService(provider => provider.GetRequiredService<Stopping>());
        // Read while the host is built, before options are checked: nothing here may throw.
        builder.Services.AddOptions<HostOptions>().PostConfigure<IEnumerable<IConfigureOptions<StopOptions>>>(static (host, all) => host.ShutdownTimeout += StopOptions.Read(all));
        builder.Services.AddHealthChecks().Add(new HealthCheckRegistration(
            "stopping", provider => new Health.StoppingCheck(provider.GetRequiredService<Stopping>()), failureStatus: HealthStatus.Unhealthy, tags: [Health.Live, Health.Ready]));
        builder.Services.AddProblemDetails(options => options.CustomizeProblemDetails = Problems.Complete);
        builder.Services.AddExceptionHandler<ProblemExceptionHandler>();
        builder.Services.AddRouting();
        builder.Services.Configure<KestrelServerOptions>(options =>
        {
            options.AddServerHeader = false;
            options.Limits.MaxRequestBodySize = DefaultRequestBodyLimit;
            options.Limits.MaxRequestHeadersTotalSize = 96 * 1024;
            options.Limits.MaxRequestHeaderCount = 64;
            options.Limits.MaxRequestLineSize = 16 * 1024;
            options.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
            options.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(120);
            options.Limits.MaxConcurrentConnections = 10_000;
        });
        // A line a request of every layer is for tracing, not for a log; configuration can still ask for it.
        foreach (var category in new[] { "Microsoft.AspNetCore", "System.Net.Http.HttpClient", "Polly", "Orleans", "OpenIddict", "Microsoft.EntityFrameworkCore", "Microsoft.Orleans" })
        {
            builder.Logging.AddFilter(category, LogLevel.Warning);
        }

        // Errors are logged once, with their type, by the exception handler.
        builder.Logging.AddFilter("Microsoft.AspNetCore.Diagnostics.ExceptionHandlerMiddleware", LogLevel.None);
        foreach (var category in Chatty)
        {
            builder.Logging.AddFilter(category, LogLevel.Warning);
        }

        return builder;
    }

    /// <summary>
    /// Installs error handling, security headers, <c>/metrics</c>, <c>/health/live</c> and <c>/health/ready</c>. Call it once, before the routes of the services.
    /// </summary>
    /// <exception cref="OptionsValidationException">Options are wrong; an <see cref="AggregateException"/> of them where several kinds are.</exception>
    public static WebApplication UseCountersignHosting(this WebApplication app)
    {
        // Before the host does it by itself: that makes all services first, and the first with wrong options would hide what is wrong with the others.
        app.Services.GetService<IStartupValidator>()?.Validate();
        if (Telemetry.Wrong(app.Configuration) is { } wrong)
        {
            throw new OptionsValidationException("Countersign", typeof(HostingMarker), [wrong]);
        }

        app.UseMiddleware<SecurityHeaders>();
        app.UseExceptionHandler();
        app.UseStatusCodePages();
        Health.Map(app);
        Telemetry.Map(app);
        return app;
    }

    /// <summary>Sets the largest request body of a route, in bytes.</summary>
    public static TBuilder WithRequestBodyLimit<TBuilder>(this TBuilder builder, long bytes)
        where TBuilder : IEndpointConventionBuilder
        => builder.WithMetadata(new RequestSizeLimitAttribute(bytes));
}

/// <summary>Shows that hosting was added.</summary>
internal sealed record HostingMarker(string ServiceName);
