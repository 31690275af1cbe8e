using System.Text.Json;
using System.Threading.Channels;
using Countersign.Platform.Ports;
using Countersign.Platform.Postgres;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Language;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;
using Countersign.Recorder.Search;
using Microsoft.Extensions.Options;

namespace Countersign.Recorder.Host;

/// <summary>
/// Owns log and index for the life of the process, publishes checkpoints, keeps the index up to date and payloads as long as they are to be kept. Opened at
/// start: a log that isn't what its checkpoint says stops the process.
/// </summary>
internal sealed partial class LogHost : IHostedService, IDisposable
{
    public const string CheckpointEvent = "countersign.checkpoint";
    private static readonly TimeSpan RetentionInterval = TimeSpan.FromHours(1);
    private static readonly TimeSpan RetentionRetry = TimeSpan.FromMinutes(1);

    private readonly RecorderOptions _options;
    private readonly IEventBus _bus;
    private readonly ApprovedRetention _retention;
    private readonly TimeProvider _clock;
    private readonly ILogger<LogHost> _logger;
    private readonly Channel<(string Note, Checkpoint Checkpoint)> _signed =
        Channel.CreateBounded<(string, Checkpoint)>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest });

    private readonly CancellationTokenSource _stopping = new();
    private readonly NoteSigner _signer;
    private Task _running = Task.CompletedTask;

    public LogHost(
        IServiceProvider provider, IOptions<RecorderOptions> options, IEventBus bus, ApprovedRetention retention, ITrustedKeys trusted, [FromKeyedServices(AppIds.Recorder)] SigningKey key,
        TimeProvider clock, ILogger<LogHost> logger, ILogger<Indexer> indexLogger)
    {
        (_options, _bus, _retention, _clock, _logger) = (options.Value, bus, retention, clock, logger);
        var data = Path.GetFullPath(_options.Data);
        Directory.CreateDirectory(data, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _signer = NoteKeyFile.Load(_options.LogKeyFile, Path.Combine(data, "log.key"), _options.Origin);
        var database = provider.GetKeyedService<PostgresDatabase>(AppIds.Recorder);
        var logOptions = new LogOptions
        {
            Directory = Path.Combine(data, "log"),
            CheckpointDelay = _options.CheckpointDelay,
            HighestCheckpointFile = _options.HighestCheckpointFile.Length > 0 ? Path.GetFullPath(_options.HighestCheckpointFile)
                : database is null ? null : Path.Combine(data, "highest-checkpoint"),
            PinnedCheckpointFiles = _options.PinnedCheckpointFile.Length > 0 ? [Path.GetFullPath(_options.PinnedCheckpointFile)] : [],
        };
        void Signed(string note, Checkpoint checkpoint) => _signed.Writer.TryWrite((note, checkpoint));
        if (database is null)
        {
            Keys = new SealKeyRing(trusted, key, new SealKeyFile(Path.Combine(data, "seal-keys.json")));
            Log = RecorderLog.Open(logOptions, _signer, new SigningKeySealer(key), clock, logger, Signed);
            Index = SearchIndex.Open(Path.Combine(data, "search.db"));
        }
        else
        {
            database.WaitUntilReady(CancellationToken.None);
            Keys = new SealKeyRing(trusted, key, new SealKeyState(provider.GetRequiredKeyedService<IStateStore>(AppIds.Recorder)));
            Log = RecorderLog.Open(database, logOptions, _signer, new SigningKeySealer(key), clock, logger, Signed);
            Index = new PostgresSearchIndex(database);
        }

        Indexer = new Indexer(Index, Log, indexLogger);
    }

    public RecorderLog Log { get; }

    /// <summary>When the latest checkpoint was signed.</summary>
    public DateTimeOffset CheckpointAt => Log.SignedAt;

    public SealKeyRing Keys { get; }

    public ISearchIndex Index { get; }

    public Indexer Indexer { get; }

    public ValueTask<string> KeyStatementAsync(CancellationToken cancellation) => Keys.StateAsync(_signer, cancellation);

    /// <summary>Waits until search shows everything that the log has now; not for ever.</summary>
    public async Task CatchUpAsync(TimeSpan timeout, CancellationToken cancellation)
    {
        var size = Log.Size;
        for (var waited = TimeSpan.Zero; waited < timeout && Indexer.Lag > Log.Size - size; waited += TimeSpan.FromMilliseconds(20))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20), cancellation);
        }
    }

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        await Keys.SaveAsync(cancellationToken);
        var token = _stopping.Token;
        _running = Task.WhenAll(Task.Run(() => PublishAsync(token), token), Task.Run(() => IndexAsync(token), token), Task.Run(() => RetainAsync(token), token));
        LogStarted(Log.Verifier.ToString(), Log.Size);
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _stopping.CancelAsync();
        try
        {
            await _running.WaitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // Asked to stop.
        }
    }

    public void Dispose()
    {
        Log.Dispose();
        Keys.Dispose();
        _signer.Dispose();
        _stopping.Dispose();
    }

    private async Task PublishAsync(CancellationToken cancellation)
    {
        await foreach (var (note, checkpoint) in _signed.Reader.ReadAllAsync(cancellation))
        {
            var view = new LogView(checkpoint.Size, Convert.ToBase64String(checkpoint.Root.ToArray()), note);
            try
            {
                await _bus.PublishAsync(
                    Topics.Audit, $"checkpoint-{checkpoint.Size}", CheckpointEvent, JsonSerializer.SerializeToUtf8Bytes(view, JsonSerializerOptions.Web), cancellation);
            }
            catch (PortUnavailableException error)
            {
                // The next checkpoint covers it too.
                LogNotPublished(error, checkpoint.Size);
            }
        }
    }

    private async Task IndexAsync(CancellationToken cancellation)
    {
        while (!cancellation.IsCancellationRequested)
        {
            try
            {
                await Indexer.RunAsync(cancellation);
            }
#pragma warning disable CA1031 // search must never take the log down
            catch (Exception error) when (error is not OperationCanceledException)
#pragma warning restore CA1031
            {
                LogIndexFailed(error);
                await Task.Delay(TimeSpan.FromSeconds(5), _clock, cancellation);
            }
        }
    }

    private async Task RetainAsync(CancellationToken cancellation)
    {
        while (true)
        {
            var next = RetentionInterval;
            try
            {
                await EraseAsync(cancellation);
            }
            catch (Exception error) when (error is IOException or LogFailedException or PortUnavailableException)
            {
                LogRetentionFailed(error);
            }
            catch (Exception error) when (
                error is HttpRequestException or PortUnavailableException or TokenRejectedException or BundleRejectedException or PolicyFormatException or JsonException
                || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
            {
                // What isn't certain deletes nothing.
                LogRetentionUnknown(error.Message);
                next = RetentionRetry;
            }

            await Task.Delay(next, _clock, cancellation);
        }
    }

    /// <summary>Deletes the payloads that need no longer be kept.</summary>
    /// <returns>How many.</returns>
    internal async Task<long> EraseAsync(CancellationToken cancellation)
    {
        if (await _retention.EraseBeforeAsync(cancellation) is not { } before)
        {
            return 0;
        }

        var erased = Log.Erase(before);
        if (erased > 0)
        {
            Index.Forget(before);
            LogErased(erased, before);
        }

        return erased;
    }

    [LoggerMessage(4006, LogLevel.Warning, "Nothing is deleted, since how long payloads are to be kept can't be found out: {Reason}")]
    private partial void LogRetentionUnknown(string reason);

    [LoggerMessage(4001, LogLevel.Information, "The log has {Size} entries; its key is {Key}")]
    private partial void LogStarted(string key, long size);

    [LoggerMessage(4002, LogLevel.Warning, "The checkpoint of {Size} entries was not published")]
    private partial void LogNotPublished(Exception error, long size);

    [LoggerMessage(4003, LogLevel.Error, "Search can't be brought up to date; trying again")]
    private partial void LogIndexFailed(Exception error);

    [LoggerMessage(4004, LogLevel.Information, "Retention deleted the payloads of {Count} entries before {Before}")]
    private partial void LogErased(long count, DateTimeOffset before);

    [LoggerMessage(4005, LogLevel.Error, "Retention could not delete payloads; trying again")]
    private partial void LogRetentionFailed(Exception error);
}

/// <summary>The log's private key, in a file with mode 0600.</summary>
internal static class NoteKeyFile
{
    /// <summary>Loads the key.</summary>
    /// <param name="given">File that the options name, where replicas share one key; empty for the own.</param>
    /// <param name="own">File in the data folder, made where there is none.</param>
    /// <param name="origin">Name of the log.</param>
    public static NoteSigner Load(string given, string own, string origin)
    {
        // A key that was shared out is never made here: it would be another one.
        return given.Length > 0 && !File.Exists(given)
            ? throw new InvalidDataException($"{RecorderOptions.Section}:LogKeyFile names {given}, which is not there.")
            : LoadOrCreate(given.Length > 0 ? given : own, origin);
    }

    private static NoteSigner LoadOrCreate(string path, string origin)
    {
        if (!File.Exists(path))
        {
            using var fresh = NoteSigner.Create(origin);
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite };
            var temporary = path + ".tmp";
            File.Delete(temporary);
            using (var stream = new FileStream(temporary, options))
            {
                stream.Write(System.Text.Encoding.UTF8.GetBytes(fresh.ExportSecret() + "\n"));
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: false);
        }

        const UnixFileMode Others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        if ((File.GetUnixFileMode(path) & Others) != 0)
        {
            throw new InvalidDataException($"{path} is readable by others; a private key must have mode 0600.");
        }

        var signer = NoteSigner.Parse(File.ReadAllText(path));
        if (signer.Verifier.Name == origin)
        {
            return signer;
        }

        signer.Dispose();
        throw new InvalidDataException($"{path} is the key of another log than {RecorderOptions.Section}:Origin says.");
    }
}
