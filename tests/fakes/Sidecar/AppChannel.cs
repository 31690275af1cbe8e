using System.Net;

namespace Countersign.Fakes.Sidecar;

/// <summary>Answer of an app.</summary>
internal sealed record AppAnswer(HttpStatusCode Status, byte[] Body, IReadOnlyList<KeyValuePair<string, string>> Headers);

/// <summary>The way from a sidecar to its app: HTTP, with the app token.</summary>
internal sealed class AppChannel(Uri app, string? token) : IDisposable
{
    private static readonly string[] NotForwarded =
        ["Host", "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "dapr-api-token"];

    private readonly HttpClient _http = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        UseProxy = false,
        ConnectTimeout = TimeSpan.FromSeconds(2),
        PooledConnectionIdleTimeout = TimeSpan.FromSeconds(10),
    })
    {
        BaseAddress = app,
        Timeout = TimeSpan.FromSeconds(60),
    };

    public async Task<AppAnswer> SendAsync(
        HttpMethod method, string pathAndQuery, byte[]? body, IReadOnlyList<KeyValuePair<string, string>> headers, CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(method, new Uri(app, "/" + pathAndQuery.TrimStart('/')));
        if (body is not null)
        {
            request.Content = new ByteArrayContent(body);
        }

        foreach (var (name, value) in headers)
        {
            if (!IsHopByHop(name) && !request.Headers.TryAddWithoutValidation(name, value))
            {
                request.Content?.Headers.TryAddWithoutValidation(name, value);
            }
        }

        if (token is not null)
        {
            request.Headers.TryAddWithoutValidation("dapr-api-token", token);
        }

        using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation);
        return new AppAnswer(
            response.StatusCode, await response.Content.ReadAsByteArrayAsync(cancellation),
            [.. response.Headers.Concat(response.Content.Headers).Where(header => !IsHopByHop(header.Key))
                .SelectMany(header => header.Value.Select(value => KeyValuePair.Create(header.Key, value)))]);
    }

    public static bool IsHopByHop(string name) => NotForwarded.Contains(name, StringComparer.OrdinalIgnoreCase);

    public void Dispose() => _http.Dispose();
}
