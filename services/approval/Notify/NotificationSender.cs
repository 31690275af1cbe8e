using System.Security.Cryptography;
using System.Text;
using Countersign.Platform.Ports;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Notify;

/// <summary>
/// Sends what waits: each target at its own pace, the messages of one in turn, and a target that fails is left alone until the next look. A target that
/// hangs or is slow holds up no other one.
/// </summary>
public sealed partial class NotificationSender(
    NotificationOutbox outbox, IEnumerable<INotificationTarget> targets, RetrySchedule schedule, INotificationReports reports, NotificationMetrics metrics,
    TimeProvider clock, ILogger<NotificationSender> logger) : BackgroundService
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Sweep = TimeSpan.FromHours(1);
    private static readonly TimeSpan Count = TimeSpan.FromMinutes(1);
    private readonly Dictionary<string, INotificationTarget> _targets = targets.ToDictionary(target => target.Name, StringComparer.Ordinal);
    private readonly Dictionary<string, Task> _sending = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var (swept, counted) = (DateTimeOffset.MinValue, DateTimeOffset.MinValue);
        try
        {
            while (true)
            {
                try
                {
                    await LookAsync(stoppingToken);
                    if (clock.GetUtcNow() - swept > Sweep)
                    {
                        swept = clock.GetUtcNow();
                        if (await outbox.SweepAsync(stoppingToken) is > 0 and var forgotten)
                        {
                            LogForgotten(forgotten);
                        }
                    }

                    if (clock.GetUtcNow() - counted > Count)
                    {
                        counted = clock.GetUtcNow();
                        metrics.Keeps((await outbox.DeadAsync(stoppingToken)).Count);
                    }
                }
                catch (PortUnavailableException error)
                {
                    LogNotNow(error);
                }

                await outbox.WaitAsync(Pause, stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // What was being sent is sent again after its lease, with the same id.
            await Task.WhenAll(_sending.Values);
        }
    }

    // Begins to send what is due for targets that are idle; the others look again when they are.
    private async Task LookAsync(CancellationToken cancellation)
    {
        var due = await outbox.DueAsync(cancellation);
        metrics.Waits(outbox.Backlog);
        foreach (var group in due.GroupBy(message => message.Target, StringComparer.Ordinal))
        {
            if (!_sending.TryGetValue(group.Key, out var running) || running.IsCompleted)
            {
                // Of its own thread from the beginning: a store that answers at once would else send all of it here.
                _sending[group.Key] = Task.Run(() => SendAllAsync(group.Key, [.. group], cancellation), CancellationToken.None);
            }
        }
    }

    private async Task SendAllAsync(string name, IReadOnlyList<QueuedNotification> messages, CancellationToken cancellation)
    {
        try
        {
            foreach (var message in messages)
            {
                if (await outbox.LeaseAsync(message.Id, cancellation) is { } leased && !await SendAsync(name, leased, cancellation))
                {
                    return;
                }
            }

            // More may have come meanwhile.
            outbox.Wake();
        }
        catch (PortUnavailableException error)
        {
            LogNotNow(error);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            // The process stops.
        }
    }

    private async Task<bool> SendAsync(string name, QueuedNotification message, CancellationToken cancellation)
    {
        Delivery delivery;
        try
        {
            delivery = _targets.TryGetValue(name, out var target)
                ? await target.DeliverAsync(message, cancellation)
                : new Delivery("no such target") { Final = true };
        }
        catch (PortUnavailableException error)
        {
            delivery = new Delivery(error.Message);
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            // A defect in one target or a message that it can't stand must end neither the others nor this one's next attempt.
            LogDefect(error, message.Id);
            delivery = new Delivery("an error of its own");
        }

        if (delivery.Error is not { } reason)
        {
            await SpreadAsync(message, delivery.Recipients ?? [], delivery.LeftOut, cancellation);
            await outbox.DoneAsync(message, cancellation);
            if (delivery.Recipients is null or [])
            {
                metrics.Became(name, delivery.Recipients is null ? "sent" : "nobody");
            }

            return true;
        }

        var next = delivery.Final
            ? null
            : schedule.Next(message.Attempts + 1, message.CreatedAt, clock.GetUtcNow(), delivery.RetryAfter, RandomNumberGenerator.GetInt32(1 << 20) / (double)(1 << 20));
        if (next is { } at)
        {
            LogAgain(message.Id, message.Attempts + 1, reason);
            await outbox.AgainAsync(message, at, reason, cancellation);
            metrics.Became(name, "again");
        }
        else if (await outbox.BuryAsync(message, reason, cancellation))
        {
            LogDead(message.Id, reason);
            metrics.Became(name, "dead");
            await reports.DeadAsync(message, reason);
        }

        return delivery.Final;
    }

    // One message for each recipient: one that can't be reached holds up no other, and nobody learns who else was told.
    private async Task SpreadAsync(QueuedNotification message, IReadOnlyList<string> recipients, int leftOut, CancellationToken cancellation)
    {
        foreach (var recipient in recipients)
        {
            // The id names the recipient without being an address: it stands in logs and lists.
            var id = $"{message.Id}:{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(recipient)))[..16]}";
            if (!await outbox.EnqueueAsync(id, message.Target, recipient, message.Notification, cancellation))
            {
                metrics.Became(message.Target, "dropped");
                await reports.DroppedAsync(message.Target, message.Notification, "too many wait");
            }
        }

        if (leftOut > 0)
        {
            metrics.Became(message.Target, "dropped", leftOut);
            await reports.DroppedAsync(message.Target, message.Notification, $"{leftOut} recipients beyond {recipients.Count}");
        }
    }

    [LoggerMessage(2561, LogLevel.Warning, "Notification {Id} could not be sent in attempt {Attempt}: {Reason}; it is tried again")]
    private partial void LogAgain(string id, int attempt, string reason);

    [LoggerMessage(2562, LogLevel.Error, "Notification {Id} was given up: {Reason}; it is kept as a dead letter")]
    private partial void LogDead(string id, string reason);

    [LoggerMessage(2563, LogLevel.Warning, "Notifications can't be sent now; they wait")]
    private partial void LogNotNow(Exception error);

    [LoggerMessage(2564, LogLevel.Warning, "{Count} old dead letters of notifications were forgotten: there are too many")]
    private partial void LogForgotten(int count);

    [LoggerMessage(2565, LogLevel.Error, "Notification {Id} met a defect")]
    private partial void LogDefect(Exception error, string id);
}
