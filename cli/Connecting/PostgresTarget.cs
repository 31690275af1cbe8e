using System.Globalization;
using Countersign.Cli.Login;
using Countersign.Cli.Server;

namespace Countersign.Cli.Connecting;

/// <summary>Where and as whom a PostgreSQL client connects, in the terms of libpq.</summary>
internal sealed record PostgresTarget(string Host, int Port, bool Tls, string User, string Database)
{
    /// <summary>Variables of libpq that would send the client elsewhere, or weaken what it checks.</summary>
    private static readonly string[] Foreign =
    [
        "PGSERVICE", "PGSERVICEFILE", "PGHOSTADDR", "PGPASSWORD", "PGREQUIRESSL", "PGREQUIREPEER", "PGSSLNEGOTIATION", "PGSSLCERT", "PGSSLKEY",
        "PGSSLCRL", "PGSSLCRLDIR", "PGSSLSNI", "PGKRBSRVNAME", "PGGSSLIB", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGCHANNELBINDING",
    ];

    /// <exception cref="CliException">The proxy has no TLS and is not on this machine.</exception>
    public static PostgresTarget Of(ProxyEndpoint endpoint, Uri server, string user, string connection, string? database)
    {
        var host = endpoint.Postgres.Host is null or "" or "*" or "0.0.0.0" or "::" ? server.Host.Trim('[', ']') : endpoint.Postgres.Host;
        if (!endpoint.Postgres.Tls && !Transport.IsLoopback(host))
        {
            throw new CliException(ExitCodes.Refused, $"The proxy at {host} has no TLS, so nothing is sent there.", "Give the proxy a certificate.", "no-tls");
        }

        return new PostgresTarget(host, endpoint.Postgres.Port, endpoint.Postgres.Tls, user, string.IsNullOrEmpty(database) ? connection : $"{connection}/{database}");
    }

    /// <summary>What a client must have set; null for what it must not have.</summary>
    public IReadOnlyList<KeyValuePair<string, string?>> Environment(string passwordFile, string certificateFile) =>
    [
        .. Foreign.Select(name => KeyValuePair.Create(name, (string?)null)),
        new("PGHOST", Host),
        new("PGPORT", Port.ToString(CultureInfo.InvariantCulture)),
        new("PGUSER", User),
        new("PGDATABASE", Database),
        new("PGSSLMODE", Tls ? "verify-full" : "disable"),
        new("PGSSLROOTCERT", Tls ? certificateFile : null),
        new("PGGSSENCMODE", "disable"),
        // A terminal without a locale would make psql ask for SQL_ASCII, which the proxy refuses: it reads UTF8 only.
        new("PGCLIENTENCODING", "UTF8"),
        // A server that can't do SCRAM is not the proxy: the secret must not be told to it in clear (libpq 16 and later; older ones ignore it).
        new("PGREQUIREAUTH", "scram-sha-256"),
        new("PGPASSFILE", passwordFile),
    ];
}
