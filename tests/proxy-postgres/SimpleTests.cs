using Countersign.Recorder.Contracts;
using Npgsql;

namespace Countersign.Proxy.Postgres.Tests;

[Trait("group", "postgres")]
public sealed class SimpleTests(ServerFixture server)
{
    [Fact]
    public async Task Psql_logs_in_and_reads()
    {
        await using var gateway = new Gateway(server.Port);
        Assert.Equal("2\n", await gateway.PsqlAsync("select 1 + 1;"));
        var session = Assert.Single(gateway.Recorder.Sessions);
        Assert.Equal("client", (await session.EndedAsync()).Reason);
        var operation = Assert.Single(session.Operations);
        Assert.Equal(("query", "select 1 + 1;", "allow"), (operation.Kind, operation.Text, operation.Decision));
        var completion = Assert.Single(session.Completions);
        Assert.Equal(("ok", 1L), (completion.Outcome, completion.Rows));
    }

    [Fact]
    public async Task A_refusal_is_42501_and_the_connection_stays_in_sync()
    {
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(deny: ["DROP TABLE"]);
        var output = await gateway.PsqlAsync("drop table nothing;\nselect 'still here';\n");
        Assert.Contains("ERROR:  42501: Not here.", output, StringComparison.Ordinal);
        Assert.Contains("HINT:  Ask for less.", output, StringComparison.Ordinal);
        Assert.Contains("still here", output, StringComparison.Ordinal);
        Assert.DoesNotContain("cs_refused", output, StringComparison.Ordinal);
        Assert.DoesNotContain("drop table nothing", await server.Server.ReadLogAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_refusal_within_a_transaction_fails_it()
    {
        await server.DirectAsync("create table tx1(a int);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(deny: ["DROP TABLE"]);
        var output = await gateway.PsqlAsync("begin;\ninsert into tx1 values (1);\ndrop table tx1;\nselect 1;\ncommit;\nselect count(*) from tx1;\n");
        Assert.Contains("42501", output, StringComparison.Ordinal);
        Assert.Contains("25P02", output, StringComparison.Ordinal);
        Assert.Contains("ROLLBACK", output, StringComparison.Ordinal);
        Assert.Contains("\n0\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_string_with_one_refused_statement_is_refused_whole()
    {
        await server.DirectAsync("create table multi(a int);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(deny: ["DROP TABLE"]);
        await gateway.PsqlAsync("insert into multi values (1)\\; drop table multi\\; select 1;");
        Assert.Equal("0\n", await server.DirectAsync("select count(*) from multi;"));
    }

    [Fact]
    public async Task Npgsql_reads_writes_and_pools()
    {
        await server.DirectAsync("create table np(a int, b text);");
        await using var gateway = new Gateway(server.Port);
        await using var connection = await gateway.OpenAsync();
        await using (var insert = new NpgsqlCommand("insert into np values ($1, $2)", connection) { Parameters = { new() { Value = 7 }, new() { Value = "sieben" } } })
        {
            Assert.Equal(1, await insert.ExecuteNonQueryAsync());
        }

        await using var select = new NpgsqlCommand("select b from np where a = $1", connection) { Parameters = { new() { Value = 7 } } };
        Assert.Equal("sieben", await select.ExecuteScalarAsync());
        var entry = gateway.Recorder.Operations.Single(operation => operation.Text.StartsWith("insert", StringComparison.Ordinal));
        Assert.Equal("bind", entry.Kind);
        Assert.Equal(["7", "sieben"], entry.Parameters);
    }

    [Fact]
    public async Task Errors_and_durations_are_recorded()
    {
        await using var gateway = new Gateway(server.Port);
        await gateway.PsqlAsync("select 1/0;\n");
        var session = Assert.Single(gateway.Recorder.Sessions);
        await session.EndedAsync();
        CompletionEntry completion = Assert.Single(session.Completions);
        Assert.Equal(("error", "22012"), (completion.Outcome, completion.ErrorCode));
        Assert.True(completion.DurationMicroseconds > 0);
    }

    [Fact]
    public async Task A_large_result_passes_in_bounded_memory()
    {
        await using var gateway = new Gateway(server.Port);
        await using var connection = await gateway.OpenAsync();
        await using var command = new NpgsqlCommand("select repeat('x', 1000) from generate_series(1, 50000)", connection);
        await using var reader = await command.ExecuteReaderAsync();
        var before = GC.GetTotalMemory(true);
        var rows = 0;
        while (await reader.ReadAsync())
        {
            rows++;
        }

        Assert.Equal(50000, rows);
        Assert.True(GC.GetTotalMemory(true) - before < 20 << 20);
    }
}
