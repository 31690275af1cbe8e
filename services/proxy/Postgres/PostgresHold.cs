using System.Buffers.Binary;
using Countersign.Approval.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres;

/// <summary>
/// A client that is held: told at once, given a sign of life every few seconds (a ParameterStatus of an unchanged value, which no user sees and
/// which resets a driver's read timeout) and a notice every minute; and watched, so that a cancel, a Terminate or a disconnect ends the wait.
/// </summary>
internal sealed class PostgresHold : IHoldScope
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);
    private readonly SessionContext _context;
    private volatile RequestView _request;
    private readonly CancellationTokenSource _cancelled = new();
    private readonly CancellationTokenSource _disconnected = new();
    private readonly CancellationTokenSource _over = new();
    private readonly Lock _gate = new();
    private readonly Action _ended;
    private readonly long _began;
    private readonly PeriodicTimer _timer;
    private Task _keepAlive = Task.CompletedTask;
    private Task _telling = Task.CompletedTask;
    private bool _stopped;

    private PostgresHold(SessionContext context, RequestView request, Action ended)
    {
        _context = context;
        _request = request;
        _ended = ended;
        _began = context.Clock.GetTimestamp();
        _timer = new PeriodicTimer(context.Options.KeepAlive, context.Clock);
    }

    public CancellationToken Cancelled => _cancelled.Token;

    public CancellationToken Disconnected => _disconnected.Token;

    /// <summary>Tells the client and begins to watch it.</summary>
    /// <param name="context">The session.</param>
    /// <param name="request">What it waits for.</param>
    /// <param name="attached">Whether the request was there before.</param>
    /// <param name="ended">Called when the hold is over.</param>
    public static async ValueTask<PostgresHold> BeginAsync(SessionContext context, RequestView request, bool attached, Action ended)
    {
        var hold = new PostgresHold(context, request, ended);
        await context.Writer.TryWriteOwnAsync(output => hold.WriteFirst(output, attached), Patience).ConfigureAwait(false);
        hold._keepAlive = hold.KeepAliveAsync();
        hold.Watch();
        return hold;
    }

    /// <summary>A CancelRequest for this session has come.</summary>
    public void Cancel()
    {
        lock (_gate)
        {
            if (!_stopped)
            {
                // On another thread: whoever waits goes on at once, and must not do so within the lock.
                _ = _cancelled.CancelAsync();
            }
        }
    }

    /// <inheritdoc/>
    public void Progress(RequestView request)
    {
        lock (_gate)
        {
            if (!_stopped)
            {
                _request = request;
                _telling = TellAsync(_telling);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        Task telling;
        lock (_gate)
        {
            _stopped = true;
            telling = _telling;
        }

        _ended();
        await _over.CancelAsync().ConfigureAwait(false);
        await _keepAlive.ConfigureAwait(false);
        await telling.ConfigureAwait(false);
        _over.Dispose();
    }

    private void WriteFirst(OutputBuffer output, bool attached)
    {
        var request = _request;
        ErrorFields.Write(
            output,
            BackendType.NoticeResponse,
            "NOTICE",
            "00000",
            attached ? $"Still held for approval: {request.Id} waits since {HoldTexts.Time(request.CreatedAt)}." : $"Held for approval: {request.Id}.",
            $"{request.Link} (Ctrl-C withdraws it; after a disconnect, run the same again.){HoldTexts.BreakGlass(request)}",
            $"Can be approved by {HoldTexts.WhoCanApprove(request)}, not by you, until {HoldTexts.Time(request.ExpiresAt)}.{(request.Message.Length > 0 ? " " + request.Message : "")}");
    }

    /// <summary>One notice after another; a client that doesn't read now is told with the next.</summary>
    private async Task TellAsync(Task before)
    {
        // Whoever tells of the change goes on at once.
        await before.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        try
        {
            await _context.Writer.TryWriteOwnAsync(WriteProgress, Patience).ConfigureAwait(false);
        }
        catch (Exception error) when (error is IOException or System.Net.Sockets.SocketException or ObjectDisposedException)
        {
            Gone();
        }
    }

    private void WriteProgress(OutputBuffer output)
    {
        var request = _request;
        ErrorFields.Write(
            output, BackendType.NoticeResponse, "NOTICE", "00000", HoldTexts.Progress(request, _context.Clock.GetUtcNow(), _context.Clock.GetElapsedTime(_began)), request.Link);
    }

    private async Task KeepAliveAsync()
    {
        // The caller goes on to wait for approval; this runs beside it.
        using var timer = _timer;
        var nextNotice = _context.Options.HoldNotice;
        try
        {
            while (await timer.WaitForNextTickAsync(_over.Token).ConfigureAwait(false))
            {
                var waited = _context.Clock.GetElapsedTime(_began);
                var notice = waited >= nextNotice;
                if (notice)
                {
                    nextNotice += _context.Options.HoldNotice;
                }

                await _context.Writer.TryWriteOwnAsync(output => WriteSignOfLife(output, notice), Patience).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // The hold is over.
        }
        catch (Exception error) when (error is IOException or System.Net.Sockets.SocketException or ObjectDisposedException)
        {
            Gone();
        }
    }

    private void WriteSignOfLife(OutputBuffer output, bool notice)
    {
        output.Begin(BackendType.ParameterStatus);
        output.WriteCString("application_name");
        output.WriteCString(_context.ApplicationName);
        output.End();
        if (notice)
        {
            WriteProgress(output);
        }
    }

    /// <summary>Keeps one read pending. Its bytes stay in the session's buffer, bounded; the next message is read from there once the hold is over.</summary>
    private void Watch()
    {
        var client = _context.Client;
        if (ClientLeaves(client.Span) || client.Available >= _context.Options.MaxReadAhead)
        {
            if (ClientLeaves(client.Span))
            {
                Gone();
            }

            return;
        }

        _ = WatchAsync(client.BeginPending());
    }

    private async Task WatchAsync(Task<int> reading)
    {
        try
        {
            await reading.ConfigureAwait(false);
        }
        catch (Exception error) when (error is IOException or System.Net.Sockets.SocketException or ObjectDisposedException)
        {
            Gone();
            return;
        }

        lock (_gate)
        {
            if (_stopped)
            {
                // The session's loop takes the bytes with its next read.
                return;
            }

            if (!_context.Client.EndPending())
            {
                Gone();
                return;
            }

            Watch();
        }
    }

    private void Gone()
    {
        lock (_gate)
        {
            if (!_stopped)
            {
                _ = _disconnected.CancelAsync();
            }
        }
    }

    /// <summary>Whether what was read ahead ends with the client's goodbye.</summary>
    private static bool ClientLeaves(ReadOnlySpan<byte> ahead)
    {
        while (ahead.Length >= 5)
        {
            if (ahead[0] == (byte)FrontendType.Terminate)
            {
                return true;
            }

            var length = BinaryPrimitives.ReadInt32BigEndian(ahead[1..]);
            if (length < 4 || ahead.Length - 1 < length)
            {
                return false;
            }

            ahead = ahead[(length + 1)..];
        }

        return false;
    }
}
