using Countersign.Platform.Postgres;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Recorder.Tests;

/// <summary>The log in a real PostgreSQL, and what only a log has that is shared by replicas.</summary>
[Trait("group", "evidence")]
public sealed class PostgresLogTests(PostgresFixture postgres) : LogContract
{
    private readonly string _schema = "log" + Guid.NewGuid().ToString("N")[..12];
    private readonly TestFolder _folder = new();
    private readonly List<PostgresDatabase> _databases = [];

    public override void Dispose()
    {
        base.Dispose();
        _databases.ForEach(database => database.Dispose());
        _folder.Dispose();
    }

    [Fact]
    public async Task Two_replicas_never_fork_the_log_and_take_every_entry_once()
    {
        // Every batch goes to both, at once; their answers, their checkpoints and what they then have must be one log.
        var signed = new List<Checkpoint>[] { [], [] };
        using (var one = OpenReplica(signed[0]))
        using (var other = OpenReplica(signed[1]))
        {
            RecorderLog[] replicas = [one, other];
            var sessions = Enumerable.Range(0, 24).Select(number => Make.Session($"ses_{number}", 20, Proxy)).ToList();
            await Task.WhenAll(sessions.Select((session, number) => Task.Run(async () =>
            {
                for (var begin = 0; begin < session.Count; begin += 7)
                {
                    var batch = session.Skip(Math.Max(0, begin - 2)).Take(9).ToList();
                    var results = await Task.WhenAll(replicas.Select(replica => replica.AppendAsync(batch, Proxy.Check, default)));
                    Assert.All(results, result => Assert.Empty(result.Refused));
                    Assert.All(results, result => Assert.Equal(batch[^1].Sequence, result.Acknowledged[session[0].Session]));
                    await replicas[(begin + number) % 2].AppendEventAsync(
                        new AuditEvent { Id = $"e{begin % 3}", Service = "approval", Action = "a", At = DateTimeOffset.UnixEpoch }, default);
                }
            })));
            await UntilAsync(() => one.Latest.Size == other.Latest.Size && one.Latest.Size == one.Size && one.Size == other.Size);
            Assert.Equal(one.Latest, other.Latest);
            Assert.Equal(one.CheckpointNote, other.CheckpointNote);
            var all = ReadAll(one);
            Assert.Equal(sessions.Sum(session => session.Count), all.Count(entry => SealKey.OwnerOf(entry.Session) == SealKey.Proxy));
            Assert.Equal(3, all.Count(entry => entry.Type == EntryType.Event));
            foreach (var session in all.GroupBy(entry => entry.Session))
            {
                Assert.Equal(Enumerable.Range(1, session.Count()).Select(number => (long)number), session.Select(entry => entry.Sequence));
            }

            var tree = new NaiveTree(all.Select(entry => entry.LeafHash));
            Assert.All(signed.SelectMany(list => list), checkpoint => Assert.Equal(tree.Root((int)checkpoint.Size), checkpoint.Root));

            // One size is signed once, whoever signs.
            var sizes = signed.SelectMany(list => list).Select(checkpoint => checkpoint.Size).ToList();
            Assert.Equal(sizes.Count, sizes.Distinct().Count());
        }
    }

    [Fact]
    public async Task A_replica_that_dies_in_its_turn_leaves_nothing_behind_and_the_other_goes_on()
    {
        using var survivor = OpenReplica();
        var dying = new StoppedStorage(Storage());
        using var dead = RecorderLog.Open(Options(), dying, LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, _) => { });
        var session = Make.Session("ses_1", 20, Proxy);
        await survivor.AppendAsync(session[..5], Proxy.Check, default);
        await UntilAsync(() => dead.Size == 5);

        // It stands still with the turn and everything appended; then the server ends its session, as it does with one that is idle for too long.
        dying.StopBeforeCommit.Set();
        var lost = dead.AppendAsync(session[5..9], Proxy.Check, default);
        await dying.Stopped.Task;
        var others = survivor.AppendAsync([.. session[5..7], .. Make.Session("ses_2", 3, Proxy)], Proxy.Check, default);
        Assert.False(others.IsCompleted);
        await TerminateAsync(dying.Backend);
        Assert.Empty((await others).Refused);

        // What it does when it comes to itself is refused, nothing was acknowledged, and it takes part again.
        dying.StopBeforeCommit.Reset();
        dying.GoOn.Set();
        await Assert.ThrowsAsync<LogFailedException>(() => lost);
        await UntilAsync(() => dead.Problem is null && dead.Size == survivor.Size);
        Assert.Equal(session.Count, (await dead.AppendAsync(session, Proxy.Check, default)).Acknowledged["ses_1"]);
        await UntilAsync(() => dead.Latest.Size == dead.Size && survivor.Latest == dead.Latest);
        var all = ReadAll(survivor);
        Assert.Equal(session.Count, all.Count(entry => entry.Session == "ses_1"));
        Assert.Equal(new NaiveTree(all.Select(entry => entry.LeafHash)).Root(all.Count), dead.Latest.Root);
    }

    [Fact]
    public async Task A_commit_whose_answer_got_lost_is_found_again()
    {
        var storage = new StoppedStorage(Storage()) { LoseAnswers = 1 };
        using var log = RecorderLog.Open(Options(), storage, LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, _) => { });
        var session = Make.Session("ses_1", 5, Proxy);
        await Assert.ThrowsAsync<LogFailedException>(() => log.AppendAsync(session, Proxy.Check, default));
        await UntilAsync(() => log.Problem is null && log.Size == session.Count);
        Assert.Equal(session.Count, (await log.AppendAsync(session, Proxy.Check, default)).Acknowledged["ses_1"]);
        Assert.Equal(session.Count, log.Size);
    }

    [Fact]
    public async Task What_a_dead_replica_left_unsealed_and_unsigned_another_seals_and_signs()
    {
        using var survivor = OpenReplica();
        var storage = new StoppedStorage(Storage());
        using var dead = RecorderLog.Open(
            Options() with { CheckpointDelay = TimeSpan.FromHours(1), FollowInterval = TimeSpan.FromHours(1) }, storage, LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, _) => { });
        await dead.AppendEventAsync(new AuditEvent { Id = "e1", Service = "approval", Action = "a", At = DateTimeOffset.UnixEpoch }, default);
        await UntilAsync(() => survivor.Latest.Size == 2);
        Assert.Equal([EntryType.Event, EntryType.Seal], ReadAll(survivor).Select(entry => entry.Type));
    }

    [Fact]
    public async Task An_outage_stops_the_log_and_its_end_lets_it_go_on()
    {
        await using var server = await Fakes.Postgres.PostgresServer.StartAsync();
        using var database = new PostgresDatabase(
            new PostgresSettings { Postgres = $"Host=127.0.0.1;Port={server.Port};Database=postgres;Username=postgres" }, _schema, [LogSchema.Component],
            NullLogger<PostgresDatabase>.Instance);
        using var log = RecorderLog.Open(database, Options(), LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, _) => { });
        var session = Make.Session("ses_1", 20, Proxy);
        await log.AppendAsync(session[..10], Proxy.Check, default);
        await server.StopAsync();
        await Assert.ThrowsAsync<LogFailedException>(() => log.AppendAsync(session, Proxy.Check, default));
        await UntilAsync(() => log.Problem is not null);
        Assert.Contains("can't be used", log.Problem, StringComparison.Ordinal);
        Assert.Throws<Platform.Ports.PortUnavailableException>(() => log.Read(0, 10, 1000));
        await server.StartAgainAsync();
        await UntilAsync(() => log.Problem is null);
        Assert.Equal(session.Count, (await log.AppendAsync(session, Proxy.Check, default)).Acknowledged["ses_1"]);
        Assert.Equal(session.Count, log.Size);
    }

    [Fact]
    public async Task A_log_that_was_set_back_is_not_gone_on_with()
    {
        var highest = Path.Combine(_folder.Path, "highest");
        string later;
        using (var log = RecorderLog.Open(Database(), Options() with { HighestCheckpointFile = highest }, LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, _) => { }))
        {
            await log.AppendAsync(Make.Session("ses_1", 20, Proxy), Proxy.Check, default);
            await UntilAsync(() => log.Latest.Size == log.Size);
            var (size, root, note) = (log.Size, Convert.ToHexString(log.Latest.Root.ToArray()), log.CheckpointNote);
            await log.AppendAsync(Make.Session("ses_2", 20, Proxy), Proxy.Check, default);
            await UntilAsync(() => log.Latest.Size == log.Size);
            later = log.CheckpointNote;

            // As a restored backup, or a failover that lost commits. The running replica knows what it acknowledged.
            await SetBackAsync(size, root, note);
            await UntilAsync(() => log.Problem is not null);
            Assert.Contains("rolled back", log.Problem, StringComparison.Ordinal);
            await Assert.ThrowsAsync<LogFailedException>(() => log.AppendAsync(Make.Session("ses_3", 2, Proxy), Proxy.Check, default));
        }

        // One that starts knows by the file of what was made known, or by a checkpoint that somebody has pinned.
        RecorderLog OpenWith(LogOptions options) => RecorderLog.Open(Database(), options, LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, _) => { });
        Assert.Contains("rolled back", Assert.Throws<LogFailedException>(() => OpenWith(Options() with { HighestCheckpointFile = highest })).Message, StringComparison.Ordinal);
        var pinned = Path.Combine(_folder.Path, "pinned");
        await File.WriteAllTextAsync(pinned, later);
        Assert.Throws<LogFailedException>(() => OpenWith(Options() with { PinnedCheckpointFiles = [pinned] }));
    }

    [Fact]
    public async Task Entries_that_were_changed_or_taken_out_do_not_open()
    {
        using (var log = Open())
        {
            for (var number = 0; number < 4; number++)
            {
                await log.AppendAsync(Make.Session($"ses_{number}", 5, Proxy), Proxy.Check, default);
            }
        }

        var frames = (byte[])(await postgres.ScalarAsync($"SELECT frames FROM {_schema}.log_chunks WHERE first = 0"))!;
        var entries = EntryFrame.ReadAll(frames).ToList();
        entries[2] = Entry.Create(entries[2].Type, entries[2].Id, entries[2].Session, entries[2].Sequence, 7, entries[2].Previous, entries[2].Payload.Span);
        var forged = new System.Buffers.ArrayBufferWriter<byte>();
        entries.ForEach(entry => EntryFrame.Write(forged, entry));
        await postgres.ScalarAsync($"UPDATE {_schema}.log_chunks SET frames = '\\x{Convert.ToHexString(forged.WrittenSpan)}' WHERE first = 0; DELETE FROM {_schema}.log_state");
        Assert.Contains("not those", Assert.Throws<LogFailedException>(() => Open()).Message, StringComparison.Ordinal);
        await postgres.ScalarAsync($"DELETE FROM {_schema}.log_chunks WHERE first = 0");
        Assert.Contains("lost", Assert.Throws<LogFailedException>(() => Open()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_head_never_shrinks_nor_changes_and_the_role_of_the_service_can_only_append()
    {
        var role = "r" + _schema;
        await postgres.ScalarAsync($"CREATE ROLE {role} LOGIN");
        var database = new PostgresDatabase(
            new PostgresSettings { Owner = postgres.ConnectionString(), Postgres = postgres.ConnectionString().Replace("=postgres", "=" + role, StringComparison.Ordinal) + ";Database=postgres" },
            _schema, [LogSchema.Component], NullLogger<PostgresDatabase>.Instance);
        _databases.Add(database);
        using (var log = RecorderLog.Open(database, Options(), LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, checkpoint) => Add(checkpoint)))
        {
            await log.AppendAsync(Make.Session("ses_1", 200, Proxy), Proxy.Check, default);
            await SignedAsync(log.Size);
            Assert.True(log.Erase(DateTimeOffset.UtcNow.AddYears(10)) > 0);
        }

        await using var connection = await database.OpenAsync(default);
        foreach (var (sql, state) in new[]
        {
            ($"DELETE FROM {_schema}.log_chunks", "42501"), ($"UPDATE {_schema}.log_chunks SET first = first + 1", "42501"), ($"TRUNCATE {_schema}.log_chunks", "42501"),
            ($"DELETE FROM {_schema}.log_head", "42501"), ($"UPDATE {_schema}.log_head SET origin = 'x'", "42501"),
            ($"ALTER TABLE {_schema}.log_head DISABLE TRIGGER log_only_grows", "42501"), ($"UPDATE {_schema}.log_head SET size = size - 1, checkpoint_size = 0", "23000"),
            ($"UPDATE {_schema}.log_head SET root = sha256('x')", "23000"), ($"UPDATE {_schema}.log_head SET checkpoint = 'x'", "23000"),
        })
        {
#pragma warning disable CA2100 // tests
            await using var command = new Npgsql.NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
            Assert.Equal(state, (await Assert.ThrowsAsync<Npgsql.PostgresException>(command.ExecuteNonQueryAsync)).SqlState);
        }
    }

    [Fact]
    public async Task A_replica_with_another_key_is_refused()
    {
        using var log = Open();
        await log.AppendAsync(Make.Session("ses_1", 2, Proxy), Proxy.Check, default);
        using var other = NoteSigner.Create("test.example/log");
        var error = Assert.Throws<LogFailedException>(() => RecorderLog.Open(Database(), Options(), other, Own, TimeProvider.System, NullLogger.Instance, (_, _) => { }));
        Assert.Contains("another key", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Large_and_many_entries_come_back_as_they_were()
    {
        using var log = Open();
        var session = Make.Session("ses_1", 3000, Proxy);
        await log.AppendAsync(session, Proxy.Check, default);
        var entries = Make.Session("ses_2", 1, Proxy, ended: false)[..1];
        var large = new byte[3 * 1024 * 1024];
        Random.Shared.NextBytes(large);
        entries.Add(Entry.Create(EntryType.Operation, new byte[16], "ses_2", 2, 1, entries[0].Commitment, large));
        entries.Add(Entry.Create(EntryType.Operation, new byte[16], "ses_2", 3, 1, entries[1].Commitment, "{}"u8));
        await log.AppendAsync(entries, Proxy.Check, default);
        Assert.Equal(session.Concat(entries).Select(entry => entry.LeafHash), ReadAll(log).Select(entry => entry.LeafHash));
        Assert.Equal(large, log.Read(session.Count + 1, 1, 1)[0].Payload.ToArray());
        Assert.Empty(log.Read(log.Size, 10, 1000));
        Assert.Equal(session[2500].IdText, log.Read(2500, 5, 1)[0].IdText);
        Assert.Equal(5, log.Read(2500, 5, 1_000_000).Count);
    }

    private protected override RecorderLog Open(int delay = 50) => RecorderLog.Open(
        Database(), Options() with { CheckpointDelay = TimeSpan.FromMilliseconds(delay) }, LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, checkpoint) => Add(checkpoint));

    private protected override async Task ForgetSnapshotAsync() => await postgres.ScalarAsync($"DELETE FROM {_schema}.log_state; DELETE FROM {_schema}.log_tiles");

    private protected override async Task<byte[]> OldestFramesAsync() => (byte[])(await postgres.ScalarAsync($"SELECT frames FROM {_schema}.log_chunks WHERE first = 0"))!;

    private static LogOptions Options() => new()
    {
        CheckpointDelay = TimeSpan.FromMilliseconds(50),
        FollowInterval = TimeSpan.FromMilliseconds(20),
        RetryInterval = TimeSpan.FromMilliseconds(200),
        SnapshotEntries = 500,
    };

    private PostgresDatabase Database()
    {
        var database = postgres.Database(_schema, LogSchema.Component);
        lock (_databases)
        {
            _databases.Add(database);
        }

        return database;
    }

    private PostgresLogStorage Storage() => new(Database(), LogKey.Verifier);

    private RecorderLog OpenReplica(List<Checkpoint>? signed = null) =>
        RecorderLog.Open(Database(), Options(), LogKey, Own, TimeProvider.System, NullLogger.Instance, (_, checkpoint) => signed?.Add(checkpoint));

    private async Task TerminateAsync(int backend) => await postgres.ScalarAsync(FormattableString.Invariant($"SELECT pg_terminate_backend({backend}, 10000)"));

    private async Task SetBackAsync(long size, string root, string note) => await postgres.ScalarAsync(FormattableString.Invariant($"""
        ALTER TABLE {_schema}.log_head DISABLE TRIGGER log_only_grows;
        DELETE FROM {_schema}.log_chunks WHERE first >= {size};
        DELETE FROM {_schema}.log_state WHERE size > {size};
        UPDATE {_schema}.log_head SET size = {size}, root = '\x{root}', checkpoint_size = {size}, checkpoint = '{note}';
        ALTER TABLE {_schema}.log_head ENABLE TRIGGER log_only_grows;
        """));

    private static List<Entry> ReadAll(RecorderLog log)
    {
        var entries = new List<Entry>();
        while (entries.Count < log.Size)
        {
            entries.AddRange(log.Read(entries.Count, 1000, 1024 * 1024));
        }

        return entries;
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        while (!condition())
        {
            await Task.Delay(5, timeout.Token);
        }
    }
}
