using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Cli.Output;

namespace Countersign.Cli.Server;

/// <summary>Requests to the services behind one base URL; refusals and outages become <see cref="CliException"/>s that say what to do.</summary>
internal sealed class CountersignServer : IDisposable
{
    /// <summary>Largest JSON answer that is taken into memory, in bytes. Exports are streamed.</summary>
    private const long LargestAnswer = 64 * 1024 * 1024;

    private readonly HttpClient _client;
    private readonly IAccessTokens _tokens;

    public CountersignServer(HttpMessageHandler handler, Uri baseAddress, IAccessTokens tokens)
    {
        _client = new HttpClient(handler) { BaseAddress = baseAddress, MaxResponseContentBufferSize = LargestAnswer };
        _client.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("countersign", "0.1"));
        _tokens = tokens;
    }

    public Uri BaseAddress => _client.BaseAddress!;

    public Task<T> GetAsync<T>(string? audience, string path, CancellationToken cancellation) =>
        ReadJsonAsync<T>(audience, () => new HttpRequestMessage(HttpMethod.Get, path), cancellation);

    public Task<TAnswer> PostAsync<TBody, TAnswer>(string? audience, string path, TBody body, CancellationToken cancellation) =>
        ReadJsonAsync<TAnswer>(audience, () => Post(path, body), cancellation);

    /// <summary>Posts where the answer doesn't matter beyond having succeeded.</summary>
    public async Task PostAsync<TBody>(string? audience, string path, TBody body, CancellationToken cancellation)
    {
        using var response = await SendAsync(audience, () => Post(path, body), HttpCompletionOption.ResponseContentRead, cancellation);
    }

    public async Task DeleteAsync(string audience, string path, CancellationToken cancellation)
    {
        using var response = await SendAsync(audience, () => new HttpRequestMessage(HttpMethod.Delete, path), HttpCompletionOption.ResponseContentRead, cancellation);
    }

    public async Task<string> GetTextAsync(string? audience, string path, CancellationToken cancellation)
    {
        using var response = await SendAsync(audience, () => new HttpRequestMessage(HttpMethod.Get, path), HttpCompletionOption.ResponseContentRead, cancellation);
        return await response.Content.ReadAsStringAsync(cancellation);
    }

    /// <summary>The body as it comes; whoever calls disposes the response.</summary>
    public Task<HttpResponseMessage> GetStreamedAsync(string audience, string path, CancellationToken cancellation) =>
        SendAsync(audience, () => new HttpRequestMessage(HttpMethod.Get, path), HttpCompletionOption.ResponseHeadersRead, cancellation);

    public void Dispose() => _client.Dispose();

    /// <summary>A path with query parameters; those without a value are left out.</summary>
    public static string Query(string path, params (string Name, string? Value)[] parameters)
    {
        var present = parameters.Where(parameter => !string.IsNullOrEmpty(parameter.Value))
            .Select(parameter => $"{parameter.Name}={Uri.EscapeDataString(parameter.Value!)}").ToList();
        return present.Count == 0 ? path : $"{path}?{string.Join('&', present)}";
    }

    private static HttpRequestMessage Post<TBody>(string path, TBody body) =>
        new(HttpMethod.Post, path) { Content = JsonContent.Create(body, options: CliJson.Wire) };

    private async Task<T> ReadJsonAsync<T>(string? audience, Func<HttpRequestMessage> request, CancellationToken cancellation)
    {
        using var response = await SendAsync(audience, request, HttpCompletionOption.ResponseContentRead, cancellation);
        try
        {
            return await response.Content.ReadFromJsonAsync<T>(CliJson.Wire, cancellation)
                ?? throw new JsonException("the answer is null");
        }
        catch (Exception error) when (error is JsonException or NotSupportedException)
        {
            throw new CliException(
                ExitCodes.Unavailable, $"{response.RequestMessage?.RequestUri} gave an answer that is not understood.",
                "Is that a Countersign server, and of the same version?", "bad-answer", error);
        }
    }

    private async Task<HttpResponseMessage> SendAsync(
        string? audience, Func<HttpRequestMessage> create, HttpCompletionOption completion, CancellationToken cancellation)
    {
        var token = audience is null ? null : await _tokens.GetAsync(audience, unlike: null, cancellation);
        var response = await SendOnceAsync(create(), token, completion, cancellation);
        if (response.StatusCode == HttpStatusCode.Unauthorized && audience is not null)
        {
            // The cached token may be of before a revocation, a new key or a changed role: one fresh one, once.
            response.Dispose();
            token = await _tokens.GetAsync(audience, unlike: token, cancellation);
            response = await SendOnceAsync(create(), token, completion, cancellation);
        }

        if (response.IsSuccessStatusCode)
        {
            return response;
        }

        using (response)
        {
            throw await Problem.ReadAsync(response, cancellation);
        }
    }

    private async Task<HttpResponseMessage> SendOnceAsync(
        HttpRequestMessage request, string? token, HttpCompletionOption completion, CancellationToken cancellation)
    {
        using (request)
        {
            if (token is not null)
            {
                request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
            }

            try
            {
                return await _client.SendAsync(request, completion, cancellation);
            }
            catch (HttpRequestException error)
            {
                throw Unreachable(BaseAddress, error);
            }
            catch (TaskCanceledException error) when (!cancellation.IsCancellationRequested)
            {
                throw new CliException(ExitCodes.Unavailable, $"{BaseAddress} did not answer in time.", code: "timeout", inner: error);
            }
        }
    }

    public static CliException Unreachable(Uri address, HttpRequestException error)
    {
        var reason = error.InnerException?.Message ?? error.Message;
        return new CliException(
            ExitCodes.Unavailable, string.Create(CultureInfo.InvariantCulture, $"{address} can't be reached: {reason}"),
            "Check --server, COUNTERSIGN_SERVER and that the server runs.", "unreachable", error);
    }
}

/// <summary>Access tokens by audience.</summary>
internal interface IAccessTokens
{
    /// <summary>A token for one service.</summary>
    /// <param name="audience">App id of the service.</param>
    /// <param name="unlike">A token that the service did not take; null for none. Another one is fetched.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <exception cref="CliException">Not logged in.</exception>
    Task<string> GetAsync(string audience, string? unlike, CancellationToken cancellation);
}
