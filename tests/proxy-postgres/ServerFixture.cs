using Countersign.Fakes.Postgres;

[assembly: AssemblyFixture(typeof(Countersign.Proxy.Postgres.Tests.ServerFixture))]

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>One PostgreSQL for all tests that don't change its set-up; each makes tables of its own.</summary>
public sealed class ServerFixture : IAsyncLifetime
{
    private PostgresServer? _server;

    public int Port => _server!.Port;

    public PostgresServer Server => _server!;

    public async ValueTask InitializeAsync() => _server = await PostgresServer.StartAsync();

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }
    }

    /// <summary>Runs a script directly, past the gateway.</summary>
    public Task<string> DirectAsync(string script) => PostgresServer.RunAsync(
        "psql", ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", Port.ToString(System.Globalization.CultureInfo.InvariantCulture), "-U", "postgres", "-d", "postgres"],
        new Dictionary<string, string> { ["PGSSLMODE"] = "disable" }, script);
}
