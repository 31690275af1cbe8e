using System.Globalization;
using System.Text;
using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using CsCheck;

namespace Countersign.Platform.Tests;

[Trait("group", "unit")]
public sealed class SqliteStateStoreTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    private string File => _directory.File("state.db");

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task A_missing_key_is_null_and_can_be_inserted_once()
    {
        using var store = new SqliteStateStore(File);
        Assert.Null(await store.GetAsync("persons", "a", default));
        Assert.True(await store.TrySaveAsync("persons", "a", "1"u8.ToArray(), null, default));
        Assert.False(await store.TrySaveAsync("persons", "a", "2"u8.ToArray(), null, default));
        Assert.Equal("1", Text(await store.GetAsync("persons", "a", default)));
    }

    [Fact]
    public async Task Only_the_latest_etag_writes_or_deletes()
    {
        using var store = new SqliteStateStore(File);
        await store.TrySaveAsync("c", "k", "1"u8.ToArray(), null, default);
        var first = (await store.GetAsync("c", "k", default))!;
        Assert.True(await store.TrySaveAsync("c", "k", "2"u8.ToArray(), first.ETag, default));
        Assert.False(await store.TrySaveAsync("c", "k", "3"u8.ToArray(), first.ETag, default));
        Assert.False(await store.TryDeleteAsync("c", "k", first.ETag, default));
        Assert.Equal("2", Text(await store.GetAsync("c", "k", default)));
        var second = (await store.GetAsync("c", "k", default))!;
        Assert.True(await store.TryDeleteAsync("c", "k", second.ETag, default));
        Assert.Null(await store.GetAsync("c", "k", default));
    }

    [Fact]
    public async Task A_key_made_again_never_shows_an_old_etag_even_after_reopening()
    {
        string old;
        using (var store = new SqliteStateStore(File))
        {
            await store.TrySaveAsync("c", "k", "1"u8.ToArray(), null, default);
            old = (await store.GetAsync("c", "k", default))!.ETag;
            Assert.True(await store.TryDeleteAsync("c", "k", old, default));
        }

        using (var store = new SqliteStateStore(File))
        {
            await store.TrySaveAsync("c", "k", "2"u8.ToArray(), null, default);
            Assert.False(await store.TrySaveAsync("c", "k", "3"u8.ToArray(), old, default));
            Assert.Equal("2", Text(await store.GetAsync("c", "k", default)));
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("x")]
    [InlineData("-1")]
    [InlineData("1 OR 1=1")]
    [InlineData("99999999999999999999999")]
    public async Task A_made_up_etag_writes_nothing(string etag)
    {
        using var store = new SqliteStateStore(File);
        await store.TrySaveAsync("c", "k", "1"u8.ToArray(), null, default);
        Assert.False(await store.TrySaveAsync("c", "k", "2"u8.ToArray(), etag, default));
        Assert.False(await store.TryDeleteAsync("c", "k", etag, default));
        Assert.Equal("1", Text(await store.GetAsync("c", "k", default)));
    }

    [Fact]
    public async Task Concurrent_increments_lose_nothing()
    {
        using var store = new SqliteStateStore(File);
        await store.TrySaveAsync("c", "n", "0"u8.ToArray(), null, default);
        var workers = Enumerable.Range(0, 8).Select(_ => Task.Run(async () =>
        {
            for (var done = 0; done < 10;)
            {
                var item = (await store.GetAsync("c", "n", default))!;
                var next = int.Parse(Text(item)!, CultureInfo.InvariantCulture) + 1;
                if (await store.TrySaveAsync("c", "n", Encoding.UTF8.GetBytes(next.ToString(CultureInfo.InvariantCulture)), item.ETag, default))
                {
                    done++;
                }
            }
        }));
        await Task.WhenAll(workers);
        Assert.Equal("80", Text(await store.GetAsync("c", "n", default)));
    }

    [Fact]
    public async Task Of_many_concurrent_inserts_exactly_one_wins()
    {
        using var store = new SqliteStateStore(File);
        var results = await Task.WhenAll(Enumerable.Range(0, 16).Select(n =>
            Task.Run(async () => await store.TrySaveAsync("c", "k", new[] { (byte)n }, null, default))));
        Assert.Single(results, won => won);
    }

    [Fact]
    public void It_behaves_as_a_dictionary_with_versions()
    {
        // Against a model: any sequence of writes and deletes with right or stale etags ends in what a dictionary says, also after reopening.
        var operation = Gen.Select(Gen.Int[0, 3], Gen.Int[0, 2], Gen.Byte, Gen.Bool);
        operation.Array[1, 25].Sample(operations =>
        {
            var path = _directory.File(Guid.NewGuid().ToString("N"));
            var model = new Dictionary<string, (byte Value, string ETag)>();
            using (var store = new SqliteStateStore(path))
            {
                foreach (var (key, verb, value, stale) in operations)
                {
                    Apply(store, model, "k" + key, verb, value, stale);
                }
            }

            using var reopened = new SqliteStateStore(path);
            var kept = reopened.ListAsync("c", default).ToBlockingEnumerable().ToDictionary(item => item.Key, item => (item.Value.Span[0], item.ETag));
            Assert.Equal(model, kept);
        }, iter: 60);
    }

    [Fact]
    public async Task Lists_one_collection_in_ordinal_order()
    {
        using var store = new SqliteStateStore(File);
        // U+FB01 sorts before U+1F600 in UTF-8 and after it in UTF-16.
        string[] keys = ["\uFB01", "\U0001F600", "b", "B", "a", "é"];
        foreach (var key in keys)
        {
            await store.TrySaveAsync("c", key, "1"u8.ToArray(), null, default);
        }

        await store.TrySaveAsync("other", "x", "1"u8.ToArray(), null, default);
        var listed = store.ListAsync("c", default).ToBlockingEnumerable().Select(item => item.Key).ToArray();
        Assert.Equal(keys.Order(StringComparer.Ordinal), listed);
    }

    [Fact]
    public async Task Keys_that_would_not_come_back_as_given_are_refused()
    {
        // Not theory data: an attribute can't hold a lone surrogate.
        using var store = new SqliteStateStore(File);
        foreach (var key in new[] { "\ud800", "a\0b", "", new string('k', SqliteStateStore.MaxKeyLength + 1) })
        {
            await Assert.ThrowsAnyAsync<ArgumentException>(async () => await store.TrySaveAsync("c", key, "1"u8.ToArray(), null, default));
        }
    }

    [Fact]
    public void The_file_is_its_owners_only()
    {
        using var store = new SqliteStateStore(File);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, System.IO.File.GetUnixFileMode(File));
    }

    [Fact]
    public void A_file_that_is_no_database_is_unavailable_and_stays_as_it_is()
    {
        System.IO.File.WriteAllText(File, new string('x', 5000));
        Assert.Throws<PortUnavailableException>(() => new SqliteStateStore(File));
        Assert.Equal(5000, new FileInfo(File).Length);
    }

    private static string? Text(StateItem? item) => item is null ? null : Encoding.UTF8.GetString(item.Value.Span);

    private static void Apply(
        SqliteStateStore store, Dictionary<string, (byte Value, string ETag)> model, string key, int verb, byte value, bool stale)
    {
        var known = model.TryGetValue(key, out var current);
        var etag = stale ? "0" : known ? current.ETag : null;
        switch (verb)
        {
            case 0:
                var saved = store.TrySaveAsync("c", key, new[] { value }, etag, default).AsTask().Result;
                Assert.Equal(!stale, saved);
                break;
            case 1:
                var inserted = store.TrySaveAsync("c", key, new[] { value }, null, default).AsTask().Result;
                Assert.Equal(!known, inserted);
                break;
            default:
                var deleted = store.TryDeleteAsync("c", key, etag ?? "0", default).AsTask().Result;
                Assert.Equal(known && !stale, deleted);
                break;
        }

        if (store.GetAsync("c", key, default).AsTask().Result is { } item)
        {
            if (known && item.ETag != current.ETag)
            {
                Assert.True(long.Parse(item.ETag, CultureInfo.InvariantCulture) > long.Parse(current.ETag, CultureInfo.InvariantCulture));
            }

            model[key] = (item.Value.Span[0], item.ETag);
        }
        else
        {
            model.Remove(key);
        }
    }
}
