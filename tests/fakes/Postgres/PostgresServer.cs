using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Countersign.Fakes.Postgres;

/// <summary>How a server of the tests is set up.</summary>
public sealed record PostgresServerOptions
{
    /// <summary>Whether TCP logins need SCRAM-SHA-256; else everything is trusted.</summary>
    public bool Scram { get; init; }
    /// <summary>Whether it offers TLS, with a certificate for <c>localhost</c> by its own authority.</summary>
    public bool Tls { get; init; }
    /// <summary>Authentication method of pg_hba.conf in place of trust or SCRAM, e.g. <c>password</c> or <c>md5</c>.</summary>
    public string? HbaMethod { get; init; }
    /// <summary>Further lines of postgresql.conf.</summary>
    public IReadOnlyList<string> Settings { get; init; } = [];
}

/// <summary>
/// A real PostgreSQL with a data folder of its own, on a free loopback port. Made from a template that initdb has made once on this machine, so
/// that it is there in well under a second. Ended by pg_ctl, never by a signal to whatever else runs here.
/// </summary>
public sealed class PostgresServer : IAsyncDisposable
{
    /// <summary>Superuser.</summary>
    public const string Superuser = "postgres";

    /// <summary>Password of the superuser where the server uses one.</summary>
    public const string Password = "only-for-tests";

    private readonly string _folder;

    private PostgresServer(string folder, int port, string? authority)
    {
        _folder = folder;
        Port = port;
        AuthorityPem = authority;
    }

    /// <summary>TCP port on 127.0.0.1.</summary>
    public int Port { get; }

    /// <summary>PEM of the authority behind its certificate, where it offers TLS.</summary>
    public string? AuthorityPem { get; }

    /// <summary>Where it logs to.</summary>
    public string LogFile => System.IO.Path.Combine(_folder, "log");

    /// <summary>Folder of the programs of the newest PostgreSQL installed.</summary>
    public static string Programs { get; } = Directory.Exists("/usr/lib/postgresql")
        ? Directory.GetDirectories("/usr/lib/postgresql").Where(each => File.Exists($"{each}/bin/initdb"))
            .OrderBy(each => int.TryParse(System.IO.Path.GetFileName(each), CultureInfo.InvariantCulture, out var major) ? major : 0)
            .Select(each => $"{each}/bin").LastOrDefault() ?? "/usr/bin"
        : "/usr/bin";

    /// <summary>Starts a server.</summary>
    public static async Task<PostgresServer> StartAsync(PostgresServerOptions? options = null)
    {
        options ??= new PostgresServerOptions();
        var template = await TemplateAsync();
        for (var attempt = 0; ; attempt++)
        {
            var folder = $"/tmp/cs-pg-{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(6))}";
            await RunAsync("cp", ["-rp", template, folder]);
            var port = FreePort();
            var authority = options.Tls ? WriteCertificate(folder) : null;
            await WriteAsync(folder, options, port);
            try
            {
                await RunAsPostgresAsync($"{Programs}/pg_ctl", ["-D", folder, "-l", $"{folder}/log", "-w", "-s", "-t", "30", "start"]);
                return new PostgresServer(folder, port, authority);
            }
            catch (InvalidOperationException) when (attempt < 3)
            {
                // Somebody else took the port meanwhile.
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    /// <summary>What it has logged.</summary>
    public Task<string> ReadLogAsync() => File.ReadAllTextAsync(LogFile);

    /// <summary>Stops it at once, as a crash would.</summary>
    public Task StopAsync() => RunAsPostgresAsync($"{Programs}/pg_ctl", ["-D", _folder, "-m", "immediate", "-w", "-s", "stop"]);

    /// <summary>Starts it again on the same port, with what it had when it was stopped.</summary>
    public Task StartAgainAsync() => RunAsPostgresAsync($"{Programs}/pg_ctl", ["-D", _folder, "-l", $"{_folder}/log", "-w", "-s", "-t", "30", "start"]);

    /// <summary>Stops it at once, as a crash would, and deletes its folder.</summary>
    public async ValueTask DisposeAsync()
    {
        try
        {
            await StopAsync();
        }
        catch (InvalidOperationException)
        {
            // It was stopped by its test.
        }

        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>A loopback port that is free now.</summary>
    public static int FreePort()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)listener.LocalEndPoint!).Port;
    }

    /// <summary>Runs a program and returns what it printed.</summary>
    /// <exception cref="InvalidOperationException">It failed; with what it printed.</exception>
    public static async Task<string> RunAsync(string program, IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string>? environment = null, string? input = null)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardError = true, RedirectStandardOutput = true, RedirectStandardInput = true, WorkingDirectory = "/tmp" };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }

        using var process = Process.Start(start)!;
        if (input is not null)
        {
            await process.StandardInput.WriteAsync(input);
        }

        process.StandardInput.Close();
        if (System.IO.Path.GetFileName(program) is "pg_ctl" or "runuser")
        {
            // The server inherits the pipes: they never end while it runs.
            await process.WaitForExitAsync();
            return process.ExitCode == 0 ? "" : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} failed with {process.ExitCode}");
        }

        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        try
        {
            await process.WaitForExitAsync(timeout.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw new InvalidOperationException($"{program} took longer than a minute: {await errors}");
        }

        var printed = await output + await errors;
        return process.ExitCode == 0 ? printed : throw new InvalidOperationException($"{program} failed with {process.ExitCode}: {printed}");
    }

    private static Task<string> RunAsPostgresAsync(string program, IReadOnlyList<string> arguments) =>
        Environment.UserName == "root" ? RunAsync(File.Exists("/usr/sbin/runuser") ? "/usr/sbin/runuser" : "runuser", ["-u", "postgres", "--", program, .. arguments]) : RunAsync(program, arguments);

    private static async Task<string> TemplateAsync()
    {
        var template = $"/tmp/cs-pg-template-{System.IO.Path.GetFileName(System.IO.Path.GetDirectoryName(Programs))}-{Environment.UserName}";
        await using var gate = await LockAsync(template + ".lock");
        if (File.Exists(template + "/.complete"))
        {
            return template;
        }

        if (Directory.Exists(template))
        {
            Directory.Delete(template, recursive: true);
        }

        var password = System.IO.Path.GetTempFileName();
        await File.WriteAllTextAsync(password, Password);
        File.SetUnixFileMode(password, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.OtherRead);
        await RunAsPostgresAsync(
            $"{Programs}/initdb",
            ["-D", template, "--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-U", Superuser, $"--pwfile={password}"]);
        File.Delete(password);
        await File.WriteAllTextAsync(template + "/.complete", "");
        return template;
    }

    private static async Task<FileStream> LockAsync(string path)
    {
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException)
            {
                // Another test process makes the template.
                await Task.Delay(100);
            }
        }
    }

    private static async Task WriteAsync(string folder, PostgresServerOptions options, int port)
    {
        var lines = new List<string>
        {
            "", $"port = {port}", "listen_addresses = '127.0.0.1'", $"unix_socket_directories = '{folder}'", "fsync = off", "max_connections = 60", "shared_buffers = 16MB",
            "max_prepared_transactions = 4", "log_min_messages = warning", "log_min_error_statement = error",
        };
        if (options.Tls)
        {
            lines.Add("ssl = on");
        }

        await File.AppendAllLinesAsync($"{folder}/postgresql.conf", [.. lines, .. options.Settings]);
        var method = options.HbaMethod ?? (options.Scram ? "scram-sha-256" : "trust");
        await File.WriteAllTextAsync($"{folder}/pg_hba.conf", $"local all all trust\n{(options.Tls ? "hostssl" : "host")} all all 127.0.0.1/32 {method}\n");
        foreach (var each in new[] { "postgresql.conf", "pg_hba.conf", "server.crt", "server.key" })
        {
            if (Environment.UserName == "root" && File.Exists($"{folder}/{each}"))
            {
                await RunAsync("chown", ["postgres:postgres", $"{folder}/{each}"]);
            }
        }
    }

    private static string WriteCertificate(string folder)
    {
        var (authority, leaf) = TestCertificates.Make("localhost");
        File.WriteAllText($"{folder}/server.crt", leaf.ExportCertificatePem());
        using var key = leaf.GetECDsaPrivateKey()!;
        File.WriteAllText($"{folder}/server.key", key.ExportPkcs8PrivateKeyPem());
        File.SetUnixFileMode($"{folder}/server.key", UnixFileMode.UserRead | UnixFileMode.UserWrite);
        return authority.ExportCertificatePem();
    }
}

/// <summary>Certificates that live for a test.</summary>
public static class TestCertificates
{
    /// <summary>An authority, and a certificate by it for a host name (with 127.0.0.1), with its key.</summary>
    public static (X509Certificate2 Authority, X509Certificate2 Leaf) Make(string host)
    {
        using var authorityKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=Countersign test authority", authorityKey, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.DigitalSignature, true));
        var authority = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddDays(1));
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var leafRequest = new CertificateRequest($"CN={host}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName(host);
        names.AddIpAddress(IPAddress.Loopback);
        leafRequest.CertificateExtensions.Add(names.Build());
        using var signed = leafRequest.Create(authority, DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddHours(20), RandomNumberGenerator.GetBytes(8));
        using var withKey = signed.CopyWithPrivateKey(key);
        return (authority, X509CertificateLoader.LoadPkcs12(withKey.Export(X509ContentType.Pkcs12), null, X509KeyStorageFlags.Exportable));
    }
}
