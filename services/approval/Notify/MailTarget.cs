using System.Net.Sockets;
using MailKit;
using MailKit.Net.Smtp;
using MailKit.Security;
using MimeKit;

namespace Countersign.Approval.Notify;

/// <summary>Mails approvers of the groups that a request asks, each by a message of their own.</summary>
public sealed class MailTarget(MailOptions options, IApproverAddresses approvers, TimeProvider clock) : INotificationTarget
{
    /// <summary>Its name.</summary>
    public const string TargetName = "mail";

    private const int MaxRecipients = 200;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    private readonly TargetFilter _filter = new(options.Events, options.Groups);

    /// <inheritdoc/>
    public string Name => TargetName;

    /// <inheritdoc/>
    public bool Wants(string name, IReadOnlyCollection<string> groups) => _filter.Wants(name, groups);

    /// <inheritdoc/>
    public async ValueTask<Delivery> DeliverAsync(QueuedNotification message, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (message.Recipient is not { } recipient)
        {
            var groups = message.Notification.Needs.SelectMany(each => each.AnyOf).Distinct(StringComparer.Ordinal).ToList();
            var addresses = (await approvers.OfAsync(groups, message.Notification.Requester, cancellation))
                .Where(NotifyOptionsCheck.IsMailAddress).Distinct(StringComparer.OrdinalIgnoreCase).ToList();
            return addresses.Count <= MaxRecipients
                ? Delivery.Done with { Recipients = addresses }
                : new Delivery($"more than {MaxRecipients} recipients") { Final = true };
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Patience);
        try
        {
            using var client = new SmtpClient { Timeout = (int)Patience.TotalMilliseconds };
            // StartTls, not StartTlsWhenAvailable: a server (or somebody before it) that offers none gets nothing.
            var security = options.Security switch { "tls" => SecureSocketOptions.SslOnConnect, "none" => SecureSocketOptions.None, _ => SecureSocketOptions.StartTls };
            await client.ConnectAsync(options.Host, options.Port, security, limit.Token);
            if (options.User.Length > 0)
            {
                await client.AuthenticateAsync(options.User, (await File.ReadAllTextAsync(options.PasswordFile, limit.Token)).TrimEnd('\r', '\n'), limit.Token);
            }

            using var mail = Message(message, recipient);
            await client.SendAsync(mail, limit.Token);
            await client.DisconnectAsync(quit: true, CancellationToken.None);
            return Delivery.Done;
        }
        catch (SmtpCommandException error)
        {
            return new Delivery($"status {(int)error.StatusCode}") { Final = (int)error.StatusCode >= 500 };
        }
        catch (Exception error) when (error is IOException or SocketException or ProtocolException or AuthenticationException or SslHandshakeException
            or NotSupportedException or UnauthorizedAccessException or ServiceNotConnectedException
            || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            return new Delivery(error switch
            {
                AuthenticationException => "the login was refused",
                SslHandshakeException => "no trusted TLS",
                NotSupportedException => "the server offers no STARTTLS",
                OperationCanceledException => "no answer in time",
                _ => "no connection",
            });
        }
    }

    private MimeMessage Message(QueuedNotification message, string recipient)
    {
        var mail = new MimeMessage
        {
            Subject = MailText.Subject(message.Notification),
            Date = clock.GetUtcNow(),
            // Stable: whoever gets it twice sees that it is the same.
            MessageId = $"{message.Id.Replace(':', '.')}@{options.From[(options.From.LastIndexOf('@') + 1)..]}",
            Body = new TextPart("plain") { Text = MailText.Body(message.Notification, options.Statements) },
        };
        mail.From.Add(new MailboxAddress("Countersign", options.From));
        mail.To.Add(new MailboxAddress("", recipient));
        // RFC 3834: nobody's absence is an answer to this.
        mail.Headers.Add("Auto-Submitted", "auto-generated");
        return mail;
    }
}
