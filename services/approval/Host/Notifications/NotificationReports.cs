using Countersign.Approval.Notify;
using Countersign.Platform.Ports;
using Countersign.Recorder.Contracts;

namespace Countersign.Approval.Host.Notifications;

/// <summary>Says in the audit which notifications nobody got.</summary>
internal sealed partial class NotificationReports(IEventBus bus, TimeProvider clock, ILogger<NotificationReports> logger) : INotificationReports
{
    public ValueTask DeadAsync(QueuedNotification message, string error) =>
        ReportAsync("notification.dead", message.Notification.Request, "", "", success: false, Details(message.Target, message.Notification.Event, error));

    public ValueTask DroppedAsync(string target, Notification notification, string reason) =>
        ReportAsync("notification.dropped", notification.Request, "", "", success: false, Details(target, notification.Event, reason));

    /// <summary>Somebody had a dead letter sent again.</summary>
    public ValueTask RetriedAsync(QueuedNotification message, string person, string name) =>
        ReportAsync("notification.retried", message.Notification.Request, person, name, success: true, Details(message.Target, message.Notification.Event, ""));

    private static Dictionary<string, string> Details(string target, string name, string error) => new() { ["target"] = target, ["event"] = name, ["error"] = error };

    private async ValueTask ReportAsync(string action, string request, string person, string name, bool success, Dictionary<string, string> details)
    {
        var audit = new AuditEvent
        {
            Id = $"approval-notification-{Guid.NewGuid():N}",
            Service = AppIds.Approval,
            Action = action,
            At = clock.GetUtcNow(),
            Person = person,
            Name = name,
            Subject = request,
            Success = success,
            Details = details,
        };
        try
        {
            await bus.PublishAsync(Topics.Audit, audit.Id, OcsfEvents.EventType, OcsfEvents.Write(audit), CancellationToken.None);
        }
        catch (PortUnavailableException error)
        {
            LogNotPublished(error, action, request);
        }
    }

    [LoggerMessage(2551, LogLevel.Warning, "The audit event {Action} about {Request} could not be published")]
    private partial void LogNotPublished(Exception error, string action, string request);
}
