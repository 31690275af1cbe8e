using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using Countersign.Distributed.Tests.Double;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Recorder.Contracts;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>Dead letters from outside: who may see to them, and what becomes of one that is handed on again.</summary>
public sealed class DeadLetterTests : IAsyncLifetime
{
    private readonly ConcurrentQueue<BusEvent> _handled = new();
    private readonly ConcurrentQueue<AuditEvent> _audited = new();
    private readonly DoubleFleet _fleet = new(DoubleFleet.Quick);
    private volatile bool _broken = true;
    private SidecarRuntime _runtime = null!;

    private static CancellationToken Ending => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        var recorder = new AppSpec(AppIds.Recorder)
        {
            Subscriptions = [new BusSubscription(AppIds.Recorder, Topics.Audit, (happened, _) =>
            {
                _audited.Enqueue(OcsfEvents.Read(happened.Data.Span)!);
                return ValueTask.CompletedTask;
            })],
        };
        _runtime = await SidecarRuntime.StartAsync(_fleet, new AppSpec(AppIds.Identity), new AppSpec(AppIds.Approval), recorder, ContractApps.Policy(new BusSubscription(AppIds.Policy, Topics.Approvals, (happened, _) =>
        {
            if (_broken)
            {
                throw new InvalidOperationException("not now");
            }

            _handled.Enqueue(happened);
            return ValueTask.CompletedTask;
        })));
        await _runtime.Get<IEventBus>(AppIds.Approval).PublishAsync(Topics.Approvals, "apr_1:2", "countersign.request.changed", """{"request":"apr_1"}"""u8.ToArray(), Ending);
        await Until.TrueAsync(async () => (await _runtime.Get<IDeadLetters>(AppIds.Policy).ListAsync(Ending)).Count == 1);
    }

    public ValueTask DisposeAsync() => _runtime.DisposeAsync();

    [Fact]
    public async Task An_enrolled_person_lists_reads_and_replays_one_under_the_id_that_it_had()
    {
        var (status, list) = await CallAsync(HttpMethod.Get, "policy/v1/dead-letters", Person("per_bob"));
        var listed = Assert.Single(list.EnumerateArray());
        Assert.Equal((HttpStatusCode.OK, "approvals:apr_1:2", JsonValueKind.Null), (status, listed.GetProperty("id").GetString(), listed.GetProperty("data").ValueKind));
        var (_, letter) = await CallAsync(HttpMethod.Get, "policy/v1/dead-letters/letter?id=approvals:apr_1:2", Person("per_bob"));
        Assert.Equal("apr_1", letter.GetProperty("data").GetProperty("request").GetString());

        var (refused, problem) = await CallAsync(HttpMethod.Post, "policy/v1/dead-letters/replay?id=approvals:apr_1:2", Person("per_bob"));
        Assert.Equal((HttpStatusCode.Conflict, "not-handled"), (refused, problem.GetProperty("code").GetString()));
        _broken = false;
        Assert.Equal(HttpStatusCode.NoContent, (await CallAsync(HttpMethod.Post, "policy/v1/dead-letters/replay?id=approvals:apr_1:2", Person("per_bob"))).Status);
        var again = Assert.Single(_handled);
        Assert.Equal((Topics.Approvals, "apr_1:2", "countersign.request.changed"), (again.Topic, again.Id, again.Type));
        Assert.Equal(HttpStatusCode.NotFound, (await CallAsync(HttpMethod.Post, "policy/v1/dead-letters/replay?id=approvals:apr_1:2", Person("per_bob"))).Status);
        Assert.Equal(0, (await CallAsync(HttpMethod.Get, "policy/v1/dead-letters", Person("per_bob"))).Body.GetArrayLength());
        await Until.TrueAsync(() => _audited.Count >= 3);
        Assert.Equal(["dead-letter.replay-failed", "dead-letter.replayed", "dead-letter.replayed"], _audited.Select(audit => audit.Action).Order());
        Assert.All(_audited, audit => Assert.Equal(("policy", "per_bob", "approvals:apr_1:2"), (audit.Service, audit.Person, audit.Subject)));
    }

    [Fact]
    [Trait("group", "attacks")]
    public async Task Nobody_else_sees_or_replays_one_and_the_attempt_is_recorded()
    {
        foreach (var (verb, path) in new[]
        {
            (HttpMethod.Get, "policy/v1/dead-letters"), (HttpMethod.Get, "policy/v1/dead-letters/letter?id=approvals:apr_1:2"),
            (HttpMethod.Post, "policy/v1/dead-letters/replay?id=approvals:apr_1:2"), (HttpMethod.Delete, "policy/v1/dead-letters?id=approvals:apr_1:2"),
        })
        {
            var service = new ServiceTokens(AppIds.Approval, _runtime.Keyed<SigningKey>(AppIds.Approval), TimeProvider.System).For(AppIds.Policy);
            foreach (var (token, expected) in new[]
            {
                (null, HttpStatusCode.Unauthorized), (service, HttpStatusCode.Forbidden), (Person("per_eve", enrolled: false), HttpStatusCode.Forbidden), (Person("per_bob", audience: "recorder"), HttpStatusCode.Unauthorized),
            })
            {
                Assert.Equal(expected, (await CallAsync(verb, path, token)).Status);
            }
        }

        Assert.Empty(_handled);
        Assert.Single(await _runtime.Get<IDeadLetters>(AppIds.Policy).ListAsync(Ending));
        await Until.TrueAsync(() => _audited.Count >= 4);
        Assert.All(_audited, audit => Assert.Equal(("dead-letter.refused", "per_eve", false), (audit.Action, audit.Person, audit.Success)));
    }

    [Fact]
    [Trait("group", "attacks")]
    public async Task What_can_not_be_recorded_is_not_done_and_evidence_is_not_forgotten()
    {
        _broken = false;
        _fleet.Plane.Faults.Down = true;
        foreach (var (verb, path) in new[] { (HttpMethod.Post, "policy/v1/dead-letters/replay?id=approvals:apr_1:2"), (HttpMethod.Delete, "policy/v1/dead-letters?id=approvals:apr_1:2") })
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, (await CallAsync(verb, path, Person("per_bob"))).Status);
        }

        Assert.Empty(_handled);
        Assert.Single(await _runtime.Get<IDeadLetters>(AppIds.Policy).ListAsync(Ending));
        _fleet.Plane.Faults.Down = false;
        var (status, problem) = await CallAsync(HttpMethod.Delete, "policy/v1/dead-letters?id=audit:x", Person("per_bob"));
        Assert.Equal((HttpStatusCode.Forbidden, "evidence"), (status, problem.GetProperty("code").GetString()));
        Assert.Equal(HttpStatusCode.NoContent, (await CallAsync(HttpMethod.Delete, "policy/v1/dead-letters?id=approvals:apr_1:2", Person("per_bob"))).Status);
        Assert.Empty(await _runtime.Get<IDeadLetters>(AppIds.Policy).ListAsync(Ending));
        await Until.TrueAsync(() => _audited.Count >= 2);
        Assert.Equal(["dead-letter.discarded", "dead-letter.refused"], _audited.Select(audit => audit.Action).Order());
    }

    private string Person(string person, bool enrolled = true, string audience = AppIds.Policy)
    {
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        return _runtime.Keyed<SigningKey>(AppIds.Identity).Sign(TokenTypes.Access, new AccessTokenClaims
        {
            Issuer = AppIds.Identity,
            Audience = audience,
            Subject = "pri_" + person,
            Id = Guid.NewGuid().ToString("N"),
            IssuedAt = now,
            ExpiresAt = now + 600,
            Person = person,
            Name = person,
            Kind = "human",
            Enrolled = enrolled,
            AuthenticatedAt = now,
        });
    }

    private async Task<(HttpStatusCode Status, JsonElement Body)> CallAsync(HttpMethod verb, string path, string? token)
    {
        using var http = new HttpClient { BaseAddress = _runtime.AddressOf(AppIds.Policy) };
        using var request = new HttpRequestMessage(verb, path);
        request.Headers.Authorization = token is null ? null : new AuthenticationHeaderValue("Bearer", token);
        using var answer = await http.SendAsync(request, Ending);
        var text = await answer.Content.ReadAsStringAsync(Ending);
        return (answer.StatusCode, text.Length == 0 ? default : JsonSerializer.Deserialize<JsonElement>(text));
    }
}
