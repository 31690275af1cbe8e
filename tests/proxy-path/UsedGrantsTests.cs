using Countersign.Proxy.Path.Hold;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Proxy.Path.Tests;

/// <summary>What this process has redeemed it redeems no second time, whatever approval says.</summary>
[Trait("group", "unit")]
public sealed class UsedGrantsTests
{
    private readonly FakeTimeProvider _clock = new(DateTimeOffset.UnixEpoch + TimeSpan.FromDays(20_000));

    [Fact]
    public void An_operation_is_redeemed_once_and_the_same_attempt_gets_the_same_answer()
    {
        var used = new UsedGrants(_clock);
        used.Add("apr_1", 0, "ses_1:1", Soon);
        used.Add("apr_1", 0, "ses_1:1", Soon);
        used.Add("apr_1", 1, "ses_1:2", Soon);
        used.Add("apr_2", 0, "ses_1:3", Soon);
        Assert.Throws<RedemptionRefusedException>(() => used.Add("apr_1", 0, "ses_1:4", Soon));
        _clock.Advance(TimeSpan.FromHours(11));
        Assert.Throws<RedemptionRefusedException>(() => used.Add("apr_1", 1, "ses_2:1", Soon));
    }

    [Fact]
    public void What_it_can_not_remember_it_does_not_redeem_and_what_is_over_is_forgotten()
    {
        var used = new UsedGrants(_clock);
        for (var number = 0; number < UsedGrants.Most; number++)
        {
            used.Add("apr_1", number, "ses_1:1", Soon);
        }

        Assert.Throws<RedemptionRefusedException>(() => used.Add("apr_2", 0, "ses_1:1", Soon));
        _clock.Advance(UsedGrants.Memory + TimeSpan.FromMinutes(11));
        used.Add("apr_2", 0, "ses_1:1", Soon);
        Assert.Throws<RedemptionRefusedException>(() => used.Add("apr_2", 0, "ses_1:2", Soon));
    }

    private DateTimeOffset Soon => _clock.GetUtcNow() + TimeSpan.FromMinutes(10);
}
