using Countersign.Approval.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Host.ControlPlane;
using Countersign.Proxy.Path.Hold;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Proxy.Host.Tests;

/// <summary>I8: what runs under approvals that were taken back ends within a second, however many they are and whether or not approval answers.</summary>
[Trait("group", "unit")]
public sealed class GrantWatchTests : IDisposable
{
    private const int Many = 40;
    private readonly FakeTimeProvider _clock = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    private readonly RunningGrants _running = new();
    private readonly SilentApproval _approval = new();
    private readonly GrantWatch _watch;

    public GrantWatchTests() => _watch = new GrantWatch(_approval, new NoKeys(), _running, _clock, NullLogger<GrantWatch>.Instance);

    public void Dispose()
    {
        _watch.Dispose();
        _approval.Dispose();
    }

    [Fact]
    public async Task Many_that_are_taken_back_at_once_wait_one_moment_together_for_who_it_was()
    {
        var sessions = Enumerable.Range(0, Many).Select(number => Run($"apr_{number}")).ToList();
        for (var number = 0; number < Many; number++)
        {
            _watch.Changed(new RequestChanged($"apr_{number}:2", $"apr_{number}", 2, RequestState.Revoked));
        }

        var ending = _watch.EndRevokedAsync(TestContext.Current.CancellationToken);
        await _approval.Asked.Task.WaitAsync(TestContext.Current.CancellationToken);
        Assert.DoesNotContain(sessions, session => session.Message is not null);

        // Approval says nothing. One moment of 400 ms, not one for each.
        _clock.Advance(TimeSpan.FromMilliseconds(400));
        await ending.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.All(sessions, session => Assert.Contains("was taken back", session.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void What_is_taken_back_before_anything_runs_under_it_runs_no_more()
    {
        _watch.Changed(new RequestChanged("apr_1:2", "apr_1", 2, RequestState.Revoked));
        Assert.Throws<RedemptionRefusedException>(() => Run("apr_1"));
    }

    private SessionGrants Run(string request)
    {
        var session = new SessionGrants(_running);
        var claims = new GrantClaims
        {
            Id = "g",
            Issuer = AppIds.Approval,
            Request = request,
            Kind = RequestKind.Operation,
            Person = "per_a",
            Connection = "shop",
            Digests = ["d"],
            AllOf = [],
            Approvers = [],
            IssuedAt = 0,
            ExpiresAt = 0,
        };
        session.Begin(new GrantUse(null!, null!, null!, new RedeemedGrant(claims, "d")));
        return session;
    }

    private sealed class NoKeys : ITrustedKeys
    {
        public ValueTask<VerificationKeys> GetAsync(string issuer, CancellationToken cancellation) => throw new TokenRejectedException("nobody");
    }

    private sealed class SilentApproval : HttpMessageHandler, IServiceClients
    {
        public TaskCompletionSource Asked { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public HttpClient Create(string appId) => new(this, disposeHandler: false) { BaseAddress = new Uri("http://approval.invalid/approval/") };

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Asked.TrySetResult();
            await Task.Delay(Timeout.Infinite, cancellationToken);
            throw new InvalidOperationException();
        }
    }
}
