using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Countersign.Cli.Login;

/// <summary>
/// Takes the one redirect of a browser login on a free loopback port. A few lines of HTTP on a socket: HttpListener claims prefixes of the whole
/// machine, and a web server is a lot for one GET.
/// </summary>
internal sealed class LoopbackListener : IDisposable
{
    private const string CallbackPath = "/callback";
    private const int LongestHead = 16 * 1024;
    private static readonly TimeSpan HeadPatience = TimeSpan.FromSeconds(5);
    private readonly TcpListener _listener;

    private LoopbackListener(TcpListener listener)
    {
        _listener = listener;
        RedirectUri = $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}{CallbackPath}";
    }

    public string RedirectUri { get; }

    public static LoopbackListener Start()
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return new LoopbackListener(listener);
    }

    /// <summary>Waits until a redirect is accepted; anything else that reaches the port is answered and ignored.</summary>
    public async Task<string> WaitAsync(Func<IReadOnlyDictionary<string, string>, RedirectVerdict> check, CancellationToken cancellation)
    {
        while (true)
        {
            using var client = await _listener.AcceptTcpClientAsync(cancellation);
            var stream = client.GetStream();
            var target = await ReadTargetAsync(stream, cancellation);
            var query = target?.IndexOf('?') ?? -1;
            var path = query < 0 ? target : target![..query];
            if (path != CallbackPath)
            {
                await AnswerAsync(stream, "404 Not Found", "There is nothing here.", cancellation);
                continue;
            }

            var verdict = check(query < 0 ? new Dictionary<string, string>() : ParseQuery(target![(query + 1)..]));
            if (verdict.Ignored is { } why)
            {
                await AnswerAsync(stream, "400 Bad Request", why, cancellation);
                continue;
            }

            await AnswerAsync(
                stream, "200 OK", verdict.Error is null ? "Logged in. You can close this page and go back to the terminal." : "The login was not completed; the terminal says why.", cancellation);
            return verdict.Code ?? throw verdict.Error!;
        }
    }

    public void Dispose() => _listener.Dispose();

    private static async Task<string?> ReadTargetAsync(NetworkStream stream, CancellationToken cancellation)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(HeadPatience);
        var buffer = new byte[LongestHead];
        var length = 0;
        try
        {
            while (length < buffer.Length && buffer.AsSpan(0, length).IndexOf("\r\n\r\n"u8) < 0)
            {
                var read = await stream.ReadAsync(buffer.AsMemory(length), patience.Token);
                if (read == 0)
                {
                    return null;
                }

                length += read;
            }
        }
        catch (Exception error) when (error is IOException || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            return null;
        }

        var line = Encoding.Latin1.GetString(buffer, 0, length).Split("\r\n", 2)[0].Split(' ');
        return line is ["GET", var target, ..] ? target : null;
    }

    private static async Task AnswerAsync(NetworkStream stream, string status, string text, CancellationToken cancellation)
    {
        var answer = $"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {text.Length}\r\nCache-Control: no-store\r\n"
            + $"Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{text}";
        try
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes(answer), cancellation);
        }
        catch (IOException)
        {
            // The browser went away; what it brought counts all the same.
        }
    }

    private static Dictionary<string, string> ParseQuery(string query)
    {
        var result = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var pair in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var cut = pair.IndexOf('=', StringComparison.Ordinal);
            var name = Decode(cut < 0 ? pair : pair[..cut]);

            // A parameter that comes twice is an attempt to be read in two ways (RFC 6749, section 3.1): it counts as absent.
            if (!result.TryAdd(name, cut < 0 ? "" : Decode(pair[(cut + 1)..])))
            {
                result[name] = "";
            }
        }

        return result;
    }

    private static string Decode(string text) => Uri.UnescapeDataString(text.Replace('+', ' '));
}

/// <summary>What a redirect amounts to.</summary>
internal sealed record RedirectVerdict(string? Code, CliException? Error, string? Ignored)
{
    public static RedirectVerdict Accept(string code) => new(code, null, null);

    public static RedirectVerdict Fail(CliException error) => new(null, error, null);

    public static RedirectVerdict Ignore(string why) => new(null, null, why);
}
