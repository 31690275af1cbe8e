using Countersign.Approval.Contracts;
using Countersign.Approval.Notify;
using Countersign.Approval.Workflow;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host.Notifications;

/// <summary>Dead letters of notifications, for enrolled persons.</summary>
internal sealed class NotificationDesk(NotificationOutbox outbox, NotificationReports reports, RequestEvents events, Directory directory,
    NotificationMetrics metrics)
{
    private const int MaxListed = 1_000;

    public async Task<DeadNotifications> ListAsync(Caller caller, CancellationToken cancellation)
    {
        await CheckAsync(caller, "", cancellation);
        var dead = await outbox.DeadAsync(cancellation);
        return new DeadNotifications(
            [
                .. dead.Take(MaxListed).Select(each => new DeadNotification(
                    each.Id, each.Target, each.Notification.Event, each.Notification.Request, each.Attempts, each.CreatedAt, each.DiedAt ?? each.NextAt, each.Error ?? "")),
            ],
            dead.Count);
    }

    public async Task<IResult> RetryAsync(Caller caller, string id, CancellationToken cancellation)
    {
        await CheckAsync(caller, id, cancellation);
        if (id.Length > StateKeys.MaxKeyLength || id.Contains('\0', StringComparison.Ordinal) || await outbox.RetryAsync(id, cancellation) is not { } message)
        {
            throw new ProblemException(StatusCodes.Status404NotFound, "unknown-notification", "There is no such dead letter.");
        }

        metrics.Became(message.Target, "retried");
        await reports.RetriedAsync(message, caller.Person!.Person, caller.Person.Name);
        return Results.Accepted();
    }

    private async Task CheckAsync(Caller caller, string id, CancellationToken cancellation)
    {
        var person = caller.Person!;
        if (await directory.StandingAsync(person.Person, cancellation) is not { Enrolled: true, Disabled: false })
        {
            await events.RefusedAsync("notification.access-refused", person.Person, person.Name, id.Length <= 200 ? id : "", RefusalCodes.NotEnrolled);
            throw new RefusalException(new Refusal(RefusalCodes.NotEnrolled, "Only enrolled persons see dead letters."));
        }
    }
}
