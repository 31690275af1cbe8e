namespace Countersign.Approval.Notify;

/// <summary>How an attempt went.</summary>
/// <param name="Error">Null where it was delivered, else why not: a word or a number, no contents and no address.</param>
public sealed record Delivery(string? Error)
{
    /// <summary>Whether trying again can't help.</summary>
    public bool Final { get; init; }
    /// <summary>What the receiver asked for, or null.</summary>
    public TimeSpan? RetryAfter { get; init; }
    /// <summary>Where each recipient gets a message of their own: their addresses, of nobody where there are none. Null where it was told at once.</summary>
    public IReadOnlyList<string>? Recipients { get; init; }
    /// <summary>Recipients beyond those: too many for one message.</summary>
    public int LeftOut { get; init; }

    /// <summary>It was delivered.</summary>
    public static Delivery Done { get; } = new((string?)null);
}

/// <summary>Somebody outside who is told.</summary>
public interface INotificationTarget
{
    /// <summary>Its name, stable across restarts.</summary>
    string Name { get; }

    /// <summary>Whether it wants to hear of something.</summary>
    /// <param name="name">What happened.</param>
    /// <param name="groups">Approver groups that the request asks.</param>
    bool Wants(string name, IReadOnlyCollection<string> groups);

    /// <summary>Tells it.</summary>
    /// <exception cref="Platform.Ports.PortUnavailableException">Something that is needed for it can't be reached: tried again.</exception>
    ValueTask<Delivery> DeliverAsync(QueuedNotification message, CancellationToken cancellation);
}

/// <summary>Which notifications a target wants.</summary>
/// <param name="events">Names of events; none for <see cref="DefaultEvents"/>.</param>
/// <param name="groups">Names of approver groups; none for all.</param>
public sealed class TargetFilter(IEnumerable<string> events, IEnumerable<string> groups)
{
    private readonly HashSet<string> _events = events.ToHashSet(StringComparer.Ordinal) is { Count: > 0 } some ? some : [.. DefaultEvents];
    private readonly HashSet<string> _groups = groups.ToHashSet(StringComparer.Ordinal);

    /// <summary>Where somebody must do something.</summary>
    public static IReadOnlyList<string> DefaultEvents { get; } = ["request.opened", "request.break-glass", "request.in-effect", "request.review-overdue"];

    /// <summary>Whether it is wanted.</summary>
    public bool Wants(string name, IReadOnlyCollection<string> asked) => _events.Contains(name) && (_groups.Count == 0 || asked.Any(_groups.Contains));
}

/// <summary>Hears what became of messages, for the audit.</summary>
public interface INotificationReports
{
    /// <summary>A message was given up.</summary>
    ValueTask DeadAsync(QueuedNotification message, string error);

    /// <summary>Somebody isn't told.</summary>
    /// <param name="target">Name of the target.</param>
    /// <param name="notification">Of what.</param>
    /// <param name="reason">Why, without a name or an address.</param>
    ValueTask DroppedAsync(string target, Notification notification, string reason);
}

/// <summary>Finds addresses of approvers.</summary>
public interface IApproverAddresses
{
    /// <summary>E-mail addresses of those who can decide for some groups: enrolled persons who are members now, and aren't the requester in any guise.</summary>
    /// <exception cref="Platform.Ports.PortUnavailableException">Policy or identity can't be asked.</exception>
    ValueTask<IReadOnlyList<string>> OfAsync(IReadOnlyCollection<string> groups, NotifiedPerson requester, CancellationToken cancellation);
}
