using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Postgres.Rows;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres;

/// <summary>What a session needs to know about masks: the catalog of its database, kept fresh, and the analysis of each text against it.</summary>
internal sealed class SessionMasks(PostgresCatalog catalog, TargetAccess access, string database, string applicationName, Func<string, ValueTask> record)
{
    private bool _catalogChanged;
    private bool _unreadable;

    /// <summary>Keys and state of the masks in this session.</summary>
    public PostgresMaskSession Session { get; } = new();

    /// <summary>The catalog that operations are planned with now; null where it can't be read: then nothing that masks apply to may pass.</summary>
    public CatalogSnapshot? Snapshot => _unreadable ? null : catalog.Current;

    /// <summary>Reads the catalog again where it may have changed. By a connection of its own: the client's transaction and settings stay out of it.</summary>
    public async ValueTask RefreshAsync(CancellationToken cancellation)
    {
        if (catalog.IsFresh)
        {
            _unreadable = false;
            return;
        }

        var query = new CatalogConnection(access, database, applicationName, record);
        await using (query.ConfigureAwait(false))
        {
            try
            {
                await catalog.GetAsync(query, cancellation).ConfigureAwait(false);
                _unreadable = false;
            }
            catch (IOException)
            {
                _unreadable = true;
            }
        }
    }

    /// <summary>The answer for a text.</summary>
    public IMaskAnalysis Analyze(SqlAnalysis analysis) => new Current(this, analysis);

    /// <summary>An operation that may change the catalog was forwarded; it counts once its transaction has ended.</summary>
    public void CatalogChanges() => _catalogChanged = true;

    /// <summary>The target is ready outside of a transaction.</summary>
    public void TransactionEnded()
    {
        if (_catalogChanged)
        {
            _catalogChanged = false;
            catalog.Invalidate();
        }
    }

    /// <summary>A result came from a relation that the catalog doesn't know.</summary>
    public void UnknownRelation() => catalog.InvalidateUnknown();

    /// <summary>An approved operation fills these relations from masked columns.</summary>
    public void Taint(IReadOnlyList<ObjectName> relations)
    {
        if (relations.Count > 0)
        {
            catalog.Taint(relations);
        }
    }

    /// <summary>Plans with the catalog of the moment; texts are kept for longer than a catalog.</summary>
    private sealed class Current(SessionMasks masks, SqlAnalysis analysis) : IMaskAnalysis
    {
        private CatalogSnapshot? _snapshot;
        private PostgresMaskAnalysis? _analysis;

        public MaskPlan Plan(Obligations obligations)
        {
            var snapshot = masks.Snapshot;
            if (_analysis is null || !ReferenceEquals(snapshot, _snapshot))
            {
                // The search path isn't reported by servers before 18: a name means every relation of that name.
                _analysis = new PostgresMaskAnalysis(analysis, snapshot, null);
                _snapshot = snapshot;
            }

            return _analysis.Plan(obligations);
        }
    }
}

/// <summary>Reads a catalog by a connection of its own, opened when it is needed.</summary>
internal sealed class CatalogConnection(TargetAccess access, string database, string applicationName, Func<string, ValueTask> record) : IGatewayQuery, IAsyncDisposable
{
    private const int MaxRows = 2_000_000;
    private const int MaxRow = 16 << 20;
    private TargetConnection? _target;

    public async ValueTask<IReadOnlyList<IReadOnlyList<string?>>> RunAsync(CatalogStatement statement, CancellationToken cancellation)
    {
        await record(statement.Name).ConfigureAwait(false);
        try
        {
            _target ??= await PostgresTarget.ConnectAsync(access, database, applicationName, new Dictionary<string, string>(), cancellation).ConfigureAwait(false);
            var closing = cancellation.UnsafeRegister(static state => ((TargetConnection)state!).Transport.Dispose(), _target);
            await using (closing.ConfigureAwait(false))
            {
                _target.Output.Begin(FrontendType.Query);
                _target.Output.WriteCString(statement.Sql);
                _target.Output.End();
                await _target.FlushAsync().ConfigureAwait(false);
                return await ReadAsync(_target.Input).ConfigureAwait(false);
            }
        }
        catch (Exception error) when (error is TargetUnavailableException or TargetLostException or MalformedMessageException or System.Net.Sockets.SocketException or ObjectDisposedException)
        {
            throw new IOException("The target's catalog can't be read.", error);
        }
    }

    public ValueTask DisposeAsync()
    {
        _target?.Dispose();
        return ValueTask.CompletedTask;
    }

    private static async Task<IReadOnlyList<IReadOnlyList<string?>>> ReadAsync(InputBuffer input)
    {
        var rows = new List<IReadOnlyList<string?>>();
        var failed = false;
        while (true)
        {
            while (input.TryHeader(out var type, out var length))
            {
                BackendRules.Check(type, length);
                if (length > MaxRow)
                {
                    throw Malformed.TooLong(((BackendType)type).ToString(), length, MaxRow);
                }

                if (input.Available - 1 < length)
                {
                    break;
                }

                switch ((BackendType)type)
                {
                    case BackendType.DataRow when rows.Count < MaxRows:
                        rows.Add(GatewayCall.ReadRow(input.Span.Slice(5, length - 4)));
                        break;
                    case BackendType.ErrorResponse:
                        failed = true;
                        break;
                    case BackendType.ReadyForQuery:
                        input.Consume(length + 1);
                        return failed ? throw new IOException("The target answers a catalog statement with an error.") : rows;
                    case BackendType.RowDescription or BackendType.CommandComplete or BackendType.NoticeResponse or BackendType.ParameterStatus:
                        break;
                    default:
                        throw Malformed.Unexpected(((BackendType)type).ToString());
                }

                input.Consume(length + 1);
            }

            if (!await input.FillAsync().ConfigureAwait(false))
            {
                throw new IOException("The target closed the connection.");
            }
        }
    }
}
