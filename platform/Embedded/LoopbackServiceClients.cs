using System.Net.Http.Headers;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Polly.CircuitBreaker;
using Polly.Timeout;

namespace Countersign.Platform.Embedded;

/// <summary>Clients for the other services over HTTP, each call with this service's own token. Unreachable is always an <see cref="HttpRequestException"/>.</summary>
internal sealed class LoopbackServiceClients(string caller, IHttpClientFactory factory, ServiceAddresses addresses) : IServiceClients
{
    public HttpClient Create(string appId)
    {
        var client = factory.CreateClient(ServiceClientPipeline.Name(caller, appId));
        client.BaseAddress = addresses.Of(appId);
        return client;
    }
}

/// <summary>
/// Where the services are: <c>Countersign:Services:&lt;appid&gt;</c>, else <c>Countersign:BaseUrl</c>, else the address that this process listens on.
/// </summary>
internal sealed class ServiceAddresses(IConfiguration configuration, IServiceProvider services)
{
    public Uri Of(string appId)
    {
        var address = configuration[$"Countersign:Services:{appId}"] ?? configuration["Countersign:BaseUrl"] ?? Own();
        return new Uri(new Uri(address.TrimEnd('/') + "/", UriKind.Absolute), appId + "/");
    }

    private string Own()
    {
        var own = services.GetService<IServer>()?.Features.Get<IServerAddressesFeature>()?.Addresses
            .OrderByDescending(address => address.StartsWith("http:", StringComparison.OrdinalIgnoreCase)).FirstOrDefault();
        if (own is null)
        {
            throw new PortUnavailableException("Countersign:BaseUrl is not set and this process does not listen yet");
        }

        return own.Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal)
            .Replace("[::]", "127.0.0.1", StringComparison.Ordinal)
            .Replace("//+", "//127.0.0.1", StringComparison.Ordinal)
            .Replace("//*", "//127.0.0.1", StringComparison.Ordinal);
    }
}

/// <summary>Attaches the caller's service token.</summary>
internal sealed class ServiceTokenHandler(ServiceTokens tokens, string receiver) : DelegatingHandler
{
    protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        // A caller that passes on a person's token has set one itself.
        request.Headers.Authorization ??= new AuthenticationHeaderValue("Bearer", tokens.For(receiver));
        return base.SendAsync(request, cancellationToken);
    }
}

/// <summary>Turns what the resilience pipeline throws into what every caller of an HttpClient expects.</summary>
internal sealed class UnavailableHandler : DelegatingHandler
{
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        try
        {
            return await base.SendAsync(request, cancellationToken);
        }
        catch (TimeoutRejectedException error)
        {
            throw new HttpRequestException("the service did not answer in time", error);
        }
        catch (BrokenCircuitException error)
        {
            throw new HttpRequestException("the service is failing and not asked for now", error);
        }
    }
}
