using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Microsoft.Extensions.Configuration;

namespace Countersign.Platform.Dapr;

/// <summary>
/// Clients for the other services through the sidecar's invocation. A receiver may be given an address of its own (<c>Countersign:Services:&lt;appid&gt;</c>),
/// e.g. the recorder, where batches are larger than what a sidecar takes; the tokens are the same.
/// </summary>
internal sealed class InvocationClients(string caller, IHttpClientFactory factory, IConfiguration configuration, DaprOptions options) : IServiceClients
{
    public HttpClient Create(string appId)
    {
        var client = factory.CreateClient(ServiceClientPipeline.Name(caller, appId));
        client.BaseAddress = new Uri(configuration[$"Countersign:Services:{appId}"] is { Length: > 0 } direct
            ? $"{direct.TrimEnd('/')}/{appId}/"
            : $"{options.HttpEndpoint}/v1.0/invoke/{appId}/method/{appId}/");
        return client;
    }

    /// <summary>What is wrong with the addresses of receivers that have one of their own.</summary>
    internal static IEnumerable<string> Errors(IConfiguration configuration)
    {
        foreach (var direct in configuration.GetSection("Countersign:Services").GetChildren().Where(each => each.Value is { Length: > 0 }))
        {
            if (DaprOptions.WrongAddress(direct.Value!) is { } wrong)
            {
                yield return $"{direct.Path}: {wrong}";
            }
        }
    }
}

/// <summary>Shows the sidecar, and nobody else, the API token.</summary>
internal sealed class SidecarHandler(DaprOptions options) : DelegatingHandler
{
    public const string ClientName = "countersign:sidecar";

    protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        if (request.RequestUri is { } address && new Uri(options.HttpEndpoint).IsBaseOf(address))
        {
            request.Headers.Remove("dapr-api-token");
            request.Headers.Add("dapr-api-token", options.ApiToken);
        }

        return base.SendAsync(request, cancellationToken);
    }
}
