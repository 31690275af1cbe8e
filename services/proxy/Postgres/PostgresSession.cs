using System.Net.Sockets;
using System.Security.Cryptography;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Path.Record;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Postgres;

/// <summary>One session from login to its end: runs the two halves, and ends both with a reason and a record.</summary>
internal sealed class PostgresSession(SessionContext context, PostgresOperations operations, PostgresReplies replies, CancellationTokenSource ending)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Farewell = TimeSpan.FromSeconds(5);
    private readonly TaskCompletionSource<SessionFault> _fault = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Key of the session for CancelRequest.</summary>
    public byte[] CancelSecret { get; } = RandomNumberGenerator.GetBytes(4);

    /// <summary>Process id of the session for CancelRequest; the target's own stays hidden.</summary>
    public int ProcessId { get; } = RandomNumberGenerator.GetInt32(1, int.MaxValue);

    /// <summary>Session id.</summary>
    public string Id => context.Session.Id;

    /// <summary>Ends the session from outside.</summary>
    public void End(string reason, string code, string message) => _fault.TrySetResult(new SessionFault(reason, code, message));

    /// <summary>Ends the session if its client has begun a message and doesn't complete it.</summary>
    public void CheckStalled()
    {
        if (operations.IsStalled(context.Options.MessageTimeout))
        {
            End("protocol", "08P01", "A message was begun and not completed in time.");
        }
    }

    /// <summary>A CancelRequest with the session's key has come.</summary>
    public async Task CancelAsync(CancellationToken cancellation)
    {
        if (operations.Cancel() || context.Pipeline.Count == 0)
        {
            return;
        }

        await CancelAtTargetAsync(cancellation).ConfigureAwait(false);
    }

    private async Task CancelAtTargetAsync(TimeSpan patience)
    {
        using var limit = new CancellationTokenSource(patience);
        await CancelAtTargetAsync(limit.Token).ConfigureAwait(false);
    }

    private async Task CancelAtTargetAsync(CancellationToken cancellation)
    {
        try
        {
            await PostgresTarget.CancelAsync(context.Target.Address, context.Target.ProcessId, context.Target.Secret, cancellation).ConfigureAwait(false);
        }
        catch (Exception error) when (error is TargetUnavailableException or IOException or SocketException or OperationCanceledException)
        {
            context.Log.CancelNotPassed(Id, error);
        }
    }

    /// <summary>Tells the client that it is in, and runs to the end.</summary>
    /// <param name="admitted">Says when it must end.</param>
    /// <param name="welcome">The messages that end the login.</param>
    public async Task RunAsync(AdmittedSession admitted, ReadOnlyMemory<byte> welcome)
    {
        try
        {
            await context.Writer.WriteAsync(welcome, default, endsWithinMessage: false).ConfigureAwait(false);
        }
        catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException)
        {
            await CloseAsync(SessionFault.ClientLeft, Task.CompletedTask, Task.CompletedTask).ConfigureAwait(false);
            return;
        }

        var revoked = admitted.Ended.UnsafeRegister(
            _ => End(admitted.Ending.Reason, "57P01", admitted.Ending.Message), null);
        var taken = context.Session.Grants.Ending.UnsafeRegister(
            _ => End("revoked", "57P01", context.Session.Grants.Message ?? "The approval of what runs here was taken back."), null);
        var unrecorded = context.Recording.Failed.UnsafeRegister(
            _ => End("record-failed", "58030", "The recording of this session failed; nothing may go on without it."), null);
        await using (revoked.ConfigureAwait(false))
        await using (taken.ConfigureAwait(false))
        await using (unrecorded.ConfigureAwait(false))
        {
            var upstream = operations.RunAsync();
            var downstream = replies.RunAsync();
            var first = await Task.WhenAny(upstream, downstream, _fault.Task).ConfigureAwait(false);
            var fault = first == _fault.Task
                ? await _fault.Task.ConfigureAwait(false)
                : first == upstream ? await OfClientAsync(upstream, downstream).ConfigureAwait(false) : OfTarget(downstream);
            await CloseAsync(fault, upstream, downstream).ConfigureAwait(false);
        }
    }

    /// <summary>The client's half has ended: by a goodbye, by a disconnect, or by an error.</summary>
    private async Task<SessionFault> OfClientAsync(Task upstream, Task downstream)
    {
        if (upstream.Exception?.InnerException is TargetLostException)
        {
            // What it still had to say may tell why.
            await Task.WhenAny(downstream, Task.Delay(Patience)).ConfigureAwait(false);
            return downstream.IsCompleted ? OfTarget(downstream) : new SessionFault("target", "08006", "The connection to the target broke.");
        }

        if (upstream.Exception?.InnerException is { } error)
        {
            return SessionFault.Of(error, "client");
        }

        if (upstream.IsCanceled)
        {
            // A hold ended because the client went away.
            return SessionFault.ClientLeft;
        }

        // What it has sent before is run to its end and recorded, as the server does; then the target hears the goodbye.
        try
        {
            context.Target.Output.WriteEmpty(FrontendType.Terminate);
            await context.Target.FlushAsync().AsTask().WaitAsync(Farewell).ConfigureAwait(false);
            context.Target.Transport.EndWriting();
            await downstream.WaitAsync(Farewell).ConfigureAwait(false);
        }
        catch (Exception)
        {
            // The client is gone; whatever is left open is recorded as such.
        }

        return SessionFault.ClientLeft;
    }

    private SessionFault OfTarget(Task downstream)
    {
        if (downstream.Exception?.InnerException is { } error)
        {
            return SessionFault.Of(error, "target");
        }

        return replies.SawFatal ? SessionFault.TargetSaidWhy : new SessionFault("target", "08006", "The target has closed the connection.");
    }

    private async Task CloseAsync(SessionFault fault, Task upstream, Task downstream)
    {
        if (fault.Unexpected is { } unexpected)
        {
            context.Log.SessionBroke(Id, unexpected);
        }

        await ending.CancelAsync().ConfigureAwait(false);
        var ended = context.Session.Grants.Uses();
        var running = context.Pipeline.Count > 0;
        if (running)
        {
            // First of all, since a client that doesn't read can hold up its own farewell: the server would run the statement to its end.
            await CancelAtTargetAsync(Patience).ConfigureAwait(false);
            if (fault.Reason == "revoked")
            {
                await SettleAsync().ConfigureAwait(false);
            }
        }

        if (fault.Message is { } message)
        {
            try
            {
                await context.Writer.TryWriteOwnAsync(
                    output => ErrorFields.Write(output, BackendType.ErrorResponse, "FATAL", fault.Code, message), Patience)
                    .AsTask().WaitAsync(Patience).ConfigureAwait(false);
            }
            catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException or TimeoutException)
            {
                // It can't be told any more.
            }
        }

        var open = context.Pipeline.Abort(new SessionEndedException());
        context.Target.Transport.Dispose();
        if (open.Count > 0 && fault.Reason == "revoked")
        {
            // What was sent behind the first cancel is the last that the target can have got.
            await CancelAtTargetAsync(Patience).ConfigureAwait(false);
        }

        context.ClientTransport.EndWriting();
        if (fault.Message is not null)
        {
            // A client that was sending just then would lose its farewell to a reset; what it still sends is read by whoever reads now, then here.
            await Task.WhenAny(upstream, Task.Delay(PostgresTransport.Courtesy)).ConfigureAwait(false);
            if (upstream.IsCompleted)
            {
                await context.ClientTransport.LingerAsync().ConfigureAwait(false);
            }
        }

        context.ClientTransport.Dispose();
        await Task.WhenAll(Ignore(upstream), Ignore(downstream)).ConfigureAwait(false);
        await RecordEndAsync(fault.Reason, open, fault.Reason == "revoked" ? ended : []).ConfigureAwait(false);
        context.Session.Grants.Close();
        replies.Dispose();
        context.Target.Dispose();
        context.Client.Dispose();
        context.Log.SessionEnded(Id, fault.Reason);
    }

    /// <summary>Gives the target a moment to say that it has cancelled: the record can then tell how it ended.</summary>
    private async Task SettleAsync()
    {
        for (var waited = 0; waited < 30 && context.Pipeline.Count > 0; waited++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10)).ConfigureAwait(false);
        }
    }

    private async Task RecordEndAsync(string reason, IReadOnlyList<PostgresOperation> open, IReadOnlyList<GrantUse> revoked)
    {
        try
        {
            foreach (var use in revoked)
            {
                await context.Recording.RecordHoldAsync(
                    new HoldEntry(use.Operation.Number, use.Grant.Claims.Request, use.Grant.Digest, "", "revoked"), CancellationToken.None).ConfigureAwait(false);
            }

            foreach (var operation in open)
            {
                context.Recording.Complete(PostgresReplies.Completion(operation, reason == "client" ? "disconnected" : "unknown"));
            }

            await context.Recording.EndAsync(
                new SessionEndEntry(reason, context.Operations, context.BytesIn, context.Writer.Written), CancellationToken.None).ConfigureAwait(false);
        }
        catch (RecordingFailedException error)
        {
            context.Log.EndNotRecorded(Id, error);
        }
    }

    private static async Task Ignore(Task task)
    {
        try
        {
            await task.ConfigureAwait(false);
        }
        catch (Exception)
        {
            // Its reason is known, or it follows from closing.
        }
    }
}

/// <summary>Why a session ends.</summary>
/// <param name="Reason">As recorded.</param>
/// <param name="Code">SQLSTATE for the client.</param>
/// <param name="Message">For the client; null where it needn't be told.</param>
internal sealed record SessionFault(string Reason, string Code, string? Message)
{
    public static SessionFault ClientLeft { get; } = new("client", "", null);

    public static SessionFault TargetSaidWhy { get; } = new("target", "", null);

    /// <summary>The fault behind an error of one of the halves.</summary>
    /// <param name="error">The error.</param>
    /// <param name="side">Whose half it was.</param>
    public static SessionFault Of(Exception error, string side) => error switch
    {
        MalformedMessageException malformed when side == "client" => new("protocol", malformed.Code, malformed.Message),
        MalformedMessageException malformed => new("protocol", malformed.Code, $"The target's answer can't be passed on: {malformed.Message}"),
        InvalidDataException => new("protocol", "08P01", "The target's answer can't be masked with certainty and is not passed on."),
        RecordingFailedException => new("record-failed", "58030", "The recording of this session failed; nothing may go on without it."),
        GatewayStatementFailedException failed => new("target", "58000", failed.Message),
        OperationCanceledException when side == "client" => ClientLeft,
        IOException or SocketException or ObjectDisposedException => side == "client" ? ClientLeft : new("target", "08006", "The connection to the target broke."),
        _ => new("protocol", "XX000", "An internal error ended this session; nothing was run because of it.") { Unexpected = error },
    };

    /// <summary>An error that nobody foresaw.</summary>
    public Exception? Unexpected { get; init; }
}
