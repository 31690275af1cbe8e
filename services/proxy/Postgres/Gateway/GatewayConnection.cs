using System.Net.Sockets;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;
using Countersign.Proxy.Postgres.Ports;

namespace Countersign.Proxy.Postgres.Gateway;

/// <summary>Rows of an answer in text format, with the names of their columns.</summary>
/// <param name="Columns">Names, empty where there were no rows to describe.</param>
/// <param name="Rows">Rows; null for NULL.</param>
/// <param name="Tag">Last command tag.</param>
internal sealed record GatewayAnswer(IReadOnlyList<GatewayColumn> Columns, IReadOnlyList<IReadOnlyList<string?>> Rows, string Tag);

/// <summary>A column of an answer.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Relation">OID of the relation that it comes from, 0 where it doesn't come from one.</param>
/// <param name="Number">Its number there.</param>
internal readonly record struct GatewayColumn(string Name, uint Relation, short Number);

/// <summary>The target refused a statement of the gateway's.</summary>
internal sealed class GatewayErrorException(string code) : Exception($"The target answered {code}.")
{
    public string Code { get; } = code;
}

/// <summary>A connection of the gateway's own to a target, beside the client's session: its transaction and settings stay out of it.</summary>
internal sealed class GatewayConnection : IAsyncDisposable
{
    private const int MaxRows = 10_000;
    private readonly TargetConnection _target;
    private readonly Action<string> _record;

    private GatewayConnection(TargetConnection target, Action<string> record)
    {
        _target = target;
        _record = record;
    }

    /// <summary>Version as the target reports it.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Parameters => _target.Parameters;

    /// <summary>The connection below, to ask what kind of target it is.</summary>
    public TargetConnection Target => _target;

    /// <summary>Connects.</summary>
    /// <param name="access">The target.</param>
    /// <param name="database">Database.</param>
    /// <param name="record">Told the name of every statement before it is sent.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="TargetUnavailableException">It can't be reached.</exception>
    public static async Task<GatewayConnection> OpenAsync(TargetAccess access, string database, Action<string> record, CancellationToken cancellation) =>
        new(await PostgresTarget.ConnectAsync(access, database, "countersign/gateway", new Dictionary<string, string>(), cancellation).ConfigureAwait(false), record);

    /// <summary>Runs what was written and waits for the target to be ready.</summary>
    /// <param name="name">Name for the record.</param>
    /// <param name="write">Writes messages up to one Query or Sync.</param>
    /// <param name="cancellation">Ends it: the target is asked to cancel, and the connection is closed.</param>
    /// <exception cref="GatewayErrorException">The target answered with an error.</exception>
    /// <exception cref="IOException">The connection broke.</exception>
    public async Task<GatewayAnswer> RunAsync(string name, Action<OutputBuffer> write, CancellationToken cancellation)
    {
        _record(name);
        cancellation.ThrowIfCancellationRequested();
        var closing = cancellation.UnsafeRegister(static state => _ = ((GatewayConnection)state!).BreakOffAsync(), this);
        await using (closing.ConfigureAwait(false))
        {
            try
            {
                write(_target.Output);
                await _target.FlushAsync().ConfigureAwait(false);
                return await ReadAsync(_target.Input).ConfigureAwait(false);
            }
            catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException or TargetLostException or MalformedMessageException)
            {
                cancellation.ThrowIfCancellationRequested();
                throw new IOException("The connection to the target broke.", error);
            }
        }
    }

    public ValueTask DisposeAsync()
    {
        _target.Dispose();
        return ValueTask.CompletedTask;
    }

    private async Task BreakOffAsync()
    {
        // Closing alone would leave the target at work.
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        try
        {
            await PostgresTarget.CancelAsync(_target.Address, _target.ProcessId, _target.Secret, patience.Token).ConfigureAwait(false);
        }
        catch (Exception error) when (error is TargetUnavailableException or IOException or SocketException or OperationCanceledException)
        {
            // Its own timeouts end it then.
        }
        finally
        {
            _target.Transport.Dispose();
        }
    }

    private static async Task<GatewayAnswer> ReadAsync(InputBuffer input)
    {
        var columns = new List<GatewayColumn>();
        var rows = new List<IReadOnlyList<string?>>();
        string? failed = null;
        var tag = "";
        while (true)
        {
            while (input.TryHeader(out var type, out var length))
            {
                BackendRules.Check(type, length);
                if (input.Available - 1 < length)
                {
                    break;
                }

                var body = input.Span.Slice(5, length - 4);
                switch ((BackendType)type)
                {
                    case BackendType.RowDescription:
                        columns = ReadColumns(body);
                        rows.Clear();
                        break;
                    case BackendType.DataRow when rows.Count < MaxRows:
                        rows.Add(GatewayCall.ReadRow(body));
                        break;
                    case BackendType.CommandComplete:
                        tag = MessageReader.Decode(body[..^1]);
                        break;
                    case BackendType.ErrorResponse:
                        failed ??= ErrorFields.Code(body);
                        break;
                    case BackendType.ReadyForQuery:
                        input.Consume(length + 1);
                        return failed is null ? new GatewayAnswer(columns, rows, tag) : throw new GatewayErrorException(failed);
                    case BackendType.NoticeResponse or BackendType.NotificationResponse or BackendType.ParameterStatus or BackendType.ParseComplete or BackendType.BindComplete
                        or BackendType.NoData or BackendType.ParameterDescription or BackendType.EmptyQueryResponse or BackendType.CloseComplete:
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

    private static List<GatewayColumn> ReadColumns(ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        var columns = new List<GatewayColumn>();
        for (var left = reader.ReadCount(19); left > 0; left--)
        {
            var name = reader.ReadString();
            var relation = (uint)reader.ReadInt32();
            var number = reader.ReadInt16();
            reader.Take(12);
            columns.Add(new GatewayColumn(name, relation, number));
        }

        return columns;
    }
}
