using System.Buffers.Binary;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Countersign.EndToEnd.Tests.Support;

/// <summary>A message of the server as a client sees it.</summary>
public sealed record Reply(char Type, byte[] Body)
{
    /// <summary>The body as text.</summary>
    public string Text => Encoding.UTF8.GetString(Body).Replace('\0', ' ').Trim();

    /// <summary>A field of an error or notice; empty where it isn't there.</summary>
    public string Field(char field)
    {
        foreach (var each in Encoding.UTF8.GetString(Body).Split('\0', StringSplitOptions.RemoveEmptyEntries))
        {
            if (each[0] == field)
            {
                return each[1..];
            }
        }

        return "";
    }

    /// <summary>Columns of a DataRow, as text.</summary>
    public IReadOnlyList<string?> Columns()
    {
        var columns = new List<string?>();
        var at = 2;
        for (var count = BinaryPrimitives.ReadInt16BigEndian(Body); count > 0; count--)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(Body.AsSpan(at));
            columns.Add(length < 0 ? null : Encoding.UTF8.GetString(Body, at + 4, length));
            at += 4 + Math.Max(0, length);
        }

        return columns;
    }

    /// <inheritdoc/>
    public override string ToString() => Type is 'E' or 'N' ? $"{Type}({Field('C')} {Field('M')} | {Field('D')} | {Field('H')})" : $"{Type}({Text})";
}

/// <summary>Speaks the protocol by hand, with a SCRAM of its own: nothing of the gateway's code helps it.</summary>
public sealed class RawClient : IDisposable
{
    private readonly MemoryStream _out = new();
    private byte[] _in = [];
    private int _read;

    private RawClient(Socket socket) => Socket = socket;

    /// <summary>Process id of BackendKeyData.</summary>
    public int ProcessId { get; private set; }

    /// <summary>Secret of BackendKeyData.</summary>
    public byte[] Secret { get; private set; } = [];

    /// <summary>The socket.</summary>
    public Socket Socket { get; }

    /// <summary>Port that it is connected to.</summary>
    public int Port { get; private init; }

    /// <summary>Connects without saying anything.</summary>
    public static async Task<RawClient> DialAsync(int port)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync("127.0.0.1", port);
        return new RawClient(socket) { Port = port };
    }

    /// <summary>A startup packet.</summary>
    public static byte[] Startup(int version, params string[] parameters)
    {
        var body = new MemoryStream();
        body.Write(new byte[8]);
        foreach (var each in parameters)
        {
            body.Write(Encoding.UTF8.GetBytes(each));
            body.WriteByte(0);
        }

        body.WriteByte(0);
        var bytes = body.ToArray();
        BinaryPrimitives.WriteInt32BigEndian(bytes, bytes.Length);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(4), version);
        return bytes;
    }

    /// <summary>Logs in by SCRAM-SHA-256. A refusal comes as <see cref="RefusedException"/>.</summary>
    public static async Task<RawClient> LogInAsync(int port, string user, string secret, string database, params string[] more)
    {
        var client = await DialAsync(port);
        try
        {
            await client.SendAsync(Startup(3 << 16, ["user", user, "database", database, .. more]));
            await client.AuthenticateAsync(secret);
            return client;
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    /// <summary>Sends a CancelRequest on a connection of its own, as drivers do.</summary>
    public async Task CancelAsync()
    {
        using var other = await DialAsync(Port);
        var bytes = new byte[12 + Secret.Length];
        BinaryPrimitives.WriteInt32BigEndian(bytes, bytes.Length);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(4), 80877102);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(8), ProcessId);
        Secret.CopyTo(bytes, 12);
        await other.SendAsync(bytes);
        Assert.Null(await other.TryReadAsync());
    }

    /// <summary>Builds a message.</summary>
    public RawClient Message(char type, params object[] parts)
    {
        var body = new MemoryStream();
        foreach (var part in parts)
        {
            body.Write(part switch
            {
                string text => [.. Encoding.UTF8.GetBytes(text), 0],
                byte[] bytes => bytes,
                short number => [(byte)(number >> 8), (byte)number],
                int number => Big(number),
                char letter => [(byte)letter],
                _ => throw new ArgumentException("unknown part", nameof(parts)),
            });
        }

        _out.WriteByte((byte)type);
        _out.Write(Big((int)body.Length + 4));
        _out.Write(body.ToArray());
        return this;
    }

    /// <summary>Query.</summary>
    public RawClient Query(string text) => Message('Q', text);

    /// <summary>Parse.</summary>
    public RawClient Parse(string name, string text) => Message('P', name, text, (short)0);

    /// <summary>Bind with parameters as text; results as text.</summary>
    public RawClient Bind(string portal, string statement, params string?[] values)
    {
        var parts = new List<object> { portal, statement, (short)0, (short)values.Length };
        foreach (var value in values)
        {
            var bytes = value is null ? [] : Encoding.UTF8.GetBytes(value);
            parts.Add(value is null ? -1 : bytes.Length);
            parts.Add(bytes);
        }

        parts.Add((short)0);
        return Message('B', [.. parts]);
    }

    /// <summary>Execute.</summary>
    public RawClient Execute(string portal) => Message('E', portal, 0);

    /// <summary>Sync.</summary>
    public RawClient Sync() => Message('S');

    /// <summary>Sends what was built.</summary>
    public Task FlushAsync()
    {
        var bytes = _out.ToArray();
        _out.SetLength(0);
        return SendAsync(bytes);
    }

    /// <summary>Sends bytes as they are.</summary>
    public async Task SendAsync(ReadOnlyMemory<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            bytes = bytes[await Socket.SendAsync(bytes)..];
        }
    }

    /// <summary>The next message; null at the end of the stream.</summary>
    public async Task<Reply?> TryReadAsync(int seconds = 30)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
        while (true)
        {
            if (_in.Length - _read >= 5)
            {
                var length = BinaryPrimitives.ReadInt32BigEndian(_in.AsSpan(_read + 1));
                if (_in.Length - _read > length)
                {
                    var reply = new Reply((char)_in[_read], _in[(_read + 5)..(_read + length + 1)]);
                    _read += length + 1;
                    return reply;
                }
            }

            var buffer = new byte[65536];
            int read;
            try
            {
                read = await Socket.ReceiveAsync(buffer, SocketFlags.None, timeout.Token);
            }
            catch (SocketException)
            {
                return null;
            }

            if (read == 0)
            {
                return null;
            }

            _in = [.. _in.AsSpan(_read), .. buffer.AsSpan(0, read)];
            _read = 0;
        }
    }

    /// <summary>The next message.</summary>
    public async Task<Reply> ReadAsync() => await TryReadAsync() ?? throw new EndOfStreamException("The gateway has closed the connection.");

    /// <summary>Reads until a message of this type.</summary>
    public async Task<Reply> ReadToAsync(char type)
    {
        while (true)
        {
            var reply = await ReadAsync();
            if (reply.Type == type)
            {
                return reply;
            }
        }
    }

    /// <summary>Everything up to ReadyForQuery, that one included, without signs of life.</summary>
    public async Task<List<Reply>> ReadToReadyAsync()
    {
        var replies = new List<Reply>();
        while (replies.Count == 0 || replies[^1].Type != 'Z')
        {
            replies.Add(await ReadAsync());
        }

        return [.. replies.Where(reply => reply.Type != 'S')];
    }

    /// <summary>Sends what was built and reads to ReadyForQuery.</summary>
    public async Task<List<Reply>> RunAsync()
    {
        await FlushAsync();
        return await ReadToReadyAsync();
    }

    /// <summary>Runs a simple query.</summary>
    public Task<List<Reply>> RunAsync(string text) => Query(text).RunAsync();

    /// <summary>Sends a simple query that must be held; returns the request's id.</summary>
    public async Task<string> HeldAsync(string text)
    {
        Query(text);
        return await HeldAsync();
    }

    /// <summary>Sends what was built, which must be held; returns the request's id.</summary>
    public async Task<string> HeldAsync()
    {
        await FlushAsync();
        return await HoldNoticeAsync();
    }

    /// <summary>Reads the notice of a hold.</summary>
    public async Task<string> HoldNoticeAsync()
    {
        while (true)
        {
            var reply = await ReadAsync();
            if (reply.Type == 'N' && Holds.RequestOf(reply) is { } request)
            {
                return request;
            }

            Assert.True(reply.Type is not ('Z' or 'E'), $"not held: {reply}");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Socket.Dispose();
        _out.Dispose();
    }

    private static byte[] Big(int number)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(bytes, number);
        return bytes;
    }

    // RFC 5802 with SHA-256 (RFC 7677), without channel binding.
    private async Task AuthenticateAsync(string secret)
    {
        var bare = $"n=,r={Convert.ToBase64String(RandomNumberGenerator.GetBytes(18))}";
        byte[] expected = [];
        while (true)
        {
            var reply = await ReadAsync();
            switch (reply.Type)
            {
                case 'R' when reply.Body[3] == 10:
                    var first = Encoding.ASCII.GetBytes("n,," + bare);
                    Message('p', "SCRAM-SHA-256", first.Length, first);
                    await FlushAsync();
                    break;
                case 'R' when reply.Body[3] == 11:
                    var serverFirst = Encoding.ASCII.GetString(reply.Body, 4, reply.Body.Length - 4);
                    var fields = serverFirst.Split(',').ToDictionary(each => each[0], each => each[2..]);
                    var salted = Rfc2898DeriveBytes.Pbkdf2(secret, Convert.FromBase64String(fields['s']), int.Parse(fields['i'], System.Globalization.CultureInfo.InvariantCulture), HashAlgorithmName.SHA256, 32);
                    var withoutProof = $"c=biws,r={fields['r']}";
                    var message = Encoding.ASCII.GetBytes($"{bare},{serverFirst},{withoutProof}");
                    var key = HMACSHA256.HashData(salted, "Client Key"u8);
                    var signature = HMACSHA256.HashData(SHA256.HashData(key), message);
                    expected = HMACSHA256.HashData(HMACSHA256.HashData(salted, "Server Key"u8), message);
                    Message('p', Encoding.ASCII.GetBytes($"{withoutProof},p={Convert.ToBase64String(key.Zip(signature, (a, b) => (byte)(a ^ b)).ToArray())}"));
                    await FlushAsync();
                    break;
                case 'R' when reply.Body[3] == 12:
                    Assert.Equal("v=" + Convert.ToBase64String(expected), Encoding.ASCII.GetString(reply.Body, 4, reply.Body.Length - 4));
                    break;
                case 'K':
                    ProcessId = BinaryPrimitives.ReadInt32BigEndian(reply.Body);
                    Secret = reply.Body[4..];
                    break;
                case 'E':
                    throw new RefusedException(reply);
                case 'Z':
                    return;
            }
        }
    }
}

/// <summary>The gateway refused a login.</summary>
public sealed class RefusedException(Reply error) : Exception(error.ToString())
{
    /// <summary>The ErrorResponse.</summary>
    public Reply Error { get; } = error;
}

/// <summary>Reads replies.</summary>
public static class Replies
{
    /// <summary>Types, one letter each.</summary>
    public static string Types(this IEnumerable<Reply> replies) => string.Concat(replies.Select(reply => reply.Type));

    /// <summary>The only error.</summary>
    public static Reply Error(this IEnumerable<Reply> replies) => Assert.Single(replies, reply => reply.Type == 'E');

    /// <summary>Asserts that there is none, and returns the command tags.</summary>
    public static string Tags(this IReadOnlyList<Reply> replies)
    {
        Assert.DoesNotContain(replies, reply => reply.Type == 'E');
        return string.Join(';', replies.Where(reply => reply.Type == 'C').Select(reply => reply.Text));
    }

    /// <summary>State of the last ReadyForQuery.</summary>
    public static char State(this IReadOnlyList<Reply> replies) => (char)replies[^1].Body[0];
}

/// <summary>Reads what the gateway says of holds.</summary>
public static partial class Holds
{
    /// <summary>Request id in a notice; null where it is none of a hold.</summary>
    public static string? RequestOf(Reply notice) => RequestOf(notice.Field('M'));

    /// <summary>Request id in a text.</summary>
    public static string? RequestOf(string text) => Id().Match(text) is { Success: true } match ? match.Value : null;

    [System.Text.RegularExpressions.GeneratedRegex("apr_[a-z2-7]{26}")]
    private static partial System.Text.RegularExpressions.Regex Id();
}
