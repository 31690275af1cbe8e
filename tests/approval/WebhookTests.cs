using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Tests;

/// <summary>Webhooks as a receiver sees them, over real HTTP.</summary>
[Trait("group", "approval")]
public sealed class WebhookTests : IAsyncLifetime
{
    private static readonly byte[] Secret = RandomNumberGenerator.GetBytes(32);
    private readonly ConcurrentQueue<Received> _received = new();
    private readonly string _folder = System.IO.Directory.CreateTempSubdirectory("cs-notify-").FullName;
    private volatile int _status = 200;
    private volatile TaskCompletionSource? _hang;
    private CancellationToken? _hung;
    private WebApplication _receiver = null!;
    private ApprovalServer? _server;

    public async ValueTask InitializeAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        _receiver = builder.Build();
        _receiver.MapPost("/{target}", async (string target, HttpContext http) =>
        {
            using var body = new MemoryStream();
            await http.Request.Body.CopyToAsync(body);
            string Header(string name) => http.Request.Headers[name].ToString();
            _received.Enqueue(new Received(target, Header("webhook-id"), Header("webhook-timestamp"), Header("webhook-signature"), body.ToArray()));
            if (target == "siem" && _hang is { } hang)
            {
                _hung = http.RequestAborted;
                await hang.Task.WaitAsync(http.RequestAborted);
            }

            http.Response.StatusCode = target == "chat" ? 200 : _status;
            http.Response.Headers.Location = "/elsewhere";
        });
        await _receiver.StartAsync();
        await File.WriteAllTextAsync(Path.Combine(_folder, "secret"), "whsec_" + Convert.ToBase64String(Secret));
        await File.WriteAllTextAsync(Path.Combine(_folder, "url"), $"{_receiver.Urls.Single()}/chat\n");
        _server = await ApprovalServer.StartAsync(new()
        {
            ["Countersign:Approval:Notify:GiveUpHours"] = "2",
            ["Countersign:Approval:Notify:Webhooks:0:Name"] = "siem",
            ["Countersign:Approval:Notify:Webhooks:0:Url"] = $"{_receiver.Urls.Single()}/siem",
            ["Countersign:Approval:Notify:Webhooks:0:SecretFile"] = Path.Combine(_folder, "secret"),
            ["Countersign:Approval:Notify:Webhooks:0:Events:0"] = "request.opened",
            ["Countersign:Approval:Notify:Webhooks:0:Events:1"] = "request.approved",
            ["Countersign:Approval:Notify:Webhooks:1:Name"] = "chat",
            ["Countersign:Approval:Notify:Webhooks:1:Kind"] = "slack",
            ["Countersign:Approval:Notify:Webhooks:1:UrlFile"] = Path.Combine(_folder, "url"),
            ["Countersign:Approval:Notify:Webhooks:1:Groups:0"] = "security",
        });
    }

    private ApprovalServer Server => _server!;

    [Fact]
    public async Task A_signed_message_says_what_happened_and_no_parameter()
    {
        var asked = await Server.OpenAsync(Server.Create() with { Operations = [new RequestedOperation(Server.Digest(), "DELETE FROM orders WHERE id = $1", ["s3cr3t-value"])] });
        await Server.ApproveAsync(asked);
        await Until("siem", 2);
        var (opened, approved) = (Of("siem")[0], Of("siem")[1]);
        Assert.Equal(($"{asked.Id}:1:siem", $"{asked.Id}:2:siem"), (opened.Id, approved.Id));
        foreach (var each in new[] { opened, approved })
        {
            byte[] signed = [.. Encoding.UTF8.GetBytes($"{each.Id}.{each.Timestamp}."), .. each.Body];
            Assert.Equal("v1," + Convert.ToBase64String(HMACSHA256.HashData(Secret, signed)), each.Signature);
            Assert.InRange(long.Parse(each.Timestamp, System.Globalization.CultureInfo.InvariantCulture), Server.Clock.GetUtcNow().ToUnixTimeSeconds() - 60, Server.Clock.GetUtcNow().ToUnixTimeSeconds());
            var text = Encoding.UTF8.GetString(each.Body);
            Assert.DoesNotContain("s3cr3t-value", text, StringComparison.Ordinal);
            Assert.DoesNotContain(asked.Digest, text, StringComparison.Ordinal);
        }

        var data = JsonDocument.Parse(approved.Body).RootElement;
        Assert.Equal("request.approved", data.GetProperty("type").GetString());
        Assert.Equal("bob@example.com", data.GetProperty("data").GetProperty("by").GetProperty("name").GetString());
        Assert.Equal(asked.Link, data.GetProperty("data").GetProperty("link").GetString());
        // The link is no key: it asks for a login.
        using var link = await Server.Http.GetAsync(new Uri(new Uri(asked.Link).PathAndQuery, UriKind.Relative));
        Assert.StartsWith("/identity/login", link.Headers.Location!.ToString(), StringComparison.Ordinal);
        Assert.Empty(Of("chat"));
    }

    [Fact]
    public async Task Slack_is_told_of_its_groups_only()
    {
        await Server.OpenAsync(Server.Create(allOf: [new RequestRequirement(["security"], 1)]));
        await Until("chat", 1);
        var message = Of("chat").Single();
        Assert.Equal("", message.Signature);
        Assert.Equal("Approval needed", JsonDocument.Parse(message.Body).RootElement.GetProperty("blocks")[0].GetProperty("text").GetProperty("text").GetString());
    }

    [Fact]
    public async Task A_target_that_hangs_holds_up_no_other_one()
    {
        _hang = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await Server.OpenAsync();
        await ApprovalServer.UntilAsync(() => _hung is not null, "an attempt");
        await Server.OpenAsync(Server.Create(allOf: [new RequestRequirement(["security"], 1)]));
        await Until("chat", 1);
        // It still waits for the first answer.
        Assert.False(_hung!.Value.IsCancellationRequested);
        _hang.SetResult();
        _hang = null;
    }

    [Fact]
    public async Task A_secret_is_changed_without_losing_anything()
    {
        await Server.OpenAsync();
        await Until("siem", 1);
        var next = RandomNumberGenerator.GetBytes(32);
        await File.WriteAllTextAsync(Path.Combine(_folder, "secret"), $"whsec_{Convert.ToBase64String(next)}\nwhsec_{Convert.ToBase64String(Secret)}\n");
        await Server.OpenAsync();
        await Until("siem", 2);
        await File.WriteAllTextAsync(Path.Combine(_folder, "secret"), $"whsec_{Convert.ToBase64String(next)}\n");
        await Server.OpenAsync();
        await Until("siem", 3);
        Assert.Equal([(true, false), (true, true), (false, true)], Of("siem").Select(each => (Signed(each, Secret), Signed(each, next))));
        // A file that says something else sends nothing, unsigned least of all.
        await File.WriteAllTextAsync(Path.Combine(_folder, "secret"), "\n");
        await Server.OpenAsync();
        Server.Clock.Shift += TimeSpan.FromHours(3);
        await ApprovalServer.UntilAsync(() => Server.Audits.Any(audit => audit.Action == "notification.dead"), "an audit event");
        Assert.Equal(3, Of("siem").Count);
    }

    [Fact]
    public async Task The_receiver_of_the_documentation_takes_what_is_genuine_once_and_nothing_else()
    {
        await Server.OpenAsync();
        await Until("siem", 1);
        var (message, other) = (Of("siem")[0], "whsec_" + Convert.ToBase64String(RandomNumberGenerator.GetBytes(32)));
        var (at, mine) = (long.Parse(message.Timestamp, System.Globalization.CultureInfo.InvariantCulture), "whsec_" + Convert.ToBase64String(Secret));
        object Try(string[] secrets, long now, Received? received = null, string? signature = null) => new
        {
            secrets,
            now,
            headers = new Dictionary<string, string> { ["webhook-id"] = (received ?? message).Id, ["webhook-timestamp"] = (received ?? message).Timestamp, ["webhook-signature"] = signature ?? message.Signature },
            body = Convert.ToBase64String((received ?? message).Body),
        };
        var later = (at + 1).ToString(System.Globalization.CultureInfo.InvariantCulture);
        (object Ask, string Answer)[] cases =
        [
            (Try([mine], at + 301), "too old"),
            (Try([mine], at - 301), "too old"),
            (Try([mine], at, message with { Timestamp = later }), "not genuine"),
            (Try([mine], at, message with { Id = message.Id + "x" }), "not genuine"),
            (Try([mine], at, message with { Body = [.. message.Body, (byte)' '] }), "not genuine"),
            (Try([mine], at, message with { Timestamp = "" }), "too old"),
            (Try([other], at), "not genuine"),
            (Try([mine], at, null, ""), "not genuine"),
            (Try([mine], at, null, "v1,"), "not genuine"),
            (Try([mine], at, null, message.Signature.Replace("v1,", "v2,", StringComparison.Ordinal)), "not genuine"),
            (Try([other, mine], at + 299, null, "v1,AAAA " + message.Signature), "new"),
            (Try([mine], at + 299), "known"),
        ];
        var page = await File.ReadAllTextAsync(Path.Combine(Repository, "docs", "formats", "webhook.md"));
        var begin = page.IndexOf("```js\n", StringComparison.Ordinal) + "```js\n".Length;
        await File.WriteAllTextAsync(Path.Combine(_folder, "receiver.mjs"), page[begin..page.IndexOf("\n```", begin, StringComparison.Ordinal)]);
        await File.WriteAllTextAsync(
            Path.Combine(_folder, "run.mjs"),
            """
            import { accept } from "./receiver.mjs";
            import { readFileSync } from "node:fs";
            const tries = JSON.parse(readFileSync(new URL("./tries.json", import.meta.url)));
            console.log(JSON.stringify(tries.map((each) => accept(each.secrets, each.headers, Buffer.from(each.body, "base64"), each.now))));
            """);
        await File.WriteAllTextAsync(Path.Combine(_folder, "tries.json"), JsonSerializer.Serialize(cases.Select(each => each.Ask)));
        using var node = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("node", [Path.Combine(_folder, "run.mjs")]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var (output, errors) = (node.StandardOutput.ReadToEndAsync(), node.StandardError.ReadToEndAsync());
        await node.WaitForExitAsync();
        Assert.True(node.ExitCode == 0, await errors);
        Assert.Equal(cases.Select(each => each.Answer), JsonSerializer.Deserialize<string[]>(await output));
    }

    [Theory]
    [InlineData("https://169.254.169.254/latest/meta-data", false)]
    [InlineData("https://[::ffff:169.254.169.254]/", false)]
    [InlineData("https://0.0.0.0/", false)]
    [InlineData("https://10.1.2.3/", false)]
    [InlineData("https://[fe80::1]/", true)]
    [InlineData("https://[64:ff9b::a9fe:a9fe]/", false)]
    [InlineData("https://224.0.0.1/", true)]
    public async Task What_answers_for_the_machine_its_cloud_or_its_network_is_told_nothing(string url, bool privateNetwork)
    {
        using var target = new Notify.WebhookTarget(
            new Notify.WebhookOptions { Name = "x", Url = url, SecretFile = Path.Combine(_folder, "secret"), PrivateNetwork = privateNetwork }, TimeProvider.System);
        var delivery = await target.DeliverAsync(
            new Notify.QueuedNotification
            {
                Id = "apr_a:1:x",
                Target = "x",
                CreatedAt = default,
                NextAt = default,
                Notification = new Notify.Notification
                {
                    Event = "request.opened",
                    At = default,
                    Request = "apr_a",
                    Version = 1,
                    Kind = "operation",
                    State = "pending",
                    Requester = new Notify.NotifiedPerson("alice", "alice"),
                    ExpiresAt = default,
                    Link = "https://countersign.example/",
                },
            },
            default);
        Assert.Equal("its address is not one that may be told", delivery.Error);
    }

    [Fact]
    public async Task Figures_say_what_became_of_messages_and_of_nobody()
    {
        await MetricAsync("countersign_notification_messages_total", "siem", "dead", 0);
        await Server.OpenAsync(Server.Create(allOf: [new RequestRequirement(["security"], 1)]));
        await Until("chat", 1);
        await MetricAsync("countersign_notification_messages_total", "chat", "sent", 1);
        await MetricAsync("countersign_notification_waiting", "siem", null, 0);
        _status = 500;
        var asked = await Server.OpenAsync();
        await MetricAsync("countersign_notification_messages_total", "siem", "again", 1);
        await MetricAsync("countersign_notification_waiting", "siem", null, 1);
        _status = 410;
        Server.Clock.Shift += TimeSpan.FromMinutes(1);
        await MetricAsync("countersign_notification_messages_total", "siem", "dead", 1);
        Server.Clock.Shift += TimeSpan.FromMinutes(2);
        await MetricAsync("countersign_notification_dead", null, null, 1);
        _status = 200;
        using var retried = await Server.SendAsync(HttpMethod.Post, $"/approval/v1/notifications/dead/{asked.Id}:1:siem/retry", Server.Peers.Token("bob"));
        await MetricAsync("countersign_notification_messages_total", "siem", "retried", 1);
        await MetricAsync("countersign_notification_messages_total", "siem", "sent", 2);
        var own = (await MetricsAsync()).Where(line => line.Contains("notification", StringComparison.Ordinal)).ToList();
        Assert.NotEmpty(own);
        Assert.All(own, line => Assert.DoesNotMatch("alice|bob|@|apr_|127[.]0", line));
    }

    [Theory]
    [InlineData(503)]
    [InlineData(307)]
    public async Task What_fails_is_sent_again_with_the_same_id_also_after_a_restart(int status)
    {
        _status = status;
        var asked = await Server.OpenAsync();
        await Until("siem", 1);
        await Server.StopHostAsync();
        _status = 200;
        Server.Clock.Shift += TimeSpan.FromMinutes(3);
        await Server.StartHostAsync();
        await Until("siem", 2);
        Assert.Equal([$"{asked.Id}:1:siem"], Of("siem").Select(each => each.Id).Distinct());
        // A redirect is followed nowhere.
        Assert.DoesNotContain(_received, each => each.Target == "elsewhere");
    }

    [Fact]
    public async Task What_fails_for_hours_is_a_dead_letter_until_somebody_sends_it_again()
    {
        _status = 500;
        var asked = await Server.OpenAsync();
        await Until("siem", 1);
        Server.Clock.Shift += TimeSpan.FromHours(2);
        await ApprovalServer.UntilAsync(() => Server.Audits.Any(audit => audit.Action == "notification.dead"), "an audit event");
        var audit = Server.Audits.Single(audit => audit.Action == "notification.dead");
        Assert.Equal((asked.Id, "siem", "status 500", false), (audit.Subject, audit.Details["target"], audit.Details["error"], audit.Success));

        const string Path = "/approval/v1/notifications/dead";
        Server.Peers.Person("mallory", enrolled: false);
        using var refused = await Server.SendAsync(HttpMethod.Get, Path, Server.Peers.Token("mallory"));
        Assert.Equal("not-enrolled", await ApprovalServer.ProblemAsync(refused, HttpStatusCode.Forbidden));
        using var listed = await Server.SendAsync(HttpMethod.Get, Path, Server.Peers.Token("bob"));
        var dead = Assert.Single((await ApprovalServer.ReadAsync<DeadNotifications>(listed)).Items);
        Assert.Equal(($"{asked.Id}:1:siem", "siem", "request.opened", "status 500"), (dead.Id, dead.Target, dead.Event, dead.Error));
        Assert.True(dead.Attempts >= 1);

        _status = 200;
        using var forbidden = await Server.SendAsync(HttpMethod.Post, $"{Path}/{dead.Id}/retry", Server.Peers.Token("mallory"));
        Assert.Equal("not-enrolled", await ApprovalServer.ProblemAsync(forbidden, HttpStatusCode.Forbidden));
        using var unknown = await Server.SendAsync(HttpMethod.Post, $"{Path}/nothing/retry", Server.Peers.Token("bob"));
        Assert.Equal("unknown-notification", await ApprovalServer.ProblemAsync(unknown, HttpStatusCode.NotFound));
        var sent = Of("siem").Count;
        using var retried = await Server.SendAsync(HttpMethod.Post, $"{Path}/{dead.Id}/retry", Server.Peers.Token("bob"));
        Assert.Equal(HttpStatusCode.Accepted, retried.StatusCode);
        await Until("siem", sent + 1);
        Assert.Equal(dead.Id, Of("siem")[^1].Id);
        await ApprovalServer.UntilAsync(() => Server.Audits.Any(each => each is { Action: "notification.retried", Person: "bob" }), "an audit event");
        using var after = await Server.SendAsync(HttpMethod.Get, Path, Server.Peers.Token("bob"));
        Assert.Equal(0, (await ApprovalServer.ReadAsync<DeadNotifications>(after)).Count);
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        await _receiver.DisposeAsync();
        System.IO.Directory.Delete(_folder, recursive: true);
    }

    private static string Repository
    {
        get
        {
            var folder = new DirectoryInfo(AppContext.BaseDirectory);
            while (!File.Exists(Path.Combine(folder!.FullName, "Countersign.slnx")))
            {
                folder = folder.Parent;
            }

            return folder.FullName;
        }
    }

    private static bool Signed(Received message, byte[] secret)
    {
        byte[] signed = [.. Encoding.UTF8.GetBytes($"{message.Id}.{message.Timestamp}."), .. message.Body];
        return message.Signature.Split(' ').Contains("v1," + Convert.ToBase64String(HMACSHA256.HashData(secret, signed)));
    }

    private async Task<string[]> MetricsAsync() => (await Server.Http.GetStringAsync(new Uri("/metrics", UriKind.Relative))).Split('\n');

    // The exporter keeps an answer for a moment.
    private async Task MetricAsync(string name, string? target, string? result, int value)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (!(await MetricsAsync()).Any(line => line.StartsWith(name, StringComparison.Ordinal)
            && (target is null || line.Contains($"countersign_notification_target=\"{target}\"", StringComparison.Ordinal))
            && (result is null || line.Contains($"countersign_result=\"{result}\"", StringComparison.Ordinal))
            && System.Text.RegularExpressions.Regex.IsMatch(line, $@"}}?\s{value}(\s|$)")))
        {
            Assert.False(limit.IsCancellationRequested, $"waited in vain for {name} {target} {result} {value}: {string.Join('\n', (await MetricsAsync()).Where(line => line.Contains("notification", StringComparison.Ordinal)))}");
            await Task.Delay(50, CancellationToken.None);
        }
    }

    private List<Received> Of(string target) => [.. _received.Where(each => each.Target == target)];

    private Task Until(string target, int count) => ApprovalServer.UntilAsync(() => Of(target).Count >= count, $"{count} messages to {target}");

    private sealed record Received(string Target, string Id, string Timestamp, string Signature, byte[] Body);
}
