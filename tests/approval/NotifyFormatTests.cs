using System.Net;
using System.Text;
using System.Text.Json;
using Countersign.Approval.Notify;
using CsCheck;

namespace Countersign.Approval.Tests;

/// <summary>What leaves the process for receivers outside, frozen; and the pure rules around it.</summary>
[Trait("group", "unit")]
public sealed class NotifyFormatTests
{
    private static readonly Notification Opened = new()
    {
        Event = "request.opened",
        At = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero),
        Request = "apr_a",
        Version = 1,
        Kind = "operation",
        State = "pending",
        Requester = new NotifiedPerson("per_alice", "alice@example.com"),
        Connection = "shop",
        Database = "shop",
        Rules = ["production/no-delete"],
        Reason = Excerpts.Of("ticket 7\nAsked by: the boss", Excerpts.MaxSentence),
        Needs = [new NotifiedRequirement(["dba", "ops"], 1)],
        Statements = [Excerpts.Of("DELETE FROM a WHERE b < 1 AND c = '<!channel>' -- \u202E", Excerpts.MaxStatement)],
        MoreStatements = 2,
        ExpiresAt = new DateTimeOffset(2026, 1, 2, 3, 34, 5, TimeSpan.Zero),
        Link = "https://countersign.example/approval/requests/apr_a",
    };

    [Fact]
    public void The_json_body_is_frozen() => Assert.Equal(
        """{"type":"request.opened","timestamp":"2026-01-02T03:04:05+00:00","data":{"request":"apr_a","version":1,"kind":"operation","state":"pending","requester":{"person":"per_alice","name":"alice@example.com"},"connection":"shop","database":"shop","rules":["production/no-delete"],"reason":{"text":"ticket 7\nAsked by: the boss","moreCharacters":0},"comment":{"text":"","moreCharacters":0},"needs":[{"anyOf":["dba","ops"],"quorum":1}],"statements":[{"text":"DELETE FROM a WHERE b \u003C 1 AND c = \u0027\u003C!channel\u003E\u0027 -- \u27E6U\u002B202E\u27E7","moreCharacters":0}],"moreStatements":2,"expiresAt":"2026-01-02T03:34:05+00:00","link":"https://countersign.example/approval/requests/apr_a"}}""",
        Encoding.UTF8.GetString(WebhookBody.Json(Opened, statements: true)));

    [Fact]
    public void The_slack_body_is_frozen() => Assert.Equal(
        """{"text":"Approval needed: alice@example.com on shop https://countersign.example/approval/requests/apr_a","mrkdwn":false,"blocks":[{"type":"header","text":{"type":"plain_text","text":"Approval needed","emoji":false}},{"type":"section","text":{"type":"plain_text","text":"Asked by: alice@example.com\nKind: operation\nState: pending\nConnection: shop\nDatabase: shop\nReason: ticket 7\n    Asked by: the boss\nRules: production/no-delete\nNeeds: 1 of dba or ops\nExpires: 2026-01-02 03:34:05 UTC","emoji":false}},{"type":"section","text":{"type":"plain_text","text":"DELETE FROM a WHERE b \u0026lt; 1 AND c = \u0027\u0026lt;!channel\u0026gt;\u0027 -- \u27E6U\u002B202E\u27E7","emoji":false}},{"type":"section","text":{"type":"plain_text","text":"(2 more statements: open the request to see them)","emoji":false}},{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"Open the request","emoji":false},"url":"https://countersign.example/approval/requests/apr_a"}]}]}""",
        Encoding.UTF8.GetString(WebhookBody.Slack(Opened, statements: true)));

    [Fact]
    public void The_mail_is_frozen()
    {
        Assert.Equal("Countersign: Approval needed (apr_a)", MailText.Subject(Opened));
        Assert.Equal(
            "Approval needed\n\nAsked by: alice@example.com\nKind: operation\nState: pending\nConnection: shop\nDatabase: shop\nReason: ticket 7\n    Asked by: the boss\n"
            + "Rules: production/no-delete\nNeeds: 1 of dba or ops\nExpires: 2026-01-02 03:34:05 UTC\n\n    DELETE FROM a WHERE b < 1 AND c = '<!channel>' -- ⟦U+202E⟧\n"
            + "\n(2 more statements: open the request)\n\nOpen it (you will be asked to log in):\nhttps://countersign.example/approval/requests/apr_a\n",
            MailText.Body(Opened, statements: true));
    }

    [Fact]
    public void Without_statements_nothing_of_them_is_in_it_and_their_number_is()
    {
        Assert.Equal(3, JsonDocument.Parse(WebhookBody.Json(Opened, statements: false)).RootElement.GetProperty("data").GetProperty("moreStatements").GetInt32());
        foreach (var body in new[] { Encoding.UTF8.GetString(WebhookBody.Json(Opened, false)), Encoding.UTF8.GetString(WebhookBody.Slack(Opened, false)), MailText.Body(Opened, false) })
        {
            Assert.DoesNotContain("DELETE", body, StringComparison.Ordinal);
        }

        Assert.Contains("(3 statements", MailText.Body(Opened, false), StringComparison.Ordinal);
        Assert.Contains("(3 statements", Encoding.UTF8.GetString(WebhookBody.Slack(Opened, false)), StringComparison.Ordinal);
    }

    [Fact]
    public void The_signature_is_that_of_Standard_Webhooks()
    {
        // The example of the specification's own libraries.
        var secrets = WebhookSignature.Secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")!;
        Assert.Equal("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", WebhookSignature.Sign(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}"u8));
        Assert.Equal(2, WebhookSignature.Sign([.. secrets, new byte[24]], "a", 1, "b"u8).Split(' ').Length);
        Assert.Null(WebhookSignature.Secrets(""));
        Assert.Null(WebhookSignature.Secrets("whsec_MfKQ"));
        Assert.Null(WebhookSignature.Secrets("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    }

    [Fact]
    public void Excerpts_count_what_they_leave_out_and_cut_no_character() =>
        Gen.Select(Gen.String[Gen.Char["ab\u202E\u200B\n\uD800\uDC00⟦"], 0, 200], Gen.Int[0, 100]).Sample((text, max) =>
        {
            var whole = Excerpts.Of(text, int.MaxValue);
            var part = Excerpts.Of(text, max);
            Assert.Equal(0, whole.MoreCharacters);
            Assert.StartsWith(part.Text, whole.Text, StringComparison.Ordinal);
            Assert.Equal(whole.Text.Length, part.Text.Length + part.MoreCharacters);
            Assert.True(part.Text.Length <= max);
            Assert.Equal(part.Text.Count(each => each == '⟦'), part.Text.Count(each => each == '⟧'));
            Assert.True(part.Text.Length == 0 || !char.IsHighSurrogate(part.Text[^1]));
            Assert.Equal(part.MoreCharacters == 0, Excerpts.Noted(part) == part.Text);
        });

    [Fact]
    public void No_text_of_a_slack_body_is_longer_than_slack_takes_and_none_is_cut_in_silence()
    {
        var large = Opened with { Statements = [Excerpts.Of(new string('&', 9_000), Excerpts.MaxStatement)], Reason = Excerpts.Of(new string('<', 9_000), Excerpts.MaxSentence) };
        var blocks = JsonDocument.Parse(WebhookBody.Slack(large, true)).RootElement.GetProperty("blocks").EnumerateArray().ToList();
        var texts = blocks.Where(block => block.TryGetProperty("text", out _)).Select(block => block.GetProperty("text").GetProperty("text").GetString()!).ToList();
        Assert.All(texts, text => Assert.InRange(text.Length, 1, 3_000));
        Assert.Contains(texts, text => text.StartsWith("&amp;", StringComparison.Ordinal) && text.EndsWith(" … (8420 more characters)", StringComparison.Ordinal));
        Assert.Contains(texts, text => text.Contains("(8500 more characters)", StringComparison.Ordinal));
    }

    [Fact]
    public void Retries_come_later_each_time_are_spread_and_end()
    {
        var schedule = new RetrySchedule(TimeSpan.FromHours(24));
        var now = DateTimeOffset.UnixEpoch;
        Assert.Equal(TimeSpan.FromSeconds(2.5), schedule.Next(1, now, now, null, 0) - now);
        Assert.Equal(TimeSpan.FromSeconds(5), schedule.Next(1, now, now, null, 1) - now);
        Assert.Equal(TimeSpan.FromSeconds(40), schedule.Next(4, now, now, null, 1) - now);
        Assert.Equal(TimeSpan.FromHours(1), schedule.Next(1_000, now, now, null, 1) - now);
        Assert.Equal(TimeSpan.FromMinutes(2), schedule.Next(1, now, now, TimeSpan.FromMinutes(2), 0) - now);
        Assert.Equal(TimeSpan.FromHours(1), schedule.Next(1, now, now, TimeSpan.FromDays(2), 0) - now);
        Assert.Null(schedule.Next(30, now, now.AddHours(23.5), null, 1));
        Assert.NotNull(schedule.Next(30, now, now.AddHours(22.5), null, 1));
    }

    [Theory]
    [InlineData("127.0.0.1", true, false, true)]
    [InlineData("127.0.0.1", false, true, false)]
    [InlineData("::ffff:127.0.0.1", false, true, false)]
    [InlineData("::1", false, true, false)]
    [InlineData("169.254.169.254", true, true, false)]
    [InlineData("fe80::1", true, true, false)]
    [InlineData("0.0.0.0", true, true, false)]
    [InlineData("::", true, true, false)]
    [InlineData("224.0.0.1", true, true, false)]
    [InlineData("10.1.2.3", false, false, false)]
    [InlineData("10.1.2.3", false, true, true)]
    [InlineData("172.31.0.1", false, false, false)]
    [InlineData("172.32.0.1", false, false, true)]
    [InlineData("192.168.0.1", false, false, false)]
    [InlineData("100.64.0.1", false, false, false)]
    [InlineData("fd00::1", false, false, false)]
    [InlineData("fd00::1", false, true, true)]
    [InlineData("64:ff9b::a01:203", false, false, false)]
    [InlineData("93.184.216.34", false, false, true)]
    [InlineData("2606:2800:220:1::1", false, false, true)]
    public void Addresses_that_may_be_told(string address, bool loopback, bool privateNetwork, bool may) =>
        Assert.Equal(may, WebhookTarget.MayTell(IPAddress.Parse(address), loopback, privateNetwork));

    [Theory]
    [InlineData("alice@example.com", true)]
    [InlineData("alice@example.com\r\nBcc: eve@example.com", false)]
    [InlineData("alice@example.com,eve@example.com", false)]
    [InlineData("Alice <alice@example.com>", false)]
    [InlineData("alice", false)]
    [InlineData("\"a b\"@example.com", false)]
    public void Mail_addresses(string address, bool good) => Assert.Equal(good, NotifyOptionsCheck.IsMailAddress(address));

    [Theory]
    [InlineData("https://hooks.example/x", true)]
    [InlineData("http://hooks.example/x", false)]
    [InlineData("http://127.0.0.1:8080/x", true)]
    [InlineData("http://127.0.0.1.example/x", false)]
    [InlineData("https://user:secret@hooks.example/x", false)]
    [InlineData("file:///etc/passwd", false)]
    [InlineData("/x", false)]
    public void Addresses_of_webhooks(string url, bool good) => Assert.Equal(good, NotifyOptionsCheck.Address(url) is not null);

    [Fact]
    public void Everything_that_is_wrong_is_said_at_once_and_no_secret_with_it()
    {
        var options = new NotifyOptions { GiveUpHours = 0 };
        options.Webhooks.Add(new WebhookOptions { Name = "A b", Url = "http://hooks.example/secret", Kind = "teams" });
        options.Webhooks[0].Events.Add("request.nothing");
        options.Mail = new MailOptions { Host = "mail.example", Security = "none", From = "x", User = "me" };
        var errors = NotifyOptionsCheck.Errors(options, ["request.opened"]).ToList();
        Assert.DoesNotContain(errors, error => error.Contains("hooks.example", StringComparison.Ordinal));
        foreach (var part in new[] { "GiveUpHours", "0:Name", "0:Url", "0:Kind", "0:SecretFile", "0:Events", "Mail:Security", "Mail:From", "Mail:User" })
        {
            Assert.Contains(errors, error => error.Contains(part, StringComparison.Ordinal));
        }

        Assert.Equal(9, errors.Count);
        Assert.Empty(NotifyOptionsCheck.Errors(new NotifyOptions(), []));
    }
}
