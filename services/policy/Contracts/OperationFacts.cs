namespace Countersign.Policy.Contracts;

/// <summary>What parsing found out about one operation. Policies match on these, and on nothing else of the text.</summary>
/// <remarks>
/// Immutable and cached by exact text plus the settings that change how it parses. Where <see cref="Complete"/> is false the lists are
/// lower bounds: something else may happen too, so no rule may allow the operation by what they lack.
/// </remarks>
public sealed record OperationFacts
{
    /// <summary>The protocol the text was read as, e.g. <c>postgres</c>.</summary>
    public required string Protocol { get; init; }

    /// <summary>Library and version of the grammar, e.g. <c>libpg_query 17 (170004)</c>. Facts of one grammar are not valid for another.</summary>
    public required string Grammar { get; init; }

    /// <summary>False where something was not understood with certainty.</summary>
    public bool Complete => Incomplete.Count == 0;

    /// <summary>Stable codes of why the facts are not complete, e.g. <c>syntax</c>, <c>do-block</c>, <c>dynamic-sql</c>, <c>too-long</c>.</summary>
    public IReadOnlyList<string> Incomplete { get; init; } = [];

    /// <summary>One element a top-level statement, in order. Empty for text without a statement (blank or only comments).</summary>
    public IReadOnlyList<StatementFacts> Statements { get; init; } = [];
}

/// <summary>Facts of one top-level statement, including whatever is nested in it.</summary>
public sealed record StatementFacts
{
    /// <summary>Command tags in upper case as PostgreSQL prints them (<c>SELECT</c>, <c>CREATE TABLE</c>), the statement's own first, then those nested in it (data-changing CTEs, EXPLAIN ANALYZE, PREPARE, COPY of a query).</summary>
    public required IReadOnlyList<string> Kinds { get; init; }

    /// <summary>Relations with how they are used. CTE names are resolved away.</summary>
    public IReadOnlyList<RelationUse> Relations { get; init; } = [];

    /// <summary>Functions called by name: a lower bound (casts, operators, defaults, triggers and view bodies run code that no tree shows).</summary>
    public IReadOnlyList<ObjectName> Functions { get; init; } = [];

    /// <summary>Those of <see cref="Functions"/> that are not on the list of known pure functions of pg_catalog: they may have effects.</summary>
    public IReadOnlyList<ObjectName> ImpureFunctions { get; init; } = [];

    /// <summary>True where a DELETE or UPDATE (nested ones too) has no WHERE clause or one that names no column (<c>WHERE true</c>), or TRUNCATE.</summary>
    public bool WhereAbsent { get; init; }

    /// <summary>True where it is certain that the statement only reads: SELECT-like, complete, no lock clause, every function on the list of pure ones.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Settings changed by SET, RESET or set_config with a constant name, lower case; <c>*</c> where the name is not constant, <c>all</c> for RESET ALL and DISCARD ALL.</summary>
    public IReadOnlyList<string> Settings { get; init; } = [];

    /// <summary>Those of <see cref="Settings"/> that are only set back to their defaults (RESET, SET … TO DEFAULT, DISCARD ALL).</summary>
    public IReadOnlyList<string> ResetSettings { get; init; } = [];

    /// <summary>UTF-8 byte offset of the statement's first token in the operation's text.</summary>
    public int Start { get; init; }

    /// <summary>Length in UTF-8 bytes.</summary>
    public int Length { get; init; }
}

/// <summary>A possibly schema-qualified name, case-folded and dequoted as the server does it.</summary>
/// <param name="Schema">Null where the text doesn't qualify it.</param>
/// <param name="Name">The name.</param>
public readonly record struct ObjectName(string? Schema, string Name)
{
    /// <summary><c>schema.name</c>, or <c>name</c>.</summary>
    public override string ToString() => Schema is null ? Name : $"{Schema}.{Name}";
}

/// <summary>How a relation is used by a statement.</summary>
[Flags]
public enum RelationAccess
{
    /// <summary>Not at all.</summary>
    None = 0,
    /// <summary>Its rows are read (FROM, USING, COPY TO, RETURNING, a WHERE on a write target).</summary>
    Read = 1,
    /// <summary>INSERT or COPY FROM.</summary>
    Insert = 2,
    /// <summary>UPDATE or MERGE.</summary>
    Update = 4,
    /// <summary>DELETE or TRUNCATE.</summary>
    Delete = 8,
    /// <summary>Created, altered, dropped, locked or otherwise changed as an object.</summary>
    Define = 16,
    /// <summary>Everything that isn't reading.</summary>
    Write = Insert | Update | Delete | Define,
}

/// <summary>One relation and how a statement uses it.</summary>
public readonly record struct RelationUse(ObjectName Name, RelationAccess Access);
