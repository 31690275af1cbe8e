using System.Text.Json.Serialization;

namespace Countersign.Approval.Workflow;

/// <summary>A request that a person has made and that may still matter for the next one.</summary>
/// <param name="Request">Request id.</param>
/// <param name="Key">Kind and digests: the same key is the same thing asked again.</param>
/// <param name="AllOf">Who had to agree.</param>
public sealed record RequesterEntry(string Request, string Key, IReadOnlyList<SpecRequirement> AllOf);

/// <summary>A denial that is not long ago.</summary>
public sealed record RequesterDenial(string Key, DateTimeOffset At);

/// <summary>The request that must be opened once the document that holds this is saved.</summary>
public sealed record OpenEffect(long Version, RequestSpec Spec) : IEffect;

/// <summary>What is known of one person as requester. One document a person, so that what two clients ask at once is seen by one actor.</summary>
public sealed record RequesterDocument : IWorkflowDocument<RequesterDocument, OpenEffect>
{
    /// <summary>Version of the format.</summary>
    public int Format { get; init; } = 1;
    /// <summary>Grows by one with every change.</summary>
    public required long Version { get; init; }
    /// <summary>Person id.</summary>
    public required string Person { get; init; }
    /// <summary>Requests that were not over when last looked at.</summary>
    public IReadOnlyList<RequesterEntry> Entries { get; init; } = [];
    /// <summary>Recent denials.</summary>
    public IReadOnlyList<RequesterDenial> Denials { get; init; } = [];
    /// <inheritdoc/>
    public IReadOnlyList<OpenEffect> Outbox { get; init; } = [];

    /// <inheritdoc/>
    [JsonIgnore]
    public DateTimeOffset? WakeAt => null;

    /// <inheritdoc/>
    public RequesterDocument WithOutbox(IReadOnlyList<OpenEffect> outbox) => this with { Outbox = outbox };
}

/// <summary>How a request that was made earlier stands now.</summary>
/// <param name="Request">Request id.</param>
/// <param name="State">State now.</param>
/// <param name="Redeemed">How many of its operations were redeemed.</param>
/// <param name="Ended">When its terminal state was reached.</param>
public sealed record Observation(string Request, WorkflowState State, int Redeemed, DateTimeOffset Ended);

/// <summary>A command to a requester.</summary>
public abstract record RequesterCommand;

/// <summary>Asks for something: attaches to an earlier request, or opens a new one.</summary>
/// <param name="Spec">What is asked for.</param>
/// <param name="Observed">How the requests of the document stand now; one that is missing was never opened.</param>
public sealed record Ask(RequestSpec Spec, IReadOnlyList<Observation> Observed) : RequesterCommand;

/// <summary>Nothing: lets the runner bring about what is left.</summary>
public sealed record Nudge : RequesterCommand;

/// <summary>Limits against fatigue of approvers.</summary>
/// <param name="MaxPending">Pending requests a person may have.</param>
/// <param name="BackOff">How long after a denial the same may not be asked again.</param>
public sealed record RequesterLimits(int MaxPending, TimeSpan BackOff)
{
    /// <summary>5 pending, 60 s.</summary>
    public static RequesterLimits Default { get; } = new(5, TimeSpan.FromSeconds(60));
}

/// <summary>One person's requests: the same merges, not too many at once, none again right after a denial.</summary>
public sealed class RequesterWorkflow(RequesterLimits limits) : IWorkflow<RequesterDocument, RequesterCommand>
{
    /// <summary>Approved requests a person may leave unredeemed; bounds the document.</summary>
    public const int MaxOpen = 100;

    /// <summary>Kind and digests of a request as one text.</summary>
    public static string KeyOf(RequestSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        return $"{spec.Kind}:{spec.AskedBy}:{spec.Connection}:{spec.Digest}";
    }

    /// <summary>The request that an ask of this spec leads to in a document: the last that covers it.</summary>
    public static string? RequestOf(RequesterDocument document, RequestSpec spec)
    {
        ArgumentNullException.ThrowIfNull(document);
        ArgumentNullException.ThrowIfNull(spec);
        return document.Entries.LastOrDefault(entry => entry.Key == KeyOf(spec) && Quorum.Covers(entry.AllOf, spec.AllOf))?.Request;
    }

    /// <inheritdoc/>
    public Step<RequesterDocument> Apply(RequesterDocument? document, RequesterCommand command, DateTimeOffset now)
    {
        if (command is not Ask ask)
        {
            return new Step<RequesterDocument>(document, Changed: false, null, Fresh: false);
        }

        var current = Refresh(document ?? new RequesterDocument { Version = 0, Person = ask.Spec.Requester.Person }, ask.Observed, now);
        var open = ask.Observed.ToDictionary(observation => observation.Request, StringComparer.Ordinal);
        var key = KeyOf(ask.Spec);
        var attachable = current with { Entries = [.. current.Entries.Where(entry => open[entry.Request].Redeemed == 0)] };
        if (RequestOf(attachable, ask.Spec) is not null)
        {
            return new Step<RequesterDocument>(attachable, Changed: false, null, Fresh: false);
        }

        if (current.Denials.FirstOrDefault(denial => denial.Key == key) is { } denial)
        {
            var wait = denial.At + limits.BackOff - now;
            return Refuse(current, RefusalCodes.RecentlyDenied, $"The same was denied a moment ago. Ask again in {Math.Ceiling(wait.TotalSeconds)} s, or talk to the approver.", wait);
        }

        if (current.Entries.Count(entry => open[entry.Request].State == WorkflowState.Pending) >= limits.MaxPending)
        {
            return Refuse(
                current, RefusalCodes.TooManyPending,
                $"You have {limits.MaxPending} pending requests already. Withdraw one, or wait until one is decided.", TimeSpan.FromSeconds(30));
        }

        if (current.Entries.Count >= MaxOpen)
        {
            return Refuse(current, RefusalCodes.TooManyPending, "You have too many approved requests that were not run. Run or withdraw some.", TimeSpan.FromSeconds(30));
        }

        var version = current.Version + 1;
        var asked = current with
        {
            Version = version,
            Entries = [.. current.Entries, new RequesterEntry(ask.Spec.Id, key, ask.Spec.AllOf)],
            Outbox = [new OpenEffect(version, ask.Spec)],
        };
        return new Step<RequesterDocument>(asked, Changed: true, null, Fresh: true);
    }

    // Drops what is over; a denial is remembered for the back-off.
    private RequesterDocument Refresh(RequesterDocument document, IReadOnlyList<Observation> observed, DateTimeOffset now)
    {
        var entries = new List<RequesterEntry>();
        var denials = document.Denials.ToList();
        foreach (var entry in document.Entries)
        {
            var observation = observed.FirstOrDefault(each => each.Request == entry.Request);
            if (observation is { State: WorkflowState.Denied })
            {
                denials.Add(new RequesterDenial(entry.Key, observation.Ended));
            }
            else if (observation is not null && !Transitions.IsTerminal(observation.State))
            {
                entries.Add(entry);
            }
        }

        denials.RemoveAll(denial => denial.At + limits.BackOff <= now);
        return document with { Entries = entries, Denials = denials };
    }

    private static Step<RequesterDocument> Refuse(RequesterDocument document, string code, string message, TimeSpan retryAfter) =>
        new(document, Changed: false, new Refusal(code, message, retryAfter), Fresh: false);
}
