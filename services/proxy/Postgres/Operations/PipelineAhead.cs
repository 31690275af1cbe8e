using Countersign.Proxy.Path;
using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>
/// Binds that a client has already sent behind a held one, up to its Sync: they are asked for together with it. Each is remembered by its place in
/// the client's stream, and is the same operation when the session's loop comes to it.
/// </summary>
internal sealed class PipelineAhead(SessionContext context, OperationTexts texts)
{
    private const int MaxOperations = 100;
    private readonly Dictionary<long, PostgresOperation> _asked = [];

    /// <summary>The operation made for a Bind at this place of the client's stream, if one was.</summary>
    public PostgresOperation? Take(long position) => _asked.Count > 0 && _asked.Remove(position, out var operation) ? operation : null;

    /// <summary>Forgets what was asked for and never reached: an earlier message of the pipeline failed, and the target skips to its end.</summary>
    public void Clear() => _asked.Clear();

    /// <summary>Operations that were asked for and not reached yet.</summary>
    public int Count => _asked.Count;

    /// <summary>Reads ahead without consuming.</summary>
    public async ValueTask<IReadOnlyList<Operation>> GatherAsync(CancellationToken cancellation)
    {
        await ReadAheadAsync().ConfigureAwait(false);
        var found = new List<Operation>();
        var statements = new Dictionary<string, PreparedText?>(StringComparer.Ordinal);
        var bytes = context.Client.Bytes;
        var offset = 0;
        while (found.Count < MaxOperations && Next(bytes.Span[offset..]) is { } total)
        {
            var message = bytes.Slice(offset, total);
            switch ((FrontendType)message.Span[0])
            {
                case FrontendType.Parse:
                    var parse = ParseBody.Read(message.Span[5..]);
                    var text = message[5..][parse.Text].ToArray();
                    statements[parse.Name] = new PreparedText(text, parse.Types, await texts.UnderstandAsync(text, cancellation).ConfigureAwait(false));
                    break;
                case FrontendType.Bind:
                    var bind = BindBody.Read(message.Span[5..]);
                    if (!statements.TryGetValue(bind.Statement, out var statement) &&
                        context.Pipeline.FindStatement(bind.Statement, out statement) != Lookup.Found)
                    {
                        return found;
                    }

                    if (statement is null || statement.Understood.UsesNames)
                    {
                        // What it runs depends on what comes before it: asked for when it is reached.
                        return found;
                    }

                    found.Add(Keep(context.Client.Position + offset, message.ToArray(), statement, bind));
                    break;
                case FrontendType.Close:
                    var close = TargetBody.Read(message.Span[5..]);
                    if (!close.Portal)
                    {
                        statements[close.Name] = null;
                    }

                    break;
                case FrontendType.Describe or FrontendType.Execute or FrontendType.Flush:
                    break;
                default:
                    return found;
            }

            offset += total;
        }

        return found;
    }

    /// <summary>Takes what waits in the socket, so that a pipeline that was sent in several writes is seen whole.</summary>
    private async ValueTask ReadAheadAsync()
    {
        var client = context.Client;
        while (client.HasMore && client.Available < context.Options.MaxReadAhead)
        {
            if (!await client.FillAsync().ConfigureAwait(false))
            {
                return;
            }
        }
    }

    private static int? Next(ReadOnlySpan<byte> rest)
    {
        if (rest.Length < 5)
        {
            return null;
        }

        var length = System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(rest[1..]);
        FrontendRules.Check(rest[0], length);
        return rest.Length - 1 < length ? null : length + 1;
    }

    private PostgresOperation Keep(long position, byte[] message, PreparedText statement, BindBody bind)
    {
        if (_asked.TryGetValue(position, out var known))
        {
            return known;
        }

        var operation = new PostgresOperation
        {
            Number = ++context.Operations,
            Kind = "bind",
            Message = message,
            Text = statement.Text,
            Statement = statement,
            Bind = bind,
        };
        _asked.Add(position, operation);
        return operation;
    }
}
