using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using MimeKit;

namespace Countersign.Approval.Tests;

/// <summary>One text, every surface on which approvers see it: the same everywhere, whole or counted, and never markup, mention or escape sequence of its own.</summary>
[Trait("group", "approval")]
public sealed class SurfaceTests(Surfaces surfaces) : IClassFixture<Surfaces>
{
    /// <summary>The table (tests/corpus/visible-text.jsonl); the CLI and psql are tried with it where they are.</summary>
    public static TheoryData<string, string, string> Table => [.. File.ReadLines(Path.Combine(AppContext.BaseDirectory, "corpus", "visible-text.jsonl"))
        .Select(line => JsonDocument.Parse(line).RootElement)
        .Select(each => (each.GetProperty("name").GetString()!, each.GetProperty("text").GetString()!, each.GetProperty("visible").GetString()!))];

    [Theory]
    [MemberData(nameof(Table))]
    public async Task A_text_is_the_same_everywhere(string name, string text, string visible)
    {
        Assert.NotEmpty(name);
        // As a statement, as the reason and as what is in a comment.
        var (asked, server) = (await surfaces.OpenAsync(text, reason: "because " + text), surfaces.Server);
        var html = HtmlEncoder.Default.Encode(visible).Replace("&#xA;", "\n", StringComparison.Ordinal).Replace("&#x9;", "\t", StringComparison.Ordinal)
            .Replace("&#x27E6;", "<mark>&#x27E6;", StringComparison.Ordinal).Replace("&#x27E7;", "&#x27E7;</mark>", StringComparison.Ordinal);
        foreach (var page in new[] { $"/approval/requests/{asked.Id}", "/approval/inbox" })
        {
            var shown = await surfaces.PageAsync(page);
            Assert.Contains($">{html}</pre>", shown, StringComparison.Ordinal);
            Assert.Contains($"because {html}", shown, StringComparison.Ordinal);
            Assert.DoesNotContain(shown, each => char.IsControl(each) && each is not ('\n' or '\t' or '\r'));
            Assert.DoesNotContain("<script", shown, StringComparison.OrdinalIgnoreCase);
        }

        // For programs the exact text, in JSON that holds no bare control character.
        using (var response = await server.SendAsync(HttpMethod.Get, "/approval/v1/inbox", server.Peers.Token("bob")))
        {
            var inbox = await ApprovalServer.ReadAsync<InboxView>(response);
            Assert.Equal(text, inbox.Items.Single(item => item.Request.Id == asked.Id).Request.Operations[0].Text);
        }

        var json = JsonDocument.Parse(await surfaces.MessageAsync("json", asked.Id)).RootElement.GetProperty("data");
        Assert.Equal((visible, 0), (json.GetProperty("statements")[0].GetProperty("text").GetString(), json.GetProperty("statements")[0].GetProperty("moreCharacters").GetInt32()));
        Assert.Equal("because " + visible.Trim(), json.GetProperty("reason").GetProperty("text").GetString());

        // Slack takes three characters as its own, and reads nothing else in plain_text.
        var blocks = JsonDocument.Parse(await surfaces.MessageAsync("slack", asked.Id)).RootElement.GetProperty("blocks").EnumerateArray().ToList();
        Assert.Contains(blocks, block => block.GetProperty("type").GetString() == "section" && Unescape(block.GetProperty("text").GetProperty("text").GetString()!) == visible);
        Assert.All(blocks.Where(block => block.TryGetProperty("text", out _)), block =>
        {
            Assert.Equal(("plain_text", false), (block.GetProperty("text").GetProperty("type").GetString(), block.GetProperty("text").GetProperty("emoji").GetBoolean()));
            Assert.DoesNotMatch("[<>]|&(?!amp;|lt;|gt;)", block.GetProperty("text").GetProperty("text").GetString()!);
        });

        var mail = await surfaces.MailAsync(asked.Id);
        Assert.Contains("\n    " + visible.Replace("\n", "\n    ", StringComparison.Ordinal) + "\n", mail, StringComparison.Ordinal);
        Assert.Contains($"\nReason: because {visible.Replace("\n", "\n    ", StringComparison.Ordinal)}\n", mail, StringComparison.Ordinal);
        Assert.DoesNotContain(mail, each => char.IsControl(each) && each is not ('\n' or '\t'));
    }

    [Fact]
    public async Task What_is_too_long_for_a_message_is_counted_and_whole_on_the_page()
    {
        var text = string.Concat(Enumerable.Range(0, 3_000).Select(number => $"{number:D5} ")) + "the end";
        var asked = await surfaces.OpenAsync(text);
        foreach (var page in new[] { $"/approval/requests/{asked.Id}", "/approval/inbox" })
        {
            Assert.Contains($">{text}</pre>", await surfaces.PageAsync(page), StringComparison.Ordinal);
        }

        var statement = JsonDocument.Parse(await surfaces.MessageAsync("json", asked.Id)).RootElement.GetProperty("data").GetProperty("statements")[0];
        Assert.Equal((text[..2_000], text.Length - 2_000), (statement.GetProperty("text").GetString(), statement.GetProperty("moreCharacters").GetInt32()));
        var note = $" … ({text.Length - 2_000} more characters)";
        Assert.Contains(
            JsonDocument.Parse(await surfaces.MessageAsync("slack", asked.Id)).RootElement.GetProperty("blocks").EnumerateArray(),
            block => block.TryGetProperty("text", out var section) && section.GetProperty("text").GetString() == text[..2_000] + note);
        Assert.Contains($"    {text[..2_000]}{note}\n", await surfaces.MailAsync(asked.Id), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\\ud800")]
    [InlineData("x\\udc00y")]
    public async Task Half_a_character_is_no_text(string half)
    {
        var server = surfaces.Server;
        var body = JsonSerializer.Serialize(server.Create(), ApprovalServer.Json).Replace("DELETE FROM orders", "DELETE FROM orders" + half, StringComparison.Ordinal);
        using var request = new HttpRequestMessage(HttpMethod.Post, "/approval/v1/requests") { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", server.Service("proxy"));
        using var response = await server.Http.SendAsync(request);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
    }

    private static string Unescape(string text) => text.Replace("&lt;", "<", StringComparison.Ordinal).Replace("&gt;", ">", StringComparison.Ordinal).Replace("&amp;", "&", StringComparison.Ordinal);
}

/// <summary>A service that tells two webhooks and a mail server, and bob who looks at its pages.</summary>
public sealed class Surfaces : IAsyncLifetime
{
    private readonly ConcurrentDictionary<string, byte[]> _messages = new();
    private readonly SmtpReceiver _smtp = new();
    private readonly string _folder = Directory.CreateTempSubdirectory("cs-surfaces-").FullName;
    private WebApplication _receiver = null!;
    private PageTests.Browser _browser = null!;

    public ApprovalServer Server { get; private set; } = null!;

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
            _messages[http.Request.Headers["webhook-id"].ToString()] = body.ToArray();
        });
        await _receiver.StartAsync();
        await File.WriteAllTextAsync(Path.Combine(_folder, "secret"), "whsec_" + Convert.ToBase64String(new byte[32]));
        const string Notify = "Countersign:Approval:Notify:";
        Server = await ApprovalServer.StartAsync(new()
        {
            ["Countersign:Approval:MaxPending"] = "100",
            [Notify + "Webhooks:0:Name"] = "json",
            [Notify + "Webhooks:0:Url"] = $"{_receiver.Urls.Single()}/json",
            [Notify + "Webhooks:0:SecretFile"] = Path.Combine(_folder, "secret"),
            [Notify + "Webhooks:1:Name"] = "slack",
            [Notify + "Webhooks:1:Kind"] = "slack",
            [Notify + "Webhooks:1:Url"] = $"{_receiver.Urls.Single()}/slack",
            [Notify + "Mail:Host"] = "127.0.0.1",
            [Notify + "Mail:Port"] = _smtp.Port.ToString(System.Globalization.CultureInfo.InvariantCulture),
            [Notify + "Mail:Security"] = "none",
            [Notify + "Mail:From"] = "countersign@example.com",
        });
        Server.Peers.Groups["dba"] = (["bob"], null);
        _browser = new PageTests.Browser(Server);
        await _browser.LogInAsync("/approval/inbox", "bob");
    }

    public Task<RequestView> OpenAsync(string statement, string reason = "") =>
        Server.OpenAsync(Server.Create() with { Operations = [new RequestedOperation(Server.Digest(), statement, [])], Reason = reason });

    public async Task<string> PageAsync(string path)
    {
        using var response = await _browser.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return await response.Content.ReadAsStringAsync();
    }

    public async Task<byte[]> MessageAsync(string target, string request)
    {
        await ApprovalServer.UntilAsync(() => _messages.ContainsKey($"{request}:1:{target}"), "a message");
        return _messages[$"{request}:1:{target}"];
    }

    /// <summary>The text of the mail about a request.</summary>
    public async Task<string> MailAsync(string request)
    {
        await ApprovalServer.UntilAsync(() => _smtp.Mails.Any(mail => mail.Data.Contains(request, StringComparison.Ordinal)), "a mail");
        using var data = new MemoryStream(Encoding.UTF8.GetBytes(_smtp.Mails.First(mail => mail.Data.Contains(request, StringComparison.Ordinal)).Data));
        return (await MimeMessage.LoadAsync(data)).TextBody!.ReplaceLineEndings("\n");
    }

    public async ValueTask DisposeAsync()
    {
        _browser.Dispose();
        await Server.DisposeAsync();
        await _receiver.DisposeAsync();
        await _smtp.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }
}
