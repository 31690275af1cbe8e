using System.Net.Security;
using System.Net.Sockets;

namespace Countersign.Proxy.Postgres;

/// <summary>A byte stream to a peer: a socket, or TLS over one. One read and one write may be under way at once.</summary>
internal abstract class PostgresTransport : IDisposable
{
    /// <summary>How long a peer that was told why its connection ends may go on sending before it is cut off.</summary>
    public static readonly TimeSpan Courtesy = TimeSpan.FromMilliseconds(500);

    /// <summary>Reads at least one byte; 0 at the end of the stream.</summary>
    public abstract ValueTask<int> ReadAsync(Memory<byte> buffer);

    /// <summary>Writes everything.</summary>
    public abstract ValueTask WriteAsync(ReadOnlyMemory<byte> bytes);

    /// <summary>Whether bytes have arrived that were not read; false where that isn't known.</summary>
    public abstract bool HasMore { get; }

    /// <summary>Says that nothing more will be written.</summary>
    public abstract void EndWriting();

    /// <summary>
    /// Reads and drops what still comes, for a moment: closing a socket with unread bytes resets it, and the peer would lose the error that it was
    /// just told.
    /// </summary>
    public async Task LingerAsync()
    {
        var scrap = new byte[4096];
        using var enough = new CancellationTokenSource(Courtesy);
        try
        {
            for (var left = 1 << 20; left > 0;)
            {
                var read = await ReadAsync(scrap).AsTask().WaitAsync(enough.Token).ConfigureAwait(false);
                if (read == 0)
                {
                    return;
                }

                left -= read;
            }
        }
        catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException or OperationCanceledException or InvalidOperationException)
        {
            // It was a courtesy.
        }
    }

    /// <summary>Closes the connection; reads and writes under way fail.</summary>
    public abstract void Dispose();
}

/// <summary>A bare socket: what is fastest, and what loopback clients use.</summary>
internal sealed class SocketTransport(Socket socket) : PostgresTransport
{
    public override bool HasMore => socket.Available > 0;

    public override ValueTask<int> ReadAsync(Memory<byte> buffer) => socket.ReceiveAsync(buffer, SocketFlags.None);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> bytes)
    {
        var sending = socket.SendAsync(bytes, SocketFlags.None);
        if (!sending.IsCompletedSuccessfully)
        {
            return FinishAsync(sending.AsTask(), bytes);
        }

        var sent = sending.Result;
        return sent == bytes.Length ? ValueTask.CompletedTask : FinishAsync(Task.FromResult(sent), bytes);
    }

    public override void EndWriting()
    {
        try
        {
            socket.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            // Already gone.
        }
        catch (ObjectDisposedException)
        {
            // Already gone.
        }
    }

    public override void Dispose() => socket.Dispose();

    private async ValueTask FinishAsync(Task<int> sending, ReadOnlyMemory<byte> bytes)
    {
        var sent = await sending.ConfigureAwait(false);
        while (sent < bytes.Length)
        {
            bytes = bytes[sent..];
            sent = await socket.SendAsync(bytes, SocketFlags.None).ConfigureAwait(false);
        }
    }
}

/// <summary>TLS.</summary>
internal sealed class TlsTransport(SslStream stream, Socket socket) : PostgresTransport
{
    public override bool HasMore => socket.Available > 0;

    public override ValueTask<int> ReadAsync(Memory<byte> buffer) => stream.ReadAsync(buffer);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> bytes) => stream.WriteAsync(bytes);

    public override void EndWriting()
    {
        try
        {
            socket.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            // Already gone.
        }
        catch (ObjectDisposedException)
        {
            // Already gone.
        }
    }

    public override void Dispose()
    {
        // The socket first: closing the stream could wait for a write that is stuck.
        socket.Dispose();
        stream.Dispose();
    }
}
