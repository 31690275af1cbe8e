using System.Net;
using System.Net.Sockets;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>What is certain about a text holds only where the target reads it as the gateway does.</summary>
[Trait("group", "postgres")]
public sealed class CertaintyTests(ServerFixture server)
{
    [Fact]
    public async Task A_read_waits_for_its_record_once_its_names_may_mean_something_else()
    {
        await server.DirectAsync(
            """
            create schema shadow; create table shadow.calls(a int);
            create function shadow.lower(text) returns text language sql as 'insert into shadow.calls values (1); select ''shadow''';
            """);
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);

        // Prepared while the name still means pg_catalog's.
        client.Parse("s", "select lower('X')").Sync().Query("set search_path = shadow, pg_catalog");
        await client.RunAsync();
        await client.ReadToReadyAsync();
        gateway.Recorder.Slow = true;
        client.Bind("", "s").Execute("").Sync();
        await client.FlushAsync();
        var recording = Assert.Single(gateway.Recorder.Sessions);
        await Until.TrueAsync(() => recording.Operations.Count == 2);
        Assert.Equal("0\n", await server.DirectAsync("select count(*) from shadow.calls;"));
        recording.Flush();
        Assert.Equal("2DCZ", (await client.ReadToReadyAsync()).Types());
        Assert.Equal("1\n", await server.DirectAsync("select count(*) from shadow.calls;"));
    }

    [Fact]
    public async Task Nothing_is_complete_where_the_target_is_newer_than_the_grammar()
    {
        using var newer = new NewerServer(server.Port);
        await using var gateway = new Gateway(newer.Port);
        gateway.Decider.Rule = understood => understood.Facts.Incomplete.Contains("grammar-mismatch") ? FunctionDecider.Deny("starter/incomplete") : FunctionDecider.Allow;
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("select 1");
        Assert.Equal("42501", (await client.RunAsync()).Error().Field('C'));
        client.Parse("", "select 1").Bind("", "").Execute("").Sync();
        Assert.Equal("42501", (await client.RunAsync()).Error().Field('C'));
    }

    /// <summary>A relay in front of a real server that makes it say a version eighty years from now.</summary>
    private sealed class NewerServer : IDisposable
    {
        private static readonly byte[] Reported = "server_version\u00001"u8.ToArray();
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly List<IDisposable> _open = [];

        public NewerServer(int port)
        {
            _listener.Start();
            _ = AcceptAsync(port);
        }

        public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

        public void Dispose()
        {
            _listener.Dispose();
            _open.ForEach(each => each.Dispose());
        }

        private async Task AcceptAsync(int port)
        {
            while (true)
            {
                var client = await _listener.AcceptTcpClientAsync();
                var target = new TcpClient();
                _open.AddRange([client, target]);
                await target.ConnectAsync(IPAddress.Loopback, port);
                _ = client.GetStream().CopyToAsync(target.GetStream());
                _ = RelayAsync(target.GetStream(), client.GetStream());
            }
        }

        private static async Task RelayAsync(NetworkStream from, NetworkStream to)
        {
            var buffer = new byte[1 << 16];
            while (await from.ReadAsync(buffer) is > 0 and var read)
            {
                if (buffer.AsSpan(0, read).IndexOf(Reported) is >= 0 and var at)
                {
                    buffer[at + Reported.Length - 1] = (byte)'9';
                }

                await to.WriteAsync(buffer.AsMemory(0, read));
            }
        }
    }
}
