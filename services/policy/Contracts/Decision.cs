using System.Text.Json.Serialization;

namespace Countersign.Policy.Contracts;

/// <summary>The three answers, ordered by strictness: a larger value always wins (invariant I4).</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Outcome>))]
public enum Outcome
{
    /// <summary>May be forwarded once it is recorded.</summary>
    [JsonStringEnumMemberName("allow")] Allow = 0,
    /// <summary>Waits for other people.</summary>
    [JsonStringEnumMemberName("require_approval")] RequireApproval = 1,
    /// <summary>Refused.</summary>
    [JsonStringEnumMemberName("deny")] Deny = 2,
}

/// <summary>Who asks, as far as policies can see.</summary>
/// <param name="Id">Principal id (issuer and subject, hashed by identity).</param>
/// <param name="Person">Person id.</param>
/// <param name="Name">Display name, usually the e-mail address.</param>
/// <param name="Kind"><c>human</c> or <c>service</c>.</param>
/// <param name="Groups">Group claims of the identity provider.</param>
/// <param name="Acr">Assurance level, null where the provider gave none.</param>
/// <param name="Amr">Authentication methods.</param>
/// <param name="AuthenticatedAt">When the person last authenticated.</param>
public sealed record PrincipalFacts(
    string Id, string Person, string Name, string Kind, IReadOnlyList<string> Groups, string? Acr, IReadOnlyList<string> Amr, DateTimeOffset AuthenticatedAt);

/// <summary>What is decided.</summary>
public sealed record DecisionInput
{
    /// <summary>The authenticated principal.</summary>
    public required PrincipalFacts Principal { get; init; }
    /// <summary>Name of the connection.</summary>
    public required string Connection { get; init; }
    /// <summary>Database at the target.</summary>
    public required string Database { get; init; }
    /// <summary>Facts of the operation.</summary>
    public required OperationFacts Facts { get; init; }
    /// <summary>Address of the client, without port.</summary>
    public string ClientAddress { get; init; } = "";
    /// <summary>The proxy's clock, for time windows.</summary>
    public DateTimeOffset Now { get; init; }
}

/// <summary>A rule that took part in a decision.</summary>
/// <param name="Policy">Name of the policy document.</param>
/// <param name="Rule">Name of the rule in it.</param>
/// <param name="Effect">What the rule says.</param>
/// <param name="Statement">Index of the top-level statement it matched; -1 where the whole operation matched.</param>
/// <param name="Message">The rule's text for people, empty if it has none.</param>
/// <param name="Shadow">True where the rule only says what it would have done.</param>
/// <param name="Error">Not empty where the rule failed; such a rule denies.</param>
public sealed record RuleHit(string Policy, string Rule, Outcome Effect, int Statement, string Message, bool Shadow = false, string Error = "");

/// <summary>Answer, why, and on what terms.</summary>
public sealed record Decision
{
    /// <summary>The answer.</summary>
    public required Outcome Outcome { get; init; }
    /// <summary>Version of the bundle that was asked.</summary>
    public required long BundleVersion { get; init; }
    /// <summary>Every rule that matched, the one that decided first.</summary>
    public IReadOnlyList<RuleHit> Rules { get; init; } = [];
    /// <summary>Text for the person who is refused or held.</summary>
    public string Message { get; init; } = "";
    /// <summary>What to do next.</summary>
    public string Hint { get; init; } = "";
    /// <summary>On what terms it may pass.</summary>
    public Obligations Obligations { get; init; } = Obligations.Default;
    /// <summary>Present exactly where the outcome is <see cref="Outcome.RequireApproval"/>.</summary>
    public ApprovalTerms? Terms { get; init; }
}

/// <summary>Recording level of an operation (design: Recording).</summary>
[JsonConverter(typeof(JsonStringEnumConverter<RecordLevel>))]
public enum RecordLevel
{
    /// <summary>May be lost in a crash; for allowed reads only.</summary>
    [JsonStringEnumMemberName("buffered")] Buffered = 0,
    /// <summary>On the proxy's disk before anything has an effect.</summary>
    [JsonStringEnumMemberName("durable")] Durable = 1,
    /// <summary>The recorder has it.</summary>
    [JsonStringEnumMemberName("acknowledged")] Acknowledged = 2,
}

/// <summary>What a refused filter on a masked column gets.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<FilterOnMasked>))]
public enum FilterOnMasked
{
    /// <summary>Refused (the default).</summary>
    [JsonStringEnumMemberName("deny")] Deny = 0,
    /// <summary>Held for approval.</summary>
    [JsonStringEnumMemberName("require_approval")] RequireApproval = 1,
    /// <summary>Allowed.</summary>
    [JsonStringEnumMemberName("allow")] Allow = 2,
}

/// <summary>Terms of a decision beside its answer. Where several rules give one, the strictest wins.</summary>
public sealed record Obligations
{
    /// <summary>No masks, durable recording, no limit, filters on masked columns refused, holds in a transaction for at most 60 s.</summary>
    public static Obligations Default { get; } = new();
    /// <summary>Columns to mask in results.</summary>
    public IReadOnlyList<ColumnMask> Masks { get; init; } = [];
    /// <summary>Detectors that are run over results, by name: <c>card</c>, <c>email</c>, <c>iban</c>, <c>us-ssn</c>, <c>phone</c>, <c>token</c>.</summary>
    public IReadOnlyList<string> Detectors { get; init; } = [];
    /// <summary>How durable the record must be.</summary>
    public RecordLevel Record { get; init; } = RecordLevel.Durable;
    /// <summary>Largest number of rows a statement may return; null for no limit.</summary>
    public long? RowLimit { get; init; }
    /// <summary>What a filter, sort or join on a masked column gets.</summary>
    public FilterOnMasked FilterOnMasked { get; init; } = FilterOnMasked.Deny;
    /// <summary>What a statement gets that reads a masked column and writes anything: held or denied, never allowed.</summary>
    public Outcome Laundering { get; init; } = Outcome.Deny;
    /// <summary>
    /// On what terms an allowed operation is held that filters on a masked column or launders one, where <see cref="FilterOnMasked"/> or
    /// <see cref="Laundering"/> says require approval. Null where neither does; without terms such an operation is refused.
    /// </summary>
    public ApprovalTerms? MaskingTerms { get; init; }
}

/// <summary>One masked column.</summary>
/// <param name="Schema">Schema of the relation.</param>
/// <param name="Relation">Table, or <c>*</c>.</param>
/// <param name="Column">Column, or <c>*</c>.</param>
/// <param name="Strategy"><c>redact</c> (replace whole), <c>last4</c> (keep the last four characters), <c>null</c> or <c>hash</c> (keyed, so that equal values stay equal within a session).</param>
public sealed record ColumnMask(string Schema, string Relation, string Column, string Strategy);

/// <summary>What must be agreed before the operation may pass.</summary>
public sealed record ApprovalTerms
{
    /// <summary>Approver groups of which each must give its quorum (all-of). A person in two groups counts for one.</summary>
    public required IReadOnlyList<ApproverRequirement> AllOf { get; init; }
    /// <summary>Whether the requester must give a reason.</summary>
    public bool ReasonRequired { get; init; }
    /// <summary>How long a request may wait.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(30);
    /// <summary>How long the grant may be redeemed after the approval.</summary>
    public TimeSpan GrantLifetime { get; init; } = TimeSpan.FromMinutes(10);
    /// <summary>Whether a hold within a transaction is refused.</summary>
    public bool RefuseInTransaction { get; init; }
    /// <summary>Longest hold within an open transaction.</summary>
    public TimeSpan HoldInTransaction { get; init; } = TimeSpan.FromSeconds(60);
    /// <summary>How an approver must have logged in to be heard; null where any login will do.</summary>
    public ApproverAssurance? Assurance { get; init; }
    /// <summary>Longest access window that may be asked for; null where only exact operations can be approved.</summary>
    public TimeSpan? LongestWindow { get; init; }
    /// <summary>Whether the requester may go ahead alone with a reason, to be reviewed by somebody else afterwards.</summary>
    public bool BreakGlass { get; init; }
    /// <summary>Whether the operation may be tried in a transaction that is rolled back, to show the approver its effect.</summary>
    public bool DryRun { get; init; }
}

/// <summary>Assurance of an approver's login (OpenID Connect Core 1.0 section 2: <c>auth_time</c>, <c>amr</c>).</summary>
/// <param name="MaxAge">Oldest login that is good enough; null for any.</param>
/// <param name="Amr">Methods that the login must all have used; empty for any.</param>
public sealed record ApproverAssurance(TimeSpan? MaxAge, IReadOnlyList<string> Amr)
{
    /// <summary>What satisfies both: all methods, the younger login.</summary>
    public static ApproverAssurance? Strictest(ApproverAssurance? one, ApproverAssurance? other)
    {
        if (one is null || other is null)
        {
            return one ?? other;
        }

        var age = one.MaxAge is { } first && other.MaxAge is { } second ? (first < second ? first : second) : one.MaxAge ?? other.MaxAge;
        return new ApproverAssurance(age, [.. one.Amr.Union(other.Amr, StringComparer.Ordinal).Order(StringComparer.Ordinal)]);
    }

    /// <summary>Whether every login that satisfies <paramref name="other"/> satisfies this too.</summary>
    /// <param name="other">What was asked for; null for nothing.</param>
    public bool FollowsFrom(ApproverAssurance? other) =>
        (MaxAge is not { } age || other?.MaxAge <= age) && Amr.All(method => other?.Amr.Contains(method, StringComparer.Ordinal) == true);
}

/// <summary>A number of distinct persons out of any of some approver groups.</summary>
/// <param name="AnyOf">Names of approver groups; a member of any of them counts.</param>
/// <param name="Quorum">How many distinct persons, at least 1.</param>
public sealed record ApproverRequirement(IReadOnlyList<string> AnyOf, int Quorum);
