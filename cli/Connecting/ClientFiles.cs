using System.Globalization;
using Countersign.Cli.Profiles;

namespace Countersign.Cli.Connecting;

/// <summary>
/// The files of one client: the gateway's certificate authorities and a password file (mode 0600, in a 0700 directory of its own), deleted when
/// the client ends. A password file rather than PGPASSWORD: an environment is inherited by everything that the client starts.
/// </summary>
internal sealed class ClientFiles : IDisposable
{
    private readonly string _directory;
    private readonly FileLock _alive;

    private ClientFiles(string directory, FileLock alive)
    {
        _directory = directory;
        _alive = alive;
    }

    public string PasswordFile => Path.Combine(_directory, "pgpass");

    public string CertificateFile => Path.Combine(_directory, "gateway-ca.pem");

    /// <summary>Makes the directory, and removes what processes left behind that were killed.</summary>
    public static async Task<ClientFiles> CreateAsync(Profile profile, TimeProvider time, CancellationToken cancellation)
    {
        using var profileLock = await profile.LockAsync(cancellation);
        var root = Path.Combine(profile.Directory, "connect");
        PrivateFile.CreateDirectory(root);
        foreach (var left in Directory.EnumerateDirectories(root))
        {
            RemoveIfAbandoned(left);
        }

        var directory = Path.Combine(root, Guid.NewGuid().ToString("N"));
        PrivateFile.CreateDirectory(directory);
        var alive = await FileLock.TakeAsync(LockOf(directory), TimeSpan.Zero, time, cancellation);
        return new ClientFiles(directory, alive);
    }

    /// <summary>Writes both files.</summary>
    public void Write(PostgresTarget target, string secret, string? certificates) => Write(PasswordFile, CertificateFile, target, secret, certificates);

    /// <summary>Writes files that outlive this process, for <c>--print-env</c>, and removes those whose credential has expired.</summary>
    public static (string PasswordFile, string CertificateFile) WriteLasting(
        Profile profile, PostgresTarget target, string secret, string? certificates, DateTimeOffset expiresAt, DateTimeOffset now)
    {
        var directory = Path.Combine(profile.Directory, "env");
        PrivateFile.CreateDirectory(directory);
        foreach (var old in Directory.EnumerateFiles(directory, "*.pgpass"))
        {
            var expiry = Path.GetFileName(old).Split('-', 2)[0];
            if (long.TryParse(expiry, NumberStyles.None, CultureInfo.InvariantCulture, out var seconds) && seconds < now.ToUnixTimeSeconds())
            {
                File.Delete(old);
            }
        }

        var passwordFile = Path.Combine(directory, string.Create(CultureInfo.InvariantCulture, $"{expiresAt.ToUnixTimeSeconds()}-{Guid.NewGuid():N}.pgpass"));
        var certificateFile = Path.Combine(directory, "gateway-ca.pem");
        Write(passwordFile, certificateFile, target, secret, certificates);
        return (passwordFile, certificateFile);
    }

    public void Dispose()
    {
        // The secret first: that it can't be deleted must be seen. What else stays is removed by the next one.
        File.Delete(PasswordFile);
        try
        {
            Directory.Delete(_directory, recursive: true);
        }
        catch (IOException)
        {
            // Nothing secret is left.
        }

        _alive.Dispose();
    }

    private static void Write(string passwordFile, string certificateFile, PostgresTarget target, string secret, string? certificates)
    {
        if (certificates is not null)
        {
            PrivateFile.Write(certificateFile, certificates);
        }

        // One line, host:port:database:user:password, with ':' and '\' escaped (PostgreSQL docs, "The Password File").
        PrivateFile.Write(passwordFile, string.Create(
            CultureInfo.InvariantCulture, $"{Escape(target.Host)}:{target.Port}:*:{Escape(target.User)}:{Escape(secret)}\n"));
    }

    private static string Escape(string field) => field.Any(char.IsControl)
        ? throw new CliException(ExitCodes.Unavailable, "The server gave a name or secret with control characters.", code: "bad-answer")
        : field.Replace("\\", "\\\\", StringComparison.Ordinal).Replace(":", "\\:", StringComparison.Ordinal);

    private static void RemoveIfAbandoned(string directory)
    {
        try
        {
            // Whoever lives holds its lock; that of a killed process was given back by the kernel.
            using (new FileStream(LockOf(directory), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
            {
                Directory.Delete(directory, recursive: true);
            }
        }
        catch (IOException)
        {
            // Alive.
        }
    }

    private static string LockOf(string directory) => Path.Combine(directory, "lock");
}
