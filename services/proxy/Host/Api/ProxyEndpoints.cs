using System.Text;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Proxy.Host.Tls;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Vault;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.Api;

/// <summary>What clients and services ask the proxy over HTTP. Nothing of the data path.</summary>
internal static class ProxyEndpoints
{
    private const int MaxTextBytes = 1024 * 1024;

    public static void Map(IEndpointRouteBuilder app)
    {
        var group = app.MapGroup("/proxy/v1");
        group.MapGet("/ca", (GatewayCertificate certificate) => Results.Text(certificate.AuthorityPem, "application/x-pem-file"));
        group.MapGet("/endpoint", Endpoint);
        group.MapGet("/sealing-key", (GroupKey key) => key.Public);
        group.MapPost("/requests", (AheadRequest asked, HttpContext http, AheadRequests ahead) =>
                ahead.AskAsync(http.GetCaller(), http.Connection.RemoteIpAddress?.ToString() ?? "", asked, http.RequestAborted))
            .RequireCaller(AppIds.Proxy, Callers.Persons).WithRequestBodyLimit(MaxTextBytes * 2);
        group.MapPost("/facts", FactsAsync).RequireCaller(AppIds.Proxy, Callers.Services, AppIds.Policy).WithRequestBodyLimit(MaxTextBytes * 2);
    }

    private static IResult Endpoint(ProxyListener listener, IOptions<ProxyOptions> options) =>
        listener.PostgresEndPoint is { } postgres
            ? Results.Ok(new { postgres = new { host = options.Value.PublicHost, port = postgres.Port, tls = true } })
            : throw new ProblemException(StatusCodes.Status503ServiceUnavailable, "not-listening", "The PostgreSQL listener is not open yet.");

    private static async Task<IResult> FactsAsync(FactsRequest request, SqlParser parser, CancellationToken cancellation)
    {
        if (request.Protocol != "postgres")
        {
            throw new ProblemException(StatusCodes.Status400BadRequest, "unknown-protocol", "Only postgres is understood.");
        }

        var analysis = await parser.AnalyzeAsync(Encoding.UTF8.GetBytes(request.Text), cancellation: cancellation);
        return Results.Ok(analysis.Facts);
    }

    /// <summary>Asks for the facts of a text.</summary>
    internal sealed record FactsRequest(string Protocol, string Text);
}
