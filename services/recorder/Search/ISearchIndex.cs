using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Search;

/// <summary>
/// An index over the log, for search. Never the truth: it is made from the log and may lag behind it. There are two: SQLite of one process, and PostgreSQL, which
/// several replicas share.
/// </summary>
public interface ISearchIndex
{
    /// <summary>Most results of one page.</summary>
    const int MaxLimit = 1000;

    /// <summary>Whether other replicas index into it too.</summary>
    bool IsShared { get; }

    /// <summary>Entries of the log that the index covers.</summary>
    long IndexedTo { get; }

    /// <summary>Begins to index; nobody else does until it is disposed.</summary>
    /// <returns>Null where another replica is at it.</returns>
    IIndexWriter? Begin();

    /// <summary>Sessions, newest first.</summary>
    IReadOnlyList<SessionView> FindSessions(SessionFilter filter);

    /// <summary>Operations, newest first.</summary>
    IReadOnlyList<OperationView> FindOperations(OperationFilter filter);

    /// <summary>Whose session it is; null where there is none.</summary>
    string? PersonOf(string session);

    /// <summary>Ids of the sessions of a person.</summary>
    IReadOnlySet<string> SessionsOf(string person);

    /// <summary>Where in the log a session has entries.</summary>
    IReadOnlyList<(long First, long Last)> RangesOf(string session);

    /// <summary>The part of the log that has all entries of a time; null where there are none.</summary>
    (long First, long Last)? RangeOf(DateTimeOffset? from, DateTimeOffset? to);

    /// <summary>Forgets what a retention has deleted in the log.</summary>
    void Forget(DateTimeOffset before);
}

/// <summary>One transaction of the indexer. Everything can be repeated: an entry indexed twice changes nothing.</summary>
public interface IIndexWriter : IDisposable
{
    /// <summary>Entries of the log that the index covers.</summary>
    long IndexedTo { get; }

    /// <summary>A session began.</summary>
    void Start(Entry entry, SessionStartEntry start);

    /// <summary>A session ended.</summary>
    void End(Entry entry, SessionEndEntry end);

    /// <summary>An operation.</summary>
    void Operation(Entry entry, OperationEntry operation, (string Person, string Name, string Connection) session);

    /// <summary>What became of an operation.</summary>
    void Completion(string session, CompletionEntry completion);

    /// <summary>Where a session has entries.</summary>
    void Range(string session, long first, long last, long minAt, long maxAt);

    /// <summary>Whose session it is, as far as it was indexed before.</summary>
    (string Person, string Name, string Connection) FindSession(string session);

    /// <summary>Makes it permanent.</summary>
    void Commit(long indexedTo);
}
