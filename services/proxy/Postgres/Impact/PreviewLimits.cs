namespace Countersign.Proxy.Postgres.Impact;

/// <summary>
/// Bounds what previews do to targets before anybody has agreed to anything: connections at once for all, and for each person connections at once, previews and
/// dry runs within a minute. Whoever has had enough is held without one: the approver is told so.
/// </summary>
#pragma warning disable CA1001 // Lives as long as the process; a semaphore without a wait handle holds nothing that must be given back.
internal sealed class PreviewLimits
#pragma warning restore CA1001
{
    /// <summary>Previews of one person at once.</summary>
    public const int AtOnce = 2;

    /// <summary>Previews of one person within a minute.</summary>
    public const int PerMinute = 120;

    /// <summary>Dry runs of one person within a minute: each writes and locks for up to two seconds, and is rolled back.</summary>
    public const int TriesPerMinute = 4;

    private const int MaxPersons = 10_000;
    private static readonly TimeSpan Window = TimeSpan.FromMinutes(1);
    private readonly SemaphoreSlim _slots = new(4, 4);
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Use> _uses = new(StringComparer.Ordinal);

    /// <summary>Begins a preview.</summary>
    /// <param name="person">Who asks.</param>
    /// <param name="now">Now.</param>
    /// <param name="patience">Longest wait for others.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <returns>To be disposed at its end; null where it may not begin.</returns>
    public async ValueTask<IDisposable?> BeginAsync(string person, DateTimeOffset now, TimeSpan patience, CancellationToken cancellation)
    {
        Use use;
        lock (_gate)
        {
            if (Of(person, now) is not { } found || found.Running >= AtOnce || found.Previews >= PerMinute)
            {
                return null;
            }

            use = found;
            use.Running++;
            use.Previews++;
        }

        var entered = false;
        try
        {
            entered = await _slots.WaitAsync(patience, cancellation).ConfigureAwait(false);
            return entered ? new Turn(this, use) : null;
        }
        finally
        {
            if (!entered)
            {
                End(use);
            }
        }
    }

    /// <summary>Whether a change may be tried now; it counts.</summary>
    public bool MayTry(string person, DateTimeOffset now)
    {
        lock (_gate)
        {
            if (Of(person, now) is not { } use || use.Tries >= TriesPerMinute)
            {
                return false;
            }

            use.Tries++;
            return true;
        }
    }

    private void End(Use use)
    {
        lock (_gate)
        {
            use.Running--;
        }
    }

    private Use? Of(string person, DateTimeOffset now)
    {
        if (!_uses.TryGetValue(person, out var use))
        {
            if (_uses.Count >= MaxPersons)
            {
                foreach (var (other, old) in _uses)
                {
                    if (old.Running == 0 && now - old.Began >= Window)
                    {
                        _uses.Remove(other);
                    }
                }

                if (_uses.Count >= MaxPersons)
                {
                    return null;
                }
            }

            _uses[person] = use = new Use { Began = now };
        }
        else if (now - use.Began >= Window || now < use.Began)
        {
            (use.Began, use.Previews, use.Tries) = (now, 0, 0);
        }

        return use;
    }

    private sealed class Use
    {
        public DateTimeOffset Began { get; set; }

        public int Running { get; set; }

        public int Previews { get; set; }

        public int Tries { get; set; }
    }

    private sealed class Turn(PreviewLimits limits, Use use) : IDisposable
    {
        private int _ended;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _ended, 1) == 0)
            {
                limits._slots.Release();
                limits.End(use);
            }
        }
    }
}
