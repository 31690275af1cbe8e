using Countersign.Policy.Contracts;
using Npgsql;

namespace Countersign.Proxy.Postgres.Tests;

[Trait("group", "postgres")]
public sealed class MaskTests(ServerFixture server)
{
    private static Decision Masked(long? rows = null, bool mask = true) => FunctionDecider.Allow with
    {
        Obligations = new Obligations { Masks = mask ? [new ColumnMask("public", "people", "ssn", "redact")] : [], RowLimit = rows },
    };

    [Fact]
    public async Task Masked_columns_are_replaced_in_every_protocol()
    {
        await PrepareAsync();
        await using var gateway = new Gateway(server.Port, masks: true);
        var decision = Masked();
        gateway.Decider.Rule = _ => decision;
        var output = await gateway.PsqlAsync("select name, ssn from people;\ncopy people to stdout;\nselect name from people;\n");
        Assert.DoesNotContain("123-45", output, StringComparison.Ordinal);
        Assert.Contains("ann", output, StringComparison.Ordinal);

        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Parse("", "select ssn, name from people").Bind("", "").Execute("").Sync();
        var replies = await client.RunAsync();
        Assert.Equal("12DCZ", replies.Types());
        Assert.DoesNotContain("123-45", replies[2].Text, StringComparison.Ordinal);
        Assert.Contains("ann", replies[2].Text, StringComparison.Ordinal);

        await using var connection = await gateway.OpenAsync();
        await using var command = new NpgsqlCommand("select ssn from people", connection);
        Assert.NotEqual("123-45-6789", await command.ExecuteScalarAsync());
        Assert.Contains(gateway.Recorder.Completions, completion => completion.Masked > 0);
    }

    [Fact]
    public async Task Errors_about_masked_values_are_cleaned()
    {
        await PrepareAsync();
        await using var gateway = new Gateway(server.Port, masks: true);
        var decision = Masked();
        gateway.Decider.Rule = _ => decision;
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("select ssn::int from people");
        var error = (await client.RunAsync()).Error();
        Assert.Equal("22P02", error.Field('C'));
        Assert.DoesNotContain("123-45", error.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_row_limit_ends_the_result_with_an_error()
    {
        await using var gateway = new Gateway(server.Port, masks: true);
        var decision = Masked(rows: 10, mask: false);
        gateway.Decider.Rule = _ => decision;
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("select * from generate_series(1, 1000000)");
        var replies = await client.RunAsync();
        Assert.Equal(10, replies.Count(reply => reply.Type == 'D'));
        Assert.Equal("54000", replies.Error().Field('C'));
    }

    [Fact]
    public async Task Without_a_catalog_what_needs_masks_is_denied()
    {
        await PrepareAsync();
        await using var gateway = new Gateway(server.Port);
        var decision = Masked();
        gateway.Decider.Rule = _ => decision;
        using var client = await RawClient.LogInAsync(gateway.Port);
        client.Query("select ssn from people");
        await client.FlushAsync();
        Reply? last = null;
        while (await client.TryReadAsync() is { Type: not 'Z' } reply)
        {
            last = reply;
        }

        Assert.Equal('E', last!.Type);
    }

    private Task<string> PrepareAsync() => server.DirectAsync(
        "set client_min_messages = error; drop table if exists people; create table people(name text, ssn text); insert into people values ('ann', '123-45-6789');");
}
