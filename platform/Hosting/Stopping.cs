using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Hosting;

/// <summary>How a process leaves, section <c>Countersign</c>.</summary>
public sealed class StopOptions
{
    /// <summary>Longest time that may be set.</summary>
    internal static readonly TimeSpan Longest = TimeSpan.FromMinutes(5);

    /// <summary>
    /// How long it goes on taking work after it was asked to stop, while <c>/health</c> says already that it stops: the time in which entrances, balancers and sidecars turn to
    /// other replicas. None by default; 5 s where there is a sidecar.
    /// </summary>
    public TimeSpan StopDelay { get; set; }

    internal static TimeSpan Read(IEnumerable<IConfigureOptions<StopOptions>> all)
    {
        var options = new StopOptions();
        foreach (var each in all)
        {
            each.Configure(options);
        }

        return TimeSpan.FromTicks(Math.Clamp(options.StopDelay.Ticks, 0, Longest.Ticks));
    }
}

internal sealed class StopOptionsCheck : IValidateOptions<StopOptions>
{
    public ValidateOptionsResult Validate(string? name, StopOptions options) => options.StopDelay >= TimeSpan.Zero && options.StopDelay <= StopOptions.Longest
        ? ValidateOptionsResult.Success
        : ValidateOptionsResult.Fail($"Countersign:{nameof(StopOptions.StopDelay)} must lie between 0 and {StopOptions.Longest.TotalMinutes} minutes.");
}

/// <summary>Whether the process was asked to stop, and the wait before it does.</summary>
public sealed class Stopping(IHostApplicationLifetime lifetime, IOptions<StopOptions> options, TimeProvider clock) : IHostedLifecycleService
{
    private readonly Lock _gate = new();
    private Task? _wait;

    /// <summary>Whether it was asked to.</summary>
    public bool IsAsked => lifetime.ApplicationStopping.IsCancellationRequested;

    /// <summary>Waits until others have had the time to turn away. Whoever stops taking work awaits it first; all wait for the same moment.</summary>
    public Task WaitAsync()
    {
        lock (_gate)
        {
            return _wait ??= Task.Delay(options.Value.StopDelay, clock);
        }
    }

    /// <inheritdoc/>
    public Task StoppingAsync(CancellationToken cancellationToken) => WaitAsync().WaitAsync(cancellationToken);

    /// <inheritdoc/>
    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
