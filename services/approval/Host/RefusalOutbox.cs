using Countersign.Platform.Ports;
using Countersign.Recorder.Contracts;

namespace Countersign.Approval.Host;

/// <summary>
/// Audit events of refused attempts. Each is stored before it is published and deleted after, so that a crash or a broker that is away loses none. Since anybody
/// can attempt anything, what one source tries in a while is written down one by one only up to a number; of the rest it is said how many there were.
/// </summary>
internal sealed partial class RefusalOutbox(
    [FromKeyedServices(AppIds.Approval)] IStateStore store, IEventBus bus, TimeProvider clock, ILogger<RefusalOutbox> logger) : BackgroundService
{
    /// <summary>Where they wait.</summary>
    internal const string Collection = "refusals";

    /// <summary>Action of the event that stands for many.</summary>
    internal const string Many = "request.attempts-refused";

    /// <summary>More than this many wait for a broker that is away: then they are only counted.</summary>
    private const int MaxWaiting = 50_000;

    private static readonly TimeSpan Period = TimeSpan.FromSeconds(3);
    private readonly RefusalThrottle _throttle = new(clock);
    private volatile bool _full;

    /// <summary>Tells one. Never fails: an attempt stays refused where that can't be told.</summary>
    /// <param name="refused">The event.</param>
    /// <param name="source">Who tries: a person, a service, or an address.</param>
    public async ValueTask AddAsync(AuditEvent refused, string source)
    {
        ArgumentNullException.ThrowIfNull(refused);
        if (_throttle.Admits(source, refused.Action, refused.Details.GetValueOrDefault("code", ""), force: !_full))
        {
            await WriteAsync(refused);
        }
    }

    /// <summary>Tells what could not be told before, and how many were only counted.</summary>
    public async Task FlushAsync(CancellationToken cancellation)
    {
        foreach (var counted in _throttle.Over())
        {
            await WriteAsync(new AuditEvent
            {
                Id = $"approval-refused-{Guid.NewGuid():N}",
                Service = AppIds.Approval,
                Action = Many,
                At = counted.Last,
                Person = "",
                Name = "",
                Subject = "",
                Success = false,
                Details = new Dictionary<string, string>
                {
                    ["source"] = counted.Source,
                    ["count"] = counted.Count.ToString(System.Globalization.CultureInfo.InvariantCulture),
                    ["since"] = counted.Since.ToString("O"),
                    ["latest"] = counted.Action,
                    ["code"] = counted.Code,
                    ["severity"] = "high",
                },
            });
        }

        var waiting = 0;
        var published = true;
        await foreach (var item in store.ListAsync(Collection, cancellation))
        {
            published = published && await PublishAsync(item.Key, item.Value, item.ETag);
            waiting += published ? 0 : 1;
        }

        _full = waiting >= MaxWaiting;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Period, clock);
        try
        {
            do
            {
                try
                {
                    await FlushAsync(stoppingToken);
                }
                catch (PortUnavailableException error)
                {
                    LogNotNow(error.Message);
                }
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // What waits is stored.
        }
    }

    private async ValueTask WriteAsync(AuditEvent refused)
    {
        var data = OcsfEvents.Write(refused);
        try
        {
            await store.TrySaveAsync(Collection, refused.Id, data, etag: null, CancellationToken.None);
        }
        catch (PortUnavailableException error)
        {
            // Told all the same, if the broker takes it now.
            LogNotStored(error, refused.Action, refused.Id);
        }

        await PublishAsync(refused.Id, data, etag: null);
    }

    /// <param name="id">Id of the event.</param>
    /// <param name="data">The event.</param>
    /// <param name="etag">Of the stored one; null where it isn't known.</param>
    private async ValueTask<bool> PublishAsync(string id, ReadOnlyMemory<byte> data, string? etag)
    {
        try
        {
            await bus.PublishAsync(Topics.Audit, id, OcsfEvents.EventType, data, CancellationToken.None);
        }
        catch (PortUnavailableException error)
        {
            LogNotNow(error.Message);
            return false;
        }

        try
        {
            if ((etag ?? (await store.GetAsync(Collection, id, CancellationToken.None))?.ETag) is { } stored)
            {
                await store.TryDeleteAsync(Collection, id, stored, CancellationToken.None);
            }
        }
        catch (PortUnavailableException error)
        {
            // Told again later, with the same id.
            LogNotNow(error.Message);
        }

        return true;
    }

    [LoggerMessage(2545, LogLevel.Warning, "Refused attempts can't be told now, and wait: {Reason}")]
    private partial void LogNotNow(string reason);

    [LoggerMessage(2546, LogLevel.Error, "A refused attempt ({Action}, {Id}) could not be stored")]
    private partial void LogNotStored(Exception error, string action, string id);
}

/// <summary>How much is written down of what one source tries: the first ones in a window, and of the others how many. Bounded in the number of sources.</summary>
internal sealed class RefusalThrottle(TimeProvider clock)
{
    /// <summary>Attempts of one source in a window that are written down one by one: more than anybody makes by hand, or in one call.</summary>
    public const int PerWindow = 200;

    /// <summary>How long a window is.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromSeconds(10);

    private const int MaxSources = 10_000;
    private const string Others = "others";
    private readonly Dictionary<string, Tried> _tried = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();

    /// <summary>Whether to write one down; counts it otherwise.</summary>
    public bool Admits(string source, string action, string code, bool force = true)
    {
        var now = clock.GetUtcNow();
        lock (_gate)
        {
            if (!_tried.TryGetValue(source, out var tried) && _tried.Count >= MaxSources)
            {
                source = Others;
                _tried.TryGetValue(source, out tried);
            }

            if (tried is null || (now - tried.Since >= Window && tried.Counted == 0))
            {
                _tried[source] = tried = new Tried { Since = now };
            }

            if (force && tried.Written < PerWindow)
            {
                tried.Written++;
                return true;
            }

            tried.Counted++;
            (tried.Last, tried.Action, tried.Code) = (now, action, code);
            return false;
        }
    }

    /// <summary>What was only counted, of windows that are over; forgets them.</summary>
    public IReadOnlyList<CountedRefusals> Over()
    {
        var now = clock.GetUtcNow();
        lock (_gate)
        {
            var over = _tried.Where(pair => now - pair.Value.Since >= Window).ToList();
            foreach (var (source, _) in over)
            {
                _tried.Remove(source);
            }

            return [.. over.Where(pair => pair.Value.Counted > 0).Select(pair => new CountedRefusals(pair.Key, pair.Value.Counted, pair.Value.Since, pair.Value.Last, pair.Value.Action, pair.Value.Code))];
        }
    }

    private sealed class Tried
    {
        public required DateTimeOffset Since { get; init; }
        public int Written { get; set; }
        public long Counted { get; set; }
        public DateTimeOffset Last { get; set; }
        public string Action { get; set; } = "";
        public string Code { get; set; } = "";
    }
}

/// <summary>Attempts that were only counted.</summary>
/// <param name="Source">Who tried.</param>
/// <param name="Count">How many.</param>
/// <param name="Since">Beginning of the window.</param>
/// <param name="Last">The latest.</param>
/// <param name="Action">Action of the latest.</param>
/// <param name="Code">Code of the latest.</param>
internal sealed record CountedRefusals(string Source, long Count, DateTimeOffset Since, DateTimeOffset Last, string Action, string Code);
