using Microsoft.Extensions.Options;

namespace Countersign.Recorder.Host;

/// <summary>Options of the recorder, section <c>Countersign:Recorder</c>. Checked all at once at start.</summary>
public sealed class RecorderOptions
{
    /// <summary>Name of the section.</summary>
    public const string Section = "Countersign:Recorder";

    /// <summary>Folder of log, index and keys; empty: <c>recorder</c> in <c>Countersign:Data</c>.</summary>
    public string Data { get; set; } = "";

    /// <summary>Name of the log, in checkpoints and keys. A host name and a path by custom; can't be changed once there is a log.</summary>
    public string Origin { get; set; } = "countersign.local/recorder";

    /// <summary>File with the log's private key, where replicas share one; empty: <c>log.key</c> in <see cref="Data"/>, made at the first start.</summary>
    public string LogKeyFile { get; set; } = "";

    /// <summary>
    /// File for the highest checkpoint that was made known, away from the log's storage, so that a log that was set back is noticed; empty: none with a log in files,
    /// <c>highest-checkpoint</c> in <see cref="Data"/> with one in PostgreSQL.
    /// </summary>
    public string HighestCheckpointFile { get; set; } = "";

    /// <summary>File with a checkpoint that was kept elsewhere: the log must contain it, or the recorder doesn't start. Empty for none.</summary>
    public string PinnedCheckpointFile { get; set; } = "";

    /// <summary>
    /// Payloads are kept at least this long, whatever the settings in force say (<c>retention_days</c>). Without that setting all are kept; hashes are kept always.
    /// </summary>
    public TimeSpan? KeepAtLeast { get; set; }

    /// <summary>
    /// Batches a second that this recorder wants to get from all proxies together: the more are enrolled, the longer it asks each to let entries gather. What somebody
    /// waits for comes at once.
    /// </summary>
    public int BatchesPerSecond { get; set; } = 500;

    /// <summary>How long entries may wait for a signed checkpoint.</summary>
    public TimeSpan CheckpointDelay { get; set; } = TimeSpan.FromMilliseconds(500);
}

/// <summary>Lists every error of the options at once.</summary>
internal sealed class RecorderOptionsValidator : IValidateOptions<RecorderOptions>
{
    public ValidateOptionsResult Validate(string? name, RecorderOptions options)
    {
        var errors = new List<string>();
        if (options.Data.Length == 0)
        {
            errors.Add($"{RecorderOptions.Section}:Data must name a folder.");
        }

        if (options.Origin.Length is 0 or > 200 || options.Origin.Any(c => char.IsWhiteSpace(c) || char.IsControl(c) || c == '+'))
        {
            errors.Add($"{RecorderOptions.Section}:Origin must be 1 to 200 characters without blanks and plus.");
        }

        if (options.KeepAtLeast is { } least && least < TimeSpan.FromDays(1))
        {
            errors.Add($"{RecorderOptions.Section}:KeepAtLeast must be a day at least.");
        }

        if (options.CheckpointDelay < TimeSpan.FromMilliseconds(50) || options.CheckpointDelay > TimeSpan.FromSeconds(1))
        {
            errors.Add($"{RecorderOptions.Section}:CheckpointDelay must be 50 ms to 1 s.");
        }

        if (options.BatchesPerSecond is < 10 or > 100_000)
        {
            errors.Add($"{RecorderOptions.Section}:BatchesPerSecond must be 10 to 100000.");
        }

        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }
}
