using System.Buffers.Binary;
using System.Security.Cryptography;
using Countersign.EndToEnd.Tests.Support;

namespace Countersign.EndToEnd.Tests;

/// <summary>Malformed, oversized, half and silent input ends its own session and nobody else's.</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed class GarbageTests(World world) : Scenario(world)
{
    private const long Headroom = 300L * 1024 * 1024;

    public static TheoryData<string> Before() => ["2-gib", "negative", "zero", "garbage", "http", "old", "no-nul", "tls-garbage", "ssl-then-plain"];

    public static TheoryData<string> After() => ["2-gib", "1-gib", "negative", "zero", "unknown-type", "no-nul", "password-again", "bind-negative", "bind-huge-count", "copy-out-of-place"];

    [Theory]
    [MemberData(nameof(Before))]
    public async Task Before_the_login(string what)
    {
        using var other = await World.Carol.ConnectAsync();
        var memory = World.Host.ResidentBytes();
        using (var client = await RawClient.DialAsync(World.GatewayPort))
        {
            await client.SendAsync(what switch
            {
                "2-gib" => [0x7F, 0xFF, 0xFF, 0xFF, 0, 3, 0, 0],
                "negative" => [0xFF, 0xFF, 0xFF, 0xF0, 0, 3, 0, 0],
                "zero" => [0, 0, 0, 0, 0, 3, 0, 0],
                "garbage" => RandomNumberGenerator.GetBytes(5000),
                "http" => "GET / HTTP/1.1\r\nHost: x\r\n\r\n"u8.ToArray(),
                "old" => RawClient.Startup(2 << 16, "user", "alice", "database", "shop"),
                "no-nul" => [0, 0, 0, 13, 0, 3, 0, 0, (byte)'u', (byte)'s', (byte)'e', (byte)'r', (byte)'x'],
                "tls-garbage" => [0, 0, 0, 8, 4, 0xD2, 0x16, 0x2F, .. RandomNumberGenerator.GetBytes(500)],
                _ => [0, 0, 0, 8, 4, 0xD2, 0x16, 0x2F, .. RawClient.Startup(3 << 16, "user", "alice", "database", "shop")],
            });
            await EndsAsync(client);
        }

        await OthersGoOnAsync(other, memory);
    }

    [Theory]
    [MemberData(nameof(After))]
    public async Task After_the_login(string what)
    {
        using var other = await World.Carol.ConnectAsync();
        var memory = World.Host.ResidentBytes();
        using (var client = await World.Alice.ConnectAsync())
        {
            switch (what)
            {
                case "2-gib":
                    await client.SendAsync(Frame('Q', int.MaxValue, [1, 2, 3]));
                    break;
                case "1-gib":
                    await client.SendAsync(Frame('d', 1 << 30, new byte[100_000]));
                    break;
                case "negative":
                    await client.SendAsync(Frame('Q', -5, [1, 2, 3]));
                    break;
                case "zero":
                    await client.SendAsync(Frame('Q', 0, [1, 2, 3]));
                    break;
                case "unknown-type":
                    await client.SendAsync(Frame('?', 8, [1, 2, 3, 4]));
                    break;
                case "no-nul":
                    await client.SendAsync(Frame('Q', 12, "select 1"u8.ToArray()));
                    break;
                case "password-again":
                    await client.SendAsync(Frame('p', 8, [1, 2, 3, 4]));
                    break;
                case "bind-negative":
                    await client.Parse("", "select 1").Message('B', "", "", (short)0, (short)1, -77, (short)0).Sync().FlushAsync();
                    break;
                case "bind-huge-count":
                    await client.Parse("", "select 1").Message('B', "", "", (short)0, (short)-1, (short)0).Sync().FlushAsync();
                    break;
                default:
                    // CopyData outside of a COPY is ignored by PostgreSQL, so it doesn't have to end anything.
                    await client.Message('d', "x"u8.ToArray()).Message('c').FlushAsync();
                    Assert.Equal("SELECT 1", (await client.RunAsync("select 1")).Tags());
                    break;
            }

            // A message that never comes in full is given up after a minute; until then it must not bother anybody either.
            if (what is not ("copy-out-of-place" or "1-gib"))
            {
                await EndsAsync(client);
            }
        }

        await OthersGoOnAsync(other, memory);
    }

    [Fact]
    public async Task Many_silent_and_half_clients_block_nobody()
    {
        using var other = await World.Carol.ConnectAsync();
        var memory = World.Host.ResidentBytes();
        var clients = new List<RawClient>();
        try
        {
            for (var index = 0; index < 60; index++)
            {
                var client = await RawClient.DialAsync(World.GatewayPort);
                clients.Add(client);
                if (index % 3 == 1)
                {
                    await client.SendAsync(new byte[] { 0, 0, 0, 100, 0, 3 });
                }
                else if (index % 3 == 2)
                {
                    await client.SendAsync(RawClient.Startup(3 << 16, "user", "nobody", "database", "shop"));
                }
            }

            await OthersGoOnAsync(other, memory);
        }
        finally
        {
            clients.ForEach(client => client.Dispose());
        }
    }

    [Fact]
    public async Task A_half_sent_query_runs_nothing()
    {
        using var other = await World.Carol.ConnectAsync();
        var memory = World.Host.ResidentBytes();
        using (var client = await World.Alice.ConnectAsync())
        {
            var text = "select 'never-sent-in-full'; delete from orders where id = 95"u8.ToArray();
            await client.SendAsync(Frame('Q', text.Length + 50, text));
        }

        await OthersGoOnAsync(other, memory);
        Assert.Equal(1, await World.CountAsync("orders where id = 95"));
        Assert.DoesNotContain("never-sent-in-full", await World.Server.ReadLogAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Large_results_stream_in_bounded_memory()
    {
        var memory = World.Host.ResidentBytes();
        using var client = await World.Alice.ConnectAsync();
        client.Query("select repeat('x', 1000000) from generate_series(1, 400)");
        await client.FlushAsync();
        long bytes = 0;
        while (true)
        {
            var reply = await client.ReadAsync();
            bytes += reply.Body.Length;
            if (reply.Type == 'Z')
            {
                break;
            }
        }

        Assert.True(bytes > 400_000_000);
        Assert.True(World.Host.ResidentBytes() - memory < Headroom, $"{memory} -> {World.Host.ResidentBytes()}");
    }

    private static byte[] Frame(char type, int length, byte[] body)
    {
        var bytes = new byte[5 + body.Length];
        bytes[0] = (byte)type;
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(1), length);
        body.CopyTo(bytes, 5);
        return bytes;
    }

    private static async Task EndsAsync(RawClient client)
    {
        var buffer = new byte[4096];
        using var timeout = new CancellationTokenSource(Until.Longest);
        try
        {
            while (await client.Socket.ReceiveAsync(buffer, System.Net.Sockets.SocketFlags.None, timeout.Token) > 0)
            {
            }
        }
        catch (System.Net.Sockets.SocketException)
        {
            // Closed with what it hadn't read: as good.
        }
    }

    private async Task OthersGoOnAsync(RawClient other, long memory)
    {
        Assert.Equal("SELECT 1", (await other.RunAsync("select 1")).Tags());
        using var next = await World.Carol.ConnectAsync();
        Assert.Equal("SELECT 1", (await next.RunAsync("select 1")).Tags());
        Assert.True(World.Host.ResidentBytes() - memory < Headroom, $"{memory} -> {World.Host.ResidentBytes()}");
    }
}
