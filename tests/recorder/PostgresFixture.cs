using Countersign.Fakes.Postgres;
using Countersign.Platform.Postgres;
using Countersign.Recorder.Tests;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

[assembly: AssemblyFixture(typeof(PostgresFixture))]

namespace Countersign.Recorder.Tests;

/// <summary>One real PostgreSQL for the assembly; each test has a schema or a database of its own.</summary>
public sealed class PostgresFixture : IAsyncLifetime
{
    public PostgresServer Server { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Server = await PostgresServer.StartAsync(new PostgresServerOptions { Settings = ["max_connections = 200"] });

    public ValueTask DisposeAsync() => Server.DisposeAsync();

    public string ConnectionString(string database = "postgres") => $"Host=127.0.0.1;Port={Server.Port};Database={database};Username={PostgresServer.Superuser}";

    public PostgresDatabase Database(string schema, params SchemaComponent[] components) =>
        new(new PostgresSettings { Postgres = ConnectionString(), MaxConnections = 8, TimeoutSeconds = 20 }, schema, components, NullLogger<PostgresDatabase>.Instance);

    public async Task<object?> ScalarAsync(string sql, string database = "postgres")
    {
        await using var connection = new NpgsqlConnection(ConnectionString(database));
        await connection.OpenAsync();
#pragma warning disable CA2100 // tests
        await using var command = new NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
        return await command.ExecuteScalarAsync();
    }
}

/// <summary>The service over a real PostgreSQL.</summary>
public sealed class PostgresServiceTests(PostgresFixture postgres) : ServiceTests
{
    private readonly string _database = "service" + Guid.NewGuid().ToString("N")[..8];
    private bool _isMade;

    private protected override Dictionary<string, string?> Storage()
    {
        if (!_isMade)
        {
            postgres.ScalarAsync($"CREATE DATABASE {_database}").Wait();
            _isMade = true;
        }

        return new Dictionary<string, string?> { ["Countersign:Storage:Postgres"] = postgres.ConnectionString(_database) };
    }
}
