using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Policy.Contracts;
using Countersign.Recorder.Contracts;

namespace Countersign.Policy.Host;

/// <summary>Tells the others what happened. Ids are stable: who tells again tells the same.</summary>
internal sealed class AuditTrail(IEventBus bus, PolicyMetrics metrics)
{
    private const string Bundle = "countersign.bundle";
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    public async ValueTask RequestedAsync(ChangeDocument change, CancellationToken cancellation)
    {
        await PublishAsync("bundle.change-requested", change, change.CreatedAt, success: true, cancellation);
        metrics.Changed("requested");
    }

    public async ValueTask EndedAsync(ChangeDocument change, CancellationToken cancellation)
    {
        if (change.State == ChangeStates.Active)
        {
            var data = JsonSerializer.SerializeToUtf8Bytes(new BundleChanged(change.Version), Json);
            await bus.PublishAsync(Topics.Policy, $"bundle:{change.Version}:{change.Digest}", Bundle, data, cancellation);
            await PublishAsync("bundle.activated", change, change.EndedAt ?? change.CreatedAt, success: true, cancellation);
        }
        else
        {
            await PublishAsync($"bundle.change-{change.State}", change, change.EndedAt ?? change.CreatedAt, success: false, cancellation);
        }

        metrics.Changed(change.State);
    }

    /// <summary>A change that was not even asked for, because it can't be.</summary>
    public ValueTask RejectedAsync(string person, string name, string code, DateTimeOffset at, CancellationToken cancellation)
    {
        metrics.Changed("rejected");
        return PublishAsync(
            new AuditEvent
            {
                Id = $"policy-rejected-{Guid.NewGuid():N}",
                Service = AppIds.Policy,
                Action = "bundle.change-rejected",
                At = at,
                Person = person,
                Name = name,
                Success = false,
                Details = new Dictionary<string, string> { ["code"] = code },
            },
            cancellation);
    }

    private ValueTask PublishAsync(string action, ChangeDocument change, DateTimeOffset at, bool success, CancellationToken cancellation) => PublishAsync(
        new AuditEvent
        {
            Id = $"{action}:{change.RequestId}",
            Service = AppIds.Policy,
            Action = action,
            At = at,
            Person = change.Person,
            Name = change.Name,
            Subject = change.RequestId,
            Success = success,
            Details = new Dictionary<string, string>
            {
                ["version"] = change.Version.ToString(System.Globalization.CultureInfo.InvariantCulture),
                ["digest"] = change.Digest,
                ["reason"] = change.Reason,
                ["approvers"] = change.Approvers,
                ["removal"] = change.Removal is null ? "false" : "true",
                ["problem"] = change.Problem,
            },
        },
        cancellation);

    private ValueTask PublishAsync(AuditEvent happened, CancellationToken cancellation) =>
        bus.PublishAsync(Topics.Audit, happened.Id, OcsfEvents.EventType, OcsfEvents.Write(happened), cancellation);
}
