using Countersign.Platform.Tokens;
using Countersign.Proxy.Host.ControlPlane;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Proxy.Host.Tests;

/// <summary>I8: a proxy that can't know doesn't go on.</summary>
[Trait("group", "unit")]
public sealed class FreshnessTests
{
    private readonly FakeTimeProvider _clock = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    private readonly Freshness _freshness;

    public FreshnessTests() => _freshness = new Freshness(Options.Create(new ProxyOptions()), _clock);

    private long Now => _clock.GetUtcNow().ToUnixTimeSeconds();

    [Fact]
    public void A_proxy_without_word_is_not_fresh_and_one_half_is_no_word()
    {
        Assert.False(_freshness.IsFresh);
        _freshness.PolicyAt(Now);
        Assert.False(_freshness.IsFresh);
        _freshness.IdentityAt(Now);
        Assert.True(_freshness.IsFresh);
    }

    [Fact]
    public void Old_word_stops_what_is_new_and_then_what_runs()
    {
        _freshness.PolicyAt(Now);
        _freshness.IdentityAt(Now);
        _clock.Advance(TimeSpan.FromSeconds(31));
        Assert.True(!_freshness.IsFresh && !_freshness.IsDead);
        _clock.Advance(TimeSpan.FromSeconds(90));
        Assert.True(_freshness.IsDead);
    }

    [Fact]
    public void Word_from_the_future_is_not_taken()
    {
        _freshness.PolicyAt(Now + 5);
        _freshness.IdentityAt(Now + 5);
        Assert.Throws<TokenRejectedException>(() => _freshness.PolicyAt(Now + 6));
        Assert.Throws<TokenRejectedException>(() => _freshness.IdentityAt(Now + 100_000));
        _clock.Advance(TimeSpan.FromSeconds(36));
        Assert.False(_freshness.IsFresh);
    }
}
