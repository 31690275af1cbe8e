using System.Net;
using System.Net.Sockets;

namespace Countersign.Operations.Tests;

/// <summary>A data directory and a port of a host of its own.</summary>
internal sealed class Place : IDisposable
{
    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("countersign-operations-").FullName;

    public int Port { get; } = FreePort();

    public string Url => $"http://127.0.0.1:{Port}";

    /// <summary>Least configuration of a host that can start, as command line.</summary>
    public string[] Arguments(params string[] more) =>
    [
        $"--urls={Url}",
        "--environment=Development",
        $"--Countersign:Data={Directory}",
        $"--Countersign:BaseUrl={Url}",
        "--Countersign:DevIssuer:Enabled=true",
        "--Countersign:Proxy:PostgresPort=0",
        "--Logging:LogLevel:Default=Error",
        .. more,
    ];

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);

    /// <summary>Waits for a condition, not for a time.</summary>
    public static async Task UntilAsync(Func<Task<bool>> condition, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(90));
        while (!await condition())
        {
            await Task.Delay(20, limit.Token);
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
