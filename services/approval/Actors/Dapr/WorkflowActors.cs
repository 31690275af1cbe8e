using System.Text.Json;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Dapr.Actors;
using Dapr.Actors.Runtime;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using IRemindable = Dapr.Actors.Runtime.IRemindable;

namespace Countersign.Approval.Actors.Dapr;

/// <summary>The one envelope method of all workflows.</summary>
public interface IWorkflowActor : IActor
{
    /// <summary>Handles one sealed message.</summary>
    /// <returns>JSON of an <see cref="ActorAnswer"/>; null where this replica is leaving and changed nothing: the turn is for another one.</returns>
    Task<JsonElement> HandleAsync(ActorEnvelope envelope);
}

/// <summary>What actors share: seals, and a wake-up of their own for what is left to tidy.</summary>
internal sealed partial class ActorDesk(ActorSeal seal, IWorkflowHost workflows, TimeProvider clock, ILogger<ActorDesk> logger)
{
    private static readonly TimeSpan TidyAfter = TimeSpan.FromSeconds(1);

    /// <summary>One turn: refuses what approval did not send itself.</summary>
    public async Task<JsonElement> HandleAsync(string type, string id, ActorEnvelope? envelope, Func<ReadOnlyMemory<byte>, ValueTask<byte[]>> handle)
    {
        try
        {
            await seal.OpenAsync(type, id, envelope, CancellationToken.None);
        }
        catch (TokenRejectedException error)
        {
            LogForeign(type, id, error.Message);
            return JsonSerializer.SerializeToElement(
                new ActorAnswer(null, new Refusal(RefusalCodes.TokenRejected, "Only the approval service speaks to its workflows."), false, clock.GetUtcNow()), WorkflowJson.Options);
        }

        return JsonSerializer.Deserialize<JsonElement>(await handle(envelope!.Message));
    }

    /// <summary>Sends the empty message a little later, in a turn of its own. Where the process ends before, the next command or reminder does the same.</summary>
    public void TidyLater(string type, string id) => _ = Task.Run(async () =>
    {
        try
        {
            await Task.Delay(TidyAfter);
            await workflows.SendAsync(type, id, ReadOnlyMemory<byte>.Empty, CancellationToken.None);
        }
        catch (Exception error) when (error is PortUnavailableException or ObjectDisposedException)
        {
            LogLeft(type, id, error.GetType().Name);
        }
    });

    [LoggerMessage(2541, LogLevel.Error, "A message to {Type} {Id} did not come from approval and was refused: {Reason}")]
    private partial void LogForeign(string type, string id, string reason);

    [LoggerMessage(2542, LogLevel.Information, "What is left to do in {Type} {Id} waits for its next turn: {Reason}")]
    private partial void LogLeft(string type, string id, string reason);
}

/// <summary>Hosts a <see cref="RequestShell"/>: document with ETag in the sidecar's state, wake-up as reminder that repeats until it is cancelled.</summary>
internal sealed class RequestActor : Actor, IWorkflowActor, IRemindable, IRunnerHost<RequestDocument>
{
    private const string Deadline = "deadline";
    private static readonly TimeSpan Again = TimeSpan.FromMinutes(1);
    private static readonly JsonElement Elsewhere = JsonSerializer.SerializeToElement<object?>(null);
    private readonly IDocumentStore _store;
    private readonly RequestIndex _index;
    private readonly RequestMirror _mirror;
    private readonly ActorDesk _desk;
    private readonly TimeProvider _clock;
    private readonly RequestShell _shell;
    private bool _leaving;

    public RequestActor(
        ActorHost host, [FromKeyedServices(AppIds.Approval)] IDocumentStore store, RequestParts parts, RequestIndex index, RequestMirror mirror, ActorDesk desk)
        : base(host)
    {
        (_store, _index, _mirror, _desk, _clock) = (store, index, mirror, desk, parts.Clock);
        _shell = new RequestShell(Id.GetId(), this, parts with { Effects = mirror.Before(parts.Effects) });
    }

    private string Name => Id.GetId();

    public async Task<JsonElement> HandleAsync(ActorEnvelope envelope)
    {
        try
        {
            _leaving = false;
            var answer = await _desk.HandleAsync(DaprWorkflowHost.Request, Name, envelope, message => _shell.HandleAsync(message, CancellationToken.None));
            return _leaving ? Elsewhere : answer;
        }
        finally
        {
            if (_shell.Untidy && envelope?.Message is { Length: > 0 })
            {
                _desk.TidyLater(WorkflowTypes.Request, Name);
            }
        }
    }

    // Throws where it could not be done; the reminder comes again after its period. It needs no seal: a wake-up too many does nothing.
    public async Task ReceiveReminderAsync(string reminderName, byte[] state, TimeSpan dueTime, TimeSpan period) => await _shell.WakeAsync(CancellationToken.None);

    public ValueTask<Stored<RequestDocument>?> LoadAsync(CancellationToken cancellation) => _store.LoadAsync<RequestDocument>(Collections.Requests, Name, cancellation);

    public async ValueTask<bool> SaveAsync(RequestDocument document, string? etag, CancellationToken cancellation)
    {
        var saved = await _store.SaveAsync(Collections.Requests, Name, document, etag, cancellation);
        if (saved)
        {
            _index.Update(document);
            await _mirror.TryWriteAsync(document);
        }

        return saved;
    }

    public async ValueTask WakeAtAsync(DateTimeOffset when, CancellationToken cancellation)
    {
        var due = when - _clock.GetUtcNow();
        try
        {
            await RegisterReminderAsync(Deadline, null, due > TimeSpan.Zero ? due : TimeSpan.Zero, Again);
        }
        catch (Exception error) when (error is not (PortUnavailableException or OperationCanceledException))
        {
            // Whatever the sidecar says: without a wake-up nothing may be saved. It refuses with 403 when it has let go of the type's actors, which it
            // does for an app that is stopping; the SDK makes an exception of its own of that status.
            _leaving = error is System.Security.Authentication.AuthenticationException;
            throw new PortUnavailableException("a wake-up can't be kept", error);
        }
    }

    public async ValueTask CancelWakeAsync(CancellationToken cancellation)
    {
        try
        {
            await UnregisterReminderAsync(Deadline);
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            throw new PortUnavailableException("a wake-up can't be cancelled", error);
        }
    }
}

/// <summary>Hosts a <see cref="RequesterShell"/>. It has no deadline and so no wake-up; what a crash left undone is done before the person's next request.</summary>
internal sealed class RequesterActor : Actor, IWorkflowActor, IRunnerHost<RequesterDocument>
{
    private readonly IDocumentStore _store;
    private readonly ActorDesk _desk;
    private readonly RequesterShell _shell;

    public RequesterActor(
        ActorHost host, [FromKeyedServices(AppIds.Approval)] IDocumentStore store, RequestParts parts, RequesterLimits limits, ActorDesk desk)
        : base(host)
    {
        (_store, _desk) = (store, desk);
        _shell = new RequesterShell(Id.GetId(), this, parts, limits);
    }

    private string Name => Id.GetId();

    public async Task<JsonElement> HandleAsync(ActorEnvelope envelope)
    {
        try
        {
            return await _desk.HandleAsync(DaprWorkflowHost.Requester, Name, envelope, message => _shell.HandleAsync(message, CancellationToken.None));
        }
        finally
        {
            if (_shell.Untidy && envelope?.Message is { Length: > 0 })
            {
                _desk.TidyLater(WorkflowTypes.Requester, Name);
            }
        }
    }

    public ValueTask<Stored<RequesterDocument>?> LoadAsync(CancellationToken cancellation) => _store.LoadAsync<RequesterDocument>(Collections.Requesters, Name, cancellation);

    public ValueTask<bool> SaveAsync(RequesterDocument document, string? etag, CancellationToken cancellation) =>
        _store.SaveAsync(Collections.Requesters, Name, document, etag, cancellation);

    public ValueTask WakeAtAsync(DateTimeOffset when, CancellationToken cancellation) => ValueTask.CompletedTask;

    public ValueTask CancelWakeAsync(CancellationToken cancellation) => ValueTask.CompletedTask;
}
