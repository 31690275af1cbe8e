using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Countersign.Fakes.Sidecar;

/// <summary>A wake-up of an actor.</summary>
/// <param name="Data">JSON as it was registered; null for none.</param>
/// <param name="Period">Null for a one-shot.</param>
/// <param name="EndsAt">When it ends by itself.</param>
/// <param name="Stamp">Changes with every registration.</param>
internal sealed record Reminder(string Type, string Id, string Name, string? Data, DateTimeOffset Due, TimeSpan? Period, DateTimeOffset? EndsAt, Guid Stamp)
{
    public string Key => $"{Type}||{Id}||{Name}";
}

/// <summary>The scheduler: keeps reminders, and calls whoever hosts the actor when they come due. What comes due while nobody does is delivered when somebody does.</summary>
internal sealed partial class Reminders : IAsyncDisposable
{
    private const string Kind = "reminder";
    private const int Retries = 3;
    private readonly PlaneOptions _options;
    private readonly Journal _journal;
    private readonly Func<Reminder, byte[], CancellationToken, Task<bool?>> _fire;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Reminder> _reminders = new(StringComparer.Ordinal);
    private readonly PriorityQueue<Reminder, DateTimeOffset> _due = new();
    private readonly SemaphoreSlim _changed = new(0);
    private readonly Task _running;

    /// <param name="options">Options.</param>
    /// <param name="journal">Journal.</param>
    /// <param name="fire">Calls the actor; null where nobody hosts it now, false where it failed.</param>
    public Reminders(PlaneOptions options, Journal journal, Func<Reminder, byte[], CancellationToken, Task<bool?>> fire)
    {
        _options = options;
        _journal = journal;
        _fire = fire;
        foreach (var (_, value) in journal.Of(Kind))
        {
            var reminder = JsonSerializer.Deserialize<Reminder>(value)!;
            _reminders[reminder.Key] = reminder;
            _due.Enqueue(reminder, reminder.Due);
        }

        _running = Task.Run(RunAsync);
    }

    public Reminder? Get(string type, string id, string name)
    {
        lock (_gate)
        {
            return _reminders.GetValueOrDefault($"{type}||{id}||{name}");
        }
    }

    public IReadOnlyList<Reminder> All
    {
        get
        {
            lock (_gate)
            {
                return [.. _reminders.Values];
            }
        }
    }

    /// <summary>Registers or replaces one.</summary>
    /// <exception cref="FormatException">What the scheduler refuses.</exception>
    /// <exception cref="SchedulerException">It is down.</exception>
    public void Put(string type, string id, string name, JsonObject? body)
    {
        CheckReachable();
        var now = DateTimeOffset.UtcNow;
        var due = (string?)body?["dueTime"] is { Length: > 0 } dueText ? At(dueText, now) : now;
        var period = (string?)body?["period"] is { Length: > 0 } periodText ? Duration(periodText) : null as TimeSpan?;
        period = period > TimeSpan.Zero ? period : null;
        DateTimeOffset? ends = (string?)body?["ttl"] is { Length: > 0 } ttl ? At(ttl, now) : null;
        if (ends is not null && period is null)
        {
            throw new FormatException("job must have a schedule to have a ttl");
        }

        var reminder = new Reminder(type, id, name, body?["data"]?.ToJsonString(), due, period, ends, Guid.NewGuid());
        lock (_gate)
        {
            Keep(reminder);
        }
    }

    public void Delete(string type, string id, string name)
    {
        CheckReachable();
        lock (_gate)
        {
            Forget($"{type}||{id}||{name}");
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        await _running;
        _stopping.Dispose();
        _changed.Dispose();
    }

    /// <summary>A moment: RFC 3339, or a duration from now.</summary>
    internal static DateTimeOffset At(string text, DateTimeOffset now) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var at) && text.Contains('T', StringComparison.Ordinal) && text[0] != 'P'
            ? at
            : now + Duration(text);

    /// <summary>A duration: Go (<c>1h2m3.5s4ms</c>), <c>@every …</c> or ISO 8601 without date parts.</summary>
    internal static TimeSpan Duration(string text)
    {
        text = text.StartsWith("@every ", StringComparison.Ordinal) ? text[7..].Trim() : text;
        if (text.StartsWith('P'))
        {
            return text.StartsWith("PT", StringComparison.Ordinal)
                ? System.Xml.XmlConvert.ToTimeSpan(text)
                : throw new FormatException("unsupported period format: " + text);
        }

        if (text.Length == 0 || !GoDuration().IsMatch(text))
        {
            throw new FormatException("unsupported period format: " + text);
        }

        return TimeSpan.FromTicks((long)GoPart().Matches(text).Sum(part => double.Parse(part.Groups[1].Value, CultureInfo.InvariantCulture) * part.Groups[2].Value switch
        {
            "h" => TimeSpan.TicksPerHour,
            "m" => TimeSpan.TicksPerMinute,
            "s" => TimeSpan.TicksPerSecond,
            "ms" => TimeSpan.TicksPerMillisecond,
            "us" or "µs" => TimeSpan.TicksPerMicrosecond,
            _ => 0.01,
        }));
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
            {
                Reminder? next = null;
                TimeSpan wait = Timeout.InfiniteTimeSpan;
                lock (_gate)
                {
                    if (_due.TryPeek(out var first, out var at))
                    {
                        wait = at - DateTimeOffset.UtcNow;
                        if (wait <= TimeSpan.Zero)
                        {
                            next = _due.Dequeue();
                        }
                    }
                }

                if (next is not null)
                {
                    _ = FireAsync(next);
                    continue;
                }

                await _changed.WaitAsync(wait > TimeSpan.FromHours(1) ? TimeSpan.FromHours(1) : wait, _stopping.Token);
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    private async Task FireAsync(Reminder reminder)
    {
        // The trap: the callback has neither due time nor period, whatever was registered.
        var body = JsonSerializer.SerializeToUtf8Bytes(new JsonObject
        {
            ["data"] = reminder.Data is null ? null : JsonNode.Parse(reminder.Data),
            ["dueTime"] = "",
            ["period"] = "",
        });
        try
        {
            for (var failures = 0; IsCurrent(reminder);)
            {
                var done = _options.Outages.Scheduler ? null : await _fire(reminder, body, _stopping.Token);
                if (done == true)
                {
                    break;
                }

                // Undeliverable is no failure: it waits for a host.
                if (done == false && ++failures > Retries)
                {
                    break;
                }

                await Task.Delay(done is null ? _options.ProbeInterval : _options.RetryPause, _stopping.Token);
            }
        }
        catch (OperationCanceledException)
        {
            // Still kept: it fires after the restart.
            return;
        }

        lock (_gate)
        {
            if (!IsCurrent(reminder))
            {
                return;
            }

            var next = reminder.Due + reminder.Period;
            var now = DateTimeOffset.UtcNow;
            if (next is { } at && !(at >= reminder.EndsAt))
            {
                Keep(reminder with { Due = at > now ? at : now });
            }
            else
            {
                Forget(reminder.Key);
            }
        }
    }

    private void CheckReachable()
    {
        if (_options.Outages.Scheduler)
        {
            throw new SchedulerException("failed to call scheduler: connection refused");
        }
    }

    private bool IsCurrent(Reminder reminder)
    {
        lock (_gate)
        {
            return _reminders.TryGetValue(reminder.Key, out var known) && known.Stamp == reminder.Stamp;
        }
    }

    private void Keep(Reminder reminder)
    {
        _reminders[reminder.Key] = reminder;
        _due.Enqueue(reminder, reminder.Due);
        _journal.Put(Kind, reminder.Key, JsonSerializer.SerializeToUtf8Bytes(reminder));
        _changed.Release();
    }

    private void Forget(string key)
    {
        _reminders.Remove(key);
        _journal.Remove(Kind, key);
    }

    [GeneratedRegex(@"^(\d+(\.\d+)?(h|m|s|ms|us|µs|ns))+$")]
    private static partial Regex GoDuration();

    [GeneratedRegex(@"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")]
    private static partial Regex GoPart();
}

/// <summary>The scheduler can't be reached.</summary>
internal sealed class SchedulerException(string message) : Exception(message);
