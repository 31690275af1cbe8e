using CsCheck;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>
/// The same random scripts of messages, sent directly and through a gateway that allows everything, must be answered alike: types, SQLSTATEs, rows and
/// transaction status. It shows that mirrored names, skips after errors and COPY never get out of step with the server.
/// </summary>
[Trait("group", "fuzz")]
public sealed class ConformanceTests
{
    private static readonly Gen<string> Texts = OneOf(
        "select 1", "select 1/0", "begin", "commit", "rollback", "savepoint a", "rollback to a", "insert into conf values (1)", "select count(*) from conf",
        "selec", "", "select 1; select 2", "insert into conf values (2); select 1/0", "copy conf to stdout", "begin; insert into conf values (3)",
        "prepare q as select 2", "execute q", "deallocate q", "deallocate all", "declare c cursor for select generate_series(1,5)", "fetch 2 from c", "close c",
        "declare h cursor with hold for select 7", "fetch h", "discard all", "commit and chain", "set search_path = public", "update conf set a = a + 1 returning a");

    private static readonly Gen<string> Single = Texts.Where(text => !text.Contains(';', StringComparison.Ordinal));
    private static readonly Gen<string> Statement = OneOf("", "s", "t");
    private static readonly Gen<string> PortalName = OneOf("", "p");

    private static readonly Gen<Action<RawClient>> Message = Gen.Frequency(
        (4, Gen.Select(Statement, Single).Select((name, text) => (Action<RawClient>)(client => client.Parse(name, text)))),
        (5, Gen.Select(PortalName, Statement).Select((portal, name) => (Action<RawClient>)(client => client.Bind(portal, name)))),
        (5, Gen.Select(PortalName, Gen.Int[0, 2]).Select((portal, rows) => (Action<RawClient>)(client => client.Execute(portal, rows)))),
        (1, Statement.Select(name => (Action<RawClient>)(client => client.Describe('S', name)))),
        (1, PortalName.Select(name => (Action<RawClient>)(client => client.Describe('P', name)))),
        (1, Statement.Select(name => (Action<RawClient>)(client => client.Close('S', name)))),
        (1, PortalName.Select(name => (Action<RawClient>)(client => client.Close('P', name)))));

    private static readonly Gen<Action<RawClient>[]> Segment = Gen.Frequency(
        (2, Texts.Select(text => new Action<RawClient>[] { client => client.Query(text) })),
        (3, Message.Array[1, 7].Select(messages => (Action<RawClient>[])[.. messages, client => client.Sync()])));

    private static Gen<string> OneOf(params string[] texts) => Gen.Int[0, texts.Length - 1].Select(index => texts[index]);

    [Fact]
    public async Task Random_scripts_are_answered_as_the_server_does()
    {
        // A server of its own: scripts like these have crashed a backend of PostgreSQL 15, which ends every session of its server.
        await using var server = await Countersign.Fakes.Postgres.PostgresServer.StartAsync();
        await using var gateway = new Gateway(server.Port);
        await Gen.Select(Segment.Array[1, 8], Gen.Bool).SampleAsync(
            async script =>
            {
                var (segments, pipelined) = script;
                var direct = await PlayAsync(server.Port, "postgres", "postgres", segments, pipelined);
                var through = await PlayAsync(gateway.Port, Gateway.User, Gateway.Connection, segments, pipelined);
                Assert.Equal(direct, through);
            },
            iter: 300,
            threads: 1);
    }

    private static async Task<string> PlayAsync(int port, string user, string database, Action<RawClient>[][] segments, bool pipelined)
    {
        using var client = await RawClient.LogInAsync(port, user, database);
        client.Query("create temp table conf(a int)");
        await client.RunAsync();
        var answers = new List<string>();
        foreach (var segment in segments)
        {
            foreach (var message in segment)
            {
                message(client);
            }

            if (!pipelined)
            {
                answers.Add(Describe(await client.RunAsync()));
            }
        }

        if (pipelined)
        {
            await client.FlushAsync();
            foreach (var _ in segments)
            {
                answers.Add(Describe(await client.ReadToReadyAsync()));
            }
        }

        return string.Join('\n', answers);
    }

    private static string Describe(List<Reply> replies) => string.Join(' ', replies.Where(reply => reply.Type is not ('N' or 'S')).Select(reply => reply.Type switch
    {
        'E' => $"E({CodeOf(reply, replies[^1])})",
        'D' or 'C' or 'Z' or 'd' => $"{reply.Type}({Convert.ToHexStringLower(reply.Body)})",
        _ => reply.Type.ToString(),
    }));

    /// <summary>
    /// A simple Query that failed in a transaction leaves its unnamed portal behind at the server, which the gateway doesn't mirror: executing it is an
    /// error either way, of a failed transaction there (25P02, or 55000 where what failed would have ended it: ROLLBACK TO a savepoint that isn't there), and of
    /// a missing portal here. Nothing runs, and the transaction stays failed.
    /// </summary>
    private static string CodeOf(Reply reply, Reply ready) => ready.Text == "E" && reply.Field('C') is "34000" or "55000" ? "25P02" : reply.Field('C');
}
