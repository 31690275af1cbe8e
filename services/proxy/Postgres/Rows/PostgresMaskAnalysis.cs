using System.Runtime.CompilerServices;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>
/// Answers "what must be masked" for one operation: what was understood of its text, the target's catalog, and the session's search path. Cheap to
/// make, once an operation; plans are cached by analysis, catalog, path and obligations.
/// </summary>
public sealed class PostgresMaskAnalysis : IMaskAnalysis
{
    private const int MostPlans = 16;
    private static readonly ConditionalWeakTable<SqlAnalysis, List<CachedPlan>> Plans = [];
    private readonly SqlAnalysis _analysis;
    private readonly CatalogSnapshot? _catalog;
    private readonly IReadOnlyList<string>? _path;
    private readonly Func<SqlSessionEffect, SqlAnalysis?>? _definitions;

    /// <summary>An answer for one operation.</summary>
    /// <param name="analysis">What was understood.</param>
    /// <param name="catalog">The catalog of the session's database; null where it couldn't be read: then nothing may pass that masks apply to.</param>
    /// <param name="searchPath">Schemas in which the server looks for unqualified names, in order; null where that isn't known: then a name means every relation of that name.</param>
    /// <param name="definitions">Gives the statement behind EXECUTE and FETCH from the session's tables; null, or a null answer, where it isn't known: then all its results are masked.</param>
    public PostgresMaskAnalysis(
        SqlAnalysis analysis, CatalogSnapshot? catalog, IReadOnlyList<string>? searchPath, Func<SqlSessionEffect, SqlAnalysis?>? definitions = null)
    {
        ArgumentNullException.ThrowIfNull(analysis);
        _analysis = analysis;
        _catalog = catalog;
        _path = searchPath;
        _definitions = definitions;
    }

    /// <summary>Whether an operation may change what the catalog says, masks or not: then the catalog is invalidated once it is complete.</summary>
    public static bool ChangesCatalog(SqlAnalysis analysis)
    {
        ArgumentNullException.ThrowIfNull(analysis);
        foreach (var statement in analysis.Facts.Statements)
        {
            foreach (var kind in statement.Kinds)
            {
                if (kind.StartsWith("CREATE ", StringComparison.Ordinal) || kind.StartsWith("ALTER ", StringComparison.Ordinal)
                    || kind.StartsWith("DROP ", StringComparison.Ordinal) || kind is "SELECT INTO" or "IMPORT FOREIGN SCHEMA" or "DO" or "CALL" or "DISCARD ALL" or "DISCARD TEMP")
                {
                    return true;
                }
            }
        }

        return !analysis.Facts.Complete;
    }

    /// <inheritdoc/>
    public MaskPlan Plan(Obligations obligations)
    {
        ArgumentNullException.ThrowIfNull(obligations);
        if (obligations.Masks.Count == 0 && obligations.Detectors.Count == 0 && obligations.RowLimit is null)
        {
            return MaskPlan.None;
        }

        if (_catalog is null)
        {
            return new PostgresMaskPlan(MaskScope.None, DetectorSet.Of(obligations.Detectors), obligations.RowLimit, [])
            {
                Unshowable = obligations.Masks.Count > 0 ? "the catalog of the target couldn't be read" : null,
            };
        }

        var plans = Plans.GetOrCreateValue(_analysis.Shape);
        lock (plans)
        {
            foreach (var cached in plans)
            {
                if (ReferenceEquals(cached.Obligations, obligations) && ReferenceEquals(cached.Catalog, _catalog) && SamePath(cached.Path))
                {
                    return cached.Plan;
                }
            }
        }

        var plan = Make(obligations, _catalog, out var cacheable);
        if (cacheable)
        {
            lock (plans)
            {
                if (plans.Count >= MostPlans)
                {
                    plans.RemoveAt(0);
                }

                plans.Add(new CachedPlan(obligations, _catalog, _path, plan));
            }
        }

        return plan;
    }

    private PostgresMaskPlan Make(Obligations obligations, CatalogSnapshot catalog, out bool cacheable)
    {
        cacheable = true;
        var scope = catalog.Scope(obligations.Masks);
        var statements = new List<StatementMask>(_analysis.Statements.Count);
        var tainted = new List<ObjectName>();
        string? filters = null, launders = null, unmaskable = null;
        foreach (var statement in _analysis.Statements)
        {
            var planned = statement;
            if (statement.Effect is { Kind: SqlSessionEffectKind.Execute or SqlSessionEffectKind.Fetch } effect)
            {
                cacheable = false;
                if (_definitions?.Invoke(effect) is { Facts.Complete: true, Statements: [var definition] })
                {
                    planned = definition;
                }
            }

            var planner = new StatementPlanner(scope, planned, _path);
            statements.Add(planner.Plan());
            filters ??= planner.FiltersOn;
            launders ??= planner.Launders;
            unmaskable ??= planner.Unmaskable;
            tainted.AddRange(planner.Tainted);
        }

        return new PostgresMaskPlan(scope, DetectorSet.Of(obligations.Detectors), obligations.RowLimit, statements)
        {
            ChangesCatalog = ChangesCatalog(_analysis),
            Tainted = tainted,
            FilteredColumn = filters,
            Laundering = launders,
            Unshowable = unmaskable,
        };
    }

    private bool SamePath(IReadOnlyList<string>? other)
    {
        if (ReferenceEquals(other, _path))
        {
            return true;
        }

        return other is not null && _path is not null && other.SequenceEqual(_path, StringComparer.Ordinal);
    }

    private sealed record CachedPlan(Obligations Obligations, CatalogSnapshot Catalog, IReadOnlyList<string>? Path, PostgresMaskPlan Plan);
}
