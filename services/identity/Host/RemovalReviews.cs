using System.Collections.Concurrent;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Host;

/// <summary>A removal whose review could not be opened yet. The requester's token is not kept with it.</summary>
internal sealed record UnreviewedRemoval(string Id, IdentityChange Change, string Requester, string RequesterName, string Reason, DateTimeOffset At);

/// <summary>
/// Opens the review of what one person took away alone (I3). The removal has taken effect and never waits for this: where approval can't be reached, it is tried
/// again as long as the requester's token is good; after that an audit event says that nobody will be asked.
/// </summary>
internal sealed partial class RemovalReviews(
    [FromKeyedServices(AppIds.Identity)] IStateStore store, [FromKeyedServices(AppIds.Identity)] IServiceClients clients, PersonDirectory persons, AuditTrail audit,
    TimeProvider time, ILogger<RemovalReviews> logger)
{
    /// <summary>No access token lives longer.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(15);

    private const int TimeoutSeconds = 7 * 24 * 3600;
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly Documents<UnreviewedRemoval> _open = new(store, "unreviewed");
    private readonly ConcurrentDictionary<string, string> _tokens = new(StringComparer.Ordinal);

    /// <summary>Opens a review. Never fails: the removal is done.</summary>
    public async ValueTask OpenAsync(AccessTokenClaims caller, string token, IdentityChange change, string reason, CancellationToken cancellation)
    {
        var removal = new UnreviewedRemoval(Ids.Random("rem_"), change, caller.Person, caller.Name, reason, time.GetUtcNow());
        await _open.TryAddAsync(removal.Id, removal, cancellation);
        _tokens[removal.Id] = token;
        await TryAsync(removal, token, cancellation);
    }

    /// <summary>Tries again what could not be opened.</summary>
    public async Task PollAsync(CancellationToken cancellation)
    {
        await foreach (var (_, removal) in _open.ListAsync(cancellation))
        {
            if (time.GetUtcNow() - removal.At > Patience || !_tokens.TryGetValue(removal.Id, out var token))
            {
                // Without the token (this is another process than the one that took away) somebody else may still be trying.
                if (time.GetUtcNow() - removal.At > Patience)
                {
                    await GiveUpAsync(removal, "approval could not be reached in time", cancellation);
                }

                continue;
            }

            await TryAsync(removal, token, cancellation);
        }
    }

    private async ValueTask TryAsync(UnreviewedRemoval removal, string token, CancellationToken cancellation)
    {
        try
        {
            var names = (await persons.AllAsync(cancellation)).ToDictionary(pair => pair.Key, pair => pair.Value.Name);
            var ask = new CreateRequest
            {
                Kind = RequestKind.Enrolment,
                Assertion = token,
                Operations = [new RequestedOperation(removal.Change.Digest(), removal.Change.ToText(names), [])],
                AllOf = [new RequestRequirement([ControlRequests.EnrolledGroup], 1)],
                Rules = ["identity.removal"],
                Message = "Access was taken away by one person. Somebody else says whether that was justified.",
                Reason = removal.Reason,
                Context = new Dictionary<string, string> { ["document"] = removal.Change.ToDocument(), ["removal"] = removal.Id },
                TimeoutSeconds = TimeoutSeconds,
                GrantLifetimeSeconds = 60,
                InEffect = true,
            };
            using var client = clients.Create(AppIds.Approval);
            using var response = await client.PostAsJsonAsync("v1/requests", ask, Json, cancellation);
            if (response.IsSuccessStatusCode)
            {
                _tokens.TryRemove(removal.Id, out _);
                await _open.DeleteAsync(removal.Id, cancellation);
            }
            else if ((int)response.StatusCode is >= 400 and < 500)
            {
                await GiveUpAsync(removal, $"approval refused it ({(int)response.StatusCode})", cancellation);
            }
        }
        catch (Exception error) when (error is HttpRequestException or PortUnavailableException || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            LogNotNow(removal.Id, error.GetType().Name);
        }
    }

    private async ValueTask GiveUpAsync(UnreviewedRemoval removal, string why, CancellationToken cancellation)
    {
        _tokens.TryRemove(removal.Id, out _);
        LogUnreviewed(removal.Change.Kind, removal.RequesterName, why);
        await audit.RecordAsync(
            "removal.not-reviewed", removal.Requester, removal.RequesterName, removal.Change.Persons.Count > 0 ? removal.Change.Persons[0] : removal.Change.Name, cancellation, success: false,
            new Dictionary<string, string> { ["severity"] = "high", ["change"] = removal.Change.ToDocument(), ["why"] = why, ["at"] = removal.At.ToString("O") });
        await _open.DeleteAsync(removal.Id, cancellation);
    }

    [LoggerMessage(2120, LogLevel.Warning, "The review of removal {Removal} can't be opened now: {Error}")]
    private partial void LogNotNow(string removal, string error);

    [LoggerMessage(2121, LogLevel.Error, "A removal ({Kind}) by {Name} will not be reviewed by anybody: {Why}")]
    private partial void LogUnreviewed(string kind, string name, string why);
}
