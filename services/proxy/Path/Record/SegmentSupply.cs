namespace Countersign.Proxy.Path.Record;

/// <summary>A segment in use. The shipper reads what is durable of it.</summary>
internal sealed class SpoolSegment(long number, ISpoolFile file) : IDisposable
{
    private long _durable;

    public long Number => number;

    public ISpoolFile File => file;

    /// <summary>Everything before this offset is durable.</summary>
    public long Durable
    {
        get => Volatile.Read(ref _durable);
        set => Volatile.Write(ref _durable, value);
    }

    public void Dispose() => file.Dispose();
}

/// <summary>
/// Keeps the next segment ready: written with zeros and synced, in small pieces, so that it steals no sync from the sessions. Knows how much disk the spool
/// uses, and stops at its bound.
/// </summary>
internal sealed class SegmentSupply : IDisposable
{
    private const int Piece = 1024 * 1024;
    private const string AtBound = "it has reached its bound, and the recorder does not take its entries";
    private static readonly TimeSpan Retry = TimeSpan.FromSeconds(1);
    private static readonly byte[] Zeros = new byte[Piece];

    private readonly ISpoolStorage _storage;
    private readonly SpoolOptions _options;
    private readonly object _gate = new();
    private readonly Thread _thread;
    private long _used;
    private (string Name, ISpoolFile File)? _ready;
    private string? _exhausted;
    private bool _wanted;
    private bool _first = true;
    private bool _stopping;

    /// <summary>Begins to prepare the first segment.</summary>
    /// <param name="storage">Files.</param>
    /// <param name="options">Sizes.</param>
    /// <param name="used">Bytes that the spool uses already.</param>
    public SegmentSupply(ISpoolStorage storage, SpoolOptions options, long used)
    {
        _storage = storage;
        _options = options;
        _used = used;
        _thread = new Thread(Run) { IsBackground = true, Name = "spool segments" };
        _thread.Start();
    }

    /// <summary>Bytes of all segments.</summary>
    public long Used
    {
        get
        {
            lock (_gate)
            {
                return _used;
            }
        }
    }

    /// <summary>Null while there is a next segment or one is being made; else why there is none.</summary>
    public string? Exhausted => Volatile.Read(ref _exhausted);

    /// <summary>Takes the next segment, waiting for it where it isn't ready.</summary>
    /// <exception cref="IOException">There is none in that time.</exception>
    public (string Name, ISpoolFile File) Take(TimeSpan timeout)
    {
        var deadline = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
        lock (_gate)
        {
            _wanted = true;
            Monitor.PulseAll(_gate);
            while (_ready is null)
            {
                var left = deadline - Environment.TickCount64;
                if (left <= 0 || _stopping || !Monitor.Wait(_gate, TimeSpan.FromMilliseconds(left)))
                {
                    throw new IOException($"the spool has no room for another segment: {_exhausted ?? "it is not written yet"}");
                }
            }

            var taken = _ready.Value;
            _ready = null;
            _wanted = false;

            // Known here and now: whoever appends next must not count on a segment that can't be made.
            Volatile.Write(ref _exhausted, _used + _options.SegmentBytes > _options.MaxBytes ? AtBound : null);
            Monitor.PulseAll(_gate);
            return taken;
        }
    }

    /// <summary>Says that a segment was deleted.</summary>
    public void Released(long bytes)
    {
        lock (_gate)
        {
            _used -= bytes;
            Monitor.PulseAll(_gate);
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _stopping = true;
            Monitor.PulseAll(_gate);
        }

        _thread.Join();
        if (_ready is { } ready)
        {
            ready.File.Dispose();
            _storage.Delete(ready.Name);
            _ready = null;
        }
    }

    private void Run()
    {
        while (true)
        {
            lock (_gate)
            {
                while (!_stopping && _ready is not null)
                {
                    Monitor.Wait(_gate);
                }

                if (_stopping)
                {
                    return;
                }

                // The first one of a run is made also beyond the bound: what fills the spool can only be shipped by a proxy that has started.
                if (!_first && _used + _options.SegmentBytes > _options.MaxBytes)
                {
                    Volatile.Write(ref _exhausted, AtBound);
                    Monitor.Wait(_gate, Retry);
                    continue;
                }

                _used += _options.SegmentBytes;
            }

            var name = $"next-{Guid.NewGuid():N}.tmp";
            ISpoolFile? file = null;
            try
            {
                file = Prepare(name);
                lock (_gate)
                {
                    _ready = (name, file);
                    _first = false;
                    Volatile.Write(ref _exhausted, null);
                    Monitor.PulseAll(_gate);
                }
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                file?.Dispose();
                TryDelete(name);
                lock (_gate)
                {
                    _used -= _options.SegmentBytes;
                    Volatile.Write(ref _exhausted, error.Message);
                    if (!_stopping)
                    {
                        Monitor.Wait(_gate, Retry);
                    }
                }
            }
        }
    }

    private ISpoolFile Prepare(string name)
    {
        var file = _storage.Create(name, _options.SegmentBytes);
        try
        {
            for (long offset = 0; offset < _options.SegmentBytes && !Volatile.Read(ref _stopping); offset += Piece)
            {
                file.Write(Zeros.AsSpan(0, (int)Math.Min(Piece, _options.SegmentBytes - offset)), offset);
                file.Sync();
                if (!Volatile.Read(ref _wanted))
                {
                    Thread.Sleep(4);
                }
            }

            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private void TryDelete(string name)
    {
        try
        {
            _storage.Delete(name);
        }
        catch (IOException)
        {
            // The next start removes what is left over.
        }
    }
}
