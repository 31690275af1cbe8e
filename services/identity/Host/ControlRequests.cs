using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Credentials;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;

namespace Countersign.Identity.Host;

/// <summary>A change that waits for a second person.</summary>
/// <param name="RequestId">Approval request.</param>
/// <param name="Digest">Digest of the change document.</param>
/// <param name="Text">The change for people.</param>
/// <param name="Link">Where somebody decides it.</param>
/// <param name="State">State of the request when it was made.</param>
public sealed record RequestedChange(string RequestId, string Digest, string Text, string Link, RequestState State);

/// <summary>What identity remembers of it.</summary>
internal sealed record PendingChange(
    string Request, IdentityChange Change, string Digest, string Requester, string RequesterName, DateTimeOffset CreatedAt, string State, string Detail);

/// <summary>Changes of enrolments and links as control requests at approval (I3): asked for with the requester's own token, applied only under a verified grant.</summary>
internal sealed partial class ControlRequests(
    [FromKeyedServices(AppIds.Identity)] IStateStore store,
    [FromKeyedServices(AppIds.Identity)] IServiceClients clients,
    ITrustedKeys keys,
    PersonDirectory persons,
    AccessCredentials credentials,
    TrustedKeySet trustedKeys,
    ControlTermsInForce terms,
    Bootstrap bootstrap,
    AuditTrail audit,
    TimeProvider time,
    ILogger<ControlRequests> logger) : IDisposable
{
    /// <summary>Any enrolled person other than the requester.</summary>
    public const string EnrolledGroup = "enrolled";

    private const string Pending = "pending";
    private const string Applied = "applied";
    private const string Refused = "refused";
    private const int TimeoutSeconds = 7 * 24 * 3600;
    private const int GrantLifetimeSeconds = 24 * 3600;
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly Documents<PendingChange> _changes = new(store, "changes");
    private readonly SemaphoreSlim _applying = new(1, 1);

    /// <summary>Asks for a change.</summary>
    /// <exception cref="IdentityException">Approval refused, or who must agree can't be known.</exception>
    /// <exception cref="HttpRequestException">Approval can't be reached.</exception>
    public async Task<RequestedChange> AskAsync(
        Countersign.Identity.Contracts.AccessTokenClaims caller, string token, IdentityChange change, string reason, CancellationToken cancellation, string? shown = null)
    {
        var names = (await persons.AllAsync(cancellation)).ToDictionary(pair => pair.Key, pair => pair.Value.Name);
        var needed = await terms.GetAsync(cancellation);
        var digest = change.Digest();
        var text = shown ?? change.ToText(names);
        var ask = new CreateRequest
        {
            Kind = KindOf(change),
            Assertion = token,
            Operations = [new RequestedOperation(digest, text, [])],
            AllOf = needed.Requirements,
            Assurance = needed.RequestAssurance,
            ReasonRequired = needed.ReasonRequired,
            BundleVersion = needed.Version,
            Rules = ["identity.change"],
            Message = change.Kind == ChangeKinds.Keys
                ? "Service keys were enrolled or removed on a host. Compare them with what you know of the hosts before you agree."
                : "Who counts as whom changes only when a second person agrees.",
            Reason = reason,
            Context = change.Kind == ChangeKinds.Keys ? new Dictionary<string, string>() : new Dictionary<string, string> { ["document"] = change.ToDocument() },
            TimeoutSeconds = (int)(needed.Timeout ?? TimeSpan.FromSeconds(TimeoutSeconds)).TotalSeconds,
            GrantLifetimeSeconds = (int)(needed.GrantLifetime ?? TimeSpan.FromSeconds(GrantLifetimeSeconds)).TotalSeconds,
        };
        using var client = clients.Create(AppIds.Approval);
        using var response = await client.PostAsJsonAsync("v1/requests", ask, Json, cancellation);
        if (!response.IsSuccessStatusCode)
        {
            throw await RefusedAsync(response, cancellation);
        }

        var result = await response.Content.ReadFromJsonAsync<CreateRequestResult>(Json, cancellation) ?? throw new HttpRequestException("approval answered nothing");
        var view = result.Request;
        var pending = new PendingChange(view.Id, change, digest, caller.Person, caller.Name, time.GetUtcNow(), Pending, "");
        if (await _changes.TryAddAsync(view.Id, pending, cancellation))
        {
            await audit.RecordAsync("change.requested", caller.Person, caller.Name, view.Id, cancellation, details: Details(change, digest));
        }

        return new RequestedChange(view.Id, digest, text, view.Link, view.State);
    }

    /// <summary>Handler of topic <c>approvals</c>.</summary>
    public async ValueTask OnChangedAsync(BusEvent published, CancellationToken cancellation)
    {
        if (JsonSerializer.Deserialize<RequestChanged>(published.Data.Span, Json) is { State: not RequestState.Pending } changed
            && await _changes.FindAsync(changed.Request, cancellation) is { State: Pending } pending)
        {
            await FollowAsync(pending, cancellation);
        }
    }

    /// <summary>Asks for every change that is still open: events may be lost.</summary>
    public async Task PollAsync(CancellationToken cancellation)
    {
        await foreach (var (_, pending) in _changes.ListAsync(cancellation))
        {
            if (pending.State != Pending)
            {
                continue;
            }

            try
            {
                await FollowAsync(pending, cancellation);
            }
            catch (Exception error) when (error is HttpRequestException or PortUnavailableException or JsonException)
            {
                LogPollFailed(pending.Request, error.Message);
                return;
            }
        }
    }

    public void Dispose() => _applying.Dispose();

    private async ValueTask FollowAsync(PendingChange pending, CancellationToken cancellation)
    {
        await _applying.WaitAsync(cancellation);
        try
        {
            if (await _changes.FindAsync(pending.Request, cancellation) is not { State: Pending })
            {
                return;
            }

            using var client = clients.Create(AppIds.Approval);
            using var response = await client.GetAsync(new Uri($"v1/requests/{Uri.EscapeDataString(pending.Request)}", UriKind.Relative), cancellation);
            if (response.StatusCode == HttpStatusCode.NotFound)
            {
                await EndAsync(pending, Refused, "approval does not know the request", cancellation);
                return;
            }

            response.EnsureSuccessStatusCode();
            var view = await response.Content.ReadFromJsonAsync<RequestView>(Json, cancellation) ?? throw new HttpRequestException("approval answered nothing");
            switch (view.State)
            {
                case RequestState.Pending:
                    return;
                case RequestState.Approved:
                case RequestState.Consumed:
                    // Consumed: by ourselves, before a crash. The same redemption id gets the same grant.
                    await RedeemAsync(client, pending, cancellation);
                    return;
                default:
                    await EndAsync(pending, Refused, view.State.ToString().ToLowerInvariant(), cancellation);
                    return;
            }
        }
        finally
        {
            _applying.Release();
        }
    }

    private async ValueTask RedeemAsync(HttpClient client, PendingChange pending, CancellationToken cancellation)
    {
        ControlTerms needed;
        try
        {
            needed = await terms.GetAsync(cancellation);
        }
        catch (IdentityException unknown)
        {
            // Approved, but by enough? The next poll asks again.
            throw new PortUnavailableException(unknown.Message, unknown);
        }

        var redeem = new RedeemRequest(0, pending.Digest, $"identity:{pending.Request}", "");
        using var response = await client.PostAsJsonAsync($"v1/requests/{Uri.EscapeDataString(pending.Request)}/redeem", redeem, Json, cancellation);
        if ((int)response.StatusCode is 409 or 410 or 403 or 404)
        {
            await EndAsync(pending, Refused, (await RefusedAsync(response, cancellation)).Message, cancellation);
            return;
        }

        response.EnsureSuccessStatusCode();
        var answer = await response.Content.ReadFromJsonAsync<RedeemAnswer>(Json, cancellation) ?? throw new HttpRequestException("approval answered nothing");
        try
        {
            var signer = await keys.GetAsync(AppIds.Approval, cancellation);
            var grant = await signer.VerifyAsync<GrantClaims>(answer.Grant, TokenTypes.Grant, AppIds.Approval, null, time.GetUtcNow());
            await CheckAsync(grant, pending, needed, cancellation);
            if (pending.Change.Kind == ChangeKinds.Keys)
            {
                await trustedKeys.ApproveAsync(pending.Change, pending.Request, cancellation);
            }
            else
            {
                await persons.ApplyAsync(pending.Change, pending.Request, cancellation);
            }

            if (pending.Change.Kind == ChangeKinds.Owners)
            {
                await credentials.RevokeDisownedAsync(pending.Change.Persons[0], cancellation);
            }

            await EndAsync(pending, Applied, string.Join(", ", grant.Approvers.Select(approver => approver.Name)), cancellation);
        }
        catch (Exception error) when (error is TokenRejectedException or IdentityException)
        {
            await EndAsync(pending, Refused, error.Message, cancellation);
        }
    }

    /// <summary>What approval calls a change of this kind.</summary>
    internal static RequestKind KindOf(IdentityChange change) => change.Kind is ChangeKinds.Link or ChangeKinds.Unlink or ChangeKinds.Distinct or ChangeKinds.ServiceAccount or ChangeKinds.Owners
        ? RequestKind.IdentityLink
        : change.Kind == ChangeKinds.Keys ? RequestKind.Key : RequestKind.Enrolment;

    /// <summary>A grant for anything else, or by nobody else, changes nothing.</summary>
    private async ValueTask CheckAsync(GrantClaims grant, PendingChange pending, ControlTerms needed, CancellationToken cancellation)
    {
        if (grant.Kind != KindOf(pending.Change) || grant.Request != pending.Request || grant.Person != pending.Requester
            || grant.Digests is not [var digest] || digest != pending.Digest || pending.Change.Digest() != digest)
        {
            throw new TokenRejectedException("the grant is for something else");
        }

        var same = await persons.SameAsync(pending.Requester, cancellation);
        var others = grant.Approvers.Select(approver => approver.Person).Where(person => !same.Contains(person)).Distinct().Count();
        var alone = grant.Bootstrap && await bootstrap.IsOpenForAsync(pending.Requester, cancellation);
        if (others == 0 && !alone)
        {
            throw new TokenRejectedException("nobody but the requester approved it");
        }

        if (others < grant.AllOf.Sum(part => (long)part.Quorum) && !alone)
        {
            throw new TokenRejectedException("it was not approved by as many as had to agree");
        }

        if (!needed.AreMetBy(grant))
        {
            throw new TokenRejectedException($"it was approved on weaker terms than policy bundle {needed.Version} asks for: ask again");
        }
    }

    private async ValueTask EndAsync(PendingChange pending, string state, string detail, CancellationToken cancellation)
    {
        if (await _changes.ChangeAsync(pending.Request, known => known is { State: Pending } ? known with { State = state, Detail = detail } : null, cancellation) is null)
        {
            // Another replica was faster, and has said so.
            return;
        }

        var details = Details(pending.Change, pending.Digest);
        details["request"] = pending.Request;
        details["detail"] = detail;
        var action = state == Applied ? $"{pending.Change.Kind}.applied" : $"{pending.Change.Kind}.not-applied";
        await audit.RecordAsync(action, pending.Requester, pending.RequesterName, pending.Change.Persons[0], cancellation, state == Applied, details);
        LogEnded(pending.Request, pending.Change.Kind, state);
    }

    private static Dictionary<string, string> Details(IdentityChange change, string digest) => new()
    {
        ["change"] = change.Kind,
        ["persons"] = string.Join(",", change.Persons),
        ["digest"] = digest,
    };

    private static async ValueTask<IdentityException> RefusedAsync(HttpResponseMessage response, CancellationToken cancellation)
    {
        try
        {
            var problem = await response.Content.ReadFromJsonAsync<JsonElement>(Json, cancellation);
            var code = problem.TryGetProperty("code", out var given) ? given.GetString() : null;
            var detail = problem.TryGetProperty("detail", out var text) ? text.GetString() : null;
            return new IdentityException((int)response.StatusCode >= 500 ? 503 : (int)response.StatusCode, code ?? "approval-refused", detail ?? "Approval refused.");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            return new IdentityException(503, "unavailable", $"Approval answered {(int)response.StatusCode}.");
        }
    }

    [LoggerMessage(2101, LogLevel.Information, "Change {Request} ({Kind}) was {State}")]
    private partial void LogEnded(string request, string kind, string state);

    [LoggerMessage(2102, LogLevel.Warning, "Change {Request} can't be followed now: {Reason}")]
    private partial void LogPollFailed(string request, string reason);

    private sealed record RedeemAnswer(string Grant);
}
