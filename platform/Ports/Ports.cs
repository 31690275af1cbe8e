namespace Countersign.Platform.Ports;

/// <summary>App ids: names of the services in invocation, tokens and topics.</summary>
public static class AppIds
{
    /// <summary>Who is it?</summary>
    public const string Identity = "identity";
    /// <summary>May it happen?</summary>
    public const string Policy = "policy";
    /// <summary>Who else agreed?</summary>
    public const string Approval = "approval";
    /// <summary>What happened?</summary>
    public const string Recorder = "recorder";
    /// <summary>Does it get through?</summary>
    public const string Proxy = "proxy";
}

/// <summary>Topics of the bus.</summary>
public static class Topics
{
    /// <summary>Audit events, for the recorder and the SIEM.</summary>
    public const string Audit = "audit";
    /// <summary>New bundles and policy beacons.</summary>
    public const string Policy = "policy";
    /// <summary>Changes of approval requests.</summary>
    public const string Approvals = "approvals";
    /// <summary>Revocations and identity beacons.</summary>
    public const string Identity = "identity";
}

/// <summary>Publish and subscribe, at least once and unordered: handlers are idempotent and events carry ids and versions.</summary>
public interface IEventBus
{
    /// <summary>Publishes one event.</summary>
    /// <param name="topic">One of <see cref="Topics"/>.</param>
    /// <param name="id">Stable id of the event; the same event published again has the same one.</param>
    /// <param name="type">CloudEvents type, e.g. <c>countersign.request.changed</c>.</param>
    /// <param name="data">JSON, UTF-8.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <exception cref="PortUnavailableException">The broker did not take it.</exception>
    ValueTask PublishAsync(string topic, string id, string type, ReadOnlyMemory<byte> data, CancellationToken cancellation);
}

/// <summary>An event as it is delivered.</summary>
/// <param name="Topic">Topic.</param>
/// <param name="Id">Stable id.</param>
/// <param name="Type">CloudEvents type.</param>
/// <param name="Data">JSON, UTF-8.</param>
public sealed record BusEvent(string Topic, string Id, string Type, ReadOnlyMemory<byte> Data)
{
    /// <summary>App id of the service that signed it; null where it came from the same process, whose word it is.</summary>
    public string? Publisher { get; init; }
}

/// <summary>A subscription that composition knows at start: a service registers these as singletons.</summary>
/// <param name="Subscriber">App id of the subscriber.</param>
/// <param name="Topic">Topic.</param>
/// <param name="HandleAsync">Handler; an exception means "deliver again".</param>
public sealed record BusSubscription(string Subscriber, string Topic, Func<BusEvent, CancellationToken, ValueTask> HandleAsync)
{
    /// <summary>
    /// True for news that every instance of the subscriber must hear, e.g. what wakes the proxy that holds a client; false where one instance does for
    /// all. News are missed while an instance doesn't run: whoever needs them also polls.
    /// </summary>
    public bool EveryInstance { get; init; }
}

/// <summary>An event that a subscription could not handle.</summary>
/// <param name="Subscriber">App id.</param>
/// <param name="Event">The event.</param>
/// <param name="Reason">Type of the last error, or where it comes from; no contents.</param>
/// <param name="At">When it was given up.</param>
public sealed record DeadLetter(string Subscriber, BusEvent Event, string Reason, DateTimeOffset At)
{
    /// <summary>Names it among the dead letters of its subscriber.</summary>
    public string Id => $"{Event.Topic}:{Event.Id}";
}

/// <summary>What could not be handled, kept until somebody decides what becomes of it.</summary>
public interface IDeadLetters
{
    /// <summary>All of them, the oldest first.</summary>
    /// <exception cref="PortUnavailableException">The store can't be reached.</exception>
    ValueTask<IReadOnlyList<DeadLetter>> ListAsync(CancellationToken cancellation);

    /// <summary>One of them; null where there is none.</summary>
    /// <param name="subscriber">App id.</param>
    /// <param name="id"><see cref="DeadLetter.Id"/>.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    ValueTask<DeadLetter?> FindAsync(string subscriber, string id, CancellationToken cancellation);

    /// <summary>
    /// Hands one to its subscription again, with the id that it had; it is forgotten where that succeeds. Handlers are idempotent, so a replay too many does no harm.
    /// </summary>
    /// <param name="subscriber">App id.</param>
    /// <param name="id"><see cref="DeadLetter.Id"/>.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <returns>Null where it was handled, else why not; throws <see cref="KeyNotFoundException"/> where there is none.</returns>
    ValueTask<string?> ReplayAsync(string subscriber, string id, CancellationToken cancellation);

    /// <summary>Forgets one. False where there is none.</summary>
    ValueTask<bool> DiscardAsync(string subscriber, string id, CancellationToken cancellation);
}

/// <summary>Secrets of one service, by name.</summary>
public interface ISecrets
{
    /// <summary>Reads one.</summary>
    /// <param name="name">Lower-case letters, digits and hyphens.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <returns>Null where there is none of that name for this service.</returns>
    /// <exception cref="PortUnavailableException">The store can't be reached.</exception>
    ValueTask<string?> GetAsync(string name, CancellationToken cancellation);
}

/// <summary>
/// The store of target credentials, which no service but the proxy has (I7). Apart from <see cref="ISecrets"/>: another store, with other readers.
/// </summary>
public interface ITargetSecrets
{
    /// <summary>Reads what is kept for one connection, as it is now. Nothing of it is kept by this port.</summary>
    /// <param name="name">Name of the connection: lower-case letters, digits and hyphens.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <returns>
    /// Its values by their names; a store that keeps one text for it gives that under the secret's own name. Null where the store says that there is none.
    /// </returns>
    /// <exception cref="PortUnavailableException">The store can't be reached, or doesn't say whether it can't read the secret or has none.</exception>
    ValueTask<IReadOnlyDictionary<string, string>?> GetAsync(string name, CancellationToken cancellation);
}

/// <summary>Documents of one service by key, with optimistic concurrency. Durable once a task has completed. What every store can do.</summary>
public interface IDocumentStore
{
    /// <summary>Reads one value.</summary>
    /// <param name="collection">Collection of the service, e.g. <c>persons</c>.</param>
    /// <param name="key">Key.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <returns>The value and its etag, or null.</returns>
    ValueTask<StateItem?> GetAsync(string collection, string key, CancellationToken cancellation);

    /// <summary>Writes one value if its etag is still the one given.</summary>
    /// <param name="collection">Collection.</param>
    /// <param name="key">Key.</param>
    /// <param name="value">JSON, UTF-8.</param>
    /// <param name="etag">Etag that was read; null where the key must not exist yet.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <returns>False where somebody else was faster; nothing was written.</returns>
    /// <exception cref="PortUnavailableException">The store can't be reached.</exception>
    ValueTask<bool> TrySaveAsync(string collection, string key, ReadOnlyMemory<byte> value, string? etag, CancellationToken cancellation);

    /// <summary>Deletes one value if its etag is still the one given.</summary>
    ValueTask<bool> TryDeleteAsync(string collection, string key, string etag, CancellationToken cancellation);
}

/// <summary>Key-value state of one service that can also be listed.</summary>
public interface IStateStore : IDocumentStore
{
    /// <summary>All values of a collection in ordinal order of the keys, for small collections.</summary>
    IAsyncEnumerable<StateItem> ListAsync(string collection, CancellationToken cancellation);

    /// <summary>
    /// A page of a collection in the order in which its values were last written: for large collections, and for whoever follows what others write. A value that is
    /// written meanwhile comes again, later; one that is deleted comes no more, and nobody is told.
    /// </summary>
    /// <param name="collection">Collection.</param>
    /// <param name="after"><see cref="StateItem.ETag"/> of the last value that was read; null from the first on.</param>
    /// <param name="limit">Largest number, 1 to <see cref="StateKeys.MaxPage"/>.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <remarks>
    /// Where several write at once, a value may be seen a little after others that have a later place, within the time that the store gives a write
    /// (<see cref="StateKeys.LongestWrite"/>): whoever must not miss one reads that far back again.
    /// </remarks>
    /// <exception cref="PortUnavailableException">The store can't be reached.</exception>
    ValueTask<IReadOnlyList<StateItem>> ReadChangesAsync(string collection, string? after, int limit, CancellationToken cancellation);
}

/// <summary>A value with its key and etag.</summary>
public sealed record StateItem(string Key, ReadOnlyMemory<byte> Value, string ETag);

/// <summary>What a port depends on can't be reached. Callers fail closed.</summary>
public sealed class PortUnavailableException : Exception
{
    /// <summary>Names what is unavailable.</summary>
    public PortUnavailableException(string message)
        : base(message)
    {
    }

    /// <summary>Names what is unavailable, and why.</summary>
    public PortUnavailableException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public PortUnavailableException()
    {
    }
}

/// <summary>HTTP clients for the other services. The client has the base address (…/identity/, …/policy/) and attaches this service's token.</summary>
public interface IServiceClients
{
    /// <summary>A client for one service.</summary>
    /// <param name="appId">One of <see cref="AppIds"/>.</param>
    HttpClient Create(string appId);
}
