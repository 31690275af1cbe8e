using System.Buffers;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging;

namespace Countersign.Recorder.Log;

/// <summary>Says whether a seal is signed by an enrolled key.</summary>
/// <param name="session">Session.</param>
/// <param name="seal">The seal.</param>
public delegate bool SealCheck(string session, Seal seal);

/// <summary>
/// The append-only Merkle log over everything that is recorded (docs/formats/log.md). One thread sequences: it takes what has gathered, checks that each session's
/// chain goes on, makes it durable with one sync, integrates it into the tree, and signs a checkpoint now and then. Fails closed: after the first error of the disk
/// nothing is acknowledged any more.
/// </summary>
public sealed partial class RecorderLog : IEntryLog, IDisposable
{
    private readonly LogOptions _options;
    private readonly NoteSigner _signer;
    private readonly ISealSigner _sealSigner;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly Action<string, Checkpoint> _signed;
    private readonly EntryStore _store;
    private readonly TileStore _tiles;
    private readonly LogState _state;
    private readonly Thread _thread;

    // Guarded by the gate: what waits for the thread.
    private readonly object _gate = new();
    private readonly List<Request> _queue = [];
    private int _queuedBytes;
    private bool _stopping;
    private TaskCompletionSource _grown = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource _roomMade = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Exception? _failure;
    private long _size;
    private string _checkpoint = "";
    private Checkpoint? _latest;

    // The thread's own.
    private readonly ArrayBufferWriter<byte> _frames = new(1024 * 1024);
    private readonly List<int> _lengths = [];
    private readonly List<Entry> _new = [];
    private readonly HashSet<string> _dirtyEvents = new(StringComparer.Ordinal);
    private long _checkpointDue;
    private long _snapshotAt;

    private RecorderLog(
        LogOptions options, NoteSigner signer, ISealSigner sealSigner, TimeProvider clock, ILogger logger, Action<string, Checkpoint> signed, EntryStore store,
        TileStore tiles, LogState state)
    {
        (_options, _signer, _sealSigner, _clock, _logger, _signed) = (options, signer, sealSigner, clock, logger, signed);
        (_store, _tiles, _state) = (store, tiles, state);
        _size = tiles.Size;
        _snapshotAt = tiles.Size;
        foreach (var (session, head) in state.Heads.All)
        {
            if (head.Dirty && SealKey.OwnerOf(session) == SealKey.Recorder)
            {
                _dirtyEvents.Add(session);
            }
        }

        SignCheckpoint();
        _thread = new Thread(Run) { IsBackground = true, Name = "recorder log" };
        _thread.Start();
    }

    /// <inheritdoc/>
    public long Size => Volatile.Read(ref _size);

    /// <summary>The latest signed checkpoint, as a note.</summary>
    public string CheckpointNote => Volatile.Read(ref _checkpoint);

    /// <summary>The latest signed checkpoint.</summary>
    public Checkpoint Latest => Volatile.Read(ref _latest)!;

    /// <summary>Roots of subtrees, for proofs about any size up to <see cref="Size"/>.</summary>
    public IMerkleNodes Nodes => _tiles;

    /// <summary>Null while the log takes entries; else why not.</summary>
    public string? Problem => Volatile.Read(ref _failure) is null ? null : "the log can't be written";

    /// <summary>Public part of the log's key.</summary>
    public NoteVerifier Verifier => _signer.Verifier;

    /// <summary>Opens the log of a folder, or begins one.</summary>
    /// <param name="options">Bounds.</param>
    /// <param name="signer">The log's key; its name is the log's origin.</param>
    /// <param name="sealSigner">The recorder's key for the sessions of audit events.</param>
    /// <param name="clock">Clock.</param>
    /// <param name="logger">Log of the process.</param>
    /// <param name="signed">Called on the log's thread with each new checkpoint; must not block.</param>
    /// <exception cref="LogFailedException">What is there isn't what its own checkpoint says, or is damaged.</exception>
    public static RecorderLog Open(
        LogOptions options, NoteSigner signer, ISealSigner sealSigner, TimeProvider clock, ILogger logger, Action<string, Checkpoint> signed)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(signer);
        Directory.CreateDirectory(options.Directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var store = EntryStore.Open(Path.Combine(options.Directory, "entries"), options.SegmentBytes);
        try
        {
            var (tiles, state) = LogStart.Load(options, store);
            LogStart.CompareWithCheckpoint(options, tiles, signer.Verifier);
            return new RecorderLog(options, signer, sealSigner, clock, logger, signed, store, tiles, state);
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    /// <summary>Takes entries of a proxy; completes when those that follow are durable.</summary>
    /// <param name="entries">In the order of each session; known ones are skipped.</param>
    /// <param name="isSealGood">Asked for each seal.</param>
    /// <param name="cancellation">Cancels the wait for room.</param>
    /// <exception cref="LogFailedException">The log can't be written.</exception>
    public Task<BatchResult> AppendAsync(IReadOnlyList<Entry> entries, SealCheck isSealGood, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(entries);
        ArgumentNullException.ThrowIfNull(isSealGood);

        // Hashes and signatures here, on the caller's thread: the log's own thread only compares.
        var request = new EntriesRequest(entries, new Seal?[entries.Count]);
        var bytes = 0;
        for (var index = 0; index < entries.Count; index++)
        {
            var entry = entries[index];
            _ = entry.Commitment;
            bytes += EntryFrame.SizeOf(entry);
            if (entry.Type == EntryType.Seal && TryReadSeal(entry) is { } seal && isSealGood(entry.Session, seal))
            {
                request.Seals[index] = seal;
            }
        }

        return EnqueueAsync(request, bytes, cancellation);
    }

    /// <summary>Takes an audit event of a service; completes when it is durable. The same id a second time is skipped.</summary>
    public async Task AppendEventAsync(AuditEvent audit, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(audit);
        var payload = JsonSerializer.SerializeToUtf8Bytes(audit, EventJson.Options);
        await EnqueueAsync(new EventRequest(audit, payload), payload.Length, cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public IReadOnlyList<Entry> Read(long from, int maxEntries, int maxBytes)
    {
        var left = Size - from;
        return left <= 0 ? [] : _store.Read(from, (int)Math.Min(left, maxEntries), maxBytes);
    }

    /// <inheritdoc/>
    public Task WaitBeyondAsync(long size, CancellationToken cancellation)
    {
        lock (_gate)
        {
            return Size > size ? Task.CompletedTask : _grown.Task.WaitAsync(cancellation);
        }
    }

    /// <summary>Deletes payloads that are older than a time; the hashes stay, and every proof with them.</summary>
    /// <returns>Entries erased.</returns>
    public long Erase(DateTimeOffset before) => _store.Erase(before);

    /// <summary>Writes what waits, signs it, and ends.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_stopping)
            {
                return;
            }

            _stopping = true;
            Monitor.PulseAll(_gate);
        }

        _thread.Join();
        _store.Dispose();
    }

    private static Seal? TryReadSeal(Entry entry)
    {
        try
        {
            return Seal.Read(entry.Payload.Span);
        }
        catch (EntryFormatException)
        {
            return null;
        }
    }

    private async Task<BatchResult> EnqueueAsync(Request request, int bytes, CancellationToken cancellation)
    {
        request.Bytes = bytes;
        while (true)
        {
            Task room;
            lock (_gate)
            {
                if (_failure is not null || _stopping)
                {
                    throw new LogFailedException("The log can't be written.", _failure);
                }

                if (_queuedBytes == 0 || _queuedBytes + bytes <= _options.MaxPendingBytes)
                {
                    _queue.Add(request);
                    _queuedBytes += bytes;
                    Monitor.PulseAll(_gate);
                    break;
                }

                room = _roomMade.Task;
            }

            await room.WaitAsync(cancellation).ConfigureAwait(false);
        }

        return await request.Done.Task.ConfigureAwait(false);
    }

    private void Run()
    {
        var taken = new List<Request>();
        try
        {
            while (Take(taken))
            {
                foreach (var request in taken)
                {
                    Sequence(request);
                }

                Commit();
                foreach (var request in taken)
                {
                    request.Done.TrySetResult(request.ToResult(_state.Heads));
                }

                taken.Clear();
                if (_checkpointDue != 0 && Stopwatch.GetTimestamp() >= _checkpointDue)
                {
                    FinishCheckpoint();
                }
            }

            if (_checkpointDue != 0)
            {
                FinishCheckpoint();
            }

            Snapshot();
        }
#pragma warning disable CA1031 // whatever it is: nothing may be acknowledged any more
        catch (Exception error)
#pragma warning restore CA1031
        {
            Fail(error, taken);
        }
    }

    private bool Take(List<Request> taken)
    {
        lock (_gate)
        {
            while (_queue.Count == 0)
            {
                if (_stopping)
                {
                    return false;
                }

                if (_checkpointDue == 0)
                {
                    Monitor.Wait(_gate);
                    continue;
                }

                var left = (_checkpointDue - Stopwatch.GetTimestamp()) * 1000 / Stopwatch.Frequency;
                if (left <= 0)
                {
                    return true;
                }

                Monitor.Wait(_gate, (int)left + 1);
            }

            taken.AddRange(_queue);
            _queue.Clear();
            _queuedBytes = 0;
            _roomMade.TrySetResult();
            _roomMade = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return true;
        }
    }

    private void Sequence(Request request)
    {
        switch (request)
        {
            case EntriesRequest entries:
                for (var index = 0; index < entries.Entries.Count; index++)
                {
                    var entry = entries.Entries[index];
                    entries.Sessions.Add(entry.Session);
                    var before = _state.Heads.Find(entry.Session)?.Refused;
                    switch (_state.Heads.Take(entry, entries.Seals[index], out var reason))
                    {
                        case Sequenced.New:
                            Add(entry);
                            break;
                        case Sequenced.Refused:
                            entries.Refused[entry.Session] = reason;
                            if (before is null)
                            {
                                Refuse(entry, reason);
                            }

                            break;
                    }
                }

                break;
            case EventRequest audit:
                Add(audit.Event, audit.Payload);
                break;
        }
    }

    private void Refuse(Entry entry, string reason)
    {
        LogRefused(entry.Session, entry.Sequence, reason);
        var audit = new AuditEvent
        {
            Id = $"refused-{entry.Session}-{entry.Sequence}-{entry.IdText}",
            Service = "recorder",
            Action = "entries.refused",
            At = _clock.GetUtcNow(),
            Subject = entry.Session,
            Success = false,
            Details = new Dictionary<string, string> { ["reason"] = reason },
        };
        Add(audit, JsonSerializer.SerializeToUtf8Bytes(audit, EventJson.Options));
    }

    private void Add(AuditEvent audit, byte[] payload)
    {
        Span<byte> id = stackalloc byte[Hash256.Size];
        SHA256.HashData(Encoding.UTF8.GetBytes($"{audit.Service}\n{audit.Id}"), id);
        id = id[..EntryHeader.IdSize];
        if (_state.KnowsEvent(id))
        {
            return;
        }

        _state.RememberEvent(id);
        AddOwn(EntryType.Event, id, EventSession(audit.Service), payload);
    }

    private void AddOwn(EntryType type, ReadOnlySpan<byte> id, string session, byte[] payload)
    {
        var head = _state.Heads.Find(session);
        var entry = Entry.Create(
            type, id, session, (head?.Sequence ?? 0) + 1, (_clock.GetUtcNow().Ticks - DateTimeOffset.UnixEpoch.Ticks) / TimeSpan.TicksPerMicrosecond,
            head?.Commitment ?? Hash256.Zero, payload);
        _state.Heads.Replay(entry);
        Add(entry);
        if (type == EntryType.Event)
        {
            _dirtyEvents.Add(session);
        }
    }

    private static string EventSession(string service)
    {
        var session = SealKey.EventSessionPrefix + service;
        return EntryHeader.IsSessionId(session) ? session : SealKey.EventSessionPrefix + "unnamed";
    }

    private void Add(Entry entry)
    {
        EntryFrame.Write(_frames, entry);
        _lengths.Add(EntryFrame.SizeOf(entry));
        _new.Add(entry);
    }

    private void Commit()
    {
        if (_new.Count == 0)
        {
            return;
        }

        _store.Append(_frames.WrittenSpan, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_lengths));
        _tiles.Append(_new);
        _frames.ResetWrittenCount();
        _lengths.Clear();
        LogMetrics.Appended(_new.Count);
        _new.Clear();
        TaskCompletionSource grown;
        lock (_gate)
        {
            Volatile.Write(ref _size, _tiles.Size);
            grown = _grown;
            _grown = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        grown.TrySetResult();
        if (_checkpointDue == 0)
        {
            _checkpointDue = Stopwatch.GetTimestamp() + (long)(_options.CheckpointDelay.TotalSeconds * Stopwatch.Frequency);
        }
    }

    private void FinishCheckpoint()
    {
        foreach (var session in _dirtyEvents)
        {
            if (_state.Heads.Find(session) is { } head)
            {
                var seal = Seal.Create(session, head.Sequence, head.Commitment, _sealSigner);
                AddOwn(EntryType.Seal, RandomNumberGenerator.GetBytes(EntryHeader.IdSize), session, seal.ToPayload());
            }
        }

        _dirtyEvents.Clear();
        Commit();
        SignCheckpoint();
        _checkpointDue = 0;
        if (Size - _snapshotAt >= _options.SnapshotEntries)
        {
            Snapshot();
        }
    }

    private void SignCheckpoint()
    {
        var checkpoint = new Checkpoint(_signer.Verifier.Name, _tiles.Size, _tiles.Root());
        var note = checkpoint.Sign(_signer);
        _tiles.WritePartials();
        Durable.Replace(Path.Combine(_options.Directory, LogStart.CheckpointFile), Encoding.UTF8.GetBytes(note));
        Volatile.Write(ref _checkpoint, note);
        Volatile.Write(ref _latest, checkpoint);
        _signed(note, checkpoint);
    }

    private void Snapshot()
    {
        if (Size == _snapshotAt)
        {
            return;
        }

        _tiles.Sync();
        _state.Save(Path.Combine(_options.Directory, LogStart.StateFile), _tiles.Size, _tiles.Root());
        _snapshotAt = Size;
    }

    private void Fail(Exception error, List<Request> taken)
    {
        LogFailed(error);
        TaskCompletionSource grown;
        lock (_gate)
        {
            _failure = error;
            taken.AddRange(_queue);
            _queue.Clear();
            grown = _grown;
            _roomMade.TrySetResult();
        }

        var failure = new LogFailedException("The log can't be written.", error);
        foreach (var request in taken)
        {
            request.Done.TrySetException(failure);
        }

        grown.TrySetException(failure);
        _ = grown.Task.Exception;
    }

    [LoggerMessage(4021, LogLevel.Critical, "The log can't be written; nothing is acknowledged any more")]
    private partial void LogFailed(Exception error);

    [LoggerMessage(4022, LogLevel.Error, "Entry {Sequence} of session {Session} is refused: {Reason}")]
    private partial void LogRefused(string session, long sequence, string reason);
}
