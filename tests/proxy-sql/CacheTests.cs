using System.Globalization;
using System.Text;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Sql.Analysis;
using Countersign.Proxy.Sql.Cache;
using CsCheck;

namespace Countersign.Proxy.Sql.Tests;

public class CacheTests
{
    private static SqlAnalysis New(string name) => new() { Facts = new OperationFacts { Protocol = "test", Grammar = name } };

    private static byte[] Key(int i) => Encoding.UTF8.GetBytes(i.ToString(CultureInfo.InvariantCulture));

    [Fact]
    public void It_stays_within_its_bounds_and_never_gives_another_texts_analysis() => Gen.Int[0, 300].Array[0, 400].Sample(keys =>
    {
        var cache = new AnalysisCache(50, 2_000);
        foreach (var key in keys)
        {
            if (cache.TryGet(Key(key), out var found))
            {
                Assert.Equal(key.ToString(CultureInfo.InvariantCulture), found.Facts.Grammar);
            }
            else
            {
                cache.Add(Key(key), New(key.ToString(CultureInfo.InvariantCulture)), 60);
            }

            Assert.True(cache.Count <= 50 && cache.Bytes <= 2_000);
        }
    });

    [Fact]
    public void What_is_in_use_outlives_a_flood_of_texts_used_once()
    {
        var cache = new AnalysisCache(100, 1_000_000);
        cache.Add("hot"u8, New("hot"), 10);
        for (var i = 0; i < 10_000; i++)
        {
            Assert.True(cache.TryGet("hot"u8, out _), $"gone after {i}");
            cache.Add(Key(i), New("cold"), 10);
        }
    }

    [Fact]
    public void A_text_that_would_take_too_much_room_is_not_kept()
    {
        var cache = new AnalysisCache(100, 1_000);
        cache.Add("large"u8, New("large"), 500);

        Assert.Equal(0, cache.Count);
    }

    [Fact]
    public async Task It_is_safe_under_concurrency()
    {
        var cache = new AnalysisCache(64, 10_000);
        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => Task.Run(() =>
        {
            var random = new Random(worker);
            for (var i = 0; i < 20_000; i++)
            {
                var key = random.Next(200);
                if (cache.TryGet(Key(key), out var found))
                {
                    Assert.Equal(key.ToString(CultureInfo.InvariantCulture), found.Facts.Grammar);
                }
                else
                {
                    cache.Add(Key(key), New(key.ToString(CultureInfo.InvariantCulture)), 50);
                }
            }
        })));

        Assert.True(cache.Count <= 64);
    }

    [Fact]
    public async Task A_hit_is_the_same_analysis_completes_at_once_and_allocates_nothing()
    {
        using var parser = new SqlParser(Sql.Library);
        var text = "select abalance from pgbench_accounts where aid = $1"u8.ToArray();
        await parser.AnalyzeAsync(text);
        var first = await parser.AnalyzeAsync(text);
        Same();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1_000; i++)
        {
            Same();
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Same()
        {
            var task = parser.AnalyzeAsync(text);
            if (!task.IsCompletedSuccessfully || !ReferenceEquals(first, task.Result) || !parser.TryGetCached(text, out _))
            {
                Assert.Fail("not a hit");
            }
        }
    }

    [Fact]
    public async Task A_text_is_kept_from_its_second_time_on()
    {
        using var parser = new SqlParser(Sql.Library);
        for (var i = 0; i < 100; i++)
        {
            await parser.AnalyzeAsync(Encoding.UTF8.GetBytes($"select {i}"));
        }

        Assert.Equal(0, parser.CachedTexts);
        await parser.AnalyzeAsync("select 99"u8.ToArray());
        Assert.Equal(1, parser.CachedTexts);
    }

    [Fact]
    public async Task The_setting_that_changes_how_it_parses_is_part_of_the_key()
    {
        using var parser = new SqlParser(Sql.Library);
        var text = "select 'a\\'; drop table t; --'"u8.ToArray();

        Assert.Equal(2, (await parser.AnalyzeAsync(text)).Facts.Statements.Count);
        Assert.Single((await parser.AnalyzeAsync(text, standardConformingStrings: false)).Facts.Statements);
        Assert.Equal(2, (await parser.AnalyzeAsync(text)).Facts.Statements.Count);
    }

    [Fact]
    public async Task Many_callers_share_the_parser_threads()
    {
        using var parser = new SqlParser(Sql.Library, new SqlParserOptions { InlineBytes = 0, QueueLength = 4, CacheEntries = 16 });
        var results = await Task.WhenAll(Enumerable.Range(0, 500).Select(async i =>
            (await parser.AnalyzeAsync(Encoding.UTF8.GetBytes(i % 3 == 0 ? $"selec {i}" : $"delete from t{i}"))).Facts));

        foreach (var (i, facts) in results.Index())
        {
            Assert.Equal(i % 3 != 0, facts.Complete);
            if (facts.Complete)
            {
                Assert.Equal($"t{i}", facts.Statements[0].Relations[0].Name.Name);
            }
        }
    }
}
