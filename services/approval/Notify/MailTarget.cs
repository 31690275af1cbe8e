using System.Net;
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

    /// <summary>Most recipients of one notification.</summary>
    public const int MaxRecipients = 200;

    // What a server says in one session: handshake, greeting, answers.
    private const long MaxAnswers = 1024 * 1024;
    private static readonly TimeSpan FarewellPatience = TimeSpan.FromSeconds(2);
    private readonly TimeSpan _patience = TimeSpan.FromSeconds(options.TimeoutSeconds);
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
            return Delivery.Done with { Recipients = [.. addresses.Take(MaxRecipients)], LeftOut = Math.Max(0, addresses.Count - MaxRecipients) };
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(_patience);
        // No file is no authority, not all of the system's.
        if ((options.CaFile.Length > 0 ? MailTrust.Authorities(options.CaFile) : []) is not { } authorities || (authorities.Count == 0 && options.CaFile.Length > 0))
        {
            return new Delivery("CaFile can't be read");
        }

        var trust = new MailTrust(authorities, options.CheckRevocation);
        var step = Step.Connect;
        try
        {
            using var client = new SmtpClient
            {
                Timeout = (int)_patience.TotalMilliseconds,
                CheckCertificateRevocation = options.CheckRevocation,
                // Not MailKit's own, which lets certificates of some providers pass that nobody here has decided to trust.
                ServerCertificateValidationCallback = trust.Check,
            };
            await ConnectAsync(client, limit.Token);
            if (options.User.Length > 0)
            {
                step = Step.LogIn;
                await client.AuthenticateAsync(options.User, (await File.ReadAllTextAsync(options.PasswordFile, limit.Token)).TrimEnd('\r', '\n'), limit.Token);
            }

            step = Step.Send;
            if (!client.Capabilities.HasFlag(SmtpCapabilities.UTF8) && !System.Text.Ascii.IsValid(recipient.AsSpan(0, recipient.LastIndexOf('@'))))
            {
                // RFC 6531: such an address may go only to servers with SMTPUTF8.
                return new Delivery("the server takes no such address") { Final = true };
            }

            using var mail = Message(message, recipient);
            await client.SendAsync(mail, limit.Token);
            await FarewellAsync(client);
            return Delivery.Done;
        }
        catch (SmtpCommandException error)
        {
            var status = (int)error.StatusCode;
            // 530 asks for a login, and what is said to a connection or a login concerns no message: then it isn't the message that is wrong.
            return new Delivery($"status {status}") { Final = step == Step.Send && status is >= 500 and not 530 };
        }
        catch (Exception error) when (error is IOException or SocketException or ProtocolException or AuthenticationException or SslHandshakeException
            or NotSupportedException or UnauthorizedAccessException or ServiceNotConnectedException or ServiceNotAuthenticatedException
            || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            return new Delivery(error switch
            {
                _ when trust.Refusal is { } refusal => refusal,
                AuthenticationException => "the login was refused",
                ServiceNotAuthenticatedException => "the server asks for a login",
                SslHandshakeException => "no trusted TLS",
                NotSupportedException when step == Step.Send => "the server can't take the mail",
                NotSupportedException when step == Step.LogIn => "the server offers no login",
                NotSupportedException => "the server offers no STARTTLS",
                OperationCanceledException => "no answer in time",
                UnauthorizedAccessException or FileNotFoundException or DirectoryNotFoundException => "a file can't be read",
                _ => "no connection",
            });
        }
    }

    private async Task ConnectAsync(SmtpClient client, CancellationToken cancellation)
    {
        // StartTls, not StartTlsWhenAvailable: a server (or somebody before it) that offers none gets nothing.
        var security = options.Security switch { "tls" => SecureSocketOptions.SslOnConnect, "none" => SecureSocketOptions.None, _ => SecureSocketOptions.StartTls };
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(options.Host, options.Port, cancellation);
            // RFC 5321 section 4.1.3: who has no name to give says its address.
            var own = ((IPEndPoint)socket.LocalEndPoint!).Address;
            own = own.IsIPv4MappedToIPv6 ? own.MapToIPv4() : own;
            client.LocalDomain = own.AddressFamily == AddressFamily.InterNetworkV6 ? $"[IPv6:{new IPAddress(own.GetAddressBytes())}]" : $"[{own}]";
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        var stream = new BoundedReading(new NetworkStream(socket, ownsSocket: true), MaxAnswers);
        try
        {
            await client.ConnectAsync(stream, options.Host, options.Port, security, cancellation);
        }
        catch
        {
            await stream.DisposeAsync();
            throw;
        }
    }

    // The mail has been taken: whatever becomes of the farewell, it isn't sent again.
    private static async Task FarewellAsync(SmtpClient client)
    {
        using var limit = new CancellationTokenSource(FarewellPatience);
        try
        {
            await client.DisconnectAsync(quit: true, limit.Token);
        }
        catch (Exception error) when (error is IOException or SocketException or ProtocolException or CommandException or OperationCanceledException or ObjectDisposedException)
        {
            // It hung up, or said something else.
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

    private enum Step
    {
        Connect,
        LogIn,
        Send,
    }
}
