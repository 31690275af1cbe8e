namespace Countersign.Cli.Server;

/// <summary><c>GET /proxy/v1/endpoint</c>: where native clients connect.</summary>
internal sealed record ProxyEndpoint(PostgresEndpoint Postgres);

/// <summary>The PostgreSQL listener.</summary>
/// <param name="Host">Name or address that its certificate is for; empty for the host of the server's own URL.</param>
/// <param name="Port">TCP port.</param>
/// <param name="Tls">Whether it takes TLS. Without it only loopback clients are let in.</param>
internal sealed record PostgresEndpoint(string? Host, int Port, bool Tls);
