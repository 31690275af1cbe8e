using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Postgres.Ports;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>Admits sessions while the proxy knows enough of the present (I8), and ends them when the registry says so or their credential expires.</summary>
internal sealed class SessionAdmission(SessionRegistry registry, IFreshness freshness, TimeProvider clock) : ISessionAdmission
{
    public AdmittedSession Admit(string session, SessionAssertionClaims claims) =>
        freshness.IsFresh
            ? new Admitted(registry.Add(session, claims), DateTimeOffset.FromUnixTimeSeconds(claims.ExpiresAt) - clock.GetUtcNow(), clock)
            : new Turned(freshness.Problem);

    public PrincipalFacts Principal(SessionAssertionClaims claims) => new(
        claims.Subject, claims.Person, claims.Name, claims.Kind, claims.Groups, claims.Acr, claims.Amr, DateTimeOffset.FromUnixTimeSeconds(claims.AuthenticatedAt));

    private static SessionEnding Describe(string? reason) => reason switch
    {
        "revoked" => new SessionEnding("revoked", "Your access was revoked."),
        "stale" => new SessionEnding("stale", "The gateway has been without word from its services for too long."),
        "expired" => new SessionEnding("expired", "Your access credential has expired. Get a new one: countersign connect."),
        _ => new SessionEnding("shutdown", "The gateway is shutting down."),
    };

    private sealed class Admitted : AdmittedSession
    {
        private static readonly TimeSpan LongestTimer = TimeSpan.FromDays(40);

        private readonly LiveSession _live;
        private readonly CancellationTokenSource _expiry;
        private readonly CancellationTokenSource _ended;

        public Admitted(LiveSession live, TimeSpan lifetime, TimeProvider clock)
        {
            _live = live;
            _expiry = new CancellationTokenSource(lifetime <= TimeSpan.Zero ? TimeSpan.Zero : lifetime > LongestTimer ? LongestTimer : lifetime, clock);
            _ended = CancellationTokenSource.CreateLinkedTokenSource(live.Ending, _expiry.Token);
        }

        public override CancellationToken Ended => _ended.Token;

        public override SessionEnding Ending => Describe(_live.Reason ?? (_expiry.IsCancellationRequested ? "expired" : null));

        protected override void Dispose(bool disposing)
        {
            _live.Dispose();
            _ended.Dispose();
            _expiry.Dispose();
        }
    }

    private sealed class Turned : AdmittedSession
    {
        public Turned(string reason) => Refused = reason;

        public override CancellationToken Ended => CancellationToken.None;

        public override SessionEnding Ending => Describe("stale");

        protected override void Dispose(bool disposing)
        {
        }
    }
}
