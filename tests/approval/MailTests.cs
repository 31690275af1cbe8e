using System.Text;
using Countersign.Approval.Contracts;
using Countersign.Approval.Notify;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Approval.Tests;

/// <summary>Mails to approvers, over a real socket.</summary>
[Trait("group", "approval")]
public sealed class MailTests
{
    [Fact]
    public async Task Approvers_get_one_each_the_requester_none_and_nobody_writes_headers()
    {
        await using var smtp = new SmtpReceiver();
        await using var server = await StartAsync(smtp, "none");
        // alice is a member and asks; bob is named by id, carol by address; the others are nobody, were disabled or aren't enrolled.
        server.Peers.Groups["dba"] = (["bob", "carol@example.com", "alice", "dave@example.com\r\nBcc: eve@example.com", "nobody", "stranger@example.com", "gone@example.com", "new"], null);
        server.Peers.Person("gone", disabled: true);
        server.Peers.Person("new", enrolled: false);
        var asked = await server.OpenAsync(server.Create() with { Reason = "because\r\nBcc: eve@example.com\r\n\r\n.\r\nMAIL FROM:<x>" });
        await ApprovalServer.UntilAsync(() => smtp.Mails.Count >= 2, "two mails");
        Assert.Equal(["RCPT TO:<bob@example.com>", "RCPT TO:<carol@example.com>"], smtp.Mails.Select(mail => mail.To).Order());
        foreach (var mail in smtp.Mails)
        {
            var end = mail.Data.IndexOf("\n\n", StringComparison.Ordinal);
            var (head, body) = (mail.Data[..end], mail.Data[end..]);
            Assert.StartsWith("MAIL FROM:<countersign@example.com>", mail.From, StringComparison.Ordinal);
            Assert.DoesNotContain("eve", head, StringComparison.Ordinal);
            Assert.Contains("Auto-Submitted: auto-generated", head, StringComparison.Ordinal);
            Assert.Contains($"Subject: Countersign: Approval needed", head, StringComparison.Ordinal);
            Assert.Contains("text/plain", head, StringComparison.Ordinal);
            var text = head.Contains("base64", StringComparison.OrdinalIgnoreCase) ? Encoding.UTF8.GetString(Convert.FromBase64String(body.Replace("\n", "", StringComparison.Ordinal)))
                : head.Contains("quoted-printable", StringComparison.OrdinalIgnoreCase) ? body.Replace("=\n", "", StringComparison.Ordinal) : body;
            Assert.Contains(asked.Link, text, StringComparison.Ordinal);
            Assert.Contains("DELETE FROM orders", text, StringComparison.Ordinal);
        }

        Assert.DoesNotContain(smtp.Commands, command => command.Contains("eve", StringComparison.Ordinal) && command.StartsWith("RCPT", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Whoever_is_enrolled_gets_one_where_that_is_the_group_at_the_address_that_their_provider_named()
    {
        await using var smtp = new SmtpReceiver();
        await using var server = await StartAsync(smtp, "none");
        server.Peers.Persons["bob"] = server.Peers.Persons["bob"] with { Name = "Bob" };
        server.Peers.Mails["bob"] = "bob.b@corp.example";
        // Neither a name nor what the provider says is an address.
        server.Peers.Persons["carol"] = server.Peers.Persons["carol"] with { Name = "Carol" };
        server.Peers.Mails["carol"] = "carol@corp.example\r\nBcc: eve@example.com";
        server.Peers.Person("gone", disabled: true);
        server.Peers.Person("new", enrolled: false);
        // alice under another account, enrolled by mistake; and one who has her address.
        server.Peers.Person("alice2");
        server.Peers.Person("alice", sameAs: ["alice2"]);
        server.Peers.Person("alice3");
        server.Peers.Mails["alice3"] = "ALICE@example.com";
        await server.OpenAsync(server.Create(allOf: [new RequestRequirement(["enrolled"], 1)]));
        await ApprovalServer.UntilAsync(() => smtp.Mails.Count >= 2, "two mails");
        await UntilIdleAsync(server);
        Assert.Equal(["RCPT TO:<bob.b@corp.example>", "RCPT TO:<dave@example.com>"], smtp.Mails.Select(mail => mail.To).Order());
    }

    [Fact]
    public async Task A_group_of_the_provider_narrows_who_gets_one_and_an_identity_service_that_is_down_loses_none()
    {
        await using var smtp = new SmtpReceiver();
        await using var server = await StartAsync(smtp, "none");
        server.Peers.Groups["dba"] = (["bob", "carol", "dave"], "oncall");
        server.Peers.Person("carol", groups: ["oncall"]);
        server.Peers.Person("dave", groups: ["Oncall", "on"]);
        server.Peers.IdentityMailsDown = true;
        await server.OpenAsync();
        await ApprovalServer.UntilAsync(() => server.Peers.MailsAsked > 0, "a question");
        Assert.Empty(smtp.Mails);
        server.Peers.IdentityMailsDown = false;
        server.Clock.Shift += TimeSpan.FromMinutes(1);
        await ApprovalServer.UntilAsync(() => !smtp.Mails.IsEmpty, "a mail");
        await UntilIdleAsync(server);
        Assert.Equal("RCPT TO:<carol@example.com>", Assert.Single(smtp.Mails).To);
    }

    [Fact]
    public async Task Nobody_mails_more_than_two_hundred_and_it_is_said_who_is_left_out()
    {
        await using var smtp = new SmtpReceiver();
        await using var server = await StartAsync(smtp, "none");
        for (var number = 0; number < 202; number++)
        {
            server.Peers.Person($"p{number}");
        }

        // bob, carol and dave too.
        await server.OpenAsync(server.Create(allOf: [new RequestRequirement(["enrolled"], 1)]));
        await ApprovalServer.UntilAsync(() => server.Audits.Any(audit => audit.Action == "notification.dropped"), "an audit event");
        Assert.Equal("5 recipients beyond 200", server.Audits.Single(audit => audit.Action == "notification.dropped").Details["error"]);
        await ApprovalServer.UntilAsync(() => smtp.Mails.Count >= 200, "200 mails");
        await UntilIdleAsync(server);
        Assert.Equal(200, smtp.Mails.Select(mail => mail.To).Distinct().Count());
        Assert.Equal(200, smtp.Mails.Count);
    }

    [Theory]
    [InlineData("GREETING", "no answer in time")]
    [InlineData("EHLO", "no answer in time")]
    [InlineData("DATA", "no answer in time")]
    [InlineData("QUIT", null)]
    public async Task A_server_that_hangs_is_left_and_a_mail_that_it_took_is_not_sent_again(string silent, string? error)
    {
        await using var smtp = new SmtpReceiver { Silent = silent };
        var delivery = await DeliverAsync(smtp, new MailOptions { TimeoutSeconds = error is null ? 20 : 1 });
        Assert.Equal((error, false), (delivery.Error, delivery.Final));
        Assert.Equal(error is null ? 1 : 0, smtp.Mails.Count);
    }

    [Fact]
    public async Task A_server_that_never_stops_talking_is_cut_off()
    {
        await using var smtp = new SmtpReceiver { Endless = true };
        Assert.Equal("no connection", (await DeliverAsync(smtp, new MailOptions())).Error);
    }

    [Fact]
    public async Task What_a_server_cant_do_is_called_by_its_name()
    {
        await using var smtp = new SmtpReceiver();
        Assert.Equal(new Delivery("the server takes no such address") { Final = true }, await DeliverAsync(smtp, new MailOptions(), "jörg@example.com"));
        var file = Path.GetTempFileName();
        Assert.Equal(new Delivery("the server offers no login"), await DeliverAsync(smtp, new MailOptions { User = "me", PasswordFile = file }));
        File.Delete(file);
        Assert.Equal(new Delivery("the server offers no STARTTLS"), await DeliverAsync(smtp, new MailOptions(), tls: true));
        Assert.Empty(smtp.Mails);
    }

    [Fact]
    public async Task Without_TLS_nothing_is_said()
    {
        await using var smtp = new SmtpReceiver();
        await using var server = await StartAsync(smtp, "starttls");
        server.Peers.Groups["dba"] = (["carol@example.com"], null);
        await server.OpenAsync();
        await ApprovalServer.UntilAsync(() => smtp.Commands.Any(command => command.StartsWith("EHLO", StringComparison.Ordinal)), "a greeting");
        server.Clock.Shift += TimeSpan.FromHours(2);
        await ApprovalServer.UntilAsync(() => server.Audits.Any(audit => audit.Action == "notification.dead"), "an audit event");
        Assert.Equal("the server offers no STARTTLS", server.Audits.First(audit => audit.Action == "notification.dead").Details["error"]);
        Assert.Empty(smtp.Mails);
        Assert.DoesNotContain(smtp.Commands, command => command.StartsWith("MAIL", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_recipient_that_there_is_not_is_a_dead_letter_at_once()
    {
        await using var smtp = new SmtpReceiver { Recipient = "550 nobody" };
        await using var server = await StartAsync(smtp, "none");
        server.Peers.Groups["dba"] = (["carol@example.com"], null);
        var asked = await server.OpenAsync();
        await ApprovalServer.UntilAsync(() => server.Audits.Any(audit => audit.Action == "notification.dead"), "an audit event");
        using var listed = await server.SendAsync(HttpMethod.Get, "/approval/v1/notifications/dead", server.Peers.Token("bob"));
        var dead = Assert.Single((await ApprovalServer.ReadAsync<DeadNotifications>(listed)).Items);
        Assert.Equal(("mail", 1, "status 550"), (dead.Target, dead.Attempts, dead.Error));
        // Names the recipient by a hash, not by the address.
        Assert.Matches($"^{asked.Id}:1:mail:[0-9a-f]{{16}}$", dead.Id);
    }

    // Nothing waits any more: who hasn't got a mail by now gets none.
    private static Task UntilIdleAsync(ApprovalServer server) => ApprovalServer.UntilAsync(
        () => !server.Services.GetRequiredKeyedService<IStateStore>(AppIds.Approval).ListAsync("notifications", default).ToBlockingEnumerable().Any(), "an empty queue");

    private static async Task<Delivery> DeliverAsync(SmtpReceiver smtp, MailOptions options, string to = "bob@example.com", bool tls = false)
    {
        (options.Host, options.Port, options.From) = ("127.0.0.1", smtp.Port, "countersign@example.com");
        options.Security = tls ? "starttls" : "none";
        var notification = Sample.Notification with { Link = "https://countersign.example/" };
        var message = new QueuedNotification
        {
            Id = "apr_a:1:mail:0",
            Target = "mail",
            Recipient = to,
            Notification = notification,
            CreatedAt = DateTimeOffset.UnixEpoch,
            NextAt = DateTimeOffset.UnixEpoch,
        };
        return await new MailTarget(options, null!, TimeProvider.System).DeliverAsync(message, default);
    }

    private static Task<ApprovalServer> StartAsync(SmtpReceiver smtp, string security) => ApprovalServer.StartAsync(new()
    {
        ["Countersign:Approval:Notify:GiveUpHours"] = "1",
        ["Countersign:Approval:Notify:Mail:Host"] = "127.0.0.1",
        ["Countersign:Approval:Notify:Mail:Port"] = smtp.Port.ToString(System.Globalization.CultureInfo.InvariantCulture),
        ["Countersign:Approval:Notify:Mail:Security"] = security,
        ["Countersign:Approval:Notify:Mail:From"] = "countersign@example.com",
    });
}
