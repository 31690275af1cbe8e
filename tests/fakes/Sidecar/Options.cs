namespace Countersign.Fakes.Sidecar;

/// <summary>What all sidecars share: components, their backends and how they fail.</summary>
public sealed record PlaneOptions
{
    /// <summary>Pub/sub components.</summary>
    public IReadOnlyList<PubSubComponent> PubSubs { get; init; } = [new("pubsub"), new("news") { PerInstance = true }];

    /// <summary>State components.</summary>
    public IReadOnlyList<StateComponent> States { get; init; } = [new("statestore")];

    /// <summary>Subscriptions beside those that apps ask for.</summary>
    public IReadOnlyList<DeclaredSubscription> Subscriptions { get; init; } = [];

    /// <summary>Secret stores.</summary>
    public IReadOnlyList<SecretComponent> Secrets { get; init; } = [];

    /// <summary>Items of the configuration store <c>configstore</c>.</summary>
    public IReadOnlyDictionary<string, string> Configuration { get; init; } = new Dictionary<string, string>();

    /// <summary>File that state, reminders and undelivered events survive a restart in; null to forget them.</summary>
    public string? JournalPath { get; init; }

    /// <summary>Pause between attempts of a failing reminder (3 more, then a one-shot is dropped) and of calls that find nobody.</summary>
    public TimeSpan RetryPause { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How often a call between services is repeated where nobody takes it: 3 is built in, a resiliency policy may say otherwise.</summary>
    public int InvokeRetries { get; init; } = 3;

    /// <summary>How often the sidecar asks the app whether it is well.</summary>
    public TimeSpan ProbeInterval { get; init; } = TimeSpan.FromMilliseconds(200);

    /// <summary>Resiliency of inbound events; null for none: then a dead-letter topic gets an event on its first failure.</summary>
    public InboundRetry? Inbound { get; init; }

    /// <summary>When the broker delivers again what was neither acknowledged nor sent to a dead-letter topic.</summary>
    public TimeSpan Redelivery { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>What goes wrong on the bus.</summary>
    public BusFaults Faults { get; init; } = new();

    /// <summary>What is down.</summary>
    public PlaneOutages Outages { get; init; } = new();
}

/// <summary>Parts behind the sidecars that are down. Mutable: tests switch them off and on.</summary>
public sealed class PlaneOutages
{
    /// <summary>Nobody says where an actor is: calls of actors are refused with <c>ERR_ACTOR_NO_PLACEMENT</c>.</summary>
    public bool Placement { get; set; }

    /// <summary>The same, but nobody says so either: calls of actors wait.</summary>
    public bool PlacementHangs { get; set; }

    /// <summary>Reminders can be neither made nor removed, and none is called.</summary>
    public bool Scheduler { get; set; }

    /// <summary>The database behind the state store, for documents and for actors.</summary>
    public bool State { get; set; }

    /// <summary>What is behind the secret stores: a sidecar has kept nothing of it.</summary>
    public bool Secrets { get; set; }

    /// <summary>How many of the next reminders are refused as by a sidecar whose app is leaving: it let go of its actors while a turn was under way.</summary>
    public int Leaving { get; set; }
}

/// <summary>Resiliency policy of kind "constant".</summary>
/// <param name="Pause">Between two attempts.</param>
/// <param name="MaxRetries">After the first; negative for no end.</param>
public sealed record InboundRetry(TimeSpan Pause, int MaxRetries);

/// <summary>Faults that a broker is allowed to have. Mutable: tests switch them on and off.</summary>
public sealed class BusFaults
{
    /// <summary>Seed of the dice.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Probability that an event is delivered once more.</summary>
    public double Duplicate { get; set; }

    /// <summary>Probability that an event is held back, so that later ones overtake it.</summary>
    public double Delay { get; set; }

    /// <summary>Longest time that it is held back.</summary>
    public TimeSpan LongestDelay { get; set; } = TimeSpan.FromMilliseconds(500);

    /// <summary>Nothing can be published, and nothing is delivered.</summary>
    public bool Down { get; set; }
}

/// <summary>A pub/sub component.</summary>
/// <param name="Name">Name.</param>
public sealed record PubSubComponent(string Name)
{
    /// <summary>True for <c>consumerID: "{uuid}"</c>: every instance gets every event, and its group ends with it.</summary>
    public bool PerInstance { get; init; }

    /// <summary>App ids that have it; null for all.</summary>
    public IReadOnlyList<string>? Scopes { get; init; }

    /// <summary>Topics that an app may publish to; an app that is absent may publish to all (as with <c>publishingScopes</c>).</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> PublishingScopes { get; init; } = new Dictionary<string, IReadOnlyList<string>>();

    /// <summary>Topics that an app may subscribe to; an app that is absent may subscribe to all.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> SubscriptionScopes { get; init; } = new Dictionary<string, IReadOnlyList<string>>();

    /// <summary>Topics that only apps may use that are named for them.</summary>
    public IReadOnlyList<string> Protected { get; init; } = [];

    /// <summary>The only topics there are; empty for any.</summary>
    public IReadOnlyList<string> Allowed { get; init; } = [];

    internal bool MayPublish(string appId, string topic) => May(PublishingScopes, appId, topic);

    internal bool MaySubscribe(string appId, string topic) => May(SubscriptionScopes, appId, topic);

    private bool May(IReadOnlyDictionary<string, IReadOnlyList<string>> scopes, string appId, string topic) =>
        (Allowed.Count == 0 || Allowed.Contains(topic)) && (scopes.TryGetValue(appId, out var named) ? named.Contains(topic) : !Protected.Contains(topic));
}

/// <summary>A state component with the semantic of <c>state.postgresql</c> v2.</summary>
/// <param name="Name">Name.</param>
public sealed record StateComponent(string Name)
{
    /// <summary>App ids that have it; null for all.</summary>
    public IReadOnlyList<string>? Scopes { get; init; }

    /// <summary>Whether actors keep their state here.</summary>
    public bool Actors { get; init; } = true;
}

/// <summary>A secret store.</summary>
/// <param name="Name">Name.</param>
/// <param name="Secrets">Secrets.</param>
public sealed record SecretComponent(string Name, IReadOnlyDictionary<string, string> Secrets)
{
    /// <summary>App ids that have it; null for all.</summary>
    public IReadOnlyList<string>? Scopes { get; init; }

    /// <summary>
    /// Secrets that are objects. Looked at for each request, as Vault is asked for each; a local file is read once, when the sidecar starts. Values are strings: of a
    /// number a local file would make <c>%!s(float64=5432)</c>, and Vault an error.
    /// </summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, string>> Objects { get; init; } = new Dictionary<string, IReadOnlyDictionary<string, string>>();

    /// <summary>
    /// Whether an object is one secret with several values (a local file's <c>multiValued</c>, Vault's <c>map</c>); else each of its members is a secret, <c>name:member</c>.
    /// </summary>
    public bool MultiValued { get; init; }

    internal IReadOnlyDictionary<string, string>? Find(string key)
    {
        if (Secrets.TryGetValue(key, out var one))
        {
            return new Dictionary<string, string> { [key] = one };
        }

        if (MultiValued)
        {
            return Objects.GetValueOrDefault(key);
        }

        return key.Split(':') is [var name, var member] && Objects.GetValueOrDefault(name)?.GetValueOrDefault(member) is { } value ? new Dictionary<string, string> { [key] = value } : null;
    }
}

/// <summary>One sidecar.</summary>
public sealed record SidecarOptions
{
    /// <summary>App id.</summary>
    public required string AppId { get; init; }

    /// <summary>Where the app listens, e.g. <c>http://127.0.0.1:6101</c>.</summary>
    public required Uri App { get; init; }

    /// <summary>Port of the HTTP API; 0 for a free one.</summary>
    public int HttpPort { get; init; }

    /// <summary>Port of the gRPC API (h2c); 0 for a free one.</summary>
    public int GrpcPort { get; init; }

    /// <summary>What the app must present (<c>DAPR_API_TOKEN</c>); null for nothing.</summary>
    public string? ApiToken { get; init; }

    /// <summary>What the sidecar presents to the app (<c>APP_API_TOKEN</c>); null for nothing.</summary>
    public string? AppToken { get; init; }

    /// <summary>Path that says whether the app is well; null where it isn't asked.</summary>
    public string? HealthPath { get; init; } = "/healthz";

    /// <summary>Documents of kind Configuration (YAML): access control, API allow-list, secret scopes.</summary>
    public string? Configuration { get; init; }

    /// <summary>Largest body in bytes.</summary>
    public int MaxBody { get; init; } = 4 * 1024 * 1024;

    /// <summary>All headers of a request in bytes.</summary>
    public int ReadBuffer { get; init; } = 4 * 1024;
}
