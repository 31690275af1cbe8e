// Over 600 lines: the order in which one session's answers are matched, masked and passed on is one thing, and reads best in one place.
using System.Buffers.Text;
using System.Diagnostics;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;
using Countersign.Proxy.Postgres.Rows;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Postgres;

/// <summary>
/// The target's half of a session: steps 8 and 9 of the path. Answers are matched with what was sent; what needn't be changed is passed on in
/// the pieces in which it came, with one write a read. Rows and COPY data are never held as a whole unless they must be rewritten.
/// </summary>
internal sealed class PostgresReplies(SessionContext context) : IDisposable
{
    private readonly InputBuffer _input = context.Target.Input;
    private readonly Pipeline _pipeline = context.Pipeline;
    private readonly OutputBuffer _out = new();
    private readonly OutputBuffer _scratch = new();

    // Of the bytes in the input buffer, [_base, _scanned) pass as they are; what lies before _base is dealt with.
    private int _base;
    private int _scanned;
    private int _streaming;
    private int _feeding;
    private PostgresLargeRow? _largeRow;
    private PostgresOperation? _feedingTo;
    private Expectation _head;
    private bool _headKnown;
    private PostgresOperation? _durable;

    /// <summary>Whether the target has told the client why it closes.</summary>
    public bool SawFatal { get; private set; }

    // Larger rows that must be masked are not held whole.
    private const int MaxHeldRow = 1 << 20;

    private enum Step
    {
        NeedMore,
        AwaitReceipt,
    }

    /// <summary>Runs until the target closes.</summary>
    /// <exception cref="MalformedMessageException">The target doesn't speak the protocol.</exception>
    public async Task RunAsync()
    {
        while (true)
        {
            while (Scan() == Step.AwaitReceipt)
            {
                // I5: no byte of a result before the record is durable. What came earlier goes out first.
                await FlushAsync().ConfigureAwait(false);
                var operation = _head.Operation!;
                await operation.Permit!.Receipt.WaitAsync(context.Ending).ConfigureAwait(false);
                _durable = operation;
            }

            await FlushAsync().ConfigureAwait(false);
            if (!await _input.FillAsync().ConfigureAwait(false))
            {
                return;
            }
        }
    }

    public void Dispose()
    {
        _out.Dispose();
        _scratch.Dispose();
    }

    private Step Scan()
    {
        var span = _input.Span;
        while (true)
        {
            if (_streaming > 0)
            {
                var part = Math.Min(span.Length - _scanned, _streaming);
                _scanned += part;
                _streaming -= part;
                if (_streaming > 0)
                {
                    return Step.NeedMore;
                }
            }

            if (_feeding > 0)
            {
                var part = Math.Min(span.Length - _scanned, _feeding);
                if (part > 0)
                {
                    Feed(span.Slice(_scanned, part));
                }

                if (_feeding > 0)
                {
                    return Step.NeedMore;
                }
            }

            var rest = span[_scanned..];
            if (rest.Length < 5)
            {
                return Step.NeedMore;
            }

            var type = rest[0];
            var length = System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(rest[1..]);
            var rule = BackendRules.Check(type, length);
            var treatment = rule.Treatment;
            if (treatment is not (BackendTreatment.Asynchronous or BackendTreatment.Setting))
            {
                if (!_headKnown)
                {
                    _headKnown = _pipeline.TryPeek(out _head);
                }

                if (_headKnown && _head.Operation is { } operation && !ReferenceEquals(operation, _durable) && operation.Permit is { } permit)
                {
                    if (!permit.Receipt.IsDurable)
                    {
                        return Step.AwaitReceipt;
                    }

                    _durable = operation;
                }
            }

            if (rule.Streamed)
            {
                if (Stream((BackendType)type, length))
                {
                    continue;
                }
            }

            if (rest.Length - 1 < length)
            {
                return Step.NeedMore;
            }

            Handle((BackendType)type, rest.Slice(5, length - 4), length + 1);
        }
    }

    /// <summary>Rows and COPY data that pass: counted by their header, then forwarded as they come.</summary>
    private bool Stream(BackendType type, int length)
    {
        if (!_headKnown || _head.Kind is not (Awaited.Query or Awaited.Execute))
        {
            throw Malformed.Unexpected(type.ToString());
        }

        if (_head.Operation is not { } operation)
        {
            // An answer to the gateway, or a target that answers a word it can't know: held and handled as a whole.
            return _head.Call is null ? throw Malformed.Unexpected(type.ToString())
                : length > MaxHeldRow ? throw Malformed.TooLong(type.ToString(), length, MaxHeldRow) : false;
        }

        if (operation.Masker is { } masker && !(masker.RowsPass && type == BackendType.DataRow))
        {
            return StreamMasked(masker, operation, type, length);
        }

        operation.ResultRows++;
        operation.Bytes += length + 1L;
        _streaming = length + 1;
        return true;
    }

    /// <summary>COPY data and very large rows that are masked are fed to the masker in the pieces in which they come; other rows are handled whole.</summary>
    private bool StreamMasked(PostgresRowMasker masker, PostgresOperation operation, BackendType type, int length)
    {
        if (type == BackendType.DataRow && length <= MaxHeldRow)
        {
            return false;
        }

        operation.Bytes += length + 1L;
        operation.ResultRows++;
        Cut(5);
        _feeding = length - 4;
        _largeRow = type == BackendType.DataRow ? masker.OpenLargeRow(length - 4) : null;
        _feedingTo = operation;
        return true;
    }

    /// <summary>Feeds what has come of a message that is masked in pieces.</summary>
    private void Feed(ReadOnlySpan<byte> part)
    {
        var masker = _feedingTo!.Masker!;
        Cut(0);
        if (_largeRow is { } row)
        {
            row.Feed(part, _out);
        }
        else
        {
            masker.Rewrite((byte)BackendType.CopyData, part, _out);
        }

        _scanned += part.Length;
        _base = _scanned;
        _feeding -= part.Length;
        if (masker.LimitExceeded)
        {
            LimitReached(_feedingTo!);
        }
    }

    private void LimitReached(PostgresOperation operation)
    {
        if (!operation.LimitCancelled)
        {
            operation.LimitCancelled = true;
            context.LimitCancel = CancelQuietlyAsync();
        }
    }

    private async Task CancelQuietlyAsync()
    {
        try
        {
            await PostgresTarget.CancelAsync(context.Target.Address, context.Target.ProcessId, context.Target.Secret, context.Ending).ConfigureAwait(false);
        }
        catch (Exception error) when (error is IOException or System.Net.Sockets.SocketException or OperationCanceledException or Ports.TargetUnavailableException)
        {
            // Then the target sends all of its rows, and they are dropped here.
        }
    }

    /// <summary>Notices and notifications.</summary>
    private void Unasked(BackendType type, ReadOnlySpan<byte> body, int total)
    {
        Cut(total);
        _scratch.Clear();
        if (type == BackendType.NoticeResponse)
        {
            ErrorFields.CopyClean(body, (byte)type, _scratch);
            body = _scratch.Pending.Span[5..];
        }

        if (!Scrub(type, body))
        {
            _out.Begin(type);
            _out.WriteBytes(body);
            _out.End();
        }
    }

    /// <summary>Rewrites the text of a message where masks apply.</summary>
    /// <returns>False where it passes as it is.</returns>
    private bool Scrub(BackendType type, ReadOnlySpan<byte> body)
    {
        if (!_headKnown)
        {
            _headKnown = _pipeline.TryPeek(out _head);
        }

        if (_headKnown && _head.Operation?.Masker is { } masker)
        {
            return masker.Rewrite((byte)type, body, _out) == RowVerdict.Rewritten;
        }

        return context.Masks is { } masks && masks.Session.RewriteIdle((byte)type, body, _out) == RowVerdict.Rewritten;
    }

    private void Handle(BackendType type, ReadOnlySpan<byte> body, int total)
    {
        switch (type)
        {
            case BackendType.NoticeResponse or BackendType.NotificationResponse:
                Unasked(type, body, total);
                return;
            case BackendType.ParameterStatus:
                Setting(body, total);
                return;
            case BackendType.ErrorResponse:
                Error(body, total);
                return;
            default:
                break;
        }

        if (!_headKnown || BackendRules.For((byte)type).Treatment is BackendTreatment.End or BackendTreatment.LoginOnly)
        {
            throw Malformed.Unexpected(type.ToString());
        }

        if (_head.Call is { } call)
        {
            Gateway(call, type, body);
            Cut(total);
            return;
        }

        if (_head.Operation is { } operation)
        {
            operation.Bytes += total;
        }

        if (_head is { Hidden: true, Operation: { } described })
        {
            Described(described, type, body);
            Cut(total);
            return;
        }

        if (_head is { Kind: Awaited.Query or Awaited.Execute, Operation: { Masker: { } masker } masked } && type != BackendType.ReadyForQuery)
        {
            MaskedAnswer(masked, masker, type, body, total);
            return;
        }

        Answer(type, body);
        Pass(total);
    }

    private void MaskedAnswer(PostgresOperation operation, PostgresRowMasker masker, BackendType type, ReadOnlySpan<byte> body, int total)
    {
        Cut(0);
        if (type is BackendType.CommandComplete && masker.LimitExceeded)
        {
            masker.WriteLimitError(_out);
            operation.ErrorCode = "54000";
            masker.Rewrite((byte)type, body, _scratch);
            Answer(type, body);
            Cut(total);
            return;
        }

        if (type == BackendType.DataRow)
        {
            operation.ResultRows++;
        }

        var verdict = masker.Rewrite((byte)type, body, _out);
        if (masker.UnknownRelation)
        {
            context.Masks!.UnknownRelation();
        }

        if (type != BackendType.DataRow)
        {
            Answer(type, body);
        }

        if (verdict == RowVerdict.Pass)
        {
            Pass(total);
            return;
        }

        if (verdict == RowVerdict.LimitReached)
        {
            LimitReached(operation);
        }

        _scanned += total;
        _base = _scanned;
    }

    /// <summary>The answer to the gateway's own Describe of a masked portal.</summary>
    private void Described(PostgresOperation operation, BackendType type, ReadOnlySpan<byte> body)
    {
        if (type is not (BackendType.RowDescription or BackendType.NoData))
        {
            throw Malformed.Unexpected(type.ToString());
        }

        if (type == BackendType.RowDescription)
        {
            operation.Masker!.Bind(PostgresResultColumns.Parse(body), operation.Bind.ResultFormats);
            if (operation.Masker.UnknownRelation)
            {
                context.Masks!.UnknownRelation();
            }
        }

        _headKnown = false;
        _pipeline.Answered();
    }

    private void Answer(BackendType type, ReadOnlySpan<byte> body)
    {
        var head = _head;
        switch (type)
        {
            case BackendType.ReadyForQuery when head.Kind is Awaited.Query or Awaited.Sync && body.Length == 1:
                if (head is { Kind: Awaited.Query, Operation: { } query } && head.Injected is null)
                {
                    Complete(query);
                }

                _headKnown = false;
                foreach (var ended in _pipeline.Ready(body[0]))
                {
                    Complete(ended);
                }

                if (body[0] == (byte)'I')
                {
                    context.Masks?.TransactionEnded();
                    context.Session.Grants.Release(static operation => ((PostgresOperation)operation).Completed);
                }

                return;
            case BackendType.ParseComplete when head.Kind == Awaited.Parse && head.Injected is null:
            case BackendType.BindComplete when head.Kind == Awaited.Bind && head.Injected is null:
            case BackendType.CloseComplete when head.Kind is Awaited.CloseStatement or Awaited.ClosePortal:
            case BackendType.NoData or BackendType.RowDescription when head.Kind is Awaited.DescribeStatement or Awaited.DescribePortal:
            case BackendType.PortalSuspended when head.Kind == Awaited.Execute:
                _headKnown = false;
                if (_pipeline.Answered() is { } replaced)
                {
                    Complete(replaced);
                }

                return;
            case BackendType.ParameterDescription when head.Kind == Awaited.DescribeStatement:
                return;
            case BackendType.RowDescription when head is { Kind: Awaited.Query, Operation: not null }:
            case BackendType.CopyOutResponse or BackendType.CopyDone when head is { Kind: Awaited.Query or Awaited.Execute, Operation: not null }:
                return;
            case BackendType.CopyInResponse when head is { Kind: Awaited.Query or Awaited.Execute, Operation: { } copying }:
                _pipeline.BeginCopyIn(copying);
                return;
            case BackendType.CommandComplete or BackendType.EmptyQueryResponse when head is { Kind: Awaited.Query or Awaited.Execute, Operation: { } done }:
                done.TagRows += type == BackendType.CommandComplete ? TagRows(body) : 0;
                _pipeline.Succeeded(done);
                if (head.Kind == Awaited.Execute)
                {
                    Complete(done);
                    _headKnown = false;
                    _pipeline.Answered();
                }

                return;
            default:
                throw Malformed.Unexpected(type.ToString());
        }
    }

    private void Gateway(GatewayCall call, BackendType type, ReadOnlySpan<byte> body)
    {
        switch (type)
        {
            case BackendType.RowDescription or BackendType.EmptyQueryResponse when _head.Kind == Awaited.Query:
            case BackendType.CommandComplete when _head.Kind == Awaited.Query:
                return;
            case BackendType.DataRow:
                call.Row(body);
                return;
            case BackendType.ReadyForQuery when _head.Kind == Awaited.Query && body.Length == 1:
                _headKnown = false;
                _pipeline.Ready(body[0]);
                call.Done();
                return;
            case BackendType.ParseComplete when _head.Kind == Awaited.Parse:
            case BackendType.BindComplete when _head.Kind == Awaited.Bind:
            case BackendType.CommandComplete when _head.Kind == Awaited.Execute:
            case BackendType.CloseComplete when _head.Kind is Awaited.ClosePortal or Awaited.CloseStatement:
                var last = _head.Kind == Awaited.CloseStatement;
                _headKnown = false;
                _pipeline.Answered();
                if (last)
                {
                    call.Done();
                }

                return;
            default:
                throw Malformed.Unexpected(type.ToString());
        }
    }

    private void Error(ReadOnlySpan<byte> body, int total)
    {
        var code = ErrorFields.Code(body);
        SawFatal |= ErrorFields.Find(body, 'V') is var severity && (severity.SequenceEqual("FATAL"u8) || severity.SequenceEqual("PANIC"u8));
        Cut(total);
        if (_headKnown && _head.Injected is { } injected && body.IndexOf(context.RefusedWord) >= 0)
        {
            ErrorFields.Write(_out, BackendType.ErrorResponse, "ERROR", injected.Code, injected.Message, injected.Hint);
        }
        else if (_headKnown && _head is { Call: { } call, Kind: Awaited.Query })
        {
            // Between two pipelines nobody but the gateway waits for an answer.
            call.Failed(code);
            return;
        }
        else
        {
            if (_headKnown && _head.Operation is { } operation)
            {
                operation.ErrorCode ??= code;
                operation.Bytes += total;
            }

            if (_headKnown && _head.Operation?.Masker is { LimitExceeded: true } limited && code == "57014")
            {
                limited.WriteLimitError(_out);
                _head.Operation.ErrorCode = "54000";
            }
            else
            {
                _scratch.Clear();
                ErrorFields.CopyClean(body, (byte)BackendType.ErrorResponse, _scratch);
                if (!Scrub(BackendType.ErrorResponse, _scratch.Pending.Span[5..]))
                {
                    _out.WriteBytes(_scratch.Pending.Span);
                }
            }
        }

        foreach (var ended in _pipeline.Failed(code))
        {
            Record(ended);
        }

        _headKnown = false;
    }

    private void Setting(ReadOnlySpan<byte> body, int total)
    {
        var reader = new MessageReader(body);
        var name = reader.ReadString();
        var value = reader.ReadString();
        reader.ExpectEnd();
        if (!ForcedSettings.IsKept(name, value))
        {
            throw new MalformedMessageException($"{name} was changed to another value than Countersign works with; the session ends.", "0A000");
        }

        if (!StartupSettings.IsReported(name))
        {
            Cut(total);
            return;
        }

        Cut(0);
        if (Scrub(BackendType.ParameterStatus, body))
        {
            _scanned += total;
            _base = _scanned;
            return;
        }

        if (name == "application_name")
        {
            context.ApplicationName = value;
        }

        Pass(total);
    }

    private void Pass(int total) => _scanned += total;

    /// <summary>Takes a message out of what passes; whatever is written to <see cref="_out"/> next stands in its place.</summary>
    private void Cut(int total)
    {
        _out.WriteBytes(_input.Span[_base.._scanned]);
        _scanned += total;
        _base = _scanned;
    }

    private async ValueTask FlushAsync()
    {
        var passing = _input.Bytes[_base.._scanned];
        if (passing.IsEmpty && _out.Length == 0)
        {
            if (_scanned > 0)
            {
                _input.Consume(_scanned);
                _base = _scanned = 0;
            }

            return;
        }

        if (_out.Length > 0 && passing.Length <= 8192)
        {
            _out.WriteBytes(passing.Span);
            passing = default;
        }

        await context.Writer.WriteAsync(_out.Pending, passing, _streaming > 0 || (_feeding > 0 && _largeRow is not null)).ConfigureAwait(false);
        if (_out.Length > 0)
        {
            _out.Clear();
        }

        _input.Consume(_scanned);
        _base = _scanned = 0;
    }

    private void Complete(PostgresOperation operation)
    {
        if (!operation.Completed)
        {
            operation.Completed = true;
            Record(operation);
        }
    }

    private void Record(PostgresOperation operation) => context.Recording.Complete(Completion(operation, operation.ErrorCode switch
    {
        null => "ok",
        "57014" => "cancelled",
        _ => "error",
    }));

    /// <summary>How an operation ended, for the record.</summary>
    internal static CompletionEntry Completion(PostgresOperation operation, string outcome) => new()
    {
        Operation = operation.Number,
        Outcome = outcome,
        Rows = Math.Max(operation.ResultRows, operation.TagRows),
        Bytes = operation.Bytes,
        DurationMicroseconds = operation.ForwardedAt == 0 ? 0 : (long)Stopwatch.GetElapsedTime(operation.ForwardedAt).TotalMicroseconds,
        ErrorCode = operation.ErrorCode,
        CopySha256 = operation.CopySha256(),
        Masked = operation.Masker is { } masker ? masker.MaskedFields + masker.Findings : 0,
    };

    /// <summary>The number at the end of a command tag: rows returned or changed.</summary>
    private static long TagRows(ReadOnlySpan<byte> body)
    {
        if (body.Length == 0 || body[^1] != 0)
        {
            throw Malformed.Unterminated();
        }

        var tag = body[..^1];
        var blank = tag.LastIndexOf((byte)' ');
        return blank >= 0 && Utf8Parser.TryParse(tag[(blank + 1)..], out long rows, out var used) && used == tag.Length - blank - 1 ? rows : 0;
    }
}
