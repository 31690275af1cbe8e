using System.Text;
using Countersign.Fakes.Postgres;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Postgres.Ports;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>Targets that do what no real server does: each ends one session with a clear error, is recorded, and touches no other session.</summary>
[Trait("group", "postgres")]
public sealed class ScriptedTargetTests(ServerFixture server)
{
    private const int Huge = int.MaxValue;

    public static TheoryData<string, string> Logins => new()
    {
        { "cleartext password", "28000" },
        { "MD5 password", "28000" },
        { "GSSAPI", "28000" },
        { "no authentication after SASL began", "28000" },
        { "SCRAM with a wrong signature", "28000" },
        { "SCRAM with another nonce", "08P01" },
        { "SCRAM with a billion iterations", "08P01" },
        { "SCRAM that asks twice", "08P01" },
        { "SCRAM that is never asked for", "28000" },
        { "SASL without a mechanism that is known", "08P01" },
        { "notices without end", "08P01" },
        { "settings without end", "08P01" },
        { "a huge setting", "54000" },
        { "another server encoding", "0A000" },
        { "another client encoding", "08P01" },
        { "a negative length", "08P01" },
        { "a length of 2 GiB", "54000" },
        { "an unknown type", "08P01" },
        { "a row before the login", "08P01" },
        { "ready before the login", "08P01" },
        { "silence", "08001" },
        { "silence after the login", "08001" },
        { "a goodbye in the middle", "08006" },
        { "no search path", "08P01" },
    };

    [Theory]
    [MemberData(nameof(Logins))]
    public async Task A_target_that_logs_in_wrongly_lets_nobody_in(string script, string code)
    {
        await using var target = new ScriptedTarget(session => LogInAsync(session, script));
        await using var gateway = Make(target, new PostgresOptions { TargetTimeout = TimeSpan.FromSeconds(script.StartsWith("silence", StringComparison.Ordinal) ? 1 : 15) });
        using var other = await RawClient.LogInAsync(gateway.Port);
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => RawClient.LogInAsync(gateway.Port, database: "gone"));
        Assert.StartsWith($"E({code} ", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("only-for-tests", error.Message, StringComparison.Ordinal);
        other.Query("select 1");
        Assert.Equal("TDCZ", (await other.RunAsync()).Types());
        Assert.Empty(target.Failures);
    }

    public static TheoryData<string, string, string> Answers => new()
    {
        { "a negative length", "protocol", "08P01" },
        { "a length below four", "protocol", "08P01" },
        { "an error of 2 GiB", "protocol", "54000" },
        { "a description of 2 GiB", "protocol", "54000" },
        { "an unknown type", "protocol", "08P01" },
        { "a frontend's type", "protocol", "08P01" },
        { "an answer to Bind", "protocol", "08P01" },
        { "an authentication request", "protocol", "08P01" },
        { "a function's result", "protocol", "08P01" },
        { "the end of a COPY that never began", "ok", "" },
        { "ready with nothing asked", "protocol", "08P01" },
        { "a row with nothing asked", "protocol", "08P01" },
        { "a ready without status", "protocol", "08P01" },
        { "another encoding", "protocol", "0A000" },
        { "a setting without value", "protocol", "08P01" },
        { "a tag without end", "protocol", "08P01" },
        { "a goodbye", "target", "08006" },
        { "a goodbye within a row", "target", "" },
    };

    [Theory]
    [MemberData(nameof(Answers))]
    public async Task A_target_that_answers_wrongly_ends_that_session_alone_and_is_recorded(string script, string reason, string code)
    {
        await using var target = new ScriptedTarget(async session =>
        {
            if (session.IsCancel)
            {
                return;
            }

            await session.WelcomeAsync();
            await session.ReadAsync();
            await AnswerAsync(session, script);
        });
        await using var gateway = Make(target);
        using var other = await RawClient.LogInAsync(gateway.Port);
        using var client = await RawClient.LogInAsync(gateway.Port, database: "gone");
        client.Query("select 'asked'");
        await client.FlushAsync();
        var replies = new List<Reply>();
        while (await client.TryReadAsync() is { } reply)
        {
            replies.Add(reply);
            if (reply.Type == 'Z' && reason == "ok")
            {
                break;
            }
        }

        if (code.Length > 0)
        {
            Assert.Equal(code, replies[^1].Field('C'));
            Assert.Equal("FATAL", replies[^1].Field('S'));
        }

        if (reason != "ok")
        {
            var recording = gateway.Recorder.Sessions.Last();
            Assert.Equal(reason, (await recording.EndedAsync()).Reason);
            Assert.Equal("select 'asked'", Assert.Single(recording.Operations).Text);
            if (!script.EndsWith("nothing asked", StringComparison.Ordinal))
            {
                Assert.Equal("unknown", Assert.Single(recording.Completions).Outcome);
            }
        }

        other.Query("select 1");
        Assert.Equal("TDCZ", (await other.RunAsync()).Types());
        Assert.Empty(target.Failures);
    }

    [Fact]
    public async Task A_target_that_sends_one_byte_at_a_time_changes_nothing()
    {
        await using var target = new ScriptedTarget(async session =>
        {
            await session.WelcomeAsync(bytewise: true);
            await session.ReadAsync();
            await session.Columns().Row("x").Row(new string('y', 300)).Say('N', "SNOTICE\0VNOTICE\0C00000\0Mhello\0\0"u8.ToArray()).Setting("TimeZone", "UTC")
                .Say('C', ScriptedSession.Text("SELECT 2")).Say('Z', "I"u8.ToArray()).SendAsync(bytewise: true);
            await session.OutlastAsync();
        });
        await using var gateway = Make(target);
        using var client = await RawClient.LogInAsync(gateway.Port, database: "gone");
        client.Query("select a from t");
        Assert.Equal("TDDNSCZ", (await client.RunAsync()).Types());
        await Until.TrueAsync(() => gateway.Recorder.Completions.Any(completion => completion is { Outcome: "ok", Rows: 2 }));
    }

    [Fact]
    public async Task A_flood_of_settings_is_passed_on_in_bounded_memory()
    {
        const int Count = 200_000;
        await using var target = new ScriptedTarget(async session =>
        {
            await session.WelcomeAsync();
            await session.ReadAsync();
            for (var count = 0; count < Count; count += 1000)
            {
                for (var index = 0; index < 1000; index++)
                {
                    session.Setting("TimeZone", "Europe/Vienna and some more to make it longer than it is");
                }

                await session.SendAsync();
            }

            await session.Columns().Say('C', ScriptedSession.Text("SELECT 0")).Say('Z', "I"u8.ToArray()).SendAsync();
            await session.OutlastAsync();
        });
        await using var gateway = Make(target);
        using var client = await RawClient.LogInAsync(gateway.Port, database: "gone");
        client.Query("select a from t");
        await client.FlushAsync();

        // A client that doesn't read for a while: the flood waits in the sockets, not in the gateway.
        var before = GC.GetTotalMemory(forceFullCollection: true);
        var settings = 0;
        while (await client.ReadAsync() is { Type: not 'Z' } reply)
        {
            settings += reply.Type == 'S' ? 1 : 0;
        }

        Assert.Equal(Count, settings);
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, 16 << 20);
    }

    [Fact]
    public async Task A_cancel_for_a_row_limit_can_not_hit_the_next_statement()
    {
        var events = new List<string>();
        var release = new TaskCompletionSource();
        await using var target = new ScriptedTarget(async session =>
        {
            if (session.IsCancel)
            {
                await release.Task;
                Note("cancel taken");
                return;
            }

            await session.WelcomeAsync();
            for (var query = 1; query <= 2; query++)
            {
                await session.ReadAsync();
                Note($"query {query}");
                session.Columns();
                for (var row = 0; row < (query == 1 ? 5 : 1); row++)
                {
                    session.Row("x");
                }

                await session.Say('C', ScriptedSession.Text("SELECT 1")).Say('Z', "I"u8.ToArray()).SendAsync();
            }

            await session.OutlastAsync();
        });
        await using var gateway = Make(target, masks: true);
        gateway.Decider.Rule = _ => FunctionDecider.Allow with { Obligations = new Obligations { RowLimit = 2 } };
        using var client = await RawClient.LogInAsync(gateway.Port, database: "gone");
        client.Query("select a from t").Query("select a from t");
        var first = await client.RunAsync();
        Assert.Equal("54000", first.Error().Field('C'));
        Assert.Equal(2, first.Count(reply => reply.Type == 'D'));
        release.SetResult();
        Assert.Equal("TDCZ", (await client.ReadToReadyAsync()).Types());
        Assert.Equal(["query 1", "cancel taken", "query 2"], events);

        void Note(string what)
        {
            lock (events)
            {
                events.Add(what);
            }
        }
    }

    [Fact]
    public async Task A_catalog_of_another_shape_lets_nothing_masked_pass()
    {
        await using var target = new ScriptedTarget(async session =>
        {
            session.HasCatalog = false;
            await session.WelcomeAsync();
            while (true)
            {
                await session.ReadAsync();
                await session.Say('E', "SERROR\0VERROR\0C42601\0Mno\0\0"u8.ToArray()).Say('Z', "I"u8.ToArray()).SendAsync();
            }
        });
        await using var gateway = Make(target, masks: true);
        gateway.Decider.Rule = _ => FunctionDecider.Allow with { Obligations = new Obligations { Masks = [new ColumnMask("public", "people", "ssn", "redact")] } };
        using var client = await RawClient.LogInAsync(gateway.Port, database: "gone");
        client.Query("select ssn from people");
        var replies = await client.RunAsync();
        Assert.Equal("EZ", replies.Types());
        Assert.DoesNotContain("XX000", replies.Error().Field('C'), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("SCRAM-SHA-256-PLUS SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=")]
    [InlineData("SCRAM-SHA-256", "SCRAM-SHA-256", "y,,n=,r=")]
    public async Task Over_tls_a_binding_is_used_where_it_is_offered_and_its_absence_is_named_else(string offered, string chosen, string begins)
    {
        var said = new TaskCompletionSource<byte[]>();
        var (authority, leaf) = TestCertificates.Make("localhost");
        await using var target = new ScriptedTarget(
            async session =>
            {
                await session.Say('R', [ScriptedSession.Int32(10), .. offered.Split(' ').Select(ScriptedSession.Text), [0]]).SendAsync();
                said.TrySetResult((await session.ReadAsync()).Body);
            },
            leaf);
        await using var gateway = Make(target);
        gateway.Connections.Targets["gone"] = gateway.Connections.Targets["gone"] with { Host = "localhost", VerifyTls = true, TrustedCertificates = authority.ExportCertificatePem() };
        await Assert.ThrowsAsync<InvalidOperationException>(() => RawClient.LogInAsync(gateway.Port, database: "gone"));
        var first = Encoding.ASCII.GetString(await said.Task);
        Assert.StartsWith(chosen + "\0", first, StringComparison.Ordinal);

        // "y" says: we could, you can't. A server that can ends the login: somebody took its offer away.
        Assert.StartsWith(begins, first[(chosen.Length + 5)..], StringComparison.Ordinal);
    }

    private Gateway Make(ScriptedTarget target, PostgresOptions? options = null, bool masks = false)
    {
        var gateway = new Gateway(server.Port, options, masks: masks);
        gateway.Connections.Targets["gone"] = gateway.Connections.Targets[Gateway.Connection] with
        {
            Connection = "gone",
            Port = target.Port,
            Credential = new TargetCredential("app", PostgresServer.Password),
        };
        return gateway;
    }

    private static async Task LogInAsync(ScriptedSession session, string script)
    {
        var ok = ScriptedSession.Int32(0);
        switch (script)
        {
            case "cleartext password":
                await session.Say('R', ScriptedSession.Int32(3)).SendAsync();
                break;
            case "MD5 password":
                await session.Say('R', ScriptedSession.Int32(5), [1, 2, 3, 4]).SendAsync();
                break;
            case "GSSAPI":
                await session.Say('R', ScriptedSession.Int32(7)).SendAsync();
                break;
            case "SASL without a mechanism that is known":
                await session.Say('R', ScriptedSession.Int32(10), ScriptedSession.Text("OAUTHBEARER"), [0]).SendAsync();
                break;
            case "SCRAM that is never asked for":
                await session.Say('R', ScriptedSession.Int32(12), "v=AAAA"u8.ToArray()).SendAsync();
                break;
            case "no authentication after SASL began" or "SCRAM with a wrong signature" or "SCRAM with another nonce" or "SCRAM with a billion iterations" or "SCRAM that asks twice":
                await ScramAsync(session, script);
                break;
            case "notices without end":
                session.Say('R', ok);
                while (true)
                {
                    await session.Say('N', "SNOTICE\0VNOTICE\0C00000\0Magain\0\0"u8.ToArray()).SendAsync();
                }

            case "settings without end":
                session.Say('R', ok);
                while (true)
                {
                    await session.Setting("TimeZone", new string('x', 1000)).SendAsync();
                }

            case "a huge setting":
                await session.Say('R', ok).Setting("TimeZone", new string('x', 1 << 19)).SendAsync();
                break;
            case "another server encoding":
                await session.Say('R', ok).Setting("server_encoding", "LATIN1").SendAsync();
                break;
            case "another client encoding":
                await session.Say('R', ok).Setting("client_encoding", "SJIS").SendAsync();
                break;
            case "a negative length":
                await session.Raw((byte)'R', -1).SendAsync();
                break;
            case "a length of 2 GiB":
                await session.Raw((byte)'E', Huge).SendAsync();
                break;
            case "an unknown type":
                await session.Raw((byte)'%', 8, ok).SendAsync();
                break;
            case "a row before the login":
                await session.Row("x").SendAsync();
                break;
            case "ready before the login":
                await session.Say('Z', "I"u8.ToArray()).SendAsync();
                break;
            case "silence":
                break;
            case "silence after the login":
                await session.Say('R', ok).Say('K', ok, ok).Say('Z', "I"u8.ToArray()).SendAsync();
                break;
            case "a goodbye in the middle":
                await session.Say('R', ok).SendAsync();
                return;
            case "no search path":
                await session.Say('R', ok).Say('K', ok, ok).Say('Z', "I"u8.ToArray()).SendAsync();
                await session.ReadAsync();
                await session.Say('C', ScriptedSession.Text("SELECT 0")).Say('Z', "I"u8.ToArray()).SendAsync();
                break;
            default:
                throw new InvalidOperationException(script);
        }

        await session.OutlastAsync();
    }

    private static async Task ScramAsync(ScriptedSession session, string script)
    {
        await session.Say('R', ScriptedSession.Int32(10), ScriptedSession.Text("SCRAM-SHA-256"), [0]).SendAsync();
        var first = Encoding.ASCII.GetString((await session.ReadAsync()).Body);
        if (script == "no authentication after SASL began")
        {
            await session.Say('R', ScriptedSession.Int32(0)).SendAsync();
            return;
        }

        var nonce = script == "SCRAM with another nonce" ? "another" : first[(first.IndexOf("r=", StringComparison.Ordinal) + 2)..];
        var challenge = $"r={nonce}more,s=AAAAAAAAAAAAAAAAAAAAAA==,i={(script == "SCRAM with a billion iterations" ? 1_000_000_000 : 4096)}";
        await session.Say('R', ScriptedSession.Int32(11), Encoding.ASCII.GetBytes(challenge)).SendAsync();
        await session.ReadAsync();
        if (script == "SCRAM that asks twice")
        {
            await session.Say('R', ScriptedSession.Int32(11), Encoding.ASCII.GetBytes(challenge)).SendAsync();
            await session.ReadAsync();
            return;
        }

        await session.Say('R', ScriptedSession.Int32(12), "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="u8.ToArray()).Say('R', ScriptedSession.Int32(0)).SendAsync();
    }

    private static async Task AnswerAsync(ScriptedSession session, string script)
    {
        var ready = "I"u8.ToArray();
        switch (script)
        {
            case "a negative length":
                session.Raw((byte)'C', -7);
                break;
            case "a length below four":
                session.Raw((byte)'D', 3);
                break;
            case "an error of 2 GiB":
                session.Raw((byte)'E', Huge);
                break;
            case "a description of 2 GiB":
                session.Raw((byte)'T', Huge);
                break;
            case "an unknown type":
                session.Say('%');
                break;
            case "a frontend's type":
                session.Say('Q', ScriptedSession.Text("select 1"));
                break;
            case "an answer to Bind":
                session.Say('2');
                break;
            case "an authentication request":
                session.Say('R', ScriptedSession.Int32(3));
                break;
            case "a function's result":
                session.Say('V', ScriptedSession.Int32(-1));
                break;
            case "the end of a COPY that never began":
                session.Say('c').Say('C', ScriptedSession.Text("SELECT 0")).Say('Z', ready);
                break;
            case "ready with nothing asked":
                session.Say('C', ScriptedSession.Text("SELECT 0")).Say('Z', ready).Say('Z', ready);
                break;
            case "a row with nothing asked":
                session.Say('C', ScriptedSession.Text("SELECT 0")).Say('Z', ready).Row("x");
                break;
            case "a ready without status":
                session.Say('Z');
                break;
            case "another encoding":
                session.Setting("client_encoding", "SJIS");
                break;
            case "a setting without value":
                session.Say('S', ScriptedSession.Text("TimeZone"));
                break;
            case "a tag without end":
                session.Say('C', "SELECT 1"u8.ToArray());
                break;
            case "a goodbye":
                return;
            case "a goodbye within a row":
                await session.Columns().Raw((byte)'D', 100, [0, 1]).SendAsync();
                return;
            default:
                throw new InvalidOperationException(script);
        }

        await session.SendAsync();
        await session.OutlastAsync();
    }
}
