using System.Diagnostics;

namespace Countersign.Proxy.Path.Record;

/// <summary>When an entry must be on the disk.</summary>
internal enum SpoolHaste
{
    /// <summary>Soon; nobody waits for it.</summary>
    None,
    /// <summary>Once somebody waits for it (<see cref="SpoolBatch.WaitAsync"/>), or soon.</summary>
    Awaited,
    /// <summary>Now.</summary>
    Now,
}

/// <summary>
/// Group commit: sessions append to a buffer in memory, one thread writes what gathered while its last sync ran, and wakes those who wait. An entry that will be
/// waited for (a read overlaps its record) is written when the first of its batch really is: then the sync covers all that run beside it. Only where
/// batches hold no more than one such entry is it written at once. Nobody else touches the disk. After the first error of the disk it never writes again:
/// nothing is known about what a failed sync left behind.
/// </summary>
internal sealed class SpoolWriter : IDisposable
{
    private const int InitialBuffer = 256 * 1024;
    private const int LargestKept = 4 * 1024 * 1024;
    private static readonly TimeSpan SegmentTimeout = TimeSpan.FromSeconds(10);

    private readonly ISpoolStorage _storage;
    private readonly SpoolOptions _options;
    private readonly SegmentSupply _supply;
    private readonly SpoolSegments _segments;
    private readonly TimeProvider _clock;
    private readonly Action<Exception> _failed;
    private readonly Action _shipSoon;
    private readonly Thread _thread;
    private readonly long _lazyTicks;

    // Guarded by the gate: what gathers for the next sync.
    private readonly object _gate = new();
    private byte[] _buffer = new byte[InitialBuffer];
    private int _length = SpoolFormat.BatchHeaderSize;
    private int _records;
    private List<SpoolChange> _changes = new(256);
    private SpoolBatch _batch;
    private bool _urgent;
    private bool _ship;
    private bool _idle;
    private bool _asleep;
    private bool _quiet = true;
    private int _awaited;
    private bool _eager = true;
    private bool _writing;
    private bool _stopping;
    private long _lazySince;
    private Exception? _failure;
    private long _room;

    // The sync thread's own.
    private readonly Dictionary<uint, SpoolSession> _sessions;
    private byte[] _spare = new byte[InitialBuffer];
    private List<SpoolChange> _spareChanges = new(256);
    private SpoolSegment? _segment;
    private long _offset;
    private long _number;
    private long _segmentNumber;

    /// <summary>Opens the first segment of this run and begins.</summary>
    /// <param name="storage">Files.</param>
    /// <param name="options">Bounds.</param>
    /// <param name="supply">Next segments.</param>
    /// <param name="segments">Where segments in use are listed.</param>
    /// <param name="recovered">Where the last run ended.</param>
    /// <param name="clock">Clock.</param>
    /// <param name="failed">Called once when the disk fails, on the sync thread.</param>
    /// <param name="shipSoon">Called when something is durable that somebody wants acknowledged.</param>
    public SpoolWriter(
        ISpoolStorage storage, SpoolOptions options, SegmentSupply supply, SpoolSegments segments, RecoveredSpool recovered, TimeProvider clock,
        Action<Exception> failed, Action shipSoon)
    {
        (_storage, _options, _supply, _segments, _clock, _failed, _shipSoon) = (storage, options, supply, segments, clock, failed, shipSoon);
        _lazyTicks = (long)(options.LazyDelay.TotalSeconds * Stopwatch.Frequency);
        _batch = new SpoolBatch(this);
        _segmentNumber = recovered.LastSegment;
        _number = recovered.LastBatch;
        _sessions = recovered.Sessions.ToDictionary(session => session.Slot);
        Roll(0);
        _thread = new Thread(Run) { IsBackground = true, Name = "spool sync" };
        _thread.Start();
    }

    /// <summary>Why it has failed; null while it works.</summary>
    public Exception? Failure => Volatile.Read(ref _failure);

    /// <summary>Whether an entry that will be waited for is written at once.</summary>
    public bool IsEager
    {
        get
        {
            lock (_gate)
            {
                return _eager;
            }
        }
    }

    /// <summary>Whether anything was appended that is not durable yet.</summary>
    public bool HasPending
    {
        get
        {
            lock (_gate)
            {
                return _records > 0 || _writing;
            }
        }
    }

    /// <summary>Appends records of one session. Cheap: a copy under a short lock.</summary>
    /// <param name="first">A record before, or nothing.</param>
    /// <param name="record">The entry's record.</param>
    /// <param name="change">What it changes.</param>
    /// <param name="haste">When it must be on the disk.</param>
    /// <param name="ship">Whether somebody will wait for the recorder.</param>
    /// <param name="reserve">Whether it may use the room kept for ends.</param>
    /// <returns>The batch that it is part of.</returns>
    /// <exception cref="RecordingFailedException">The disk has failed, or there is no room.</exception>
    public SpoolBatch Append(ReadOnlySpan<byte> first, ReadOnlySpan<byte> record, in SpoolChange change, SpoolHaste haste, bool ship, bool reserve)
    {
        lock (_gate)
        {
            if (_failure is { } failure)
            {
                throw new RecordingFailedException("The recording has failed; nothing goes on without its record.", failure);
            }

            if (_stopping)
            {
                throw new RecordingFailedException("The recording is shutting down.");
            }

            var size = first.Length + record.Length;
            CheckRoom(size, reserve);
            if (_length + size > _buffer.Length)
            {
                Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, SpoolFormat.Padded(_length + size)));
            }

            first.CopyTo(_buffer.AsSpan(_length));
            record.CopyTo(_buffer.AsSpan(_length + first.Length));
            _length += size;
            _records += first.IsEmpty ? 1 : 2;
            _changes.Add(change);
            _ship |= ship;
            _awaited += haste == SpoolHaste.Awaited ? 1 : 0;
            if (haste == SpoolHaste.Now || (haste == SpoolHaste.Awaited && _eager))
            {
                Hurry();
            }
            else if (_lazySince == 0)
            {
                _lazySince = Stopwatch.GetTimestamp();
                if (_asleep)
                {
                    Wake();
                }
            }

            return _batch;
        }
    }

    /// <summary>Somebody waits for a batch.</summary>
    public void Demand(SpoolBatch batch)
    {
        lock (_gate)
        {
            if (ReferenceEquals(batch, _batch))
            {
                Hurry();
            }
        }
    }

    /// <summary>Writes what waits, and ends.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _stopping = true;
            Monitor.Pulse(_gate);
        }

        _thread.Join();
    }

    private void Hurry()
    {
        if (!_urgent)
        {
            _urgent = true;
            Wake();
        }
    }

    private void Wake()
    {
        if (_idle)
        {
            Monitor.Pulse(_gate);
        }
    }

    private void CheckRoom(int size, bool reserve)
    {
        // What gathers must fit in one segment, beside the states of the sessions: a batch that doesn't would end everybody's recording, not just this one.
        if (_length + size > _options.SegmentBytes / 4 * 3 || (_length + size > _options.MaxPendingBytes && _records > 0))
        {
            throw new RecordingFailedException("Too much waits for the disk to be recorded.");
        }

        // While another segment is on its way there is room enough for all that may wait.
        if (_supply.Exhausted is { } reason
            && SpoolFormat.Padded(_length + size) + SpoolFormat.Block > _room - (reserve ? 0 : _options.ReserveBytes))
        {
            throw new RecordingFailedException($"The spool is full: {reason}.");
        }
    }

    private void Run()
    {
        SpoolBatch? running = null;
        Posix.PreferThisThread();
        try
        {
            while (Take(out var buffer, out var length, out var records, out running, out var changes, out var ship))
            {
                Write(buffer, length, records);
                Apply(changes);
                End(running, null);
                running = null;
                _spareChanges = changes;
                _spare = buffer.Length > LargestKept ? new byte[InitialBuffer] : buffer;
                if (ship)
                {
                    _shipSoon();
                }
            }
        }
#pragma warning disable CA1031 // whatever it is: nothing may go on as if it were recorded
        catch (Exception error)
#pragma warning restore CA1031
        {
            Fail(error, running);
        }
    }

    private bool Take(out byte[] buffer, out int length, out int records, out SpoolBatch batch, out List<SpoolChange> changes, out bool ship)
    {
        lock (_gate)
        {
            _writing = false;
            while (!_urgent && !(_stopping && _records > 0))
            {
                if (_stopping)
                {
                    (buffer, length, records, batch, changes, ship) = ([], 0, 0, _batch, _changes, false);
                    return false;
                }

                var wait = Timeout.Infinite;
                if (_records > 0)
                {
                    var left = _lazySince + _lazyTicks - Stopwatch.GetTimestamp();
                    if (left <= 0)
                    {
                        break;
                    }

                    wait = (int)(left * 1000 / Stopwatch.Frequency) + 1;
                }
                else if (!_quiet)
                {
                    // Something was written a moment ago: who appends what nobody waits for needn't wake this thread for it.
                    wait = (int)_options.LazyDelay.TotalMilliseconds + 1;
                }

                _idle = true;
                _asleep = wait == Timeout.Infinite;
                _quiet = !Monitor.Wait(_gate, wait) && _records == 0;
                _idle = _asleep = false;
            }

            (buffer, length, records, batch, changes, ship) = (_buffer, _length, _records, _batch, _changes, _ship);
            (_buffer, _changes) = (_spare, _spareChanges);
            _changes.Clear();
            _length = SpoolFormat.BatchHeaderSize;
            _records = 0;
            _batch = new SpoolBatch(this);
            _urgent = false;
            _ship = false;
            _quiet = false;
            _lazySince = 0;
            _eager = _awaited == 0 ? _eager : _awaited == 1;
            _awaited = 0;
            _room -= SpoolFormat.Padded(length);
            _writing = true;
            return true;
        }
    }

    private void Write(byte[] buffer, int length, int records)
    {
        var padded = SpoolFormat.Padded(length);
        if (_offset + padded > _options.SegmentBytes)
        {
            Roll(padded);
        }

        if (buffer.Length < padded)
        {
            Array.Resize(ref buffer, padded);
        }

        buffer.AsSpan(length, padded - length).Clear();
        SpoolFormat.CloseBatch(buffer.AsSpan(0, length), ++_number, _segmentNumber, records);
        var began = Stopwatch.GetTimestamp();
        _segment!.File.Write(buffer.AsSpan(0, padded), _offset);
        _segment.File.Sync();
        SpoolMetrics.Synced(Stopwatch.GetElapsedTime(began), records, padded);
        _offset += padded;
        _segment.Durable = _offset;
    }

    /// <summary>Goes on in the next segment. It begins with where every open session stands, so that it can be read without those before it.</summary>
    private void Roll(int needed)
    {
        var states = new List<byte[]>(_sessions.Values.Select(SpoolRecord.State));
        var length = SpoolFormat.BatchHeaderSize + states.Sum(state => state.Length);
        var prologue = new byte[SpoolFormat.Block + SpoolFormat.Padded(length)];
        if (prologue.Length + needed > _options.SegmentBytes)
        {
            throw new IOException("the sessions' states and the entries that wait don't fit in a segment");
        }

        var (name, file) = _supply.Take(SegmentTimeout);
        _segmentNumber++;
        SpoolFormat.WriteSegmentHeader(prologue, _segmentNumber, SpoolClock.Microseconds(_clock));
        var offset = SpoolFormat.Block + SpoolFormat.BatchHeaderSize;
        foreach (var state in states)
        {
            state.CopyTo(prologue, offset);
            offset += state.Length;
        }

        SpoolFormat.CloseBatch(prologue.AsSpan(SpoolFormat.Block, length), ++_number, _segmentNumber, states.Count);
        file.Write(prologue, 0);
        file.Sync();
        _storage.Rename(name, SpoolFormat.SegmentName(_segmentNumber));
        _segment = new SpoolSegment(_segmentNumber, file) { Durable = prologue.Length };
        _offset = prologue.Length;
        _segments.Add(_segment);
        lock (_gate)
        {
            _room = _options.SegmentBytes - _offset - needed;
        }
    }

    private void Apply(List<SpoolChange> changes)
    {
        foreach (var change in changes)
        {
            change.Session.Apply(change.Sequence, change.Commitment, change.Effect, change.Operation);
            if (change.Session.IsComplete)
            {
                _sessions.Remove(change.Session.Slot);
            }
            else if (change.Sequence == 1)
            {
                _sessions.Add(change.Session.Slot, change.Session);
            }
        }
    }

    private void End(SpoolBatch batch, Exception? failure)
    {
        var waiter = batch.Finish(failure, out var count);
        if (count <= _options.InlineWakes)
        {
            SpoolWake.Run(waiter, count, failure);
            return;
        }

        while (waiter is not null)
        {
            var first = waiter;
            var taken = 0;
            for (; waiter is not null && taken < _options.WakeChunk; taken++)
            {
                waiter = waiter.Next;
            }

            ThreadPool.UnsafeQueueUserWorkItem(new SpoolWake(first, taken, failure), preferLocal: false);
        }
    }

    private void Fail(Exception error, SpoolBatch? running)
    {
        var failure = new RecordingFailedException("The recording has failed; nothing goes on without its record.", error);
        SpoolBatch pending;
        lock (_gate)
        {
            _failure = error;
            pending = _batch;
        }

        if (running is not null)
        {
            End(running, failure);
        }

        End(pending, failure);
        _failed(error);
    }
}
