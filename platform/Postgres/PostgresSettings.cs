using System.Net;
using Microsoft.Extensions.Configuration;
using Npgsql;

namespace Countersign.Platform.Postgres;

/// <summary>
/// Where the state of the services is in the distributed composition, section <c>Countersign:Storage</c> (docs/operations/storage.md). Nothing set means
/// that there is no PostgreSQL: the embedded default.
/// </summary>
public sealed class PostgresSettings
{
    /// <summary>Name of the section.</summary>
    public const string Section = "Countersign:Storage";

    /// <summary>Connection string of the role that the service works with, in Npgsql's spelling. A secret where it has a password.</summary>
    public string Postgres { get; set; } = "";

    /// <summary>File that holds <see cref="Postgres"/>, in its place.</summary>
    public string PostgresFile { get; set; } = "";

    /// <summary>Name of the sidecar's secret that holds <see cref="Postgres"/>, in its place; a platform that has a sidecar has read it by now.</summary>
    public string PostgresSecret { get; set; } = "";

    /// <summary>Connection string of the role that owns the schema and brings it up to date; empty: the same role does both.</summary>
    public string Owner { get; set; } = "";

    /// <summary>File that holds <see cref="Owner"/>, in its place.</summary>
    public string OwnerFile { get; set; } = "";

    /// <summary>Most connections of one service of one replica.</summary>
    public int MaxConnections { get; set; } = 20;

    /// <summary>Seconds after which a statement is given up.</summary>
    public int TimeoutSeconds { get; set; } = 10;

    /// <summary>Seconds that a start waits for the database before the process gives up.</summary>
    public int StartTimeoutSeconds { get; set; } = 60;

    /// <summary>Whether a database was configured.</summary>
    public bool IsSet => Postgres.Length > 0 || PostgresFile.Length > 0;

    /// <summary>Reads the section.</summary>
    public static PostgresSettings Read(IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var settings = new PostgresSettings();
        configuration.GetSection(Section).Bind(settings);

        // A key that is there without a value is bound as null.
        (settings.Postgres, settings.PostgresFile) = (settings.Postgres ?? "", settings.PostgresFile ?? "");
        (settings.Owner, settings.OwnerFile, settings.PostgresSecret) = (settings.Owner ?? "", settings.OwnerFile ?? "", settings.PostgresSecret ?? "");
        return settings;
    }

    /// <summary>Everything that is wrong, for people; never shows a password.</summary>
    public IReadOnlyList<string> Errors()
    {
        var errors = new List<string>();
        if (!IsSet)
        {
            // Else the service would begin with an empty store of its own and nobody would notice.
            if (PostgresSecret.Length > 0)
            {
                errors.Add($"{Section}: {nameof(PostgresSecret)} is read from a sidecar, and this process has none (Countersign:Platform).");
            }

            return errors;
        }

        foreach (var (name, text, file) in new[] { (nameof(Postgres), Postgres, PostgresFile), (nameof(Owner), Owner, OwnerFile) })
        {
            if (text.Length > 0 && file.Length > 0)
            {
                errors.Add($"{Section}: {name} and {name}File are both set; one of them is enough.");
            }
            else if (text.Length > 0 || file.Length > 0)
            {
                Check(errors, name, text, file);
            }
        }

        Range(errors, nameof(MaxConnections), MaxConnections, 4, 500);
        Range(errors, nameof(TimeoutSeconds), TimeoutSeconds, 1, 300);
        Range(errors, nameof(StartTimeoutSeconds), StartTimeoutSeconds, 0, 3600);
        return errors;
    }

    /// <summary>Connection string of the service's role, with everything set that must be.</summary>
    /// <param name="application">Shown in <c>pg_stat_activity</c>.</param>
    internal NpgsqlConnectionStringBuilder Service(string application) => Complete(Parse(Postgres, PostgresFile), application, TimeSpan.FromSeconds(TimeoutSeconds));

    /// <summary>Connection string of the schema's owner. Migrations may take longer than other statements.</summary>
    internal NpgsqlConnectionStringBuilder SchemaOwner(string application)
    {
        var own = Owner.Length > 0 || OwnerFile.Length > 0 ? Parse(Owner, OwnerFile) : Parse(Postgres, PostgresFile);
        var builder = Complete(own, application, TimeSpan.FromMinutes(10));
        builder.Pooling = false;
        return builder;
    }

    private NpgsqlConnectionStringBuilder Complete(NpgsqlConnectionStringBuilder builder, string application, TimeSpan timeout)
    {
        builder.ApplicationName = application;
        builder.MaxPoolSize = MaxConnections;
        builder.MinPoolSize = 0;
        builder.Timeout = 5;

        // The server gives up first, so that the connection can be used again; the client's is for a server that doesn't answer.
        builder.CommandTimeout = (int)timeout.TotalSeconds + 5;
        builder.CancellationTimeout = 2000;
        builder.KeepAlive = 30;
        builder.TcpKeepAlive = true;
        builder.IncludeErrorDetail = false;
        builder.PersistSecurityInfo = false;
        builder.Enlist = false;

        // As start parameters, since those survive the reset of a pooled connection. A commit that was answered is on disk, whatever the server's default is.
        var milliseconds = (long)timeout.TotalMilliseconds;
        builder.Options = FormattableString.Invariant(
            $"-c synchronous_commit=on -c statement_timeout={milliseconds} -c lock_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds} -c search_path=pg_catalog");
        if (builder.SslMode is SslMode.Prefer or SslMode.Allow && !IsLoopback(builder.Host))
        {
            builder.SslMode = SslMode.VerifyFull;
        }

        return builder;
    }

    private static void Check(List<string> errors, string name, string text, string file)
    {
        try
        {
            var builder = Parse(text, file);
            if (string.IsNullOrEmpty(builder.Host) || string.IsNullOrEmpty(builder.Database) || string.IsNullOrEmpty(builder.Username))
            {
                errors.Add($"{Section}:{name} must name Host, Database and Username.");
            }
            else if (!IsLoopback(builder.Host) && builder.ContainsKey("SSL Mode") && builder.SslMode is not (SslMode.VerifyFull or SslMode.Prefer or SslMode.Allow))
            {
                errors.Add($"{Section}:{name} must have SSL Mode=VerifyFull (or none, which means that): the server isn't on loopback.");
            }

            if (!string.IsNullOrEmpty(builder.Options))
            {
                errors.Add($"{Section}:{name} must not have Options: Countersign sets its own.");
            }
        }
        catch (Exception error) when (error is ArgumentException or FormatException or IOException or UnauthorizedAccessException)
        {
            // Without the message: it may quote what is in the string.
            errors.Add(file.Length > 0 ? $"{Section}:{name}File can't be read, or holds no connection string." : $"{Section}:{name} is no connection string.");
        }
    }

    private static NpgsqlConnectionStringBuilder Parse(string text, string file) => new(file.Length > 0 ? File.ReadAllText(file).Trim() : text);

    /// <summary>Whether all hosts are this machine: loopback addresses, <c>localhost</c>, or the folder of a Unix socket.</summary>
    internal static bool IsLoopback(string? hosts) => !string.IsNullOrEmpty(hosts) && hosts.Split(',').All(host =>
    {
        var name = host.Trim();
        if (name.StartsWith('/'))
        {
            return true;
        }

        // Without the port; an IPv6 address has several colons.
        var bare = name.StartsWith('[') ? name[1..name.IndexOf(']', StringComparison.Ordinal)] : name.Count(c => c == ':') == 1 ? name.Split(':')[0] : name;
        return bare.Equals("localhost", StringComparison.OrdinalIgnoreCase) || (IPAddress.TryParse(bare, out var address) && IPAddress.IsLoopback(address));
    });

    private static void Range(List<string> errors, string name, int value, int lowest, int highest)
    {
        if (value < lowest || value > highest)
        {
            errors.Add($"{Section}:{name} must lie between {lowest} and {highest}.");
        }
    }
}
