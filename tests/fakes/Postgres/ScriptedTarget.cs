using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Countersign.Fakes.Postgres;

/// <summary>
/// A peer in the place of a PostgreSQL server that says what its script says, right or wrong: what no real server can be made to do. One run of the script a
/// connection; connections for cancels and for the gateway's catalog are scripts' to answer too (<see cref="ScriptedSession.Parameters"/>).
/// </summary>
public sealed class ScriptedTarget : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly ConcurrentBag<Socket> _sockets = [];
    private readonly Func<ScriptedSession, Task> _script;
    private readonly X509Certificate2? _certificate;
    private readonly Task _accepting;

    /// <summary>Starts it.</summary>
    /// <param name="script">What to do with one connection, from its startup packet on; the connection is closed when it ends.</param>
    /// <param name="certificate">Certificate with key, for a target that takes SSLRequest.</param>
    public ScriptedTarget(Func<ScriptedSession, Task> script, X509Certificate2? certificate = null)
    {
        _script = script;
        _certificate = certificate;
        _listener.Start();
        Port = ((IPEndPoint)_listener.LocalEndpoint).Port;
        _accepting = AcceptAsync();
    }

    /// <summary>TCP port on 127.0.0.1.</summary>
    public int Port { get; }

    /// <summary>What scripts threw that wasn't the peer's leaving.</summary>
    public ConcurrentQueue<Exception> Failures { get; } = new();

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _listener.Dispose();
        foreach (var socket in _sockets)
        {
            socket.Dispose();
        }

        await _accepting;
    }

    private async Task AcceptAsync()
    {
        while (true)
        {
            Socket socket;
            try
            {
                socket = await _listener.AcceptSocketAsync();
            }
            catch (Exception error) when (error is SocketException or ObjectDisposedException)
            {
                return;
            }

            socket.NoDelay = true;
            _sockets.Add(socket);
            _ = ServeAsync(socket);
        }
    }

    private async Task ServeAsync(Socket socket)
    {
        using (socket)
        {
            try
            {
                Stream stream = new NetworkStream(socket);
                var packet = await ScriptedSession.ReadPacketAsync(stream);
                if (BinaryPrimitives.ReadInt32BigEndian(packet) == 80877103)
                {
                    await stream.WriteAsync(_certificate is null ? "N"u8.ToArray() : "S"u8.ToArray());
                    if (_certificate is not null)
                    {
                        var secure = new SslStream(stream);
                        await secure.AuthenticateAsServerAsync(_certificate);
                        stream = secure;
                    }

                    packet = await ScriptedSession.ReadPacketAsync(stream);
                }

                await _script(new ScriptedSession(stream, packet));
            }
            catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException)
            {
                // The gateway has left.
            }
            catch (Exception error)
            {
                Failures.Enqueue(error);
            }
        }
    }
}

/// <summary>One connection to a <see cref="ScriptedTarget"/>.</summary>
public sealed class ScriptedSession
{
    private readonly Stream _stream;
    private readonly MemoryStream _out = new();

    internal ScriptedSession(Stream stream, byte[] startup)
    {
        _stream = stream;
        IsCancel = BinaryPrimitives.ReadInt32BigEndian(startup) == 80877102;
        if (!IsCancel)
        {
            var words = Encoding.UTF8.GetString(startup, 4, startup.Length - 4).Split('\0');
            for (var index = 0; index + 1 < words.Length && words[index].Length > 0; index += 2)
            {
                Parameters[words[index]] = words[index + 1];
            }
        }
    }

    /// <summary>Whether it is a CancelRequest.</summary>
    public bool IsCancel { get; }

    /// <summary>Whether the gateway's catalog statements are answered as for an empty database; else with too few rows.</summary>
    public bool HasCatalog { get; set; } = true;

    /// <summary>Startup parameters.</summary>
    public Dictionary<string, string> Parameters { get; } = [];

    /// <summary>Whether it is the gateway's own connection for the catalog.</summary>
    public bool IsGateways => Parameters.GetValueOrDefault("application_name") == "countersign/gateway";

    /// <summary>Appends a message with a right length.</summary>
    public ScriptedSession Say(char type, params ReadOnlySpan<byte[]> parts)
    {
        var length = 4;
        foreach (var part in parts)
        {
            length += part.Length;
        }

        return Raw((byte)type, length, parts);
    }

    /// <summary>Appends a header with any length, and what follows.</summary>
    public ScriptedSession Raw(byte type, int length, params ReadOnlySpan<byte[]> parts)
    {
        _out.WriteByte(type);
        _out.Write(Int32(length));
        foreach (var part in parts)
        {
            _out.Write(part);
        }

        return this;
    }

    /// <summary>Sends what was appended.</summary>
    /// <param name="bytewise">One byte a packet.</param>
    public async Task SendAsync(bool bytewise = false)
    {
        var bytes = _out.ToArray();
        _out.SetLength(0);
        for (var at = 0; at < bytes.Length;)
        {
            var part = bytewise ? 1 : bytes.Length;
            await _stream.WriteAsync(bytes.AsMemory(at, part));
            await _stream.FlushAsync();
            at += part;
        }
    }

    /// <summary>The next message.</summary>
    public async Task<(char Type, byte[] Body)> ReadAsync()
    {
        var header = new byte[5];
        await _stream.ReadExactlyAsync(header);
        var body = new byte[BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(1)) - 4];
        await _stream.ReadExactlyAsync(body);
        return ((char)header[0], body);
    }

    /// <summary>Reads until the gateway leaves.</summary>
    public async Task OutlastAsync()
    {
        var buffer = new byte[4096];
        while (await _stream.ReadAsync(buffer) > 0)
        {
            // Whatever it says.
        }
    }

    /// <summary>Logs the gateway in by trust, and answers what it asks before the session begins.</summary>
    public async Task WelcomeAsync(bool bytewise = false)
    {
        Say('R', Int32(0));
        foreach (var (name, value) in new[] { ("server_version", "15.4"), ("server_encoding", "UTF8"), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on") })
        {
            Setting(name, value);
        }

        await Say('K', Int32(7), Int32(9)).Say('Z', "I"u8.ToArray()).SendAsync(bytewise);
        if (IsGateways)
        {
            while (true)
            {
                var (_, statement) = await ReadAsync();
                if (Encoding.UTF8.GetString(statement).Contains("search_path", StringComparison.Ordinal) && HasCatalog)
                {
                    Row("[]");
                }

                await Say('C', Text("SELECT 0")).Say('Z', "I"u8.ToArray()).SendAsync();
            }
        }

        await ReadAsync();
        await Row("\"$user\", public").Say('C', Text("SELECT 1")).Say('Z', "I"u8.ToArray()).SendAsync(bytewise);
    }

    /// <summary>A ParameterStatus.</summary>
    public ScriptedSession Setting(string name, string value) => Say('S', Text(name), Text(value));

    /// <summary>A RowDescription of one text column.</summary>
    public ScriptedSession Columns() => Say('T', [0, 1], Text("a"), Int32(0), [0, 0], Int32(25), [0xff, 0xff], Int32(-1), [0, 0]);

    /// <summary>A DataRow of one column.</summary>
    public ScriptedSession Row(string value) => Say('D', [0, 1], Int32(Encoding.UTF8.GetByteCount(value)), Encoding.UTF8.GetBytes(value));

    /// <summary>A string with its terminator.</summary>
    public static byte[] Text(string text) => [.. Encoding.UTF8.GetBytes(text), 0];

    /// <summary>Big endian.</summary>
    public static byte[] Int32(int value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(bytes, value);
        return bytes;
    }

    internal static async Task<byte[]> ReadPacketAsync(Stream stream)
    {
        var length = new byte[4];
        await stream.ReadExactlyAsync(length);
        var body = new byte[BinaryPrimitives.ReadInt32BigEndian(length) - 4];
        await stream.ReadExactlyAsync(body);
        return body;
    }
}
