using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Countersign.Proxy.Masking.Tests;

/// <summary>A PostgreSQL server of its own for these tests: data directory, port and end belong to it.</summary>
public sealed class PostgresServer : IAsyncLifetime
{
    private static readonly string Binaries = Directory.GetDirectories("/usr/lib/postgresql").Select(version => System.IO.Path.Combine(version, "bin")).Last();
    private readonly string _root = Directory.CreateTempSubdirectory("cs-mask-").FullName;

    public int Port { get; private set; }

    public async ValueTask InitializeAsync()
    {
        File.SetUnixFileMode(_root, (UnixFileMode)0x1FF);
        await Run("initdb", $"{Binaries}/initdb --no-sync -A trust -E UTF8 --locale=C.UTF-8 -U postgres -D {_root}/data > {_root}/initdb.log 2>&1");
        for (var attempt = 0; ; attempt++)
        {
            Port = FreePort();
            var options = $"-c port={Port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=40 -c lc_messages=C";
            try
            {
                await Run("start", $"{Binaries}/pg_ctl -w -t 30 -D {_root}/data -l {_root}/log -o \"{options}\" start > {_root}/start.log 2>&1");
                break;
            }
            catch (InvalidOperationException) when (attempt < 3)
            {
                // Somebody took the port in between.
            }
        }

        using var superuser = Connect("postgres");
        foreach (var statement in Schema.Statements)
        {
            superuser.Execute(statement);
        }

        superuser.Execute($"ALTER SERVER itself OPTIONS (ADD port '{Port}')");
        superuser.Execute("CREATE USER MAPPING FOR postgres SERVER itself");
    }

    public async ValueTask DisposeAsync()
    {
        await Run("stop", $"{Binaries}/pg_ctl -m immediate -w -D {_root}/data stop > /dev/null 2>&1");
        Directory.Delete(_root, true);
    }

    public RawClient Connect(string role, string database = "postgres") => new(Port, role, database);

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static async Task Run(string what, string command)
    {
        var start = Environment.UserName == "root"
            ? new ProcessStartInfo("su", ["postgres", "-s", "/bin/sh", "-c", command])
            : new ProcessStartInfo("/bin/sh", ["-c", command]);
        start.WorkingDirectory = "/";
        using var process = Process.Start(start)!;
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(90));
        await process.WaitForExitAsync(limit.Token);
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"{what} failed with {process.ExitCode}.");
        }
    }
}

[CollectionDefinition("postgres")]
public sealed class PostgresCollection : ICollectionFixture<PostgresServer>;
