using Countersign.Approval.Notify;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host.Notifications;

/// <summary>Composition of what reaches approvers.</summary>
internal static class NotifyComposition
{
    public static void AddNotifications(this IServiceCollection services, NotifyOptions options)
    {
        services.AddSingleton<IApproverAddresses, ApproverAddresses>();
        services.AddSingleton<NotificationReports>();
        services.AddSingleton<INotificationReports>(provider => provider.GetRequiredService<NotificationReports>());
        services.AddSingleton(new RetrySchedule(TimeSpan.FromHours(Math.Clamp(options.GiveUpHours, 1, 72))));
        services.AddSingleton(provider => new NotificationOutbox(
            provider.GetRequiredKeyedService<IStateStore>(AppIds.Approval), provider.GetRequiredService<TimeProvider>(), Math.Clamp(options.MaxMessages, 10, 100_000),
            TimeSpan.FromSeconds(Math.Clamp(options.LeaseSeconds, 30, 600))));
        services.AddSingleton(provider => new NotificationMetrics(
            provider.GetRequiredService<System.Diagnostics.Metrics.IMeterFactory>(), provider.GetServices<INotificationTarget>().Select(target => target.Name)));
        foreach (var webhook in options.Webhooks)
        {
            services.AddSingleton<INotificationTarget>(provider => new WebhookTarget(webhook, provider.GetRequiredService<TimeProvider>()));
        }

        if (options.Mail.Host.Length > 0)
        {
            services.AddSingleton<INotificationTarget>(provider =>
                new MailTarget(options.Mail, provider.GetRequiredService<IApproverAddresses>(), provider.GetRequiredService<TimeProvider>()));
        }

        services.AddSingleton<RequestNotifier>();
        services.AddSingleton<NotificationDesk>();
        services.AddSingleton<NotificationSender>();
        services.AddHostedService(provider => provider.GetRequiredService<NotificationSender>());
        services.AddSingleton<RequestStream>();
        services.AddSingleton(provider => new BusSubscription(
            AppIds.Approval, Topics.Approvals, (changed, cancellation) => provider.GetRequiredService<RequestStream>().OnChangedAsync(changed, cancellation))
        {
            EveryInstance = true,
        });
    }
}
