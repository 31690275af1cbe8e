using Countersign.Identity.Contracts;
using Countersign.Identity.Credentials;
using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Identity.Tests;

/// <summary>The feed doesn't grow for ever, and who missed what was forgotten is told so.</summary>
[Trait("group", "identity")]
public sealed class RevocationFeedTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("countersign-feed-").FullName;
    private readonly FakeTimeProvider _clock = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    private readonly SqliteStateStore _store;

    public RevocationFeedTests() => _store = new SqliteStateStore(Path.Combine(_directory, "identity.db"));

    public void Dispose()
    {
        (_store as IDisposable)?.Dispose();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task What_is_older_than_any_session_is_forgotten_and_the_sequence_goes_on()
    {
        using var feed = Feed();
        await feed.AddAsync("credential", "crd_1", default);
        await feed.AddAsync("person", "per_1", default);
        _clock.Advance(TimeSpan.FromHours(13));
        await feed.AddAsync("session", "ses_1", default);
        await feed.CompactAsync(default);
        Assert.Equal([1L, 2, 3], feed.After(0).Select(one => one.Sequence));
        _clock.Advance(TimeSpan.FromHours(13));
        await feed.CompactAsync(default);
        foreach (var each in new[] { feed, await RestartedAsync() })
        {
            Assert.Equal(3, each.Head);
            Assert.Equal([(2L, Revocation.Compacted), (3L, "session")], each.After(0).Select(one => (one.Sequence, one.Kind)));
            Assert.Equal([(2L, Revocation.Compacted), (3L, "session")], each.After(1).Select(one => (one.Sequence, one.Kind)));
            Assert.Equal([3L], each.After(2).Select(one => one.Sequence));
            Assert.Empty(each.After(3));
        }

        // The last one stays, however old: without it the next would be number 1 again after a restart.
        _clock.Advance(TimeSpan.FromDays(100));
        await feed.CompactAsync(default);
        using var again = await RestartedAsync();
        Assert.Equal(4, (await again.AddAsync("credential", "crd_2", default)).Sequence);
        await feed.CatchUpAsync(default);
        Assert.Equal(4, feed.Head);
    }

    private async Task<RevocationFeed> RestartedAsync()
    {
        var feed = Feed();
        await feed.CatchUpAsync(default);
        return feed;
    }

    private RevocationFeed Feed() => new(_store, new Nowhere(), _clock);

    private sealed class Nowhere : IEventBus
    {
        public ValueTask PublishAsync(string topic, string id, string type, ReadOnlyMemory<byte> data, CancellationToken cancellation) => ValueTask.CompletedTask;
    }
}
