using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Postgres.Rows;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Understanding;

/// <summary>Step 2 with the real parser, and with the target's catalog where masks apply. One instance a process.</summary>
public sealed class PostgresUnderstanding : IPostgresUnderstanding
{
    private readonly SqlParser _parser;
    private readonly IConnections _connections;
    private readonly PostgresCatalogs _catalogs;

    /// <summary>Over a parser and the registered targets.</summary>
    public PostgresUnderstanding(SqlParser parser, IConnections connections, TimeProvider clock)
    {
        ArgumentNullException.ThrowIfNull(parser);
        _parser = parser;
        _connections = connections;
        _catalogs = new PostgresCatalogs(ParseView, clock);
    }

    /// <inheritdoc/>
    public ValueTask<SqlAnalysis> AnalyzeAsync(ReadOnlyMemory<byte> text, CancellationToken cancellation) =>
        _parser.AnalyzeAsync(text, standardConformingStrings: true, cancellation);

    /// <inheritdoc/>
    public ValueTask ReadyAsync(PathSession session, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(session);
        return Catalog(session).IsFresh ? ValueTask.CompletedTask : RefreshAsync(session, cancellation);
    }

    /// <inheritdoc/>
    public IMaskAnalysis Masking(PathSession session, SqlAnalysis analysis)
    {
        ArgumentNullException.ThrowIfNull(session);
        return new CurrentMasking(Catalog(session), analysis);
    }

    /// <inheritdoc/>
    public void CatalogChanged(PathSession session, IReadOnlyList<ObjectName> tainted)
    {
        ArgumentNullException.ThrowIfNull(session);
        ArgumentNullException.ThrowIfNull(tainted);
        var catalog = Catalog(session);
        if (tainted.Count > 0)
        {
            catalog.Taint(tainted);
        }

        catalog.Invalidate();
    }

    private PostgresCatalog Catalog(PathSession session) => _catalogs.For(session.Connection, session.Database);

    private async ValueTask RefreshAsync(PathSession session, CancellationToken cancellation)
    {
        using var query = new CatalogQuery(session, _connections);
        try
        {
            await Catalog(session).GetAsync(query, cancellation).ConfigureAwait(false);
        }
        catch (IOException)
        {
            // Not fresh, so that nothing passes that masks apply to; what no mask concerns needs no catalog.
        }
    }

    private SqlAnalysis? ParseView(string definition)
    {
        // Called while a catalog is read, never on a session's path.
        var analysis = _parser.AnalyzeAsync(System.Text.Encoding.UTF8.GetBytes(definition)).AsTask().GetAwaiter().GetResult();
        return analysis.Facts.Complete ? analysis : null;
    }

    /// <summary>Plans with the catalog of the moment: what is kept with a text must not keep an old catalog.</summary>
    private sealed class CurrentMasking(PostgresCatalog catalog, SqlAnalysis analysis) : IMaskAnalysis
    {
        private PostgresMaskAnalysis? _last;
        private CatalogSnapshot? _snapshot;

        public MaskPlan Plan(Obligations obligations)
        {
            var snapshot = catalog.IsFresh ? catalog.Current : null;
            if (_last is null || !ReferenceEquals(snapshot, _snapshot))
            {
                // The search_path of the session isn't known for certain (a function may change it), so a name means every relation of that name.
                _last = new PostgresMaskAnalysis(analysis, snapshot, searchPath: null);
                _snapshot = snapshot;
            }

            return _last.Plan(obligations);
        }
    }
}
