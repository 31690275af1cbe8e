using System.Collections.Frozen;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Catalog;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>
/// The masks of a policy in one database: every column that shows a masked one, by relation OID and number. Rules are expanded to partitions and
/// children (and from them to their parents, which show their rows), generated columns, foreign tables, views and materialized views,
/// over as many steps as there are.
/// </summary>
internal sealed class MaskScope
{
    private readonly CatalogSnapshot _snapshot;
    private readonly FrozenDictionary<uint, FrozenDictionary<short, MaskStrategy>> _masks;

    public MaskScope(CatalogSnapshot snapshot, IReadOnlyList<ColumnMask> masks)
    {
        _snapshot = snapshot;
        IsEmpty = masks.Count == 0;
        _masks = IsEmpty
            ? FrozenDictionary<uint, FrozenDictionary<short, MaskStrategy>>.Empty
            : new Expansion(snapshot, masks).Run().ToFrozenDictionary(entry => entry.Key, entry => entry.Value.ToFrozenDictionary());
    }

    /// <summary>No masks, no catalog.</summary>
    public static MaskScope None { get; } = new(CatalogSnapshot.Empty, []);

    public CatalogSnapshot Snapshot => _snapshot;

    /// <summary>No masks are in force.</summary>
    public bool IsEmpty { get; }

    public TypeForm Form(uint type) => _snapshot.Form(type);

    /// <summary>Whether any column of a relation is masked.</summary>
    public bool Masks(CatalogRelation relation) => _masks.ContainsKey(relation.Oid);

    /// <summary>How a column is masked. What the catalog doesn't know is redacted.</summary>
    public MaskStrategy Strategy(uint relation, short column)
    {
        if (IsEmpty || column < 0)
        {
            return MaskStrategy.None;
        }

        if (_masks.TryGetValue(relation, out var columns))
        {
            return columns.TryGetValue(column, out var strategy) ? strategy : Knows(relation, column) ? MaskStrategy.None : MaskStrategy.Redact;
        }

        return Knows(relation, column) ? MaskStrategy.None : MaskStrategy.Redact;
    }

    /// <summary>Whether a result comes from a relation or column that the catalog doesn't know.</summary>
    public bool HasUnknown(PostgresResultColumns columns)
    {
        foreach (ref readonly var column in columns.Columns)
        {
            if (!IsEmpty && column.Relation != 0 && column.Attribute > 0 && !Knows(column.Relation, column.Attribute))
            {
                return true;
            }
        }

        return false;
    }

    private bool Knows(uint relation, short column)
    {
        if (_snapshot.Relation(relation) is { } known)
        {
            foreach (var candidate in known.Columns)
            {
                if (candidate.Number == column)
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <summary>Spreads masks until nothing changes. Strategies only ever become stricter, so it ends.</summary>
    private sealed class Expansion(CatalogSnapshot snapshot, IReadOnlyList<ColumnMask> rules)
    {
        private readonly Dictionary<uint, Dictionary<short, MaskStrategy>> _masks = [];
        private bool _changed;

        public Dictionary<uint, Dictionary<short, MaskStrategy>> Run()
        {
            foreach (var relation in snapshot.Relations)
            {
                ByRules(relation);
            }

            do
            {
                _changed = false;
                foreach (var (child, parent) in snapshot.Inheritance)
                {
                    Along(child, parent);
                    Along(parent, child);
                }

                foreach (var relation in snapshot.Relations)
                {
                    foreach (var (column, reads) in relation.Generated)
                    {
                        if (Of(relation.Oid, reads) != MaskStrategy.None)
                        {
                            Set(relation, column, MaskStrategy.Redact);
                        }
                    }

                    if (relation.IsView && !relation.IsSystem)
                    {
                        View(relation);
                    }
                }
            }
            while (_changed);
            return _masks;
        }

        private void ByRules(CatalogRelation relation)
        {
            if (SensitiveObjects.MasksWhole(relation.Schema, relation.Name))
            {
                All(relation);
                return;
            }

            foreach (var column in relation.Columns)
            {
                if (SensitiveObjects.IsQueryText(relation, column.Name))
                {
                    Set(relation, column.Number, MaskStrategy.Redact);
                }

                foreach (var rule in rules)
                {
                    if (Matches(rule, relation, column))
                    {
                        Set(relation, column.Number, MaskedText.Parse(rule.Strategy));
                    }
                }
            }

            foreach (var tainted in snapshot.Tainted)
            {
                if (tainted.Name == relation.Name && (tainted.Schema is null || tainted.Schema == relation.Schema))
                {
                    All(relation);
                }
            }
        }

        private static bool Matches(ColumnMask rule, CatalogRelation relation, CatalogColumn column) =>
            (Fits(rule.Schema, relation.Schema, relation) && Fits(rule.Relation, relation.Name, relation) && Fits(rule.Column, column.Name, relation))
            || (relation.Remote is { } remote
                && Fits(rule.Schema, remote.Schema ?? "", relation) && Fits(rule.Relation, remote.Name, relation) && Fits(rule.Column, column.RemoteName, relation));

        private static bool Fits(string rule, string name, CatalogRelation relation) => rule == "*" ? !relation.IsSystem : rule == name;

        private void Along(uint from, uint to)
        {
            if (!_masks.TryGetValue(from, out var masks) || snapshot.Relation(from) is not { } source || snapshot.Relation(to) is not { } target)
            {
                return;
            }

            foreach (var column in source.Columns)
            {
                if (masks.TryGetValue(column.Number, out var strategy))
                {
                    foreach (var same in target.Columns)
                    {
                        if (same.Name == column.Name)
                        {
                            Set(target, same.Number, strategy);
                        }
                    }
                }
            }
        }

        // pg_depend says whether a view can show anything masked at all; its definition says in which columns.
        private void View(CatalogRelation view)
        {
            if (!view.CallsUserCode && !view.Reads.Any(read => Reads(read.Relation, read.Column)))
            {
                return;
            }

            var definition = view.Definition?.Value;
            var outputs = definition is { Facts.Complete: true, Statements: [{ Opaque: false, Result: { } result }] }
                ? new Lineage(snapshot, (relation, column) => Of(relation.Oid, column), relation => _masks.ContainsKey(relation.Oid), snapshot.ViewPath).Outputs(result)
                : null;
            if (outputs is null || outputs.Count != view.Columns.Count)
            {
                All(view);
                return;
            }

            for (var index = 0; index < outputs.Count; index++)
            {
                Set(view, view.Columns[index].Number, outputs[index].Strategy);
            }
        }

        private bool Reads(uint relation, short column) =>
            column == 0 ? _masks.ContainsKey(relation) : Of(relation, column) != MaskStrategy.None;

        private MaskStrategy Of(uint relation, short column) =>
            _masks.TryGetValue(relation, out var columns) && columns.TryGetValue(column, out var strategy) ? strategy : MaskStrategy.None;

        private void All(CatalogRelation relation)
        {
            foreach (var column in relation.Columns)
            {
                Set(relation, column.Number, MaskStrategy.Redact);
            }
        }

        private void Set(CatalogRelation relation, short column, MaskStrategy strategy)
        {
            if (strategy > Of(relation.Oid, column))
            {
                if (!_masks.TryGetValue(relation.Oid, out var columns))
                {
                    _masks.Add(relation.Oid, columns = []);
                }

                columns[column] = strategy;
                _changed = true;
            }
        }
    }
}
