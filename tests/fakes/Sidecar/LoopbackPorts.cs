using System.Net;
using System.Net.Sockets;

namespace Countersign.Fakes.Sidecar;

/// <summary>Ports on loopback for servers that must know theirs before they start.</summary>
public static class LoopbackPorts
{
    // Below those that the system hands out by itself: one of these could be another socket's by the time the server starts.
    private const int First = 10_000;
    private const int Beyond = 32_000;
    private static readonly Lock Gate = new();
    private static readonly HashSet<int> Given = [];

    /// <summary>A port that is free, and that this process gives to nobody else.</summary>
    public static int Next()
    {
        lock (Gate)
        {
            while (true)
            {
                var port = Random.Shared.Next(First, Beyond);
                if (!Given.Contains(port) && IsFree(port))
                {
                    Given.Add(port);
                    return port;
                }
            }
        }
    }

    private static bool IsFree(int port)
    {
        try
        {
            using var probe = new TcpListener(IPAddress.Loopback, port);
            probe.Start();
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
