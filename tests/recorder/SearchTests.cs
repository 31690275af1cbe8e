using Countersign.Platform.Postgres;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;
using Countersign.Recorder.Replay;
using Countersign.Recorder.Search;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Recorder.Tests;

/// <summary>Search in SQLite.</summary>
[Trait("group", "unit")]
public sealed class SearchTests : SearchContract
{
    private protected override ISearchIndex OpenIndex(string name) => SearchIndex.Open(Path.Combine(Folder.Path, name + ".db"));
}

/// <summary>Search in a real PostgreSQL.</summary>
[Trait("group", "evidence")]
public sealed class PostgresSearchTests(PostgresFixture postgres) : SearchContract
{
    private readonly string _prefix = "s" + Guid.NewGuid().ToString("N")[..8];
    private readonly List<PostgresDatabase> _databases = [];

    public override ValueTask DisposeAsync()
    {
        _databases.ForEach(database => database.Dispose());
        return base.DisposeAsync();
    }

    [Fact]
    public void Two_replicas_index_everything_once()
    {
        ISearchIndex[] indexes = [OpenIndex("both"), OpenIndex("both")];
        var indexers = indexes.Select(index => new Indexer(index, Log, NullLogger<Indexer>.Instance)).ToList();
        Parallel.ForEach(indexers, indexer =>
        {
            for (var round = 0; round < 20; round++)
            {
                indexer.IndexOnce();
            }
        });
        Assert.Equal(Log.Size, indexes[0].IndexedTo);
        Assert.Equal(2, Assert.Single(indexes[1].FindSessions(new SessionFilter { Person = "per_alice" })).Operations);
    }

    [Fact]
    public void While_one_replica_indexes_another_leaves_it_alone()
    {
        var index = OpenIndex("turn");
        using (index.Begin())
        {
            Assert.Null(index.Begin());
        }

        using var again = index.Begin();
        Assert.NotNull(again);
    }

    [Fact]
    public async Task Text_that_a_database_can_not_hold_does_not_stop_the_index()
    {
        await AppendAsync("ses_nul", "per_\0nul", "shop", 1, (Make.Operation(1, "SELECT 'a\0b'"), "ok"));
        var index = OpenIndex("nul");
        new Indexer(index, Log, NullLogger<Indexer>.Instance).IndexOnce();
        Assert.Equal("SELECT 'a\uFFFDb'", Assert.Single(index.FindOperations(new OperationFilter { Text = "select 'a" })).Text);
        Assert.Empty(index.FindOperations(new OperationFilter { Person = "per_\0nul" }));
    }

    [Fact]
    public void Retention_makes_search_forget()
    {
        var index = OpenIndex("forget");
        new Indexer(index, Log, NullLogger<Indexer>.Instance).IndexOnce();
        index.Forget(DateTimeOffset.UnixEpoch.AddSeconds(500));
        Assert.Equal(["ses_b"], index.FindSessions(new SessionFilter()).Select(session => session.Id));
        Assert.Equal("ses_b", Assert.Single(index.FindOperations(new OperationFilter())).Session);
        Assert.NotEmpty(index.RangesOf("ses_a"));
    }

    private protected override ISearchIndex OpenIndex(string name)
    {
        var database = postgres.Database(_prefix + name, SearchSchema.Component);
        _databases.Add(database);
        return new PostgresSearchIndex(database);
    }
}

/// <summary>What search does, whatever the index is kept in.</summary>
public abstract class SearchContract : IAsyncLifetime
{
    private readonly NoteSigner _key = NoteSigner.Create("test.example/log");
    private readonly TestSigner _proxy = new();
    private readonly TestSigner _own = new(SealKey.Recorder);
    private ISearchIndex _index = null!;

    private protected TestFolder Folder { get; } = new();

    private protected RecorderLog Log { get; private set; } = null!;

    private protected abstract ISearchIndex OpenIndex(string name);

    public async ValueTask InitializeAsync()
    {
        Log = RecorderLog.Open(
            new LogOptions { Directory = Path.Combine(Folder.Path, "log") }, _key, _own, TimeProvider.System, NullLogger.Instance, (_, _) => { });
        await AppendAsync("ses_a", "per_alice", "shop", 1, (Make.Operation(1, "SELECT name FROM Customers"), "ok"), (Make.Operation(2, "DROP DATABASE shop", "deny"), null));
        await AppendAsync(
            "ses_b", "per_bob", "books", 1000,
            (Make.Operation(1, "DELETE FROM t WHERE id = $1", "approved") with
            {
                Parameters = ["7", null],
                Request = "apr_1",
                Approvers = [new RecordedApprover("per_carol", "carol", DateTimeOffset.UnixEpoch)],
            }, "ok"));
        _index = OpenIndex("search");
        new Indexer(_index, Log, NullLogger<Indexer>.Instance).IndexOnce();
    }

    public virtual ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        Log.Dispose();
        _key.Dispose();
        _proxy.Dispose();
        _own.Dispose();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        Folder.Dispose();
        return ValueTask.CompletedTask;
    }

    [Fact]
    public void Sessions_are_found_by_who_and_where_newest_first()
    {
        Assert.Equal(["ses_b", "ses_a"], _index.FindSessions(new SessionFilter()).Select(session => session.Id));
        var alice = Assert.Single(_index.FindSessions(new SessionFilter { Person = "per_alice" }));
        Assert.Equal(("shop", 2, "client"), (alice.Connection, alice.Operations, alice.EndReason));
        Assert.NotNull(alice.EndedAt);
        Assert.Equal("ses_b", Assert.Single(_index.FindSessions(new SessionFilter { Connection = "books" })).Id);
        Assert.Equal("ses_a", Assert.Single(_index.FindSessions(new SessionFilter { Limit = 1, After = "ses_b" })).Id);
        Assert.Equal("ses_b", Assert.Single(_index.FindSessions(new SessionFilter { From = DateTimeOffset.UnixEpoch.AddSeconds(500) })).Id);
    }

    [Theory]
    [InlineData("customers", null, null, null, "ses_a:1")]
    [InlineData("' OR '1'='1", null, null, null, "")]
    [InlineData(null, "deny", null, null, "ses_a:2")]
    [InlineData(null, null, "per_carol", null, "ses_b:1")]
    [InlineData(null, null, null, "per_alice", "ses_a:2 ses_a:1")]
    [InlineData(null, null, null, null, "ses_b:1 ses_a:2 ses_a:1")]
    public void Operations_are_found(string? text, string? decision, string? approver, string? person, string expected)
    {
        var found = _index.FindOperations(new OperationFilter { Text = text, Decision = decision, Approver = approver, Person = person });
        Assert.Equal(expected, string.Join(' ', found.Select(operation => $"{operation.Session}:{operation.Operation}")));
    }

    [Fact]
    public void An_operation_has_all_that_was_recorded_of_it()
    {
        var operation = Assert.Single(_index.FindOperations(new OperationFilter { Decision = "approved" }));
        Assert.Equal(["7", null], operation.Parameters);
        Assert.Equal(("apr_1", "ok", 1L), (operation.Request, operation.Outcome, operation.Rows));
        Assert.Equal("per_carol", Assert.Single(operation.Approvers).Person);
        Assert.Equal(["base/reads"], operation.Rules);
    }

    [Fact]
    public void Pages_follow_one_another_without_gap()
    {
        var seen = new List<string>();
        string? after = null;
        while (_index.FindOperations(new OperationFilter { Limit = 1, After = after }) is [var operation])
        {
            seen.Add(after = $"{operation.Session}:{operation.Operation}");
        }

        Assert.Equal(["ses_b:1", "ses_a:2", "ses_a:1"], seen);
    }

    [Fact]
    public void An_index_made_again_is_the_same()
    {
        var again = OpenIndex("again");
        var indexer = new Indexer(again, Log, NullLogger<Indexer>.Instance);
        while (indexer.IndexOnce() > 0)
        {
        }

        Assert.Equal(0, indexer.Lag);
        Assert.Equal(_index.FindOperations(new OperationFilter()).Select(Text), again.FindOperations(new OperationFilter()).Select(Text));
        static string Text(OperationView view) => System.Text.Json.JsonSerializer.Serialize(view);
    }

    [Fact]
    public void A_replay_has_every_entry_of_the_session_and_of_no_other()
    {
        var entries = SessionReplay.Read(Log, "ses_a", _index.RangesOf("ses_a")).ToList();
        Assert.Equal(Enumerable.Range(1, entries.Count).Select(number => (long)number), entries.Select(entry => entry.Sequence));
        Assert.Equal(EntryTypes.SessionStart, entries[0].Type);
        Assert.Contains(entries, entry => entry.Type == EntryTypes.SessionEnd);
        var output = new System.Buffers.ArrayBufferWriter<byte>();
        entries[1].WriteLine(output);
        var line = System.Text.Encoding.UTF8.GetString(output.WrittenSpan);
        Assert.Equal(
            "{\"index\":1,\"id\":\"" + entries[1].Id + "\",\"session\":\"ses_a\",\"sequence\":2,\"type\":\"operation\",\"at\":\"1970-01-01T00:00:02+00:00\",\"body\":"
            + System.Text.Encoding.UTF8.GetString(entries[1].Body.Span) + "}\n", line);
    }

    private protected async Task AppendAsync(string session, string person, string connection, int at, params (OperationEntry Operation, string? Outcome)[] operations)
    {
        var entries = new List<Entry>();
        void Add<T>(EntryType type, T body)
        {
            var id = new byte[16];
            id[15] = (byte)entries.Count;
            entries.Add(Entry.Create(
                type, id, session, entries.Count + 1, (at + entries.Count) * 1_000_000L, entries.Count == 0 ? Hash256.Zero : entries[^1].Commitment, Make.Json(body)));
        }

        Add(EntryType.SessionStart, Make.Start(person, connection));
        foreach (var (operation, outcome) in operations)
        {
            Add(EntryType.Operation, operation);
            if (outcome is not null)
            {
                Add(EntryType.Completion, Make.Completion(operation.Operation, outcome));
            }
        }

        Add(EntryType.SessionEnd, new SessionEndEntry("client", operations.Length, 1, 2));
        Assert.Empty((await Log.AppendAsync(entries, _proxy.Check, default)).Refused);
    }
}
