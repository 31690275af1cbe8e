using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Engine;

/// <summary>
/// Merges terms to the strictest. Within one statement rules that say nothing have no say and what nobody says gets its default; between
/// statements the strictest wins, defaults included. Nothing here depends on the order of what is added.
/// </summary>
internal sealed class ObligationMerge
{
    private RecordLevel? _record;
    private long? _rowLimit;
    private FilterOnMasked? _filter;
    private Outcome? _laundering;
    private TermsMerge? _terms;

    internal void Add(RuleSyntax rule)
    {
        if (rule.Obligations is { } said)
        {
            if (said.Record is { } record)
            {
                _record = _record is { } level && level > record.Value ? level : record.Value;
            }

            if (said.RowLimit is { } limit)
            {
                _rowLimit = Math.Min(_rowLimit ?? long.MaxValue, limit);
            }

            if (said.FilterOnMasked is { } filter)
            {
                _filter = _filter is { } present && present < filter.Value ? present : filter.Value;
            }

            if (said.Laundering is { } laundering)
            {
                _laundering = _laundering is { } present && present > laundering.Value ? present : laundering.Value;
            }
        }

        if (rule.Approval is { } approval)
        {
            (_terms ??= new TermsMerge()).Add(approval, rule.Obligations);
        }
    }

    /// <summary>The terms of one statement.</summary>
    /// <param name="outcome">Its outcome.</param>
    /// <param name="onlyReads">Whether it is certain that it only reads: nothing else may be recorded in a buffer (I5).</param>
    internal Obligations ForStatement(Outcome outcome, bool onlyReads)
    {
        var record = _record ?? (outcome == Outcome.RequireApproval ? RecordLevel.Acknowledged : RecordLevel.Durable);
        if (record == RecordLevel.Buffered && !(onlyReads && outcome == Outcome.Allow))
        {
            record = RecordLevel.Durable;
        }

        var filter = _filter ?? FilterOnMasked.Deny;
        var laundering = _laundering ?? Outcome.Deny;
        return new Obligations
        {
            Record = record,
            RowLimit = _rowLimit,
            FilterOnMasked = filter,
            Laundering = laundering,
            MaskingTerms = filter == FilterOnMasked.RequireApproval || laundering == Outcome.RequireApproval ? _terms?.ToTerms() : null,
        };
    }

    /// <summary>The terms of a whole operation out of those of its statements.</summary>
    internal static Obligations Strictest(Obligations one, Obligations other)
    {
        var filter = (FilterOnMasked)Math.Min((int)one.FilterOnMasked, (int)other.FilterOnMasked);
        var laundering = (Outcome)Math.Max((int)one.Laundering, (int)other.Laundering);
        return new Obligations
        {
            Record = (RecordLevel)Math.Max((int)one.Record, (int)other.Record),
            RowLimit = one.RowLimit is { } limit ? Math.Min(limit, other.RowLimit ?? long.MaxValue) : other.RowLimit,
            FilterOnMasked = filter,
            Laundering = laundering,
            MaskingTerms = filter == FilterOnMasked.RequireApproval || laundering == Outcome.RequireApproval
                ? Terms.Strictest(one.MaskingTerms, other.MaskingTerms)
                : null,
        };
    }
}

/// <summary>Union of approval terms: everybody who must agree anywhere, the best login asked for anywhere, the shortest times; what lets more through only where all let it.</summary>
internal sealed class TermsMerge
{
    private static readonly TimeSpan DefaultTimeout = TimeSpan.FromMinutes(30);
    private static readonly TimeSpan DefaultGrantLifetime = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan DefaultHold = TimeSpan.FromSeconds(60);
    private readonly List<ApproverRequirement> _allOf = [];
    private TimeSpan? _timeout;
    private TimeSpan? _grantLifetime;
    private TimeSpan? _hold;
    private bool _reason;
    private ApproverAssurance? _assurance;

    // The longest there is until somebody says less; zero as soon as somebody says nothing.
    private TimeSpan _window = TimeSpan.MaxValue;
    private bool _breakGlass = true;
    private bool _dryRun = true;

    internal void Add(ApprovalSyntax approval, ObligationSyntax? obligations)
    {
        _allOf.AddRange(approval.AllOf.Select(requirement => new ApproverRequirement([.. requirement.AnyOf.Select(group => group.Value)], requirement.Quorum)));
        _timeout = Shortest(_timeout, approval.Timeout);
        _grantLifetime = Shortest(_grantLifetime, approval.GrantLifetime);
        _hold = Shortest(_hold, obligations?.InTransaction?.Value);
        _reason |= approval.ReasonRequired;
        _assurance = ApproverAssurance.Strictest(_assurance, approval.Assurance);
        _window = Shortest(_window, approval.Window ?? TimeSpan.Zero)!.Value;
        _breakGlass &= approval.BreakGlass;
        _dryRun &= approval.DryRun;
    }

    /// <summary>Adds everything another one has.</summary>
    internal void Add(TermsMerge other)
    {
        _allOf.AddRange(other._allOf);
        _timeout = Shortest(_timeout, other._timeout);
        _grantLifetime = Shortest(_grantLifetime, other._grantLifetime);
        _hold = Shortest(_hold, other._hold);
        _reason |= other._reason;
        _assurance = ApproverAssurance.Strictest(_assurance, other._assurance);
        _window = Shortest(_window, other._window)!.Value;
        _breakGlass &= other._breakGlass;
        _dryRun &= other._dryRun;
    }

    internal ApprovalTerms ToTerms()
    {
        var hold = _hold ?? DefaultHold;
        return new ApprovalTerms
        {
            AllOf = Terms.AllOf(_allOf),
            ReasonRequired = _reason,
            Timeout = _timeout ?? DefaultTimeout,
            GrantLifetime = _grantLifetime ?? DefaultGrantLifetime,
            RefuseInTransaction = hold == TimeSpan.Zero,
            HoldInTransaction = hold,
            Assurance = _assurance,
            LongestWindow = _window > TimeSpan.Zero && _window < TimeSpan.MaxValue ? _window : null,
            BreakGlass = _breakGlass,
            DryRun = _dryRun,
        };
    }

    private static TimeSpan? Shortest(TimeSpan? one, TimeSpan? other) => one is null ? other : other is null ? one : one < other ? one : other;
}
