using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Countersign.Approval.Tests;

/// <summary>Somebody between the service and its mail server, who reads what passes in clear, and changes what the server says until TLS begins.</summary>
public sealed class MailRelay : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stopping = new();
    private readonly int _server;
    private readonly Func<string, string?> _change;
    private readonly Task _running;

    /// <param name="server">Port of the server.</param>
    /// <param name="change">What the client gets for a line of the server; null for nothing.</param>
    public MailRelay(int server, Func<string, string?> change)
    {
        (_server, _change) = (server, change);
        _listener.Start();
        _running = AcceptAsync();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    /// <summary>What the client said in clear, a line each.</summary>
    public ConcurrentQueue<string> Clear { get; } = new();

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        _listener.Stop();
        await _running;
        _stopping.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                using var client = await _listener.AcceptTcpClientAsync(_stopping.Token);
                using var server = new TcpClient();
                await server.ConnectAsync(IPAddress.Loopback, _server, _stopping.Token);
                try
                {
                    await RelayAsync(client.GetStream(), server.GetStream());
                }
                catch (IOException)
                {
                    // One of them went away.
                }
            }
        }
        catch (Exception error) when (error is OperationCanceledException or SocketException or InvalidOperationException)
        {
            // The end of the test.
        }
    }

    private async Task RelayAsync(NetworkStream client, NetworkStream server)
    {
        await PassAsync(server, client, _change);
        while (await LineAsync(client) is { } line)
        {
            Clear.Enqueue(line);
            await server.WriteAsync(Encoding.Latin1.GetBytes(line + "\r\n"), _stopping.Token);
            await PassAsync(server, client, _change);
            if (line.StartsWith("STARTTLS", StringComparison.OrdinalIgnoreCase))
            {
                await Task.WhenAny(client.CopyToAsync(server, _stopping.Token), server.CopyToAsync(client, _stopping.Token));
                return;
            }
        }
    }

    // A reply ends with a line whose code is followed by a blank (RFC 5321 section 4.2.1).
    private async Task PassAsync(NetworkStream from, NetworkStream to, Func<string, string?> change)
    {
        while (await LineAsync(from) is { } line)
        {
            if (change(line) is { } changed)
            {
                await to.WriteAsync(Encoding.Latin1.GetBytes(changed + "\r\n"), _stopping.Token);
            }

            if (line.Length > 3 && line[3] == ' ')
            {
                return;
            }
        }
    }

    private async Task<string?> LineAsync(NetworkStream from)
    {
        var line = new List<byte>();
        var one = new byte[1];
        while (await from.ReadAsync(one, _stopping.Token) == 1)
        {
            if (one[0] == '\n')
            {
                return Encoding.Latin1.GetString([.. line]).TrimEnd('\r');
            }

            line.Add(one[0]);
        }

        return null;
    }
}
