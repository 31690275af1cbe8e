using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Tree;

/// <summary>A common table expression.</summary>
internal sealed record Cte(string Name, SqlBlock Block, IReadOnlyList<string> Columns);

/// <summary>Which CTEs a block sees: the first so many of a WITH clause, then what is visible outside.</summary>
internal sealed class CteScope(CteScope? outer, Dictionary<string, (int Index, Cte Cte)> ctes, int visible)
{
    /// <summary>The CTE of a name; null where the name means a relation.</summary>
    public static Cte? Find(CteScope? scope, string name)
    {
        for (var current = scope; current is not null; current = current.Outer)
        {
            if (current.Ctes.TryGetValue(name, out var found) && found.Index < current.Visible)
            {
                return found.Cte;
            }
        }

        return null;
    }

    private CteScope? Outer { get; } = outer;

    private Dictionary<string, (int Index, Cte Cte)> Ctes { get; } = ctes;

    private int Visible { get; } = visible;
}
