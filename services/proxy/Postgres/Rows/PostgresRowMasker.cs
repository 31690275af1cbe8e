using System.Buffers;
using System.Buffers.Binary;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>What became of a message from the target.</summary>
public enum RowVerdict
{
    /// <summary>Forward the target's own bytes.</summary>
    Pass,
    /// <summary>Forward what was written to the output (a complete message, several, or none) instead.</summary>
    Rewritten,
    /// <summary>
    /// The row limit is exceeded: forward neither this row nor any more of this statement, cancel it at the target, and where its ErrorResponse or
    /// CommandComplete would be forwarded, forward <see cref="PostgresRowMasker.WriteLimitError"/> instead. ReadyForQuery passes as ever.
    /// </summary>
    LimitReached,
}

/// <summary>
/// Step 8 of the path for PostgreSQL: rewrites what the target sends back for ONE operation (a Query string, or a Bind with all Executes of its portal).
/// <para>How the session uses it:</para>
/// <list type="number">
/// <item><c>if (permit.Masking is PostgresMaskPlan { IsNone: false } plan) masker = PostgresRowMasker.Create(plan, maskSession)</c>, where
/// <see cref="PostgresMaskSession"/> is made once a session. For <see cref="MaskPlan.None"/> nothing of this is needed.</item>
/// <item>Simple protocol: give every message of the target to <see cref="Rewrite"/>, in order. The masker follows the statements of the string
/// by CommandComplete and EmptyQueryResponse by itself.</item>
/// <item>Extended protocol: the columns of a Describe (of the statement or of the portal) are kept by the session with the prepared statement:
/// <see cref="PostgresResultColumns.Parse"/>. Before the first row of a portal call <see cref="Bind"/> with them (null where nothing was described)
/// and the result format codes of the Bind message. A RowDescription that passes while the portal runs may also just go through <see cref="Rewrite"/>,
/// followed by <see cref="Bind"/> with the formats.</item>
/// <item><see cref="RowsPass"/> says, once columns are known, that DataRow messages needn't be shown to it: nothing in them is masked, searched or counted.
/// All other messages must still be.</item>
/// <item><see cref="UnknownRelation"/> after a RowDescription means: the catalog is stale (columns were masked because of it); refresh it
/// (<c>PostgresCatalog.InvalidateUnknown</c>). So does <see cref="PostgresMaskPlan.ChangesCatalog"/> once the operation is complete.</item>
/// <item>A DataRow too large to be held (longer than the session wants to buffer) is opened with <see cref="OpenLargeRow"/> and fed in parts. CopyData may be given
/// to <see cref="Rewrite"/> in parts of any size, each as if it were a message: what is written are complete, smaller CopyData messages.</item>
/// <item>NoticeResponse, ParameterStatus and NotificationResponse that arrive while no operation runs go to
/// <see cref="PostgresMaskSession.RewriteIdle"/>.</item>
/// </list>
/// Not thread-safe: the session's own loop calls it. Where anything doesn't fit (a field count, a truncated message) it throws
/// <see cref="InvalidDataException"/>: the session must end, nothing of that message may pass.
/// </summary>
public sealed class PostgresRowMasker
{
    private readonly PostgresMaskPlan _plan;
    private readonly PostgresMaskSession _session;
    private int _statement;
    private ColumnMaskAction[]? _columns;
    private PostgresCopyMasker? _copy;
    private bool _described;
    private long _rows;

    private PostgresRowMasker(PostgresMaskPlan plan, PostgresMaskSession session)
    {
        _plan = plan;
        _session = session;
    }

    /// <summary>A masker for one operation.</summary>
    public static PostgresRowMasker Create(PostgresMaskPlan plan, PostgresMaskSession session)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(session);
        session.Masks |= !plan.Scope.IsEmpty || plan.Detectors.Kinds != Detectors.None;
        session.Laundered |= plan.Launders is not null;
        return new PostgresRowMasker(plan, session);
    }

    /// <summary>Fields replaced because a rule masks their column, or because nothing proves that they hold no masked column.</summary>
    public long MaskedFields { get; private set; }

    /// <summary>Findings of detectors that were overwritten.</summary>
    public long Findings { get; private set; }

    /// <summary>Texts (errors, notices, settings, notifications) that were replaced or cut.</summary>
    public long ScrubbedTexts { get; private set; }

    /// <summary>Rows and COPY lines counted, over all statements.</summary>
    public long Rows { get; private set; }

    /// <summary>True where DataRow messages of the current statement needn't be shown to the masker.</summary>
    public bool RowsPass { get; private set; }

    /// <summary>Whether rows are counted against a limit.</summary>
    public bool HasLimit => _plan.RowLimit is not null;

    /// <summary>True where a column came from a relation that the catalog doesn't know; it was masked.</summary>
    public bool UnknownRelation { get; private set; }

    /// <summary>True once the row limit was exceeded.</summary>
    public bool LimitExceeded { get; private set; }

    private StatementMask Statement => _plan.Statement(_statement);

    /// <summary>
    /// Extended protocol: binds the plan to a portal's columns, before its first row.
    /// </summary>
    /// <param name="columns">What Describe said, of the statement or the portal; null where nothing was described: then the parse tree's columns count.</param>
    /// <param name="formats">Result format codes of the Bind message: none (all text), one for all, or one a column.</param>
    public void Bind(PostgresResultColumns? columns, ReadOnlySpan<short> formats)
    {
        _columns = columns is null ? ColumnMaskAction.FromTree(Statement, formats) : ColumnMaskAction.For(columns, Statement, _plan.Scope, formats);
        Bound(columns);
    }

    /// <summary>Rewrites one message from the target.</summary>
    /// <param name="type">Type byte.</param>
    /// <param name="body">Body, without type and length.</param>
    /// <param name="output">Where complete messages are written for <see cref="RowVerdict.Rewritten"/>.</param>
    /// <exception cref="InvalidDataException">The message is malformed or doesn't fit the columns: the session must end.</exception>
    public RowVerdict Rewrite(byte type, ReadOnlySpan<byte> body, IBufferWriter<byte> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        switch (type)
        {
            case (byte)'D':
                return Row(body, output);
            case (byte)'T':
                var columns = PostgresResultColumns.Parse(body);
                _columns = ColumnMaskAction.For(columns, Statement, _plan.Scope, default, described: true);
                Bound(columns);
                return RowVerdict.Pass;
            case (byte)'d':
                return CopyData(body, output);
            case (byte)'H':
                _copy = PostgresCopyMasker.Create(body, Statement, _plan, _session.Key);
                return RowVerdict.Pass;
            case (byte)'c':
                return CopyDone(output);
            case (byte)'C' or (byte)'I':
                NextStatement();
                return RowVerdict.Pass;
            case (byte)'E' or (byte)'N':
                return Scrubbed(PostgresTextScrub.ErrorOrNotice(type, body, _plan.Texts, _plan.Detectors, output));
            case (byte)'S':
                return Scrubbed(PostgresTextScrub.ParameterStatus(body, _plan.Texts, output));
            case (byte)'A':
                return Scrubbed(PostgresTextScrub.Notification(body, _plan.Texts, output));
            default:
                return RowVerdict.Pass;
        }
    }

    /// <summary>Opens a DataRow that is not held whole. Masked fields are filled with as many bytes as they had, since the length was already announced.</summary>
    /// <param name="length">Length of the body in bytes.</param>
    public PostgresLargeRow OpenLargeRow(int length)
    {
        if (Count())
        {
            LimitExceeded = true;
        }

        return new PostgresLargeRow(length, _columns, _plan.Detectors, LimitExceeded, masked => MaskedFields += masked, found => Findings += found);
    }

    /// <summary>Writes the ErrorResponse for an exceeded row limit (54000).</summary>
    public void WriteLimitError(IBufferWriter<byte> output) =>
        PostgresTextScrub.WriteError(
            output, "54000", $"This result has more than {_plan.RowLimit} rows, which is all that the policy allows.",
            "The rows before this message were delivered. Narrow the query, or add a LIMIT.");

    private void Bound(PostgresResultColumns? columns)
    {
        _described = columns is not null;
        UnknownRelation |= columns is not null && _plan.Scope.HasUnknown(columns);
        RowsPass = _columns is not null && (_described || !Statement.Touches) && _plan.Detectors.Kinds == Detectors.None && _plan.RowLimit is null
            && Array.TrueForAll(_columns, column => column is { Strategy: MaskStrategy.None, Literals: false });
    }

    private void NextStatement()
    {
        _statement++;
        _columns = null;
        _copy = null;
        _rows = 0;
        RowsPass = false;
    }

    private bool Count()
    {
        Rows++;
        return ++_rows > _plan.RowLimit;
    }

    private RowVerdict Row(ReadOnlySpan<byte> body, IBufferWriter<byte> output)
    {
        if (LimitExceeded || Count())
        {
            LimitExceeded = true;
            return RowVerdict.LimitReached;
        }

        if (RowsPass)
        {
            return RowVerdict.Pass;
        }

        // Rows that nothing announced: the portal was executed without Describe, and the tree doesn't list its columns, or lists others.
        var count = body.Length < 2 ? 0 : BinaryPrimitives.ReadUInt16BigEndian(body);
        if (_columns is null || (!_described && _columns.Length != count))
        {
            _columns = ColumnMaskAction.Unlisted(count, Statement);
        }

        var (masked, found, changed) = PostgresDataRow.Rewrite(body, _columns, _plan.Detectors, _session.Key, output);
        MaskedFields += masked;
        Findings += found;
        return changed ? RowVerdict.Rewritten : RowVerdict.Pass;
    }

    private RowVerdict CopyData(ReadOnlySpan<byte> body, IBufferWriter<byte> output)
    {
        if (LimitExceeded)
        {
            return RowVerdict.LimitReached;
        }

        if (_copy is null)
        {
            // Nothing in it is masked; still it is written, since the part may not be a whole message.
            PostgresCopyMasker.Write(body, output);
            return RowVerdict.Rewritten;
        }

        var lines = _copy.Lines;
        _copy.Feed(body);
        MaskedFields += _copy.TakeMasked();
        Findings += _copy.TakeFindings();
        Rows += _copy.Lines - lines;
        if (_copy.Lines > _plan.RowLimit)
        {
            LimitExceeded = true;
            return RowVerdict.LimitReached;
        }

        _copy.Flush(output);
        return RowVerdict.Rewritten;
    }

    private RowVerdict CopyDone(IBufferWriter<byte> output)
    {
        if (LimitExceeded)
        {
            // The error that takes the place of CommandComplete ends the copy.
            _copy = null;
            return RowVerdict.Rewritten;
        }

        if (_copy is null)
        {
            return RowVerdict.Pass;
        }

        _copy.Finish();
        _copy.Flush(output);
        MaskedFields += _copy.TakeMasked();
        Findings += _copy.TakeFindings();
        PostgresTextScrub.WriteEmpty(output, (byte)'c');
        _copy = null;
        return RowVerdict.Rewritten;
    }

    private RowVerdict Scrubbed(bool changed)
    {
        ScrubbedTexts += changed ? 1 : 0;
        return changed ? RowVerdict.Rewritten : RowVerdict.Pass;
    }
}
