using System.Net;
using System.Net.Http.Json;
using Countersign.Approval.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Host.ControlPlane;
using Countersign.Proxy.Path.Hold;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Proxy.Host.Tests;

/// <summary>I8: a proxy that enforces less than what policy says is in force doesn't go on.</summary>
[Trait("group", "unit")]
public sealed class BundleWatchTests : IDisposable
{
    private readonly FakeTimeProvider _clock = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    private readonly SigningKey _policyKey = SigningKey.Create();
    private readonly SigningKey _approvalKey = SigningKey.Create();
    private readonly Freshness _freshness;
    private readonly FakePolicy _policy = new();
    private readonly IOptions<ProxyOptions> _options = Options.Create(new ProxyOptions { Data = Directory.CreateTempSubdirectory("countersign-").FullName, AskEvery = TimeSpan.FromMinutes(2) });
    private readonly GrantWatch _grants;
    private readonly BundleWatch _watch;

    public BundleWatchTests()
    {
        _freshness = new Freshness(_options, _clock);
        _policy.Beacon = version => new BundleSigner(_policyKey).Beacon(version, _clock.GetUtcNow());
        _grants = new GrantWatch(_policy, new Keys(_policyKey, _approvalKey), new RunningGrants(), _clock, NullLogger<GrantWatch>.Instance);
        _watch = Start();
        Say(1, 1);
    }

    public void Dispose()
    {
        _watch.Dispose();
        _grants.Dispose();
        _policyKey.Dispose();
        _approvalKey.Dispose();
        _policy.Dispose();
        Directory.Delete(_options.Value.Data, recursive: true);
    }

    [Fact]
    public async Task A_new_beacon_with_an_old_bundle_is_no_word()
    {
        Assert.True(await IsFreshAfterAsync(_watch));
        Assert.Equal(1, _watch.Current!.Version);

        // A removal has come into force; whoever stands before policy lets its beacon through and answers with the bundle of before.
        Say(2, 1);
        Assert.False(await IsFreshAfterAsync(_watch));

        // It is not forgotten with the beacon: one that names less is no word either, also after a restart.
        Say(1, 1);
        Assert.False(await IsFreshAfterAsync(_watch));
        using var again = Start();
        Assert.False(await IsFreshAfterAsync(again));

        Say(2, 2);
        Assert.True(await IsFreshAfterAsync(again));
        Assert.Equal(2, again.Current!.Version);
    }

    [Fact]
    public async Task A_beacon_of_the_future_is_no_word_and_not_remembered()
    {
        Say(9, 1);
        _policy.Beacon = version => new BundleSigner(_policyKey).Beacon(version, _clock.GetUtcNow().AddMinutes(1));
        await Assert.ThrowsAsync<TokenRejectedException>(() => IsFreshAfterAsync(_watch));
        Assert.False(_freshness.IsFresh);

        // Else whoever has a clock that is ahead would keep the proxy from the true ones for good.
        _policy.Beacon = version => new BundleSigner(_policyKey).Beacon(version, _clock.GetUtcNow());
        Say(1, 1);
        Assert.True(await IsFreshAfterAsync(_watch));
    }

    [Fact]
    public async Task A_bundle_newer_than_the_beacon_is_enforced_and_word_enough()
    {
        Say(1, 3);
        Assert.True(await IsFreshAfterAsync(_watch));
        Assert.Equal(3, _watch.Current!.Version);
    }

    private BundleWatch Start() =>
        new(_policy, new Keys(_policyKey, _approvalKey), new HighestBundle(_options), _freshness, _grants, _clock, _options, NullLogger<BundleWatch>.Instance);

    /// <summary>Whether a round, long after the last word, makes the proxy fresh.</summary>
    private async Task<bool> IsFreshAfterAsync(BundleWatch watch)
    {
        _clock.Advance(TimeSpan.FromMinutes(1));
        _freshness.IdentityAt(_clock.GetUtcNow().ToUnixTimeSeconds());
        Assert.False(_freshness.IsFresh);
        await watch.FollowAsync(TestContext.Current.CancellationToken);
        return _freshness.IsFresh;
    }

    private void Say(long beacon, long bundle)
    {
        var now = _clock.GetUtcNow();
        var payload = BundleCodec.Encode(new Bundle { Version = bundle, CreatedAt = now });
        var grant = new GrantClaims
        {
            Id = "grt_1",
            Issuer = AppIds.Approval,
            Request = "apr_1",
            Kind = RequestKind.Bundle,
            Person = "per_alice",
            Connection = "",
            Digests = [BundleCodec.Digest(payload)],
            AllOf = [new RequestRequirement(["enrolled"], 1)],
            Approvers = [new GrantApprover("per_bob", "bob@example.com", now.ToUnixTimeSeconds())],
            IssuedAt = now.ToUnixTimeSeconds(),
            ExpiresAt = now.AddMinutes(10).ToUnixTimeSeconds(),
        };
        _policy.Named = beacon;
        _policy.Bundle = new BundleSigner(_policyKey).Seal(payload, bundle, _approvalKey.Sign(TokenTypes.Grant, grant), now);
    }

    private sealed class Keys(SigningKey policy, SigningKey approval) : ITrustedKeys
    {
        public ValueTask<VerificationKeys> GetAsync(string issuer, CancellationToken cancellation) =>
            ValueTask.FromResult(new VerificationKeys([(issuer == AppIds.Policy ? policy : approval).PublicKey]));
    }

    private sealed class FakePolicy : HttpMessageHandler, IServiceClients
    {
        public Func<long, string> Beacon { get; set; } = null!;

        public long Named { get; set; }

        public BundleEnvelope Bundle { get; set; } = null!;

        public HttpClient Create(string appId) => new(this, disposeHandler: false) { BaseAddress = new Uri("http://policy.invalid/policy/") };

        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken) =>
            Task.FromResult(new HttpResponseMessage(HttpStatusCode.OK)
            {
                Content = request.RequestUri!.AbsolutePath.EndsWith("/beacon", StringComparison.Ordinal)
                    ? JsonContent.Create(Beacon(Named))
                    : JsonContent.Create(Bundle, options: TokenJson.Options),
            });
    }
}
