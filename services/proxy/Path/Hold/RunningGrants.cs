using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Decide;

namespace Countersign.Proxy.Path.Hold;

/// <summary>
/// Which sessions of this proxy run something under which approval, so that what is taken away ends what runs with it (I8). Bounded: a session ends
/// rather than that something runs here unnoticed. One a process; safe for concurrent use.
/// </summary>
public sealed class RunningGrants
{
    /// <summary>Most operations and open windows at once.</summary>
    internal const int MaxEntries = 20_000;

    // A revocation may come before the redemption's answer: it must be known for longer than that takes.
    private const int MaxRemembered = 10_000;

    private readonly Dictionary<string, List<SessionGrants>> _sessions = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _revoked = new(StringComparer.Ordinal);
    private readonly Queue<string> _order = new();
    private int _entries;

    /// <summary>Guards this and every <see cref="SessionGrants"/> of it.</summary>
    internal Lock Gate { get; } = new();

    /// <summary>Approval requests under which something runs, or a window is open.</summary>
    public IReadOnlyList<string> Requests
    {
        get
        {
            lock (Gate)
            {
                return _sessions.Count == 0 ? [] : [.. _sessions.Keys];
            }
        }
    }

    /// <summary>Whether something runs under a request, or a window of it is open.</summary>
    public bool Runs(string request)
    {
        lock (Gate)
        {
            return _sessions.ContainsKey(request);
        }
    }

    /// <summary>An approval was taken back: ends every session in which something runs under it, and closes its windows.</summary>
    /// <param name="request">The approval request.</param>
    /// <param name="message">For the persons whose sessions end: why, and by whom.</param>
    /// <returns>How many sessions were told to end.</returns>
    public int Revoke(string request, string message)
    {
        ArgumentException.ThrowIfNullOrEmpty(request);
        List<SessionGrants> ending = [];
        lock (Gate)
        {
            if (_revoked.TryAdd(request, message))
            {
                _order.Enqueue(request);
                if (_order.Count > MaxRemembered)
                {
                    _revoked.Remove(_order.Dequeue());
                }
            }

            foreach (var session in _sessions.GetValueOrDefault(request)?.ToList() ?? [])
            {
                if (session.Revoked(request))
                {
                    ending.Add(session);
                }
            }
        }

        ending.ForEach(session => session.End(message));
        return ending.Count;
    }

    /// <summary>Another bundle is in force: ends what runs under an approval that it would not have been enough for.</summary>
    /// <returns>How many sessions were told to end.</returns>
    public int Reconsider(BundleInForce bundle, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        List<(SessionGrants Session, GrantUse Use)> uses;
        lock (Gate)
        {
            uses = [.. _sessions.Values.SelectMany(sessions => sessions).Distinct().SelectMany(session => session.UsesLocked().Select(use => (session, use)))];
        }

        var ended = new HashSet<SessionGrants>();
        foreach (var (session, use) in uses)
        {
            // Without masks: they are planned with the session's own state, and rows on their way have the masks of their permit.
            var decision = bundle.Engine.Evaluate(use.Input(now)).Decision;
            if (!GrantTerms.Cover(decision, use.Grant.Claims) && ended.Add(session))
            {
                session.End(decision.Outcome == Outcome.Deny
                    ? $"The policy now refuses what ran under {use.Grant.Claims.Request}, and so it was ended."
                    : $"The policy became stricter while something ran under {use.Grant.Claims.Request}, and so it was ended.");
            }
        }

        return ended.Count;
    }

    /// <summary>Approval says that a request still holds: its windows may be used for a while longer.</summary>
    public void Confirm(string request, DateTimeOffset now)
    {
        lock (Gate)
        {
            foreach (var session in _sessions.GetValueOrDefault(request) ?? [])
            {
                session.ConfirmLocked(request, now);
            }
        }
    }

    /// <summary>Notes that a session has something of a request. Within the gate.</summary>
    /// <exception cref="RedemptionRefusedException">It was revoked meanwhile, or too much runs already.</exception>
    internal void EnterLocked(string request, SessionGrants session)
    {
        if (_revoked.TryGetValue(request, out var message))
        {
            throw new RedemptionRefusedException(message);
        }

        if (_entries == MaxEntries)
        {
            throw new RedemptionRefusedException("Too much runs under approvals at the moment.");
        }

        _entries++;
        if (!_sessions.TryGetValue(request, out var sessions))
        {
            _sessions[request] = sessions = [];
        }

        if (!sessions.Contains(session))
        {
            sessions.Add(session);
        }
    }

    /// <summary>Notes that a session has one thing less of a request. Within the gate.</summary>
    /// <param name="request">The request.</param>
    /// <param name="session">The session.</param>
    /// <param name="none">Whether that was the last.</param>
    internal void LeaveLocked(string request, SessionGrants session, bool none)
    {
        _entries--;
        if (none && _sessions.TryGetValue(request, out var sessions) && sessions.Remove(session) && sessions.Count == 0)
        {
            _sessions.Remove(request);
        }
    }
}

/// <summary>An operation that runs under a grant: from before it is forwarded to the end of its transaction.</summary>
/// <param name="Session">The session.</param>
/// <param name="Operation">The operation.</param>
/// <param name="Facts">Its facts.</param>
/// <param name="Grant">The grant.</param>
public sealed record GrantUse(PathSession Session, Operation Operation, OperationFacts Facts, RedeemedGrant Grant)
{
    internal DecisionInput Input(DateTimeOffset now) => new()
    {
        Principal = Session.Principal,
        Connection = Session.Connection,
        Database = Session.Database,
        Facts = Facts,
        ClientAddress = Session.ClientAddress,
        Now = now,
    };
}
