using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Scram;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>A message of the server as a test sees it.</summary>
internal sealed record Reply(char Type, byte[] Body)
{
    public string Text => Encoding.UTF8.GetString(Body).Replace('\0', ' ').Trim();

    /// <summary>A field of an error or notice.</summary>
    public string Field(char field) => Encoding.UTF8.GetString(ErrorFields.Find(Body, field));

    public override string ToString() => Type is 'E' or 'N' ? $"{Type}({Field('C')} {Field('M')})" : $"{Type}({Text})";
}

/// <summary>Speaks the protocol by hand, to a gateway or to a server.</summary>
internal sealed class RawClient : IDisposable
{
    private readonly Socket _socket;
    private readonly MemoryStream _out = new();
    private byte[] _in = [];

    private RawClient(Socket socket) => _socket = socket;

    public int ProcessId { get; private set; }

    public byte[] Secret { get; private set; } = [];

    public List<string> Parameters { get; } = [];

    public Socket Socket => _socket;

    public static async Task<RawClient> DialAsync(int port, string address = "127.0.0.1", string? from = null)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        if (from is not null)
        {
            socket.Bind(new System.Net.IPEndPoint(System.Net.IPAddress.Parse(from), 0));
        }

        await socket.ConnectAsync(address, port);
        return new RawClient(socket);
    }

    public static byte[] Startup(int version, params string[] parameters)
    {
        var body = new MemoryStream();
        body.Write([0, 0, 0, 0]);
        var number = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, version);
        body.Write(number);
        foreach (var each in parameters)
        {
            body.Write(Encoding.UTF8.GetBytes(each));
            body.WriteByte(0);
        }

        body.WriteByte(0);
        var bytes = body.ToArray();
        BinaryPrimitives.WriteInt32BigEndian(bytes, bytes.Length);
        return bytes;
    }

    /// <summary>Logs in, by SCRAM where the server asks for it.</summary>
    public static async Task<RawClient> LogInAsync(int port, string user = Gateway.User, string database = Gateway.Connection, string secret = Gateway.Secret, int version = 3 << 16, params string[] more)
    {
        var client = await DialAsync(port);
        await client.SendAsync(Startup(version, ["user", user, "database", database, .. more]));
        await client.AuthenticateAsync(secret);
        return client;
    }

    public async Task AuthenticateAsync(string secret)
    {
        var exchange = new ScramClientExchange(null, couldBind: false);
        while (true)
        {
            var reply = await ReadAsync();
            switch (reply.Type)
            {
                case 'R' when reply.Body[3] == 10:
                    var first = Encoding.ASCII.GetBytes(exchange.First);
                    Begin('p').CString("SCRAM-SHA-256").Int32(first.Length).Bytes(first).End();
                    await FlushAsync();
                    break;
                case 'R' when reply.Body[3] == 11:
                    Begin('p').Bytes(Encoding.ASCII.GetBytes(exchange.Final(reply.Body.AsSpan(4), secret))).End();
                    await FlushAsync();
                    break;
                case 'R' when reply.Body[3] == 12:
                    exchange.Verify(reply.Body.AsSpan(4));
                    break;
                case 'R' or 'v':
                    break;
                case 'S':
                    Parameters.Add(reply.Text);
                    break;
                case 'K':
                    ProcessId = BinaryPrimitives.ReadInt32BigEndian(reply.Body);
                    Secret = reply.Body[4..];
                    break;
                case 'Z':
                    return;
                default:
                    throw new InvalidOperationException(reply.ToString());
            }
        }
    }

    public static async Task CancelAsync(int port, int process, byte[] secret)
    {
        using var client = await DialAsync(port);
        var bytes = new byte[12 + secret.Length];
        BinaryPrimitives.WriteInt32BigEndian(bytes, bytes.Length);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(4), 80877102);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(8), process);
        secret.CopyTo(bytes, 12);
        await client.SendAsync(bytes);
        Assert.Equal(0, await client._socket.ReceiveAsync(new byte[1]).WaitAsync(TimeSpan.FromSeconds(10)));
    }

    public Builder Begin(char type) => new(this, type);

    public RawClient Query(string text) => Begin('Q').CString(text).End();

    public RawClient Parse(string name, string text, params uint[] types)
    {
        var builder = Begin('P').CString(name).CString(text).Int16(types.Length);
        foreach (var type in types)
        {
            builder.Int32((int)type);
        }

        return builder.End();
    }

    public RawClient Bind(string portal, string statement, params string?[] values)
    {
        var builder = Begin('B').CString(portal).CString(statement).Int16(0).Int16(values.Length);
        foreach (var value in values)
        {
            if (value is null)
            {
                builder.Int32(-1);
            }
            else
            {
                var bytes = Encoding.UTF8.GetBytes(value);
                builder.Int32(bytes.Length).Bytes(bytes);
            }
        }

        return builder.Int16(0).End();
    }

    public RawClient Describe(char what, string name) => Begin('D').Bytes([(byte)what]).CString(name).End();

    public RawClient Execute(string portal, int rows = 0) => Begin('E').CString(portal).Int32(rows).End();

    public RawClient Close(char what, string name) => Begin('C').Bytes([(byte)what]).CString(name).End();

    public RawClient Sync() => Begin('S').End();

    public RawClient Flush() => Begin('H').End();

    /// <summary>What was built so far, without sending it.</summary>
    public byte[] Take()
    {
        var bytes = _out.ToArray();
        _out.SetLength(0);
        return bytes;
    }

    public Task FlushAsync() => SendAsync(Take());

    public async Task SendAsync(ReadOnlyMemory<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            bytes = bytes[await _socket.SendAsync(bytes)..];
        }
    }

    /// <summary>The next message; null at the end of the stream.</summary>
    public async Task<Reply?> TryReadAsync()
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        while (true)
        {
            if (_in.Length >= 5)
            {
                var length = BinaryPrimitives.ReadInt32BigEndian(_in.AsSpan(1));
                if (_in.Length > length)
                {
                    var reply = new Reply((char)_in[0], _in[5..(length + 1)]);
                    _in = _in[(length + 1)..];
                    return reply;
                }
            }

            var buffer = new byte[65536];
            int read;
            try
            {
                read = await _socket.ReceiveAsync(buffer, SocketFlags.None, timeout.Token);
            }
            catch (SocketException)
            {
                return null;
            }

            if (read == 0)
            {
                return null;
            }

            _in = [.. _in, .. buffer.AsSpan(0, read)];
        }
    }

    public async Task<Reply> ReadAsync() => await TryReadAsync() ?? throw new InvalidOperationException("The stream has ended.");

    /// <summary>Everything up to the next ReadyForQuery, that one included.</summary>
    public async Task<List<Reply>> ReadToReadyAsync()
    {
        var replies = new List<Reply>();
        while (true)
        {
            var reply = await ReadAsync();
            replies.Add(reply);
            if (reply.Type == 'Z')
            {
                return replies;
            }
        }
    }

    /// <summary>Sends what was built and reads to ReadyForQuery.</summary>
    public async Task<List<Reply>> RunAsync()
    {
        await FlushAsync();
        return await ReadToReadyAsync();
    }

    public void Dispose() => _socket.Dispose();

    internal sealed class Builder(RawClient client, char type)
    {
        private readonly MemoryStream _body = new();

        public Builder CString(string text)
        {
            _body.Write(Encoding.UTF8.GetBytes(text));
            _body.WriteByte(0);
            return this;
        }

        public Builder Int16(int value) => Bytes([(byte)(value >> 8), (byte)value]);

        public Builder Int32(int value)
        {
            var bytes = new byte[4];
            BinaryPrimitives.WriteInt32BigEndian(bytes, value);
            return Bytes(bytes);
        }

        public Builder Bytes(byte[] bytes)
        {
            _body.Write(bytes);
            return this;
        }

        public RawClient End()
        {
            var length = new byte[4];
            BinaryPrimitives.WriteInt32BigEndian(length, (int)_body.Length + 4);
            client._out.WriteByte((byte)type);
            client._out.Write(length);
            client._out.Write(_body.ToArray());
            return client;
        }
    }
}

internal static class Replies
{
    public static string Types(this IEnumerable<Reply> replies) => string.Concat(replies.Select(reply => reply.Type));

    public static Reply Error(this IEnumerable<Reply> replies) => Assert.Single(replies, reply => reply.Type == 'E');
}
