// Over 600 lines: the order in which one session reads, decides and sends is one thing, and reads best in one place.
using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;
using Countersign.Proxy.Postgres.Rows;

namespace Countersign.Proxy.Postgres;

/// <summary>
/// The client's half of a session: step 1 of the path, and what the path asks of this protocol. Every message has its treatment in
/// <see cref="FrontendRules"/>; what is written to the target is written here, by <see cref="ForwardAsync"/> with a permit or as a message that
/// continues what has one. Messages that came together leave together.
/// </summary>
internal sealed class PostgresOperations(SessionContext context, OperationPath path, IDecider decider, OperationTexts texts) : IOperationPeer
{
    private const int FlushAbove = 64 << 10;

    // More unanswered messages than this are waited for: names are looked up among them.
    private const int MaxUnanswered = 512;
    private readonly InputBuffer _client = context.Client;
    private readonly TargetConnection _target = context.Target;
    private readonly OutputBuffer _output = context.Target.Output;
    private readonly Pipeline _pipeline = context.Pipeline;
    private readonly PipelineAhead _ahead = new(context, texts);
    private PostgresOperation? _current;
    private string?[]? _context;
    private volatile PostgresHold? _hold;
    private volatile bool _cancelAsked;
    private int _copyRemaining;
    private bool _copyForwarded;
    private long _partialSince;

    // Set by what may have changed client_encoding or standard_conforming_strings unseen (a function, a trigger), until it is certain that it hasn't.
    private bool _textUncertain;

    // Set by what has a row limit, and may have been cancelled because of it.
    private bool _limited;

    /// <summary>Whether a client has begun a message and not completed it for longer than that.</summary>
    public bool IsStalled(TimeSpan limit)
    {
        var since = Volatile.Read(ref _partialSince);
        return since != 0 && context.Clock.GetElapsedTime(since) > limit;
    }

    /// <summary>A CancelRequest with the session's key.</summary>
    /// <returns>True where it ended a hold; else the target is to be asked.</returns>
    public bool Cancel()
    {
        if (_hold is { } hold)
        {
            hold.Cancel();
            return true;
        }

        _cancelAsked = true;
        return false;
    }

    /// <summary>Runs until the client leaves.</summary>
    /// <exception cref="MalformedMessageException">The client doesn't speak the protocol.</exception>
    public async Task RunAsync()
    {
        while (await HandleAsync().ConfigureAwait(false))
        {
            await _target.FlushAsync().ConfigureAwait(false);
            if (_client.Available > 0 || _copyRemaining > 0)
            {
                if (_partialSince == 0)
                {
                    Volatile.Write(ref _partialSince, context.Clock.GetTimestamp());
                }
            }

            if (!await _client.FillAsync().ConfigureAwait(false))
            {
                return;
            }
        }
    }

    /// <summary>Handles every message that is there as a whole.</summary>
    /// <returns>False where the client says goodbye.</returns>
    private async ValueTask<bool> HandleAsync()
    {
        while (true)
        {
            if (_copyRemaining > 0 && !await PassCopyDataAsync().ConfigureAwait(false))
            {
                return true;
            }

            if (!_client.TryHeader(out var type, out var length))
            {
                if (_client.Available > 0)
                {
                    FrontendRules.For(type);
                }

                return true;
            }

            var rule = FrontendRules.Check(type, length);
            if (rule.Streamed)
            {
                await BeginCopyDataAsync(length).ConfigureAwait(false);
                continue;
            }

            if (_client.Available - 1 < length)
            {
                return true;
            }

            Volatile.Write(ref _partialSince, 0);
            if (rule.Treatment == FrontendTreatment.End)
            {
                return false;
            }

            await MessageAsync((FrontendType)type, length + 1).ConfigureAwait(false);
            if (_output.Length > FlushAbove)
            {
                await _target.FlushAsync().ConfigureAwait(false);
            }
        }
    }

    private async ValueTask MessageAsync(FrontendType type, int total)
    {
        if (_pipeline.CopyingIn is not null && type is not (FrontendType.CopyDone or FrontendType.CopyFail))
        {
            if (type is FrontendType.Flush or FrontendType.Sync)
            {
                // The server ignores them while it takes COPY data; kept back, it can't take one for the end of a pipeline if the COPY fails.
                _client.Consume(total);
                return;
            }

            throw Malformed.Unexpected($"{type} during COPY");
        }

        if (_pipeline.Count > MaxUnanswered)
        {
            await SettleAsync().ConfigureAwait(false);
        }

        if (_limited && type is FrontendType.Query or FrontendType.Parse or FrontendType.Bind or FrontendType.Execute or FrontendType.FunctionCall)
        {
            await OutlastLimitAsync().ConfigureAwait(false);
        }

        switch (type)
        {
            case FrontendType.Query:
                await QueryAsync(Take(total)).ConfigureAwait(false);
                break;
            case FrontendType.Parse:
                await ParseAsync(Take(total)).ConfigureAwait(false);
                break;
            case FrontendType.Bind:
                await BindAsync(total).ConfigureAwait(false);
                break;
            case FrontendType.Execute:
                await ExecuteAsync(total).ConfigureAwait(false);
                break;
            case FrontendType.Describe or FrontendType.Close:
                Named(type, total);
                break;
            case FrontendType.Flush:
                PassOn(total);
                break;
            case FrontendType.Sync:
                _ahead.Clear();
                _pipeline.TryEnqueue(new Expectation(Awaited.Sync));
                PassOn(total);
                break;
            case FrontendType.CopyDone or FrontendType.CopyFail:
                await EndCopyAsync(type, total).ConfigureAwait(false);
                break;
            case FrontendType.FunctionCall:
                await FunctionCallAsync(Take(total)).ConfigureAwait(false);
                break;
            default:
                throw Malformed.Unexpected(type.ToString());
        }
    }

    private async ValueTask QueryAsync(byte[] message)
    {
        if (message.Length < 6 || message[^1] != 0 || message.AsSpan(5, message.Length - 6).IndexOf((byte)0) >= 0)
        {
            throw Malformed.Unterminated();
        }

        if (_textUncertain && !await IsReadAsWrittenAsync(message.AsMemory(5)).ConfigureAwait(false))
        {
            return;
        }

        _ahead.Clear();
        await DecideAsync(new PostgresOperation { Number = ++context.Operations, Kind = "query", Message = message, Text = message.AsMemory(5, message.Length - 6) })
            .ConfigureAwait(false);
    }

    private async ValueTask ParseAsync(byte[] message)
    {
        var body = ParseBody.Read(message.AsSpan(5));
        if (_pipeline.Skipping)
        {
            return;
        }

        var text = message.AsMemory(5)[body.Text];
        if (_textUncertain && !await IsReadAsWrittenAsync(text).ConfigureAwait(false))
        {
            return;
        }

        if (context.Masks is { } masks)
        {
            await masks.RefreshAsync(context.Ending).ConfigureAwait(false);
        }

        var understood = await texts.UnderstandAsync(text, context.Ending).ConfigureAwait(false);
        var (decision, _) = decider.Decide(context.Session, texts.Decided(understood).Operation, context.Clock.GetUtcNow());
        if (decision.Outcome == Outcome.Deny)
        {
            await DecideAsync(new PostgresOperation
            {
                Number = ++context.Operations,
                Kind = "parse",
                Message = message,
                Text = text,
                Parse = body,
            }).ConfigureAwait(false);
            return;
        }

        SendParse(message, body, new PreparedText(text, body.Types, understood));
    }

    private void SendParse(ReadOnlyMemory<byte> message, ParseBody body, PreparedText statement)
    {
        if (_pipeline.TryEnqueue(new Expectation(Awaited.Parse) { Name = body.Name, Statement = statement }))
        {
            _output.WriteBytes(message.Span);
        }
    }

    private async ValueTask BindAsync(int total)
    {
        var position = _client.Position;
        var message = Take(total);
        if (_pipeline.Skipping)
        {
            BindBody.Read(message.AsSpan(5));
            return;
        }

        var body = BindBody.Read(message.AsSpan(5));
        var found = _pipeline.FindStatement(body.Statement, out var statement);
        if (found == Lookup.Unsettled)
        {
            await SettleAsync().ConfigureAwait(false);
            found = _pipeline.FindStatement(body.Statement, out statement);
        }

        if (found != Lookup.Found)
        {
            var prepared = !_pipeline.SegmentOpen && _pipeline.Count == 0
                ? _pipeline.WithNames(names => names.Definition(body.Statement))
                : null;
            Inject(prepared is null
                ? new InjectedError("26000", $"prepared statement \"{body.Statement}\" does not exist", "")
                : new InjectedError("0A000", $"prepared statement \"{body.Statement}\" was made by PREPARE", "Run it by EXECUTE."));
            return;
        }

        var operation = _ahead.Take(position) is { } asked && asked.Statement!.Text.Span.SequenceEqual(statement!.Text.Span)
            ? asked
            : new PostgresOperation
            {
                Number = ++context.Operations,
                Kind = "bind",
                Message = message,
                Text = statement!.Text,
                Statement = statement,
                Bind = body,
            };
        await DecideAsync(operation).ConfigureAwait(false);
    }

    private async ValueTask ExecuteAsync(int total)
    {
        var body = ExecuteBody.Read(_client.Span[5..total]);
        if (_pipeline.Skipping)
        {
            _client.Consume(total);
            return;
        }

        var found = _pipeline.FindPortal(body.Portal, out var operation);
        if (found == Lookup.Unsettled)
        {
            await SettleAsync().ConfigureAwait(false);
            found = _pipeline.FindPortal(body.Portal, out operation);
        }

        if (found != Lookup.Found)
        {
            // Also the unnamed portal that a failed simple Query leaves behind in a failed transaction: PostgreSQL 15 crashes, with all its sessions, on executing it.
            _client.Consume(total);
            Inject(new InjectedError("34000", $"portal \"{body.Portal}\" does not exist", "A cursor made by DECLARE is read by FETCH."));
            return;
        }

        if (_pipeline.TryEnqueue(new Expectation(Awaited.Execute) { Operation = operation }))
        {
            _limited |= operation!.Masker is { HasLimit: true };
            PassOn(total);
            if (operation!.Understood is { CopiesIn: true })
            {
                // Whether COPY data come next, or a failure, decides what a Sync behind this means: wait for the answer.
                _output.WriteEmpty(FrontendType.Flush);
                await _target.FlushAsync().ConfigureAwait(false);
                await _pipeline.WaitAsync(static pipeline => pipeline.Count == 0 || pipeline.CopyingIn is not null).ConfigureAwait(false);
            }
        }
        else
        {
            _client.Consume(total);
        }
    }

    private void Named(FrontendType type, int total)
    {
        var body = TargetBody.Read(_client.Span[5..total]);
        var awaited = (type, body.Portal) switch
        {
            (FrontendType.Describe, false) => Awaited.DescribeStatement,
            (FrontendType.Describe, true) => Awaited.DescribePortal,
            (_, false) => Awaited.CloseStatement,
            _ => Awaited.ClosePortal,
        };
        if (_pipeline.TryEnqueue(new Expectation(awaited) { Name = body.Name }))
        {
            PassOn(total);
        }
        else
        {
            _client.Consume(total);
        }
    }

    private ValueTask FunctionCallAsync(byte[] message) => DecideAsync(new PostgresOperation
    {
        Number = ++context.Operations,
        Kind = "function-call",
        Message = message,
        Text = default,
    });

    private async ValueTask DecideAsync(PostgresOperation operation)
    {
        if (_pipeline.Skipping)
        {
            return;
        }

        _current = operation;
        _cancelAsked = false;
        try
        {
            await path.RunAsync(context.Session, operation, this, context.Ending).ConfigureAwait(false);
        }
        catch (PipelineSkippedException)
        {
            // An earlier message failed while this one was being identified: the server would have skipped it.
        }
        finally
        {
            _current = null;
        }
    }

    /// <inheritdoc/>
    public async ValueTask<UnderstoodOperation> UnderstandAsync(Operation operation, CancellationToken cancellation)
    {
        var own = (PostgresOperation)operation;
        if (own.Kind == "function-call")
        {
            return texts.FunctionCall(own);
        }

        if (context.Masks is { } masks)
        {
            await masks.RefreshAsync(cancellation).ConfigureAwait(false);
        }

        var understood = own.Understood ??= own.Statement?.Understood ?? await texts.UnderstandAsync(own.Text, cancellation).ConfigureAwait(false);
        if (understood.UsesNames)
        {
            await SettleAsync().ConfigureAwait(false);
            understood = own.Understood = _pipeline.WithNames(names => texts.Resolve(understood, names));
        }

        understood = own.Understood = texts.Decided(understood);
        return own.Bind.Values is { Length: > 0 } ? OperationTexts.WithParameters(own, understood) : understood.Operation;
    }

    /// <inheritdoc/>
    public async ValueTask<OperationIdentity> IdentifyAsync(Operation operation, CancellationToken cancellation)
    {
        var own = (PostgresOperation)operation;
        var row = _context = await ReadContextAsync().ConfigureAwait(false);
        return texts.Identity(own, row, _pipeline.BlockOpen);
    }

    /// <inheritdoc/>
    public async ValueTask<bool> IsInOwnContextAsync(Operation operation, CancellationToken cancellation) =>
        texts.IsOwnContext(await ReadContextAsync().ConfigureAwait(false));

    /// <inheritdoc/>
    public TransactionView Transaction => _pipeline.BlockOpen || (_pipeline.ImplicitOpen && _current?.Pending is null)
        ? new TransactionView(true, _pipeline.TransactionStatements())
        : TransactionView.None;

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<Operation>> GatherAsync(CancellationToken cancellation) =>
        _current is { Kind: "bind" } ? _ahead.GatherAsync(cancellation) : ValueTask.FromResult<IReadOnlyList<Operation>>([]);

    /// <inheritdoc/>
    public async ValueTask<RequestImpact?> ForeseeAsync(IReadOnlyList<ForeseenOperation> operations, CancellationToken cancellation) => context.Impact is { } impact
        ? await impact.ForeseeAsync(
            [.. operations.Select(each => new Impact.ImpactQuestion((PostgresOperation)each.Operation, each.Decision))], _context, context.Masks, cancellation).ConfigureAwait(false)
        : null;

    /// <inheritdoc/>
    public async ValueTask<IHoldScope> HeldAsync(Operation operation, RequestView request, bool attached, CancellationToken cancellation)
    {
        await _target.FlushAsync().ConfigureAwait(false);
        var hold = await PostgresHold.BeginAsync(context, request, attached, () => _hold = null).ConfigureAwait(false);
        _hold = hold;
        if (_cancelAsked)
        {
            hold.Cancel();
        }

        return hold;
    }

    /// <inheritdoc/>
    public ValueTask ForwardAsync(Operation operation, Permit permit, CancellationToken cancellation)
    {
        var own = (PostgresOperation)operation;
        permit.Use(own);
        own.Permit = permit;
        own.Forwarded();
        texts.Forwarding(own.Understood);
        _textUncertain |= own.Understood is not { OnlyReads: true };
        PrepareMasks(own, permit.Masking);
        switch (own.Kind)
        {
            case "query":
                _limited |= own.Masker is { HasLimit: true };
                Send(own, new Expectation(Awaited.Query) { Operation = own });
                break;
            case "bind":
                Send(own, new Expectation(Awaited.Bind) { Operation = own, Name = own.Bind.Portal });
                if (own.Masker is not null)
                {
                    DescribeForMasks(own);
                }

                break;
            case "parse":
                // Denied when it came, allowed under a bundle that came into force meanwhile.
                SendParse(own.Message, own.Parse, new PreparedText(own.Text, own.Parse.Types, own.Understood!));
                break;
            default:
                throw new InvalidOperationException("This kind of operation is never forwarded.");
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask RefuseAsync(Operation operation, Refusal refusal, CancellationToken cancellation)
    {
        var own = (PostgresOperation)operation;
        var error = PostgresRefusal.ErrorOf(refusal);
        if (own.Kind is "query" or "function-call")
        {
            if (_pipeline.TryEnqueue(new Expectation(Awaited.Query) { Injected = error }))
            {
                PostgresRefusal.WriteQuery(_output, context.RefusedWord);
            }
        }
        else
        {
            Inject(error, unnamedParse: own.Kind == "parse" && own.Parse.Name.Length == 0);
        }

        return ValueTask.CompletedTask;
    }

    private void PrepareMasks(PostgresOperation operation, MaskPlan plan)
    {
        if (operation.Understood is { ChangesCatalog: true })
        {
            context.Masks?.CatalogChanges();
        }

        if (plan.IsNone)
        {
            return;
        }

        if (plan is not PostgresMaskPlan own || context.Masks is not { } masks)
        {
            throw new InvalidOperationException("Results that must be masked can't be masked here.");
        }

        masks.Taint(own.Tainted);
        operation.Masker = PostgresRowMasker.Create(own, masks.Session);
    }

    /// <summary>The columns of a masked portal must be known before its first row, whether the client asks for them or not.</summary>
    private void DescribeForMasks(PostgresOperation operation)
    {
        if (_pipeline.TryEnqueue(new Expectation(Awaited.DescribePortal) { Operation = operation, Hidden = true }))
        {
            _output.Begin(FrontendType.Describe);
            _output.WriteByte((byte)'P');
            _output.WriteCString(operation.Bind.Portal);
            _output.End();
        }
    }

    /// <summary>Makes the server fail here in the client's pipeline.</summary>
    private void Inject(InjectedError error, bool unnamedParse = false)
    {
        if (_pipeline.TryEnqueue(new Expectation(Awaited.Parse) { Injected = error, Name = unnamedParse ? "" : null }))
        {
            PostgresRefusal.WriteParse(_output, context.RefusedWord, unnamedParse);
        }
    }

    private void Send(PostgresOperation operation, Expectation expectation)
    {
        if (_pipeline.TryEnqueue(expectation))
        {
            _pipeline.Forwarding(operation);
            _output.WriteBytes(operation.Message.Span);
        }
        else
        {
            operation.Completed = true;
            context.Recording.Complete(PostgresReplies.Completion(operation, "cancelled"));
        }
    }

    private async ValueTask<string?[]?> ReadContextAsync()
    {
        if (_pipeline.Skipping)
        {
            throw new PipelineSkippedException();
        }

        if (!_pipeline.SegmentOpen || _pipeline.Status == (byte)'E')
        {
            await SettleAsync().ConfigureAwait(false);
        }

        if (_pipeline.Status == (byte)'E')
        {
            // A failed transaction answers nothing, and runs nothing but its end.
            return null;
        }

        return await AskAsync(GatewayStatement.ReadContext).ConfigureAwait(false);
    }

    /// <summary>
    /// Whether the target reads a text as it was written, after something ran that may have changed how it reads: the target reports a change only with its next
    /// ReadyForQuery, so that is waited for, or within a pipeline the target is asked. Not asked where the text reads the same anyway.
    /// </summary>
    /// <returns>False where an earlier message of the pipeline failed: the target skips this one.</returns>
    /// <exception cref="MalformedMessageException">It doesn't: the session ends.</exception>
    private async ValueTask<bool> IsReadAsWrittenAsync(ReadOnlyMemory<byte> text)
    {
        if (!ForcedSettings.MatterFor(text.Span))
        {
            return true;
        }

        if (!_pipeline.SegmentOpen || _pipeline.Status == (byte)'E')
        {
            await SettleAsync().ConfigureAwait(false);
        }

        if (_pipeline.Skipping)
        {
            return false;
        }

        if (!_pipeline.SegmentOpen)
        {
            // All is answered, ReadyForQuery included: a change was reported, and would have ended the session.
            _textUncertain = _pipeline.Status == (byte)'E';
            return true;
        }

        if (_pipeline.Status == (byte)'E' && !_pipeline.ImplicitOpen)
        {
            // A failed transaction runs nothing but its end, whatever is read.
            return true;
        }

        try
        {
            var row = await AskAsync(GatewayStatement.ReadTextSettings).ConfigureAwait(false);
            if (row.Length != 2 || !ForcedSettings.IsKept(ForcedSettings.ClientEncoding, row[0] ?? "")
                || !ForcedSettings.IsKept(ForcedSettings.StandardConformingStrings, row[1] ?? ""))
            {
                throw ForcedSettings.Changed();
            }

            _textUncertain = false;
            return true;
        }
        catch (PipelineSkippedException)
        {
            return false;
        }
    }

    /// <summary>
    /// What comes behind a result with a row limit waits for its end, and for the cancel that the limit may have caused: a cancel that comes late would hit the
    /// next statement.
    /// </summary>
    private async ValueTask OutlastLimitAsync()
    {
        await SettleAsync().ConfigureAwait(false);
        await context.LimitCancel.ConfigureAwait(false);
        _limited = false;
    }

    private async ValueTask<string?[]> AskAsync(GatewayStatement statement)
    {
        var call = new GatewayCall(statement);
        if (_pipeline.SegmentOpen)
        {
            if (!_pipeline.TryEnqueue(new Expectation(Awaited.Parse) { Call = call })
                || !_pipeline.TryEnqueue(new Expectation(Awaited.Bind) { Call = call })
                || !_pipeline.TryEnqueue(new Expectation(Awaited.Execute) { Call = call })
                || !_pipeline.TryEnqueue(new Expectation(Awaited.ClosePortal) { Call = call })
                || !_pipeline.TryEnqueue(new Expectation(Awaited.CloseStatement) { Call = call }))
            {
                throw new PipelineSkippedException();
            }

            call.Statement.WritePipelined(_output, context.GatewayName);
        }
        else
        {
            _pipeline.TryEnqueue(new Expectation(Awaited.Query) { Call = call });
            call.Statement.WriteQuery(_output);
        }

        context.Recording.RecordGateway(call.Statement.Name);
        await _target.FlushAsync().ConfigureAwait(false);
        return await call.Answer.ConfigureAwait(false);
    }

    /// <summary>Waits until everything that was sent is answered.</summary>
    private async ValueTask SettleAsync()
    {
        if (_pipeline.Count == 0)
        {
            return;
        }

        if (_pipeline.SegmentOpen)
        {
            _output.WriteEmpty(FrontendType.Flush);
        }

        await _target.FlushAsync().ConfigureAwait(false);
        await _pipeline.WaitAsync(static pipeline => pipeline.Count == 0).ConfigureAwait(false);
    }

    private async ValueTask BeginCopyDataAsync(int length)
    {
        await ExpectCopyAsync().ConfigureAwait(false);
        _copyForwarded = _pipeline.CopyingIn is not null;
        _copyRemaining = length - 4;
        Volatile.Write(ref _partialSince, 0);
        if (_copyForwarded)
        {
            _output.WriteBytes(_client.Span[..5]);
        }

        _client.Consume(5);
    }

    /// <summary>Passes on as much of a CopyData as has come. Outside of a COPY the server would ignore it, and so it is dropped.</summary>
    /// <returns>False where more must come.</returns>
    private async ValueTask<bool> PassCopyDataAsync()
    {
        var part = Math.Min(_copyRemaining, _client.Available);
        if (part == 0)
        {
            return false;
        }

        Volatile.Write(ref _partialSince, 0);
        if (_copyForwarded)
        {
            // A message that was begun is ended, also where the COPY has failed meanwhile.
            var bytes = _client.Span[..part];
            _output.WriteBytes(bytes);
            if (_pipeline.CopyingIn is { } copying)
            {
                copying.AddCopyData(bytes);
            }
        }

        _client.Consume(part);
        _copyRemaining -= part;
        if (_output.Length > FlushAbove)
        {
            await _target.FlushAsync().ConfigureAwait(false);
        }

        return _copyRemaining == 0;
    }

    private async ValueTask EndCopyAsync(FrontendType type, int total)
    {
        await ExpectCopyAsync().ConfigureAwait(false);
        if (_pipeline.CopyingIn is null)
        {
            _client.Consume(total);
            return;
        }

        if (type == FrontendType.CopyFail)
        {
            var reader = new MessageReader(_client.Span[5..total]);
            reader.ReadCString();
            reader.ExpectEnd();
        }

        _pipeline.EndCopyIn();
        PassOn(total);
    }

    /// <summary>COPY data that came before the target asked for them: wait until it does, or until it is clear that it won't.</summary>
    private async ValueTask ExpectCopyAsync()
    {
        if (_pipeline.CopyingIn is null && _pipeline.Count > 0 && !_pipeline.SegmentOpen)
        {
            await _target.FlushAsync().ConfigureAwait(false);
            await _pipeline.WaitAsync(static pipeline => pipeline.Count == 0 || pipeline.CopyingIn is not null).ConfigureAwait(false);
        }
    }

    private byte[] Take(int total)
    {
        var message = _client.Span[..total].ToArray();
        _client.Consume(total);
        return message;
    }

    private void PassOn(int total)
    {
        _output.WriteBytes(_client.Span[..total]);
        _client.Consume(total);
    }
}
