using System.Collections.Concurrent;
using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using Countersign.Distributed.Tests.Double;
using Npgsql;

namespace Countersign.Distributed.Tests.Chaos;

/// <summary>How a statement that needs approval ended for who wanted it.</summary>
internal enum End
{
    /// <summary>The client has the target's answer.</summary>
    Answered,

    /// <summary>Somebody denied it.</summary>
    Denied,

    /// <summary>The first approval was used up by a run whose answer never came.</summary>
    Unknown,
}

/// <summary>Something that did not go as it goes when nothing is broken.</summary>
/// <param name="Phase">What was being done to the cluster.</param>
/// <param name="Who">Whose view it is: <c>pgbench proxy-1</c>, <c>client proxy-2</c>, <c>approver</c>, <c>checkpoint</c>.</param>
/// <param name="What">Error.</param>
internal sealed record Mishap(string Phase, string Who, string What);

/// <summary>
/// What goes on while things break: pgbench through each proxy, clients whose statements need approval, an approver over REST, and somebody who pins the log's checkpoints.
/// </summary>
internal sealed partial class Load
{
    private const int Clients = 3;
    private readonly ChaosCluster _cluster;
    private readonly CancellationTokenSource _stop = new();
    private readonly CancellationTokenSource _end = new();
    private readonly List<PgBench> _benches = [];
    private readonly List<Task> _clients = [];
    private readonly List<Task> _watchers = [];
    private readonly ConcurrentDictionary<string, string> _first = new(StringComparer.Ordinal);
    private readonly System.Diagnostics.Stopwatch _began = System.Diagnostics.Stopwatch.StartNew();
    private int _rounds;

    private Load(ChaosCluster cluster) => _cluster = cluster;

    /// <summary>Name of this run, part of every marker.</summary>
    public string Run { get; } = Guid.NewGuid().ToString("N")[..12];

    /// <summary>What is being done to the cluster, for <see cref="Mishaps"/>.</summary>
    public string Phase
    {
        get;
        set
        {
            TestContext.Current.TestOutputHelper?.WriteLine($"{_began.Elapsed.TotalSeconds:0} s, {Done} done: {value}");
            field = value;
        }
    } = "calm";

    /// <summary>What went wrong for whom.</summary>
    public ConcurrentQueue<Mishap> Mishaps { get; } = [];

    /// <summary>Ends by marker.</summary>
    public ConcurrentDictionary<string, End> Ends { get; } = new(StringComparer.Ordinal);

    /// <summary>Markers that were ever sent to a proxy.</summary>
    public ConcurrentDictionary<string, bool> Begun { get; } = new(StringComparer.Ordinal);

    /// <summary>Requests that the approver has decided, and how.</summary>
    public ConcurrentDictionary<string, bool> Decided { get; } = new(StringComparer.Ordinal);

    /// <summary>Checkpoints that were shown during the run, in their order, and who showed them.</summary>
    public ConcurrentQueue<(string Recorder, string Note)> Checkpoints { get; } = [];

    /// <summary>Statements that ended.</summary>
    public int Done => Ends.Count;

    public static Load Start(ChaosCluster cluster)
    {
        var load = new Load(cluster);
        foreach (var proxy in cluster.Processes.Of("proxy"))
        {
            load._benches.Add(new PgBench(cluster, proxy.Name, load.Run, error => load.Mishaps.Enqueue(new(load.Phase, "pgbench " + proxy.Name, error))));
        }

        load._clients.AddRange(Enumerable.Range(0, Clients).Select(number => Task.Run(() => load.AskAsync(number))));
        load._watchers.Add(Task.Run(load.ApproveAsync));
        load._watchers.Add(Task.Run(load.PinAsync));
        return load;
    }

    /// <summary>Waits until some more statements have ended.</summary>
    public Task ProgressAsync(int more)
    {
        var enough = Done + more;
        return Until.TrueAsync(() => Done >= enough, 120);
    }

    /// <summary>Waits until the approver has looked some more times, with success or without.</summary>
    public Task RoundsAsync(int more)
    {
        var enough = _rounds + more;
        return Until.TrueAsync(() => Volatile.Read(ref _rounds) >= enough, 120);
    }

    /// <summary>Asks for nothing new, waits until everything that is pending has ended, and stops the rest.</summary>
    public async Task StopAsync()
    {
        await Task.WhenAll(_benches.Select(bench => bench.StopAsync()));
        await _stop.CancelAsync();
        await Task.WhenAll(_clients).WaitAsync(TimeSpan.FromSeconds(120));
        await _end.CancelAsync();
        await Task.WhenAll(_watchers);
    }

    private async Task AskAsync(int client)
    {
        for (var number = 0; !_stop.IsCancellationRequested; number++)
        {
            // Every fourth is one that is denied.
            var marker = $"{(number % 4 == 3 ? 'n' : 'y')}-{Run}-{client}-{number}";
            Ends[marker] = await RunAsync(marker, client + number);
        }
    }

    private async Task<End> RunAsync(string marker, int proxy)
    {
        var requests = new HashSet<string>(StringComparer.Ordinal);
        while (true)
        {
            var name = $"proxy-{(proxy++ % 2) + 1}";
            try
            {
                await using var connection = _cluster.Through(name);
                connection.Notice += (_, notice) =>
                {
                    if (RequestId().Match(notice.Notice.MessageText) is { Success: true } id)
                    {
                        lock (requests)
                        {
                            requests.Add(id.Value);
                        }
                    }
                };
                await connection.OpenAsync();
                Begun[marker] = true;
                await using var command = new NpgsqlCommand($"insert into effects values ('{marker}')", connection);
                return await command.ExecuteNonQueryAsync() == 1 ? End.Answered : throw new InvalidOperationException("no row");
            }
            catch (PostgresException error) when (error.SqlState == "42501" && error.MessageText.Contains(" denied apr_", StringComparison.Ordinal))
            {
                // A second request for the same statement: the first is used up, and nobody knows what became of it.
                return marker[0] == 'y' ? End.Unknown : End.Denied;
            }
            catch (NpgsqlException error)
            {
                Mishaps.Enqueue(new(Phase, "client " + name, error.Message));
                await Task.Delay(100);
            }
        }
    }

    private async Task ApproveAsync()
    {
        while (!_end.IsCancellationRequested)
        {
            try
            {
                var (status, list) = await _cluster.Bob.CallAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide");
                if (status != HttpStatusCode.OK)
                {
                    throw new HttpRequestException($"list: {(int)status} {Detail(list)}");
                }

                foreach (var request in list.EnumerateArray())
                {
                    await DecideAsync(request);
                }
            }
            catch (Exception error) when (error is HttpRequestException or JsonException or IOException)
            {
                Mishaps.Enqueue(new(Phase, "approver", error.Message));
            }

            Interlocked.Increment(ref _rounds);
            await Task.Delay(100);
        }
    }

    private async Task DecideAsync(JsonElement request)
    {
        var id = request.GetProperty("id").GetString()!;
        if (Marker().Match(request.GetProperty("operations")[0].GetProperty("text").GetString()!) is not { Success: true } found || !found.Value.Contains(Run, StringComparison.Ordinal))
        {
            return;
        }

        // What was approved once is not approved again: so the target tells whether anything ran twice.
        var approve = found.Value[0] == 'y' && _first.GetOrAdd(found.Value, id) == id;
        var body = new { digest = request.GetProperty("digest").GetString(), comment = approve ? "" : "no" };
        var (status, answer) = await _cluster.Bob.CallAsync(HttpMethod.Post, $"approval/v1/requests/{id}/{(approve ? "approve" : "deny")}", body);
        if ((int)status < 300)
        {
            Decided[id] = approve;
        }
        else if (status != HttpStatusCode.Conflict)
        {
            throw new HttpRequestException($"decide: {(int)status} {Detail(answer)}");
        }
    }

    private async Task PinAsync()
    {
        using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(5) };
        while (!_end.IsCancellationRequested)
        {
            foreach (var recorder in _cluster.Processes.Of("recorder"))
            {
                try
                {
                    Checkpoints.Enqueue((recorder.Name, await http.GetStringAsync(new Uri(recorder.Address, "recorder/v1/checkpoint"))));
                }
                catch (Exception error) when (error is HttpRequestException or TaskCanceledException)
                {
                    // Killed, or being restarted.
                }
            }

            await Task.Delay(500);
        }
    }

    private static string Detail(JsonElement problem) => problem.ValueKind == JsonValueKind.Object && problem.TryGetProperty("detail", out var detail) ? detail.GetString()! : "";

    [GeneratedRegex("apr_[a-z2-7]{26}")]
    private static partial Regex RequestId();

    [GeneratedRegex("[yn]-[0-9a-f]{12}-[0-9]+-[0-9]+")]
    private static partial Regex Marker();
}
