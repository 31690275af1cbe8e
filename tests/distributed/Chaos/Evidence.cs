using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Countersign.Distributed.Tests.Double;
using Countersign.Recorder.Verify;

namespace Countersign.Distributed.Tests.Chaos;

/// <summary>What an export says of operations and events.</summary>
internal sealed class Evidence
{
    private readonly Dictionary<string, string> _persons = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Session, long Operation), string> _outcomes = [];

    private Evidence(byte[] export)
    {
        Export = export;
        foreach (var line in Encoding.UTF8.GetString(export).Split('\n', StringSplitOptions.RemoveEmptyEntries).Skip(1))
        {
            var entry = JsonSerializer.Deserialize<JsonElement>(line);
            if (!entry.TryGetProperty("payload", out var payload))
            {
                continue;
            }

            var session = entry.GetProperty("session").GetString()!;
            switch (entry.GetProperty("type").GetString())
            {
                case "session.start":
                    _persons[session] = payload.GetProperty("person").GetString()!;
                    break;
                case "operation":
                    Operations.Add(new Recorded(
                        session, payload.GetProperty("operation").GetInt64(), payload.GetProperty("text").GetString()!, payload.GetProperty("decision").GetString()!,
                        payload.TryGetProperty("request", out var request) ? request.GetString() : null,
                        payload.TryGetProperty("approvers", out var approvers) ? [.. approvers.EnumerateArray().Select(each => each.GetProperty("person").GetString()!)] : []));
                    break;
                case "completion":
                    _outcomes[(session, payload.GetProperty("operation").GetInt64())] = payload.GetProperty("outcome").GetString()!;
                    break;
                case "event":
                    Events.Add((payload.GetProperty("action").GetString()!, payload.TryGetProperty("subject", out var subject) ? subject.GetString() ?? "" : ""));
                    break;
            }
        }
    }

    internal sealed record Recorded(string Session, long Number, string Text, string Decision, string? Request, IReadOnlyList<string> Approvers);

    public byte[] Export { get; }

    public List<Recorded> Operations { get; } = [];

    public HashSet<(string Action, string Subject)> Events { get; } = [];

    public string PersonOf(Recorded operation) => _persons[operation.Session];

    public string? OutcomeOf(Recorded operation) => _outcomes.GetValueOrDefault((operation.Session, operation.Number));

    public static async Task<Evidence> ReadAsync(ChaosCluster cluster)
    {
        using var http = new HttpClient { BaseAddress = cluster.Processes.Entrance };
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", await cluster.Bob.TokenAsync("recorder"));
        return new Evidence(await http.GetByteArrayAsync("recorder/v1/export"));
    }

    /// <summary>
    /// Checks a run that has ended: what the target has, what clients were told, what was decided and what was recorded must be the same story. Where something is still on
    /// its way (a spool that is being shipped, an event that comes again), it waits for it.
    /// </summary>
    public static async Task CheckAsync(ChaosCluster cluster, Load load)
    {
        var (effects, numbers) = await TruthAsync(cluster, load);
        Assert.NotEmpty(numbers);
        Assert.Contains(load.Ends, each => each.Value == End.Answered);
        Assert.Contains(load.Ends, each => each.Value == End.Denied);

        // Nothing ran twice, nothing ran that nobody agreed to, and who was told that it ran was told the truth.
        Assert.Empty(effects.GroupBy(id => id).Where(same => same.Count() > 1).Select(same => same.Key));
        Assert.Empty(effects.Where(id => id[0] != 'y'));
        Assert.Empty(load.Ends.Where(each => each.Value == End.Answered).Select(each => each.Key).Except(effects));
        Assert.Empty(load.Begun.Keys.Except(load.Ends.Keys));

        // Nothing is left over.
        Assert.Empty((await cluster.Bob.GoodAsync(HttpMethod.Get, "approval/v1/requests?filter=to-decide")).EnumerateArray().Select(each => each.GetRawText()));
        await Until.TrueAsync(() => cluster.Processes.Plane.PendingEvents == 0, 60);
        Assert.Equal(0, (await cluster.Bob.GoodAsync(HttpMethod.Get, "recorder/v1/dead-letters")).GetArrayLength());

        // Every effect has its record, and every decision its event.
        var evidence = await ReadAsync(cluster);
        await Until.TrueAsync(async () => !Missing(evidence = await ReadAsync(cluster), load, effects, numbers).Any(), 60, () => string.Join('\n', Missing(evidence, load, effects, numbers).Take(10)));
        foreach (var approved in evidence.Operations.Where(each => each.Decision == "approved"))
        {
            Assert.DoesNotContain(evidence.PersonOf(approved), approved.Approvers);
            Assert.NotEmpty(approved.Approvers);
            Assert.NotNull(evidence.OutcomeOf(approved));
        }

        // One grant, one run: also where the target says nothing of it.
        Assert.Empty(evidence.Operations.Where(each => each.Decision == "approved").GroupBy(each => each.Request).Where(same => same.Count() > 1).Select(same => same.Key));
        await VerifyAsync(cluster, load, evidence);
    }

    /// <summary>Effects and decisions that have no record now.</summary>
    public static async Task<IReadOnlyList<string>> UnrecordedAsync(ChaosCluster cluster, Load load)
    {
        var (effects, numbers) = await TruthAsync(cluster, load);
        return [.. Missing(await ReadAsync(cluster), load, effects, numbers)];
    }

    private static async Task<(List<string> Effects, List<string> Numbers)> TruthAsync(ChaosCluster cluster, Load load) => (
        await cluster.TruthAsync($"select id from effects where id like '__{load.Run}-%'"),
        await cluster.TruthAsync($"select 'insert into public.load values (''' || run || ''', ' || client || ', ' || number || ')' from load where run = '{load.Run}'"));

    private static IEnumerable<string> Missing(Evidence evidence, Load load, IEnumerable<string> effects, IEnumerable<string> numbers)
    {
        var ran = evidence.Operations.Where(each => each.Decision == "approved" && evidence.OutcomeOf(each) is "ok" or "unknown" or "disconnected").Select(each => each.Text).ToHashSet(StringComparer.Ordinal);
        var allowed = evidence.Operations.Where(each => each.Decision == "allow" && evidence.OutcomeOf(each) is not null).Select(each => each.Text.TrimEnd(';')).ToHashSet(StringComparer.Ordinal);
        return effects.Select(id => $"insert into effects values ('{id}')").Where(text => !ran.Contains(text))
            .Concat(numbers.Where(text => !allowed.Contains(text)))
            .Concat(load.Decided.Where(each => !evidence.Events.Contains((each.Value ? "request.approved" : "request.denied", each.Key))).Select(each => $"event of {each.Key}"));
    }

    private static async Task VerifyAsync(ChaosCluster cluster, Load load, Evidence evidence)
    {
        using var http = new HttpClient { BaseAddress = cluster.Processes.Entrance };
        var key = (await http.GetStringAsync("recorder/v1/key")).Trim();
        var pins = load.Checkpoints.DistinctBy(each => each.Note).ToList();
        Assert.NotEmpty(pins);
        Assert.Equal(cluster.Processes.Of("recorder").Count, load.Checkpoints.Select(each => each.Recorder).Distinct().Count());
        foreach (var (_, pin) in pins.Where((_, index) => index % Math.Max(1, pins.Count / 20) == 0 || index == pins.Count - 1))
        {
            using var stream = new MemoryStream(evidence.Export);
            var report = await ExportVerifier.VerifyAsync(stream, new VerifyOptions { Key = key, PinnedCheckpoint = pin }, TestContext.Current.CancellationToken);
            Assert.True(report.Verified, string.Join('\n', report.Findings.Where(each => each.Severity == Severity.Error).Take(5)));
            Assert.True(report.Summary.Entries > 0);
        }
    }
}
