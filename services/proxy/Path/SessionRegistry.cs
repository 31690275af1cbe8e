using System.Collections.Concurrent;
using Countersign.Identity.Contracts;

namespace Countersign.Proxy.Path;

/// <summary>The live sessions of this proxy, of all protocols, so that a revocation can end them (I8) and a shutdown can drain them.</summary>
public sealed class SessionRegistry
{
    /// <summary>Longer than any access credential lives: identity refuses logins with what was revoked before.</summary>
    private static readonly TimeSpan Remembered = TimeSpan.FromHours(24);

    /// <summary>
    /// Identity looks whether a person is disabled before it signs an assertion, so one may be signed a little after the revocation that it should have seen.
    /// Giving access back takes a second person, and longer than this.
    /// </summary>
    private static readonly TimeSpan SigningTakes = TimeSpan.FromSeconds(10);

    private readonly ConcurrentDictionary<string, LiveSession> _sessions = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<(string Kind, string Id), Remembrance> _revoked = new();

    /// <summary>How many sessions are open.</summary>
    public int Count => _sessions.Count;

    /// <summary>Adds a session. Dispose the handle when it has ended.</summary>
    /// <param name="id">Session id.</param>
    /// <param name="claims">Whose it is.</param>
    public LiveSession Add(string id, SessionAssertionClaims claims)
    {
        var session = new LiveSession(this, id, claims);
        if (!_sessions.TryAdd(id, session))
        {
            throw new ArgumentException("A session of this id is open.", nameof(id));
        }

        // A revocation that came between the login and this line found no session to end.
        if (_revoked.Any(revoked => Concerns(revoked.Key.Kind, revoked.Key.Id, session) && !IsLater(revoked.Key.Kind, revoked.Value.At, claims)))
        {
            session.End("revoked");
        }

        return session;
    }

    /// <summary>Ends the sessions that a revocation concerns, and those that are only just being opened.</summary>
    /// <param name="revocation">Of identity's feed.</param>
    /// <param name="now">The proxy's clock.</param>
    /// <returns>How many were told.</returns>
    public int Revoke(Revocation revocation, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(revocation);
        foreach (var (old, since) in _revoked)
        {
            if (now - since.Heard > Remembered)
            {
                _revoked.TryRemove(old, out _);
            }
        }

        _revoked[(revocation.Kind, revocation.Id)] = new Remembrance(now, revocation.At);
        return End(session => Concerns(revocation.Kind, revocation.Id, session), "revoked");
    }

    /// <summary>Ends the sessions that <paramref name="which"/> names; returns at once, they end by themselves.</summary>
    /// <param name="which">Of the claims.</param>
    /// <param name="reason">For the client and the record: <c>revoked</c>, <c>stale</c>, <c>shutdown</c>.</param>
    /// <returns>How many were told.</returns>
    public int End(Func<LiveSession, bool> which, string reason)
    {
        ArgumentNullException.ThrowIfNull(which);
        var told = 0;
        foreach (var session in _sessions.Values)
        {
            if (which(session))
            {
                session.End(reason);
                told++;
            }
        }

        return told;
    }

    /// <summary>Lets sessions end when they are idle: for a shutdown that drains.</summary>
    public void Drain()
    {
        foreach (var session in _sessions.Values)
        {
            session.Drain();
        }
    }

    /// <summary>A person may be let in again, and is, if identity lets them; a credential or a session never comes back.</summary>
    private static bool IsLater(string kind, DateTimeOffset at, SessionAssertionClaims claims) =>
        kind == "person" && DateTimeOffset.FromUnixTimeSeconds(claims.IssuedAt) > at + SigningTakes;

    private static bool Concerns(string kind, string id, LiveSession session) => kind switch
    {
        "credential" => session.Claims.Credential == id,
        "person" => session.Claims.Person == id || session.Claims.Owners.Contains(id, StringComparer.Ordinal),
        "session" => session.Id == id,
        _ => false,
    };

    internal void Remove(LiveSession session) => _sessions.TryRemove(KeyValuePair.Create(session.Id, session));

    /// <param name="Heard">When this proxy heard of it, by its own clock.</param>
    /// <param name="At">When it was revoked, by identity's.</param>
    private readonly record struct Remembrance(DateTimeOffset Heard, DateTimeOffset At);
}

/// <summary>One live session.</summary>
public sealed class LiveSession : IDisposable
{
    private readonly SessionRegistry _registry;
    private readonly CancellationTokenSource _ending = new();
    private readonly CancellationTokenSource _draining = new();
    private string? _reason;

    internal LiveSession(SessionRegistry registry, string id, SessionAssertionClaims claims)
    {
        _registry = registry;
        Id = id;
        Claims = claims;
    }

    /// <summary>Session id.</summary>
    public string Id { get; }

    /// <summary>Whose it is.</summary>
    public SessionAssertionClaims Claims { get; }

    /// <summary>Signalled when it must end now.</summary>
    public CancellationToken Ending => _ending.Token;

    /// <summary>Signalled when it should end as soon as nothing runs.</summary>
    public CancellationToken Draining => _draining.Token;

    /// <summary>Why it must end; null while it needn't.</summary>
    public string? Reason => Volatile.Read(ref _reason);

    /// <inheritdoc/>
    public void Dispose()
    {
        _registry.Remove(this);
        // Not disposed: an End that races with this would throw, and a source without a timer holds nothing.
    }

    internal void End(string reason)
    {
        // The first reason is the one that is told and recorded.
        Interlocked.CompareExchange(ref _reason, reason, null);
        _ending.Cancel();
    }

    internal void Drain() => _draining.Cancel();
}
