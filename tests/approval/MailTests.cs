using System.Text;
using Countersign.Approval.Contracts;

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
        // alice is a member and asks; bob is named by id, carol by address; the others are no address.
        server.Peers.Groups["dba"] = (["bob", "carol@example.com", "alice", "dave@example.com\r\nBcc: eve@example.com", "nobody"], null);
        server.Peers.Persons["bob"] = server.Peers.Persons["bob"] with { Name = "bob@example.com" };
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

    private static Task<ApprovalServer> StartAsync(SmtpReceiver smtp, string security) => ApprovalServer.StartAsync(new()
    {
        ["Countersign:Approval:Notify:GiveUpHours"] = "1",
        ["Countersign:Approval:Notify:Mail:Host"] = "127.0.0.1",
        ["Countersign:Approval:Notify:Mail:Port"] = smtp.Port.ToString(System.Globalization.CultureInfo.InvariantCulture),
        ["Countersign:Approval:Notify:Mail:Security"] = security,
        ["Countersign:Approval:Notify:Mail:From"] = "countersign@example.com",
    });
}
