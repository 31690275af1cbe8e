using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>Plans one statement: first whether it touches anything masked at all, and only then in which outputs, filters and writes.</summary>
internal sealed class StatementPlanner(MaskScope scope, SqlStatement statement, IReadOnlyList<string>? path)
{
    private readonly Lineage _lineage = new(
        scope.Snapshot, (relation, column) => scope.Strategy(relation.Oid, column), scope.Masks, path);

    /// <summary>See <see cref="MaskPlan.FiltersOn"/>.</summary>
    public string? FiltersOn { get; private set; }

    /// <summary>See <see cref="MaskPlan.Launders"/>.</summary>
    public string? Launders { get; private set; }

    /// <summary>See <see cref="MaskPlan.Unmaskable"/>.</summary>
    public string? Unmaskable { get; private set; }

    /// <summary>Relations that it fills from masked columns.</summary>
    public List<ObjectName> Tainted { get; } = [];

    public StatementMask Plan()
    {
        var copy = statement.Copy is { From: false } format ? CopyShape.Of(format) : null;
        if (scope.IsEmpty)
        {
            return new StatementMask { Shape = statement.Shape, Copy = copy };
        }

        Unmaskable = Shows();
        var opaque = statement.Opaque || RunsUserCode();
        var (touches, unknown) = Touches();
        if (statement.Facts.Kinds.FirstOrDefault(SensitiveObjects.Carries) is { } carrier)
        {
            Launders = $"{carrier} can carry values out where no text shows it";
        }

        if (!touches && !opaque)
        {
            // Still outputs may call functions of users, which may read anything.
            return CallsUserFunction()
                ? new StatementMask { Opaque = true, Reads = true, Shape = statement.Shape, Copy = copy, Outputs = Outputs() }
                : Untouched(copy);
        }

        if (touches)
        {
            Filters();
            Writes();
            Redefines();
        }

        return new StatementMask
        {
            Touches = true,
            Reads = opaque || unknown || ReadsMasked() is not null,
            Opaque = opaque || CallsUserFunction(),
            Everything = Tainted.Count > 0,
            Shape = statement.Shape,
            Copy = copy,
            Outputs = statement.Opaque ? null : Outputs(),
        };
    }

    private StatementMask Untouched(CopyShape? copy)
    {
        var deferred = statement.Facts.Kinds.Any(kind => kind is "COMMIT" or "PREPARE TRANSACTION" or "SET CONSTRAINTS");
        return copy is null && statement.Shape is ResultShape.Rows or ResultShape.None && !deferred
            ? StatementMask.Clean
            : new StatementMask { Shape = statement.Shape, Copy = copy, Deferred = deferred };
    }

    /// <summary>Relations of which one may be masked, or of which nothing is known.</summary>
    private (bool Touches, bool Unknown) Touches()
    {
        var (touches, unknown) = (false, false);
        foreach (var use in statement.Facts.Relations)
        {
            var candidates = scope.Snapshot.Find(use.Name, path);
            var missing = candidates.Count == 0 && (use.Access & ~RelationAccess.Define) != 0;
            unknown |= missing && (use.Access & RelationAccess.Read) != 0;
            touches |= missing || candidates.Exists(scope.Masks);
        }

        return (touches, unknown);
    }

    private string? Shows()
    {
        foreach (var use in statement.Facts.Relations)
        {
            if ((use.Access & RelationAccess.Read) != 0 && SensitiveObjects.MasksWhole(use.Name.Schema, use.Name.Name))
            {
                return $"{use.Name} holds values of any table, or what others have typed";
            }
        }

        foreach (var function in statement.Facts.Functions)
        {
            if (SensitiveObjects.ShowsValues(function))
            {
                return $"{function}() can return values of any table";
            }
        }

        return statement.Facts.Functions.Count > 0 && statement.Facts.Functions.Any(function => PureNames.TakesSql(function.Name))
            ? "a function in it takes SQL as text"
            : null;
    }

    /// <summary>Triggers and rules of what it writes, and functions by names that the parser took for the server's own.</summary>
    private bool RunsUserCode()
    {
        foreach (var use in statement.Facts.Relations)
        {
            if ((use.Access & (RelationAccess.Insert | RelationAccess.Update | RelationAccess.Delete)) != 0
                && scope.Snapshot.Find(use.Name, path).Exists(relation => relation.RunsCode))
            {
                return true;
            }
        }

        foreach (var function in statement.Facts.Functions)
        {
            if (scope.Snapshot.Function(function) == FunctionKind.Opaque && !statement.Facts.ImpureFunctions.Contains(function))
            {
                return true;
            }
        }

        return false;
    }

    private bool CallsUserFunction()
    {
        foreach (var function in statement.Facts.ImpureFunctions)
        {
            if (scope.Snapshot.Function(function) == FunctionKind.Opaque)
            {
                return true;
            }
        }

        return false;
    }

    private List<OutputMask>? Outputs()
    {
        if (statement.Copy is { Relation: { } relation } copy)
        {
            return copy.From ? null : CopiedColumns(relation, copy.Columns);
        }

        return statement is { Result: { } result, Shape: ResultShape.Rows or ResultShape.CopyOut } && _lineage.Outputs(result) is { } values
            ? [.. values.Select(value => new OutputMask(value.Strategy, value.Form))]
            : null;
    }

    private List<OutputMask>? CopiedColumns(ObjectName relation, IReadOnlyList<string> names)
    {
        var candidates = scope.Snapshot.Find(relation, path);
        if (candidates.Count == 0 || (candidates.Count > 1 && candidates.Exists(scope.Masks)))
        {
            return null;
        }

        var columns = candidates[0].Columns;
        var outputs = new List<OutputMask>();
        foreach (var name in names.Count > 0 ? names : [.. columns.Where(column => !column.IsGenerated).Select(column => column.Name)])
        {
            if (columns.FirstOrDefault(column => column.Name == name) is not { Name: not null } column)
            {
                return null;
            }

            outputs.Add(new OutputMask(scope.Strategy(candidates[0].Oid, column.Number), scope.Form(column.Type)));
        }

        return outputs;
    }

    /// <summary>What results depend on without showing it.</summary>
    private void Filters()
    {
        foreach (var block in statement.Blocks)
        {
            Filter(_lineage.Of(block.Filters, block, aliases: true), "WHERE, JOIN, GROUP BY, ORDER BY or the like");
            Filter(_lineage.Of(block.Compared, block), "a comparison or calculation");
            if (block.NaturalJoin)
            {
                Filter(_lineage.Common(block), "NATURAL JOIN");
            }

            if (block.Distinct)
            {
                Filter(_lineage.Evaluate(block).Any, "DISTINCT, or a set operation that compares rows");
            }

            foreach (var ordinal in block.Ordinals)
            {
                var outputs = _lineage.Evaluate(block);
                Filter(outputs is { Positional: true, Rest: null } && ordinal >= 1 && ordinal <= outputs.Items.Count ? outputs.Items[ordinal - 1].Value : outputs.Any, "ORDER BY or GROUP BY");
            }

            foreach (var source in block.Sources.Where(source => source.Kind == SqlSourceKind.Function))
            {
                Filter(Columns(source.Reads, block), "the rows of a function");
            }
        }
    }

    private void Filter(Value value, string where)
    {
        if (value.IsMasked)
        {
            FiltersOn ??= $"{value.Origin ?? "a masked column"} in {where}";
        }
    }

    private void Writes()
    {
        foreach (var block in statement.Blocks)
        {
            foreach (var call in block.Calls)
            {
                if (Columns(call.Reads, block) is { IsMasked: true } given && scope.Snapshot.Function(call.Name) != FunctionKind.Transparent)
                {
                    Launders ??= $"{given.Origin} is handed to {call.Name}()";
                }
            }
        }

        if (!statement.Writes || (ReadsMasked() is not { } origin))
        {
            return;
        }

        Launders ??= $"{statement.Facts.Kinds[0]} reads {origin}";
        foreach (var use in statement.Facts.Relations)
        {
            if ((use.Access & (RelationAccess.Insert | RelationAccess.Update | RelationAccess.Define)) != 0)
            {
                Tainted.Add(use.Name);
            }
        }
    }

    /// <summary>A masked relation that is renamed, moved, attached or altered isn't what the rules name any more.</summary>
    private void Redefines()
    {
        if (!statement.Facts.Kinds.Any(kind => kind.StartsWith("ALTER ", StringComparison.Ordinal)))
        {
            return;
        }

        foreach (var use in statement.Facts.Relations)
        {
            if ((use.Access & RelationAccess.Define) != 0 && scope.Snapshot.Find(use.Name, path).Find(scope.Masks) is { } relation)
            {
                Launders ??= $"{statement.Facts.Kinds[0]} changes {relation}, of which columns are masked";
            }
        }
    }

    /// <summary>A masked column that it reads anywhere; what RETURNING of the statement itself sends to the client is masked there and doesn't count.</summary>
    private string? ReadsMasked()
    {
        foreach (var block in statement.Blocks)
        {
            var returning = ReferenceEquals(block, statement.Result)
                && block.Kind is SqlBlockKind.Insert or SqlBlockKind.Update or SqlBlockKind.Delete or SqlBlockKind.Merge;
            var value = _lineage.Of(block.Filters, block)
                .Join(_lineage.Of(block.Stored, block))
                .Join(_lineage.Of(block.Compared, block))
                .Join(returning ? Value.Clean : _lineage.Evaluate(block).Any);
            value = block.Sources.Aggregate(value, (all, source) => all.Join(_lineage.Of(source.Reads, block)));
            value = block.Calls.Aggregate(value, (all, call) => all.Join(_lineage.Of(call.Reads, block)));
            if (value.IsMasked)
            {
                return value.Origin ?? "a masked column";
            }
        }

        if (statement.Copy is { From: false, Relation: { } relation } copy)
        {
            var outputs = CopiedColumns(relation, copy.Columns);
            return outputs is null || outputs.Exists(output => output.Strategy != MaskStrategy.None) ? relation.ToString() : null;
        }

        return null;
    }

    // What it reads by columns and sub-selects, without what user functions may return.
    private Value Columns(SqlReads reads, SqlBlock block) => _lineage.Of(reads, block, functions: false);
}
