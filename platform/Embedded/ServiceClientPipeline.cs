using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Http.Resilience;
using Countersign.Platform.Tokens;

namespace Countersign.Platform.Embedded;

/// <summary>How one service calls another over HTTP: limits of time, retries where a repetition does no harm, a circuit breaker, and its own token.</summary>
public static class ServiceClientPipeline
{
    /// <summary>Name of the client in <c>IHttpClientFactory</c>.</summary>
    public static string Name(string caller, string receiver) => $"countersign:{caller}:{receiver}";

    /// <summary>Registers the client. Unreachable, failing and too slow are all an <see cref="HttpRequestException"/>.</summary>
    /// <param name="services">Services.</param>
    /// <param name="caller">App id of the caller, whose <see cref="ServiceTokens"/> are registered.</param>
    /// <param name="receiver">App id of the receiver.</param>
    public static IHttpClientBuilder AddServiceClient(this IServiceCollection services, string caller, string receiver)
    {
        var client = services.AddHttpClient(Name(caller, receiver))
            .ConfigurePrimaryHttpMessageHandler(() => new SocketsHttpHandler
            {
                AllowAutoRedirect = false,
                UseCookies = false,
                UseProxy = false,
                ConnectTimeout = TimeSpan.FromSeconds(5),
                PooledConnectionLifetime = TimeSpan.FromMinutes(5),
            })
            .AddHttpMessageHandler(() => new UnavailableHandler());
        client.AddStandardResilienceHandler(options =>
        {
            options.AttemptTimeout.Timeout = TimeSpan.FromSeconds(15);
            options.TotalRequestTimeout.Timeout = TimeSpan.FromSeconds(40);
            options.CircuitBreaker.SamplingDuration = TimeSpan.FromSeconds(30);
            options.Retry.MaxRetryAttempts = 2;
            options.Retry.Delay = TimeSpan.FromMilliseconds(200);
            options.Retry.DisableForUnsafeHttpMethods();
        });
        return client.AddHttpMessageHandler(provider => new ServiceTokenHandler(provider.GetRequiredKeyedService<ServiceTokens>(caller), receiver));
    }
}
