using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Identity.Credentials;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Host;

/// <summary><c>GET /identity/v1/removals</c>: something that one person took away, and whose review isn't open at approval.</summary>
/// <param name="Id">Id of the removal, <c>rem_…</c>.</param>
/// <param name="Text">What was taken away, for people.</param>
/// <param name="Requester">Who did it.</param>
/// <param name="RequesterName">Their name.</param>
/// <param name="Reason">Why.</param>
/// <param name="At">When.</param>
/// <param name="Problem">Why nobody was asked; empty while approval can't be reached.</param>
public sealed record UnreviewedView(string Id, string Text, string Requester, string RequesterName, string Reason, DateTimeOffset At, string Problem);

/// <summary>A removal whose review could not be opened yet. Neither the requester's token nor any secret is kept with it.</summary>
internal sealed record UnreviewedRemoval(string Id, IdentityChange Change, string Requester, string RequesterName, string Reason, DateTimeOffset At)
{
    /// <summary>The login under which it was done; null for removals of before, which can only be listed.</summary>
    public LoginFacts? Login { get; init; }
    /// <summary>Nobody tries before: of several replicas one does.</summary>
    public DateTimeOffset NextAt { get; init; }
    /// <summary>Why approval refused it; empty while it didn't.</summary>
    public string Problem { get; init; } = "";
}

/// <summary>
/// Opens the review of what one person took away alone (I3). The removal has taken effect and never waits for this: where approval can't be reached it is tried
/// again until it can, after a restart and by other replicas too, with identity's own word for who it was. Where approval refuses it (whoever did it is no longer
/// enrolled), an audit event says so once, and it stays on a list until it could be opened after all.
/// </summary>
internal sealed partial class RemovalReviews(
    [FromKeyedServices(AppIds.Identity)] IStateStore store, [FromKeyedServices(AppIds.Identity)] IServiceClients clients, PersonDirectory persons, AccessTokens tokens,
    AuditTrail audit, TimeProvider time, ILogger<RemovalReviews> logger)
{
    /// <summary>How long one is kept for which nobody could be asked: as long as anybody may want to know.</summary>
    private static readonly TimeSpan Kept = TimeSpan.FromDays(400);

    private static readonly TimeSpan Attempt = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Unreachable = TimeSpan.FromSeconds(2);

    // Longer than others wait: a replica that can't reach approval must not always be the first to try again.
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(8);
    private static readonly TimeSpan Refused = TimeSpan.FromHours(1);
    private const int TimeoutSeconds = 7 * 24 * 3600;
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly Documents<UnreviewedRemoval> _open = new(store, "unreviewed");
    private DateTimeOffset _pausedUntil;

    /// <summary>Opens a review. Never fails: the removal is done.</summary>
    public async ValueTask OpenAsync(AccessTokenClaims caller, string token, IdentityChange change, string reason, CancellationToken cancellation)
    {
        var now = time.GetUtcNow();
        var removal = new UnreviewedRemoval(Ids.Random("rem_"), change, caller.Person, caller.Name, reason, now)
        {
            Login = new LoginFacts(caller.Subject, caller.Person, caller.Acr, caller.Amr, caller.AuthenticatedAt),
            NextAt = now + Attempt,
        };
        await _open.TryAddAsync(removal.Id, removal, cancellation);
        await TryAsync(removal, token, cancellation);
    }

    /// <summary>Those whose review isn't open, oldest first.</summary>
    public async ValueTask<IReadOnlyList<UnreviewedView>> ListAsync(CancellationToken cancellation)
    {
        var names = await NamesAsync(cancellation);
        var found = new List<UnreviewedView>();
        await foreach (var (_, removal) in _open.ListAsync(cancellation))
        {
            found.Add(new UnreviewedView(removal.Id, removal.Change.ToText(names), removal.Requester, removal.RequesterName, removal.Reason, removal.At, removal.Problem));
        }

        return [.. found.OrderBy(removal => removal.At)];
    }

    /// <summary>Tries again what could not be opened.</summary>
    public async Task PollAsync(CancellationToken cancellation)
    {
        if (time.GetUtcNow() < _pausedUntil)
        {
            return;
        }

        await foreach (var (_, removal) in _open.ListAsync(cancellation))
        {
            var now = time.GetUtcNow();
            if (now - removal.At > Kept)
            {
                await _open.DeleteAsync(removal.Id, cancellation);
            }
            else if (removal.NextAt <= now
                && await _open.ChangeAsync(removal.Id, known => known is null || known.NextAt > now ? null : known with { NextAt = now + Attempt }, cancellation) is { } mine)
            {
                await TryAsync(mine, null, cancellation);
            }
        }
    }

    private async ValueTask TryAsync(UnreviewedRemoval removal, string? token, CancellationToken cancellation)
    {
        try
        {
            // Identity is who says who somebody is: its own word for who did it is the same evidence as the token that they had.
            token ??= removal.Login is { } login
                ? (await tokens.AccessAsync(login, AppIds.Identity, cancellation)).AccessToken
                : throw new IdentityException(409, "login-unknown", "it is not known under which login it was done");
            var ask = new CreateRequest
            {
                Kind = RequestKind.Enrolment,
                Assertion = token,
                Operations = [new RequestedOperation(removal.Change.Digest(), removal.Change.ToText(await NamesAsync(cancellation)), [])],
                AllOf = [new RequestRequirement([ControlRequests.EnrolledGroup], 1)],
                Rules = ["identity.removal"],
                Message = "Access was taken away by one person. Somebody else says whether that was justified.",
                Reason = removal.Reason,
                Context = new Dictionary<string, string> { ["document"] = removal.Change.ToDocument(), ["removal"] = removal.Id, ["at"] = removal.At.ToString("O") },
                TimeoutSeconds = TimeoutSeconds,
                GrantLifetimeSeconds = 60,
                InEffect = true,
            };
            using var client = clients.Create(AppIds.Approval);
            using var response = await client.PostAsJsonAsync("v1/requests", ask, Json, cancellation);
            if (response.IsSuccessStatusCode)
            {
                await _open.DeleteAsync(removal.Id, cancellation);
            }
            else if ((int)response.StatusCode is >= 400 and < 500 and not (408 or 429))
            {
                await RefusedAsync(removal, $"approval refused it ({(int)response.StatusCode})", cancellation);
            }
            else
            {
                await LaterAsync(removal, cancellation);
            }
        }
        catch (IdentityException error)
        {
            await RefusedAsync(removal, error.Message, cancellation);
        }
        catch (Exception error) when (error is HttpRequestException or PortUnavailableException || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            LogNotNow(removal.Id, error.GetType().Name);
            await LaterAsync(removal, cancellation);
        }
    }

    private async ValueTask LaterAsync(UnreviewedRemoval removal, CancellationToken cancellation)
    {
        _pausedUntil = time.GetUtcNow() + Pause;
        await _open.ChangeAsync(removal.Id, known => known is null ? null : known with { NextAt = time.GetUtcNow() + Unreachable }, cancellation);
    }

    private async ValueTask RefusedAsync(UnreviewedRemoval removal, string why, CancellationToken cancellation)
    {
        if (removal.Problem.Length == 0)
        {
            LogUnreviewed(removal.Change.Kind, removal.RequesterName, why);
            await audit.RecordAsync(
                "removal.not-reviewed", removal.Requester, removal.RequesterName, removal.Change.Persons.Count > 0 ? removal.Change.Persons[0] : removal.Change.Name, cancellation, success: false,
                new Dictionary<string, string> { ["severity"] = "high", ["removal"] = removal.Id, ["change"] = removal.Change.ToDocument(), ["why"] = why, ["at"] = removal.At.ToString("O") });
        }

        await _open.ChangeAsync(removal.Id, known => known is null ? null : known with { Problem = why, NextAt = time.GetUtcNow() + Refused }, cancellation);
    }

    private async ValueTask<IReadOnlyDictionary<string, string>> NamesAsync(CancellationToken cancellation) =>
        (await persons.AllAsync(cancellation)).ToDictionary(pair => pair.Key, pair => pair.Value.Name, StringComparer.Ordinal);

    [LoggerMessage(2120, LogLevel.Warning, "The review of removal {Removal} can't be opened now: {Error}")]
    private partial void LogNotNow(string removal, string error);

    [LoggerMessage(2121, LogLevel.Error, "The review of a removal ({Kind}) by {Name} can't be opened: {Why}")]
    private partial void LogUnreviewed(string kind, string name, string why);
}
