using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Countersign.Approval.Tests;

/// <summary>A mail as it was received.</summary>
public sealed record ReceivedMail(string From, string To, string Data);

/// <summary>A small SMTP receiver (RFC 5321 without extensions), so that mails cross a real socket. Offers no TLS.</summary>
public sealed class SmtpReceiver : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stopping = new();
    private readonly Task _running;

    public SmtpReceiver()
    {
        _listener.Start();
        _running = AcceptAsync();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;
    public ConcurrentQueue<ReceivedMail> Mails { get; } = new();
    public ConcurrentQueue<string> Commands { get; } = new();

    /// <summary>Command that gets no answer; <c>GREETING</c> for none at all.</summary>
    public string Silent { get; init; } = "";

    /// <summary>Whether the greeting has no end.</summary>
    public bool Endless { get; init; }

    /// <summary>Answer to RCPT, e.g. <c>550 nobody</c>.</summary>
    public string Recipient { get; set; } = "250 ok";

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
                try
                {
                    await ServeAsync(client.GetStream());
                }
                catch (IOException)
                {
                    // The client went away.
                }
            }
        }
        catch (Exception error) when (error is OperationCanceledException or SocketException or InvalidOperationException)
        {
            // The end of the test.
        }
    }

    private async Task ServeAsync(NetworkStream stream)
    {
        using var reader = new StreamReader(stream, new UTF8Encoding(false), leaveOpen: true);
        await using var writer = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\r\n", AutoFlush = true };
        while (Endless)
        {
            await writer.WriteLineAsync(("220-" + new string('x', 4_000)).AsMemory(), _stopping.Token);
        }

        if (Silent == "GREETING")
        {
            await Task.Delay(Timeout.Infinite, _stopping.Token);
        }

        await writer.WriteLineAsync("220 test");
        var (from, to) = ("", "");
        while (await reader.ReadLineAsync(_stopping.Token) is { } line)
        {
            Commands.Enqueue(line);
            if (Silent.Length > 0 && line.StartsWith(Silent, StringComparison.OrdinalIgnoreCase))
            {
                // Until the client goes away.
                _ = await reader.ReadToEndAsync(_stopping.Token);
                return;
            }

            switch (line.Split(' ')[0].ToUpperInvariant())
            {
                case "MAIL":
                    from = line;
                    await writer.WriteLineAsync("250 ok");
                    break;
                case "RCPT":
                    to = line;
                    await writer.WriteLineAsync(Recipient);
                    break;
                case "DATA":
                    await writer.WriteLineAsync("354 go on");
                    var data = new StringBuilder();
                    while (await reader.ReadLineAsync(_stopping.Token) is { } part && part != ".")
                    {
                        data.Append(part.StartsWith('.') ? part[1..] : part).Append('\n');
                    }

                    Mails.Enqueue(new ReceivedMail(from, to, data.ToString()));
                    await writer.WriteLineAsync("250 ok");
                    break;
                case "QUIT":
                    await writer.WriteLineAsync("221 bye");
                    return;
                default:
                    await writer.WriteLineAsync("250 test");
                    break;
            }
        }
    }
}
