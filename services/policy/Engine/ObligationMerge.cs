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
                ? TermsMerge.Union(one.MaskingTerms, other.MaskingTerms)
                : null,
        };
    }
}

/// <summary>Union of approval terms: everybody who must agree anywhere, and the shortest times.</summary>
internal sealed class TermsMerge
{
    private static readonly TimeSpan DefaultTimeout = TimeSpan.FromMinutes(30);
    private static readonly TimeSpan DefaultGrantLifetime = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan DefaultHold = TimeSpan.FromSeconds(60);
    private readonly SortedDictionary<string, ApproverRequirement> _allOf = new(StringComparer.Ordinal);
    private TimeSpan? _timeout;
    private TimeSpan? _grantLifetime;
    private TimeSpan? _hold;
    private bool _reason;

    internal void Add(ApprovalSyntax approval, ObligationSyntax? obligations)
    {
        foreach (var requirement in approval.AllOf)
        {
            Add([.. requirement.AnyOf.Select(group => group.Value)], requirement.Quorum);
        }

        _timeout = Shortest(_timeout, approval.Timeout);
        _grantLifetime = Shortest(_grantLifetime, approval.GrantLifetime);
        _hold = Shortest(_hold, obligations?.InTransaction?.Value);
        _reason |= approval.ReasonRequired;
    }

    /// <summary>Adds everything another one has.</summary>
    internal void Add(TermsMerge other)
    {
        foreach (var requirement in other._allOf.Values)
        {
            Add(requirement.AnyOf, requirement.Quorum);
        }

        _timeout = Shortest(_timeout, other._timeout);
        _grantLifetime = Shortest(_grantLifetime, other._grantLifetime);
        _hold = Shortest(_hold, other._hold);
        _reason |= other._reason;
    }

    internal ApprovalTerms ToTerms()
    {
        var hold = _hold ?? DefaultHold;
        return new ApprovalTerms
        {
            AllOf = [.. _allOf.Values],
            ReasonRequired = _reason,
            Timeout = _timeout ?? DefaultTimeout,
            GrantLifetime = _grantLifetime ?? DefaultGrantLifetime,
            RefuseInTransaction = hold == TimeSpan.Zero,
            HoldInTransaction = hold,
        };
    }

    internal static ApprovalTerms? Union(ApprovalTerms? one, ApprovalTerms? other)
    {
        if (one is null || other is null)
        {
            return one ?? other;
        }

        var merge = new TermsMerge { _reason = one.ReasonRequired || other.ReasonRequired };
        foreach (var terms in new[] { one, other })
        {
            foreach (var requirement in terms.AllOf)
            {
                merge.Add(requirement.AnyOf, requirement.Quorum);
            }

            merge._timeout = Shortest(merge._timeout, terms.Timeout);
            merge._grantLifetime = Shortest(merge._grantLifetime, terms.GrantLifetime);
            merge._hold = Shortest(merge._hold, terms.RefuseInTransaction ? TimeSpan.Zero : terms.HoldInTransaction);
        }

        return merge.ToTerms();
    }

    private void Add(IReadOnlyList<string> anyOf, int quorum)
    {
        string[] groups = [.. anyOf.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
        var key = string.Join('\n', groups);
        if (!_allOf.TryGetValue(key, out var present) || present.Quorum < quorum)
        {
            _allOf[key] = new ApproverRequirement(groups, quorum);
        }
    }

    private static TimeSpan? Shortest(TimeSpan? one, TimeSpan? other) => one is null ? other : other is null ? one : one < other ? one : other;
}
