using System.Collections.Concurrent;

namespace Countersign.Fakes.Sidecar;

/// <summary>
/// A test double of Dapr: sidecars with a broker, a state store, placement and scheduler behind them, in this process. It behaves
/// as the documents and sources of the real one say, surprises included (tests/distributed/Double).
/// </summary>
/// <remarks>
/// It has what Countersign uses. Left out, and answered as an API that isn't there: timers of actors, following a configuration store (it is read once at start), locks,
/// bindings, jobs, workflows, and queries of the state store. Nor does it encrypt between sidecars: that a caller is who its certificate says is taken for granted.
/// </remarks>
public sealed class Plane : IAsyncDisposable
{
    private readonly Journal _journal;
    private readonly ConcurrentDictionary<string, Sidecar> _sidecars = new(StringComparer.Ordinal);
    private int _disposed;
    private int _turn;

    /// <summary>A plane without sidecars yet.</summary>
    public Plane(PlaneOptions options)
    {
        Options = options;
        _journal = new Journal(options.JournalPath);
        State = new StateEngine(_journal, options.Outages);
        Broker = new Broker(options, _journal);
        Actors = new ActorRuntime(options, _journal);
        Configuration = new ConcurrentDictionary<string, string>(options.Configuration, StringComparer.Ordinal);
    }

    internal PlaneOptions Options { get; }

    internal StateEngine State { get; }

    internal Broker Broker { get; }

    internal ActorRuntime Actors { get; }

    internal ConcurrentDictionary<string, string> Configuration { get; }

    /// <summary>Faults of the bus.</summary>
    public BusFaults Faults => Options.Faults;

    /// <summary>What is down.</summary>
    public PlaneOutages Outages => Options.Outages;

    /// <summary>Events that some group has not acknowledged yet.</summary>
    public int PendingEvents => Broker.Pending;

    /// <summary>Names of the reminders of an actor type: <c>id/name</c>.</summary>
    public IReadOnlyList<string> RemindersOf(string type) =>
        [.. Actors.Reminders.All.Where(reminder => reminder.Type == type).Select(reminder => $"{reminder.Id}/{reminder.Name}")];

    /// <summary>Raw value of a state key (with its prefix), for tests that look behind or tamper.</summary>
    public byte[]? PeekState(string key) => State.Get(key)?.Value;

    /// <summary>Changes a state key behind everybody's back.</summary>
    public void TamperState(string key, byte[] value) => State.Write([new StateWrite(key, value, null, false, null)], transaction: false);

    /// <summary>Publishes past every check, as somebody with the broker's password could.</summary>
    public void PublishRaw(string topic, byte[] envelope) => Broker.Publish(topic, envelope);

    /// <summary>Starts a sidecar.</summary>
    public async Task<Sidecar> AddAsync(SidecarOptions options)
    {
        var sidecar = new Sidecar(this, options);
        await sidecar.StartAsync();
        _sidecars[sidecar.Instance] = sidecar;
        return sidecar;
    }

    internal void Remove(Sidecar sidecar) => _sidecars.TryRemove(sidecar.Instance, out _);

    internal IReadOnlyList<Sidecar> InstancesOf(string appId) =>
        [.. Turned([.. _sidecars.Values.Where(sidecar => sidecar.Options.AppId == appId).OrderBy(sidecar => sidecar.Instance, StringComparer.Ordinal)]).OrderByDescending(sidecar => sidecar.IsAppWell)];

    // One after the other, as name resolution does.
    private IEnumerable<Sidecar> Turned(List<Sidecar> all)
    {
        var turn = (int)((uint)Interlocked.Increment(ref _turn) % (uint)Math.Max(1, all.Count));
        return all.Skip(turn).Concat(all.Take(turn));
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        foreach (var sidecar in _sidecars.Values.ToList())
        {
            await sidecar.DisposeAsync();
        }

        await Actors.DisposeAsync();
        await Broker.DisposeAsync();
        _journal.Dispose();
    }
}
