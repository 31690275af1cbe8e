using System.Buffers;
using System.Net;
using System.Net.Mail;

namespace Countersign.Approval.Notify;

/// <summary>What is wrong with options, a line each.</summary>
public static class NotifyOptionsCheck
{
    private const string Section = "Countersign:Approval:Notify";
    private static readonly SearchValues<char> NameCharacters = SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789-");

    /// <summary>Checks all of them, files included.</summary>
    /// <param name="options">The options.</param>
    /// <param name="events">Events that there are.</param>
    public static IEnumerable<string> Errors(NotifyOptions options, IReadOnlyCollection<string> events)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(events);
        if (options.GiveUpHours is < 1 or > 72)
        {
            yield return $"{Section}:GiveUpHours must be 1 to 72, not {options.GiveUpHours}.";
        }

        if (options.MaxMessages is < 10 or > 100_000)
        {
            yield return $"{Section}:MaxMessages must be 10 to 100000, not {options.MaxMessages}.";
        }

        // No attempt takes longer than 20 s.
        if (options.LeaseSeconds is < 30 or > 600)
        {
            yield return $"{Section}:LeaseSeconds must be 30 to 600, not {options.LeaseSeconds}.";
        }

        if (options.Webhooks.Count > 20)
        {
            yield return $"{Section}:Webhooks must be at most 20.";
        }

        foreach (var name in options.Webhooks.GroupBy(webhook => webhook.Name, StringComparer.Ordinal).Where(group => group.Count() > 1))
        {
            yield return $"{Section}:Webhooks: several are called '{name.Key}'.";
        }

        for (var index = 0; index < options.Webhooks.Count; index++)
        {
            foreach (var error in Webhook(options.Webhooks[index], events))
            {
                yield return $"{Section}:Webhooks:{index}:{error}";
            }
        }

        foreach (var error in options.Mail.Host.Length > 0 ? Mail(options.Mail, events) : [])
        {
            yield return $"{Section}:Mail:{error}";
        }
    }

    /// <summary>Whether a host is this machine, whoever is asked.</summary>
    public static bool IsLoopback(string host)
    {
        ArgumentNullException.ThrowIfNull(host);
        return host == "localhost" || (IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address));
    }

    /// <summary>A URL that may be told.</summary>
    public static Uri? Address(string url) =>
        Uri.TryCreate(url, UriKind.Absolute, out var uri) && uri.UserInfo.Length == 0 && uri.Fragment.Length == 0
            && (uri.Scheme == Uri.UriSchemeHttps || (uri.Scheme == Uri.UriSchemeHttp && IsLoopback(uri.Host)))
            ? uri
            : null;

    /// <summary>A bare address, without a name and with nothing that could end a line.</summary>
    public static bool IsMailAddress(string address)
    {
        ArgumentNullException.ThrowIfNull(address);
        return address.Length is > 2 and <= 254 && !address.Any(each => char.IsControl(each) || char.IsWhiteSpace(each) || each is '<' or '>' or ',' or ';' or '"' or '(' or ')' or '\\')
            && MailAddress.TryCreate(address, out var parsed) && parsed.Address == address;
    }

    private static IEnumerable<string> Webhook(WebhookOptions webhook, IReadOnlyCollection<string> events)
    {
        if (webhook.Name.Length is 0 or > 40 || webhook.Name.AsSpan().IndexOfAnyExcept(NameCharacters) >= 0 || webhook.Name == MailTarget.TargetName)
        {
            yield return $"Name must be 1 to 40 of a-z, 0-9 and hyphen, and not '{MailTarget.TargetName}'.";
        }

        if ((webhook.Url.Length > 0) == (webhook.UrlFile.Length > 0))
        {
            yield return "Url or UrlFile must be set, and not both.";
        }
        else if (webhook.UrlFile.Length > 0 && !File.Exists(webhook.UrlFile))
        {
            yield return "UrlFile can't be read.";
        }
        else if (Address(webhook.UrlFile.Length > 0 ? File.ReadAllText(webhook.UrlFile).Trim() : webhook.Url) is null)
        {
            // The URL itself isn't shown: it may be a secret.
            yield return "Url must be an absolute https URL (http on loopback only) without user and fragment.";
        }

        if (webhook.Kind is not ("json" or "slack"))
        {
            yield return "Kind must be json or slack.";
        }

        if (webhook.SecretFile.Length == 0 ? webhook.Kind != "slack" : !File.Exists(webhook.SecretFile) || WebhookSignature.Secrets(File.ReadAllText(webhook.SecretFile)) is null)
        {
            yield return $"SecretFile must be a file with 1 to 4 lines of {WebhookSignature.SecretPrefix} and 24 to 64 bytes in base64.";
        }

        foreach (var name in webhook.Events.Where(name => !events.Contains(name)))
        {
            yield return $"Events: there is no event '{name}'.";
        }
    }

    private static IEnumerable<string> Mail(MailOptions mail, IReadOnlyCollection<string> events)
    {
        if (mail.Port is < 1 or > 65_535)
        {
            yield return $"Port must be 1 to 65535, not {mail.Port}.";
        }

        if (mail.Security is not ("starttls" or "tls" or "none") || (mail.Security == "none" && !IsLoopback(mail.Host)))
        {
            yield return "Security must be starttls or tls; none on loopback only.";
        }

        if (!IsMailAddress(mail.From))
        {
            yield return "From must be an e-mail address.";
        }

        if (mail.TimeoutSeconds is < 1 or > 20)
        {
            yield return $"TimeoutSeconds must be 1 to 20, not {mail.TimeoutSeconds}.";
        }

        if (mail.CaFile.Length > 0 && MailTrust.Authorities(mail.CaFile) is not { Count: > 0 })
        {
            yield return "CaFile must be a file with certificates in PEM.";
        }

        if ((mail.User.Length > 0) != (mail.PasswordFile.Length > 0) || (mail.PasswordFile.Length > 0 && !File.Exists(mail.PasswordFile)))
        {
            yield return "User and PasswordFile must be set together, and the file must exist.";
        }

        foreach (var name in mail.Events.Where(name => !events.Contains(name)))
        {
            yield return $"Events: there is no event '{name}'.";
        }
    }
}
