using System.Buffers;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Platform.Postgres;
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
/// chain goes on, makes it durable with one sync, integrates it into the tree, and signs a checkpoint now and then. Fails closed: after the first error of a disk
/// nothing is acknowledged any more; after one of a shared database nothing is until the log was loaded anew.
/// </summary>
public sealed partial class RecorderLog : IEntryLog, IDisposable
{
    private readonly LogOptions _options;
    private readonly NoteSigner _signer;
    private readonly ISealSigner _sealSigner;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly Action<string, Checkpoint> _signed;
    private readonly ILogStorage _storage;
    private readonly HighestCheckpoint _highest;
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
    private Signed _signedHead = new("", new Checkpoint("", -1, Hash256.Zero), DateTimeOffset.MinValue);
    private volatile TileStore _tiles = null!;

    // The thread's own.
    private LogState _state = null!;
    private (long Size, Hash256 Root) _reached = (0, Merkle.EmptyRoot);
    private readonly ArrayBufferWriter<byte> _frames = new(1024 * 1024);
    private readonly List<int> _lengths = [];
    private readonly List<Entry> _new = [];
    private readonly HashSet<string> _dirtyEvents = new(StringComparer.Ordinal);
    private long _checkpointDue;
    private long _followDue;
    private long _snapshotAt;

    private RecorderLog(
        LogOptions options, ILogStorage storage, NoteSigner signer, ISealSigner sealSigner, TimeProvider clock, ILogger logger, Action<string, Checkpoint> signed)
    {
        (_options, _storage, _signer, _sealSigner, _clock, _logger, _signed) = (options, storage, signer, sealSigner, clock, logger, signed);
        _highest = new HighestCheckpoint(options.HighestCheckpointFile, options.PinnedCheckpointFiles, signer.Verifier);
        Load();
        SignCheckpoint();
        _thread = new Thread(Run) { IsBackground = true, Name = "recorder log" };
        _thread.Start();
    }

    /// <inheritdoc/>
    public long Size => Volatile.Read(ref _size);

    /// <summary>The latest signed checkpoint, as a note.</summary>
    public string CheckpointNote => Volatile.Read(ref _signedHead).Note;

    /// <summary>The latest signed checkpoint.</summary>
    public Checkpoint Latest => Volatile.Read(ref _signedHead).Checkpoint;

    /// <summary>When the latest checkpoint was signed, or came here from the replica that signed it.</summary>
    public DateTimeOffset SignedAt => Volatile.Read(ref _signedHead).At;

    /// <summary>Roots of subtrees, for proofs about any size up to <see cref="Size"/>.</summary>
    public IMerkleNodes Nodes => _tiles;

    /// <summary>Null while the log takes entries; else why not.</summary>
    public string? Problem => Volatile.Read(ref _failure) switch
    {
        null => null,
        LogFailedException or PortUnavailableException when _storage.IsShared => _failure!.Message,
        _ => "the log can't be written",
    };

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
        return Open(options, new FileLogStorage(options), signer, sealSigner, clock, logger, signed);
    }

    /// <summary>Opens the log of a database that several replicas share, or begins one. All must have the same key.</summary>
    /// <inheritdoc cref="Open(LogOptions, NoteSigner, ISealSigner, TimeProvider, ILogger, Action{string, Checkpoint})"/>
    /// <exception cref="PortUnavailableException">The database can't be reached.</exception>
    public static RecorderLog Open(
        PostgresDatabase database, LogOptions options, NoteSigner signer, ISealSigner sealSigner, TimeProvider clock, ILogger logger, Action<string, Checkpoint> signed)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(signer);
        return Open(options, new PostgresLogStorage(database, signer.Verifier), signer, sealSigner, clock, logger, signed);
    }

    internal static RecorderLog Open(
        LogOptions options, ILogStorage storage, NoteSigner signer, ISealSigner sealSigner, TimeProvider clock, ILogger logger, Action<string, Checkpoint> signed)
    {
        try
        {
            return new RecorderLog(options, storage, signer, sealSigner, clock, logger, signed);
        }
        catch
        {
            storage.Dispose();
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
        return left <= 0 ? [] : _storage.Read(from, (int)Math.Min(left, maxEntries), maxBytes);
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
    public long Erase(DateTimeOffset before) => _storage.Erase(before);

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
        _storage.Dispose();
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

    private static long After(TimeSpan time) => Stopwatch.GetTimestamp() + (long)(time.TotalSeconds * Stopwatch.Frequency);

    /// <summary>A checkpoint as it was made known.</summary>
    private sealed record Signed(string Note, Checkpoint Checkpoint, DateTimeOffset At);
}
