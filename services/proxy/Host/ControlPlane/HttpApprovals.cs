using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Path.Hold;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>Approval over HTTP, woken by events, with a poll as the safety net.</summary>
internal sealed class HttpApprovals(
    [FromKeyedServices(AppIds.Proxy)] IServiceClients clients, ITrustedKeys keys, IFreshness freshness, GrantWatch watch, TimeProvider clock) : IApprovals
{
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan RedeemAttempt = TimeSpan.FromSeconds(5);
    private const int RedeemAttempts = 3;

    private readonly ConcurrentDictionary<string, TaskCompletionSource> _waiting = new(StringComparer.Ordinal);
    private readonly UsedGrants _used = new(clock);

    public async ValueTask<CreateRequestResult> RequestAsync(CreateRequest request, CancellationToken cancellation)
    {
        if (!freshness.IsFresh)
        {
            throw new ApprovalUnavailableException(freshness.Problem);
        }

        try
        {
            using var response = await Client().PostAsJsonAsync("v1/requests", request, TokenJson.Options, cancellation).ConfigureAwait(false);
            if (!response.IsSuccessStatusCode)
            {
                throw new ApprovalUnavailableException(await ProblemAsync(response, cancellation).ConfigureAwait(false));
            }

            return await ReadAsync<CreateRequestResult>(response, cancellation).ConfigureAwait(false);
        }
        catch (Exception error) when (IsTransport(error, cancellation))
        {
            throw new ApprovalUnavailableException("The approval service can't be reached.", error);
        }
    }

    /// <summary>Makes a request for somebody who waits at an HTTP route: refusals are passed on as they are.</summary>
    /// <exception cref="ProblemException">Approval refused, or can't be reached.</exception>
    public async Task<CreateRequestResult> CreateAsync(CreateRequest request, CancellationToken cancellation)
    {
        try
        {
            using var response = await Client().PostAsJsonAsync("v1/requests", request, TokenJson.Options, cancellation).ConfigureAwait(false);
            if (response.IsSuccessStatusCode)
            {
                return await ReadAsync<CreateRequestResult>(response, cancellation).ConfigureAwait(false);
            }

            var (code, detail) = await ReadProblemAsync(response, cancellation).ConfigureAwait(false);
            throw new ProblemException((int)response.StatusCode, code, detail);
        }
        catch (Exception error) when (IsTransport(error, cancellation))
        {
            throw new ProblemException(503, "unavailable", "The approval service can't be reached.");
        }
    }

    public ValueTask<RequestView> WaitAsync(string request, CancellationToken cancellation) => WaitAsync(request, static _ => { }, cancellation);

    public async ValueTask<RequestView> WaitAsync(string request, Action<RequestView> changed, CancellationToken cancellation)
    {
        var version = long.MaxValue;
        while (true)
        {
            // Registered before the state is read: a change between the two still wakes.
            var wake = _waiting.GetOrAdd(request, _ => new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
            try
            {
                if (await FindAsync(request, cancellation).ConfigureAwait(false) is { } now)
                {
                    if (now.State != RequestState.Pending)
                    {
                        return now;
                    }

                    if (now.Version > version)
                    {
                        changed(now);
                    }

                    version = now.Version;
                }

                await wake.Task.WaitAsync(Poll, clock, cancellation).ConfigureAwait(false);
            }
            catch (TimeoutException)
            {
                // Poll again: an event may be lost, and approval may be down. A held client stays held.
            }
            finally
            {
                _waiting.TryRemove(KeyValuePair.Create(request, wake));
            }
        }
    }

    public async ValueTask<IReadOnlyList<RequestView>> ApprovedAsync(string assertion, CancellationToken cancellation)
    {
        if (!freshness.IsFresh)
        {
            throw new ApprovalUnavailableException(freshness.Problem);
        }

        try
        {
            using var response = await Client().PostAsJsonAsync("v1/requests/usable", new { assertion }, TokenJson.Options, cancellation).ConfigureAwait(false);
            if (!response.IsSuccessStatusCode)
            {
                throw new ApprovalUnavailableException(await ProblemAsync(response, cancellation).ConfigureAwait(false));
            }

            return await ReadAsync<List<RequestView>>(response, cancellation).ConfigureAwait(false);
        }
        catch (Exception error) when (IsTransport(error, cancellation))
        {
            throw new ApprovalUnavailableException("The approval service can't be reached.", error);
        }
    }

    public async ValueTask<RedeemedGrant> RedeemAsync(
        string request, RedeemRequest redeem, RedemptionExpectation expected, CancellationToken cancellation)
    {
        var grant = GrantVerifier.Verify(await ClaimsAsync(request, redeem, cancellation).ConfigureAwait(false), request, redeem, expected, clock.GetUtcNow());
        _used.Add(request, redeem.Index, redeem.RedemptionId, DateTimeOffset.FromUnixTimeSeconds(grant.Claims.ExpiresAt));
        return grant;
    }

    public async ValueTask<OpenWindow> OpenWindowAsync(
        string request, RedeemRequest redeem, RedemptionExpectation expected, CancellationToken cancellation) =>
        GrantVerifier.VerifyWindow(await ClaimsAsync(request, redeem, cancellation).ConfigureAwait(false), request, redeem, expected, clock.GetUtcNow());

    public async ValueTask WithdrawAsync(string request, string assertion, CancellationToken cancellation)
    {
        try
        {
            using var response = await Client()
                .PostAsJsonAsync($"v1/requests/{Uri.EscapeDataString(request)}/withdraw", new { assertion }, TokenJson.Options, cancellation).ConfigureAwait(false);
        }
        catch (Exception error) when (IsTransport(error, cancellation))
        {
            // It expires by itself, and nothing runs under it without a client.
        }
    }

    /// <summary>Handler of topic <c>approvals</c>.</summary>
    public ValueTask OnChangedAsync(BusEvent change)
    {
        if (JsonSerializer.Deserialize<RequestChanged>(change.Data.Span, TokenJson.Options) is { Request: { } request } changed)
        {
            if (_waiting.TryGetValue(request, out var waiting))
            {
                waiting.TrySetResult();
            }

            watch.Changed(changed);
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>A redeemed grant's claims: signature, type and issuer are verified, and nothing else.</summary>
    private async ValueTask<GrantClaims> ClaimsAsync(string request, RedeemRequest redeem, CancellationToken cancellation)
    {
        if (!freshness.IsFresh)
        {
            throw new ApprovalUnavailableException(freshness.Problem);
        }

        for (var attempt = 1; ; attempt++)
        {
            try
            {
                // The redemption id makes a repeated attempt safe: the workflow answers it as it answered the first.
                using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
                limit.CancelAfter(RedeemAttempt);
                using var response = await Client()
                    .PostAsJsonAsync($"v1/requests/{Uri.EscapeDataString(request)}/redeem", redeem, TokenJson.Options, limit.Token).ConfigureAwait(false);
                if ((int)response.StatusCode is >= 400 and < 500 && response.StatusCode is not (HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests))
                {
                    throw new RedemptionRefusedException(await ProblemAsync(response, cancellation).ConfigureAwait(false));
                }

                response.EnsureSuccessStatusCode();
                var answer = await ReadAsync<RedeemAnswer>(response, limit.Token).ConfigureAwait(false);
                var signer = await keys.GetAsync(AppIds.Approval, cancellation).ConfigureAwait(false);
                return await signer.VerifyAsync<GrantClaims>(answer.Grant, TokenTypes.Grant, AppIds.Approval, null, clock.GetUtcNow()).ConfigureAwait(false);
            }
            catch (TokenRejectedException error)
            {
                throw new RedemptionRefusedException($"The grant was refused: {error.Message}.", error);
            }
            catch (Exception error) when (IsTransport(error, cancellation))
            {
                if (attempt == RedeemAttempts)
                {
                    throw new ApprovalUnavailableException("The approval service can't be reached.", error);
                }
            }
        }
    }

    private async Task<RequestView?> FindAsync(string request, CancellationToken cancellation)
    {
        try
        {
            using var response = await Client().GetAsync(new Uri($"v1/requests/{Uri.EscapeDataString(request)}", UriKind.Relative), cancellation).ConfigureAwait(false);
            return response.IsSuccessStatusCode ? await ReadAsync<RequestView>(response, cancellation).ConfigureAwait(false) : null;
        }
        catch (Exception error) when (IsTransport(error, cancellation))
        {
            return null;
        }
    }

    private static async Task<T> ReadAsync<T>(HttpResponseMessage response, CancellationToken cancellation) =>
        await response.Content.ReadFromJsonAsync<T>(TokenJson.Options, cancellation).ConfigureAwait(false) ?? throw new HttpRequestException("empty answer");

    private static async Task<string> ProblemAsync(HttpResponseMessage response, CancellationToken cancellation) =>
        (await ReadProblemAsync(response, cancellation).ConfigureAwait(false)).Detail;

    private static async Task<(string Code, string Detail)> ReadProblemAsync(HttpResponseMessage response, CancellationToken cancellation)
    {
        Problem? problem = null;
        try
        {
            problem = await response.Content.ReadFromJsonAsync<Problem>(TokenJson.Options, cancellation).ConfigureAwait(false);
        }
        catch (Exception error) when (error is JsonException or NotSupportedException)
        {
            // The status has to do.
        }

        return (problem?.Code ?? "approval", problem?.Detail ?? problem?.Title ?? $"Approval answered {(int)response.StatusCode}.");
    }

    private static bool IsTransport(Exception error, CancellationToken cancellation) =>
        !cancellation.IsCancellationRequested
        && error is (HttpRequestException or JsonException or PortUnavailableException or OperationCanceledException or IOException or TimeoutException);

    private HttpClient Client() => clients.Create(AppIds.Approval);

    private sealed record RedeemAnswer(string Grant);

    private sealed record Problem(string? Title, string? Detail, string? Code);
}
