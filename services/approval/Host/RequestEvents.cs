using System.Text.Json;
using Countersign.Approval.Actors;
using Countersign.Approval.Contracts;
using Countersign.Approval.Host.Notifications;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Countersign.Recorder.Contracts;

namespace Countersign.Approval.Host;

/// <summary>Tells the others: what happened, and what was refused; both from an outbox.</summary>
internal sealed partial class RequestEvents(
    IEventBus bus, RefusalOutbox refusals, RequestNotifier notifier, ApprovalMetrics metrics, TimeProvider clock, ILogger<RequestEvents> logger)
    : IEffects<RequestDocument, RequestEffect>, IRefusalReports
{
    internal const string Changed = "countersign.request.changed";
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private static readonly Dictionary<string, string> HighSeverity = new() { ["severity"] = "high" };

    public async ValueTask<bool> RunAsync(RequestDocument document, IReadOnlyList<RequestEffect> effects, CancellationToken cancellation)
    {
        try
        {
            foreach (var effect in effects)
            {
                var id = $"{document.Spec.Id}:{effect.Version}";
                await PublishAsync(
                    Topics.Approvals, id, Changed, new RequestChanged(id, document.Spec.Id, effect.Version, RequestViews.State(effect.State)), cancellation);
                await bus.PublishAsync(Topics.Audit, id, OcsfEvents.EventType, OcsfEvents.Write(Event(document.Spec, effect, id)), cancellation);
                await notifier.EnqueueAsync(document, effect, cancellation);
            }

            // Once each: what could not be told is told, and counted, again.
            foreach (var effect in effects)
            {
                metrics.Happened(document, effect);
            }

            return true;
        }
        catch (PortUnavailableException error)
        {
            LogNotPublished(error, document.Spec.Id);
            return false;
        }
    }

    /// <summary>Reports an attempt that was refused. It stays refused where that can't be reported.</summary>
    /// <param name="action">What was tried.</param>
    /// <param name="person">Who tried it; empty where nobody knows.</param>
    /// <param name="name">Their name.</param>
    /// <param name="subject">At what.</param>
    /// <param name="code">Why it was refused.</param>
    /// <param name="details">More, without secrets.</param>
    /// <param name="source">Address that it came from, where nobody knows who it was.</param>
    public async ValueTask RefusedAsync(
        string action, string person, string name, string subject, string code, IReadOnlyDictionary<string, string>? details = null, string? source = null)
    {
        metrics.Refused(action, code);
        var refused = new AuditEvent
        {
            Id = $"approval-refused-{Guid.NewGuid():N}",
            Service = AppIds.Approval,
            Action = action,
            At = clock.GetUtcNow(),
            Person = person,
            Name = name,
            Subject = subject,
            Success = false,
            Details = new Dictionary<string, string>(details ?? new Dictionary<string, string>()) { ["code"] = code },
        };
        await refusals.AddAsync(refused, person.Length > 0 ? person : source ?? details?.GetValueOrDefault("caller") ?? "unknown");
    }

    /// <inheritdoc/>
    public ValueTask ReportAsync(string action, RequestDocument document, Refusal refusal) =>
        RefusedAsync(action, document.Spec.Requester.Person, document.Spec.Requester.Name, document.Spec.Id, refusal.Code);

    /// <inheritdoc/>
    public ValueTask ForeignDocumentAsync(string workflow)
    {
        LogForeign(workflow);
        return RefusedAsync("request.document-refused", "", "", workflow, "not-sealed", HighSeverity, source: "state store");
    }

    /// <summary>What somebody must look at soon is of high severity.</summary>
    private static string Severity(string action) => action is "request.break-glass" or "request.review-overdue" ? "high" : "informational";

    private static AuditEvent Event(RequestSpec spec, RequestEffect effect, string id) => new()
    {
        Id = id,
        Service = AppIds.Approval,
        Action = effect.Action,
        At = effect.At,
        Person = effect.Person,
        Name = effect.Name,
        Subject = spec.Id,
        Details = new Dictionary<string, string>
        {
            ["kind"] = JsonNamingPolicy.SnakeCaseLower.ConvertName(spec.Kind.ToString()),
            ["state"] = JsonNamingPolicy.CamelCase.ConvertName(effect.State.ToString()),
            ["requester"] = spec.Requester.Person,
            ["connection"] = spec.Connection,
            ["digest"] = spec.Digest,
            ["rules"] = string.Join(", ", spec.Rules),
            ["comment"] = effect.Comment,
            ["severity"] = Severity(effect.Action),
        },
    };

    private async ValueTask PublishAsync<T>(string topic, string id, string type, T data, CancellationToken cancellation) =>
        await bus.PublishAsync(topic, id, type, JsonSerializer.SerializeToUtf8Bytes(data, Json), cancellation);

    [LoggerMessage(2521, LogLevel.Warning, "Events about {Request} could not be published")]
    private partial void LogNotPublished(Exception error, string request);

    [LoggerMessage(2522, LogLevel.Critical, "What the state store has of {Workflow} was not written by approval; nothing is done with it. Somebody else can write the store")]
    private partial void LogForeign(string workflow);
}
