using System.Text.Json.Serialization;

namespace Countersign.Approval.Workflow;

/// <summary>A request that a person has made and that may still matter for the next one.</summary>
/// <param name="Request">Request id.</param>
/// <param name="Key">Kind and digests: the same key is the same thing asked again.</param>
/// <param name="AllOf">Who had to agree.</param>
public sealed record RequesterEntry(string Request, string Key, IReadOnlyList<SpecRequirement> AllOf);

/// <summary>Denials of the same thing, the last of which is not long ago.</summary>
/// <param name="Key">What was denied.</param>
/// <param name="At">When it was denied last.</param>
public sealed record RequesterDenial(string Key, DateTimeOffset At)
{
    /// <summary>How often it was denied within a day.</summary>
    public int Count { get; init; } = 1;
}

/// <summary>The request that must be opened once the document that holds this is saved.</summary>
public sealed record OpenEffect(long Version, RequestSpec Spec) : IEffect;

/// <summary>What is known of one person as requester. One document a person, so that what two clients ask at once is seen by one actor.</summary>
public sealed record RequesterDocument : IWorkflowDocument<RequesterDocument, OpenEffect>, ISealedDocument<RequesterDocument>
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
    public string? Seal { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public DateTimeOffset? WakeAt => null;

    /// <inheritdoc/>
    public RequesterDocument WithOutbox(IReadOnlyList<OpenEffect> outbox) => this with { Outbox = outbox };

    /// <inheritdoc/>
    public RequesterDocument WithSeal(string? seal) => this with { Seal = seal };
}

/// <summary>How a request that was made earlier stands now.</summary>
/// <param name="Request">Request id.</param>
/// <param name="State">State now.</param>
/// <param name="Redeemed">How many of its operations were redeemed.</param>
/// <param name="Ended">When its terminal state was reached.</param>
public sealed record Observation(string Request, WorkflowState State, int Redeemed, DateTimeOffset Ended)
{
    /// <summary>Its kind.</summary>
    public WorkflowKind Kind { get; init; }
    /// <summary>Service that asked.</summary>
    public string AskedBy { get; init; } = "";
    /// <summary>Its connection.</summary>
    public string Connection { get; init; } = "";
    /// <summary>Digests of its operations, in order.</summary>
    public IReadOnlyList<string> Digests { get; init; } = [];
    /// <summary>Assurance that its approvers need.</summary>
    public SpecAssurance? Assurance { get; init; }
    /// <summary>Whether its requester may go ahead alone.</summary>
    public bool BreakGlassAllowed { get; init; }
    /// <summary>Whether it can't be approved without a reason, or has one.</summary>
    public bool HasReason { get; init; }
    /// <summary>Whether it extends another one.</summary>
    public bool Extends { get; init; }

    /// <summary>How a request stands.</summary>
    public static Observation Of(RequestDocument document, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(document);
        var spec = document.Spec;
        return new Observation(spec.Id, document.StateAt(now), document.Redemptions.Count, document.Deadline)
        {
            Kind = spec.Kind,
            AskedBy = spec.AskedBy,
            Connection = spec.Connection,
            Digests = [.. spec.Operations.Select(operation => operation.Digest)],
            Assurance = spec.Assurance,
            BreakGlassAllowed = spec.BreakGlassAllowed,
            HasReason = spec.ReasonRequired || spec.Reason.Length > 0,
            Extends = spec.Extends is not null,
        };
    }
}

/// <summary>The request that serves what is asked for.</summary>
/// <param name="Request">Request id.</param>
/// <param name="Index">Which of its operations comes first.</param>
public sealed record Attachment(string Request, int Index);

/// <summary>A command to a requester.</summary>
public abstract record RequesterCommand;

/// <summary>Asks for something: attaches to an earlier request, or opens a new one.</summary>
/// <param name="Spec">What is asked for.</param>
/// <param name="Observed">How the requests of the document stand now; one that is missing was never opened.</param>
public sealed record Ask(RequestSpec Spec, IReadOnlyList<Observation> Observed) : RequesterCommand
{
    /// <summary>Of an extension: why the other request can't be extended; null where it can.</summary>
    public Refusal? ExtensionRefused { get; init; }
    /// <summary>Pending requests of others who count as the same person.</summary>
    public int PendingElsewhere { get; init; }
}

/// <summary>Nothing: lets the runner bring about what is left.</summary>
public sealed record Nudge : RequesterCommand;
