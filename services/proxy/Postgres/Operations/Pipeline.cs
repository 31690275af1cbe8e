using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>What looking up a name gives.</summary>
internal enum Lookup
{
    /// <summary>It is known with certainty what the name stands for.</summary>
    Found,
    /// <summary>It is certain that the name stands for nothing that the gateway knows.</summary>
    Missing,
    /// <summary>It depends on answers that have not come: settle first.</summary>
    Unsettled,
}

/// <summary>
/// What the client's half and the target's half of a session share: what was sent and not answered, and the names that exist. A name's
/// meaning counts only when the target has confirmed it, or when it was made in the same stretch between two Syncs: then it is certain, since
/// the target skips everything behind a failure. Every member takes the lock; none of them waits.
/// </summary>
internal sealed class Pipeline
{
    private readonly Lock _gate = new();
    private readonly SessionNames _names = new();
    private readonly List<string> _transaction = [];
    private readonly List<PostgresOperation> _ended = [];
    private Expectation[] _ring = new Expectation[16];
    private int _head;
    private int _count;
    private int _segment;
    private int _segmentOperations;
    private bool _segmentOpen;
    private bool _skipping;
    private bool _blockBegun;
    private Func<Pipeline, bool>? _condition;
    private TaskCompletionSource? _waiter;
    private Exception? _failure;

    /// <summary>Most statements of a transaction that an approver is shown.</summary>
    private const int MaxTransactionStatements = 50;

    /// <summary>Transaction status of the last ReadyForQuery.</summary>
    public byte Status { get; private set; } = (byte)'I';

    /// <summary>The operation that takes COPY data now.</summary>
    public PostgresOperation? CopyingIn { get; private set; }

    /// <summary>Messages that are not answered.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _count;
            }
        }
    }

    /// <summary>Whether something was sent since the last Sync or Query.</summary>
    public bool SegmentOpen
    {
        get
        {
            lock (_gate)
            {
                return _segmentOpen;
            }
        }
    }

    /// <summary>Whether the target is skipping to the next Sync, as far as is known.</summary>
    public bool Skipping
    {
        get
        {
            lock (_gate)
            {
                return _skipping;
            }
        }
    }

    /// <summary>Notes a message that is about to be sent.</summary>
    /// <returns>False where the target would skip it: it must not be sent.</returns>
    public bool TryEnqueue(Expectation expectation)
    {
        lock (_gate)
        {
            ThrowIfFailed();
            if (_skipping && expectation.IsSkippable)
            {
                return false;
            }

            expectation.Segment = _segment;
            Add(expectation);
            if (expectation.Kind is Awaited.Sync or Awaited.Query)
            {
                _segment++;
                _segmentOpen = false;
                _segmentOperations = 0;
                _skipping = false;
            }
            else
            {
                _segmentOpen = true;
            }

            return true;
        }
    }

    /// <summary>Notes that an operation with its permit is sent with the last message.</summary>
    public void Forwarding(PostgresOperation operation)
    {
        lock (_gate)
        {
            _segmentOperations++;
            if (operation.Understood is { } understood)
            {
                _blockBegun |= understood.BeginsTransaction;
                if (_transaction.Count < MaxTransactionStatements)
                {
                    _transaction.Add(understood.Analysis.RecordedText);
                }
            }
        }
    }

    /// <summary>Whether a transaction block is open, or may be once everything that was sent has run.</summary>
    public bool BlockOpen
    {
        get
        {
            lock (_gate)
            {
                return Status != (byte)'I' || _blockBegun;
            }
        }
    }

    /// <summary>Whether operations have run, or will, in the implicit transaction of the pipeline that is open.</summary>
    public bool ImplicitOpen
    {
        get
        {
            lock (_gate)
            {
                return _segmentOperations > 0;
            }
        }
    }

    /// <summary>Earlier statements of the open transaction.</summary>
    public IReadOnlyList<string> TransactionStatements()
    {
        lock (_gate)
        {
            return [.. _transaction];
        }
    }

    /// <summary>What a Bind's statement is.</summary>
    public Lookup FindStatement(string name, out PreparedText? statement)
    {
        lock (_gate)
        {
            statement = null;
            for (var index = _count - 1; index >= 0; index--)
            {
                ref var each = ref At(index);
                if (each.Kind is Awaited.Query or Awaited.Execute && each.Operation is { HasEffects: true })
                {
                    return Lookup.Unsettled;
                }

                if (each.Kind is Awaited.Parse or Awaited.CloseStatement && each.Call is null && string.Equals(each.Name, name, StringComparison.Ordinal))
                {
                    if (each.Segment != _segment)
                    {
                        return Lookup.Unsettled;
                    }

                    statement = each.Kind == Awaited.Parse ? each.Statement : null;
                    return statement is null ? Lookup.Missing : Lookup.Found;
                }
            }

            statement = _names.Statement(name);
            return statement is null ? Lookup.Missing : Lookup.Found;
        }
    }

    /// <summary>The operation whose portal an Execute continues.</summary>
    public Lookup FindPortal(string name, out PostgresOperation? operation)
    {
        lock (_gate)
        {
            operation = null;
            for (var index = _count - 1; index >= 0; index--)
            {
                ref var each = ref At(index);
                if (each.Kind is Awaited.Query or Awaited.Execute && each.Operation is { HasEffects: true })
                {
                    return Lookup.Unsettled;
                }

                if (each.Kind is Awaited.Bind or Awaited.ClosePortal && each.Call is null && string.Equals(each.Name, name, StringComparison.Ordinal))
                {
                    if (each.Segment != _segment)
                    {
                        return Lookup.Unsettled;
                    }

                    operation = each.Kind == Awaited.Bind ? each.Operation : null;
                    return operation is null ? Lookup.Missing : Lookup.Found;
                }

                if (each.Kind is Awaited.Sync or Awaited.Query && Status != (byte)'T')
                {
                    // Whether the portal survives this Sync depends on its answer.
                    return Lookup.Unsettled;
                }
            }

            operation = _names.PortalOperation(name);
            return operation is null ? Lookup.Missing : Lookup.Found;
        }
    }

    /// <summary>Runs something over the confirmed names. Only where everything is settled.</summary>
    public T WithNames<T>(Func<SessionNames, T> look)
    {
        lock (_gate)
        {
            return look(_names);
        }
    }

    /// <summary>Completes once a condition holds; it is asked after every answer.</summary>
    /// <exception cref="Exception">The session has failed meanwhile.</exception>
    public Task WaitAsync(Func<Pipeline, bool> condition)
    {
        lock (_gate)
        {
            ThrowIfFailed();
            if (condition(this))
            {
                return Task.CompletedTask;
            }

            _condition = condition;
            _waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _waiter.Task;
        }
    }

    /// <summary>The message that the target answers next.</summary>
    public bool TryPeek(out Expectation expectation)
    {
        lock (_gate)
        {
            expectation = _count == 0 ? default : At(0);
            return _count > 0;
        }
    }

    /// <summary>The target has answered the head in full.</summary>
    /// <returns>An operation that ended by it without an end of its own (its portal was replaced or closed).</returns>
    public PostgresOperation? Answered()
    {
        lock (_gate)
        {
            var expectation = Pop();
            PostgresOperation? ended = null;
            if (expectation.Call is null)
            {
                switch (expectation.Kind)
                {
                    case Awaited.Parse:
                        _names.Parsed(expectation.Name!, expectation.Statement!);
                        break;
                    case Awaited.Bind:
                        ended = _names.Bound(expectation.Name!, expectation.Operation!);
                        break;
                    case Awaited.CloseStatement:
                        _names.CloseStatement(expectation.Name!);
                        break;
                    case Awaited.ClosePortal:
                        ended = _names.ClosePortal(expectation.Name!);
                        break;
                    default:
                        break;
                }
            }

            Wake();
            return ended;
        }
    }

    /// <summary>A statement of an operation has succeeded: its effects on names count.</summary>
    public void Succeeded(PostgresOperation operation)
    {
        lock (_gate)
        {
            CopyingIn = null;
            var statements = operation.Understood?.Source.Statements;
            var index = operation.StatementIndex++;
            if (statements is not null && operation.HasEffects)
            {
                // A Bind's one statement may be executed again; a rule could give a Query more answers than it has statements.
                index = Math.Min(index, statements.Count - 1);
                if (index >= 0 && statements[index].Effect is { } effect)
                {
                    _names.Apply(effect);
                }
            }

            Wake();
        }
    }

    /// <summary>The target is ready: the head, a Query or a Sync, is answered.</summary>
    /// <returns>Operations that ended with the transaction without an end of their own. Valid until the next call.</returns>
    public IReadOnlyList<PostgresOperation> Ready(byte status)
    {
        lock (_gate)
        {
            Pop();
            Status = status;
            CopyingIn = null;
            _ended.Clear();
            if (status == (byte)'I')
            {
                _names.EndTransaction(_ended);
                if (!AnyBegins())
                {
                    _blockBegun = false;
                }

                if (_count == 0)
                {
                    _transaction.Clear();
                }
            }

            Wake();
            return _ended;
        }
    }

    /// <summary>
    /// The target reports an error. Within a Query it goes on to ReadyForQuery; within a pipeline it skips to the next Sync.
    /// </summary>
    /// <returns>Operations of the pipeline that will not run, or not to their end. Valid until the next call.</returns>
    public IReadOnlyList<PostgresOperation> Failed(string code)
    {
        lock (_gate)
        {
            CopyingIn = null;
            _ended.Clear();
            if (_count == 0 || At(0).Kind is Awaited.Query or Awaited.Sync)
            {
                Wake();
                return _ended;
            }

            if (At(0) is { Kind: Awaited.Parse, Call: null, Name: not null })
            {
                _names.ParseFailed(At(0).Name!);
            }

            var first = true;
            while (_count > 0 && At(0).Kind != Awaited.Sync)
            {
                var skipped = Pop();
                if (skipped.Call is { } call)
                {
                    if (first)
                    {
                        call.Failed(code);
                    }
                    else
                    {
                        call.Skipped();
                    }
                }

                if (skipped.Operation is { Completed: false } operation && skipped.Injected is null)
                {
                    operation.ErrorCode ??= code;
                    operation.Completed = true;
                    _ended.Add(operation);
                }

                first = false;
            }

            _skipping = _count == 0;
            Wake();
            return _ended;
        }
    }

    /// <summary>The target asks for COPY data.</summary>
    public void BeginCopyIn(PostgresOperation operation)
    {
        lock (_gate)
        {
            CopyingIn = operation;
            Wake();
        }
    }

    /// <summary>The client has ended its COPY data.</summary>
    public void EndCopyIn()
    {
        lock (_gate)
        {
            CopyingIn = null;
        }
    }

    /// <summary>The session is over: whoever waits is told, and what was not answered is returned.</summary>
    public IReadOnlyList<PostgresOperation> Abort(Exception failure)
    {
        lock (_gate)
        {
            _failure ??= failure;
            var open = new List<PostgresOperation>();
            while (_count > 0)
            {
                var left = Pop();
                left.Call?.Skipped();
                if (left.Operation is { Completed: false } operation && left.Injected is null)
                {
                    operation.Completed = true;
                    open.Add(operation);
                }
            }

            _ended.Clear();
            _names.EndTransaction(_ended);
            foreach (var operation in _ended)
            {
                operation.Completed = true;
                open.Add(operation);
            }

            _waiter?.TrySetException(new SessionEndedException(failure));
            _waiter = null;
            return open;
        }
    }

    private bool AnyBegins()
    {
        for (var index = 0; index < _count; index++)
        {
            if (At(index).Operation?.Understood is { BeginsTransaction: true })
            {
                return true;
            }
        }

        return false;
    }

    private void Wake()
    {
        if (_waiter is not null && _condition!(this))
        {
            _waiter.TrySetResult();
            _waiter = null;
            _condition = null;
        }
    }

    private void ThrowIfFailed()
    {
        if (_failure is not null)
        {
            throw new SessionEndedException(_failure);
        }
    }

    private ref Expectation At(int index) => ref _ring[(_head + index) & (_ring.Length - 1)];

    private void Add(Expectation expectation)
    {
        if (_count == _ring.Length)
        {
            var larger = new Expectation[_ring.Length * 2];
            for (var index = 0; index < _count; index++)
            {
                larger[index] = At(index);
            }

            _ring = larger;
            _head = 0;
        }

        _count++;
        At(_count - 1) = expectation;
    }

    private Expectation Pop()
    {
        if (_count == 0)
        {
            throw Malformed.Unexpected("An answer of the target");
        }

        var expectation = At(0);
        At(0) = default;
        _head = (_head + 1) & (_ring.Length - 1);
        _count--;
        return expectation;
    }
}

/// <summary>The session has ended, for a reason that is already known.</summary>
internal sealed class SessionEndedException(Exception? inner = null) : Exception("The session has ended.", inner);
