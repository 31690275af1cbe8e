using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Host;

/// <summary>What policy asks other services: approval about changes, the proxy's parser about texts.</summary>
internal sealed class ServiceCalls([FromKeyedServices(AppIds.Policy)] IServiceClients clients, ITrustedKeys keys, TimeProvider clock)
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { RespectNullableAnnotations = true };

    /// <summary>Asks for approval.</summary>
    /// <exception cref="ProblemException">Approval refused, and why.</exception>
    /// <exception cref="PortUnavailableException">Approval can't be asked.</exception>
    public Task<CreateRequestResult> AskAsync(CreateRequest request, CancellationToken cancellation) =>
        PostAsync<CreateRequest, CreateRequestResult>(AppIds.Approval, "v1/requests", request, cancellation);

    /// <summary>Redeems the grant of an approved change. The redemption id is the request's: the same answer, however often.</summary>
    public async Task<string> RedeemAsync(string request, string digest, CancellationToken cancellation)
    {
        var answer = await PostAsync<RedeemRequest, RedeemResult>(
            AppIds.Approval, $"v1/requests/{Uri.EscapeDataString(request)}/redeem", new RedeemRequest(0, digest, $"bundle:{request}", ""), cancellation);
        return answer.Grant;
    }

    /// <summary>The request as it is now; null where approval doesn't know it.</summary>
    public async Task<RequestView?> RequestAsync(string request, CancellationToken cancellation)
    {
        using var response = await SendAsync(AppIds.Approval, client => client.GetAsync(new Uri($"v1/requests/{Uri.EscapeDataString(request)}", UriKind.Relative), cancellation));
        return response.StatusCode == HttpStatusCode.NotFound ? null : await ReadAsync<RequestView>(AppIds.Approval, response, cancellation);
    }

    /// <summary>How a person stands now; null where identity doesn't know them.</summary>
    public async Task<PersonStanding?> StandingAsync(string person, CancellationToken cancellation)
    {
        var standing = await AskIdentityAsync<PersonStanding>($"v1/persons/{Uri.EscapeDataString(person)}/standing", cancellation);
        return standing is null || standing.Person == person ? standing : throw new PortUnavailableException("Identity answered for another person.");
    }

    /// <summary>Everybody that identity knows.</summary>
    public async Task<IReadOnlyList<PersonView>> PersonsAsync(CancellationToken cancellation) =>
        await AskIdentityAsync<List<PersonView>>("v1/persons", cancellation) ?? throw new PortUnavailableException("The identity service has no list of persons.");

    /// <summary>What a text does.</summary>
    public async ValueTask<OperationFacts> FactsAsync(string protocol, string text, CancellationToken cancellation) =>
        await PostAsync<FactsRequest, OperationFacts>(AppIds.Proxy, "v1/facts", new FactsRequest(protocol, text), cancellation);

    private async Task<T?> AskIdentityAsync<T>(string path, CancellationToken cancellation)
        where T : class
    {
        try
        {
            return (await clients.Create(AppIds.Identity).AskSignedAsync(keys, AppIds.Identity, AppIds.Policy, path, clock, cancellation)).Read<T>(Json);
        }
        catch (TokenRejectedException error)
        {
            throw new PortUnavailableException("The identity service didn't answer itself.", error);
        }
        catch (Exception error) when (error is HttpRequestException or IOException)
        {
            throw new PortUnavailableException("The identity service can't be reached.", error);
        }
        catch (JsonException error)
        {
            throw new PortUnavailableException("The identity service gave an answer that can't be read.", error);
        }
    }

    private async Task<TAnswer> PostAsync<TBody, TAnswer>(string appId, string path, TBody body, CancellationToken cancellation)
        where TAnswer : class
    {
        using var response = await SendAsync(appId, client => client.PostAsJsonAsync(path, body, Json, cancellation));
        return await ReadAsync<TAnswer>(appId, response, cancellation);
    }

    private async Task<HttpResponseMessage> SendAsync(string appId, Func<HttpClient, Task<HttpResponseMessage>> send)
    {
        try
        {
            return await send(clients.Create(appId));
        }
        catch (Exception error) when (error is HttpRequestException or IOException)
        {
            throw new PortUnavailableException($"The {appId} service can't be reached.", error);
        }
    }

    private static async Task<T> ReadAsync<T>(string appId, HttpResponseMessage response, CancellationToken cancellation)
        where T : class
    {
        try
        {
            if (response.IsSuccessStatusCode)
            {
                return await response.Content.ReadFromJsonAsync<T>(Json, cancellation) ?? throw new PortUnavailableException($"The {appId} service gave an empty answer.");
            }

            if ((int)response.StatusCode is >= 400 and < 500 and not 401)
            {
                var problem = await response.Content.ReadFromJsonAsync<Problem>(Json, cancellation);
                throw new ProblemException((int)response.StatusCode, problem?.Code ?? "refused", problem?.Detail ?? problem?.Title ?? $"The {appId} service refused.");
            }
        }
        catch (Exception error) when (error is JsonException or NotSupportedException or IOException)
        {
            throw new PortUnavailableException($"The {appId} service gave an answer that can't be read.", error);
        }

        throw new PortUnavailableException($"The {appId} service answered {(int)response.StatusCode}.");
    }

    private sealed record Problem(string? Title, string? Detail, string? Code);
}
