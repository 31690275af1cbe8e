using System.Collections.Concurrent;
using System.Net;

namespace Countersign.Fakes.Sidecar;

/// <summary>Placement and turns: which instance hosts an actor, and one call of it at a time.</summary>
internal sealed class ActorRuntime : IAsyncDisposable
{
    private readonly PlaneOptions _options;
    private readonly ConcurrentDictionary<string, SemaphoreSlim> _turns = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();
    private readonly Dictionary<string, List<Sidecar>> _hosts = new(StringComparer.Ordinal);

    public ActorRuntime(PlaneOptions options, Journal journal)
    {
        _options = options;
        Reminders = new Reminders(options, journal, FireAsync);
    }

    public Reminders Reminders { get; }

    public void Register(Sidecar sidecar, IEnumerable<string> types)
    {
        lock (_gate)
        {
            foreach (var type in types)
            {
                var hosts = _hosts.TryGetValue(type, out var known) ? known : _hosts[type] = [];
                hosts.Add(sidecar);
                hosts.Sort((one, other) => string.CompareOrdinal(one.Instance, other.Instance));
            }
        }
    }

    public void Unregister(Sidecar sidecar)
    {
        lock (_gate)
        {
            foreach (var hosts in _hosts.Values)
            {
                hosts.Remove(sidecar);
            }
        }
    }

    public bool Hosts(Sidecar sidecar, string type)
    {
        lock (_gate)
        {
            return _hosts.TryGetValue(type, out var hosts) && hosts.Contains(sidecar);
        }
    }

    public Sidecar? HostOf(string type, string id)
    {
        lock (_gate)
        {
            return _hosts.TryGetValue(type, out var hosts) && hosts.Count > 0 ? hosts[(int)(Hash(id) % (uint)hosts.Count)] : null;
        }
    }

    /// <summary>One turn of an actor; null where nobody hosts it.</summary>
    /// <param name="type">Type.</param>
    /// <param name="id">Id.</param>
    /// <param name="method">Method, or <c>remind/NAME</c>.</param>
    /// <param name="body">Body.</param>
    /// <param name="headers">Headers that go along.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public async Task<AppAnswer?> CallAsync(
        string type, string id, string method, byte[] body, IReadOnlyList<KeyValuePair<string, string>> headers, CancellationToken cancellation)
    {
        for (var attempt = 0; ; attempt++)
        {
            if (HostOf(type, id) is not { } host)
            {
                return null;
            }

            var turn = _turns.GetOrAdd($"{type}||{id}", _ => new SemaphoreSlim(1));
            await turn.WaitAsync(cancellation);
            try
            {
                return await host.App.SendAsync(HttpMethod.Put, $"actors/{type}/{id}/method/{method}", body, headers, cancellation);
            }
            catch (HttpRequestException) when (attempt < 3)
            {
            }
            finally
            {
                turn.Release();
            }

            await Task.Delay(_options.RetryPause, cancellation);
        }
    }

    public ValueTask DisposeAsync() => Reminders.DisposeAsync();

    private async Task<bool?> FireAsync(Reminder reminder, byte[] body, CancellationToken cancellation)
    {
        if (HostOf(reminder.Type, reminder.Id) is null || _options.Outages is { Placement: true } or { PlacementHangs: true })
        {
            return null;
        }

        try
        {
            var answer = await CallAsync(
                reminder.Type, reminder.Id, "remind/" + reminder.Name, body, [KeyValuePair.Create("Content-Type", "application/json")], cancellation);
            return answer is null ? null : answer.Status == HttpStatusCode.OK;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    private static uint Hash(string id)
    {
        var hash = 2166136261u;
        foreach (var c in id)
        {
            hash = (hash ^ c) * 16777619;
        }

        return hash;
    }
}
