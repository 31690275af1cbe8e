using System.Security.Cryptography;
using System.Text;
using Npgsql;

namespace Countersign.Proxy.Postgres.Tests;

[Trait("group", "postgres")]
public sealed class CopyTests(ServerFixture server)
{
    [Fact]
    public async Task Copy_in_and_out_by_psql()
    {
        await server.DirectAsync("create table copy1(a int, b text);");
        await using var gateway = new Gateway(server.Port);
        var output = await gateway.PsqlAsync("copy copy1 from stdin;\n1\tone\n2\ttwo\n\\.\ncopy copy1 to stdout;\nselect 'after';\n");
        Assert.Equal("COPY 2\n1\tone\n2\ttwo\nafter\n", output);
        var session = Assert.Single(gateway.Recorder.Sessions);
        await session.EndedAsync();
        var completion = session.Completions.First();
        Assert.Equal(2, completion.Rows);

        // psql sends the end marker along.
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData("1\tone\n2\ttwo\n\\.\n"u8)), completion.CopySha256);
    }

    [Fact]
    public async Task Binary_copy_of_many_rows_by_npgsql()
    {
        await server.DirectAsync("create table copy2(a int, b text);");
        await using var gateway = new Gateway(server.Port);
        await using var connection = await gateway.OpenAsync();
        await using (var writer = await connection.BeginBinaryImportAsync("copy copy2 (a, b) from stdin (format binary)"))
        {
            for (var row = 0; row < 20000; row++)
            {
                await writer.StartRowAsync();
                await writer.WriteAsync(row);
                await writer.WriteAsync(new string('x', 200));
            }

            await writer.CompleteAsync();
        }

        var rows = 0;
        await using (var reader = await connection.BeginBinaryExportAsync("copy copy2 to stdout (format binary)"))
        {
            while (await reader.StartRowAsync() >= 0)
            {
                Assert.Equal(rows, await reader.ReadAsync<int>());
                await reader.SkipAsync();
                rows++;
            }
        }

        Assert.Equal(20000, rows);
    }

    [Fact]
    public async Task A_copy_that_fails_in_the_middle_leaves_the_connection_in_sync()
    {
        await server.DirectAsync("create table copy3(a int);");
        await using var gateway = new Gateway(server.Port);
        var output = await gateway.PsqlAsync("copy copy3 from stdin;\n1\nnonsense\n3\n\\.\nselect 'after';\n");
        Assert.Contains("22P02", output, StringComparison.Ordinal);
        Assert.Contains("after\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_can_stop_a_copy()
    {
        await server.DirectAsync("create table copy4(a int);");
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("copy copy4 from stdin");
        await client.FlushAsync();
        Assert.Equal('G', (await client.ReadAsync()).Type);
        client.Begin('d').Bytes("1\n"u8.ToArray()).End().Begin('f').CString("changed my mind").End();
        Assert.Equal("57014", (await client.RunAsync()).Error().Field('C'));
        client.Query("select 1");
        Assert.Equal("TDCZ", (await client.RunAsync()).Types());
    }

    [Fact]
    public async Task Copy_in_the_extended_protocol_with_syncs_that_the_server_ignores()
    {
        await server.DirectAsync("create table copy5(a int);");
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Parse("", "copy copy5 from stdin").Bind("", "").Execute("").Sync();
        await client.FlushAsync();
        Assert.Equal('1', (await client.ReadAsync()).Type);
        Assert.Equal('2', (await client.ReadAsync()).Type);
        Assert.Equal('G', (await client.ReadAsync()).Type);
        client.Begin('d').Bytes("1\n2\n"u8.ToArray()).End().Begin('c').End().Sync();
        Assert.Equal("CZ", (await client.RunAsync()).Types());
        client.Parse("", "copy copy5 to stdout").Bind("", "").Execute("").Sync();
        Assert.Equal("12HddcCZ", (await client.RunAsync()).Types());
    }

    [Fact]
    public async Task Copy_data_that_comes_before_it_is_asked_for_arrives()
    {
        await server.DirectAsync("create table copy6(a int);");
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("copy copy6 from stdin").Begin('d').Bytes("7\n"u8.ToArray()).End().Begin('c').End();
        Assert.Equal("GCZ", (await client.RunAsync()).Types());
        Assert.Equal("7\n", await server.DirectAsync("select a from copy6;"));
    }

    [Fact]
    public async Task A_refused_copy_drops_its_data()
    {
        await server.DirectAsync("create table copy7(a int);");
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(deny: ["COPY", "COPY FROM"]);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("copy copy7 from stdin").Begin('d').Bytes("7\n"u8.ToArray()).End().Begin('c').End().Query("select 1");
        Assert.Equal("42501", (await client.RunAsync()).Error().Field('C'));
        Assert.Equal("TDCZ", (await client.ReadToReadyAsync()).Types());
    }

    [Fact]
    public async Task A_query_during_copy_ends_the_session()
    {
        await server.DirectAsync("create table copy8(a int);");
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("copy copy8 from stdin");
        await client.FlushAsync();
        Assert.Equal('G', (await client.ReadAsync()).Type);
        client.Query("select 1");
        await client.FlushAsync();
        Assert.Equal("08P01", (await client.ReadAsync()).Field('C'));
    }

    [Fact]
    public async Task One_very_large_copy_data_message_passes_in_pieces()
    {
        await server.DirectAsync("create table copy9(a text);");
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("copy copy9 from stdin");
        await client.FlushAsync();
        await client.ReadAsync();
        var line = Encoding.ASCII.GetBytes(new string('y', 999) + "\n");
        var data = Enumerable.Repeat(line, 20000).SelectMany(each => each).ToArray();
        client.Begin('d').Bytes(data).End().Begin('c').End();
        var replies = await client.RunAsync();
        Assert.Equal("CZ", replies.Types());
        Assert.Equal("20000\n", await server.DirectAsync("select count(*) from copy9;"));
    }
}
