using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Host.ControlPlane;
using Countersign.Proxy.Path;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Proxy.Host.Tests;

/// <summary>I8: what identity revokes ends sessions, and a feed that lacks something is no word to go on with.</summary>
[Trait("group", "unit")]
public sealed class RevocationWatchTests : IDisposable
{
    private readonly FakeTimeProvider _clock = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    private readonly SigningKey _key = SigningKey.Create();
    private readonly SessionRegistry _sessions = new();
    private readonly Freshness _freshness;
    private readonly FakeIdentity _identity;
    private readonly IOptions<ProxyOptions> _options = Options.Create(new ProxyOptions { Data = Directory.CreateTempSubdirectory("countersign-").FullName, AskEvery = TimeSpan.FromMinutes(2) });
    private readonly RevocationWatch _watch;

    public RevocationWatchTests()
    {
        _freshness = new Freshness(_options, _clock);
        _freshness.PolicyAt(_clock.GetUtcNow().ToUnixTimeSeconds());
        _identity = new FakeIdentity(head => _key.Sign(TokenTypes.Beacon, new IdentityBeacon(head, _clock.GetUtcNow().ToUnixTimeSeconds())), _clock) { Answers = _key };
        _watch = Start();
    }

    private RevocationWatch Start() =>
        new(_identity, new OneKey(_key), new HighestRevocation(_options), _freshness, _sessions, _clock, _options, NullLogger<RevocationWatch>.Instance);

    public void Dispose()
    {
        _watch.Dispose();
        _key.Dispose();
        _identity.Dispose();
        Directory.Delete(_options.Value.Data, recursive: true);
    }

    [Fact]
    public async Task A_revocation_ends_its_sessions()
    {
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        using var mine = _sessions.Add("ses_1", Claims("crd_1", "per_1"));
        using var other = _sessions.Add("ses_2", Claims("crd_2", "per_2"));
        _identity.Head = 1;
        _identity.Feed = [new Revocation(1, "credential", "crd_1", _clock.GetUtcNow())];
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.True(mine.Ending.IsCancellationRequested);
        Assert.False(other.Ending.IsCancellationRequested);
    }

    [Fact]
    public async Task A_beacon_that_comes_by_event_needs_no_question()
    {
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.Equal(1, _identity.Asked);
        using var mine = _sessions.Add("ses_1", Claims("crd_1", "per_1"));
        _clock.Advance(TimeSpan.FromSeconds(31));
        _freshness.PolicyAt(_clock.GetUtcNow().ToUnixTimeSeconds());
        Assert.False(_freshness.IsFresh);
        var heard = _identity.Sign(0);
        await HearAsync(heard);
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.True(_freshness.IsFresh);
        Assert.Equal(1, _identity.Asked);

        // What it promises is fetched, whoever brought it.
        _clock.Advance(TimeSpan.FromSeconds(2));
        _identity.Feed = [new Revocation(1, "credential", "crd_1", _clock.GetUtcNow())];
        await HearAsync(_identity.Sign(1));
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.True(mine.Ending.IsCancellationRequested);
        Assert.Equal(1, _identity.Asked);

        // However many come, now and then it is asked.
        _clock.Advance(TimeSpan.FromMinutes(2));
        await HearAsync(_identity.Sign(1));
        _identity.Head = 1;
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.Equal(2, _identity.Asked);

        // Old ones that come again, and what somebody else signed, are no reason not to ask when it is time to.
        using var foreign = SigningKey.Create();
        foreach (var (beacon, asked) in new[] { (heard, 3), (foreign.Sign(TokenTypes.Beacon, new IdentityBeacon(9, _clock.GetUtcNow().AddSeconds(1).ToUnixTimeSeconds())), 4), ("x", 5) })
        {
            _clock.Advance(TimeSpan.FromSeconds(8));
            await HearAsync(beacon);
            await _watch.FollowAsync(TestContext.Current.CancellationToken);
            Assert.Equal(asked, _identity.Asked);
        }
    }

    private ValueTask HearAsync(string beacon) => _watch.OnEventAsync(
        new BusEvent(Topics.Identity, "b", "countersign.beacon", JsonSerializer.SerializeToUtf8Bytes(beacon)));

    [Fact]
    public async Task A_feed_with_a_gap_is_no_word()
    {
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        using var mine = _sessions.Add("ses_1", Claims("crd_1", "per_1"));
        _identity.Head = 2;
        _identity.Feed = [new Revocation(2, "credential", "crd_9", _clock.GetUtcNow())];
        _clock.Advance(TimeSpan.FromSeconds(31));
        _freshness.PolicyAt(_clock.GetUtcNow().ToUnixTimeSeconds());
        await Assert.ThrowsAsync<HttpRequestException>(() => _watch.FollowAsync(TestContext.Current.CancellationToken));
        Assert.False(_freshness.IsFresh);

        // Once it is whole, what was left out counts.
        _identity.Feed = [new Revocation(1, "person", "per_1", _clock.GetUtcNow()), .. _identity.Feed];
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.True(mine.Ending.IsCancellationRequested);
        Assert.True(_freshness.IsFresh);
    }

    /// <summary>A revocation swallowed: the feed has the number that the beacon promises and names somebody else.</summary>
    [Trait("group", "attacks")]
    [Theory]
    [InlineData("unsigned")]
    [InlineData("another key")]
    [InlineData("another question")]
    [InlineData("changed")]
    public async Task What_identity_did_not_sign_as_its_answer_is_no_word(string how)
    {
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        using var mine = _sessions.Add("ses_1", Claims("crd_1", "per_1"));
        using var foreign = SigningKey.Create();
        IReadOnlyList<Revocation> truth = [new Revocation(1, "credential", "crd_1", _clock.GetUtcNow())];
        _identity.Head = 1;
        _identity.Feed = [new Revocation(1, "credential", "crd_nobody", _clock.GetUtcNow())];
        _clock.Advance(TimeSpan.FromSeconds(31));
        _freshness.PolicyAt(_clock.GetUtcNow().ToUnixTimeSeconds());
        switch (how)
        {
            case "unsigned":
                _identity.Answers = null;
                break;
            case "another key":
                _identity.Answers = foreign;
                break;
            case "another question":
                _identity.Question = question => question.Replace("after=0", "after=9", StringComparison.Ordinal);
                break;
            default:
                _identity.Signed = truth;
                break;
        }

        await Assert.ThrowsAsync<TokenRejectedException>(() => _watch.FollowAsync(TestContext.Current.CancellationToken));
        Assert.False(_freshness.IsFresh || mine.Ending.IsCancellationRequested);

        // Nothing of it was taken for known.
        (_identity.Answers, _identity.Question, _identity.Signed, _identity.Feed) = (_key, question => question, null, truth);
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.True(_freshness.IsFresh && mine.Ending.IsCancellationRequested);
    }

    [Fact]
    public async Task A_revocation_that_comes_by_event_is_taken_as_it_came_and_one_behind_a_gap_is_asked_for()
    {
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        using var first = _sessions.Add("ses_1", Claims("crd_1", "per_1"));
        using var second = _sessions.Add("ses_2", Claims("crd_2", "per_2"));
        using var third = _sessions.Add("ses_3", Claims("crd_3", "per_3"));
        await TellAsync(new Revocation(1, "credential", "crd_1", _clock.GetUtcNow()));
        Assert.True(first.Ending.IsCancellationRequested);
        Assert.Equal(1, _identity.Asked);

        // Number 2 was lost: 3 is no reason to think that it never was.
        await TellAsync(new Revocation(3, "credential", "crd_3", _clock.GetUtcNow()));
        Assert.False(third.Ending.IsCancellationRequested);
        _identity.Answers = _key;
        _identity.Head = 3;
        _identity.Feed = [new Revocation(2, "credential", "crd_2", _clock.GetUtcNow()), new Revocation(3, "credential", "crd_3", _clock.GetUtcNow())];
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.True(second.Ending.IsCancellationRequested && third.Ending.IsCancellationRequested);

        // Again, and an older beacon that was still on its way: nothing goes back.
        await TellAsync(new Revocation(4, "person", "per_9", _clock.GetUtcNow()));
        await TellAsync(new Revocation(1, "credential", "crd_1", _clock.GetUtcNow()));
        _clock.Advance(TimeSpan.FromSeconds(31));
        _freshness.PolicyAt(_clock.GetUtcNow().ToUnixTimeSeconds());
        await HearAsync(_identity.Sign(3));
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.True(_freshness.IsFresh);
    }

    [Fact]
    public async Task A_revocation_before_the_first_word_of_identity_is_asked_for()
    {
        _identity.Head = 1;
        await TellAsync(new Revocation(1, "credential", "crd_1", _clock.GetUtcNow()));
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.Equal(1, _identity.Asked);
        Assert.True(_freshness.IsFresh);
    }

    private ValueTask TellAsync(Revocation revocation) => _watch.OnEventAsync(
        new BusEvent(Topics.Identity, $"revocation:{revocation.Sequence}", "countersign.revocation", JsonSerializer.SerializeToUtf8Bytes(revocation, JsonSerializerOptions.Web)));

    /// <summary>All proxies hear the same beacons: if each then asked after the same time, identity would be asked by all in one moment, for ever.</summary>
    [Fact]
    public async Task Proxies_that_hear_the_same_beacons_do_not_all_ask_in_the_same_moment()
    {
        const int Proxies = 60;
        var (asked, watches) = (new Dictionary<int, int>(), new List<RevocationWatch>());
        for (var number = 0; number < Proxies; number++)
        {
            watches.Add(Start());
            await watches[^1].FollowAsync(TestContext.Current.CancellationToken);
        }

        for (var tick = 1; tick <= 60; tick++)
        {
            _clock.Advance(TimeSpan.FromSeconds(2));
            var beacon = _identity.Sign(0);
            var before = _identity.Asked;
            foreach (var watch in watches)
            {
                await watch.OnEventAsync(new BusEvent(Topics.Identity, "b", "countersign.beacon", JsonSerializer.SerializeToUtf8Bytes(beacon)));
                await watch.FollowAsync(TestContext.Current.CancellationToken);
            }

            asked[tick] = _identity.Asked - before;
        }

        watches.ForEach(watch => watch.Dispose());

        // Each has asked, within what it may wait for, and never more than a third of them together.
        Assert.InRange(asked.Values.Sum(), Proxies, 2 * Proxies);
        Assert.All(asked.Values, count => Assert.InRange(count, 0, Proxies / 3));
    }

    /// <summary>Else whoever has asked in the second of a beacon asks again when it comes, and, being in step with the beacons now, again with the next.</summary>
    [Fact]
    public async Task A_beacon_that_is_no_newer_than_the_latest_is_no_word_and_no_reason_to_ask()
    {
        var old = _identity.Sign(0);
        _clock.Advance(TimeSpan.FromSeconds(1));
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.Equal(1, _identity.Asked);
        Assert.InRange(_watch.Pause, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(2));
        var known = _freshness.IdentityAge;
        foreach (var beacon in new[] { _identity.Sign(0), old, "x" })
        {
            await HearAsync(beacon);
            await _watch.FollowAsync(TestContext.Current.CancellationToken);
        }

        Assert.Equal((1, known), (_identity.Asked, _freshness.IdentityAge));

        // They keep nobody from asking when it is time to.
        _clock.Advance(TimeSpan.FromSeconds(2));
        await HearAsync(old);
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.Equal(2, _identity.Asked);

        // Where beacons come, one that is asked for in between leaves time for the next.
        _clock.Advance(TimeSpan.FromSeconds(2));
        await HearAsync(_identity.Sign(0));
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        _clock.Advance(TimeSpan.FromSeconds(1));
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.Equal(3, _identity.Asked);
        Assert.InRange(_watch.Pause, TimeSpan.FromSeconds(3.5), TimeSpan.FromSeconds(7));

        // News are asked about, whatever beacon is heard in the same moment: it may have been made before them.
        _clock.Advance(TimeSpan.FromSeconds(2));
        await HearAsync(_identity.Sign(0));
        await _watch.OnEventAsync(new BusEvent(
            Topics.Identity, "r", "countersign.revocation", JsonSerializer.SerializeToUtf8Bytes(new Revocation(2, "credential", "crd_1", _clock.GetUtcNow()), TokenJson.Options)));
        (_identity.Head, _identity.Feed) = (2, [new Revocation(1, "credential", "crd_8", _clock.GetUtcNow()), new Revocation(2, "credential", "crd_1", _clock.GetUtcNow())]);
        using var mine = _sessions.Add("ses_1", Claims("crd_1", "per_1"));
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.Equal(4, _identity.Asked);
        Assert.True(mine.Ending.IsCancellationRequested);
    }

    [Fact]
    public async Task Who_missed_what_is_no_longer_told_ends_every_session_and_goes_on()
    {
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        using var mine = _sessions.Add("ses_1", Claims("crd_1", "per_1"));
        _identity.Head = 7;
        _identity.Feed = [new Revocation(6, Revocation.Compacted, "", _clock.GetUtcNow()), new Revocation(7, "credential", "crd_9", _clock.GetUtcNow())];
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.Equal("stale", mine.Reason);
        Assert.True(_freshness.IsFresh);
        using var later = _sessions.Add("ses_2", Claims("crd_2", "per_2"));
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        Assert.False(later.Ending.IsCancellationRequested);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_head_that_went_back_is_no_word_also_after_a_restart(bool restarted)
    {
        _identity.Head = 5;
        await _watch.FollowAsync(TestContext.Current.CancellationToken);
        _identity.Head = 4;
        _clock.Advance(TimeSpan.FromSeconds(31));
        _freshness.PolicyAt(_clock.GetUtcNow().ToUnixTimeSeconds());
        using var again = Start();
        await (restarted ? again : _watch).FollowAsync(TestContext.Current.CancellationToken);
        Assert.False(_freshness.IsFresh);
    }

    private static SessionAssertionClaims Claims(string credential, string person) => new()
    {
        Issuer = "identity",
        Audience = "session",
        Subject = "pri_1",
        Session = "ses_1",
        Proxy = "proxy-1",
        Connection = "shop",
        Credential = credential,
        Person = person,
        Name = person,
        Kind = "human",
        AuthenticatedAt = 0,
        IssuedAt = 0,
        ExpiresAt = long.MaxValue,
    };

    private sealed class OneKey(SigningKey key) : ITrustedKeys
    {
        public ValueTask<VerificationKeys> GetAsync(string issuer, CancellationToken cancellation) => ValueTask.FromResult(new VerificationKeys([key.PublicKey]));
    }

    private sealed class FakeIdentity(Func<long, string> beacon, TimeProvider clock) : HttpMessageHandler, IServiceClients
    {
        /// <summary>Key of who answers about revocations; null where they don't sign.</summary>
        public SigningKey? Answers { get; set; }

        /// <summary>What they answer to.</summary>
        public Func<string, string> Question { get; set; } = question => question;

        /// <summary>What was signed.</summary>
        public IReadOnlyList<Revocation>? Signed { get; set; }

        public long Head { get; set; }

        public int Asked { get; private set; }

        public string Sign(long head) => beacon(head);

        public IReadOnlyList<Revocation> Feed { get; set; } = [];

        public HttpClient Create(string appId) => new(this, disposeHandler: false) { BaseAddress = new Uri("http://identity.invalid/identity/") };

        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            var isBeacon = request.RequestUri!.AbsolutePath.EndsWith("/beacon", StringComparison.Ordinal);
            Asked += isBeacon ? 1 : 0;
            if (isBeacon)
            {
                return Task.FromResult(new HttpResponseMessage(HttpStatusCode.OK) { Content = JsonContent.Create(beacon(Head)) });
            }

            var answer = new HttpResponseMessage(HttpStatusCode.OK) { Content = new ByteArrayContent(JsonSerializer.SerializeToUtf8Bytes(Feed, TokenJson.Options)) };
            if (Answers is not null)
            {
                var nonce = request.Headers.GetValues(SignedAnswers.NonceHeader).Single();
                answer.Headers.Add(SignedAnswers.SignatureHeader, SignedAnswers.Sign(
                    Answers, AppIds.Identity, AppIds.Proxy, Question($"GET {request.RequestUri.PathAndQuery}"), nonce, 200,
                    JsonSerializer.SerializeToUtf8Bytes(Signed ?? Feed, TokenJson.Options), clock.GetUtcNow()));
            }

            return Task.FromResult(answer);
        }
    }
}
