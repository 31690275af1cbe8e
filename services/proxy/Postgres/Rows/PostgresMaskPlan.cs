using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>How the results of one PostgreSQL operation are treated; made by <see cref="PostgresMaskAnalysis"/>. Immutable, shared between sessions.</summary>
public sealed class PostgresMaskPlan : MaskPlan
{
    private readonly IReadOnlyList<StatementMask> _statements;

    internal PostgresMaskPlan(MaskScope scope, DetectorSet detectors, long? rowLimit, IReadOnlyList<StatementMask> statements)
    {
        Scope = scope;
        Detectors = detectors;
        RowLimit = rowLimit;
        _statements = statements;
        Texts = scope.IsEmpty ? TextRule.Open : statements.Count == 0 ? TextRule.Opaque : statements.Max(statement => statement.Texts);
    }

    /// <inheritdoc/>
    public override bool IsNone => false;

    /// <inheritdoc/>
    public override string? FiltersOn => FilteredColumn;

    /// <inheritdoc/>
    public override string? Launders => Laundering;

    /// <inheritdoc/>
    public override string? Unmaskable => Unshowable;

    /// <summary>Most rows that a statement may return; null for no limit.</summary>
    public long? RowLimit { get; }

    /// <summary>True where the operation may change what the catalog says (CREATE, ALTER, DROP and kin): refresh it once it is complete.</summary>
    public bool ChangesCatalog { get; init; }

    /// <summary>
    /// Relations that an approved operation filled from masked columns (name as written): tell the catalog
    /// (<see cref="Catalog.PostgresCatalog.Taint"/>) when it is forwarded, so that all their columns are masked from then on.
    /// </summary>
    public IReadOnlyList<Policy.Contracts.ObjectName> Tainted { get; init; } = [];

    internal string? FilteredColumn { get; init; }
    internal string? Laundering { get; init; }
    internal string? Unshowable { get; init; }
    internal MaskScope Scope { get; }
    internal DetectorSet Detectors { get; }
    internal TextRule Texts { get; }

    /// <summary>The plan of a statement by its place; past the end (a rule that made more of it) nothing is known.</summary>
    internal StatementMask Statement(int index) =>
        index < _statements.Count ? _statements[index] : Scope.IsEmpty ? StatementMask.Clean : StatementMask.Unknown;
}
