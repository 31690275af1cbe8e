using Countersign.Policy.Contracts;
using Countersign.Proxy.Postgres.Impact;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Catalog;

/// <summary>
/// Functions that a text calls by functional notation: <c>t.f</c> and <c>(x).f</c> mean <c>f(t)</c> where there is no such column, which only the catalog can
/// tell. They are added to the facts, as if they were written as calls. One instance a session, for one operation at a time.
/// </summary>
internal sealed class RowFunctions
{
    private const int Deepest = 50;
    private const int MaxKept = 256;

    // Facts are shared instances by text: as decisions, what is added to them is found by the reference.
    private readonly Dictionary<OperationFacts, Entry> _known = new(ReferenceEqualityComparer.Instance);

    // Names of functions that the session may have made, which the catalog may not show yet.
    private readonly HashSet<string> _made = new(StringComparer.Ordinal);

    /// <summary>Whether a text has a name that may be a function of a row.</summary>
    public static bool MayBeIn(SqlAnalysis analysis)
    {
        foreach (var statement in analysis.Statements)
        {
            foreach (var block in statement.Blocks)
            {
                if (block.Owned.Count > 0 || block.Fields.Count > 0)
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <summary>Notes that a text is sent to the target, which may make functions.</summary>
    public void Forwarding(SqlAnalysis analysis) => _made.UnionWith(MadeBy(analysis));

    /// <summary>The analysis with these functions among its facts; itself where there are none.</summary>
    /// <param name="analysis">What was understood.</param>
    /// <param name="snapshot">The catalog; null where it can't be read: then whatever the text alone doesn't show to be a column counts.</param>
    /// <param name="trusted">Whether names of relations mean what they do in the catalog.</param>
    public SqlAnalysis In(SqlAnalysis analysis, CatalogSnapshot? snapshot, bool trusted)
    {
        if (!_known.TryGetValue(analysis.Facts, out var entry) || !ReferenceEquals(entry.Snapshot, snapshot) || entry.Trusted != trusted || entry.Made != _made.Count)
        {
            if (_known.Count >= MaxKept)
            {
                _known.Clear();
            }

            _known[analysis.Facts] = entry = Make(analysis, snapshot, trusted);
        }

        return entry.Facts is null ? analysis : new SqlAnalysis
        {
            Facts = entry.Facts,
            Statements = entry.Statements,
            TrimmedText = analysis.TrimmedText,
            RecordedText = analysis.RecordedText,
        };
    }

    private static IReadOnlyCollection<string> MadeBy(SqlAnalysis analysis) =>
        analysis.Facts.Statements.Any(statement => statement.Kinds.Any(kind =>
            kind.EndsWith(" FUNCTION", StringComparison.Ordinal) || kind.EndsWith(" AGGREGATE", StringComparison.Ordinal) || kind.EndsWith(" ROUTINE", StringComparison.Ordinal)))
            ? ImpactNames.Of(analysis.TrimmedText)?.All ?? []
            : [];

    private Entry Make(SqlAnalysis analysis, CatalogSnapshot? snapshot, bool trusted)
    {
        var own = MadeBy(analysis);
        var finder = new Finder(snapshot, trusted, name => _made.Contains(name) || own.Contains(name));
        List<string> incomplete = [.. analysis.Facts.Incomplete];
        var facts = analysis.Facts.Statements.ToArray();
        var statements = analysis.Statements.ToArray();
        var any = false;
        for (var index = 0; index < statements.Length; index++)
        {
            var found = finder.In(statements[index]).Select(name => new ObjectName(null, name)).Where(name => !facts[index].ImpureFunctions.Contains(name)).ToList();
            if (found.Count == 0)
            {
                continue;
            }

            any = true;
            facts[index] = facts[index] with
            {
                Functions = [.. facts[index].Functions.Union(found)],
                ImpureFunctions = [.. facts[index].ImpureFunctions, .. found],
                ReadOnly = false,
            };
            statements[index] = statements[index].With(facts[index]);
            if (found.Exists(name => PureNames.TakesSql(name.Name)) && !incomplete.Contains(IncompleteCodes.DynamicSql))
            {
                incomplete.Add(IncompleteCodes.DynamicSql);
            }
        }

        return new Entry(snapshot, trusted, _made.Count, any ? analysis.Facts with { Statements = facts, Incomplete = incomplete } : null, statements);
    }

    private sealed record Entry(
        CatalogSnapshot? Snapshot, bool Trusted, int Made, OperationFacts? Facts, IReadOnlyList<SqlStatement> Statements);

    private sealed class Finder(CatalogSnapshot? snapshot, bool trusted, Func<string, bool> made)
    {
        public HashSet<string> In(SqlStatement statement)
        {
            var found = new HashSet<string>(StringComparer.Ordinal);
            foreach (var block in statement.Blocks)
            {
                // What an expression's fields are isn't known: a field by the name of such a function counts as its call.
                found.UnionWith(block.Fields.Where(IsFunction));
                foreach (var column in block.Owned)
                {
                    if (IsFunction(column.Name) && !IsColumn(column, block))
                    {
                        found.Add(column.Name);
                    }
                }
            }

            return found;
        }

        private bool IsFunction(string name) => snapshot is null || snapshot.IsOfRows(name) || made(name);

        /// <summary>Whether an owned name is a column for certain: the nearest of its owners has one, whichever of those by that name it is.</summary>
        private bool IsColumn(SqlColumn column, SqlBlock block)
        {
            var owner = column.Names[^2];
            for (var level = block; level is not null; level = level.Parent)
            {
                var found = false;
                foreach (var source in level.Sources)
                {
                    if (source.Alias == owner)
                    {
                        found = true;
                        if (!Has(source, column.Name, 0))
                        {
                            return false;
                        }
                    }
                }

                if (found)
                {
                    return true;
                }
            }

            return false;
        }

        private bool Has(SqlSource source, string name, int depth)
        {
            if (source.ColumnAliases.Contains(name))
            {
                return true;
            }

            var renamed = source.ColumnAliases.Count;
            switch (source.Kind)
            {
                case SqlSourceKind.Relation:
                    return trusted && snapshot?.Find(source.Name, null) is { Count: > 0 } candidates && candidates.TrueForAll(relation =>
                        (!relation.IsView && IsSystem(name)) || relation.Columns.Skip(renamed).Any(column => column.Name == name));
                case SqlSourceKind.Join:
                    return renamed == 0 && source.Members.Any(member => Has(member, name, depth + 1));
                case SqlSourceKind.Subquery or SqlSourceKind.Cte when source.Block is { } block && depth < Deepest:
                    return source.CteColumns.Skip(renamed).Contains(name) || Yields(block, name, Math.Max(renamed, source.CteColumns.Count), depth + 1);
                default:
                    return false;
            }
        }

        /// <summary>Whether a block has an output of a name, behind those that are renamed outside.</summary>
        private bool Yields(SqlBlock block, string name, int renamed, int depth)
        {
            while (block is { Kind: SqlBlockKind.SetOperation, Arms: [var first, ..] })
            {
                block = first;
            }

            for (var index = 0; index < block.Outputs.Count; index++)
            {
                var output = block.Outputs[index];
                if (output.Kind == SqlOutputKind.Star)
                {
                    // How many it stands for isn't looked up: where columns are renamed, nothing from here on is certain.
                    if (renamed > 0)
                    {
                        return false;
                    }

                    var owner = output.Column?.Names is [.., var last] ? last : null;
                    if (depth < Deepest && block.Sources.Any(source => (owner is null || source.Alias == owner) && Has(source, name, depth + 1)))
                    {
                        return true;
                    }
                }
                else if (index >= renamed && output.Name == name)
                {
                    return true;
                }
            }

            return false;
        }

        private static bool IsSystem(string name) => name is "ctid" or "xmin" or "xmax" or "cmin" or "cmax" or "tableoid";
    }
}
