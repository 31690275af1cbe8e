using System.Net;
using System.Text;
using Countersign.Approval.Notify;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Tests;

/// <summary>Mail through a real server (Exim): TLS, login, and what somebody in between can do.</summary>
[Trait("group", "approval")]
public sealed class MailServerTests(EximServer exim) : IClassFixture<EximServer>
{
    private static int _number;

    public static TheoryData<string> Ways => ["starttls", "tls"];

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task A_mail_arrives_over_TLS_after_a_login_whole_and_with_no_header_of_a_requester(string security)
    {
        var to = Address();
        var statement = "UPDATE äpfel SET größe = '日本語' WHERE x = 'a\r\nBcc: eve@example.com\r\n\r\n.\r\nRCPT TO:<eve@example.com>\r\n' -- " + new string('x', 1_500);
        var message = Message(to) with { Notification = Notification with { Statements = [Excerpts.Of(statement, Excerpts.MaxStatement)], Requester = new NotifiedPerson("per_a", Excerpts.Name("ålice\r\nCc: eve@example.com")) } };
        Assert.Null((await SendAsync(Options(security), message)).Error);
        await ApprovalServer.UntilAsync(() => exim.Mails(to).Count == 1, "a mail");
        var mail = exim.Mails(to).Single();
        Assert.Equal((to, "countersign@example.com", "Countersign: Approval needed (apr_a)"), (mail.To.ToString(), mail.From.Mailboxes.Single().Address, mail.Subject));
        Assert.Empty(mail.Cc);
        Assert.Empty(mail.Bcc);
        Assert.DoesNotContain(mail.Headers, header => header.Field.StartsWith("Cc", StringComparison.OrdinalIgnoreCase) || header.Value.Contains("eve", StringComparison.Ordinal));
        Assert.Equal(MailText.Body(message.Notification, true), mail.TextBody!.ReplaceLineEndings("\n"));
        Assert.Contains("größe = '日本語'", mail.TextBody, StringComparison.Ordinal);
        Assert.Contains(new string('x', 1_500), mail.TextBody, StringComparison.Ordinal);
        // "esmtpsa" is Exim's word for: over TLS, after a login (RFC 3848).
        Assert.Contains("with esmtpsa", mail.Headers["Received"], StringComparison.Ordinal);
        Assert.Equal("auto-generated", mail.Headers["Auto-Submitted"]);
        // RFC 5322 section 2.1.1: no line is longer than 998.
        Assert.All(Encoding.Latin1.GetString(exim.Raw(to).Single()).Split('\n'), line => Assert.InRange(line.TrimEnd('\r').Length, 0, 998));
        Assert.Empty(exim.Mails("eve@example.com"));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task A_wrong_password_is_a_failure_that_may_pass(string security)
    {
        var (to, file) = (Address(), Path.GetTempFileName());
        await File.WriteAllTextAsync(file, "wrong");
        var options = Options(security);
        options.PasswordFile = file;
        Assert.Equal(new Delivery("the login was refused"), await SendAsync(options, Message(to)));
        options.PasswordFile = file + "-gone";
        Assert.Equal(new Delivery("a file can't be read"), await SendAsync(options, Message(to)));
        // Without a login this server takes nothing; that isn't the message's fault.
        (options.User, options.PasswordFile) = ("", "");
        Assert.Equal("status 550", (await SendAsync(options, Message(to))).Error);
        File.Delete(file);
        Assert.Empty(exim.Mails(to));
    }

    [Theory]
    [InlineData("localhost", "other", "the server's certificate is not trusted")]
    [InlineData("localhost", "", "the server's certificate is not trusted")]
    [InlineData("127.0.0.1", "own", "the server's certificate is for another name")]
    [InlineData("localhost", "gone", "CaFile can't be read")]
    public async Task Who_cant_prove_to_be_the_server_is_told_nothing(string host, string authority, string error)
    {
        foreach (var (security, port) in new[] { ("starttls", exim.Port), ("tls", exim.TlsPort) })
        {
            await using var relay = new MailRelay(port, line => line);
            var options = Options(security);
            (options.Host, options.CaFile) = (host, authority switch { "own" => exim.AuthorityFile, "other" => exim.OtherAuthorityFile, "gone" => exim.AuthorityFile + "-gone", _ => "" });
            options.Port = security == "tls" ? port : relay.Port;
            var to = Address();
            Assert.Equal(new Delivery(error), await SendAsync(options, Message(to)));
            Assert.All(relay.Clear, said => Assert.Matches("^(EHLO .*|STARTTLS|QUIT)$", said));
            Assert.Empty(exim.Mails(to));
        }
    }

    [Fact]
    public async Task Whoever_takes_STARTTLS_away_on_the_way_is_told_nothing()
    {
        await using var relay = new MailRelay(exim.Port, line => line.Contains("STARTTLS", StringComparison.Ordinal) ? null : line);
        var options = Options("starttls");
        options.Port = relay.Port;
        var to = Address();
        Assert.Equal(new Delivery("the server offers no STARTTLS"), await SendAsync(options, Message(to)));
        Assert.All(relay.Clear, said => Assert.Matches("^(EHLO .*|QUIT)$", said));
        Assert.NotEmpty(relay.Clear);
        Assert.Empty(exim.Mails(to));
    }

    [Fact]
    public async Task Words_put_in_before_TLS_begins_are_not_taken_for_the_servers()
    {
        await using var relay = new MailRelay(exim.Port, line => line.StartsWith("220 TLS", StringComparison.Ordinal) ? line + "\r\n250-AUTH LOGIN\r\n250 ok" : line);
        var options = Options("starttls");
        options.Port = relay.Port;
        var to = Address();
        var delivery = await SendAsync(options, Message(to));
        Assert.All(relay.Clear, said => Assert.Matches("^(EHLO .*|STARTTLS|QUIT)$", said));
        // Either it goes on with what the server itself says, or not at all.
        if (delivery.Error is null)
        {
            await ApprovalServer.UntilAsync(() => exim.Mails(to).Count == 1, "a mail");
        }
        else
        {
            Assert.False(delivery.Final);
        }
    }

    [Fact]
    public async Task What_the_server_puts_off_is_tried_again_and_what_it_refuses_is_not()
    {
        Assert.Equal(new Delivery("status 451"), await SendAsync(Options("starttls"), Message("later@example.com")));
        Assert.Equal(new Delivery("status 550") { Final = true }, await SendAsync(Options("starttls"), Message("nobody@example.com")));
        var options = Options("starttls");
        options.Port = EximServer.FreePort();
        Assert.Equal(new Delivery("no connection"), await SendAsync(options, Message(Address())));
    }

    [Fact]
    public async Task A_certificate_is_refused_that_was_revoked_or_whose_revocation_cant_be_checked()
    {
        byte[]? list = null;
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        await using var web = builder.Build();
        web.MapGet("/{name}", () => list is null ? Results.NotFound() : Results.Bytes(list, "application/pkix-crl"));
        await web.StartAsync();
        async Task<Delivery> TryAsync(Func<EximServer, byte[]?> choose, string name, string to)
        {
            // The system keeps lists by their address: each has one of its own.
            var server = new EximServer { RevocationList = new Uri($"{web.Urls.Single()}/{name}-{Guid.NewGuid():N}.crl") };
            await server.InitializeAsync();
            await using (server)
            {
                list = choose(server);
                var options = Options("starttls", server);
                options.CheckRevocation = true;
                var delivery = await SendAsync(options, Message(to));
                if (delivery.Error is null)
                {
                    await ApprovalServer.UntilAsync(() => server.Mails(to).Count == 1, "a mail");
                }

                return delivery;
            }
        }

        Assert.Null((await TryAsync(server => server.RevocationListBytes, "good", Address())).Error);
        Assert.Equal(new Delivery("the server's certificate was revoked"), await TryAsync(server => server.RevokedListBytes, "revoked", Address()));
        Assert.Equal(new Delivery("the revocation of the server's certificate can't be checked"), await TryAsync(_ => null, "none", Address()));
    }

    private static readonly Notification Notification = Sample.Notification with { Requester = new NotifiedPerson("per_a", "alice@example.com") };

    private static string Address() => $"approver{Interlocked.Increment(ref _number)}@example.com";

    private static QueuedNotification Message(string to) => new()
    {
        Id = "apr_a:1:mail:" + to.Length,
        Target = "mail",
        Recipient = to,
        Notification = Notification,
        CreatedAt = DateTimeOffset.UnixEpoch,
        NextAt = DateTimeOffset.UnixEpoch,
    };

    private MailOptions Options(string security, EximServer? server = null) => new()
    {
        Host = "localhost",
        Port = security == "tls" ? (server ?? exim).TlsPort : (server ?? exim).Port,
        Security = security,
        From = "countersign@example.com",
        CaFile = (server ?? exim).AuthorityFile,
        // Its certificate names no list.
        CheckRevocation = false,
        User = EximServer.User,
        PasswordFile = (server ?? exim).PasswordFile,
    };

    private static async Task<Delivery> SendAsync(MailOptions options, QueuedNotification message) =>
        await new MailTarget(options, new Nobody(), TimeProvider.System).DeliverAsync(message, default);

    private sealed class Nobody : IApproverAddresses
    {
        public ValueTask<IReadOnlyList<string>> OfAsync(IReadOnlyCollection<string> groups, NotifiedPerson requester, CancellationToken cancellation) => ValueTask.FromResult<IReadOnlyList<string>>([]);
    }
}
