using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Countersign.Recorder.Host;
using Countersign.Recorder.Verify;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Recorder.Tests;

/// <summary>From the proxy's spool over HTTP into the recorder's log and out again: what a person exports verifies offline, with nothing but the public key.</summary>
[Trait("group", "evidence")]
public class ServiceTests : IAsyncLifetime
{
    private readonly TestFolder _folder = new();
    private WebApplication _app = null!;
    private HttpClient _client = null!;

    // What identity and policy would say.
    private readonly HashSet<string> _enrolled = ["per_auditor"];
    private bool _identityIsDown;
    private int _asked;
    private string _answerer = AppIds.Identity;
    private BundleEnvelope? _bundle;

    public async ValueTask InitializeAsync()
    {
        _app = await StartAsync();
        _client = new HttpClient { BaseAddress = new Uri(_app.Urls.First()) };
    }

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        await DisposeAppAsync();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        _folder.Dispose();
    }

    [Fact]
    public async Task What_a_proxy_records_can_be_searched_replayed_exported_and_verified()
    {
        await RecordAsync("ses_e2e", "per_alice", 25);
        await PublishAsync(new AuditEvent { Id = "e1", Service = "approval", Action = "request.approved", At = DateTimeOffset.UtcNow, Person = "per_bob", Subject = "apr_1" });
        var auditor = Token("per_auditor", enrolled: true);
        var operations = await UntilAsync(
            () => GetAsync<List<OperationView>>("recorder/v1/operations?text=accounts&limit=500", auditor), found => found.Count == 25 && found.TrueForAll(one => one.Outcome is not null));
        Assert.All(operations, operation => Assert.Equal(("per_alice", "shop", "ok"), (operation.Person, operation.Connection, operation.Outcome)));
        var session = Assert.Single(await UntilAsync(
            () => GetAsync<List<SessionView>>("recorder/v1/sessions?person=per_alice", auditor), found => found is [{ EndedAt: not null }]));
        Assert.Equal(("ses_e2e", 25, "client"), (session.Id, session.Operations, session.EndReason));

        var lines = (await TextAsync("recorder/v1/sessions/ses_e2e/entries", auditor)).TrimEnd('\n').Split('\n');
        Assert.Contains("\"type\":\"session.start\"", lines[0], StringComparison.Ordinal);
        Assert.Contains(lines, line => line.Contains("\"type\":\"session.end\"", StringComparison.Ordinal));

        var key = await TextAsync("recorder/v1/key", null);
        var pinned = await TextAsync("recorder/v1/checkpoint", null);
        var report = await UntilAsync(
            async () => await VerifyAsync(await BytesAsync("recorder/v1/export", auditor), key, pinned), found => found is { Findings.Count: 0, Summary.Sessions: >= 2 });
        Assert.True(report.Verified);
        Assert.True(report.Summary.Seals >= 2);

        var export = await BytesAsync("recorder/v1/export", auditor);
        var target = System.Text.Encoding.UTF8.GetString(export).IndexOf("accounts WHERE id = 13", StringComparison.Ordinal);
        export[target] ^= 1;
        var tampered = await VerifyAsync(export, key, pinned);
        Assert.False(tampered.Verified);
        Assert.Contains(tampered.Findings, finding => finding is { Kind: FindingKinds.Altered, Session: "ses_e2e", EntryId: not null });

        // Each proof that the log grew only: an export of today against the head of before.
        var head = (await TextAsync("recorder/v1/checkpoint", null)).Split('\n')[1];
        await RecordAsync("ses_later", "per_alice", 3);
        var grown = await UntilAsync(
            async () => await VerifyAsync(await BytesAsync($"recorder/v1/export?from={DateTimeOffset.UtcNow.AddMinutes(-1):yyyy-MM-ddTHH:mm:ssZ}&since={head}", auditor), key, pinned),
            found => found.Verified && found.Summary.LogSize > long.Parse(head, System.Globalization.CultureInfo.InvariantCulture));
        Assert.True(grown.Verified);
    }

    [Fact]
    public async Task A_token_that_was_made_before_a_withdrawal_reads_nothing_of_others()
    {
        await RecordAsync("ses_alice", "per_alice", 1);
        await RecordAsync("ses_gone", "per_gone", 1);
        await UntilAsync(() => GetAsync<List<SessionView>>("recorder/v1/sessions", Token("per_auditor", enrolled: true)), found => found.Count == 2);
        var gone = Token("per_gone", enrolled: true);
        Assert.Equal(["ses_gone"], (await GetAsync<List<SessionView>>("recorder/v1/sessions", gone)).Select(session => session.Id));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync("recorder/v1/operations?person=per_alice", gone));
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync("recorder/v1/sessions/ses_alice/entries", gone));
        Assert.DoesNotContain("ses_alice", System.Text.Encoding.UTF8.GetString(await BytesAsync("recorder/v1/export", gone)), StringComparison.Ordinal);

        // The answer is kept for seconds; somebody else's isn't there when identity is away, and then nobody reads others'.
        var before = _asked;
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync("recorder/v1/sessions/ses_alice/entries", gone));
        Assert.Equal(before, _asked);
        _identityIsDown = true;
        Assert.Equal(HttpStatusCode.ServiceUnavailable, await StatusAsync("recorder/v1/sessions/ses_alice/entries", Token("per_other", enrolled: true)));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync("recorder/v1/sessions/ses_gone/entries", gone));
    }

    /// <summary>Whoever has one service's key could else say that another one has approved, or say it first, under an id that is guessed, so that the true event is taken for a repetition.</summary>
    [Trait("group", "attacks")]
    [Fact]
    public async Task An_audit_event_counts_for_the_service_whose_key_signed_it_only()
    {
        var handle = _app.Services.GetServices<BusSubscription>().Single(each => each is { Subscriber: AppIds.Recorder, Topic: Topics.Audit }).HandleAsync;
        var approved = new AuditEvent { Id = "apr_1:2", Service = AppIds.Approval, Action = "request.approved", At = DateTimeOffset.UtcNow, Person = "per_forged", Subject = "apr_1" };
        ValueTask DeliverAsync(AuditEvent audit, string issuer) => handle(
            new BusEvent(Topics.Audit, audit.Id, "countersign.audit", OcsfEvents.Write(audit)) { Publisher = issuer }, TestContext.Current.CancellationToken);
        await DeliverAsync(approved, AppIds.Policy);
        await DeliverAsync(approved, AppIds.Policy);
        await DeliverAsync(approved with { Person = "per_bob" }, AppIds.Approval);
        await DeliverAsync(approved with { Person = "per_bob" }, AppIds.Approval);
        var events = (await TextAsync("recorder/v1/export", Token("per_auditor", enrolled: true))).Split('\n').Where(line => line.Contains("apr_1:2", StringComparison.Ordinal)).ToList();
        Assert.Equal(2, events.Count);
        Assert.Contains("event.refused", events[0], StringComparison.Ordinal);
        Assert.DoesNotContain("per_forged", events[0], StringComparison.Ordinal);
        Assert.Contains("per_bob", events[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_answer_that_identity_did_not_sign_enrols_nobody()
    {
        Assert.Equal(HttpStatusCode.OK, await StatusAsync("recorder/v1/operations?person=per_alice", Token("per_auditor", enrolled: true)));
        await DisposeAppAsync();
        _answerer = AppIds.Proxy;
        await InitializeAsync();
        Assert.Equal(HttpStatusCode.ServiceUnavailable, await StatusAsync("recorder/v1/operations?person=per_alice", Token("per_auditor", enrolled: true)));
    }

    [Theory]
    [InlineData(null, false, null)]
    [InlineData("", true, null)]
    [InlineData("retention_days: 400\n", true, 400)]
    [InlineData("retention_days: 10\n", true, 10)]
    [InlineData("retention_days: 10\n", false, null)]
    public async Task Payloads_are_deleted_after_the_days_that_two_people_agreed_to_and_never_else(string? setting, bool approved, int? days)
    {
        var clock = new Microsoft.Extensions.Time.Testing.FakeTimeProvider(DateTimeOffset.UtcNow.AddDays(30));
        if (setting is not null)
        {
            _bundle = Bundle(setting, approved);
        }

        var retention = new ApprovedRetention(
            _app.Services.GetRequiredKeyedService<IServiceClients>(AppIds.Recorder), _app.Services.GetRequiredService<ITrustedKeys>(),
            Microsoft.Extensions.Options.Options.Create(new RecorderOptions { Data = Path.Combine(_folder.Path, "recorder") }), clock);
        if (setting is { Length: > 0 } && !approved)
        {
            await Assert.ThrowsAsync<BundleRejectedException>(() => retention.EraseBeforeAsync(default));
            return;
        }

        Assert.Equal(days is null ? null : clock.GetUtcNow().AddDays(-days.Value), await retention.EraseBeforeAsync(default));
        if (days == 10)
        {
            // An older bundle that kept for less is not believed any more.
            _bundle = Bundle("retention_days: 1\n", approved: true, version: 1);
            await Assert.ThrowsAsync<BundleRejectedException>(() => retention.EraseBeforeAsync(default));
            _bundle = Bundle("retention_days: 1\n", approved: true, version: 9);
            var least = new ApprovedRetention(
                _app.Services.GetRequiredKeyedService<IServiceClients>(AppIds.Recorder), _app.Services.GetRequiredService<ITrustedKeys>(),
                Microsoft.Extensions.Options.Options.Create(new RecorderOptions { Data = Path.Combine(_folder.Path, "recorder"), KeepAtLeast = TimeSpan.FromDays(20) }), clock);
            Assert.Equal(clock.GetUtcNow().AddDays(-20), await least.EraseBeforeAsync(default));
        }
    }

    private BundleEnvelope Bundle(string setting, bool approved, long version = 5)
    {
        var documents = new[] { new BundleDocument("s.yaml", "apiVersion: countersign/v1\nkind: Settings\nname: s\n" + setting) };
        var payload = BundleCodec.Encode(new Bundle { Version = version, CreatedAt = DateTimeOffset.UtcNow, Documents = documents });
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var grant = new GrantClaims
        {
            Id = "g",
            Issuer = AppIds.Approval,
            Request = "apr_1",
            Kind = RequestKind.Bundle,
            Person = "per_alice",
            Connection = "",
            Digests = [BundleCodec.Digest(payload)],
            AllOf = [new RequestRequirement(["enrolled"], 1)],
            Approvers = approved ? [new GrantApprover("per_bob", "bob", now)] : [],
            IssuedAt = now,
            ExpiresAt = now + 600,
        };
        var signed = _app.Services.GetRequiredKeyedService<SigningKey>(AppIds.Approval).Sign(TokenTypes.Grant, grant);
        return new BundleSigner(_app.Services.GetRequiredKeyedService<SigningKey>(AppIds.Policy)).Seal(payload, version, signed, DateTimeOffset.UtcNow);
    }

    [Fact]
    public async Task People_read_their_own_and_enrolled_people_all()
    {
        await RecordAsync("ses_alice", "per_alice", 2);
        await RecordAsync("ses_bob", "per_bob", 2);
        var auditor = Token("per_auditor", enrolled: true);
        await UntilAsync(() => GetAsync<List<SessionView>>("recorder/v1/sessions", auditor), found => found.Count == 2);
        var alice = Token("per_alice", enrolled: false);
        Assert.Equal(["ses_alice"], (await GetAsync<List<SessionView>>("recorder/v1/sessions", alice)).Select(session => session.Id));
        Assert.All(await GetAsync<List<OperationView>>("recorder/v1/operations", alice), operation => Assert.Equal("per_alice", operation.Person));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync("recorder/v1/sessions?person=per_bob", alice));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync("recorder/v1/operations?person=per_bob", alice));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync("recorder/v1/sessions/ses_alice/entries", alice));
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync("recorder/v1/sessions/ses_bob/entries", alice));
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync("recorder/v1/sessions/ses_none/entries", alice));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync("recorder/v1/sessions/ses_bob/entries", auditor));
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync("recorder/v1/sessions", null));
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync("recorder/v1/export", null));

        var own = await BytesAsync("recorder/v1/export", alice);
        Assert.DoesNotContain("ses_bob", System.Text.Encoding.UTF8.GetString(own), StringComparison.Ordinal);
        var report = await VerifyAsync(own, await TextAsync("recorder/v1/key", null), null);
        Assert.True(report.Verified);
        Assert.True(report.Summary.Omitted > 0);
    }

    [Fact]
    public async Task Served_tiles_have_the_root_of_the_checkpoint()
    {
        await RecordAsync("ses_tiles", "per_alice", 300);
        var auditor = Token("per_auditor", enrolled: true);
        var note = await UntilAsync(() => TextAsync("recorder/v1/log/checkpoint", null), found => long.Parse(found.Split('\n')[1], System.Globalization.CultureInfo.InvariantCulture) > 600);
        var size = int.Parse(note.Split('\n')[1], System.Globalization.CultureInfo.InvariantCulture);

        // RFC 6962 by hand, over what the tiles say.
        var leaves = new List<byte[]>();
        for (var tile = 0; tile * 256 < size; tile++)
        {
            var width = Math.Min(256, size - (tile * 256));
            var path = $"{tile:000}{(width < 256 ? $".p/{width}" : "")}";
            var hashes = await BytesAsync($"recorder/v1/log/tile/0/{path}", null);
            Assert.Equal(width * 32, hashes.Length);
            leaves.AddRange(hashes.Chunk(32));
            var bundle = await BytesAsync($"recorder/v1/log/tile/entries/{path}", auditor);
            var at = 0;
            for (var index = 0; index < width; index++)
            {
                var length = (bundle[at] << 8) | bundle[at + 1];
                Assert.Equal(leaves[(tile * 256) + index], System.Security.Cryptography.SHA256.HashData([0, .. bundle.AsSpan(at + 2, length)]));
                at += 2 + length;
            }

            Assert.Equal(bundle.Length, at);
        }

        Assert.Equal(note.Split('\n')[2], Convert.ToBase64String(Root(leaves)));
        var above = await BytesAsync($"recorder/v1/log/tile/1/000.p/{size / 256}", null);
        Assert.Equal(above, leaves.Chunk(256).Where(chunk => chunk.Length == 256).SelectMany(chunk => Root(chunk)).ToArray());

        Assert.Equal(HttpStatusCode.OK, await StatusAsync("recorder/v1/log/tile/0/000.p/7", null));
        foreach (var path in new[] { "0/0", "0/999", "0/x000/000", "0/000.p/256", "0/000.p/0", "0/000.p/07", "0/000/", "1/000", "7/000.p/1", "8/000", "0/-01", "entries/x" })
        {
            Assert.Equal((path, HttpStatusCode.NotFound), (path, await StatusAsync($"recorder/v1/log/tile/{path}", auditor)));
        }

        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync("recorder/v1/log/tile/entries/000", null));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync("recorder/v1/log/tile/entries/000", Token("per_alice", enrolled: false)));
    }

    private static byte[] Root(IReadOnlyList<byte[]> leaves)
    {
        if (leaves.Count == 1)
        {
            return leaves[0];
        }

        var split = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)leaves.Count) / 2;
        return System.Security.Cryptography.SHA256.HashData([1, .. Root([.. leaves.Take(split)]), .. Root([.. leaves.Skip(split)])]);
    }

    [Fact]
    public async Task Only_a_proxy_can_hand_in_entries_and_only_its_own_kind()
    {
        var proxy = _app.Services.GetRequiredKeyedService<ServiceTokens>(AppIds.Proxy).For(AppIds.Recorder);
        var policy = _app.Services.GetRequiredKeyedService<ServiceTokens>(AppIds.Policy).For(AppIds.Recorder);
        using var signer = new TestSigner();
        var good = Frames(Make.Session("ses_x", 1, signer, ended: false)[..1]);
        Assert.Equal(HttpStatusCode.Unauthorized, await PostAsync(good, null));
        Assert.Equal(HttpStatusCode.Forbidden, await PostAsync(good, policy));
        Assert.Equal(HttpStatusCode.Forbidden, await PostAsync(good, Token("per_alice", enrolled: true)));
        Assert.Equal(HttpStatusCode.BadRequest, await PostAsync([1, 2, 3], proxy));
        var own = Entry.Create(EntryType.Event, new byte[16], "evt_approval", 1, 1, Hash256.Zero, "{}"u8);
        Assert.Equal(HttpStatusCode.Forbidden, await PostAsync(Frames([own]), proxy));
        Assert.Equal(HttpStatusCode.OK, await PostAsync(good, proxy));

        // Sealed by a key that is nobody's: refused, and the refusal is on record.
        using var request = Request(HttpMethod.Post, "recorder/v1/batches", proxy);
        request.Content = new ByteArrayContent(Frames(Make.Session("ses_forged", 1, signer)));
        using var response = await _client.SendAsync(request);
        var result = (await response.Content.ReadFromJsonAsync<BatchResult>())!;
        Assert.NotEmpty(result.Refused["ses_forged"]);

        // One proxy, or a few: nobody has to wait.
        Assert.InRange(result.GatherMilliseconds, 1, 20);
    }

    [Fact]
    public async Task A_restart_keeps_the_log_and_goes_on()
    {
        await RecordAsync("ses_1", "per_alice", 3);
        var auditor = Token("per_auditor", enrolled: true);
        await UntilAsync(() => GetAsync<List<SessionView>>("recorder/v1/sessions", auditor), found => found is [{ EndedAt: not null }]);
        var before = await TextAsync("recorder/v1/checkpoint", null);
        var key = await TextAsync("recorder/v1/key", null);
        await _app.StopAsync();
        await _app.DisposeAsync();
        _client.Dispose();
        _app = await StartAsync();
        _client = new HttpClient { BaseAddress = new Uri(_app.Urls.First()) };
        Assert.Equal(key, await TextAsync("recorder/v1/key", null));
        await RecordAsync("ses_2", "per_alice", 3);
        auditor = Token("per_auditor", enrolled: true);
        var report = await UntilAsync(
            async () => await VerifyAsync(await BytesAsync("recorder/v1/export", auditor), key, before), found => found is { Findings.Count: 0, Summary.Sessions: 2 });
        Assert.True(report.Verified);
        Assert.Equal(HttpStatusCode.OK, await StatusAsync("health/ready", null));
    }

    private async Task DisposeAppAsync()
    {
        _client.Dispose();
        await _app.StopAsync();
        await _app.DisposeAsync();
    }

    /// <summary>Where it stores, beside the folder.</summary>
    private protected virtual Dictionary<string, string?> Storage() => [];

    private async Task<WebApplication> StartAsync()
    {
        var builder = WebApplication.CreateBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["Countersign:Data"] = _folder.Path, ["Countersign:Recorder:CheckpointDelay"] = "00:00:00.05" });
        builder.Configuration.AddInMemoryCollection(Storage());
        builder.AddCountersignHosting("test");
        builder.AddEmbeddedPlatform(_folder.Path);
        builder.AddRecorderService();
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapRecorderService();
        app.MapGet("/identity/v1/persons/{id}/standing", (string id) =>
        {
            _asked++;
            return _identityIsDown ? Results.StatusCode(503) : Results.Json(new PersonStanding(id, id, _enrolled.Contains(id), false, [], [id], false));
        }).SignsAnswers(_answerer).RequireCaller(AppIds.Identity, Callers.Services, AppIds.Recorder);
        app.MapGet("/policy/v1/bundle", () => _bundle is null ? Results.NotFound() : Results.Json(_bundle));
        await app.StartAsync();
        return app;
    }

    private async Task RecordAsync(string session, string person, int operations)
    {
        var sealer = new KeySealer(_app.Services.GetRequiredKeyedService<SigningKey>(AppIds.Proxy));
        var options = SpoolTests.Options with { Directory = Path.Combine(_folder.Path, "spool-" + session), Proxy = "proxy-1" };
        await using var spool = Spool.Open(options, sealer, new Transport(_app), TimeProvider.System, NullLogger<Spool>.Instance);
        await using var recording = await spool.OpenAsync(session, Make.Start(person), default);
        for (var operation = 1; operation <= operations; operation++)
        {
            var level = operation % 5 == 0 ? RecordLevel.Acknowledged : RecordLevel.Durable;
            await recording.Append(Make.Operation(operation, $"SELECT * FROM accounts WHERE id = {operation}"), level).WaitAsync(default);
            recording.Complete(Make.Completion(operation));
        }

        await recording.EndAsync(new SessionEndEntry("client", operations, 1, 2), default);
        await spool.DrainAsync(TimeSpan.FromSeconds(30));
    }

    private async Task PublishAsync(AuditEvent audit) => await _app.Services.GetRequiredService<IEventBus>()
        .PublishAsync(Topics.Audit, audit.Id, "countersign.audit", OcsfEvents.Write(audit), default);

    private string Token(string person, bool enrolled)
    {
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        return _app.Services.GetRequiredKeyedService<SigningKey>(AppIds.Identity).Sign(TokenTypes.Access, new AccessTokenClaims
        {
            Issuer = AppIds.Identity,
            Audience = AppIds.Recorder,
            Subject = "prn_" + person,
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

    private static byte[] Frames(IEnumerable<Entry> entries)
    {
        var frames = new System.Buffers.ArrayBufferWriter<byte>();
        foreach (var entry in entries)
        {
            EntryFrame.Write(frames, entry);
        }

        return frames.WrittenSpan.ToArray();
    }

    private static HttpRequestMessage Request(HttpMethod method, string path, string? token)
    {
        var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative));
        request.Headers.Authorization = token is null ? null : new AuthenticationHeaderValue("Bearer", token);
        return request;
    }

    private async Task<HttpStatusCode> PostAsync(byte[] body, string? token)
    {
        using var request = Request(HttpMethod.Post, "recorder/v1/batches", token);
        request.Content = new ByteArrayContent(body);
        using var response = await _client.SendAsync(request);
        return response.StatusCode;
    }

    private async Task<HttpStatusCode> StatusAsync(string path, string? token)
    {
        using var request = Request(HttpMethod.Get, path, token);
        using var response = await _client.SendAsync(request);
        return response.StatusCode;
    }

    private async Task<byte[]> BytesAsync(string path, string? token)
    {
        using var request = Request(HttpMethod.Get, path, token);
        using var response = await _client.SendAsync(request);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return await response.Content.ReadAsByteArrayAsync();
    }

    private async Task<string> TextAsync(string path, string? token) => System.Text.Encoding.UTF8.GetString(await BytesAsync(path, token));

    private async Task<T> GetAsync<T>(string path, string? token) =>
        System.Text.Json.JsonSerializer.Deserialize<T>(await BytesAsync(path, token), System.Text.Json.JsonSerializerOptions.Web)!;

    private static async Task<VerifyReport> VerifyAsync(byte[] export, string key, string? pinned) =>
        await ExportVerifier.VerifyAsync(new MemoryStream(export), new VerifyOptions { Key = key, PinnedCheckpoint = pinned });

    private static async Task<T> UntilAsync<T>(Func<Task<T>> read, Func<T, bool> good)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (true)
        {
            var value = await read();
            if (good(value))
            {
                return value;
            }

            if (timeout.IsCancellationRequested)
            {
                Assert.Fail("it never came: " + System.Text.Json.JsonSerializer.Serialize(value));
            }

            await Task.Delay(20, CancellationToken.None);
        }
    }

    private sealed class KeySealer(SigningKey key) : ISealSigner
    {
        public string KeyId => key.KeyId;

        public byte[] Sign(ReadOnlySpan<byte> data) => key.SignData(data);
    }

    // As the proxy's own: over HTTP, with its service token.
    private sealed class Transport(WebApplication app) : IEntryTransport
    {
        public async ValueTask<BatchResult> SendAsync(ReadOnlyMemory<byte> batch, CancellationToken cancellation)
        {
            using var content = new ReadOnlyMemoryContent(batch);
            using var response = await app.Services.GetRequiredKeyedService<IServiceClients>(AppIds.Proxy).Create(AppIds.Recorder)
                .PostAsync(new Uri("v1/batches", UriKind.Relative), content, cancellation);
            response.EnsureSuccessStatusCode();
            return (await response.Content.ReadFromJsonAsync<BatchResult>(cancellation))!;
        }
    }
}
