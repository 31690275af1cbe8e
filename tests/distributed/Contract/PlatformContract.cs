using System.Collections.Concurrent;
using System.Net;
using System.Text;
using System.Text.Json;
using Countersign.Distributed.Tests.Double;
using Countersign.Platform.Ports;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Vault;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>What services rely on, whatever they run on. One suite: derive a class for each platform, and give it a runtime.</summary>
public abstract class PlatformContract
{
    private protected abstract Task<IPlatformRuntime> StartAsync(params AppSpec[] apps);

    private static CancellationToken Ending => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_event_arrives_as_it_was_published()
    {
        var got = new ConcurrentQueue<BusEvent>();
        await using var runtime = await StartAsync(new AppSpec(AppIds.Approval), ContractApps.Policy(Into(got)));
        var data = """{"z":1,"a":[true,null,1.5,-3,10000000000],"text":"é <&> \u202e \"quoted\"","nested":{"b":{},"a":""}}""";
        await runtime.Get<IEventBus>(AppIds.Approval).PublishAsync(Topics.Approvals, "apr_1:1", "countersign.request.changed", Encoding.UTF8.GetBytes(data), Ending);
        await Until.TrueAsync(() => !got.IsEmpty);
        Assert.True(got.TryPeek(out var first));
        Assert.Equal((Topics.Approvals, "apr_1:1", "countersign.request.changed"), (first.Topic, first.Id, first.Type));
        Assert.True(JsonElement.DeepEquals(JsonSerializer.Deserialize<JsonElement>(data), JsonSerializer.Deserialize<JsonElement>(first.Data.Span)));
    }

    [Fact]
    public async Task Every_event_arrives_at_least_once_in_whatever_order()
    {
        var got = new ConcurrentDictionary<string, int>();
        await using var runtime = await StartAsync(new AppSpec(AppIds.Approval), ContractApps.Policy(new BusSubscription(AppIds.Policy, Topics.Approvals, (happened, _) =>
        {
            got.AddOrUpdate(happened.Id, 1, (_, count) => count + 1);
            return ValueTask.CompletedTask;
        })));
        var bus = runtime.Get<IEventBus>(AppIds.Approval);
        await Task.WhenAll(Enumerable.Range(0, 200).Select(i => bus.PublishAsync(Topics.Approvals, $"e{i}", "t", Encoding.UTF8.GetBytes($"{{\"n\":{i}}}"), Ending).AsTask()));
        await Until.TrueAsync(() => got.Count == 200);
        Assert.All(Enumerable.Range(0, 200), i => Assert.True(got.ContainsKey($"e{i}")));
    }

    [Fact]
    public async Task What_a_handler_throws_at_comes_again_or_is_kept_for_a_replay()
    {
        var got = new ConcurrentQueue<string>();
        var broken = true;
        await using var runtime = await StartAsync(new AppSpec(AppIds.Approval), ContractApps.Policy(new BusSubscription(AppIds.Policy, Topics.Approvals, (happened, _) =>
        {
            if (Volatile.Read(ref broken) && happened.Id == "bad")
            {
                throw new InvalidOperationException("not now");
            }

            got.Enqueue(happened.Id);
            return ValueTask.CompletedTask;
        })));
        var bus = runtime.Get<IEventBus>(AppIds.Approval);
        await bus.PublishAsync(Topics.Approvals, "bad", "t", "{\"n\":1}"u8.ToArray(), Ending);
        await bus.PublishAsync(Topics.Approvals, "good", "t", "{}"u8.ToArray(), Ending);
        await Until.TrueAsync(() => got.Contains("good"));
        var letters = runtime.Get<IDeadLetters>(AppIds.Policy);
        await Until.TrueAsync(async () => (await letters.ListAsync(Ending)).Count == 1, seconds: 60);
        var letter = Assert.Single(await letters.ListAsync(Ending));
        Assert.Equal((AppIds.Policy, "bad", "t"), (letter.Subscriber, letter.Event.Id, letter.Event.Type));
        Assert.Equal("{\"n\":1}", Encoding.UTF8.GetString((await letters.FindAsync(AppIds.Policy, letter.Id, Ending))!.Event.Data.Span));
        // It is policy's and nobody else's.
        Assert.Null(await letters.FindAsync(AppIds.Identity, letter.Id, Ending));
        Assert.False(await letters.DiscardAsync(AppIds.Identity, letter.Id, Ending));
        await Assert.ThrowsAsync<KeyNotFoundException>(async () => await letters.ReplayAsync(AppIds.Identity, letter.Id, Ending));
        Assert.NotNull(await letters.ReplayAsync(AppIds.Policy, letter.Id, Ending));
        Assert.Single(await letters.ListAsync(Ending));
        Volatile.Write(ref broken, false);
        Assert.Null(await letters.ReplayAsync(AppIds.Policy, letter.Id, Ending));
        Assert.Empty(await letters.ListAsync(Ending));
        Assert.Contains("bad", got);
        await Assert.ThrowsAsync<KeyNotFoundException>(async () => await letters.ReplayAsync(AppIds.Policy, letter.Id, Ending));
        Assert.False(await letters.DiscardAsync(AppIds.Policy, letter.Id, Ending));
    }

    [Fact]
    public async Task A_document_is_inserted_once_and_changed_only_by_who_read_it_last()
    {
        await using var runtime = await StartAsync(new AppSpec(AppIds.Approval), ContractApps.Policy());
        var store = runtime.Keyed<IDocumentStore>(AppIds.Approval);
        Assert.Null(await store.GetAsync("requests", "apr_1", Ending));
        Assert.True(await store.TrySaveAsync("requests", "apr_1", "{\"v\":1}"u8.ToArray(), null, Ending));
        Assert.False(await store.TrySaveAsync("requests", "apr_1", "{\"v\":2}"u8.ToArray(), null, Ending));
        var read = (await store.GetAsync("requests", "apr_1", Ending))!;
        Assert.Equal(("apr_1", 1), (read.Key, JsonSerializer.Deserialize<JsonElement>(read.Value.Span).GetProperty("v").GetInt32()));
        Assert.True(await store.TrySaveAsync("requests", "apr_1", "{\"v\":3}"u8.ToArray(), read.ETag, Ending));
        Assert.False(await store.TrySaveAsync("requests", "apr_1", "{\"v\":4}"u8.ToArray(), read.ETag, Ending));
        Assert.False(await store.TryDeleteAsync("requests", "apr_1", read.ETag, Ending));
        Assert.Null(await store.GetAsync("others", "apr_1", Ending));
        var last = (await store.GetAsync("requests", "apr_1", Ending))!;
        Assert.Equal(3, JsonSerializer.Deserialize<JsonElement>(last.Value.Span).GetProperty("v").GetInt32());
        Assert.True(await store.TryDeleteAsync("requests", "apr_1", last.ETag, Ending));
        Assert.Null(await store.GetAsync("requests", "apr_1", Ending));
        Assert.True(await store.TrySaveAsync("requests", "apr_1", "{\"v\":5}"u8.ToArray(), null, Ending));
    }

    [Fact]
    public async Task Of_those_that_race_one_wins()
    {
        await using var runtime = await StartAsync(new AppSpec(AppIds.Approval), ContractApps.Policy());
        var store = runtime.Keyed<IDocumentStore>(AppIds.Approval);
        var inserted = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => store.TrySaveAsync("c", "k", Encoding.UTF8.GetBytes($"{{\"by\":{i}}}"), null, Ending).AsTask()));
        Assert.Single(inserted, won => won);
        var read = (await store.GetAsync("c", "k", Ending))!;
        var changed = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => store.TrySaveAsync("c", "k", Encoding.UTF8.GetBytes($"{{\"by\":{i + 100}}}"), read.ETag, Ending).AsTask()));
        Assert.Single(changed, won => won);
    }

    [Fact]
    public async Task Services_of_different_app_ids_do_not_see_each_others_documents()
    {
        await using var runtime = await StartAsync(new AppSpec(AppIds.Approval), ContractApps.Policy());
        Assert.True(await runtime.Keyed<IDocumentStore>(AppIds.Approval).TrySaveAsync("c", "k", "1"u8.ToArray(), null, Ending));
        Assert.Null(await runtime.Keyed<IDocumentStore>(AppIds.Policy).GetAsync("c", "k", Ending));
    }

    [Fact]
    public async Task A_call_shows_who_makes_it_and_who_may_not_is_refused()
    {
        await using var runtime = await StartAsync(new AppSpec(AppIds.Proxy), new AppSpec(AppIds.Identity), ContractApps.Policy());
        using var body = new StringContent("héllo");
        using var answer = await runtime.Keyed<IServiceClients>(AppIds.Proxy).Create(AppIds.Policy).PostAsync(new Uri("v1/echo", UriKind.Relative), body, Ending);
        Assert.Equal("proxy:héllo", await answer.Content.ReadAsStringAsync(Ending));
        using var denied = await runtime.Keyed<IServiceClients>(AppIds.Proxy).Create(AppIds.Policy).PostAsync(new Uri("v1/admin/x", UriKind.Relative), null, Ending);
        Assert.Equal(HttpStatusCode.Forbidden, denied.StatusCode);
        using var allowed = await runtime.Keyed<IServiceClients>(AppIds.Identity).Create(AppIds.Policy).PostAsync(new Uri("v1/admin/x", UriKind.Relative), null, Ending);
        Assert.Equal(HttpStatusCode.OK, allowed.StatusCode);
    }

    [Fact]
    public async Task Secrets_are_read_by_name_and_those_of_others_are_not()
    {
        await using var runtime = await StartAsync(new AppSpec(AppIds.Proxy), ContractApps.Policy());
        var secrets = runtime.Keyed<ISecrets>(AppIds.Proxy);
        Assert.Equal("s3cret value", await secrets.GetAsync("contract", Ending));
        Assert.Null(await secrets.GetAsync("other", Ending));
        await Assert.ThrowsAsync<ArgumentException>(async () => await secrets.GetAsync("../contract", Ending));
    }

    [Fact]
    public async Task Target_credentials_are_the_proxys_alone_as_one_text_or_as_several_values()
    {
        await using var runtime = await StartAsync(new AppSpec(AppIds.Proxy), ContractApps.Policy());
        Assert.Null(runtime.Of(AppIds.Policy).GetKeyedService<ITargetSecrets>(AppIds.Policy));
        var secrets = runtime.Keyed<ITargetSecrets>(AppIds.Proxy);
        var stored = new StoredCredentials(secrets);
        Connection Target(string name) => new()
        {
            Name = name,
            Protocol = "postgres",
            Host = "127.0.0.1",
            Port = 5432,
            Database = "d",
            Tls = "disable",
            CredentialFrom = CredentialProviders.SecretStore,
        };
        Assert.Equal(new TargetCredential("app", "one text"), await stored.ReadAsync(Target("text"), Ending));
        Assert.Equal(new TargetCredential("app", "several values"), await stored.ReadAsync(Target("values"), Ending));
        var elsewhere = await Assert.ThrowsAsync<CredentialUnavailableException>(async () => await stored.ReadAsync(Target("values") with { Port = 5433 }, Ending));
        Assert.Contains("another port", elsewhere.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<CredentialUnavailableException>(async () => await stored.ReadAsync(Target("absent"), Ending));
        await Assert.ThrowsAsync<ArgumentException>(async () => await secrets.GetAsync("../text", Ending));

        // What the service has for itself is no target's.
        await Assert.ThrowsAsync<CredentialUnavailableException>(async () => await stored.ReadAsync(Target("contract"), Ending));
    }

    private static BusSubscription Into(ConcurrentQueue<BusEvent> got) => new(AppIds.Policy, Topics.Approvals, (happened, _) =>
    {
        got.Enqueue(happened);
        return ValueTask.CompletedTask;
    });
}
