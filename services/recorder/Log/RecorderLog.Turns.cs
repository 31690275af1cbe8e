using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging;

namespace Countersign.Recorder.Log;

/// <summary>The log's thread: turns, sequence, checkpoints, and what happens when the storage fails.</summary>
public sealed partial class RecorderLog
{
    private void Run()
    {
        var taken = new List<Request>();
        while (true)
        {
            try
            {
                while (Take(taken))
                {
                    if (taken.Count > 0)
                    {
                        RunTurn(taken);
                    }
                    else if (_storage.IsShared)
                    {
                        Follow(_storage.Look());
                    }

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
                return;
            }
#pragma warning disable CA1031 // whatever it is: nothing may be acknowledged any more
            catch (Exception error)
#pragma warning restore CA1031
            {
                Fail(error, taken);
                if (!_storage.IsShared || !LoadAgain())
                {
                    return;
                }
            }
        }
    }

    private void RunTurn(List<Request> taken)
    {
        var head = _storage.Begin();
        Follow(head);
        foreach (var request in taken)
        {
            Sequence(request);
        }

        Commit(head);
        foreach (var request in taken)
        {
            request.Done.TrySetResult(request.ToResult(_state.Heads));
        }

        taken.Clear();
    }

    // At start, and after each failure of a shared storage: what is in memory may be ahead of what was committed.
    private void Load()
    {
        var head = _storage.Open();
        var (tiles, state) = LogStart.Load(_options, _storage, head);
        if (head.Checkpoint.Length > 0)
        {
            LogStart.Compare(tiles, LogStart.Open(head.Checkpoint, _signer.Verifier), "its checkpoint");
        }

        foreach (var known in _highest.Load())
        {
            LogStart.Compare(tiles, known, "a checkpoint that was made known");
        }

        // What was acknowledged here must still be there, whatever has become of the database.
        LogStart.Compare(tiles, new Checkpoint(_signer.Verifier.Name, _reached.Size, _reached.Root), "what was acknowledged");
        _frames.ResetWrittenCount();
        _lengths.Clear();
        _new.Clear();
        _dirtyEvents.Clear();
        foreach (var (session, sessionHead) in state.Heads.All)
        {
            if (sessionHead.Dirty && SealKey.OwnerOf(session) == SealKey.Recorder)
            {
                _dirtyEvents.Add(session);
            }
        }

        (_tiles, _state) = (tiles, state);
        _snapshotAt = state.Size;
        _checkpointDue = _dirtyEvents.Count > 0 ? After(_options.CheckpointDelay) : 0;
        _followDue = After(_options.FollowInterval);
        Reach();
        Adopt(head);
    }

    private bool LoadAgain()
    {
        var wait = TimeSpan.FromMilliseconds(100);
        var said = "";
        while (true)
        {
            try
            {
                Load();
                lock (_gate)
                {
                    _failure = null;
                }

                LogLoadedAgain(Size);
                return true;
            }
#pragma warning disable CA1031 // whatever it is: it is tried again, and nothing is acknowledged until it has gone well
            catch (Exception error)
#pragma warning restore CA1031
            {
                Volatile.Write(ref _failure, error);
                if (error.Message != said)
                {
                    said = error.Message;
                    LogFailed(error);
                }
            }

            lock (_gate)
            {
                if (!_stopping)
                {
                    Monitor.Wait(_gate, wait);
                }

                if (_stopping)
                {
                    return false;
                }
            }

            wait = wait * 2 < _options.RetryInterval ? wait * 2 : _options.RetryInterval;
        }
    }

    // What others have appended and signed.
    private void Follow(StoredHead head)
    {
        if (!_storage.IsShared)
        {
            return;
        }

        _followDue = After(_options.FollowInterval);
        var before = _tiles.Size;
        LogStart.CatchUp(_storage, _tiles, _state, head, NoteOwn);
        if (_tiles.Size > before)
        {
            Reach();
        }

        Adopt(head);
        if (_checkpointDue == 0 && (Latest.Size < _tiles.Size || _dirtyEvents.Count > 0))
        {
            // Whoever appended signs; if it has died, somebody else must, each after another while.
            _checkpointDue = After(_options.CheckpointDelay * (2 + Random.Shared.NextDouble()));
        }
    }

    private void NoteOwn(Entry entry)
    {
        if (SealKey.OwnerOf(entry.Session) != SealKey.Recorder)
        {
            return;
        }

        if (entry.Type == EntryType.Seal)
        {
            _dirtyEvents.Remove(entry.Session);
        }
        else
        {
            _dirtyEvents.Add(entry.Session);
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

                // What others append to a shared log must be seen even where nobody brings anything here.
                var due = _storage.IsShared && (_checkpointDue == 0 || _followDue < _checkpointDue) ? _followDue : _checkpointDue;
                if (due == 0)
                {
                    Monitor.Wait(_gate);
                    continue;
                }

                var left = (due - Stopwatch.GetTimestamp()) * 1000 / Stopwatch.Frequency;
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
        NoteOwn(entry);
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

    private void Commit(StoredHead head)
    {
        if (_new.Count == 0)
        {
            _storage.End();
            return;
        }

        _storage.Append(_frames.WrittenMemory, _lengths, _new);
        _tiles.Append(_new);
        _storage.Commit(head, _tiles.Size, _storage.IsShared ? _tiles.Root() : Hash256.Zero);
        _frames.ResetWrittenCount();
        _lengths.Clear();
        LogMetrics.Appended(_new.Count);
        _new.Clear();
        Reach();
        if (_checkpointDue == 0)
        {
            _checkpointDue = After(_options.CheckpointDelay);
        }
    }

    // Everything in the tree is committed.
    private void Reach()
    {
        if (_storage.IsShared)
        {
            _reached = (_tiles.Size, _tiles.Root());
        }

        TaskCompletionSource grown;
        lock (_gate)
        {
            Volatile.Write(ref _size, _tiles.Size);
            grown = _grown;
            _grown = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        grown.TrySetResult();
    }

    private void FinishCheckpoint()
    {
        if (_dirtyEvents.Count > 0)
        {
            var head = _storage.Begin();
            Follow(head);
            foreach (var session in _dirtyEvents.ToList())
            {
                if (_state.Heads.Find(session) is { Dirty: true } last)
                {
                    var seal = Seal.Create(session, last.Sequence, last.Commitment, _sealSigner);
                    AddOwn(EntryType.Seal, RandomNumberGenerator.GetBytes(EntryHeader.IdSize), session, seal.ToPayload());
                }
            }

            _dirtyEvents.Clear();
            Commit(head);
        }

        SignCheckpoint();
        _checkpointDue = 0;
        if (Size - _snapshotAt >= _options.SnapshotEntries)
        {
            Snapshot();
        }
    }

    // In a turn of its own: what is signed is committed, and nobody else signs another head of the same size meanwhile.
    private void SignCheckpoint()
    {
        var head = _storage.Begin();
        Follow(head);
        if (_storage.IsShared && Latest.Size == head.Size)
        {
            _storage.End();
            return;
        }

        var checkpoint = new Checkpoint(_signer.Verifier.Name, _tiles.Size, _tiles.Root());
        var note = checkpoint.Sign(_signer);
        _tiles.WritePartials();
        _storage.SaveCheckpoint(note, checkpoint);
        Publish(note, checkpoint);
        _signed(note, checkpoint);
    }

    // A checkpoint that another replica has signed.
    private void Adopt(StoredHead head)
    {
        if (!_storage.IsShared || head.Checkpoint.Length == 0 || head.Checkpoint == CheckpointNote)
        {
            return;
        }

        var checkpoint = LogStart.Open(head.Checkpoint, _signer.Verifier);
        LogStart.Compare(_tiles, checkpoint, "its checkpoint");
        if (checkpoint.Size > Latest.Size)
        {
            Publish(head.Checkpoint, checkpoint);
        }
    }

    // First the file that finds out when the storage is set back, then everybody else.
    private void Publish(string note, Checkpoint checkpoint)
    {
        _highest.Raise(note, checkpoint);
        Volatile.Write(ref _signedHead, new Signed(note, checkpoint, _clock.GetUtcNow()));
    }

    private void Snapshot()
    {
        if (Size == _snapshotAt)
        {
            return;
        }

        _storage.SaveState(_state.ToBytes(_tiles.Size, _tiles.Root()), _tiles.Size);
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
            _queuedBytes = 0;
            grown = _grown;
            _grown = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _roomMade.TrySetResult();
            _roomMade = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        // What was on its way may have been committed or not: who sends it again finds out.
        var failure = new LogFailedException("The log can't be written.", error);
        foreach (var request in taken)
        {
            request.Done.TrySetException(failure);
        }

        taken.Clear();
        grown.TrySetException(failure);
        _ = grown.Task.Exception;
    }

    [LoggerMessage(4021, LogLevel.Critical, "The log can't be written; nothing is acknowledged any more")]
    private partial void LogFailed(Exception error);

    [LoggerMessage(4022, LogLevel.Error, "Entry {Sequence} of session {Session} is refused: {Reason}")]
    private partial void LogRefused(string session, long sequence, string reason);

    [LoggerMessage(4023, LogLevel.Warning, "The log was loaded again with {Size} entries, and takes entries again")]
    private partial void LogLoadedAgain(long size);
}
