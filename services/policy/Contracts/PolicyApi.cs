namespace Countersign.Policy.Contracts;

/// <summary><c>POST /policy/v1/changes</c>, by a person: what should be enforced instead. It comes into force when another person has approved it (I3).</summary>
public sealed record PolicyChangeRequest
{
    /// <summary>Documents to add, or to replace by name.</summary>
    public IReadOnlyList<BundleDocument> Documents { get; init; } = [];
    /// <summary>Names of documents to remove.</summary>
    public IReadOnlyList<string> RemovedDocuments { get; init; } = [];
    /// <summary>Connections to register, or to replace by name. One without a credential keeps the one it has, unless its address changes.</summary>
    public IReadOnlyList<Connection> Connections { get; init; } = [];
    /// <summary>Names of connections to remove.</summary>
    public IReadOnlyList<string> RemovedConnections { get; init; } = [];
    /// <summary>Why, for the approver.</summary>
    public string Reason { get; init; } = "";
    /// <summary>Version that the author looked at; where another one is in force the change is refused with 409. Null for whichever is in force.</summary>
    public long? BaseVersion { get; init; }
    /// <summary>
    /// True to put it into force at once, alone: for a change that only takes access away (docs/policies/removals.md), by an enrolled person. It is reviewed
    /// afterwards. Anything else is refused with 409 and code <c>not-a-removal</c>.
    /// </summary>
    public bool AtOnce { get; init; }
}

/// <summary>Answer to <see cref="PolicyChangeRequest"/>.</summary>
/// <param name="RequestId">Approval request.</param>
/// <param name="Digest">SHA-256 of the bundle's payload: what is approved.</param>
/// <param name="Version">Version it will have.</param>
/// <param name="Diff">The whole change, readable.</param>
/// <param name="Link">Page where a second person decides, or reviews.</param>
/// <param name="InForce">Whether it is in force already: a change that only takes access away.</param>
public sealed record PolicyChangeResult(string RequestId, string Digest, long Version, string Diff, string Link, bool InForce = false);

/// <summary><c>GET /policy/v1/changes/{requestId}</c>.</summary>
/// <param name="RequestId">Approval request.</param>
/// <param name="State"><c>pending</c>, <c>active</c>, <c>superseded</c> (another change was activated first) or <c>refused</c>.</param>
/// <param name="Digest">SHA-256 of the bundle's payload.</param>
/// <param name="Version">Version it has, or would have.</param>
/// <param name="BaseVersion">Version it was made from.</param>
/// <param name="Diff">The whole change.</param>
/// <param name="Link">Page of the request.</param>
/// <param name="RequestedBy">Display name of who asked.</param>
/// <param name="Reason">Why.</param>
/// <param name="CreatedAt">When.</param>
/// <param name="Problem">Why it can't come into force; empty while it can.</param>
public sealed record PolicyChangeView(
    string RequestId, string State, string Digest, long Version, long BaseVersion, string Diff, string Link, string RequestedBy, string Reason,
    DateTimeOffset CreatedAt, string Problem);

/// <summary><c>POST /policy/v1/check</c> and <c>/test</c>: documents as they would be put into force.</summary>
public sealed record PolicyDocuments
{
    /// <summary>Documents to look at.</summary>
    public IReadOnlyList<BundleDocument> Documents { get; init; } = [];
    /// <summary>Names of documents in force that would be removed.</summary>
    public IReadOnlyList<string> RemovedDocuments { get; init; } = [];
    /// <summary>Connections that would be registered.</summary>
    public IReadOnlyList<Connection> Connections { get; init; } = [];
    /// <summary>True to look at these documents alone, not together with those in force, and to say nothing of connections that aren't there yet.</summary>
    public bool Alone { get; init; }
}

/// <summary>Answer to check.</summary>
/// <param name="Errors">Everything that is wrong; empty where it may be asked for.</param>
public sealed record PolicyCheckResult(IReadOnlyList<PolicyError> Errors);

/// <summary>One thing that is wrong.</summary>
/// <param name="Document">Name of the document, or of the connection.</param>
/// <param name="Line">From 1; 0 for connections.</param>
/// <param name="Column">From 1; 0 for connections.</param>
/// <param name="Code">Stable code.</param>
/// <param name="Message">For the author.</param>
public sealed record PolicyError(string Document, int Line, int Column, string Code, string Message);

/// <summary>Answer to test.</summary>
/// <param name="Tests">One element a case and text.</param>
public sealed record PolicyTestReport(IReadOnlyList<PolicyTestView> Tests);

/// <summary>One example and how it came out.</summary>
/// <param name="Document">File it stands in.</param>
/// <param name="Line">Line it stands on.</param>
/// <param name="Name">Test and case.</param>
/// <param name="Text">Text of the operation.</param>
/// <param name="Passed">Whether the answer was as expected.</param>
/// <param name="Message">What came, and why.</param>
public sealed record PolicyTestView(string Document, int Line, string Name, string Text, bool Passed, string Message);

/// <summary><c>POST /policy/v1/explain</c>.</summary>
public sealed record PolicyExplainRequest
{
    /// <summary>Connection.</summary>
    public required string Connection { get; init; }
    /// <summary>Database at the target; null for the connection's own.</summary>
    public string? Database { get; init; }
    /// <summary>Text of the operation.</summary>
    public required string Text { get; init; }
    /// <summary>Who would run it; null for the caller.</summary>
    public ExplainPrincipal? Principal { get; init; }
    /// <summary>Client address; empty where it shall not be known.</summary>
    public string ClientAddress { get; init; } = "";
    /// <summary>When; null for now.</summary>
    public DateTimeOffset? At { get; init; }
}

/// <summary>A principal that is made up for an explanation.</summary>
public sealed record ExplainPrincipal
{
    /// <summary>Display name.</summary>
    public required string Name { get; init; }
    /// <summary>Person id; null for none that is known.</summary>
    public string? Person { get; init; }
    /// <summary><c>human</c> or <c>service</c>.</summary>
    public string Kind { get; init; } = "human";
    /// <summary>Groups of the identity provider.</summary>
    public IReadOnlyList<string> Groups { get; init; } = [];
    /// <summary>Assurance level.</summary>
    public string? Acr { get; init; }
    /// <summary>Authentication methods.</summary>
    public IReadOnlyList<string> Amr { get; init; } = [];
    /// <summary>When the login was; null for now.</summary>
    public DateTimeOffset? AuthenticatedAt { get; init; }
}

/// <summary>A document in force: <c>GET /policy/v1/documents</c>.</summary>
/// <param name="Version">Version of the bundle.</param>
/// <param name="Documents">All of its documents.</param>
public sealed record PolicyDocumentsInForce(long Version, IReadOnlyList<BundleDocument> Documents);

/// <summary>An approver group: <c>GET /policy/v1/approver-groups/{name}</c>.</summary>
/// <param name="Name">Name.</param>
/// <param name="Persons">Person ids or display names.</param>
/// <param name="IdpGroup">Group of the identity provider that a member must have too; null for none.</param>
public sealed record ApproverGroupView(string Name, IReadOnlyList<string> Persons, string? IdpGroup);

/// <summary>Event <c>countersign.bundle</c> on topic <c>policy</c>: another bundle is in force. Who enforces it fetches and verifies it.</summary>
/// <param name="Version">Its version.</param>
public sealed record BundleChanged(long Version);

/// <summary><c>POST /proxy/v1/facts</c>: what a text does, as the proxy's parser understands it.</summary>
/// <param name="Protocol">Protocol, e.g. <c>postgres</c>.</param>
/// <param name="Text">The text.</param>
public sealed record FactsRequest(string Protocol, string Text);
