using Countersign.Fakes.Postgres;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>A real server that dies while it works.</summary>
[Trait("group", "postgres")]
public sealed class CrashTests(ServerFixture server)
{
    [Fact]
    public async Task A_target_that_dies_in_the_middle_of_a_statement_ends_its_sessions_alone_and_is_back_when_it_is()
    {
        await using var doomed = await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true });
        await using var gateway = new Gateway(server.Port);
        gateway.Connections.Targets["gone"] = gateway.Connections.Targets[Gateway.Connection] with
        {
            Connection = "gone",
            Port = doomed.Port,
            Credential = new Policy.Contracts.TargetCredential(PostgresServer.Superuser, PostgresServer.Password),
        };
        using var other = await RawClient.LogInAsync(gateway.Port);
        using var client = await RawClient.LogInAsync(gateway.Port, database: "gone");
        client.Query("create table half(a int); insert into half values (1); select pg_sleep(60)");
        await client.FlushAsync();
        await using (var direct = new Npgsql.NpgsqlConnection($"Host=127.0.0.1;Port={doomed.Port};Username={PostgresServer.Superuser};Password={PostgresServer.Password};Database=postgres;SSL Mode=Disable;Pooling=false"))
        {
            await direct.OpenAsync();
            await using var sleeps = new Npgsql.NpgsqlCommand("select count(*) from pg_stat_activity where state = 'active' and wait_event = 'PgSleep'", direct);
            while ((long)(await sleeps.ExecuteScalarAsync())! == 0)
            {
                await Task.Delay(20);
            }
        }

        await doomed.StopAsync();
        var replies = new List<Reply>();
        while (await client.TryReadAsync() is { } reply)
        {
            replies.Add(reply);
        }

        // The server's own last word where it had time for one (57P01, 57P02), else that it is gone.
        Assert.Contains(replies[^1].Field('C'), new[] { "57P01", "57P02", "08006" });
        Assert.Equal("FATAL", replies[^1].Field('S'));
        var recording = gateway.Recorder.Sessions.Last();
        Assert.Equal("target", (await recording.EndedAsync()).Reason);
        Assert.Contains("pg_sleep(60)", Assert.Single(recording.Operations).Text, StringComparison.Ordinal);
        // Nobody saw how it ended; it is not tried again.
        Assert.Equal("unknown", Assert.Single(recording.Completions).Outcome);
        other.Query("select 1");
        Assert.Equal("TDCZ", (await other.RunAsync()).Types());
        await Assert.ThrowsAsync<InvalidOperationException>(() => RawClient.LogInAsync(gateway.Port, database: "gone"));

        await doomed.StartAgainAsync();
        using var again = await RawClient.LogInAsync(gateway.Port, database: "gone");
        again.Query("select count(*) from pg_class where relname = 'half'");
        var counted = await again.RunAsync();
        Assert.EndsWith("0", counted[1].Text, StringComparison.Ordinal);
    }
}
