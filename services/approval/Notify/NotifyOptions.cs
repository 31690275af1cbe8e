namespace Countersign.Approval.Notify;

/// <summary>Section <c>Countersign:Approval:Notify</c>: who outside is told of requests (docs/operations/notifications.md).</summary>
public sealed class NotifyOptions
{
    /// <summary>Webhooks.</summary>
    public IList<WebhookOptions> Webhooks { get; } = [];

    /// <summary>E-mail to approvers; off without a host.</summary>
    public MailOptions Mail { get; set; } = new();

    /// <summary>Hours for which a message is tried before it is a dead letter.</summary>
    public int GiveUpHours { get; set; } = 24;

    /// <summary>Most messages that wait, and most that are kept as dead letters.</summary>
    public int MaxMessages { get; set; } = 10_000;

    /// <summary>Seconds for which a message belongs to the process that sends it; then another one may.</summary>
    public int LeaseSeconds { get; set; } = 60;
}

/// <summary>One webhook.</summary>
public sealed class WebhookOptions
{
    /// <summary>Name, which stays with its messages: 1 to 40 of a-z, 0-9 and hyphen.</summary>
    public string Name { get; set; } = "";

    /// <summary>Where to; https, or http on loopback.</summary>
    public string Url { get; set; } = "";

    /// <summary>File with the URL instead, for those that are secrets themselves.</summary>
    public string UrlFile { get; set; } = "";

    /// <summary>File with the signature's secret; needed for json.</summary>
    public string SecretFile { get; set; } = "";

    /// <summary>json or slack.</summary>
    public string Kind { get; set; } = "json";

    /// <summary>Only requests that ask one of these approver groups; none for all.</summary>
    public IList<string> Groups { get; } = [];

    /// <summary>Events; none for those where somebody must do something.</summary>
    public IList<string> Events { get; } = [];

    /// <summary>Whether the beginning of statements goes along.</summary>
    public bool Statements { get; set; } = true;

    /// <summary>Whether it may be in a private network.</summary>
    public bool PrivateNetwork { get; set; }
}

/// <summary>E-mail by SMTP.</summary>
public sealed class MailOptions
{
    /// <summary>Name of the server; empty for no mail.</summary>
    public string Host { get; set; } = "";

    /// <summary>Port.</summary>
    public int Port { get; set; } = 587;

    /// <summary>starttls, tls, or none (loopback only).</summary>
    public string Security { get; set; } = "starttls";

    /// <summary>Sender's address.</summary>
    public string From { get; set; } = "";

    /// <summary>PEM file of authorities: the server's certificate must be by one of them; empty for those that the system trusts.</summary>
    public string CaFile { get; set; } = "";

    /// <summary>Seconds that sending one mail may take, from connecting on.</summary>
    public int TimeoutSeconds { get; set; } = 20;

    /// <summary>Whether a certificate whose revocation can't be checked is refused.</summary>
    public bool CheckRevocation { get; set; } = true;

    /// <summary>User; empty for no login.</summary>
    public string User { get; set; } = "";

    /// <summary>File with the password.</summary>
    public string PasswordFile { get; set; } = "";

    /// <summary>Only requests that ask one of these approver groups; none for all.</summary>
    public IList<string> Groups { get; } = [];

    /// <summary>Events; none for those where somebody must do something.</summary>
    public IList<string> Events { get; } = [];

    /// <summary>Whether the beginning of statements goes along.</summary>
    public bool Statements { get; set; } = true;
}
