using System.Net;
using System.Security.Cryptography.X509Certificates;

namespace Countersign.Proxy.Postgres;

/// <summary>Options of the PostgreSQL listener.</summary>
public sealed record PostgresOptions
{
    /// <summary>Where clients connect; port 0 takes a free one.</summary>
    public IPEndPoint Listen { get; init; } = new(IPAddress.Loopback, 6432);
    /// <summary>Certificate with private key for clients; null refuses TLS, and then only loopback clients are let in.</summary>
    public X509Certificate2? Certificate { get; init; }
    /// <summary>Certificates between <see cref="Certificate"/> and its root, sent along.</summary>
    public X509Certificate2Collection Intermediates { get; init; } = [];
    /// <summary>Name of this proxy in recordings.</summary>
    public string ProxyId { get; init; } = "proxy";
    /// <summary>Most sessions at once, those that are logging in included.</summary>
    public int MaxSessions { get; init; } = 1000;
    /// <summary>Most connections of one address at once.</summary>
    public int MaxPerAddress { get; init; } = 500;
    /// <summary>Most connections at once that have not logged in.</summary>
    public int MaxHandshakes { get; init; } = 200;
    /// <summary>How long a client has from its first byte to a successful login, and the target's login after it.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(30);
    /// <summary>How long a target has from the first packet to a login: less than the handshake as a whole, so that the client can still be told.</summary>
    public TimeSpan TargetTimeout { get; init; } = TimeSpan.FromSeconds(15);
    /// <summary>How long a client may take to complete a message that it has begun.</summary>
    public TimeSpan MessageTimeout { get; init; } = TimeSpan.FromSeconds(60);
    /// <summary>How often a held client gets a sign of life: well within the shortest read timeouts that drivers are given (Npgsql, JDBC).</summary>
    public TimeSpan KeepAlive { get; init; } = TimeSpan.FromSeconds(1);
    /// <summary>How often a held client is told that it still waits.</summary>
    public TimeSpan HoldNotice { get; init; } = TimeSpan.FromMinutes(1);
    /// <summary>Most bytes that are read ahead while a client is held.</summary>
    public int MaxReadAhead { get; init; } = 256 << 10;
    /// <summary>How long sessions get to end by themselves at shutdown.</summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromSeconds(10);
}
