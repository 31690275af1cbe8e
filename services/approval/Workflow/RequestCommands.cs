namespace Countersign.Approval.Workflow;

/// <summary>A command to one request. What it says about persons was verified by the shell before it was made.</summary>
/// <param name="Id">Id of the command; a second one with the same id changes nothing. Empty for none.</param>
public abstract record RequestCommand(string Id);

/// <summary>Opens the request.</summary>
/// <param name="Spec">What is asked for.</param>
public sealed record Open(string Id, RequestSpec Spec) : RequestCommand(Id);

/// <summary>Somebody who decides, as identity and policy describe them at decision time.</summary>
public sealed record Decider
{
    /// <summary>Person id.</summary>
    public required string Person { get; init; }
    /// <summary>Display name.</summary>
    public required string Name { get; init; }
    /// <summary>Persons who count as the same one, <see cref="Person"/> included.</summary>
    public required IReadOnlyList<string> SameAs { get; init; }
    /// <summary>Whether the person is enrolled.</summary>
    public required bool Enrolled { get; init; }
    /// <summary>Whether the person was disabled.</summary>
    public required bool Disabled { get; init; }
    /// <summary>Those of the required groups that the person is in.</summary>
    public required IReadOnlyList<string> Groups { get; init; }
    /// <summary>Whether the person is the first one and nobody else is enrolled.</summary>
    public bool BootstrapOpen { get; init; }
    /// <summary>Persons who count as the requester now (links may be newer than the request).</summary>
    public IReadOnlyList<string> RequesterSameAs { get; init; } = [];
    /// <summary>When the person logged in.</summary>
    public DateTimeOffset AuthenticatedAt { get; init; }
    /// <summary>How: authentication methods of RFC 8176.</summary>
    public IReadOnlyList<string> Amr { get; init; } = [];
    /// <summary>False for a service account.</summary>
    public bool Human { get; init; } = true;
    /// <summary>Those who approved before and could not any more: disabled, or no longer enrolled.</summary>
    public IReadOnlyList<string> Gone { get; init; } = [];
}

/// <summary>A person agrees.</summary>
/// <param name="By">Who.</param>
/// <param name="Digest">The digest that they were shown.</param>
/// <param name="Comment">May be empty.</param>
public sealed record Approve(string Id, Decider By, string Digest, string Comment) : RequestCommand(Id)
{
    /// <summary>Of an extension: why the other request can't be extended now; null where it can.</summary>
    public Refusal? ExtensionRefused { get; init; }
}

/// <summary>A person refuses. One is enough.</summary>
/// <param name="By">Who.</param>
/// <param name="Digest">The digest that they were shown.</param>
/// <param name="Comment">Why.</param>
public sealed record Deny(string Id, Decider By, string Digest, string Comment) : RequestCommand(Id);

/// <summary>The requester supplies the reason that is missing.</summary>
public sealed record Explain(string Id, string Person, string Reason) : RequestCommand(Id);

/// <summary>The requester takes it back.</summary>
public sealed record Withdraw(string Id, string Person) : RequestCommand(Id);

/// <summary>Redeems one operation.</summary>
/// <param name="Id">Redemption id: the same again gets the same answer.</param>
/// <param name="Service">App id of the caller.</param>
/// <param name="Person">Executing person; for a control request not asked.</param>
/// <param name="Connection">Connection of the session; for a control request not asked.</param>
/// <param name="Index">Which operation.</param>
/// <param name="Digest">Its digest as it is about to run.</param>
public sealed record Redeem(string Id, string Service, string Person, string Connection, int Index, string Digest) : RequestCommand(Id)
{
    /// <summary>Those who approved and could not any more: disabled, no longer enrolled, or the requester under another account since.</summary>
    public IReadOnlyList<string> Gone { get; init; } = [];
}

/// <summary>Takes an approval back. The requester or any enrolled person may: it only takes something away.</summary>
public sealed record Revoke(string Id, Decider By, string Comment) : RequestCommand(Id);

/// <summary>The requester goes ahead alone.</summary>
/// <param name="By">The requester.</param>
/// <param name="Digest">The digest that they were shown.</param>
/// <param name="Reason">Why; must not be empty.</param>
public sealed record BreakGlass(string Id, Decider By, string Digest, string Reason) : RequestCommand(Id);

/// <summary>A person closes the review.</summary>
/// <param name="By">Who.</param>
/// <param name="Digest">The digest that they were shown.</param>
/// <param name="Justified">What they found.</param>
/// <param name="Comment">What they say to it; must not be empty.</param>
public sealed record CloseReview(string Id, Decider By, string Digest, bool Justified, string Comment) : RequestCommand(Id);

/// <summary>Another request, which was approved, gives this one more time.</summary>
/// <param name="Extension">That request, as its grant says.</param>
public sealed record Extend(string Id, ExtensionGrant Extension) : RequestCommand(Id);

/// <summary>What the grant of an extension says.</summary>
/// <param name="Request">The extension's own request id.</param>
/// <param name="Extends">What it extends.</param>
/// <param name="Person">Its requester.</param>
/// <param name="Connection">Its connection.</param>
/// <param name="Digest">Its request digest.</param>
/// <param name="ApprovedAt">When it was approved: the new time counts from there.</param>
/// <param name="Until">Until when what was approved may be redeemed, where no window runs.</param>
public sealed record ExtensionGrant(string Request, string Extends, string Person, string Connection, string Digest, DateTimeOffset ApprovedAt, DateTimeOffset Until);

/// <summary>The clock. Also what a reader sends to see the state of now.</summary>
public sealed record Wake() : RequestCommand("");

/// <summary>What became of a command.</summary>
/// <param name="Document">The document after it; null where there is none.</param>
/// <param name="Changed">Whether it must be saved.</param>
/// <param name="Refusal">Why it was refused; null where it was done, or had been done before.</param>
/// <param name="Fresh">True where this very command did it, false where it repeated one.</param>
public sealed record Step<TDocument>(TDocument? Document, bool Changed, Refusal? Refusal, bool Fresh)
    where TDocument : class;
