using Countersign.Fakes.Postgres;
using Countersign.Platform.Postgres;
using Countersign.Platform.Tests;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

[assembly: AssemblyFixture(typeof(PostgresFixture))]

namespace Countersign.Platform.Tests;

/// <summary>One real PostgreSQL for the assembly; each test has schemas of its own. Passwords are asked for, as in earnest.</summary>
public sealed class PostgresFixture : IAsyncLifetime
{
    public PostgresServer Server { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Server = await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true });

    public ValueTask DisposeAsync() => Server.DisposeAsync();

    public string ConnectionString(string user = PostgresServer.Superuser, string password = PostgresServer.Password) =>
        $"Host=127.0.0.1;Port={Server.Port};Database=postgres;Username={user};Password={password}";

    public PostgresSettings Settings() => new() { Postgres = ConnectionString(), StartTimeoutSeconds = 10, MaxConnections = 8 };

    public PostgresDatabase Database(string schema, params SchemaComponent[] components) =>
        new(Settings(), schema, components.Length == 0 ? [PostgresStateStore.Component] : components, NullLogger<PostgresDatabase>.Instance);

    public async Task<object?> ScalarAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(ConnectionString());
        await connection.OpenAsync();
#pragma warning disable CA2100 // tests
        await using var command = new NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
        return await command.ExecuteScalarAsync();
    }
}
