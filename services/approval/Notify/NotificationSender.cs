using System.Security.Cryptography;
using System.Text;
using Countersign.Platform.Ports;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Notify;

/// <summary>Sends what waits: targets beside one another, the messages of one in turn, and a target that fails is left alone for the round.</summary>
public sealed partial class NotificationSender(
    NotificationOutbox outbox, IEnumerable<INotificationTarget> targets, RetrySchedule schedule, INotificationReports reports, TimeProvider clock,
    ILogger<NotificationSender> logger) : BackgroundService
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Sweep = TimeSpan.FromHours(1);
    private readonly Dictionary<string, INotificationTarget> _targets = targets.ToDictionary(target => target.Name, StringComparer.Ordinal);

    /// <summary>One round over all that is due.</summary>
    public async Task RoundAsync(CancellationToken cancellation)
    {
        var due = await outbox.DueAsync(cancellation);
        await Task.WhenAll(due.GroupBy(message => message.Target, StringComparer.Ordinal).Select(group => SendAllAsync(group.Key, group, cancellation)));
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var swept = DateTimeOffset.MinValue;
        try
        {
            while (true)
            {
                try
                {
                    await RoundAsync(stoppingToken);
                    if (clock.GetUtcNow() - swept > Sweep)
                    {
                        swept = clock.GetUtcNow();
                        if (await outbox.SweepAsync(stoppingToken) is > 0 and var forgotten)
                        {
                            LogForgotten(forgotten);
                        }
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
        }
    }

    private async Task SendAllAsync(string name, IEnumerable<QueuedNotification> messages, CancellationToken cancellation)
    {
        foreach (var message in messages)
        {
            if (await outbox.LeaseAsync(message.Id, cancellation) is { } leased && !await SendAsync(name, leased, cancellation))
            {
                return;
            }
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

        if (delivery.Error is not { } reason)
        {
            foreach (var recipient in delivery.Recipients)
            {
                // The id names the recipient without being an address: it stands in logs and lists.
                var id = $"{message.Id}:{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(recipient)))[..16]}";
                if (!await outbox.EnqueueAsync(id, message.Target, recipient, message.Notification, cancellation))
                {
                    await reports.DroppedAsync(message.Target, message.Notification);
                }
            }

            await outbox.DoneAsync(message, cancellation);
            return true;
        }

        var next = delivery.Final
            ? null
            : schedule.Next(message.Attempts + 1, message.CreatedAt, clock.GetUtcNow(), delivery.RetryAfter, RandomNumberGenerator.GetInt32(1 << 20) / (double)(1 << 20));
        if (next is { } at)
        {
            LogAgain(message.Id, message.Attempts + 1, reason);
            await outbox.AgainAsync(message, at, reason, cancellation);
        }
        else if (await outbox.BuryAsync(message, reason, cancellation))
        {
            LogDead(message.Id, reason);
            await reports.DeadAsync(message, reason);
        }

        return delivery.Final;
    }

    [LoggerMessage(2561, LogLevel.Warning, "Notification {Id} could not be sent in attempt {Attempt}: {Reason}; it is tried again")]
    private partial void LogAgain(string id, int attempt, string reason);

    [LoggerMessage(2562, LogLevel.Error, "Notification {Id} was given up: {Reason}; it is kept as a dead letter")]
    private partial void LogDead(string id, string reason);

    [LoggerMessage(2563, LogLevel.Warning, "Notifications can't be sent now; they wait")]
    private partial void LogNotNow(Exception error);

    [LoggerMessage(2564, LogLevel.Warning, "{Count} old dead letters of notifications were forgotten: there are too many")]
    private partial void LogForgotten(int count);
}
