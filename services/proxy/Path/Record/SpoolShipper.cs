using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging;

namespace Countersign.Proxy.Path.Record;

/// <summary>
/// Brings entries from the spool to the recorder, at least once and in order, seals the chains on the way, and deletes a segment when all of it is
/// acknowledged. Off the hot path: reads what is durable, at its own pace.
/// </summary>
internal sealed partial class SpoolShipper : IAsyncDisposable
{
    /// <summary>What a recorder may ask for at most, in milliseconds: entries must not stay here for long.</summary>
    private const int LongestGather = 5000;

    private readonly Spool _spool;
    private readonly ISpoolStorage _storage;
    private readonly SpoolSegments _segments;
    private readonly SegmentSupply _supply;
    private readonly ISealSigner _signer;
    private readonly IEntryTransport _transport;
    private readonly ILogger _logger;
    private readonly SpoolCursor _cursor;
    private readonly ShipBatch _batch = new();
    private readonly SemaphoreSlim _wake = new(0);
    private readonly CancellationTokenSource _stopping = new();
    private readonly HashSet<SpoolSegment> _withRefused = [];
    private Task _running = Task.CompletedTask;
    private TimeSpan _gather;
    private TaskCompletionSource? _drained;

    public SpoolShipper(
        Spool spool, ISpoolStorage storage, SpoolSegments segments, SegmentSupply supply, SpoolKey key, ISealSigner signer, IEntryTransport transport, ILogger logger)
    {
        (_spool, _storage, _segments, _supply, _signer, _transport, _logger) = (spool, storage, segments, supply, signer, transport, logger);
        _cursor = new SpoolCursor(segments, key);
    }

    private TimeProvider Clock => _spool.Clock;

    private SpoolOptions Options => _spool.Options;

    public void Start() => _running = Task.Run(() => RunAsync(_stopping.Token));

    /// <summary>Something is durable that somebody wants acknowledged.</summary>
    public void ShipSoon()
    {
        if (_wake.CurrentCount == 0)
        {
            _wake.Release();
        }
    }

    /// <summary>Completes when all that is there was shipped, or the time is over.</summary>
    public async Task DrainAsync(TimeSpan timeout)
    {
        var drained = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        drained = Interlocked.CompareExchange(ref _drained, drained, null) ?? drained;
        ShipSoon();
        try
        {
            await Task.WhenAny(drained.Task, _running).WaitAsync(timeout, Clock).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // The rest is on disk, and shipped by the next start.
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _running.ConfigureAwait(false);
        _cursor.Dispose();
        _stopping.Dispose();
    }

    private async Task RunAsync(CancellationToken cancellation)
    {
        try
        {
            while (!cancellation.IsCancellationRequested)
            {
                _batch.Clear();
                var began = Clock.GetTimestamp();

                // Asked before reading: then what is read is all that there was when somebody wished to have it shipped.
                var drained = Volatile.Read(ref _drained);
                var settled = !_spool.Writer.HasPending;
                _cursor.Read(_batch, Options.ShipBytes);
                settled &= !Seal();
                if (_batch.IsEmpty)
                {
                    if (drained is not null && settled)
                    {
                        Volatile.Write(ref _drained, null);
                        drained.TrySetResult();
                    }

                    DeletePassed();
                    await _wake.WaitAsync(drained is null ? Options.ShipInterval : Options.LazyDelay * 2, cancellation).ConfigureAwait(false);
                    continue;
                }

                await SendAsync(cancellation).ConfigureAwait(false);
                DeletePassed();
                await GatherAsync(began, cancellation).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            // Asked to stop.
        }
        catch (Exception error) when (error is SpoolDamagedException or IOException)
        {
            // What can't be read can't be shipped, and the disk would fill unseen.
            LogStopped(error);
            _spool.Fail(error);
        }
    }

    /// <summary>
    /// Lets entries gather: a request and the recorder's sync for each of the spool's batches would cost more than all that is in them. Not where there is a whole
    /// batch already, nor where somebody waits for the recorder or for the end.
    /// </summary>
    private async Task GatherAsync(long began, CancellationToken cancellation)
    {
        var left = (_gather > Options.ShipInterval ? _gather : Options.ShipInterval) - Clock.GetElapsedTime(began);
        if (left > TimeSpan.Zero && _batch.Frames.WrittenCount < Options.ShipBytes && Volatile.Read(ref _drained) is null)
        {
            await _wake.WaitAsync(left, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Sends until all of the batch is acknowledged or refused.</summary>
    private async Task SendAsync(CancellationToken cancellation)
    {
        var pause = Options.FirstPause;
        while (true)
        {
            try
            {
                var result = await _transport.SendAsync(_batch.Frames.WrittenMemory, cancellation).ConfigureAwait(false);
                if (Take(result))
                {
                    _gather = TimeSpan.FromMilliseconds(Math.Clamp(result.GatherMilliseconds, 0, LongestGather));
                    SpoolMetrics.Shipped(_batch.Entries, _supply.Used);
                    return;
                }

                LogIncomplete();
            }
            catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
            {
                throw;
            }
#pragma warning disable CA1031 // whatever a transport throws means: not acknowledged
            catch (Exception error)
#pragma warning restore CA1031
            {
                LogUnreachable(error, pause.TotalMilliseconds);
            }

            await Task.Delay(pause, Clock, cancellation).ConfigureAwait(false);
            pause = pause * 2 < Options.LongestPause ? pause * 2 : Options.LongestPause;
        }
    }

    private bool Take(BatchResult result)
    {
        var all = true;
        foreach (var session in _batch.Sessions)
        {
            if (result.Acknowledged.TryGetValue(session.Id, out var reached))
            {
                // Never further than what was sent: a recorder that says more must not complete what it can't have.
                _spool.Find(session.Id)?.Acknowledgements.Reach(Math.Min(reached, session.Sequence));
                if (reached >= session.Sequence)
                {
                    Finish(session);
                    continue;
                }
            }

            if (result.Refused.TryGetValue(session.Id, out var reason))
            {
                Refuse(session, reason);
                continue;
            }

            all = false;
        }

        return all;
    }

    private void Finish(ShippedSession session)
    {
        if (session.Closed)
        {
            _cursor.Forget(session);
        }
    }

    private void Refuse(ShippedSession session, string reason)
    {
        if (_segments.Oldest is { } oldest)
        {
            // Its entries must not be lost with the segment: it is kept for people to look at.
            _withRefused.Add(oldest);
            foreach (var passed in _cursor.Passed)
            {
                _withRefused.Add(passed);
            }
        }

        if (!session.Refused)
        {
            session.Refused = true;
            SpoolMetrics.Refused();
            LogRefused(session.Id, reason);
            _spool.Find(session.Id)?.Fail(new RecordingFailedException("The recorder refuses the record of this session."));
        }
    }

    /// <summary>Appends the seals that are due.</summary>
    /// <returns>Whether there were any.</returns>
    private bool Seal()
    {
        var any = false;
        var now = Clock.GetTimestamp();
        foreach (var session in _cursor.Sessions)
        {
            if (session.Unsealed == 0 || session.SealedForGood || session.Refused)
            {
                continue;
            }

            var due = session.Ended || session.Unsealed >= Options.SealEntries || session.SealedAt == 0
                || Clock.GetElapsedTime(session.SealedAt, now) >= Options.SealInterval;
            // A session of an earlier run gets its last seal only: what was read so far may be behind seals that it has already.
            if (!due || _spool.Find(session.Id) is not { } recording || (recording.IsContinued && !session.Ended))
            {
                continue;
            }

            try
            {
                recording.AppendSeal(Recorder.Format.Seal.Create(session.Id, session.Sequence, session.Commitment, _signer), last: session.Ended);
                session.SealedForGood = session.Ended;
                session.Unsealed = 0;
                session.SealedAt = now;
                any = true;
            }
            catch (RecordingFailedException)
            {
                // No room now: sealed later, or by the next start.
            }
        }

        return any;
    }

    private void DeletePassed()
    {
        while (_cursor.Passed.TryDequeue(out var segment))
        {
            var size = segment.File.Length;
            _segments.Remove(segment);
            segment.Dispose();
            var name = SpoolFormat.SegmentName(segment.Number);
            if (_withRefused.Remove(segment))
            {
                _storage.Rename(name, name + ".refused");
                continue;
            }

            _storage.Delete(name);
            _supply.Released(size);
        }
    }

    [LoggerMessage(3301, LogLevel.Warning, "The recorder does not take entries; trying again in {Milliseconds} ms")]
    private partial void LogUnreachable(Exception error, double milliseconds);

    [LoggerMessage(3302, LogLevel.Warning, "The recorder acknowledged only a part of a batch; sending it again")]
    private partial void LogIncomplete();

    [LoggerMessage(3303, LogLevel.Error, "The recorder refuses session {Session}: {Reason}. The session ends; its entries stay in the spool as .refused")]
    private partial void LogRefused(string session, string reason);

    [LoggerMessage(3304, LogLevel.Critical, "The spool can't be read; sessions end")]
    private partial void LogStopped(Exception error);
}
