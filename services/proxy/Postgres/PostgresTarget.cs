using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Postgres.Scram;

namespace Countersign.Proxy.Postgres;

/// <summary>A logged-in connection to a target.</summary>
internal sealed class TargetConnection(PostgresTransport transport, InputBuffer input, TargetAddress address) : IDisposable
{
    public PostgresTransport Transport { get; } = transport;

    public InputBuffer Input { get; } = input;

    /// <summary>Messages on their way to the target.</summary>
    public OutputBuffer Output { get; } = new();

    public TargetAddress Address { get; } = address;

    public int ProcessId { get; set; }

    public byte[] Secret { get; set; } = [];

    /// <summary>What the target reported at login, in order.</summary>
    public List<KeyValuePair<string, string>> Parameters { get; } = [];

    /// <summary>Sends what was written.</summary>
    public ValueTask FlushAsync()
    {
        if (Output.Length == 0)
        {
            return ValueTask.CompletedTask;
        }

        var writing = Transport.WriteAsync(Output.Pending);
        if (writing.IsCompletedSuccessfully)
        {
            Output.Clear();
            return ValueTask.CompletedTask;
        }

        return FinishAsync(writing);
    }

    public void Dispose()
    {
        Transport.Dispose();
        Input.Dispose();
    }

    private async ValueTask FinishAsync(ValueTask writing)
    {
        try
        {
            await writing.ConfigureAwait(false);
        }
        catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException)
        {
            throw new TargetLostException(error);
        }

        Output.Clear();
    }
}

/// <summary>The target doesn't take any more.</summary>
internal sealed class TargetLostException(Exception inner) : Exception("The connection to the target broke.", inner);

/// <summary>Where a target is and how it is trusted.</summary>
internal sealed record TargetAddress(string Host, int Port, bool VerifyTls, string? TrustedCertificates);

/// <summary>Dials targets and logs in to them.</summary>
internal static class PostgresTarget
{
    private const int SslRequestCode = 80877103;
    private const int CancelRequestCode = 80877102;
    private const int InitialBuffer = 8192;

    // A login has a few messages and about fifteen settings; a target that sends more without end is none.
    private const int MaxLoginMessages = 500;
    private const int MaxSettingBytes = 64 << 10;

    /// <summary>Connects, verifies and logs in.</summary>
    /// <param name="access">Where to, and as whom.</param>
    /// <param name="database">Database.</param>
    /// <param name="applicationName">What the target's own logs show.</param>
    /// <param name="settings">Further startup parameters.</param>
    /// <param name="cancellation">The handshake's deadline.</param>
    /// <exception cref="TargetUnavailableException">It can't be reached, isn't who it should be, or doesn't take the login.</exception>
    public static async Task<TargetConnection> ConnectAsync(
        TargetAccess access, string database, string applicationName, IReadOnlyDictionary<string, string> settings, CancellationToken cancellation)
    {
        var address = new TargetAddress(access.Host, access.Port, access.VerifyTls, access.TrustedCertificates);
        var (transport, binding, loopback) = await DialAsync(address, cancellation).ConfigureAwait(false);
        var connection = new TargetConnection(transport, new InputBuffer(transport, InitialBuffer), address);
        var closing = cancellation.Register(static state => ((PostgresTransport)state!).Dispose(), transport);
        await using (closing.ConfigureAwait(false))
        {
            try
            {
                await LogInAsync(connection, access, database, applicationName, settings, binding, loopback).ConfigureAwait(false);
                return connection;
            }
            catch (MalformedMessageException error)
            {
                connection.Dispose();
                throw new TargetUnavailableException(error.Code, $"The target of {access.Connection} does not speak the protocol as it should: {error.Message}", error);
            }
            catch (Exception error) when (error is SocketException or IOException or ObjectDisposedException or TargetLostException)
            {
                connection.Dispose();
                throw cancellation.IsCancellationRequested
                    ? new TargetUnavailableException("08001", $"The target of {access.Connection} did not answer in time.", error)
                    : new TargetUnavailableException("08006", $"The connection to the target of {access.Connection} broke during login.", error);
            }
            catch
            {
                connection.Dispose();
                throw;
            }
        }
    }

    /// <summary>Asks a connection that nobody uses yet for one row of texts.</summary>
    /// <exception cref="TargetUnavailableException">It doesn't answer, or not as it should.</exception>
    public static async Task<string?[]> AskAsync(TargetConnection connection, GatewayStatement statement, CancellationToken cancellation)
    {
        var closing = cancellation.UnsafeRegister(static state => ((PostgresTransport)state!).Dispose(), connection.Transport);
        await using (closing.ConfigureAwait(false))
        {
            try
            {
                statement.WriteQuery(connection.Output);
                await connection.FlushAsync().ConfigureAwait(false);
                string?[] row = [];
                while (true)
                {
                    var (type, body) = await ReadAsync(connection.Input).ConfigureAwait(false);
                    row = type == BackendType.DataRow ? GatewayCall.ReadRow(body.Span) : row;
                    var failed = type == BackendType.ErrorResponse ? ErrorFields.Code(body.Span) : null;
                    connection.Input.Consume(body.Length + 5);
                    switch (type)
                    {
                        case BackendType.ReadyForQuery:
                            return row;
                        case BackendType.ErrorResponse:
                            throw new TargetUnavailableException("58000", $"{statement.Name} failed at the target ({failed}).");
                        case BackendType.DataRow or BackendType.RowDescription or BackendType.CommandComplete or BackendType.NoticeResponse or BackendType.ParameterStatus:
                            break;
                        default:
                            throw Malformed.Unexpected(type.ToString());
                    }
                }
            }
            catch (MalformedMessageException error)
            {
                throw new TargetUnavailableException(error.Code, $"The target does not speak the protocol as it should: {error.Message}", error);
            }
            catch (Exception error) when (error is SocketException or IOException or ObjectDisposedException or TargetLostException)
            {
                throw cancellation.IsCancellationRequested
                    ? new TargetUnavailableException("08001", "The target did not answer in time.", error)
                    : new TargetUnavailableException("08006", "The connection to the target broke during login.", error);
            }
        }
    }

    /// <summary>Asks the target to cancel what a session of it runs. Best effort, as the protocol has it.</summary>
    public static async Task CancelAsync(TargetAddress address, int processId, byte[] secret, CancellationToken cancellation)
    {
        var (transport, _, _) = await DialAsync(address, cancellation).ConfigureAwait(false);
        using (transport)
        {
            using var output = new OutputBuffer();
            output.BeginUntyped();
            output.WriteInt32(CancelRequestCode);
            output.WriteInt32(processId);
            output.WriteBytes(secret);
            output.End();
            await transport.WriteAsync(output.Pending).ConfigureAwait(false);

            // The server answers nothing and closes once it has taken it.
            await transport.ReadAsync(new byte[1]).AsTask().WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    private static async Task<(PostgresTransport Transport, byte[]? Binding, bool Loopback)> DialAsync(TargetAddress address, CancellationToken cancellation)
    {
        Socket? socket = null;
        try
        {
            var addresses = IPAddress.TryParse(address.Host, out var literal)
                ? [literal]
                : await Dns.GetHostAddressesAsync(address.Host, cancellation).ConfigureAwait(false);
            if (addresses.Length == 0)
            {
                throw new TargetUnavailableException("08001", $"The host {address.Host} has no address.");
            }

            if (!address.VerifyTls && !Array.TrueForAll(addresses, IPAddress.IsLoopback))
            {
                throw new TargetUnavailableException("08001", $"{address.Host} is not a loopback address: a target there must be reached with TLS (verify-full).");
            }

            Exception? last = null;
            foreach (var each in addresses)
            {
                socket = new Socket(each.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                try
                {
                    await socket.ConnectAsync(new IPEndPoint(each, address.Port), cancellation).ConfigureAwait(false);
                    last = null;
                    break;
                }
                catch (SocketException error)
                {
                    last = error;
                    socket.Dispose();
                }
            }

            if (last is not null)
            {
                throw new TargetUnavailableException("08001", $"{address.Host}:{address.Port} can't be reached.", last);
            }

            var connected = socket!;
            var loopback = connected.RemoteEndPoint is IPEndPoint remote && IPAddress.IsLoopback(remote.Address);
            if (!address.VerifyTls)
            {
                return (new SocketTransport(connected), null, loopback);
            }

            var (stream, binding) = await SecureAsync(connected, address, cancellation).ConfigureAwait(false);
            return (new TlsTransport(stream, connected), binding, loopback);
        }
        catch (TargetUnavailableException)
        {
            socket?.Dispose();
            throw;
        }
        catch (AuthenticationException error)
        {
            socket?.Dispose();
            throw new TargetUnavailableException("08001", $"The certificate of {address.Host}:{address.Port} is not trusted for this connection.", error);
        }
        catch (OperationCanceledException error)
        {
            socket?.Dispose();
            throw new TargetUnavailableException("08001", $"{address.Host}:{address.Port} did not answer in time.", error);
        }
        catch (Exception error) when (error is SocketException or IOException)
        {
            socket?.Dispose();
            throw new TargetUnavailableException("08001", $"{address.Host}:{address.Port} can't be reached.", error);
        }
    }

    private static async Task<(SslStream Stream, byte[] Binding)> SecureAsync(Socket socket, TargetAddress address, CancellationToken cancellation)
    {
        var request = new byte[8];
        BinaryPrimitives.WriteInt32BigEndian(request, 8);
        BinaryPrimitives.WriteInt32BigEndian(request.AsSpan(4), SslRequestCode);
        await socket.SendAsync(request, cancellation).ConfigureAwait(false);
        var answer = new byte[1];
        if (await socket.ReceiveAsync(answer, cancellation).ConfigureAwait(false) != 1 || answer[0] != (byte)'S')
        {
            throw new TargetUnavailableException("08001", $"{address.Host}:{address.Port} does not offer TLS.");
        }

        if (socket.Available > 0)
        {
            // Bytes before the handshake would be taken for encrypted ones (CVE-2021-23222).
            throw new TargetUnavailableException("08P01", $"{address.Host}:{address.Port} sent data before the TLS handshake.");
        }

        var options = new SslClientAuthenticationOptions
        {
            TargetHost = address.Host,
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            ApplicationProtocols = [new SslApplicationProtocol("postgresql")],
        };
        if (address.TrustedCertificates is { } pem)
        {
            var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            policy.CustomTrustStore.ImportFromPem(pem);
            options.CertificateChainPolicy = policy;
        }

        var stream = new SslStream(new NetworkStream(socket, ownsSocket: false), leaveInnerStreamOpen: false);
        await stream.AuthenticateAsClientAsync(options, cancellation).ConfigureAwait(false);
        using var certificate = new X509Certificate2(stream.RemoteCertificate ?? throw new AuthenticationException("no certificate"));
        return (stream, ChannelBinding.EndPoint(certificate));
    }

    private static async Task LogInAsync(
        TargetConnection connection, TargetAccess access, string database, string applicationName, IReadOnlyDictionary<string, string> settings,
        byte[]? binding, bool loopback)
    {
        var output = connection.Output;
        output.BeginUntyped();
        output.WriteInt32(3 << 16);
        Parameter(output, "user", access.Credential.User);
        Parameter(output, "database", database);
        foreach (var (name, value) in settings)
        {
            Parameter(output, name, value);
        }

        Parameter(output, "application_name", applicationName);
        Parameter(output, "client_encoding", "UTF8");
        Parameter(output, "standard_conforming_strings", "on");
        output.WriteByte(0);
        output.End();
        await connection.FlushAsync().ConfigureAwait(false);

        ScramClientExchange? exchange = null;
        var verified = false;
        var authenticated = false;
        var settingBytes = 0;
        for (var messages = 0; ; messages++)
        {
            var (type, body) = await ReadAsync(connection.Input).ConfigureAwait(false);
            if (messages > MaxLoginMessages)
            {
                throw new MalformedMessageException("its login has no end.");
            }

            switch (type)
            {
                case BackendType.Authentication when !authenticated:
                    var step = Authenticate(connection, access, body.Span, binding, loopback, ref exchange, ref verified);
                    authenticated = step;
                    await connection.FlushAsync().ConfigureAwait(false);
                    break;
                case BackendType.ErrorResponse:
                    var code = ErrorFields.Code(body.Span);

                    // The text of a failed login may name role and address at the target; it isn't for whoever connects.
                    throw new TargetUnavailableException(
                        code is "3D000" or "53300" or "57P03" or "42704" or "22023" ? code : "08004",
                        code switch
                        {
                            "3D000" => $"The database {database} does not exist at {access.Connection}.",
                            "53300" => $"{access.Connection} has too many connections.",
                            "57P03" => $"{access.Connection} is starting up or shutting down.",
                            "42704" or "22023" => $"{access.Connection} does not take one of the startup parameters.",
                            _ => $"The target of {access.Connection} refused the login ({code}).",
                        });
                case BackendType.NoticeResponse:
                    break;
                case BackendType.ParameterStatus when authenticated:
                    settingBytes += body.Length;
                    if (settingBytes > MaxSettingBytes)
                    {
                        throw new MalformedMessageException("it reports settings without end.");
                    }

                    Report(connection, access, body.Span);
                    break;
                case BackendType.BackendKeyData when authenticated:
                    KeyData(connection, body.Span);
                    break;
                case BackendType.ReadyForQuery when authenticated:
                    connection.Input.Consume(body.Length + 5);
                    return;
                default:
                    throw Malformed.Unexpected(type.ToString());
            }

            connection.Input.Consume(body.Length + 5);
        }
    }

    private static void Report(TargetConnection connection, TargetAccess access, ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        var name = reader.ReadString();
        var value = reader.ReadString();
        if (name == "server_encoding" && value != "UTF8")
        {
            // Names are folded and cut by the server's encoding, texts converted to it: what was decided on would be another text.
            throw new TargetUnavailableException("0A000", $"The database of {access.Connection} is encoded in {value}; Countersign works with UTF8 databases only.");
        }

        if (!ForcedSettings.IsKept(name, value))
        {
            throw new MalformedMessageException($"it keeps {name} at another value than it was asked for.");
        }

        connection.Parameters.Add(new(name, value));
    }

    private static void KeyData(TargetConnection connection, ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        connection.ProcessId = reader.ReadInt32();
        connection.Secret = reader.Take(reader.Remaining).ToArray();
    }

    private static bool Authenticate(
        TargetConnection connection, TargetAccess access, ReadOnlySpan<byte> body, byte[]? binding, bool loopback, ref ScramClientExchange? exchange,
        ref bool verified)
    {
        var reader = new MessageReader(body);
        var kind = reader.ReadInt32();
        switch (kind)
        {
            case 0:
                if (!verified && (exchange is not null || !loopback))
                {
                    // Trust is for a loopback socket; anywhere else a target must prove that it knows the verifier.
                    throw new TargetUnavailableException("28000", $"The target of {access.Connection} asked for no authentication.");
                }

                return true;
            case 10:
                var plus = false;
                var plain = false;
                while (true)
                {
                    var mechanism = reader.ReadString();
                    if (mechanism.Length == 0)
                    {
                        break;
                    }

                    plus |= mechanism == ScramText.Sha256Plus;
                    plain |= mechanism == ScramText.Sha256;
                }

                var bind = plus && binding is not null;
                if (exchange is not null || !(bind || plain))
                {
                    throw Malformed.Unexpected("AuthenticationSASL");
                }

                if (access.Credential.Password is null)
                {
                    throw new TargetUnavailableException("28000", $"The target of {access.Connection} wants a password, but none is registered.");
                }

                exchange = new ScramClientExchange(bind ? binding : null, binding is not null);
                var first = Encoding.ASCII.GetBytes(exchange.First);
                connection.Output.Begin(FrontendType.Password);
                connection.Output.WriteCString(bind ? ScramText.Sha256Plus : ScramText.Sha256);
                connection.Output.WriteInt32(first.Length);
                connection.Output.WriteBytes(first);
                connection.Output.End();
                return false;
            case 11 when exchange is not null && !verified:
                connection.Output.Begin(FrontendType.Password);
                connection.Output.WriteBytes(Encoding.ASCII.GetBytes(exchange.Final(reader.Take(reader.Remaining), access.Credential.Password!)));
                connection.Output.End();
                return false;
            case 12 when exchange is not null:
                exchange.Verify(reader.Take(reader.Remaining));
                verified = true;
                return false;
            case 3 or 5:
                throw new TargetUnavailableException(
                    "28000", $"The target of {access.Connection} asked for a {(kind == 3 ? "cleartext" : "MD5")} password, which Countersign never sends.");
            default:
                throw new TargetUnavailableException("28000", $"The target of {access.Connection} asked for an authentication that is not supported.");
        }
    }

    private static async ValueTask<(BackendType Type, ReadOnlyMemory<byte> Body)> ReadAsync(InputBuffer input)
    {
        while (true)
        {
            if (input.TryHeader(out var type, out var length))
            {
                BackendRules.Check(type, length);
                if (length > 64 << 10)
                {
                    throw Malformed.TooLong(((BackendType)type).ToString(), length, 64 << 10);
                }

                if (input.Available >= length + 1)
                {
                    return ((BackendType)type, input.Bytes.Slice(5, length - 4));
                }
            }

            if (!await input.FillAsync().ConfigureAwait(false))
            {
                throw new IOException("The target closed the connection.");
            }
        }
    }

    private static void Parameter(OutputBuffer output, string name, string value)
    {
        output.WriteCString(name);
        output.WriteCString(value);
    }
}
