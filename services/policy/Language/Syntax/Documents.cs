using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Patterns;

namespace Countersign.Policy.Language.Syntax;

/// <summary>A value with the place where it is written.</summary>
public readonly record struct Located<T>(T Value, SourcePosition At)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Value}";
}

/// <summary>All decoded documents of a bundle or of some files. Their order means nothing.</summary>
public sealed record PolicySet
{
    /// <summary>Rules.</summary>
    public IReadOnlyList<PolicyDocument> Policies { get; init; } = [];
    /// <summary>Masks.</summary>
    public IReadOnlyList<MaskSetDocument> MaskSets { get; init; } = [];
    /// <summary>Approver groups.</summary>
    public IReadOnlyList<ApproverGroupDocument> ApproverGroups { get; init; } = [];
    /// <summary>Settings; more than one is an error that the checker reports.</summary>
    public IReadOnlyList<SettingsDocument> Settings { get; init; } = [];
    /// <summary>Examples.</summary>
    public IReadOnlyList<TestDocument> Tests { get; init; } = [];
}

/// <summary><c>kind: Policy</c>.</summary>
public sealed record PolicyDocument(Located<string> Name, string Description, IReadOnlyList<RuleSyntax> Rules);

/// <summary><c>kind: MaskSet</c>.</summary>
public sealed record MaskSetDocument(
    Located<string> Name, string Description, ConnectionSelector? Connections, IReadOnlyList<Located<ColumnMask>> Columns,
    IReadOnlyList<Located<string>> Detectors, PrincipalSelector? Exempt)
{
    /// <summary>The document without places and comments: equal texts mean the same.</summary>
    public string Source { get; init; } = "";
}

/// <summary><c>kind: ApproverGroup</c>.</summary>
/// <param name="Name">Name; <c>enrolled</c> is taken.</param>
/// <param name="Description">For people.</param>
/// <param name="Persons">Person ids or display names (e-mail addresses).</param>
/// <param name="IdpGroup">Group of the identity provider that a member must have too: narrows, never widens.</param>
public sealed record ApproverGroupDocument(Located<string> Name, string Description, IReadOnlyList<Located<string>> Persons, Located<string>? IdpGroup);

/// <summary><c>kind: Settings</c>, at most one.</summary>
public sealed record SettingsDocument
{
    /// <summary>Name.</summary>
    public required Located<string> Name { get; init; }
    /// <summary>Who must agree to a change of what is enforced; null for one enrolled person.</summary>
    public ApprovalSyntax? ControlApproval { get; init; }
    /// <summary>Days for which the recorder keeps payloads; null for ever.</summary>
    public int? RetentionDays { get; init; }
    /// <summary>The identity provider's groups that rules may name; empty where any may be named.</summary>
    public IReadOnlyList<Located<string>> PrincipalGroups { get; init; } = [];
    /// <summary>The document without places and comments: equal texts mean the same.</summary>
    public string Source { get; init; } = "";
}

/// <summary>One rule.</summary>
public sealed record RuleSyntax
{
    /// <summary>The rule without places and comments: equal texts mean the same.</summary>
    public string Source { get; init; } = "";
    /// <summary>Where it begins.</summary>
    public required SourcePosition At { get; init; }
    /// <summary>Unique in its policy.</summary>
    public required Located<string> Name { get; init; }
    /// <summary>What it says.</summary>
    public required Outcome Effect { get; init; }
    /// <summary>When it says so; all conditions must hold.</summary>
    public required WhenSyntax When { get; init; }
    /// <summary>For the person.</summary>
    public string Message { get; init; } = "";
    /// <summary>What to do next.</summary>
    public string Hint { get; init; } = "";
    /// <summary>Only says what it would have done.</summary>
    public bool Shadow { get; init; }
    /// <summary>Terms beside the answer.</summary>
    public ObligationSyntax? Obligations { get; init; }
    /// <summary>Who must agree.</summary>
    public ApprovalSyntax? Approval { get; init; }
}

/// <summary>What a rule says about incomplete facts.</summary>
public enum CompleteCondition
{
    /// <summary>Not said: complete ones only for allow, any for the others.</summary>
    Unspecified,
    /// <summary>Complete facts only.</summary>
    Complete,
    /// <summary>Incomplete facts only.</summary>
    Incomplete,
    /// <summary>Either.</summary>
    Any,
}

/// <summary>Conditions of a rule; a null one always holds.</summary>
public sealed record WhenSyntax
{
    /// <summary>Where it begins.</summary>
    public required SourcePosition At { get; init; }
    /// <summary>Who asks.</summary>
    public PrincipalSelector? Principals { get; init; }
    /// <summary>For which targets.</summary>
    public ConnectionSelector? Connections { get; init; }
    /// <summary>Protocol.</summary>
    public Located<string>? Protocol { get; init; }
    /// <summary>Command tags with globs.</summary>
    public IReadOnlyList<Located<Glob>>? Statements { get; init; }
    /// <summary>Relations read.</summary>
    public IReadOnlyList<Located<NamePattern>>? Reads { get; init; }
    /// <summary>Relations written.</summary>
    public IReadOnlyList<Located<NamePattern>>? Writes { get; init; }
    /// <summary>Functions called.</summary>
    public IReadOnlyList<Located<NamePattern>>? Functions { get; init; }
    /// <summary>Functions called that may have effects.</summary>
    public IReadOnlyList<Located<NamePattern>>? ImpureFunctions { get; init; }
    /// <summary>Settings changed.</summary>
    public IReadOnlyList<Located<Glob>>? Settings { get; init; }
    /// <summary>True: a DELETE, UPDATE or TRUNCATE without WHERE. False: none such.</summary>
    public Located<bool>? WhereAbsent { get; init; }
    /// <summary>Completeness of the facts.</summary>
    public Located<CompleteCondition> Complete { get; init; }
    /// <summary>Time window.</summary>
    public TimeSyntax? Time { get; init; }
    /// <summary>Client networks.</summary>
    public IReadOnlyList<Located<System.Net.IPNetwork>>? ClientAddress { get; init; }

    /// <summary>Whether any condition looks at the statement itself.</summary>
    public bool LooksAtStatement =>
        Statements is not null || Reads is not null || Writes is not null || Functions is not null || ImpureFunctions is not null || Settings is not null || WhereAbsent is not null;
}

/// <summary>Selects principals; all keys given must hold.</summary>
public sealed record PrincipalSelector
{
    /// <summary>Any of these groups.</summary>
    public IReadOnlyList<Located<string>>? Groups { get; init; }
    /// <summary>Any of these persons, by id or name.</summary>
    public IReadOnlyList<Located<string>>? Persons { get; init; }
    /// <summary><c>human</c> or <c>service</c>.</summary>
    public string? Kind { get; init; }
    /// <summary>All of these authentication methods.</summary>
    public IReadOnlyList<Located<string>>? Amr { get; init; }
    /// <summary>Any of these assurance levels.</summary>
    public IReadOnlyList<Located<string>>? Acr { get; init; }
    /// <summary>Authenticated at most this long ago.</summary>
    public TimeSpan? MaxAge { get; init; }
}

/// <summary>Selects connections; names and labels must both hold.</summary>
/// <param name="Names">Any of these names, with globs; null for all.</param>
/// <param name="Labels">Each of these labels with any of its values (globs); null for all.</param>
public sealed record ConnectionSelector(IReadOnlyList<Located<Glob>>? Names, IReadOnlyList<LabelSelector>? Labels);

/// <summary>A label and the values that are accepted.</summary>
public sealed record LabelSelector(Located<string> Name, IReadOnlyList<Located<Glob>> Values);

/// <summary>A window on the week. Where <see cref="To"/> is before <see cref="From"/> it goes past midnight and belongs to the day it began on.</summary>
public sealed record TimeSyntax(SourcePosition At, IReadOnlySet<DayOfWeek>? Days, TimeSpan? From, TimeSpan? To, Located<string> Timezone);

/// <summary>Terms beside the answer; null where the rule says nothing.</summary>
public sealed record ObligationSyntax
{
    /// <summary>Where it begins.</summary>
    public required SourcePosition At { get; init; }
    /// <summary>Recording level.</summary>
    public Located<RecordLevel>? Record { get; init; }
    /// <summary>Most rows.</summary>
    public long? RowLimit { get; init; }
    /// <summary>Filters on masked columns.</summary>
    public Located<FilterOnMasked>? FilterOnMasked { get; init; }
    /// <summary>Writes that read a masked column.</summary>
    public Located<Outcome>? Laundering { get; init; }
    /// <summary>Holds within a transaction: null unsaid, zero refused, else the longest.</summary>
    public Located<TimeSpan>? InTransaction { get; init; }
}

/// <summary>Who must agree, and for how long.</summary>
public sealed record ApprovalSyntax
{
    /// <summary>Where it begins.</summary>
    public required SourcePosition At { get; init; }
    /// <summary>All of these.</summary>
    public required IReadOnlyList<RequirementSyntax> AllOf { get; init; }
    /// <summary>How long a request may wait; null unsaid.</summary>
    public TimeSpan? Timeout { get; init; }
    /// <summary>How long the grant lasts; null unsaid.</summary>
    public TimeSpan? GrantLifetime { get; init; }
    /// <summary>Whether a reason is needed.</summary>
    public bool ReasonRequired { get; init; }
    /// <summary>How an approver must have logged in; null unsaid.</summary>
    public ApproverAssurance? Assurance { get; init; }
    /// <summary>Longest access window; null where there are none.</summary>
    public TimeSpan? Window { get; init; }
    /// <summary>Whether the requester may go ahead alone.</summary>
    public bool BreakGlass { get; init; }
    /// <summary>Whether it may be tried in a transaction that is rolled back.</summary>
    public bool DryRun { get; init; }
}

/// <summary>A number of distinct persons out of any of some groups.</summary>
public sealed record RequirementSyntax(SourcePosition At, IReadOnlyList<Located<string>> AnyOf, int Quorum);

/// <summary><c>kind: Test</c>: examples with the answer they must get.</summary>
public sealed record TestDocument(Located<string> Name, string Description, IReadOnlyList<TestCaseSyntax> Cases);

/// <summary>One example: one text, one expectation.</summary>
public sealed record TestCaseSyntax
{
    /// <summary>Where it begins.</summary>
    public required SourcePosition At { get; init; }
    /// <summary>Name of the case.</summary>
    public required string Name { get; init; }
    /// <summary>Who asks.</summary>
    public required TestPrincipal Principal { get; init; }
    /// <summary>Connection, by name or made up.</summary>
    public required TestConnection Connection { get; init; }
    /// <summary>Database; empty for the connection's own.</summary>
    public string Database { get; init; } = "";
    /// <summary>Text of the operation.</summary>
    public required Located<string> Text { get; init; }
    /// <summary>Clock.</summary>
    public DateTimeOffset? Now { get; init; }
    /// <summary>Client address.</summary>
    public string ClientAddress { get; init; } = "";
    /// <summary>Answer that must come.</summary>
    public required Outcome Expect { get; init; }
    /// <summary>Rule that must be among the deciding ones, <c>policy/rule</c>; null for any.</summary>
    public Located<string>? Rule { get; init; }
    /// <summary>Approver groups that must be asked, in any order; null for any.</summary>
    public IReadOnlyList<string>? Approvers { get; init; }
}

/// <summary>The principal of an example.</summary>
public sealed record TestPrincipal(
    string Name, string Person, string Kind, IReadOnlyList<string> Groups, string? Acr, IReadOnlyList<string> Amr, TimeSpan AuthenticatedAgo);

/// <summary>The connection of an example: a registered one, or one made up with these labels.</summary>
public sealed record TestConnection(Located<string> Name, string Protocol, IReadOnlyDictionary<string, string>? Labels);
