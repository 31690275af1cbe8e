using System.Diagnostics;
using Countersign.Fakes.Postgres;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Postgres;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Tests;

/// <summary>Migrations, roles, outages and settings of the database of a service.</summary>
[Trait("group", "distributed")]
public sealed class PostgresDatabaseTests(PostgresFixture postgres)
{
    private static readonly SchemaComponent One = new("parts", [new Migration(1, "first", "CREATE TABLE {schema}.parts (id int PRIMARY KEY); SELECT pg_sleep(0.3)")], "");

    private static readonly SchemaComponent Two = One with
    {
        Migrations = [.. One.Migrations, new Migration(2, "second", "ALTER TABLE {schema}.parts ADD COLUMN name text")],
    };

    private readonly string _schema = "t" + Guid.NewGuid().ToString("N")[..12];

    [Fact]
    public async Task Of_several_replicas_one_brings_the_schema_up_to_date()
    {
        // The step fails where it is done twice.
        var replicas = Enumerable.Range(0, 6).Select(_ => postgres.Database(_schema, One)).ToList();
        await Task.WhenAll(replicas.Select(async replica =>
        {
            await using var connection = await replica.OpenAsync(default);
        }));
        replicas.ForEach(replica => replica.Dispose());
        Assert.Equal(1L, await postgres.ScalarAsync($"SELECT count(*) FROM {_schema}.schema_version"));

        using var newer = postgres.Database(_schema, Two);
        await using (await newer.OpenAsync(default))
        {
        }

        Assert.Equal(2, await postgres.ScalarAsync($"SELECT max(version) FROM {_schema}.schema_version"));
        Assert.Equal(1L, await postgres.ScalarAsync($"SELECT count(*) FROM information_schema.columns WHERE table_schema = '{_schema}' AND column_name = 'name' AND table_name = 'parts'"));
    }

    [Fact]
    public async Task A_schema_of_a_newer_program_is_refused_and_left_alone()
    {
        using (var newer = postgres.Database(_schema, Two))
        {
            await using var connection = await newer.OpenAsync(default);
        }

        using var older = postgres.Database(_schema, One);
        var error = await Assert.ThrowsAsync<SchemaVersionException>(async () => await older.OpenAsync(default));
        Assert.Contains("version 2", error.Message, StringComparison.Ordinal);
        Assert.Contains("version 2", await older.ProblemAsync(default), StringComparison.Ordinal);
        Assert.Equal(2L, await postgres.ScalarAsync($"SELECT count(*) FROM {_schema}.schema_version"));
    }

    [Fact]
    public async Task A_step_that_was_changed_afterwards_is_refused()
    {
        using (var first = postgres.Database(_schema, One))
        {
            await using var connection = await first.OpenAsync(default);
        }

        using var other = postgres.Database(_schema, One with { Migrations = [One.Migrations[0] with { Sql = "CREATE TABLE {schema}.others (id int)" }] });
        await Assert.ThrowsAsync<SchemaVersionException>(async () => await other.OpenAsync(default));
    }

    [Fact]
    public async Task A_step_that_fails_leaves_nothing_behind()
    {
        var broken = One with { Migrations = [.. One.Migrations, new Migration(2, "broken", "CREATE TABLE {schema}.more (id int); SELECT 1/0")] };
        using (var database = postgres.Database(_schema, broken))
        {
            await Assert.ThrowsAsync<PortUnavailableException>(async () => await database.OpenAsync(default));
        }

        Assert.Equal(0L, await postgres.ScalarAsync($"SELECT count(*) FROM pg_namespace WHERE nspname = '{_schema}'"));
    }

    [Fact]
    public async Task The_services_role_can_do_its_work_and_nothing_else()
    {
        var role = "r" + _schema;
        await postgres.ScalarAsync($"CREATE ROLE {role} LOGIN PASSWORD 'only-for-tests'");
        var settings = postgres.Settings();
        (settings.Owner, settings.Postgres) = (settings.Postgres, postgres.ConnectionString(role));
        using var database = new PostgresDatabase(settings, _schema, [PostgresStateStore.Component], NullLogger<PostgresDatabase>.Instance);
        var store = new PostgresStateStore(database);
        Assert.True(await store.TrySaveAsync("c", "k", "1"u8.ToArray(), null, default));
        var item = (await store.GetAsync("c", "k", default))!;
        Assert.True(await store.TrySaveAsync("c", "k", "2"u8.ToArray(), item.ETag, default));
        Assert.True(await store.TryDeleteAsync("c", "k", (await store.GetAsync("c", "k", default))!.ETag, default));

        await using var connection = await database.OpenAsync(default);
        foreach (var forbidden in new[]
        {
            $"DROP TABLE {_schema}.items", $"TRUNCATE {_schema}.items", $"ALTER TABLE {_schema}.items ADD COLUMN x int", $"CREATE TABLE {_schema}.mine (id int)",
            $"INSERT INTO {_schema}.schema_version VALUES ('state', 9, 'x', 'x')", $"SELECT setval('{_schema}.item_version', 1)", "CREATE SCHEMA mine",
        })
        {
#pragma warning disable CA2100 // tests
            await using var command = new Npgsql.NpgsqlCommand(forbidden, connection);
#pragma warning restore CA2100
            var error = await Assert.ThrowsAsync<Npgsql.PostgresException>(command.ExecuteNonQueryAsync);
            Assert.Equal("42501", error.SqlState);
        }
    }

    [Fact]
    public async Task Schemas_of_services_are_separate()
    {
        using var one = postgres.Database(_schema + "a");
        using var other = postgres.Database(_schema + "b");
        Assert.True(await new PostgresStateStore(one).TrySaveAsync("c", "k", "1"u8.ToArray(), null, default));
        Assert.Null(await new PostgresStateStore(other).GetAsync("c", "k", default));
    }

    [Fact]
    public async Task An_outage_is_unavailable_at_once_and_over_when_the_database_is_back()
    {
        await using var server = await PostgresServer.StartAsync();
        var settings = new PostgresSettings { Postgres = $"Host=127.0.0.1;Port={server.Port};Database=postgres;Username=postgres" };
        using var database = new PostgresDatabase(settings, _schema, [PostgresStateStore.Component], NullLogger<PostgresDatabase>.Instance);
        var store = new PostgresStateStore(database);
        Assert.True(await store.TrySaveAsync("c", "k", "1"u8.ToArray(), null, default));
        Assert.Null(await database.ProblemAsync(default));

        await server.StopAsync();
        var error = await Assert.ThrowsAsync<PortUnavailableException>(async () => await store.GetAsync("c", "k", default));
        Assert.DoesNotContain("127.0.0.1", error.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<PortUnavailableException>(async () => await store.TrySaveAsync("c", "l", "1"u8.ToArray(), null, default));
        await Assert.ThrowsAsync<PortUnavailableException>(async () => await store.ListAsync("c", default).GetAsyncEnumerator().MoveNextAsync());
        Assert.Contains("can't be reached", await database.ProblemAsync(default), StringComparison.Ordinal);

        await server.StartAgainAsync();
        Assert.NotNull(await store.GetAsync("c", "k", default));
        Assert.True(await store.TrySaveAsync("c", "l", "1"u8.ToArray(), null, default));
        Assert.Null(await database.ProblemAsync(default));
    }

    [Fact]
    public async Task A_statement_that_waits_too_long_is_unavailable()
    {
        var settings = postgres.Settings();
        settings.TimeoutSeconds = 1;
        using var database = new PostgresDatabase(settings, _schema, [PostgresStateStore.Component], NullLogger<PostgresDatabase>.Instance);
        var store = new PostgresStateStore(database);
        await store.TrySaveAsync("c", "k", "1"u8.ToArray(), null, default);
        var etag = (await store.GetAsync("c", "k", default))!.ETag;
        await using var holder = new Npgsql.NpgsqlConnection(postgres.ConnectionString());
        await holder.OpenAsync();
        await using var transaction = await holder.BeginTransactionAsync();
#pragma warning disable CA2100 // tests
        await using var command = new Npgsql.NpgsqlCommand($"UPDATE {_schema}.items SET value = ''", holder, transaction);
#pragma warning restore CA2100
        await command.ExecuteNonQueryAsync();
        var error = await Assert.ThrowsAsync<PortUnavailableException>(async () => await store.TrySaveAsync("c", "k", "2"u8.ToArray(), etag, default));
        Assert.Contains("too long", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_pool_is_bounded_and_shared()
    {
        using var database = postgres.Database(_schema);
        var store = new PostgresStateStore(database);
        await Task.WhenAll(Enumerable.Range(0, 200).Select(number => Task.Run(async () => await store.TrySaveAsync("c", $"k{number}", "1"u8.ToArray(), null, default))));
        Assert.Equal(200, store.ListAsync("c", default).ToBlockingEnumerable().Count());
        Assert.InRange((long)(await postgres.ScalarAsync($"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{_schema}'"))!, 1, 8);
    }

    [Fact]
    public async Task What_was_answered_is_committed_for_good_whatever_the_servers_default()
    {
        using var database = postgres.Database(_schema);
        await using var connection = await database.OpenAsync(default);
        await using var command = new Npgsql.NpgsqlCommand("SELECT current_setting('synchronous_commit') || ' ' || current_setting('statement_timeout')", connection);
        Assert.Equal("on 10s", await command.ExecuteScalarAsync());
    }

    [Theory]
    [InlineData("Host=db.example;Database=d;Username=u", "VerifyFull")]
    [InlineData("Host=db.example;Database=d;Username=u;SSL Mode=Require", null)]
    [InlineData("Host=db.example;Database=d;Username=u;SSL Mode=VerifyCA", null)]
    [InlineData("Host=db.example;Database=d;Username=u;SSL Mode=Disable", null)]
    [InlineData("Host=db.example;Database=d;Username=u;SSL Mode=VerifyFull", "VerifyFull")]
    [InlineData("Host=127.0.0.1,db.example;Database=d;Username=u;SSL Mode=Disable", null)]
    [InlineData("Host=127.0.0.1;Database=d;Username=u", "Prefer")]
    [InlineData("Host=localhost;Database=d;Username=u;SSL Mode=Disable", "Disable")]
    [InlineData("Host=[::1]:5433;Database=d;Username=u", "Prefer")]
    [InlineData("Host=/run/postgresql;Database=d;Username=u", "Prefer")]
    [InlineData("Host=127.0.0.1;Database=d;Username=u;Options=-c synchronous_commit=off", null)]
    [InlineData("Host=127.0.0.1;Database=d", null)]
    [InlineData("nonsense with p4ssword", null)]
    public void Off_loopback_the_server_must_prove_who_it_is(string connection, string? mode)
    {
        var settings = new PostgresSettings { Postgres = connection };
        var errors = settings.Errors();
        Assert.Equal(mode is null, errors.Count > 0);
        Assert.All(errors, error => Assert.DoesNotContain("p4ssword", error, StringComparison.Ordinal));
        if (mode is not null)
        {
            Assert.Equal(mode, settings.Service("x").SslMode.ToString());
        }
    }

    [Fact]
    public async Task A_file_can_hold_the_connection_string()
    {
        using var directory = new TemporaryDirectory();
        var file = directory.File("connection");
        await File.WriteAllTextAsync(file, postgres.ConnectionString() + "\n");
        var settings = new PostgresSettings { PostgresFile = file };
        Assert.Empty(settings.Errors());
        using var database = new PostgresDatabase(settings, _schema, [PostgresStateStore.Component], NullLogger<PostgresDatabase>.Instance);
        Assert.Null(await database.ProblemAsync(default));
        Assert.NotEmpty(new PostgresSettings { PostgresFile = file, Postgres = "Host=localhost;Database=d;Username=u" }.Errors());
        Assert.NotEmpty(new PostgresSettings { PostgresFile = file + ".none" }.Errors());
        Assert.NotEmpty(new PostgresSettings { PostgresSecret = "identity-connection" }.Errors());
        Assert.Empty(new PostgresSettings().Errors());
    }

    [Fact]
    public async Task Composition_uses_it_where_it_is_configured_and_readiness_names_it()
    {
        await using var server = await PostgresServer.StartAsync();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Countersign:Storage:Postgres"] = $"Host=127.0.0.1;Port={server.Port};Database=postgres;Username=postgres",
        });
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.AddCountersignHosting("test");
        builder.Services.AddKeyedSingleton<IStateStore>("policy", (_, _) => throw new UnreachableException("the platform's own store"));
        Assert.True(builder.AddPostgresStorage("policy"));
        await using var app = builder.Build();
        app.UseCountersignHosting();
        await app.StartAsync();
        Assert.True(await app.Services.GetRequiredKeyedService<IStateStore>("policy").TrySaveAsync("c", "k", "1"u8.ToArray(), null, default));

        using var client = new HttpClient { BaseAddress = new Uri(app.Urls.First()) };
        Assert.Contains("{\"name\":\"policy-postgres\",\"status\":\"ok\"", await client.GetStringAsync("health/ready"), StringComparison.Ordinal);
        await server.StopAsync();
        using var failing = await client.GetAsync("health/ready");
        Assert.Equal(System.Net.HttpStatusCode.ServiceUnavailable, failing.StatusCode);
        Assert.Contains("can't be reached", await failing.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        using var live = await client.GetAsync("health/live");
        Assert.Equal(System.Net.HttpStatusCode.OK, live.StatusCode);
        await app.StopAsync();
    }

    [Fact]
    public async Task Composition_without_it_needs_no_server_and_wrong_settings_stop_the_start()
    {
        var builder = WebApplication.CreateSlimBuilder();
        Assert.False(builder.AddPostgresStorage("policy"));
        Assert.DoesNotContain(builder.Services, service => service.ServiceType == typeof(PostgresDatabase));

        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["Countersign:Storage:Postgres"] = "Host=db.example;Database=d;Username=u;SSL Mode=Disable" });
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.AddPostgresStorage("policy");
        await using var app = builder.Build();
        await Assert.ThrowsAsync<OptionsValidationException>(() => app.StartAsync());
    }
}
