using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using MimeKit;

namespace Countersign.Approval.Tests;

/// <summary>
/// A real mail server: Exim from Debian's package, as an unprivileged user on two loopback ports (587's and 465's kind), with a configuration, certificate and
/// folder of its own. Offers AUTH over TLS only, takes mail from who has logged in only, and delivers everything into files.
/// </summary>
public sealed class EximServer : IAsyncLifetime
{
    public const string User = "countersign";
    public const string Password = "only-for-tests";

    private readonly string _folder = Path.Combine(Path.GetTempPath(), "cs-exim-" + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(6)));
    private Process? _process;

    /// <summary>Port that begins in plaintext.</summary>
    public int Port { get; } = FreePort();

    /// <summary>Port that begins with TLS.</summary>
    public int TlsPort { get; } = FreePort();

    /// <summary>PEM of the authority behind its certificate, which is for <c>localhost</c> and no address.</summary>
    public string AuthorityFile => Path.Combine(_folder, "ca.pem");

    /// <summary>PEM of an authority that has nothing to do with it.</summary>
    public string OtherAuthorityFile => Path.Combine(_folder, "other.pem");

    /// <summary>File with the right password.</summary>
    public string PasswordFile => Path.Combine(_folder, "password");

    /// <summary>Where a certificate's revocation list is asked for; null for a certificate that names none.</summary>
    public Uri? RevocationList { get; init; }

    /// <summary>The list itself, once it runs.</summary>
    public byte[] RevocationListBytes { get; private set; } = [];

    /// <summary>The same with its certificate in it.</summary>
    public byte[] RevokedListBytes { get; private set; } = [];

    public async ValueTask InitializeAsync()
    {
        foreach (var each in new[] { "", "spool", "mail" })
        {
            // It runs as another user where the tests run as root.
            Directory.CreateDirectory(Path.Combine(_folder, each));
            File.SetUnixFileMode(Path.Combine(_folder, each), (UnixFileMode)Convert.ToInt32(each.Length == 0 ? "755" : "777", 8));
        }

        WriteCertificates();
        await File.WriteAllTextAsync(PasswordFile, Password + "\n");
        var root = Environment.UserName == "root";
        var own = root ? ("Debian-exim", "Debian-exim") : (Environment.UserName, await RunAsync("id", "-gn"));
        var settings = Path.Combine(_folder, "exim.conf");
        await File.WriteAllTextAsync(settings, Settings(own));
        File.SetUnixFileMode(settings, (UnixFileMode)Convert.ToInt32("644", 8));
        // Fails on anything that it does not understand, before it goes to the background of the tests.
        var start = new ProcessStartInfo("/usr/sbin/exim4", ["-C", settings, "-bdf"]) { WorkingDirectory = "/tmp", RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        _process = Process.Start(start)!;
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (true)
        {
            try
            {
                using var probe = new TcpClient();
                await probe.ConnectAsync(IPAddress.Loopback, TlsPort, limit.Token);
                return;
            }
            catch (SocketException)
            {
                Assert.False(_process.HasExited, $"exim4 ended: {(_process.HasExited ? await _process.StandardError.ReadToEndAsync() + await _process.StandardOutput.ReadToEndAsync() : "")}");
                await Task.Delay(20, limit.Token);
            }
        }
    }

    /// <summary>What was delivered to an address, as it came.</summary>
    public IReadOnlyList<byte[]> Raw(string address) => [.. Directory.GetFiles(Path.Combine(_folder, "mail"), "*", SearchOption.AllDirectories)
        .Where(file => file.Contains("/new/", StringComparison.Ordinal)).Select(File.ReadAllBytes)
        .Where(mail => Parse(mail).Headers["Envelope-to"] == address)];

    /// <summary>The same, read as mail.</summary>
    public IReadOnlyList<MimeMessage> Mails(string address) => [.. Raw(address).Select(Parse)];

    public async ValueTask DisposeAsync()
    {
        if (_process is { } process)
        {
            process.Kill();
            await process.WaitForExitAsync();
            process.Dispose();
        }

        // A child may still be delivering.
        for (var attempt = 0; Directory.Exists(_folder); attempt++)
        {
            try
            {
                Directory.Delete(_folder, recursive: true);
            }
            catch (IOException) when (attempt < 50)
            {
                await Task.Delay(20);
            }
        }
    }

    public static int FreePort()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }

    private static MimeMessage Parse(byte[] mail)
    {
        using var stream = new MemoryStream(mail);
        return MimeMessage.Load(stream);
    }

    private string Settings((string User, string Group) own)
    {
        var condition = "${if and{ {eq{$auth2}{" + User + "}}{eq{$auth3}{" + Password + "}} }}";
        return string.Create(CultureInfo.InvariantCulture, $$$"""
        primary_hostname = mail.test
        exim_user = {{{own.User}}}
        exim_group = {{{own.Group}}}
        admin_groups = {{{own.Group}}}
        never_users =
        keep_environment =
        spool_directory = {{{_folder}}}/spool
        log_file_path = {{{_folder}}}/spool/%slog
        pid_file_path = {{{_folder}}}/spool/pid
        local_interfaces = 127.0.0.1
        daemon_smtp_ports = {{{Port}}} : {{{TlsPort}}}
        tls_on_connect_ports = {{{TlsPort}}}
        tls_advertise_hosts = *
        tls_certificate = {{{_folder}}}/server.pem
        tls_privatekey = {{{_folder}}}/server.key
        auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}
        acl_smtp_rcpt = rcpt
        acl_smtp_data = accept
        deliver_drop_privilege = true
        smtp_accept_max = 50
        begin acl
        rcpt:
          deny !authenticated = *
               message = log in first
          defer local_parts = later
               message = not now
          deny local_parts = nobody
               message = there is no such mailbox
          accept
        begin routers
        all:
          driver = accept
          transport = files
        begin transports
        files:
          driver = appendfile
          directory = {{{_folder}}}/mail
          create_directory
          maildir_format
          envelope_to_add
        begin authenticators
        plain:
          driver = plaintext
          public_name = PLAIN
          server_prompts = :
          server_condition = {{{condition}}}
          server_set_id = $auth2

        """);
    }

    private void WriteCertificates()
    {
        using var authorityKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var authority = Authority(authorityKey);
        using var otherKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var other = Authority(otherKey);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, false));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1")], false));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(authority, true, false));
        if (RevocationList is not null)
        {
            request.CertificateExtensions.Add(CertificateRevocationListBuilder.BuildCrlDistributionPointExtension([RevocationList.AbsoluteUri]));
        }

        byte[] serial = [0x1C, .. RandomNumberGenerator.GetBytes(8)];
        using var leaf = request.Create(authority, DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddHours(20), serial);
        var now = DateTimeOffset.UtcNow;
        RevocationListBytes = new CertificateRevocationListBuilder().Build(authority, 1, now.AddHours(1), HashAlgorithmName.SHA256, thisUpdate: now.AddMinutes(-5));
        var revoked = new CertificateRevocationListBuilder();
        revoked.AddEntry(leaf, now.AddMinutes(-4));
        RevokedListBytes = revoked.Build(authority, 2, now.AddHours(1), HashAlgorithmName.SHA256, thisUpdate: now.AddMinutes(-5));
        foreach (var (name, pem) in new[]
        {
            ("ca.pem", authority.ExportCertificatePem()), ("other.pem", other.ExportCertificatePem()), ("server.pem", leaf.ExportCertificatePem()), ("server.key", key.ExportPkcs8PrivateKeyPem()),
        })
        {
            File.WriteAllText(Path.Combine(_folder, name), pem + "\n");
            File.SetUnixFileMode(Path.Combine(_folder, name), (UnixFileMode)Convert.ToInt32("644", 8));
        }
    }

    private static X509Certificate2 Authority(ECDsa key)
    {
        var request = new CertificateRequest("CN=Countersign test authority", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddHours(-2), DateTimeOffset.UtcNow.AddDays(1));
    }

    private static async Task<string> RunAsync(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return output.Trim();
    }
}
