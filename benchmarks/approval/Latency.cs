using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.RegularExpressions;
using Countersign.Approval.Contracts;
using Npgsql;

namespace Countersign.Benchmarks.Approval;

/// <summary>
/// From decision to the statement's arrival at the target. A statement is held, bob approves, and what runs at the target writes down its clock; the workflow
/// wrote down when it decided. All of them are on one machine and read one clock.
/// </summary>
internal sealed partial class Latency(Uri server, string refreshTokenFile) : IDisposable
{
    private const int WarmUp = 20;
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly HttpClient _http = new() { BaseAddress = server };

    public void Dispose() => _http.Dispose();

    public async Task RunAsync(int gateway, string user, string secret, string direct, int samples)
    {
        _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", await TokenAsync());
        var run = $"{Guid.NewGuid():N}"[..8];
        var decided = new Dictionary<int, (DateTimeOffset Sent, DateTimeOffset Decided)>();
        await using var client = new NpgsqlConnection(
            $"Host=127.0.0.1;Port={gateway};Username={user};Password={secret};Database=shop;SSL Mode=Disable;Pooling=false;Command Timeout=60");
        await client.OpenAsync();
        for (var number = 0; number < WarmUp + samples; number++)
        {
            decided[number] = await HoldAsync(client, $"INSERT INTO arrivals (run, number) VALUES ('{run}', {number})");
        }

        await using var target = new NpgsqlConnection(direct);
        await target.OpenAsync();
        await using var read = new NpgsqlCommand("SELECT number, at FROM arrivals WHERE run = $1", target) { Parameters = { new() { Value = run } } };
        await using var rows = await read.ExecuteReaderAsync();
        var (fromDecision, fromClick) = (new List<double>(), new List<double>());
        while (await rows.ReadAsync())
        {
            var at = new DateTimeOffset(rows.GetDateTime(1).ToUniversalTime(), TimeSpan.Zero);
            if (decided[rows.GetInt32(0)] is var (sent, then) && rows.GetInt32(0) >= WarmUp)
            {
                fromDecision.Add((at - then).TotalMilliseconds);
                fromClick.Add((at - sent).TotalMilliseconds);
            }
        }

        if (fromDecision.Count != samples)
        {
            throw new InvalidOperationException($"{fromDecision.Count} of {samples} statements arrived");
        }

        Console.WriteLine($"decision {samples} p50 {At(fromDecision, 0.5):0.0} p99 {At(fromDecision, 0.99):0.0} ms approve-call p50 {At(fromClick, 0.5):0.0} p99 {At(fromClick, 0.99):0.0} ms");
    }

    private async Task<(DateTimeOffset Sent, DateTimeOffset Decided)> HoldAsync(NpgsqlConnection client, string text)
    {
        var held = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnNotice(object? sender, NpgsqlNoticeEventArgs notice)
        {
            if (RequestId().Match(notice.Notice.MessageText + notice.Notice.Detail + notice.Notice.Hint) is { Success: true } match)
            {
                held.TrySetResult(match.Value);
            }
        }

        client.Notice += OnNotice;
        try
        {
            await using var command = new NpgsqlCommand(text, client);
            var running = command.ExecuteNonQueryAsync();
            if (await Task.WhenAny(held.Task, running) == running)
            {
                await running;
                throw new InvalidOperationException("the statement was not held");
            }

            var id = await held.Task;
            var request = await _http.GetFromJsonAsync<RequestView>(new Uri($"approval/v1/requests/{id}", UriKind.Relative), Json);
            var sent = DateTimeOffset.UtcNow;
            using var response = await _http.PostAsJsonAsync(new Uri($"approval/v1/requests/{id}/approve", UriKind.Relative), new DecideRequest(request!.Digest), Json);
            response.EnsureSuccessStatusCode();
            var approved = await response.Content.ReadFromJsonAsync<RequestView>(Json);
            await running;
            return (sent, approved!.Decisions[^1].At);
        }
        finally
        {
            client.Notice -= OnNotice;
        }
    }

    private async Task<string> TokenAsync()
    {
        var refresh = (await File.ReadAllTextAsync(refreshTokenFile)).Trim();
        using var response = await _http.PostAsJsonAsync(new Uri("identity/v1/tokens", UriKind.Relative), new { grant = "refresh", refreshToken = refresh, audience = "approval" }, Json);
        response.EnsureSuccessStatusCode();
        var tokens = await response.Content.ReadFromJsonAsync<JsonElement>(Json);
        // It is good once: the next run takes its successor.
        await File.WriteAllTextAsync(refreshTokenFile, tokens.GetProperty("refreshToken").GetString());
        return tokens.GetProperty("accessToken").GetString()!;
    }

    private static double At(List<double> values, double share)
    {
        var sorted = values.Order().ToList();
        return sorted[Math.Min(sorted.Count - 1, (int)Math.Ceiling(share * sorted.Count) - 1)];
    }

    [GeneratedRegex("apr_[a-z2-7]{26}")]
    private static partial Regex RequestId();
}
