using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;

namespace Countersign.Approval.Actors;

/// <summary>The one envelope method of all workflows.</summary>
[Alias("countersign.approval.workflow")]
public interface IWorkflowGrain : IGrainWithStringKey
{
    /// <summary>Handles one message; the empty one only wakes it.</summary>
    [Alias("handle")]
    Task<byte[]> HandleAsync(byte[] message);
}

/// <summary>One request.</summary>
[Alias("countersign.approval.request")]
public interface IRequestGrain : IWorkflowGrain;

/// <summary>One requester.</summary>
[Alias("countersign.approval.requester")]
public interface IRequesterGrain : IWorkflowGrain;

/// <summary>Hosts a <see cref="RequestShell"/>: document in the state store, wake-up as reminder.</summary>
[GrainType("approval-request")]
internal sealed class RequestGrain(
    [FromKeyedServices(AppIds.Approval)] IStateStore store, RequestParts parts, RequestIndex index) : Grain, IRequestGrain, IRemindable, IRunnerHost<RequestDocument>
{
    private const string Deadline = "deadline";
    private static readonly TimeSpan Again = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan TidyAfter = TimeSpan.FromSeconds(1);
    private RequestShell? _shell;
    private IGrainTimer? _tidy;

    private string Id => this.GetPrimaryKeyString();

    private RequestShell Shell => _shell ??= new RequestShell(Id, this, parts);

    public async Task<byte[]> HandleAsync(byte[] message)
    {
        try
        {
            return await Shell.HandleAsync(message, CancellationToken.None);
        }
        finally
        {
            if (Shell.Untidy)
            {
                _tidy ??= this.RegisterGrainTimer(TidyAsync, new GrainTimerCreationOptions(TidyAfter, TidyAfter));
            }
        }
    }

    // Throws where it could not be done; Orleans calls again after the period.
    public async Task ReceiveReminder(string reminderName, TickStatus status) => await Shell.WakeAsync(CancellationToken.None);

    public ValueTask<Stored<RequestDocument>?> LoadAsync(CancellationToken cancellation) =>
        store.LoadAsync<RequestDocument>(Collections.Requests, Id, cancellation);

    public async ValueTask<bool> SaveAsync(RequestDocument document, string? etag, CancellationToken cancellation)
    {
        var saved = await store.SaveAsync(Collections.Requests, Id, document, etag, cancellation);
        if (saved)
        {
            index.Update(document);
        }

        return saved;
    }

    public async ValueTask WakeAtAsync(DateTimeOffset when, CancellationToken cancellation)
    {
        var due = when - parts.Clock.GetUtcNow();
        try
        {
            await this.RegisterOrUpdateReminder(Deadline, due > TimeSpan.Zero ? due : TimeSpan.Zero, Again, cancellation);
        }
        catch (Exception error) when (error is not (PortUnavailableException or OperationCanceledException))
        {
            // Whatever the reminder service says: without a wake-up nothing may be saved.
            throw new PortUnavailableException("a wake-up can't be kept", error);
        }
    }

    public async ValueTask CancelWakeAsync(CancellationToken cancellation)
    {
        if (await this.GetReminder(Deadline, cancellation) is { } reminder)
        {
            await this.UnregisterReminder(reminder, cancellation);
        }
    }

    private async Task TidyAsync(CancellationToken cancellation)
    {
        await Shell.TidyAsync(cancellation);
        if (!Shell.Untidy)
        {
            _tidy?.Dispose();
            _tidy = null;
            // It has no state of its own and may wait for hours: only its summary and its wake-up stay in memory.
            this.DeactivateOnIdle();
        }
    }
}

/// <summary>Hosts a <see cref="RequesterShell"/>. It has no deadline and so no wake-up; what a crash left is found at start.</summary>
[GrainType("approval-requester")]
internal sealed class RequesterGrain(
    [FromKeyedServices(AppIds.Approval)] IStateStore store, RequestParts parts, RequesterLimits limits)
    : Grain, IRequesterGrain, IRunnerHost<RequesterDocument>
{
    private static readonly TimeSpan TidyAfter = TimeSpan.FromSeconds(1);
    private RequesterShell? _shell;
    private IGrainTimer? _tidy;

    private string Id => this.GetPrimaryKeyString();

    private RequesterShell Shell => _shell ??= new RequesterShell(Id, this, parts, limits);

    public async Task<byte[]> HandleAsync(byte[] message)
    {
        try
        {
            return await Shell.HandleAsync(message, CancellationToken.None);
        }
        finally
        {
            if (Shell.Untidy)
            {
                _tidy ??= this.RegisterGrainTimer(TidyAsync, new GrainTimerCreationOptions(TidyAfter, TidyAfter));
            }
        }
    }

    public ValueTask<Stored<RequesterDocument>?> LoadAsync(CancellationToken cancellation) =>
        store.LoadAsync<RequesterDocument>(Collections.Requesters, Id, cancellation);

    public ValueTask<bool> SaveAsync(RequesterDocument document, string? etag, CancellationToken cancellation) =>
        store.SaveAsync(Collections.Requesters, Id, document, etag, cancellation);

    public ValueTask WakeAtAsync(DateTimeOffset when, CancellationToken cancellation) => ValueTask.CompletedTask;

    public ValueTask CancelWakeAsync(CancellationToken cancellation) => ValueTask.CompletedTask;

    private async Task TidyAsync(CancellationToken cancellation)
    {
        await Shell.TidyAsync(cancellation);
        if (!Shell.Untidy)
        {
            _tidy?.Dispose();
            _tidy = null;
            this.DeactivateOnIdle();
        }
    }
}
