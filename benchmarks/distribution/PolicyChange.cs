using Countersign.Policy.Contracts;
using Npgsql;

namespace Countersign.Benchmarks.Distribution;

/// <summary>
/// From the approval of a policy change to the last proxy that enforces it. Each change lets one of two relations be read and the other not; on every proxy a
/// session asks for what becomes allowed, again and again, until it is.
/// </summary>
internal static class PolicyChange
{
    public static BundleDocument Toggle(int number) => new("toggle.yaml", $$"""
        apiVersion: countersign/v1
        kind: Policy
        name: toggle
        rules:
          - name: toggle
            effect: allow
            when: {principals: {groups: [engineers]}, statements: [SELECT], reads: [{{Relation(number)}}]}
            obligations: {record: buffered}
        """);

    public static async Task RunAsync(World world, Figures figures, int samples)
    {
        const int WarmUp = 3;
        var (fromAnswer, fromCall, between) = (new List<double>(), new List<double>(), new List<double>());
        var sessions = new List<NpgsqlConnection>();
        foreach (var port in world.Composition.PostgresPorts)
        {
            sessions.Add(await world.OpenAsync(port));
        }

        for (var number = 1; number <= WarmUp + samples; number++)
        {
            var request = await world.People.ProposeAsync(new PolicyChangeRequest { Documents = [Toggle(number)], Reason = "benchmark" });
            var relation = Relation(number);
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
            var watching = sessions.Select(session => Task.Run(() => EnforcedAsync(session, relation, limit.Token))).ToList();
            var (sent, answered) = await world.Bob.ApproveAsync(request);
            var enforced = await Task.WhenAll(watching);
            if (number > WarmUp)
            {
                fromAnswer.Add((enforced.Max() - answered).TotalMilliseconds);
                fromCall.Add((enforced.Max() - sent).TotalMilliseconds);
                between.Add((enforced.Max() - enforced.Min()).TotalMilliseconds);
            }
        }

        foreach (var session in sessions)
        {
            await session.DisposeAsync();
        }

        Figures.Add("policy-change-to-last-proxy-p50", Figures.At(fromAnswer, 0.5), "-", "ms");
        Figures.Add("policy-change-to-last-proxy-p99", Figures.At(fromAnswer, 0.99), "<=1000", "ms");
        figures.Say($"## Policy change to the last proxy");
        figures.Say($"");
        figures.Say($"{samples} changes, two proxies. On each a session asks for what a change lets through, every 2 ms, until it is let through.");
        figures.Say($"");
        figures.Say($"| from | p50 | p99 | least | most |");
        figures.Say($"| --- | --- | --- | --- | --- |");
        Row(figures, "answer to the approver", fromAnswer);
        Row(figures, "the approver's call", fromCall);
        Row(figures, "the first proxy that enforces it", between);
        figures.Say($"");
    }

    internal static void Row(Figures figures, string name, List<double> values) =>
        figures.Say($"| {name} | {Figures.At(values, 0.5):0.0} ms | {Figures.At(values, 0.99):0.0} ms | {values.Min():0.0} ms | {values.Max():0.0} ms |");

    private static string Relation(int number) => number % 2 == 0 ? "toggle_a" : "toggle_b";

    private static async Task<DateTimeOffset> EnforcedAsync(NpgsqlConnection session, string relation, CancellationToken cancellation)
    {
        await using var command = new NpgsqlCommand($"select id from {relation}", session);
        while (true)
        {
            try
            {
                await command.ExecuteScalarAsync(cancellation);
                return DateTimeOffset.UtcNow;
            }
            catch (PostgresException)
            {
                // Not yet.
                await Task.Delay(2, cancellation);
            }
        }
    }
}
