using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Diagnostics.HealthChecks;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Countersign.Platform.Hosting;

/// <summary>Liveness (the process answers, and wasn't asked to stop) and readiness (every registered check passes).</summary>
public static class Health
{
    internal const string Live = "live";
    internal const string Ready = "ready";

    /// <summary>Adds a readiness check.</summary>
    /// <param name="services">Services.</param>
    /// <param name="name">Unique in the process, e.g. <c>policy-bundle</c>.</param>
    /// <param name="check">Returns null when ready, else why not, for people; no secrets.</param>
    public static IServiceCollection AddReadiness(
        this IServiceCollection services, string name, Func<IServiceProvider, CancellationToken, ValueTask<string?>> check)
    {
        services.AddHealthChecks().Add(new HealthCheckRegistration(
            name, provider => new Check(provider, check), failureStatus: HealthStatus.Unhealthy, tags: [Ready], timeout: TimeSpan.FromSeconds(5)));
        return services;
    }

    internal static void Map(WebApplication app)
    {
        app.MapHealthChecks("/health/live", new HealthCheckOptions { Predicate = check => check.Tags.Contains(Live), ResponseWriter = WriteAsync }).DisableHttpMetrics();
        app.MapHealthChecks("/health/ready", new HealthCheckOptions { Predicate = check => check.Tags.Contains(Ready), ResponseWriter = WriteAsync })
            .DisableHttpMetrics();
    }

    private static Task WriteAsync(HttpContext context, HealthReport report) => context.Response.WriteAsJsonAsync(new
    {
        status = report.Status == HealthStatus.Healthy ? "ok" : "failing",
        checks = report.Entries.OrderBy(entry => entry.Key, StringComparer.Ordinal).Select(entry => new
        {
            name = entry.Key,
            status = entry.Value.Status == HealthStatus.Healthy ? "ok" : "failing",
            detail = entry.Value.Description,
        }),
    });

    internal sealed class StoppingCheck(Stopping stopping) : IHealthCheck
    {
        public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
            Task.FromResult(stopping.IsAsked ? HealthCheckResult.Unhealthy("it was asked to stop") : HealthCheckResult.Healthy());
    }

    private sealed class Check(IServiceProvider provider, Func<IServiceProvider, CancellationToken, ValueTask<string?>> check) : IHealthCheck
    {
        public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
        {
            try
            {
                var reason = await check(provider, cancellationToken);
                return reason is null ? HealthCheckResult.Healthy() : HealthCheckResult.Unhealthy(reason);
            }
#pragma warning disable CA1031 // a check that fails in any way means "not ready"; its text may hold what nobody should read
            catch (Exception error)
#pragma warning restore CA1031
            {
                return HealthCheckResult.Unhealthy($"check failed: {error.GetType().Name}");
            }
        }
    }
}
