using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>What was sent to the target and has not been answered.</summary>
internal enum Awaited : byte
{
    Query,
    Parse,
    Bind,
    DescribeStatement,
    DescribePortal,
    Execute,
    CloseStatement,
    ClosePortal,
    Sync,
}

/// <summary>One message on its way to an answer. The target answers in order; after an error it skips to the next Sync.</summary>
internal record struct Expectation(Awaited Kind)
{
    /// <summary>The operation that it belongs to; null for what is none.</summary>
    public PostgresOperation? Operation { get; init; }

    /// <summary>Not null where the message was replaced by one that the target refuses.</summary>
    public InjectedError? Injected { get; init; }

    /// <summary>Not null where the gateway itself asks: nothing of the answer goes to the client.</summary>
    public GatewayCall? Call { get; init; }

    /// <summary>Statement or portal that it makes or ends.</summary>
    public string? Name { get; init; }

    /// <summary>What a Parse makes.</summary>
    public PreparedText? Statement { get; init; }

    /// <summary>True for the gateway's own Describe of a masked portal: its answer tells the columns and doesn't go to the client.</summary>
    public bool Hidden { get; init; }

    /// <summary>Which stretch between two Syncs it lies in.</summary>
    public int Segment { get; set; }

    public readonly bool IsSkippable => Kind != Awaited.Sync;
}

/// <summary>What the client reads in place of the error that the injected word causes.</summary>
internal sealed record InjectedError(string Code, string Message, string Hint);

/// <summary>A question of the gateway's own to the target.</summary>
internal sealed class GatewayCall(GatewayStatement statement)
{
    private readonly TaskCompletionSource<string?[]> _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private string?[] _row = [];

    public GatewayStatement Statement { get; } = statement;

    /// <summary>The one row of the answer.</summary>
    /// <exception cref="PipelineSkippedException">An earlier message of the client's pipeline failed: the target skips to its end.</exception>
    public Task<string?[]> Answer => _answer.Task;

    public void Row(ReadOnlySpan<byte> body) => _row = ReadRow(body);

    /// <summary>A DataRow in text format.</summary>
    public static string?[] ReadRow(ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        var row = new string?[reader.ReadCount(4)];
        for (var index = 0; index < row.Length; index++)
        {
            var length = reader.ReadInt32();
            row[index] = length < 0 ? null : MessageReader.Decode(reader.Take(length));
        }

        reader.ExpectEnd();
        return row;
    }

    public void Done() => _answer.TrySetResult(_row);

    public void Skipped() => _answer.TrySetException(new PipelineSkippedException());

    public void Failed(string code) => _answer.TrySetException(new GatewayStatementFailedException($"{Statement.Name} failed at the target ({code})."));
}

/// <summary>The target has failed an earlier message of the pipeline and skips to its end: what was asked about will not run.</summary>
internal sealed class PipelineSkippedException : Exception;

/// <summary>A statement of the gateway's own failed.</summary>
internal sealed class GatewayStatementFailedException(string message) : Exception(message);
