using System.Net;

namespace Countersign.EndToEnd.Tests.Support;

/// <summary>Stands between the proxy and one service, so that the service can be away, or somebody else can speak in its name.</summary>
public sealed class Relay : IAsyncDisposable
{
    private readonly HttpListener _listener = new();
    private readonly HttpClient _http = new(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false });
    private readonly Uri _target;
    private readonly Task _serving;

    /// <summary>Listens on a loopback port.</summary>
    public Relay(int port, Uri target)
    {
        _target = target;
        Address = new Uri($"http://127.0.0.1:{port}/");
        _listener.Prefixes.Add(Address.AbsoluteUri);
        _listener.Start();
        _serving = ServeAsync();
    }

    /// <summary>Where it listens.</summary>
    public Uri Address { get; }

    /// <summary>Whether every call ends with 503.</summary>
    public bool IsDown { get; set; }

    /// <summary>Answers instead of the service; null to pass the call on.</summary>
    public Func<string, string?>? Forge { get; set; }

    /// <summary>Changes an answer of the service: path and body in, the body to send out, or null to pass it on as it is.</summary>
    public Func<string, string, string?>? Rewrite { get; set; }

    /// <summary>Runs before a call is passed on: method and path.</summary>
    public Func<string, Task>? Before { get; set; }

    /// <summary>Runs when the service has answered, before the caller hears of it: method and path.</summary>
    public Func<string, Task>? After { get; set; }

    /// <summary>How many answers were forged.</summary>
    public int Forged { get; private set; }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _listener.Close();
        await _serving;
        _http.Dispose();
    }

    private async Task ServeAsync()
    {
        while (_listener.IsListening)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception error) when (error is HttpListenerException or ObjectDisposedException)
            {
                return;
            }

            _ = AnswerAsync(context);
        }
    }

    private async Task AnswerAsync(HttpListenerContext context)
    {
        try
        {
            if (IsDown)
            {
                context.Response.StatusCode = 503;
            }
            else if (Forge?.Invoke(context.Request.Url!.AbsolutePath) is { } forged)
            {
                Forged++;
                context.Response.ContentType = "application/json";
                await context.Response.OutputStream.WriteAsync(System.Text.Encoding.UTF8.GetBytes(forged));
            }
            else
            {
                var call = $"{context.Request.HttpMethod} {context.Request.Url!.AbsolutePath}";
                await (Before?.Invoke(call) ?? Task.CompletedTask);
                await PassAsync(context, call);
            }

            context.Response.Close();
        }
        catch (Exception error) when (error is HttpRequestException or HttpListenerException or ObjectDisposedException or IOException or OperationCanceledException)
        {
            // The host was killed, or the caller has gone.
            context.Response.Abort();
        }
    }

    private async Task PassAsync(HttpListenerContext context, string call)
    {
        using var request = new HttpRequestMessage(new HttpMethod(context.Request.HttpMethod), new Uri(_target, context.Request.Url!.PathAndQuery));
        if (context.Request.HasEntityBody)
        {
            var body = new MemoryStream();
            await context.Request.InputStream.CopyToAsync(body);
            request.Content = new ByteArrayContent(body.ToArray());
            request.Content.Headers.TryAddWithoutValidation("Content-Type", context.Request.ContentType);
        }

        foreach (var name in context.Request.Headers.AllKeys.Where(name => name is not ("Host" or "Content-Length" or "Content-Type" or "Transfer-Encoding" or "Connection")))
        {
            request.Headers.TryAddWithoutValidation(name!, context.Request.Headers[name!]);
        }

        using var answer = await _http.SendAsync(request);
        context.Response.StatusCode = (int)answer.StatusCode;
        context.Response.ContentType = answer.Content.Headers.ContentType?.ToString();
        foreach (var header in answer.Headers.Where(header => header.Key is not ("Transfer-Encoding" or "Connection" or "Server" or "Date" or "Keep-Alive")))
        {
            // The signature of an answer is one of them.
            context.Response.Headers[header.Key] = string.Join(", ", header.Value);
        }

        var bytes = await answer.Content.ReadAsByteArrayAsync();
        await (After?.Invoke(call) ?? Task.CompletedTask);
        if (Rewrite?.Invoke(context.Request.Url!.AbsolutePath, System.Text.Encoding.UTF8.GetString(bytes)) is { } rewritten)
        {
            Forged++;
            bytes = System.Text.Encoding.UTF8.GetBytes(rewritten);
        }

        context.Response.ContentLength64 = bytes.Length;
        await context.Response.OutputStream.WriteAsync(bytes);
    }
}
