using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using Countersign.Identity.Contracts;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Postgres.Scram;

namespace Countersign.Proxy.Postgres;

/// <summary>A client's connection from its first byte to a verified login: packets before startup, TLS, startup parameters, SCRAM.</summary>
internal sealed class PostgresConnection(Socket socket, PostgresOptions options, byte[]? binding) : IDisposable
{
    private PostgresTransport _transport = new SocketTransport(socket);
    private bool _secure;

    public PostgresTransport Transport => _transport;

    /// <summary>Address of the client.</summary>
    public IPEndPoint Client { get; } = (IPEndPoint)socket.RemoteEndPoint!;

    public InputBuffer? Input { get; private set; }

    /// <summary>Takes packets up to a startup or a cancel.</summary>
    /// <exception cref="MalformedMessageException">Not PostgreSQL.</exception>
    /// <exception cref="StartupRefusedException">Not in this way.</exception>
    public async Task<StartupPacket> OpenAsync(CancellationToken cancellation)
    {
        if (await PeekAsync(cancellation).ConfigureAwait(false) == 0x16)
        {
            // Direct TLS (PostgreSQL 17): the handshake comes first, and ALPN says for which protocol.
            await SecureAsync(alpnRequired: true, cancellation).ConfigureAwait(false);
        }

        var gssRefused = false;
        while (true)
        {
            var packet = await ReadPacketAsync().ConfigureAwait(false);
            switch (packet.Kind)
            {
                case StartupKind.SslRequest when !_secure:
                    await AnswerSslAsync(cancellation).ConfigureAwait(false);
                    break;
                case StartupKind.GssEncRequest when !_secure && !gssRefused:
                    gssRefused = true;
                    await _transport.WriteAsync("N"u8.ToArray()).ConfigureAwait(false);
                    break;
                case StartupKind.CancelRequest:
                    return packet;
                case StartupKind.Startup:
                    if (packet.MajorVersion != 3)
                    {
                        throw new StartupRefusedException("0A000", $"Protocol version {packet.MajorVersion}.{packet.MinorVersion} is not supported, only 3.0.");
                    }

                    if (!_secure && !IPAddress.IsLoopback(Client.Address.IsIPv4MappedToIPv6 ? Client.Address.MapToIPv4() : Client.Address))
                    {
                        throw new StartupRefusedException("28000", "Countersign takes connections from other hosts only with TLS.", "Set sslmode=verify-full.");
                    }

                    return packet;
                default:
                    throw Malformed.Unexpected(packet.Kind.ToString());
            }
        }
    }

    /// <summary>Tells a client that speaks a newer minor version, or knows options that this one doesn't, what there is.</summary>
    public static void WriteNegotiation(OutputBuffer output, StartupPacket packet, StartupSettings settings)
    {
        if (packet.MinorVersion == 0 && settings.UnknownOptions.Count == 0)
        {
            return;
        }

        output.Begin(BackendType.NegotiateProtocolVersion);
        output.WriteInt32(3 << 16);
        output.WriteInt32(settings.UnknownOptions.Count);
        foreach (var option in settings.UnknownOptions)
        {
            output.WriteCString(option);
        }

        output.End();
    }

    /// <summary>Runs SCRAM with the client; the proof is checked by identity.</summary>
    /// <param name="settings">Startup parameters.</param>
    /// <param name="session">Session id.</param>
    /// <param name="logins">Identity.</param>
    /// <param name="output">What is to be sent before the first challenge, and afterwards the last SCRAM message, not yet sent.</param>
    /// <param name="cancellation">The handshake's deadline.</param>
    /// <exception cref="StartupRefusedException">The login failed.</exception>
    public async Task<NativeLoginOutcome> LogInAsync(
        StartupSettings settings, string session, INativeLogins logins, OutputBuffer output, CancellationToken cancellation)
    {
        Input = new InputBuffer(_transport, 4096);
        output.Begin(BackendType.Authentication);
        output.WriteInt32(10);
        if (_secure && binding is not null)
        {
            output.WriteCString(ScramText.Sha256Plus);
        }

        output.WriteCString(ScramText.Sha256);
        output.WriteByte(0);
        output.End();
        await SendAsync(output).ConfigureAwait(false);

        var exchange = await ReadInitialAsync().ConfigureAwait(false);
        var challenge = await logins.BeginAsync(
            new BeginNativeLogin(settings.User, settings.Connection, Client.Address.ToString()), cancellation).ConfigureAwait(false);
        var serverFirst = exchange.Challenge(challenge.Nonce, challenge.Salt, challenge.Iterations);
        Sasl(output, 11, serverFirst);
        await SendAsync(output).ConfigureAwait(false);

        var (withoutProof, proof) = await ReadFinalAsync(exchange).ConfigureAwait(false);
        var outcome = await logins.CompleteAsync(
            challenge.LoginId, new CompleteNativeLogin(exchange.ClientFirstBare, serverFirst, withoutProof, proof, session), cancellation).ConfigureAwait(false);
        switch (outcome.Failure)
        {
            case LoginFailure.None when outcome is { Result: { } result, Claims: { } claims }:
                if (claims.Session != session || claims.Connection != settings.Connection)
                {
                    throw new StartupRefusedException("28000", "The login was answered for another session.");
                }

                Sasl(output, 12, $"v={result.ServerSignature}");
                return outcome;
            case LoginFailure.Expired:
                throw new StartupRefusedException("28P01", $"The access credential '{settings.User}' has expired.", $"'countersign connect {settings.Connection}' makes a new one.");
            case LoginFailure.Revoked:
                throw new StartupRefusedException("28P01", $"The access credential '{settings.User}' was revoked.", $"'countersign connect {settings.Connection}' makes a new one.");
            case LoginFailure.ConnectionNotAllowed:
                throw new StartupRefusedException("28000", $"The access credential '{settings.User}' is not good for connection '{settings.Connection}'.", $"'countersign connect {settings.Connection}' makes one that is.");
            default:
                throw new StartupRefusedException("28P01", $"password authentication failed for user \"{settings.User}\"");
        }
    }

    /// <summary>Tells the client why it may not come in.</summary>
    public async Task RefuseAsync(string code, string message, string hint)
    {
        using var output = new OutputBuffer();
        ErrorFields.Write(output, BackendType.ErrorResponse, "FATAL", code, message, hint);
        try
        {
            await _transport.WriteAsync(output.Pending).AsTask().WaitAsync(TimeSpan.FromSeconds(2)).ConfigureAwait(false);
            _transport.EndWriting();
            await _transport.LingerAsync().ConfigureAwait(false);
        }
        catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException or TimeoutException or InvalidOperationException)
        {
            // It is gone already.
        }
    }

    public void Dispose()
    {
        _transport.Dispose();
        Input?.Dispose();
    }

    private async Task AnswerSslAsync(CancellationToken cancellation)
    {
        if (options.Certificate is null)
        {
            await _transport.WriteAsync("N"u8.ToArray()).ConfigureAwait(false);
            return;
        }

        await _transport.WriteAsync("S"u8.ToArray()).ConfigureAwait(false);
        await SecureAsync(alpnRequired: false, cancellation).ConfigureAwait(false);
    }

    private async Task SecureAsync(bool alpnRequired, CancellationToken cancellation)
    {
        if (options.Certificate is not { } certificate)
        {
            throw new MalformedMessageException("TLS is not set up here.");
        }

        var stream = new SslStream(new NetworkStream(socket, ownsSocket: false), leaveInnerStreamOpen: false);
        var protocol = new SslApplicationProtocol("postgresql");
        var server = new SslServerAuthenticationOptions
        {
            ServerCertificateContext = SslStreamCertificateContext.Create(certificate, options.Intermediates, offline: true),
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            ApplicationProtocols = [protocol],
            AllowRenegotiation = false,
        };
        try
        {
            await stream.AuthenticateAsServerAsync(server, cancellation).ConfigureAwait(false);
        }
        catch (AuthenticationException error)
        {
            throw new MalformedMessageException("The TLS handshake failed.", error);
        }

        if (alpnRequired && stream.NegotiatedApplicationProtocol != protocol)
        {
            await stream.DisposeAsync().ConfigureAwait(false);
            throw new MalformedMessageException("TLS without a request needs the ALPN protocol postgresql.");
        }

        _transport = new TlsTransport(stream, socket);
        _secure = true;
    }

    private async Task<byte> PeekAsync(CancellationToken cancellation)
    {
        var first = new byte[1];
        var read = await socket.ReceiveAsync(first, SocketFlags.Peek, cancellation).ConfigureAwait(false);
        return read == 1 ? first[0] : throw new IOException("The client closed the connection.");
    }

    /// <summary>Reads exactly one packet: nothing behind it is taken before it is known whether TLS begins there.</summary>
    private async Task<StartupPacket> ReadPacketAsync()
    {
        var header = new byte[4];
        await ReadExactlyAsync(header).ConfigureAwait(false);
        var length = System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(header);
        StartupPacket.CheckLength(length);
        var body = new byte[length - 4];
        await ReadExactlyAsync(body).ConfigureAwait(false);
        var packet = StartupPacket.Read(body);
        if (packet.Kind is StartupKind.SslRequest && socket.Available > 0)
        {
            // Bytes before the answer could only be an attempt to smuggle plain text into the encrypted stream (CVE-2021-23222).
            throw new MalformedMessageException("Data came between SSLRequest and its answer.");
        }

        return packet;
    }

    private async Task ReadExactlyAsync(Memory<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            var read = await _transport.ReadAsync(buffer).ConfigureAwait(false);
            if (read == 0)
            {
                throw new IOException("The client closed the connection.");
            }

            buffer = buffer[read..];
        }
    }

    private async Task<ScramServerExchange> ReadInitialAsync()
    {
        var body = await ReadPasswordAsync().ConfigureAwait(false);
        try
        {
            return Read(body.Span);
        }
        finally
        {
            Input!.Consume(body.Length + 5);
        }

        ScramServerExchange Read(ReadOnlySpan<byte> span)
        {
            var reader = new MessageReader(span);
            var mechanism = reader.ReadString();
            var length = reader.ReadInt32();
            var message = reader.Take(length);
            reader.ExpectEnd();
            return ScramServerExchange.Begin(mechanism, message, _secure ? binding : null);
        }
    }

    private async Task<(string WithoutProof, string Proof)> ReadFinalAsync(ScramServerExchange exchange)
    {
        var body = await ReadPasswordAsync().ConfigureAwait(false);
        try
        {
            return exchange.Finish(body.Span);
        }
        finally
        {
            Input!.Consume(body.Length + 5);
        }
    }

    private async Task<ReadOnlyMemory<byte>> ReadPasswordAsync()
    {
        while (true)
        {
            if (Input!.TryHeader(out var type, out var length))
            {
                if (type != (byte)FrontendType.Password)
                {
                    throw Malformed.Unexpected("A message that is no authentication response");
                }

                FrontendRules.Check(type, length);
                if (Input.Available > length)
                {
                    return Input.Bytes.Slice(5, length - 4);
                }
            }
            else if (Input.Available > 0 && type != (byte)FrontendType.Password)
            {
                throw Malformed.Unexpected("A message that is no authentication response");
            }

            if (!await Input.FillAsync().ConfigureAwait(false))
            {
                throw new IOException("The client closed the connection.");
            }
        }
    }

    private async Task SendAsync(OutputBuffer output)
    {
        await _transport.WriteAsync(output.Pending).ConfigureAwait(false);
        output.Clear();
    }

    private static void Sasl(OutputBuffer output, int kind, string message)
    {
        output.Begin(BackendType.Authentication);
        output.WriteInt32(kind);
        output.WriteBytes(Encoding.ASCII.GetBytes(message));
        output.End();
    }
}
