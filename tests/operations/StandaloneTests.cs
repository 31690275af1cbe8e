using System.Diagnostics.Metrics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Sockets;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Standalone;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Operations.Tests;

/// <summary>The composed host as whoever runs it sees it: figures, health, files, shutdown.</summary>
[Trait("group", "unit")]
[Collection("hosts")]
public sealed class StandaloneTests : IAsyncLifetime
{
    private readonly Place _place = new();
    private WebApplication _app = null!;
    private HttpClient _http = null!;
    private int _postgresPort;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _postgresPort = FreePort();
        _app = StandaloneHost.Build(_place.Arguments($"--Countersign:Proxy:PostgresPort={_postgresPort}", "--Countersign:Proxy:DrainTimeout=00:01:00"));
        await _app.StartAsync(Cancel);
        _http = new HttpClient { BaseAddress = new Uri(_place.Url) };
        await Place.UntilAsync(async () => (await _http.GetAsync("/health/ready", Cancel)).IsSuccessStatusCode, Cancel);
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _app.DisposeAsync();
        _place.Dispose();
    }

    [Fact]
    public async Task Metrics_of_every_service_are_at_metrics()
    {
        // A wrong login at each door, and a request that no proxy can make.
        await _http.PostAsJsonAsync("/identity/v1/tokens", new { grant = "id_token", idToken = "not-a-token", audience = AppIds.Policy }, Cancel);
        var logins = _app.Services.GetRequiredService<INativeLogins>();
        const string ClientFirst = "n=,r=abcdefghijklmnopqrstuvwx";
        var challenge = await logins.BeginAsync(new BeginNativeLogin("nobody-0000", "demo", "127.0.0.1"), Cancel);
        var nonce = "abcdefghijklmnopqrstuvwx" + challenge.Nonce;
        var outcome = await logins.CompleteAsync(
            challenge.LoginId,
            new CompleteNativeLogin(
                ClientFirst, $"r={nonce},s={challenge.Salt},i={challenge.Iterations}", $"c=biws,r={nonce}", Convert.ToBase64String(new byte[32]), "ses_1"),
            Cancel);
        Assert.Equal(LoginFailure.Rejected, outcome.Failure);
        var asked = new CreateRequest
        {
            Kind = RequestKind.Operation,
            Assertion = "not-an-assertion",
            Connection = "demo",
            Database = "demo",
            Operations = [new RequestedOperation(new string('0', 64), "select 1", [])],
            AllOf = [new RequestRequirement(["enrolled"], 1)],
            TimeoutSeconds = 60,
            GrantLifetimeSeconds = 60,
        };
        using var ask = new HttpRequestMessage(HttpMethod.Post, "/approval/v1/requests") { Content = JsonContent.Create(asked, options: TokenJson.Options) };
        ask.Headers.Authorization = new AuthenticationHeaderValue("Bearer", _app.Services.GetRequiredKeyedService<ServiceTokens>(AppIds.Proxy).For(AppIds.Approval));
        Assert.False((await _http.SendAsync(ask, Cancel)).IsSuccessStatusCode);

        string[] expected =
        [
            "countersign_proxy_bundle_version", "countersign_proxy_beacon_age_seconds", "countersign_proxy_spool_usage_bytes", "countersign_proxy_spool_failed",
            "countersign_proxy_logins_total", "countersign_approval_refused_total", "countersign_recorder_log_size", "countersign_recorder_entries_total",
            "countersign_recorder_checkpoint_age_seconds", "countersign_recorder_index_lag", "countersign_identity_logins_total", "countersign_identity_events_total",
            "countersign_policy_bundle_version",
        ];
        var text = "";
        await Place.UntilAsync(
            async () =>
            {
                text = await _http.GetStringAsync("/metrics", Cancel);
                return expected.All(name => text.Contains($"\n{name}{{", StringComparison.Ordinal));
            },
            Cancel);
        Assert.Contains("countersign_service=\"policy\"", text, StringComparison.Ordinal);
        Assert.Contains("countersign_result=\"rejected\"", text, StringComparison.Ordinal);
        Assert.DoesNotContain("nobody-0000", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_instrument_is_documented()
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, _) =>
            {
                if (instrument.Meter.Name.StartsWith("Countersign.", StringComparison.Ordinal))
                {
                    names.Add(instrument.Name);
                }
            },
        };
        listener.Start();
        // Later ones of a family are written without what they share with the first.
        var page = DocumentationTests.Page("telemetry.md");
        Assert.True(names.Count > 10, string.Join('\n', names));
        Assert.Empty(names.Where(name => !page.Contains($"`{name}`", StringComparison.Ordinal)
            && !page.Contains($"`.{name[(name.LastIndexOf('.') + 1)..]}`", StringComparison.Ordinal)));
    }

    [Fact]
    public void Everything_is_in_the_data_directory_and_private_keys_are_private()
    {
        foreach (var service in new[] { AppIds.Identity, AppIds.Policy, AppIds.Approval, AppIds.Recorder, AppIds.Proxy })
        {
            var key = Path.Combine(_place.Directory, "keys", service + ".key");
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(key));
            Assert.True(File.Exists(Path.Combine(_place.Directory, "keys", service + ".jwks.json")));
        }

        const UnixFileMode Others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        var secrets = Directory.EnumerateFiles(_place.Directory, "*", SearchOption.AllDirectories)
            .Where(file => Path.GetExtension(file) == ".key" || Path.GetFileName(file) is "bootstrap-token" or "key" or "identity.mock").ToList();
        Assert.True(secrets.Count >= 8, string.Join('\n', secrets));
        Assert.All(secrets, file => Assert.Equal(UnixFileMode.None, File.GetUnixFileMode(file) & Others));
        foreach (var folder in new[] { "", "keys", "keys/data-protection", "state", "recorder", "proxy", "proxy/tls", "proxy/spool" })
        {
            Assert.Equal(
                UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.Combine(_place.Directory, folder)));
        }

        foreach (var part in new[] { "state", "recorder/log", "proxy/spool", "bootstrap-token" })
        {
            Assert.True(Path.Exists(Path.Combine(_place.Directory, part)), part);
        }
    }

    [Fact]
    public async Task While_clients_drain_the_services_that_they_need_still_answer()
    {
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, _postgresPort, Cancel);
        // An answer: it is being served, and no longer in the backlog of the port.
        await client.GetStream().WriteAsync(new byte[] { 0, 0, 0, 8, 4, 210, 22, 47 }, Cancel);
        Assert.Equal('S', client.GetStream().ReadByte());

        var stopping = _app.StopAsync(Cancel);
        await Place.UntilAsync(async () => !await AcceptsAsync(), Cancel);
        Assert.False(stopping.IsCompleted);
        Assert.True((await _http.GetAsync("/health/live", Cancel)).IsSuccessStatusCode);

        client.Close();
        await stopping;
        await Assert.ThrowsAsync<HttpRequestException>(() => _http.GetAsync("/health/live", Cancel));
    }

    private static int FreePort()
    {
        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        return ((IPEndPoint)other.LocalEndpoint).Port;
    }

    private async Task<bool> AcceptsAsync()
    {
        using var probe = new TcpClient();
        try
        {
            await probe.ConnectAsync(IPAddress.Loopback, _postgresPort, Cancel);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
