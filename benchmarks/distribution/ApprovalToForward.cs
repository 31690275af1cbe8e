using System.Text.RegularExpressions;
using Npgsql;

namespace Countersign.Benchmarks.Distribution;

/// <summary>From the approver's HTTP answer to the statement's arrival at the target, where what runs writes down its clock. All clocks are the machine's.</summary>
internal static partial class ApprovalToForward
{
    public static async Task RunAsync(World world, Figures figures, int samples)
    {
        const int WarmUp = 10;
        var run = Guid.NewGuid().ToString("N")[..8];
        var calls = new Dictionary<int, (DateTimeOffset Sent, DateTimeOffset Answered)>();
        var sessions = new List<NpgsqlConnection>();
        foreach (var port in world.Composition.PostgresPorts)
        {
            sessions.Add(await world.OpenAsync(port));
        }

        for (var number = 0; number < WarmUp + samples; number++)
        {
            calls[number] = await HoldAsync(world, sessions[number % sessions.Count], $"insert into arrivals (run, number) values ('{run}', {number})");
        }

        foreach (var session in sessions)
        {
            await session.DisposeAsync();
        }

        var rows = await world.TruthAsync($"select number, at from arrivals where run = '{run}' and number >= {WarmUp}");
        if (rows.Count != samples)
        {
            throw new InvalidOperationException($"{rows.Count} of {samples} statements arrived");
        }

        var arrived = rows.Select(row => (Call: calls[(int)row[0]], At: new DateTimeOffset(((DateTime)row[1]).ToUniversalTime()))).ToList();
        var fromAnswer = arrived.Select(each => (each.At - each.Call.Answered).TotalMilliseconds).ToList();
        var fromCall = arrived.Select(each => (each.At - each.Call.Sent).TotalMilliseconds).ToList();
        Figures.Add("approval-to-forward-p50", Figures.At(fromAnswer, 0.5), "-", "ms");
        Figures.Add("approval-to-forward-p99", Figures.At(fromAnswer, 0.99), "<=250", "ms");
        Figures.Add("approve-call-to-forward-p99", Figures.At(fromCall, 0.99), "-", "ms");
        figures.Say($"## Approval to forward");
        figures.Say($"");
        figures.Say($"{samples} statements, held by two proxies in turn, approved by another person over REST, run under a redeemed grant and a record that the recorder has acknowledged. Below zero: the statement was there before the approver had the answer.");
        figures.Say($"");
        figures.Say($"| from | p50 | p99 | least | most |");
        figures.Say($"| --- | --- | --- | --- | --- |");
        PolicyChange.Row(figures, "answer to the approver", fromAnswer);
        PolicyChange.Row(figures, "the approver's call", fromCall);
        figures.Say($"");
    }

    private static async Task<(DateTimeOffset Sent, DateTimeOffset Answered)> HoldAsync(World world, NpgsqlConnection session, string text)
    {
        var held = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnNotice(object? sender, NpgsqlNoticeEventArgs notice)
        {
            if (RequestId().Match(notice.Notice.MessageText + notice.Notice.Detail + notice.Notice.Hint) is { Success: true } match)
            {
                held.TrySetResult(match.Value);
            }
        }

        session.Notice += OnNotice;
        try
        {
            await using var command = new NpgsqlCommand(text, session);
            var running = command.ExecuteNonQueryAsync();
            if (await Task.WhenAny(held.Task, running) == running)
            {
                await running;
                throw new InvalidOperationException("the statement was not held");
            }

            var call = await world.Bob.ApproveAsync(await held.Task);
            await running;
            return call;
        }
        finally
        {
            session.Notice -= OnNotice;
        }
    }

    [GeneratedRegex("apr_[a-z2-7]{26}")]
    private static partial Regex RequestId();
}
