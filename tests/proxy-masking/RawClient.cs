using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Countersign.Proxy.Postgres.Catalog;

namespace Countersign.Proxy.Masking.Tests;

/// <summary>A message of the server.</summary>
public sealed record Message(byte Type, byte[] Body)
{
    public byte[] Bytes
    {
        get
        {
            var bytes = new byte[Body.Length + 5];
            bytes[0] = Type;
            BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(1), Body.Length + 4);
            Body.CopyTo(bytes, 5);
            return bytes;
        }
    }

    public static List<Message> Split(ReadOnlySpan<byte> bytes)
    {
        var messages = new List<Message>();
        while (!bytes.IsEmpty)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(bytes[1..]);
            messages.Add(new Message(bytes[0], bytes.Slice(5, length - 4).ToArray()));
            bytes = bytes[(length + 1)..];
        }

        return messages;
    }

    public List<byte[]?> Fields()
    {
        var fields = new List<byte[]?>();
        var rest = Body.AsSpan(2);
        while (!rest.IsEmpty)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(rest);
            fields.Add(length < 0 ? null : rest.Slice(4, length).ToArray());
            rest = rest[(4 + Math.Max(0, length))..];
        }

        return fields;
    }
}

/// <summary>The protocol in the raw: what the server sends, unread. Also reads the catalog, as the gateway does.</summary>
public sealed class RawClient : IGatewayQuery, IDisposable
{
    private readonly TcpClient _tcp;
    private readonly NetworkStream _stream;

    public RawClient(int port, string role, string database)
    {
        _tcp = new TcpClient("127.0.0.1", port) { NoDelay = true, ReceiveTimeout = 30_000 };
        _stream = _tcp.GetStream();
        var body = Encoding.UTF8.GetBytes($"user\0{role}\0database\0{database}\0client_encoding\0UTF8\0\0");
        var packet = new byte[8 + body.Length];
        BinaryPrimitives.WriteInt32BigEndian(packet, packet.Length);
        BinaryPrimitives.WriteInt32BigEndian(packet.AsSpan(4), 196608);
        body.CopyTo(packet, 8);
        _stream.Write(packet);
        var answer = Read('Z');
        if (answer.Exists(message => message.Type == 'E'))
        {
            throw new InvalidOperationException("The server refused the login.");
        }
    }

    /// <summary>Runs a Query string; an error is the test's.</summary>
    public List<Message> Execute(string sql)
    {
        var messages = Query(sql);
        var error = messages.Find(message => message.Type == 'E');
        return error is null ? messages : throw new InvalidOperationException($"{sql}: {Encoding.UTF8.GetString(error.Body).Replace('\0', ' ')}");
    }

    /// <summary>A simple Query and everything up to ReadyForQuery.</summary>
    public List<Message> Query(string sql)
    {
        Send('Q', [.. Encoding.UTF8.GetBytes(sql), 0]);
        return Read('Z');
    }

    /// <summary>Parse, Bind, Describe (optional), Execute, Sync.</summary>
    public List<Message> Extended(string sql, bool binary, bool describe = true)
    {
        Send('P', [0, .. Encoding.UTF8.GetBytes(sql), 0, 0, 0]);
        Send('B', [0, 0, 0, 0, 0, 0, 0, 1, 0, (byte)(binary ? 1 : 0)]);
        if (describe)
        {
            Send('D', [(byte)'P', 0]);
        }

        Send('E', [0, 0, 0, 0, 0]);
        Send('S', []);
        return Read('Z');
    }

    /// <summary>Waits for one message of a type.</summary>
    public List<Message> Read(char until)
    {
        var messages = new List<Message>();
        var header = new byte[5];
        while (true)
        {
            _stream.ReadExactly(header);
            var body = new byte[BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(1)) - 4];
            _stream.ReadExactly(body);
            var message = new Message(header[0], body);
            messages.Add(message);
            if (message.Type == until || (until == 'Z' && message.Type == 'E' && Encoding.UTF8.GetString(body).Contains("FATAL", StringComparison.Ordinal)))
            {
                return messages;
            }
        }
    }

    public ValueTask<IReadOnlyList<IReadOnlyList<string?>>> RunAsync(CatalogStatement statement, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(statement);
        IReadOnlyList<IReadOnlyList<string?>> rows =
        [
            .. Execute(statement.Sql).Where(message => message.Type == 'D')
                .Select(message => message.Fields().Select(field => field is null ? null : Encoding.UTF8.GetString(field)).ToList()),
        ];
        return ValueTask.FromResult(rows);
    }

    public void Dispose()
    {
        _tcp.Dispose();
    }

    private void Send(char type, ReadOnlySpan<byte> body)
    {
        Span<byte> header = stackalloc byte[5];
        header[0] = (byte)type;
        BinaryPrimitives.WriteInt32BigEndian(header[1..], body.Length + 4);
        _stream.Write(header);
        _stream.Write(body);
    }
}
