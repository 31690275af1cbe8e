using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Path.Record;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Postgres.Scram;
using Countersign.Proxy.Sql;
using Countersign.Recorder.Contracts;
using Microsoft.Extensions.Logging;

namespace Countersign.Proxy.Postgres;

/// <summary>What the listener needs of the rest of the proxy.</summary>
public sealed record PostgresServices
{
    /// <summary>Identity.</summary>
    public required INativeLogins Logins { get; init; }
    /// <summary>Registered targets.</summary>
    public required IConnections Connections { get; init; }
    /// <summary>Revocation, freshness, shutdown.</summary>
    public required ISessionAdmission Admission { get; init; }
    /// <summary>Step 2.</summary>
    public required SqlParser Parser { get; init; }
    /// <summary>Catalogs for masking; null where nothing can be masked, and then what would have to be is denied.</summary>
    public PostgresCatalogs? Catalogs { get; init; }
    /// <summary>Step 3.</summary>
    public required IDecider Decider { get; init; }
    /// <summary>Steps 4 and 5.</summary>
    public required IApprovals Approvals { get; init; }
    /// <summary>What runs under approvals, in all protocols of the proxy.</summary>
    public RunningGrants Running { get; init; } = new();
    /// <summary>Step 6.</summary>
    public required ISessionRecorder Recorder { get; init; }
    /// <summary>Clock.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Bounds previews over all sessions and requests ahead of time.</summary>
    internal Impact.PreviewLimits Previews { get; } = new();
}

/// <summary>Accepts PostgreSQL clients. Nothing that one of them does holds up the next: everything behind accept runs on its own, bounded in number and time.</summary>
public sealed class PostgresListener : IAsyncDisposable
{
    private readonly PostgresOptions _options;
    private readonly PostgresServices _services;
    private readonly ILogger _log;
    private readonly byte[]? _binding;
    private readonly Socket _socket;
    private readonly CancellationTokenSource _stopping = new();
    private readonly ConcurrentDictionary<int, PostgresSession> _sessions = new();
    private readonly ConcurrentDictionary<IPAddress, int> _addresses = new();
    private readonly ConcurrentDictionary<Task, byte> _running = new();
    private int _connections;
    private int _handshakes;
    private Task _accepting = Task.CompletedTask;
    private Task _watching = Task.CompletedTask;

    /// <summary>Makes a listener; <see cref="Start"/> opens it.</summary>
    public PostgresListener(PostgresOptions options, PostgresServices services, ILogger<PostgresListener> log)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _services = services;
        _log = log;
        _binding = options.Certificate is { } certificate ? ChannelBinding.EndPoint(certificate) : null;
        _socket = new Socket(options.Listen.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
    }

    /// <summary>Where it listens, once started.</summary>
    public IPEndPoint EndPoint => (IPEndPoint)_socket.LocalEndPoint!;

    /// <summary>Sessions that are logged in.</summary>
    public int Sessions => _sessions.Count;

    /// <summary>Opens the port and begins to accept.</summary>
    /// <exception cref="SocketException">The port is taken.</exception>
    public void Start()
    {
        _socket.Bind(_options.Listen);
        _socket.Listen(512);
        _log.Listening(EndPoint.ToString());
        _accepting = Task.Run(AcceptAsync);
        _watching = Task.Run(WatchAsync);
    }

    /// <summary>Stops accepting, lets sessions end by themselves for a while, then ends them with 57P01.</summary>
    public async Task StopAsync()
    {
        if (_stopping.IsCancellationRequested)
        {
            return;
        }

        await _stopping.CancelAsync().ConfigureAwait(false);
        _socket.Dispose();
        await _accepting.ConfigureAwait(false);
        await _watching.ConfigureAwait(false);
        await WaitForEndAsync(_options.DrainTimeout).ConfigureAwait(false);
        foreach (var session in _sessions.Values)
        {
            session.End("shutdown", "57P01", "Countersign is shutting down.");
        }

        await WaitForEndAsync(TimeSpan.FromSeconds(15)).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync().ConfigureAwait(false);
        _stopping.Dispose();
    }

    private Task<Task> WaitForEndAsync(TimeSpan limit) => Task.WhenAny(Task.WhenAll(_running.Keys), Task.Delay(limit));

    private async Task AcceptAsync()
    {
        while (!_stopping.IsCancellationRequested)
        {
            Socket client;
            try
            {
                client = await _socket.AcceptAsync(_stopping.Token).ConfigureAwait(false);
            }
            catch (Exception error) when (error is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException error)
            {
                // Out of descriptors, or the peer is gone already: neither may end the loop, and neither is gone at once.
                _log.AcceptFailed(error);
                await Task.Delay(TimeSpan.FromMilliseconds(50)).ConfigureAwait(false);
                continue;
            }

            if (!TryEnter(client, out var address))
            {
                client.Dispose();
                continue;
            }

            // On the pool: a handshake hashes and encrypts, and must not run on the thread that accepts.
            var running = Task.Run(() => ServeAsync(client, address));
            _running.TryAdd(running, 0);
            _ = running.ContinueWith(
                static (done, state) => ((ConcurrentDictionary<Task, byte>)state!).TryRemove(done, out _), _running, CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }

    private bool TryEnter(Socket client, out IPAddress address)
    {
        address = IPAddress.None;
        try
        {
            address = ((IPEndPoint)client.RemoteEndPoint!).Address;
            client.NoDelay = true;
        }
        catch (SocketException)
        {
            return false;
        }

        var limit = _connections >= _options.MaxSessions ? "all sessions" : _handshakes >= _options.MaxHandshakes ? "handshakes" : null;
        if (limit is null && _addresses.AddOrUpdate(address, 1, static (_, count) => count + 1) > _options.MaxPerAddress)
        {
            Leave(address);
            limit = "sessions of one address";
        }

        if (limit is not null)
        {
            _log.LimitReached(address.ToString(), limit);
            TrySayTooMany(client);
            return false;
        }

        Interlocked.Increment(ref _connections);
        Interlocked.Increment(ref _handshakes);
        return true;
    }

    private void Leave(IPAddress address)
    {
        // Counts that fall to zero are taken out, so that the table does not remember every address that ever came.
        while (_addresses.TryGetValue(address, out var count))
        {
            if (count <= 1 ? _addresses.TryRemove(new(address, count)) : _addresses.TryUpdate(address, count - 1, count))
            {
                return;
            }
        }
    }

    private static void TrySayTooMany(Socket client)
    {
        using var output = new OutputBuffer();
        ErrorFields.Write(output, BackendType.ErrorResponse, "FATAL", "53300", "Countersign has too many connections.");
        try
        {
            client.Blocking = false;
            client.Send(output.Pending.Span);
        }
        catch (SocketException)
        {
            // It is told if that costs nothing.
        }
    }

    private async Task ServeAsync(Socket socket, IPAddress address)
    {
        var handshaking = true;
        void HandshakeDone()
        {
            if (handshaking)
            {
                handshaking = false;
                Interlocked.Decrement(ref _handshakes);
            }
        }

        try
        {
            using var connection = new PostgresConnection(socket, _options, _binding);
            using var deadline = new CancellationTokenSource(_options.HandshakeTimeout, _services.Clock);
            try
            {
                var closing = deadline.Token.UnsafeRegister(static state => ((PostgresConnection)state!).Transport.Dispose(), connection);
                Func<Task>? session;
                await using (closing.ConfigureAwait(false))
                {
                    session = await HandshakeAsync(connection, deadline.Token).ConfigureAwait(false);
                }

                HandshakeDone();
                if (session is not null)
                {
                    await session().ConfigureAwait(false);
                }
            }
            catch (StartupRefusedException refused)
            {
                await TurnAwayAsync(connection, refused.Code, refused.Message, refused.Hint).ConfigureAwait(false);
            }
            catch (MalformedMessageException malformed)
            {
                await TurnAwayAsync(connection, malformed.Code, malformed.Message, "").ConfigureAwait(false);
            }
            catch (TargetUnavailableException unavailable)
            {
                await TurnAwayAsync(connection, unavailable.Code, unavailable.Message, "").ConfigureAwait(false);
            }
            catch (LoginUnavailableException unavailable)
            {
                await TurnAwayAsync(connection, "58000", unavailable.Message, "Try again in a moment.").ConfigureAwait(false);
            }
            catch (RecordingFailedException)
            {
                await TurnAwayAsync(connection, "58030", "The session can't be recorded, and so it can't begin.", "").ConfigureAwait(false);
            }
            catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException or OperationCanceledException)
            {
                // The client went away, or had its time.
            }
        }
        catch (Exception error)
        {
            _log.ConnectionBroke(address.ToString(), error);
        }
        finally
        {
            HandshakeDone();
            socket.Dispose();
            Interlocked.Decrement(ref _connections);
            Leave(address);
        }
    }

    private Task TurnAwayAsync(PostgresConnection connection, string code, string message, string hint)
    {
        _log.TurnedAway(connection.Client.ToString(), code, message);
        return connection.RefuseAsync(code, message, hint);
    }

    /// <summary>From the first byte to a session that is ready to run; null after a cancel.</summary>
    private async Task<Func<Task>?> HandshakeAsync(PostgresConnection connection, CancellationToken deadline)
    {
        var packet = await connection.OpenAsync(deadline).ConfigureAwait(false);
        if (packet.Kind == StartupKind.CancelRequest)
        {
            await CancelAsync(packet, deadline).ConfigureAwait(false);
            return null;
        }

        var settings = StartupSettings.Read(packet);
        var session = $"ses_{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16))}";
        using var output = new OutputBuffer();
        PostgresConnection.WriteNegotiation(output, packet, settings);
        var login = await connection.LogInAsync(settings, session, _services.Logins, output, deadline).ConfigureAwait(false);
        var claims = login.Claims!;
        var admitted = _services.Admission.Admit(session, claims);
        TargetConnection? target = null;
        try
        {
            if (admitted.Refused is { } reason)
            {
                throw new StartupRefusedException("57P03", reason);
            }

            var access = await _services.Connections.OpenAsync(settings.Connection, claims, deadline).ConfigureAwait(false)
                ?? throw new StartupRefusedException("3D000", $"There is no connection '{settings.Connection}'.", "'countersign connections' lists them.");
            var database = settings.Database ?? access.Database;
            using var dialling = new CancellationTokenSource(_options.TargetTimeout, _services.Clock);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(dialling.Token, deadline);
            target = await PostgresTarget.ConnectAsync(access, database, ApplicationNameFor(claims.Name), settings.Settings, either.Token).ConfigureAwait(false);
            var recording = new SerializedRecording(await _services.Recorder.OpenAsync(session, new SessionStartEntry
            {
                Principal = claims.Subject,
                Person = claims.Person,
                Name = claims.Name,
                Credential = claims.Credential,
                Connection = settings.Connection,
                Database = database,
                DatabaseRole = access.Credential.User,
                Protocol = "postgres",
                Client = connection.Client.ToString(),
                Application = settings.ApplicationName,
                Proxy = _options.ProxyId,
            }, deadline).ConfigureAwait(false));
            var pathSession = new PathSession
            {
                Id = session,
                Claims = claims,
                Assertion = login.Result!.Assertion,
                Principal = _services.Admission.Principal(claims),
                Connection = settings.Connection,
                Database = database,
                DatabaseRole = access.Credential.User,
                ClientAddress = connection.Client.Address.ToString(),
                Recording = recording,
                Grants = new SessionGrants(_services.Running),
            };
            var ending = new CancellationTokenSource();
            var masks = _services.Catalogs is { } catalogs
                ? new SessionMasks(catalogs.For(access.Host, access.Port, database), access, database, ApplicationNameFor("gateway"), name =>
                {
                    recording.RecordGateway(name);
                    return ValueTask.CompletedTask;
                })
                : null;
            var context = new SessionContext
            {
                Session = pathSession,
                Options = _options,
                Clock = _services.Clock,
                Log = _log,
                Recording = recording,
                ClientTransport = connection.Transport,
                Client = connection.Input!,
                Writer = new ClientWriter(connection.Transport),
                Target = target,
                Masks = masks,
                Impact = new Impact.ImpactPreview(access, database, _services.Parser, recording.RecordGateway, _services.Previews, pathSession.Claims.Person, _services.Clock),
                ApplicationName = settings.ApplicationName,
                Ending = ending.Token,
            };
            var texts = new OperationTexts(pathSession, _services.Parser, masks, GrammarMatches(_services.Parser, target));
            texts.Begins(await SearchPathAsync(target, recording, either.Token).ConfigureAwait(false));
            var decider = new ProtocolRules(_services.Decider, canMask: masks is not null);
            var path = new OperationPath(decider, _services.Approvals, _services.Clock);
            var operations = new PostgresOperations(context, path, decider, texts);
            var running = new PostgresSession(context, operations, new PostgresReplies(context), ending);
            while (!_sessions.TryAdd(running.ProcessId, running))
            {
                running = new PostgresSession(context, operations, new PostgresReplies(context), ending);
            }

            Welcome(output, context, running);
            var welcome = output.Pending.ToArray();
            return () => RunAsync(running, context, recording, admitted, welcome, ending);
        }
        catch
        {
            target?.Dispose();
            admitted.Dispose();
            throw;
        }
    }

    private async Task RunAsync(
        PostgresSession session, SessionContext context, SerializedRecording recording, AdmittedSession admitted, byte[] welcome, CancellationTokenSource ending)
    {
        using (admitted)
        await using (recording.ConfigureAwait(false))
        using (ending)
        using (context.Writer)
        {
            try
            {
                _log.SessionBegan(session.Id, context.Session.Claims.Person, context.Session.Connection, context.Session.ClientAddress);
                var expires = DateTimeOffset.FromUnixTimeSeconds(context.Session.Claims.ExpiresAt) - _services.Clock.GetUtcNow();
                var timer = _services.Clock.CreateTimer(
                    static state => ((PostgresSession)state!).End("revoked", "57P01", "The access credential of this session has expired."),
                    session, Bounded(expires), Timeout.InfiniteTimeSpan);
                await using (timer.ConfigureAwait(false))
                {
                    await session.RunAsync(admitted, welcome).ConfigureAwait(false);
                }
            }
            finally
            {
                _sessions.TryRemove(session.ProcessId, out _);
            }
        }
    }

    private static void Welcome(OutputBuffer output, SessionContext context, PostgresSession session)
    {
        output.Begin(BackendType.Authentication);
        output.WriteInt32(0);
        output.End();
        foreach (var (name, value) in context.Target.Parameters)
        {
            if (StartupSettings.IsReported(name))
            {
                output.Begin(BackendType.ParameterStatus);
                output.WriteCString(name);
                output.WriteCString(name == "application_name" ? context.ApplicationName : value);
                output.End();
            }
        }

        output.Begin(BackendType.BackendKeyData);
        output.WriteInt32(session.ProcessId);
        output.WriteBytes(session.CancelSecret);
        output.End();
        output.Begin(BackendType.ReadyForQuery);
        output.WriteByte((byte)'I');
        output.End();
    }

    private async Task CancelAsync(StartupPacket packet, CancellationToken deadline)
    {
        // The same work for unknown process ids and wrong keys.
        var known = _sessions.TryGetValue(packet.ProcessId, out var session);
        var secret = session?.CancelSecret ?? new byte[4];
        if (CryptographicOperations.FixedTimeEquals(secret, packet.Secret) && known)
        {
            await session!.CancelAsync(deadline).ConfigureAwait(false);
        }
    }

    private async Task WatchAsync()
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), _services.Clock);
        try
        {
            while (await timer.WaitForNextTickAsync(_stopping.Token).ConfigureAwait(false))
            {
                foreach (var session in _sessions.Values)
                {
                    session.CheckStalled();
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
    }

    /// <summary>Whether the target's version, as it reports it, is one that the grammar knows. A target that doesn't say is none.</summary>
    internal static bool GrammarMatches(SqlParser parser, TargetConnection target)
    {
        var version = target.Parameters.FindLast(parameter => parameter.Key == "server_version").Value ?? "";
        var digits = version.TakeWhile(char.IsAsciiDigit).Count();
        return int.TryParse(version.AsSpan(0, digits), System.Globalization.CultureInfo.InvariantCulture, out var major) && parser.GrammarMatches(major);
    }

    /// <summary>search_path as the session begins: servers from 18 on report it, others are asked.</summary>
    private static async ValueTask<string> SearchPathAsync(TargetConnection target, SerializedRecording recording, CancellationToken deadline)
    {
        if (target.Parameters.FindLast(parameter => parameter.Key == "search_path").Value is { } reported)
        {
            return reported;
        }

        recording.RecordGateway(GatewayStatement.ReadSearchPath.Name);
        var row = await PostgresTarget.AskAsync(target, GatewayStatement.ReadSearchPath, deadline).ConfigureAwait(false);
        return row is [{ } path] ? path : throw new TargetUnavailableException("08P01", "The target doesn't say what search_path its session has.");
    }

    private static string ApplicationNameFor(string name)
    {
        var text = $"countersign/{name}";
        return text.Length > 63 ? text[..63] : text;
    }

    private static TimeSpan Bounded(TimeSpan span) =>
        span <= TimeSpan.Zero ? TimeSpan.FromMilliseconds(1) : span > TimeSpan.FromDays(30) ? TimeSpan.FromDays(30) : span;
}
