using System.Globalization;
using System.Text;
using Countersign.Platform.Ports;
using CsCheck;

namespace Countersign.Platform.Tests;

/// <summary>What every state store must do; each runs it over its own.</summary>
public abstract class StateStoreContract
{
    /// <summary>Opens the store of a name; the same name again is the same data, also after <see cref="CloseAsync"/>.</summary>
    protected abstract Task<IStateStore> OpenAsync(string name);

    /// <summary>Closes it.</summary>
    protected abstract Task CloseAsync(IStateStore store);

    [Fact]
    public async Task A_missing_key_is_null_and_can_be_inserted_once()
    {
        var store = await NewAsync();
        Assert.Null(await store.GetAsync("persons", "a", default));
        Assert.True(await store.TrySaveAsync("persons", "a", "1"u8.ToArray(), null, default));
        Assert.False(await store.TrySaveAsync("persons", "a", "2"u8.ToArray(), null, default));
        Assert.Equal("1", Text(await store.GetAsync("persons", "a", default)));
        Assert.Null(await store.GetAsync("other", "a", default));
    }

    [Fact]
    public async Task Only_the_latest_etag_writes_or_deletes()
    {
        var store = await NewAsync();
        await store.TrySaveAsync("c", "k", "1"u8.ToArray(), null, default);
        var first = (await store.GetAsync("c", "k", default))!;
        Assert.True(await store.TrySaveAsync("c", "k", "2"u8.ToArray(), first.ETag, default));
        Assert.False(await store.TrySaveAsync("c", "k", "3"u8.ToArray(), first.ETag, default));
        Assert.False(await store.TryDeleteAsync("c", "k", first.ETag, default));
        Assert.Equal("2", Text(await store.GetAsync("c", "k", default)));
        var second = (await store.GetAsync("c", "k", default))!;
        Assert.True(await store.TryDeleteAsync("c", "k", second.ETag, default));
        Assert.Null(await store.GetAsync("c", "k", default));
        Assert.False(await store.TrySaveAsync("c", "k", "4"u8.ToArray(), second.ETag, default));
    }

    [Fact]
    public async Task A_key_made_again_never_shows_an_old_etag_even_after_reopening()
    {
        var store = await OpenAsync("again");
        await store.TrySaveAsync("c", "k", "1"u8.ToArray(), null, default);
        var old = (await store.GetAsync("c", "k", default))!.ETag;
        Assert.True(await store.TryDeleteAsync("c", "k", old, default));
        await CloseAsync(store);

        store = await OpenAsync("again");
        await store.TrySaveAsync("c", "k", "2"u8.ToArray(), null, default);
        Assert.False(await store.TrySaveAsync("c", "k", "3"u8.ToArray(), old, default));
        Assert.Equal("2", Text(await store.GetAsync("c", "k", default)));
    }

    [Theory]
    [InlineData("")]
    [InlineData("x")]
    [InlineData("-1")]
    [InlineData("1 OR 1=1")]
    [InlineData("99999999999999999999999")]
    public async Task A_made_up_etag_writes_nothing(string etag)
    {
        var store = await NewAsync();
        await store.TrySaveAsync("c", "k", "1"u8.ToArray(), null, default);
        Assert.False(await store.TrySaveAsync("c", "k", "2"u8.ToArray(), etag, default));
        Assert.False(await store.TryDeleteAsync("c", "k", etag, default));
        Assert.Equal("1", Text(await store.GetAsync("c", "k", default)));
    }

    [Fact]
    public async Task Concurrent_increments_lose_nothing()
    {
        // Two instances: as two replicas of a service.
        IStateStore[] stores = [await OpenAsync("increments"), await OpenAsync("increments")];
        await stores[0].TrySaveAsync("c", "n", "0"u8.ToArray(), null, default);
        var workers = Enumerable.Range(0, 8).Select(number => Task.Run(async () =>
        {
            var store = stores[number % stores.Length];
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
        Assert.Equal("80", Text(await stores[0].GetAsync("c", "n", default)));
    }

    [Fact]
    public async Task Of_many_concurrent_inserts_and_deletes_exactly_one_wins()
    {
        IStateStore[] stores = [await OpenAsync("winners"), await OpenAsync("winners")];
        var inserts = await Task.WhenAll(Enumerable.Range(0, 16).Select(n =>
            Task.Run(async () => await stores[n % 2].TrySaveAsync("c", "k", new[] { (byte)n }, null, default))));
        Assert.Single(inserts, won => won);
        var etag = (await stores[0].GetAsync("c", "k", default))!.ETag;
        var deletes = await Task.WhenAll(Enumerable.Range(0, 16).Select(n => Task.Run(async () => await stores[n % 2].TryDeleteAsync("c", "k", etag, default))));
        Assert.Single(deletes, won => won);
    }

    [Fact]
    public void It_behaves_as_a_dictionary_with_versions()
    {
        // Against a model: any sequence of writes and deletes with right or stale etags ends in what a dictionary says, also after reopening.
        var operation = Gen.Select(Gen.Int[0, 3], Gen.Int[0, 2], Gen.Byte, Gen.Bool);
        operation.Array[1, 25].Sample(operations =>
        {
            var name = "model" + Guid.NewGuid().ToString("N")[..12];
            var model = new Dictionary<string, (byte Value, string ETag)>();
            var store = OpenAsync(name).Result;
            foreach (var (key, verb, value, stale) in operations)
            {
                Apply(store, model, "k" + key, verb, value, stale);
            }

            CloseAsync(store).Wait();
            var reopened = OpenAsync(name).Result;
            var kept = reopened.ListAsync("c", default).ToBlockingEnumerable().ToDictionary(item => item.Key, item => (item.Value.Span[0], item.ETag));
            Assert.Equal(model, kept);
            CloseAsync(reopened).Wait();
        }, iter: ModelIterations);
    }

    [Fact]
    public async Task Lists_one_collection_in_ordinal_order()
    {
        var store = await NewAsync();
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
    public async Task Pages_of_changes_have_everything_in_the_order_in_which_it_was_last_written()
    {
        var store = await NewAsync();
        for (var i = 0; i < 7; i++)
        {
            Assert.True(await store.TrySaveAsync("c", $"k{i}", "1"u8.ToArray(), null, default));
            Assert.True(await store.TrySaveAsync("other", $"k{i}", "1"u8.ToArray(), null, default));
        }

        var first = (await store.GetAsync("c", "k0", default))!;
        Assert.True(await store.TrySaveAsync("c", "k0", "2"u8.ToArray(), first.ETag, default));
        var gone = (await store.GetAsync("c", "k3", default))!;
        Assert.True(await store.TryDeleteAsync("c", "k3", gone.ETag, default));
        var read = new List<StateItem>();
        string? after = null;
        while (await store.ReadChangesAsync("c", after, 2, default) is { Count: > 0 } page)
        {
            Assert.InRange(page.Count, 1, 2);
            read.AddRange(page);
            after = page[^1].ETag;
        }

        Assert.Equal(["k1", "k2", "k4", "k5", "k6", "k0"], read.Select(item => item.Key));
        Assert.Equal("2", System.Text.Encoding.UTF8.GetString(read[^1].Value.Span));
        Assert.Empty(await store.ReadChangesAsync("c", after, 2, default));
        Assert.True(await store.TrySaveAsync("c", "k3", "3"u8.ToArray(), null, default));
        Assert.Equal("k3", Assert.Single(await store.ReadChangesAsync("c", after, 2, default)).Key);
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await store.ReadChangesAsync("c", "x", 2, default));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await store.ReadChangesAsync("c", null, StateKeys.MaxPage + 1, default));
    }

    [Fact]
    public async Task Keys_that_would_not_come_back_as_given_are_refused()
    {
        // Not theory data: an attribute can't hold a lone surrogate.
        var store = await NewAsync();
        foreach (var key in new[] { "\ud800", "a\0b", "", new string('k', StateKeys.MaxKeyLength + 1) })
        {
            await Assert.ThrowsAnyAsync<ArgumentException>(async () => await store.TrySaveAsync("c", key, "1"u8.ToArray(), null, default));
            await Assert.ThrowsAnyAsync<ArgumentException>(async () => await store.TrySaveAsync(key, "k", "1"u8.ToArray(), null, default));
        }
    }

    [Fact]
    public async Task Values_come_back_byte_for_byte()
    {
        var store = await NewAsync();
        var value = new byte[300_000];
        new Random(7).NextBytes(value);
        await store.TrySaveAsync("c", "big", value, null, default);
        await store.TrySaveAsync("c", "none", ReadOnlyMemory<byte>.Empty, null, default);
        await store.TrySaveAsync("c", "part", value.AsMemory(5, 7), null, default);
        Assert.Equal(value, (await store.GetAsync("c", "big", default))!.Value.ToArray());
        Assert.Empty((await store.GetAsync("c", "none", default))!.Value.ToArray());
        Assert.Equal(value[5..12], (await store.GetAsync("c", "part", default))!.Value.ToArray());
    }

    protected virtual int ModelIterations => 60;

    protected static string? Text(StateItem? item) => item is null ? null : Encoding.UTF8.GetString(item.Value.Span);

    private Task<IStateStore> NewAsync() => OpenAsync("one");

    private static void Apply(
        IStateStore store, Dictionary<string, (byte Value, string ETag)> model, string key, int verb, byte value, bool stale)
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
