using System.Text;

namespace Countersign.Approval.Notify;

/// <summary>Subject and plain text of mails. Pure.</summary>
public static class MailText
{
    /// <summary>The subject: nothing that a requester wrote is in it.</summary>
    public static string Subject(Notification notification)
    {
        ArgumentNullException.ThrowIfNull(notification);
        return $"Countersign: {Notification.Title(notification.Event)} ({notification.Request})";
    }

    /// <summary>The text.</summary>
    /// <param name="notification">What happened.</param>
    /// <param name="statements">Whether statements are in it.</param>
    public static string Body(Notification notification, bool statements)
    {
        ArgumentNullException.ThrowIfNull(notification);
        var text = new StringBuilder();
        text.Append(Notification.Title(notification.Event)).Append("\n\n");
        foreach (var line in WebhookBody.Lines(notification))
        {
            text.Append(line).Append('\n');
        }

        foreach (var statement in statements ? notification.Statements : [])
        {
            // Set off, so that no statement looks like a line of ours.
            text.Append('\n').Append("    ").Append(Excerpts.Noted(statement).Replace("\n", "\n    ", StringComparison.Ordinal)).Append('\n');
        }

        if (WebhookBody.Left(notification, statements) is > 0 and var left)
        {
            text.Append(System.Globalization.CultureInfo.InvariantCulture, $"\n({left} {(statements ? "more " : "")}{(left == 1 ? "statement" : "statements")}: open the request)\n");
        }

        return text.Append("\nOpen it (you will be asked to log in):\n").Append(notification.Link).Append('\n').ToString();
    }
}
