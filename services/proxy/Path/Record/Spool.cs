using System.Collections.Concurrent;
using System.Security.Cryptography;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Microsoft.Extensions.Logging;

namespace Countersign.Proxy.Path.Record;

/// <summary>
/// The proxy's own durable record of everything that happens in its sessions, until the recorder has it (docs/formats/spool.md). Opening it heals what a crash
/// left: sessions without an end get one with reason <c>crash</c>, and operations whose outcome nobody saw get <c>unknown</c>.
/// </summary>
public sealed partial class Spool : ISessionRecorder, IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, SpoolRecording> _recordings = new(StringComparer.Ordinal);
    private readonly SpoolKey _key;
    private readonly SpoolSegments _segments = new();
    private readonly SegmentSupply _supply;
    private readonly SpoolShipper _shipper;
    private readonly ILogger _logger;
    private readonly ITimer _heartbeat;
    private readonly IDisposable? _lock;
    private uint _lastSlot;
    private Exception? _failure;

    private Spool(
        SpoolOptions options, ISpoolStorage storage, SpoolKey key, IDisposable? @lock, ISealSigner signer, IEntryTransport transport, TimeProvider clock, ILogger logger)
    {
        (Options, Clock, _key, _lock, _logger) = (options, clock, key, @lock, logger);
        var recovered = new SpoolRecovery(storage, key).Run();
        foreach (var segment in recovered.Segments)
        {
            _segments.Add(segment);
        }

        _lastSlot = recovered.LastSlot;
        var continued = new List<SpoolRecording>();
        var sessions = recovered.Sessions.Select(session => Continue(session, continued)).ToList();
        _supply = new SegmentSupply(storage, options, recovered.Bytes);
        try
        {
            Writer = new SpoolWriter(
                storage, options, _supply, _segments, recovered with { Sessions = sessions }, clock, Fail, () => _shipper!.ShipSoon());
        }
        catch
        {
            _supply.Dispose();
            throw;
        }

        _shipper = new SpoolShipper(this, storage, _segments, _supply, key, signer, transport, logger);
        var crashed = 0;
        foreach (var recording in continued)
        {
            _recordings[recording.Id] = recording;
            if (!sessions.First(session => session.Id == recording.Id).Ended)
            {
                recording.EndAfterCrash();
                crashed++;
            }
        }

        if (recovered.Healed > 0 || crashed > 0)
        {
            LogHealed(crashed, recovered.Healed);
        }

        _heartbeat = clock.CreateTimer(_ => Heartbeat(), null, options.Heartbeat, options.Heartbeat);
        _shipper.Start();
    }

    internal SpoolOptions Options { get; }

    internal TimeProvider Clock { get; }

    internal SpoolWriter Writer { get; }

    /// <summary>Null while new sessions can be recorded; else why not, for people.</summary>
    public string? Problem => _failure is not null || Writer.Failure is not null ? "the spool has failed" : _supply.Exhausted;

    /// <summary>Bytes on disk.</summary>
    public long DiskBytes => _supply.Used;

    /// <summary>Opens the spool of a folder.</summary>
    /// <param name="options">Bounds.</param>
    /// <param name="signer">The proxy's key, for seals.</param>
    /// <param name="transport">Way to the recorder.</param>
    /// <param name="clock">Clock.</param>
    /// <param name="logger">Log.</param>
    /// <exception cref="SpoolDamagedException">What was durable is damaged.</exception>
    /// <exception cref="IOException">The disk is full or fails, or another process has the spool open.</exception>
    public static Spool Open(SpoolOptions options, ISealSigner signer, IEntryTransport transport, TimeProvider clock, ILogger<Spool> logger)
    {
        ArgumentNullException.ThrowIfNull(options);
        var storage = new DiskSpoolStorage(options.Directory, options.WriteThrough);
        var @lock = new FileStream(System.IO.Path.Combine(options.Directory, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        try
        {
            return new Spool(options, storage, SpoolKey.LoadOrCreate(System.IO.Path.Combine(options.Directory, "key")), @lock, signer, transport, clock, logger);
        }
        catch
        {
            @lock.Dispose();
            throw;
        }
    }

    internal static Spool Open(
        SpoolOptions options, ISpoolStorage storage, SpoolKey key, ISealSigner signer, IEntryTransport transport, TimeProvider clock, ILogger logger) =>
        new(options, storage, key, null, signer, transport, clock, logger);

    /// <inheritdoc/>
    public async ValueTask<ISessionRecording> OpenAsync(string session, SessionStartEntry start, CancellationToken cancellation)
    {
        if (!EntryHeader.IsSessionId(session) || session.StartsWith(SealKey.EventSessionPrefix, StringComparison.Ordinal))
        {
            throw new ArgumentException("This can't be the id of a session.", nameof(session));
        }

        var (state, cipher, wrapped) = NewSession(session);
        var recording = new SpoolRecording(this, state, cipher, SpoolRecord.Key(state.Slot, session, wrapped));
        if (!_recordings.TryAdd(session, recording))
        {
            throw new ArgumentException("There is a session of that id.", nameof(session));
        }

        try
        {
            await recording.Start(start).WaitAsync(cancellation).ConfigureAwait(false);
            return recording;
        }
        catch (RecordingFailedException)
        {
            _recordings.TryRemove(session, out _);
            throw;
        }
    }

    /// <summary>Completes when the recorder has all that there is, or after this long: for a graceful shutdown, when all sessions have ended.</summary>
    public Task DrainAsync(TimeSpan timeout) => _shipper.DrainAsync(timeout);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        // The caller may have been woken by the sync thread, which must not wait for its own end.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        await _heartbeat.DisposeAsync().ConfigureAwait(false);
        await _shipper.DisposeAsync().ConfigureAwait(false);
        Writer.Dispose();
        _supply.Dispose();
        foreach (var segment in _segments.Clear())
        {
            segment.Dispose();
        }

        _key.Dispose();
        _lock?.Dispose();
    }

    internal SpoolRecording? Find(string session) => _recordings.GetValueOrDefault(session);

    internal void Forget(SpoolRecording recording) => _recordings.TryRemove(KeyValuePair.Create(recording.Id, recording));

    internal void Fail(Exception error)
    {
        if (Interlocked.CompareExchange(ref _failure, error, null) is not null)
        {
            return;
        }

        LogFailed(error);
        var failure = new RecordingFailedException("The recording has failed; nothing goes on without its record.", error);
        foreach (var recording in _recordings.Values)
        {
            recording.Fail(failure);
        }
    }

    private (SpoolSession State, AesGcm Cipher, byte[] Wrapped) NewSession(string session)
    {
        if (_failure is { } failure)
        {
            throw new RecordingFailedException("The recording has failed; nothing goes on without its record.", failure);
        }

        Span<byte> key = stackalloc byte[SpoolKey.KeySize];
        RandomNumberGenerator.Fill(key);
        var wrapped = _key.Wrap(key, System.Text.Encoding.Latin1.GetBytes(session));
        var cipher = new AesGcm(key, SpoolKey.TagSize);
        CryptographicOperations.ZeroMemory(key);
        return (new SpoolSession(Interlocked.Increment(ref _lastSlot), session, wrapped), cipher, wrapped);
    }

    // A new key: entries of the crashed run with the same numbers may still lie on the disk, torn.
    private SpoolSession Continue(SpoolSession before, List<SpoolRecording> continued)
    {
        var (state, cipher, _) = NewSession(before.Id);
        state.Sequence = before.Sequence;
        state.Commitment = before.Commitment;
        state.Ended = before.Ended;
        state.Operations = before.Operations;
        state.OpenOperations.UnionWith(before.OpenOperations);
        continued.Add(new SpoolRecording(this, state, cipher, []));
        return state;
    }

    private void Heartbeat()
    {
        foreach (var recording in _recordings.Values)
        {
            recording.Heartbeat();
        }
    }

    [LoggerMessage(3311, LogLevel.Critical, "The spool has failed; all sessions end")]
    private partial void LogFailed(Exception error);

    [LoggerMessage(3312, LogLevel.Warning, "The spool was healed after a crash: {Sessions} sessions were ended, {Bytes} bytes of a torn tail were cut off")]
    private partial void LogHealed(int sessions, long bytes);
}
