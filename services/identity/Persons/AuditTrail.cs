using Countersign.Platform.Ports;
using Countersign.Recorder.Contracts;

namespace Countersign.Identity.Persons;

/// <summary>
/// Identity's audit events. Each is stored before it is published and deleted after, so that a crash or a broker that is away loses none;
/// <see cref="FlushAsync"/> publishes what was left over, with the same id.
/// </summary>
public sealed class AuditTrail(IStateStore store, IEventBus bus, IdentityMetrics metrics, TimeProvider time)
{
    private readonly Documents<AuditEvent> _outbox = new(store, "audit-outbox");

    /// <summary>Records that something happened or was refused.</summary>
    /// <param name="action">What, e.g. <c>person.enrolled</c>.</param>
    /// <param name="person">Person id of who did it, empty for the system.</param>
    /// <param name="name">Their name.</param>
    /// <param name="subject">What it was done to.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <param name="success">False for a refused attempt.</param>
    /// <param name="details">More, without secrets.</param>
    public async ValueTask RecordAsync(
        string action, string person, string name, string subject, CancellationToken cancellation, bool success = true,
        IReadOnlyDictionary<string, string>? details = null)
    {
        var audit = new AuditEvent
        {
            Id = Ids.Random("aud_"),
            Service = AppIds.Identity,
            Action = action,
            At = time.GetUtcNow(),
            Person = person,
            Name = name,
            Subject = subject,
            Success = success,
            Details = details ?? new Dictionary<string, string>(),
        };
        await _outbox.TryAddAsync(audit.Id, audit, cancellation);
        metrics.Audited(action, success);
        await TryPublishAsync(audit, cancellation);
    }

    /// <summary>Publishes what could not be published before.</summary>
    public async ValueTask FlushAsync(CancellationToken cancellation)
    {
        await foreach (var (_, audit) in _outbox.ListAsync(cancellation))
        {
            if (!await TryPublishAsync(audit, cancellation))
            {
                return;
            }
        }
    }

    private async ValueTask<bool> TryPublishAsync(AuditEvent audit, CancellationToken cancellation)
    {
        try
        {
            await bus.PublishAsync(Topics.Audit, audit.Id, OcsfEvents.EventType, OcsfEvents.Write(audit), cancellation);
        }
        catch (PortUnavailableException)
        {
            return false;
        }

        await _outbox.DeleteAsync(audit.Id, cancellation);
        return true;
    }
}
