using System.Buffers.Text;
using Countersign.Approval.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language;
using Microsoft.Extensions.Options;

namespace Countersign.Policy.Host;

/// <summary>
/// Changes of what is enforced (I3): checked, asked for at approval, and put into force when another person has approved them. One at a time:
/// a change is made from a version, and refused where another one has come into force meanwhile.
/// </summary>
internal sealed partial class ChangeService(
    PolicyState state, BundleStore bundles, ChangeStore changes, ServiceCalls services, BundleSigner signer, BundleVerifier verifier, RemovalRules removals,
    AuditTrail audit,
    IOptions<PolicyOptions> options, TimeProvider clock, ILogger<ChangeService> logger) : IDisposable
{
    /// <summary>Longest diff in characters: approval takes no longer text, and nobody reads one.</summary>
    private const int MaxDiff = 900_000;

    private const int MaxReason = 2000;
    private readonly SemaphoreSlim _one = new(1, 1);

    public void Dispose() => _one.Dispose();

    /// <summary>Asks for a change.</summary>
    /// <exception cref="ProblemException">It can't be asked for, or approval refused it.</exception>
    /// <exception cref="InvalidPolicyException">It is wrong, with all errors.</exception>
    public async Task<PolicyChangeResult> ProposeAsync(Caller caller, PolicyChangeRequest request, CancellationToken cancellation)
    {
        var person = caller.Person!;
        try
        {
            return await ProposeCheckedAsync(caller, request, cancellation);
        }
        catch (Exception error) when (error is ProblemException or InvalidPolicyException)
        {
            await TellAsync(() => audit.RejectedAsync(person.Person, person.Name, (error as ProblemException)?.Code ?? InvalidPolicyException.Code, clock.GetUtcNow(), cancellation));
            throw;
        }
    }

    /// <summary>A change by its approval request.</summary>
    public ValueTask<ChangeDocument?> FindAsync(string requestId, CancellationToken cancellation) => changes.FindAsync(requestId, cancellation);

    /// <summary>Does what is to be done about one open change: nothing while it is pending.</summary>
    public async ValueTask ProcessAsync(string requestId, CancellationToken cancellation)
    {
        await _one.WaitAsync(cancellation);
        try
        {
            await state.RefreshAsync(cancellation);
            if (await changes.FindOpenAsync(requestId, cancellation) is { } change)
            {
                await ProcessAsync(change, cancellation);
            }
        }
        finally
        {
            _one.Release();
        }
    }

    /// <summary>The same for all open changes, oldest first. What can't be done now is tried again at the next call.</summary>
    public async ValueTask ProcessAllAsync(CancellationToken cancellation)
    {
        foreach (var change in await changes.OpenAsync(cancellation))
        {
            try
            {
                await ProcessAsync(change.RequestId, cancellation);
            }
            catch (Exception error) when (error is PortUnavailableException or HttpRequestException or ProblemException)
            {
                LogNotNow(change.RequestId, error.Message);
            }
        }
    }

    private async Task<PolicyChangeResult> ProposeCheckedAsync(Caller caller, PolicyChangeRequest request, CancellationToken cancellation)
    {
        if (state.Unusable is { } unusable)
        {
            throw new PortUnavailableException(unusable);
        }

        var current = state.Current;
        var baseVersion = current?.Mark.Version ?? 0;
        if (request.BaseVersion is { } looked && looked != baseVersion)
        {
            throw new ProblemException(409, "version-conflict", $"The change was made from version {looked}, but version {baseVersion} is in force: look at it and ask again.");
        }

        if (request.Reason.Length > MaxReason)
        {
            throw new ProblemException(400, "too-large", $"A reason has at most {MaxReason} characters.");
        }

        var proposal = Proposal.Make(current?.Bundle, request.Documents, request.RemovedDocuments, request.Connections, request.RemovedConnections);
        if (proposal.Errors.Count > 0)
        {
            throw new InvalidPolicyException(proposal.Errors);
        }

        if (request.AtOnce)
        {
            await removals.RequireAsync(caller.Person!, current, proposal, cancellation);
        }

        var content = proposal.ContentHash();
        // After removals by one person alone the same once more means something: that others agree to it.
        var unchanged = current is not null && (request.AtOnce || current.Envelope.Before is not { Count: > 0 }) && content == new Proposal(current.Bundle.Documents, current.Bundle.Connections, []).ContentHash();
        if (unchanged || (current is null && proposal is { Documents.Count: 0, Connections.Count: 0 }))
        {
            throw new ProblemException(400, "no-change", "This changes nothing of what is in force.");
        }

        await _one.WaitAsync(cancellation);
        try
        {
            return await AskAsync(caller, request, proposal, content, current, cancellation);
        }
        finally
        {
            _one.Release();
        }
    }

    private async Task<PolicyChangeResult> AskAsync(Caller caller, PolicyChangeRequest request, Proposal proposal, string content, InForce? current, CancellationToken cancellation)
    {
        var person = caller.Person!;
        var baseVersion = current?.Mark.Version ?? 0;
        foreach (var open in await changes.OpenAsync(cancellation))
        {
            // Asked for already, by the same person, from the same version: one request is enough.
            if (!request.AtOnce && open.State == ChangeStates.Pending && open.Person == person.Person && open.BaseVersion == baseVersion && open.ContentHash == content
                && await services.RequestAsync(open.RequestId, cancellation) is { State: RequestState.Pending })
            {
                return new PolicyChangeResult(open.RequestId, open.Digest, open.Version, open.Diff, open.Link);
            }
        }

        var now = clock.GetUtcNow();
        var bundle = proposal.ToBundle(baseVersion + 1, now);
        var payload = BundleCodec.Encode(bundle);
        var diff = BundleDiff.Between(current?.Bundle, bundle);
        if (payload.Length > BundleCodec.MaxPayload || diff.Length > MaxDiff)
        {
            throw new ProblemException(400, "too-large", "The change is too large to be read and approved: ask for it in parts.");
        }

        var digest = BundleCodec.Digest(payload);
        var control = Control(current);
        var asked = await services.AskAsync(
            new CreateRequest
            {
                Kind = RequestKind.Bundle,
                Assertion = caller.Token,
                Operations = [new RequestedOperation(digest, diff, [])],
                AllOf = control.Requirements,
                Message = $"{(request.AtOnce ? "Took access away" : "Changes what is enforced")}: policy bundle {bundle.Version}.",
                Reason = request.Reason,
                BundleVersion = baseVersion,
                TimeoutSeconds = (int)(control.Timeout ?? TimeSpan.FromHours(options.Value.ChangeTimeoutHours)).TotalSeconds,
                GrantLifetimeSeconds = request.AtOnce ? RemovalRules.GrantSeconds : (int)(control.GrantLifetime ?? TimeSpan.FromMinutes(options.Value.ActivationMinutes)).TotalSeconds,
                ReasonRequired = control.ReasonRequired,
                Assurance = control.RequestAssurance,
                InEffect = request.AtOnce,
            },
            cancellation);
        var change = new ChangeDocument
        {
            RequestId = asked.Request.Id,
            State = ChangeStates.Pending,
            Digest = digest,
            Version = bundle.Version,
            BaseVersion = baseVersion,
            Payload = Base64Url.EncodeToString(payload),
            ContentHash = content,
            Diff = diff,
            Link = asked.Request.Link,
            Person = person.Person,
            Name = person.Name,
            Reason = request.Reason,
            CreatedAt = now,
            Removal = request.AtOnce ? asked.Request.Grant ?? throw new PortUnavailableException("Approval gave no grant for a change that takes access away.") : null,
        };
        change = await changes.AddAsync(change, cancellation);
        LogAsked(change.RequestId, change.Version);
        change = await TellRequestAsync(change, cancellation);
        if (request.AtOnce)
        {
            try
            {
                await ProcessAsync(change, cancellation);
            }
            catch (PortUnavailableException)
            {
                // Another replica may have been faster: then it is in force all the same.
                await state.RefreshAsync(cancellation);
                if (state.Current?.Mark != new BundleMark(change.Version, digest))
                {
                    throw;
                }
            }

            return state.Current?.Mark == new BundleMark(change.Version, digest)
                ? new PolicyChangeResult(change.RequestId, digest, bundle.Version, diff, change.Link, InForce: true)
                : throw new ProblemException(409, "not-in-force", (await changes.FindAsync(change.RequestId, cancellation))?.Problem ?? "It could not be put into force.");
        }

        return new PolicyChangeResult(change.RequestId, digest, bundle.Version, diff, change.Link);
    }

    /// <summary>Who must agree to a change: what the settings in force say, not those proposed.</summary>
    private static ControlTerms Control(InForce? current) => current is null ? ControlTerms.Default : ControlTerms.Of(current.Mark.Version, current.Engine.Documents);

    private async ValueTask ProcessAsync(ChangeDocument change, CancellationToken cancellation)
    {
        if (!change.RequestTold)
        {
            change = await TellRequestAsync(change, cancellation);
        }

        if (change.State != ChangeStates.Pending)
        {
            // It has ended, but others may not have been told.
            await EndAsync(change, cancellation);
            return;
        }

        if (state.Current is { } current && current.Mark == new BundleMark(change.Version, change.Digest))
        {
            // In force already: the process ended between that and writing it down.
            await EndAsync(change with { State = ChangeStates.Active, EndedAt = clock.GetUtcNow() }, cancellation);
            return;
        }

        if (change.BaseVersion != state.Version)
        {
            await EndAsync(Superseded(change), cancellation);
            return;
        }

        if (change.Removal is not null)
        {
            await ActivateAsync(change, cancellation);
            return;
        }

        var request = await services.RequestAsync(change.RequestId, cancellation);
        switch (request?.State)
        {
            case RequestState.Pending:
                break;
            case RequestState.Approved or RequestState.Consumed:
                await ActivateAsync(change with { Approvers = Approvers(request) }, cancellation);
                break;
            default:
                await EndAsync(Refused(change, request is null ? "Approval doesn't know the request any more." : Why(request)), cancellation);
                break;
        }
    }

    private async ValueTask ActivateAsync(ChangeDocument change, CancellationToken cancellation)
    {
        var now = clock.GetUtcNow();
        InForce next;
        try
        {
            var grant = change.Removal ?? await services.RedeemAsync(change.RequestId, change.Digest, cancellation);
            await verifier.VerifyGrantAsync(grant, change.Digest, now, cancellation);
            var payload = Base64Url.DecodeFromChars(change.Payload);
            var envelope = signer.Seal(payload, change.Version, grant, now);
            if (change.Removal is not null && state.Current is { } from)
            {
                envelope = envelope with { Before = [.. from.Envelope.Before ?? [], from.Envelope with { Before = null }] };
            }

            // As every proxy will: what they would refuse must not come into force.
            var verified = await verifier.VerifyAsync(
                envelope, state.Current?.Mark, now, cancellation, state.Current is { } before ? ControlTerms.Of(before.Mark.Version, before.Engine.Documents) : null);
            next = InForce.Of(verified.Mark, envelope);
        }
        catch (Exception error) when (error is BundleRejectedException or PolicyFormatException or ProblemException or TokenRejectedException)
        {
            // Another replica's change may have come into force in between: then it isn't this one that is wrong.
            await EndAsync(change.BaseVersion != state.Version ? Superseded(change) : Refused(change, $"Approved, but it can't come into force: {error.Message}"), cancellation);
            return;
        }

        if (!await bundles.TryActivateAsync(next.Mark, next.Envelope, change.BaseVersion, cancellation))
        {
            // Another replica was faster, with this very bundle or with another.
            await state.RefreshAsync(cancellation);
            if (state.Current?.Mark != next.Mark)
            {
                await EndAsync(Superseded(change), cancellation);
                return;
            }
        }

        state.Set(next);
        LogActivated(change.Version, change.RequestId);
        await EndAsync(change with { State = ChangeStates.Active, EndedAt = now }, cancellation);
    }

    /// <summary>Writes the end down, tells it, and only then forgets the change: a crash in between tells it again, with the same ids.</summary>
    private async ValueTask EndAsync(ChangeDocument change, CancellationToken cancellation)
    {
        change = await changes.SaveAsync(change, cancellation);
        await audit.EndedAsync(change, cancellation);
        await changes.EndAsync(change, cancellation);
        LogEnded(change.RequestId, change.State);
    }

    private async ValueTask<ChangeDocument> TellRequestAsync(ChangeDocument change, CancellationToken cancellation)
    {
        if (!await TellAsync(() => audit.RequestedAsync(change, cancellation)))
        {
            return change;
        }

        try
        {
            return await changes.SaveAsync(change with { RequestTold = true }, cancellation);
        }
        catch (PortUnavailableException)
        {
            // Another replica has told it too, with the same id.
            return await changes.FindOpenAsync(change.RequestId, cancellation) ?? change;
        }
    }

    private async ValueTask<bool> TellAsync(Func<ValueTask> tell)
    {
        try
        {
            await tell();
            return true;
        }
        catch (PortUnavailableException error)
        {
            LogNotTold(error.Message);
            return false;
        }
    }

    private ChangeDocument Superseded(ChangeDocument change) => change with
    {
        State = ChangeStates.Superseded,
        EndedAt = clock.GetUtcNow(),
        Problem = $"It was made from version {change.BaseVersion}, but version {state.Version} has come into force meanwhile: look at what is in force now and ask again.",
    };

    private ChangeDocument Refused(ChangeDocument change, string problem) => change with { State = ChangeStates.Refused, EndedAt = clock.GetUtcNow(), Problem = problem };

    private static string Approvers(RequestView request) => string.Join(", ", request.Decisions.Where(decision => decision.Approved).Select(decision => decision.Name));

    private static string Why(RequestView request)
    {
        var denial = request.Decisions.FirstOrDefault(decision => !decision.Approved);
        return request.State switch
        {
            RequestState.Denied => $"Denied by {denial?.Name}{(string.IsNullOrEmpty(denial?.Comment) ? "" : $": {denial.Comment}")}.",
            RequestState.Expired => "Nobody decided in time, or it was not put into force in time.",
            RequestState.Cancelled => "Withdrawn.",
            _ => "The approval was taken back.",
        };
    }

    [LoggerMessage(3010, LogLevel.Information, "Change {Request} asks for policy bundle {Version}")]
    private partial void LogAsked(string request, long version);

    [LoggerMessage(3011, LogLevel.Information, "Policy bundle {Version} has come into force by request {Request}")]
    private partial void LogActivated(long version, string request);

    [LoggerMessage(3012, LogLevel.Information, "Change {Request} has ended: {State}")]
    private partial void LogEnded(string request, string state);

    [LoggerMessage(3013, LogLevel.Warning, "Change {Request} has to wait: {Reason}")]
    private partial void LogNotNow(string request, string reason);

    [LoggerMessage(3014, LogLevel.Warning, "An audit event was not taken: {Reason}")]
    private partial void LogNotTold(string reason);
}

/// <summary>Policy that can't be enforced, with everything that is wrong with it.</summary>
internal sealed class InvalidPolicyException(IReadOnlyList<PolicyError> errors) : Exception("The policy is not valid.")
{
    public const string Code = "policy-invalid";

    public IReadOnlyList<PolicyError> Errors { get; } = errors;
}
