namespace Countersign.Identity.Persons;

/// <summary>Kinds of persons and principals.</summary>
public static class PersonKinds
{
    /// <summary>A human being.</summary>
    public const string Human = "human";

    /// <summary>A service account, which persons own.</summary>
    public const string Service = "service";
}

/// <summary>A person as it is stored.</summary>
public sealed record PersonRecord
{
    /// <summary><c>per_…</c></summary>
    public required string Id { get; init; }
    /// <summary>Display name, unique (case-insensitive) among all persons ever, since policies may name it.</summary>
    public required string Name { get; init; }
    /// <summary>One of <see cref="PersonKinds"/>.</summary>
    public required string Kind { get; init; }
    /// <summary>Whether they may decide requests.</summary>
    public bool Enrolled { get; init; }
    /// <summary>Approval request that admitted them, or <c>bootstrap</c>.</summary>
    public string? EnrolledBy { get; init; }
    /// <summary>Whether they may do nothing any more.</summary>
    public bool Disabled { get; init; }
    /// <summary>Persons that are the same human.</summary>
    public IReadOnlyList<string> Links { get; init; } = [];
    /// <summary>Owners of a service account.</summary>
    public IReadOnlyList<string> Owners { get; init; } = [];
    /// <summary>Group of the provider whose members all own the service account too; empty for none.</summary>
    public string Team { get; init; } = "";
    /// <summary>The name that the provider claimed at the first login, before it was made unique; empty for persons of before.</summary>
    public string ClaimedName { get; init; } = "";
    /// <summary>Persons that look like the same human but were decided not to be.</summary>
    public IReadOnlyList<string> Distinct { get; init; } = [];
    /// <summary>Approval requests whose changes were made here, the latest last: none is made twice, also where something else has happened to the person in between.</summary>
    public IReadOnlyList<string> Applied { get; init; } = [];
    /// <summary>First seen.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
}

/// <summary>A principal as it is stored: what a provider calls somebody.</summary>
public sealed record PrincipalRecord
{
    /// <summary><c>pri_…</c>, from issuer and subject.</summary>
    public required string Id { get; init; }
    /// <summary>Its person.</summary>
    public required string Person { get; init; }
    /// <summary>Issuer, exactly as the provider writes it.</summary>
    public required string Issuer { get; init; }
    /// <summary>Subject at the issuer.</summary>
    public required string Subject { get; init; }
    /// <summary>Groups of the latest login.</summary>
    public IReadOnlyList<string> Groups { get; init; } = [];
    /// <summary>
    /// Groups of the latest login whose token named any: what counts for who owns what. A login that leaves the claim out can't end that somebody is of a team. Null for
    /// principals of before, whose <see cref="Groups"/> count.
    /// </summary>
    public IReadOnlyList<string>? HeldGroups { get; init; }
    /// <summary>E-mail address of the latest login; empty where the provider named none, or hasn't verified it.</summary>
    public string Mail { get; init; } = "";
    /// <summary>Latest login.</summary>
    public required DateTimeOffset LastLoginAt { get; init; }
}

/// <summary>What a provider says about somebody who just logged in there.</summary>
public sealed record ProviderIdentity
{
    /// <summary>Issuer.</summary>
    public required string Issuer { get; init; }
    /// <summary>Subject.</summary>
    public required string Subject { get; init; }
    /// <summary>Name to show; only the first login's counts.</summary>
    public required string Name { get; init; }
    /// <summary>Whether the provider vouches for it where it is an address: it is nobody's choice then.</summary>
    public bool HasVouchedName { get; init; }
    /// <summary>Groups.</summary>
    public IReadOnlyList<string> Groups { get; init; } = [];
    /// <summary>Whether the provider said anything of groups: none is another thing than not a word.</summary>
    public bool HasGroups { get; init; }
    /// <summary>E-mail address, unless the provider says that it hasn't verified it; empty for none.</summary>
    public string Mail { get; init; } = "";
    /// <summary>Assurance level.</summary>
    public string? Acr { get; init; }
    /// <summary>Authentication methods.</summary>
    public IReadOnlyList<string> Amr { get; init; } = [];
    /// <summary>When they authenticated.</summary>
    public required DateTimeOffset AuthenticatedAt { get; init; }
}

/// <summary>A principal and its person.</summary>
public sealed record SignedIn(PrincipalRecord Principal, PersonRecord Person);
