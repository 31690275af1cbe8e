namespace Countersign.Policy.Contracts;

/// <summary>
/// <c>GET /policy/v1/sod-report</c>: who could ask for, run and approve what under the bundle in force, and where segregation of duties is thin
/// (docs/policies/segregation.md). It says what is possible by policies, links and groups, not what somebody did.
/// </summary>
public sealed record SegregationReport
{
    /// <summary>Number of this report's content: grows when something of it changes.</summary>
    public long Snapshot { get; init; }
    /// <summary>When it was made.</summary>
    public required DateTimeOffset At { get; init; }
    /// <summary>Version of the bundle; 0 for none.</summary>
    public required long BundleVersion { get; init; }
    /// <summary>SHA-256 over the lines of the report, lower-case hex: equal where nothing has changed.</summary>
    public required string Digest { get; init; }
    /// <summary>Humans that may log in, linked accounts counted once.</summary>
    public required int Humans { get; init; }
    /// <summary>Of these the ones that may approve.</summary>
    public required int Approvers { get; init; }
    /// <summary>What is thin, worst first.</summary>
    public required IReadOnlyList<SegregationFinding> Findings { get; init; }
    /// <summary>Every rule that asks for approval, and who must agree to changes of what is enforced, by name.</summary>
    public required IReadOnlyList<SegregationRule> Rules { get; init; }
    /// <summary>What each person holds over which connections, by name.</summary>
    public required IReadOnlyList<SegregationHolding> Holdings { get; init; }
    /// <summary>Who is in which approver group, by name.</summary>
    public required IReadOnlyList<SegregationGroup> Groups { get; init; }
    /// <summary>What is different from an earlier report; null where there is none.</summary>
    public SegregationChanges? Changes { get; init; }
}

/// <summary>One thing to look at.</summary>
/// <param name="Id">Stable: the same thing has the same id in every report.</param>
/// <param name="Severity"><c>high</c>, <c>medium</c> or <c>low</c>.</param>
/// <param name="Kind">
/// <c>satisfied-by-nobody</c>, <c>only-own-requester</c>, <c>one-person-only</c>, <c>small-control-group</c>, <c>second-account-suspected</c>, <c>no-approvers</c>,
/// <c>requests-and-approves</c>.
/// </param>
/// <param name="Text">For people.</param>
public sealed record SegregationFinding(string Id, string Severity, string Kind, string Text);

/// <summary>A rule that asks for approval.</summary>
/// <param name="Rule"><c>policy/rule</c>, or <c>control</c> for changes of what is enforced.</param>
/// <param name="Connections">Connections that it is about.</param>
/// <param name="AllOf">What it asks for, with who could give it.</param>
/// <param name="Requesters">Names of persons whose operations it could hold.</param>
/// <param name="Both">Names of those of them that could also approve it, for others.</param>
/// <param name="Satisfiable">Whether there are enough persons at all.</param>
/// <param name="Stuck">Names of requesters for whom there are not enough, since they, or accounts of theirs, are needed.</param>
public sealed record SegregationRule(
    string Rule, IReadOnlyList<string> Connections, IReadOnlyList<SegregationRequirement> AllOf, IReadOnlyList<string> Requesters, IReadOnlyList<string> Both,
    bool Satisfiable, IReadOnlyList<string> Stuck);

/// <summary>One requirement of a rule.</summary>
/// <param name="AnyOf">Approver groups.</param>
/// <param name="Quorum">How many distinct persons.</param>
/// <param name="Persons">Names of who could be one of them, linked accounts once.</param>
public sealed record SegregationRequirement(IReadOnlyList<string> AnyOf, int Quorum, IReadOnlyList<string> Persons);

/// <summary>What one person holds over some connections.</summary>
/// <param name="Person">Name; the others of linked accounts in brackets.</param>
/// <param name="Duties">Out of <c>run</c> (something passes without approval), <c>request</c> (something is held), <c>approve</c> (could approve something of others), <c>control</c> (could approve changes of what is enforced).</param>
/// <param name="Connections">Over these; empty for <c>control</c> alone.</param>
public sealed record SegregationHolding(string Person, IReadOnlyList<string> Duties, IReadOnlyList<string> Connections);

/// <summary>An approver group.</summary>
/// <param name="Group">Name.</param>
/// <param name="Persons">Names of its members that may approve now, linked accounts once.</param>
/// <param name="Absent">Members that it names but that can't approve: unknown, not enrolled, disabled, or not in the provider's group.</param>
/// <param name="Control">Whether it decides about what is enforced.</param>
public sealed record SegregationGroup(string Group, IReadOnlyList<string> Persons, IReadOnlyList<string> Absent, bool Control);

/// <summary>What is different from an earlier report.</summary>
/// <param name="Since">Number of the earlier one.</param>
/// <param name="At">When that was made first.</param>
/// <param name="BundleVersion">Version of the bundle then.</param>
/// <param name="Added">Lines that are new.</param>
/// <param name="Removed">Lines that are gone.</param>
public sealed record SegregationChanges(long Since, DateTimeOffset At, long BundleVersion, IReadOnlyList<string> Added, IReadOnlyList<string> Removed);
