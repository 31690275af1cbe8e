using System.Text;
using Countersign.Proxy.Path;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Ports;

namespace Countersign.Proxy.Postgres.Understanding;

/// <summary>
/// Reads the catalog over a connection of the gateway's own, dialled when the first statement is run: a client's session, with its transaction and
/// its search_path, isn't touched. Each statement is recorded in the session that needed it.
/// </summary>
internal sealed class CatalogQuery(PathSession session, IConnections connections) : IGatewayQuery, IDisposable
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(15);
    private const long MaxBytes = 256L << 20;

    private TargetConnection? _target;

    public async ValueTask<IReadOnlyList<IReadOnlyList<string?>>> RunAsync(CatalogStatement statement, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Deadline);
        try
        {
            var target = _target ??= await ConnectAsync(limit.Token).ConfigureAwait(false);
            session.Recording.RecordGateway(statement.Name);
            target.Output.Begin(FrontendType.Query);
            target.Output.WriteCString(statement.Sql);
            target.Output.End();
            var closing = limit.Token.Register(static state => ((PostgresTransport)state!).Dispose(), target.Transport);
            await using (closing.ConfigureAwait(false))
            {
                await target.FlushAsync().ConfigureAwait(false);
                return await ReadAsync(target.Input).ConfigureAwait(false);
            }
        }
        catch (Exception error) when (error is (TargetUnavailableException or TargetLostException or MalformedMessageException or OperationCanceledException or ObjectDisposedException)
            && !cancellation.IsCancellationRequested)
        {
            throw new IOException("The target's catalog can't be read.", error);
        }
    }

    public void Dispose() => _target?.Dispose();

    private async Task<TargetConnection> ConnectAsync(CancellationToken cancellation)
    {
        var access = await connections.OpenAsync(session.Connection, session.Claims, cancellation).ConfigureAwait(false)
            ?? throw new IOException("The connection is gone.");
        return await PostgresTarget.ConnectAsync(access, session.Database, "countersign/catalog", new Dictionary<string, string>(), cancellation).ConfigureAwait(false);
    }

    private static async Task<IReadOnlyList<IReadOnlyList<string?>>> ReadAsync(InputBuffer input)
    {
        var rows = new List<IReadOnlyList<string?>>();
        var failed = false;
        long bytes = 0;
        while (true)
        {
            byte type;
            int length;
            while (!input.TryHeader(out type, out length) || input.Available < length + 1)
            {
                if (!await input.FillAsync().ConfigureAwait(false))
                {
                    throw new IOException("The target closed the connection.");
                }
            }

            bytes += length;
            if (bytes > MaxBytes)
            {
                throw new IOException("The target's catalog is larger than can be kept.");
            }

            var body = input.Span.Slice(5, length - 4);
            switch ((BackendType)type)
            {
                case BackendType.DataRow:
                    rows.Add(Row(body));
                    break;
                case BackendType.ErrorResponse:
                    failed = true;
                    break;
                case BackendType.ReadyForQuery:
                    input.Consume(length + 1);
                    return failed ? throw new IOException("The target refused a catalog statement.") : rows;
                default:
                    break;
            }

            input.Consume(length + 1);
        }
    }

    private static string?[] Row(ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        var fields = new string?[reader.ReadInt16()];
        for (var index = 0; index < fields.Length; index++)
        {
            var length = reader.ReadInt32();
            fields[index] = length < 0 ? null : Encoding.UTF8.GetString(reader.Take(length));
        }

        return fields;
    }
}
