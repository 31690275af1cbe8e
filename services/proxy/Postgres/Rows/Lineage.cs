using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>What is known of one value: how it is masked, its type's form, and which masked column it comes from.</summary>
internal readonly record struct Value(MaskStrategy Strategy, TypeForm Form = TypeForm.Unknown, string? Origin = null)
{
    public static Value Clean => default;

    public bool IsMasked => Strategy != MaskStrategy.None;

    /// <summary>What remains after an expression: nothing of a masked value may.</summary>
    public Value Derived => IsMasked ? new Value(MaskStrategy.Redact, TypeForm.Unknown, Origin) : Clean;

    public Value Join(Value other) => IsMasked ? Derived : other.Derived;
}

/// <summary>Columns of a source or the outputs of a block.</summary>
/// <param name="Items">Columns with their names.</param>
/// <param name="Positional">Whether their order and number are certain.</param>
/// <param name="Rest">Not null where there are further columns, of unknown names.</param>
internal sealed record ColumnList(List<(string? Name, Value Value)> Items, bool Positional, Value? Rest)
{
    public Value Any
    {
        get
        {
            var any = Rest ?? Value.Clean;
            foreach (var (_, value) in Items)
            {
                any = any.Join(value);
            }

            return any;
        }
    }

    public static ColumnList Unknown(Value rest) => new([], false, rest);
}

/// <summary>
/// Follows masked columns through the blocks of a statement. Names are resolved with the catalog; where a name could mean several things, all of them
/// count. Bounded in depth: what is nested deeper counts as masked.
/// </summary>
internal sealed class Lineage(
    CatalogSnapshot snapshot, Func<CatalogRelation, short, MaskStrategy> strategyOf, Func<CatalogRelation, bool> isMasked, IReadOnlyList<string>? path)
{
    private const int Deepest = 200;
    private static readonly Value Opaque = new(MaskStrategy.Redact, TypeForm.Unknown, "what can't be traced");
    private readonly Dictionary<SqlBlock, ColumnList> _memo = [];
    private readonly Dictionary<SqlBlock, List<Source>> _sources = [];
    private readonly HashSet<SqlBlock> _running = [];
    private readonly Dictionary<SqlBlock, ColumnList> _assumed = [];
    private int _depth;

    private sealed record Source(string? Alias, string? Schema, ColumnList Columns);

    /// <summary>Outputs by position; null where they can't be listed.</summary>
    public List<Value>? Outputs(SqlBlock block)
    {
        var list = Evaluate(block);
        return list is { Positional: true, Rest: null } ? [.. list.Items.Select(item => item.Value)] : null;
    }

    /// <summary>Outputs with names.</summary>
    public ColumnList Evaluate(SqlBlock block)
    {
        if (_memo.TryGetValue(block, out var known))
        {
            return known;
        }

        if (_running.Contains(block))
        {
            return Assumed(block);
        }

        if (_depth >= Deepest)
        {
            return ColumnList.Unknown(Opaque);
        }

        _depth++;
        _running.Add(block);
        var result = block.Kind == SqlBlockKind.SetOperation ? SetOperation(block) : Own(block);
        _running.Remove(block);
        _depth--;
        return _memo[block] = result;
    }

    /// <summary>What columns and sub-selects in a block come to, together.</summary>
    public Value Of(SqlReads reads, SqlBlock block, bool aliases = false, bool functions = true)
    {
        var value = Value.Clean;
        foreach (var column in reads.Columns)
        {
            value = value.Join(Resolve(column, block));
            if (aliases && column is { IsStar: false, Names.Count: 1 })
            {
                value = value.Join(Named(Evaluate(block), column.Name) ?? Value.Clean);
            }
        }

        foreach (var inner in reads.Blocks)
        {
            value = value.Join(inner.ForExistence ? Value.Clean : Evaluate(inner).Any);
        }

        foreach (var field in reads.Fields)
        {
            if (functions && IsUserFunction(field))
            {
                value = value.Join(Opaque with { Origin = $"what {field}() returns" });
            }
        }

        foreach (var function in reads.Functions)
        {
            if (functions && snapshot.Function(function) == FunctionKind.Opaque)
            {
                value = value.Join(Opaque with { Origin = $"what {function}() returns" });
            }
        }

        return value;
    }

    /// <summary>Columns of which several sources of a block have one: what NATURAL JOIN compares.</summary>
    public Value Common(SqlBlock block)
    {
        var value = Value.Clean;
        foreach (var group in Sources(block).SelectMany(source => source.Columns.Items).Where(item => item.Name is not null).GroupBy(item => item.Name))
        {
            if (group.Count() > 1)
            {
                value = group.Aggregate(value, (all, item) => all.Join(item.Value));
            }
        }

        return Sources(block).Aggregate(value, (all, source) => all.Join(source.Columns.Rest ?? Value.Clean));
    }

    /// <summary>Columns of a relation by its name.</summary>
    public ColumnList Columns(ObjectName name)
    {
        var candidates = snapshot.Find(name, path);
        if (candidates.Count == 0)
        {
            return ColumnList.Unknown(Opaque with { Origin = $"{name}, which the catalog doesn't know" });
        }

        var relation = candidates[0];
        var items = Items(relation);
        if (candidates.Count == 1 || !candidates.Exists(candidate => isMasked(candidate)))
        {
            return new ColumnList(items, true, null);
        }

        // The name may mean another relation for the server (a temporary one, another path): a column is what any of them has by its name.
        items.AddRange(candidates.Skip(1).SelectMany(Items));
        return new ColumnList(items, false, null);
    }

    private List<(string? Name, Value Value)> Items(CatalogRelation relation)
    {
        var items = new List<(string?, Value)>(relation.Columns.Count);
        foreach (var column in relation.Columns)
        {
            var strategy = strategyOf(relation, column.Number);
            items.Add((column.Name, new Value(
                strategy, snapshot.Form(column.Type), strategy == MaskStrategy.None ? null : $"{relation}.{column.Name}")));
        }

        return items;
    }

    private ColumnList Assumed(SqlBlock block)
    {
        if (_assumed.TryGetValue(block, out var assumed))
        {
            return assumed;
        }

        // A recursive CTE: what its first arm yields, until it is known to be more.
        return block.Kind == SqlBlockKind.SetOperation && block.Arms.Count > 0 && !_running.Contains(block.Arms[0])
            ? _assumed[block] = Evaluate(block.Arms[0])
            : ColumnList.Unknown(Opaque);
    }

    private ColumnList SetOperation(SqlBlock block)
    {
        for (var round = 0; round < 8; round++)
        {
            var before = new HashSet<SqlBlock>(_memo.Keys);
            var result = Combine(block);
            if (!_assumed.TryGetValue(block, out var assumed) || Same(assumed, result))
            {
                _assumed.Remove(block);
                return result;
            }

            _assumed[block] = result;
            foreach (var stale in _memo.Keys.Where(key => !before.Contains(key)).ToList())
            {
                _memo.Remove(stale);
                _sources.Remove(stale);
            }

            _sources.Clear();
        }

        _assumed.Remove(block);
        return ColumnList.Unknown(Opaque);
    }

    private ColumnList Combine(SqlBlock block)
    {
        ColumnList? all = null;
        foreach (var arm in block.Arms)
        {
            var list = Evaluate(arm);
            if (all is null)
            {
                all = list with { Items = [.. list.Items.Select(item => (item.Name, item.Value.Derived))] };
            }
            else if (all is { Positional: true, Rest: null } && list is { Positional: true, Rest: null } && all.Items.Count == list.Items.Count)
            {
                all = all with { Items = [.. all.Items.Select((item, index) => (item.Name, item.Value.Join(list.Items[index].Value)))] };
            }
            else
            {
                all = ColumnList.Unknown(all.Any.Join(list.Any));
            }
        }

        return all ?? ColumnList.Unknown(Opaque);
    }

    private static bool Same(ColumnList left, ColumnList right) =>
        left.Positional == right.Positional && left.Rest?.Strategy == right.Rest?.Strategy && left.Items.Count == right.Items.Count
        && left.Items.Zip(right.Items).All(pair => pair.First.Value.IsMasked == pair.Second.Value.IsMasked);

    private ColumnList Own(SqlBlock block)
    {
        var items = new List<(string?, Value)>(block.Outputs.Count);
        var positional = true;
        Value? rest = null;
        foreach (var output in block.Outputs)
        {
            switch (output.Kind)
            {
                case SqlOutputKind.Star:
                    foreach (var source in Starred(output.Column!, block))
                    {
                        items.AddRange(source.Columns.Items);
                        positional &= source.Columns.Positional;
                        rest = source.Columns.Rest is { } more ? (rest ?? Value.Clean).Join(more) : rest;
                    }

                    // USING and NATURAL show a column once that both sides have; MERGE shows its source first.
                    positional &= !block.MergesColumns && !block.NaturalJoin && block.Kind != SqlBlockKind.Merge;
                    break;
                case SqlOutputKind.Column:
                    items.Add((output.Name, Resolve(output.Column!, block)));
                    break;
                default:
                    items.Add((output.Name, Of(output.Reads, block).Derived));
                    break;
            }
        }

        return new ColumnList(items, positional, rest);
    }

    private IEnumerable<Source> Starred(SqlColumn star, SqlBlock block)
    {
        if (star.Names.Count == 0)
        {
            return block.Kind is SqlBlockKind.Insert ? Sources(block).Take(1) : Sources(block);
        }

        for (var level = block; level is not null; level = level.Parent)
        {
            var named = Sources(level).Where(source => source.Alias == star.Name).ToList();
            if (named.Count > 0)
            {
                return named;
            }
        }

        return [new Source(null, null, ColumnList.Unknown(Opaque))];
    }

    private Value Resolve(SqlColumn column, SqlBlock block)
    {
        if (column.IsStar)
        {
            return Starred(column, block).Aggregate(Value.Clean, (all, source) => all.Join(source.Columns.Any));
        }

        var (own, certain) = At(column, block);
        if (own is { } found && certain)
        {
            return found;
        }

        // Not here, or not certainly: whatever any enclosing block means by it counts as well.
        var value = own?.Derived;
        for (var level = block.Parent; level is not null; level = level.Parent)
        {
            if (At(column, level).Value is { } outer)
            {
                value = value is { } inner ? inner.Join(outer) : outer;
            }
        }

        return value ?? (IsSystem(column.Name) ? Value.Clean : Opaque with { Origin = $"{column}, which can't be resolved" });
    }

    private (Value? Value, bool Certain) At(SqlColumn column, SqlBlock block)
    {
        var sources = Sources(block);
        if (column.Names.Count == 1)
        {
            return Plain(column.Name, sources);
        }

        var owner = column.Names[^2];
        Value? value = null;
        foreach (var source in sources)
        {
            if (source.Alias != owner || (column.Names.Count > 2 && source.Schema is { } schema && schema != column.Names[^3]))
            {
                continue;
            }

            // A name that is no column may be a function called on the row.
            var found = Named(source.Columns, column.Name) ?? (IsSystem(column.Name) && !IsUserFunction(column.Name) ? Value.Clean : OfRow(column.Name, source));
            value = value is { } other ? other.Join(found) : found;
        }

        return (value, value is not null);
    }

    private Value OfRow(string name, Source source) =>
        IsUserFunction(name) ? source.Columns.Any.Join(Opaque with { Origin = $"what {name}() returns" }) : source.Columns.Any.Derived;

    private bool IsUserFunction(string name) => snapshot.IsOfRows(name) && snapshot.Function(new ObjectName(null, name)) == FunctionKind.Opaque;

    private static (Value? Value, bool Certain) Plain(string name, List<Source> sources)
    {
        Value? value = null;
        Value? rest = null;
        foreach (var source in sources)
        {
            if (Named(source.Columns, name) is { } found)
            {
                value = value is { } other ? other.Join(found) : found;
            }
            else if (source.Columns.Rest is { } more)
            {
                rest = (rest ?? Value.Clean).Join(more);
            }
        }

        if (value is { } column)
        {
            return rest is { } uncertain ? (column.Join(uncertain) is { IsMasked: true } joined ? joined : column, true) : (column, true);
        }

        foreach (var source in sources)
        {
            if (source.Alias == name)
            {
                return (source.Columns.Any.Derived, true);
            }
        }

        return (rest, false);
    }

    private static Value? Named(ColumnList columns, string name)
    {
        Value? value = null;
        foreach (var (other, found) in columns.Items)
        {
            if (other == name)
            {
                value = value is { } first ? first.Join(found) : found;
            }
        }

        return value;
    }

    private List<Source> Sources(SqlBlock block)
    {
        if (!_sources.TryGetValue(block, out var sources))
        {
            // Placed before it is complete: a LATERAL source that refers to its siblings must find an end.
            _sources[block] = sources = [];
            foreach (var source in block.Sources)
            {
                sources.Add(Bind(source, block));
            }
        }

        return sources;
    }

    private Source Bind(SqlSource source, SqlBlock block)
    {
        switch (source.Kind)
        {
            case SqlSourceKind.Relation:
                return new Source(source.Alias, source.Alias == source.Name.Name ? source.Name.Schema : null, Renamed(Columns(source.Name), source.ColumnAliases));
            case SqlSourceKind.Subquery or SqlSourceKind.Cte when source.Block is not null:
                return new Source(source.Alias, null, Renamed(Renamed(Evaluate(source.Block), source.CteColumns), source.ColumnAliases));
            case SqlSourceKind.Function:
                return new Source(source.Alias, null, ColumnList.Unknown(Of(source.Reads, block).Derived));
            case SqlSourceKind.Join:
                var members = source.Members.Select(member => Bind(member, block).Columns).ToList();
                var rest = members.Aggregate((Value?)null, (all, member) => member.Rest is { } more ? (all ?? Value.Clean).Join(more) : all);
                var joined = new ColumnList(
                    [.. members.SelectMany(member => member.Items)], members.TrueForAll(member => member.Positional) && !block.MergesColumns && !block.NaturalJoin, rest);
                return new Source(source.Alias, null, Renamed(joined, source.ColumnAliases));
            default:
                return new Source(source.Alias, null, ColumnList.Unknown(Opaque));
        }
    }

    // New names go by position; where that isn't certain, any of them may be any of the columns.
    private static ColumnList Renamed(ColumnList columns, IReadOnlyList<string> names)
    {
        if (names.Count == 0)
        {
            return columns;
        }

        if (columns is { Positional: true, Rest: null })
        {
            return columns with { Items = [.. columns.Items.Select((item, index) => (index < names.Count ? names[index] : item.Name, item.Value))] };
        }

        return ColumnList.Unknown(columns.Any);
    }

    private static bool IsSystem(string name) => name is "ctid" or "xmin" or "xmax" or "cmin" or "cmax" or "tableoid";
}
