using System.Text.Json;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Actors;

/// <summary>What the shells of requests need beside their host.</summary>
/// <param name="Evidence">Verifies tokens.</param>
/// <param name="Signer">Signs grants.</param>
/// <param name="Effects">Tells the others.</param>
/// <param name="Clock">The workflow's clock.</param>
/// <param name="Workflows">Reaches the request that another one extends.</param>
/// <param name="Reports">Reports what was refused after the fact.</param>
/// <param name="ReviewWithin">How soon what one person did alone must be reviewed.</param>
public sealed record RequestParts(
    IEvidence Evidence, IGrantSigner Signer, IEffects<RequestDocument, RequestEffect> Effects, TimeProvider Clock, IWorkflowHost Workflows, IRefusalReports Reports,
    TimeSpan ReviewWithin)
{
    /// <summary>What others wait for who count as the same person; null where nobody is linked with anybody.</summary>
    public IOpenRequests? Open { get; init; }
}

/// <summary>Requests that are open, by who asked.</summary>
public interface IOpenRequests
{
    /// <summary>Those that are pending.</summary>
    /// <param name="requesters">Person ids.</param>
    /// <param name="most">No more than this many.</param>
    IReadOnlyList<string> Pending(IEnumerable<string> requesters, int most);
}

/// <summary>Reports refused attempts that nobody waits for.</summary>
public interface IRefusalReports
{
    /// <summary>Makes an audit event of one.</summary>
    /// <param name="action">Action of the event.</param>
    /// <param name="document">The request that was refused something.</param>
    /// <param name="refusal">Why.</param>
    ValueTask ReportAsync(string action, RequestDocument document, Refusal refusal);

    /// <summary>Makes an audit event of a document that approval did not write.</summary>
    /// <param name="workflow">Id of the request or requester whose it should be.</param>
    ValueTask ForeignDocumentAsync(string workflow);
}

/// <summary>One request behind one envelope method: verifies the evidence of a message, makes a command of it, runs it. A grain or actor only hosts it.</summary>
public sealed class RequestShell
{
    private readonly RequestParts _parts;
    private readonly WorkflowRunner<RequestDocument, RequestCommand, RequestEffect> _runner;

    /// <summary>A shell over a host.</summary>
    public RequestShell(string request, IRunnerHost<RequestDocument> host, RequestParts parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        _parts = parts;
        var store = new SealedHost<RequestDocument>(WorkflowTypes.Request, request, host, parts);
        _runner = new(new RequestWorkflow(parts.ReviewWithin), store, new Extending(parts), new Wake(), parts.Clock, Complete);
    }

    /// <summary>Whether <see cref="TidyAsync"/> has something to do.</summary>
    public bool Untidy => _runner.Untidy;

    /// <summary>Handles one message.</summary>
    /// <param name="message">JSON of a <see cref="RequestMessage"/>; empty for a wake-up.</param>
    /// <param name="cancellation">Ends waits for others; what was saved stays.</param>
    /// <returns>JSON of an <see cref="ActorAnswer"/>.</returns>
    public async ValueTask<byte[]> HandleAsync(ReadOnlyMemory<byte> message, CancellationToken cancellation) =>
        JsonSerializer.SerializeToUtf8Bytes(await AnswerAsync(message, cancellation), WorkflowJson.Options);

    /// <summary>The clock has come.</summary>
    public ValueTask WakeAsync(CancellationToken cancellation) => _runner.WakeAsync(cancellation);

    /// <summary>Clears what is done.</summary>
    public ValueTask TidyAsync(CancellationToken cancellation) => _runner.TidyAsync(cancellation);

    private async ValueTask<ActorAnswer> AnswerAsync(ReadOnlyMemory<byte> message, CancellationToken cancellation)
    {
        RequestDocument? current = null;
        try
        {
            if (message.IsEmpty)
            {
                await _runner.WakeAsync(cancellation);
                return new ActorAnswer(null, null, false, Now);
            }

            var read = JsonSerializer.Deserialize<RequestMessage>(message.Span, WorkflowJson.Options) ?? new ReadMessage();
            current = await _runner.ReadAsync(cancellation);
            if (current is null && read is not OpenMessage)
            {
                return new ActorAnswer(null, new Refusal(RefusalCodes.Unknown, "There is no such request."), false, Now);
            }

            var step = await _runner.ExecuteAsync(await CommandAsync(read, current, cancellation), cancellation);
            var now = Now;
            return read is ObserveMessage
                ? new ActorAnswer(null, step.Refusal, step.Fresh, now) { Observation = Observation.Of(step.Document!, now) }
                : new ActorAnswer(step.Document, step.Refusal, step.Fresh, now);
        }
        catch (EvidenceRejectedException error)
        {
            return new ActorAnswer(current, new Refusal(RefusalCodes.TokenRejected, error.Message), false, Now);
        }
        catch (JsonException)
        {
            return new ActorAnswer(null, new Refusal(RefusalCodes.Invalid, "The message is malformed."), false, Now);
        }
        catch (Exception error) when (error is PortUnavailableException or WorkflowConflictException)
        {
            return new ActorAnswer(current, new Refusal(RefusalCodes.Unavailable, $"Nothing was changed: {error.Message}."), false, Now);
        }
    }

    private DateTimeOffset Now => _parts.Clock.GetUtcNow();

    private async ValueTask<RequestCommand> CommandAsync(RequestMessage message, RequestDocument? document, CancellationToken cancellation)
    {
        switch (message)
        {
            case OpenMessage open:
                await _parts.Evidence.CheckSealAsync(open.Spec, open.Seal, cancellation);
                return new Open(open.Spec.Id, open.Spec);
            case DecideMessage decide:
                var by = await _parts.Evidence.DeciderAsync(document!.Spec, decide.Token, groups: true, cancellation);
                return decide.Approve
                    ? new Approve("", by with { Gone = await GoneAsync(document, cancellation) }, decide.Digest, decide.Comment)
                    {
                        ExtensionRefused = await ExtensionRefusedAsync(_parts.Workflows, document.Spec, cancellation),
                    }
                    : new Deny("", by, decide.Digest, decide.Comment);
            case ExplainMessage explain:
                return new Explain("", await _parts.Evidence.PersonAsync(explain.Token, cancellation), explain.Reason);
            case WithdrawMessage { Token: { } token }:
                return new Withdraw("", await _parts.Evidence.PersonAsync(token, cancellation));
            case WithdrawMessage { Assertion: { } assertion }:
                return new Withdraw("", (await _parts.Evidence.SessionAsync(assertion, cancellation)).Person);
            case RedeemMessage redeem when document!.Spec.IsControl:
                return new Redeem(redeem.RedemptionId, await _parts.Evidence.ServiceAsync(redeem.ServiceToken, cancellation), "", "", redeem.Index, redeem.Digest) { Gone = await GoneAsync(document, cancellation) };
            case RedeemMessage redeem:
                var service = await _parts.Evidence.ServiceAsync(redeem.ServiceToken, cancellation);
                var session = await _parts.Evidence.SessionAsync(redeem.Assertion, cancellation);
                return new Redeem(redeem.RedemptionId, service, session.Person, session.Connection, redeem.Index, redeem.Digest)
                {
                    // I2 holds for who runs it too: an approver who made the credential that it runs under has approved for themselves.
                    Gone = [.. await GoneAsync(document, cancellation), .. Executors(document, session)],
                };
            case RevokeMessage revoke:
                return new Revoke("", await _parts.Evidence.DeciderAsync(document!.Spec, revoke.Token, groups: false, cancellation), revoke.Comment);
            case BreakGlassMessage alone:
                return new BreakGlass("", await _parts.Evidence.DeciderAsync(document!.Spec, alone.Token, groups: false, cancellation), alone.Digest, alone.Reason);
            case ReviewMessage review:
                return new CloseReview(
                    "", await _parts.Evidence.DeciderAsync(document!.Spec, review.Token, groups: false, cancellation), review.Digest, review.Justified, review.Comment);
            case ExtendMessage extend:
                return new Extend("", await _parts.Evidence.ExtensionAsync(extend.Grant, cancellation));
            case ReadMessage or ObserveMessage:
                return new Wake();
            default:
                throw new EvidenceRejectedException("there is no evidence of who asks");
        }
    }

    // Only while it matters: what has ended is answered as before, whether identity can be asked or not. A bootstrap approval is the first person's own.
    private ValueTask<IReadOnlyList<string>> GoneAsync(RequestDocument document, CancellationToken cancellation) =>
        document is { State: WorkflowState.Pending or WorkflowState.Approved, Bootstrap: false }
            ? _parts.Evidence.GoneAsync(document.Spec, document.Votes.Where(vote => vote.Approved).Select(vote => vote.Person).ToList(), cancellation)
            : ValueTask.FromResult<IReadOnlyList<string>>([]);

    private static IEnumerable<string> Executors(RequestDocument document, SessionEvidence session) =>
        document.Votes.Where(vote => vote.Approved && session.Guises.Contains(vote.Person, StringComparer.Ordinal)).Select(vote => vote.Person);

    /// <summary>Why what a request asks to extend can't be extended now; null where it can, or where it extends nothing.</summary>
    internal static async ValueTask<Refusal?> ExtensionRefusedAsync(IWorkflowHost workflows, RequestSpec spec, CancellationToken cancellation)
    {
        if (spec.Extends is null)
        {
            return null;
        }

        var answer = await workflows.AskAsync(spec.Extends, new ReadMessage(), cancellation);
        return answer.Document is not { } other
            ? answer.Refusal?.Code == RefusalCodes.Unknown
                ? new Refusal(RefusalCodes.NotExtendable, "There is no such request to extend.")
                : throw new PortUnavailableException("the request to extend can't be looked at")
            : RequestWorkflow.CheckExtension(other, spec.Requester.Person, spec.Connection, spec.Digest)
                ?? (Quorum.Covers(spec.AllOf, other.Spec.AllOf) && Eligibility.Covers(spec.Assurance, other.Spec.Assurance)
                    ? null
                    : new Refusal(RefusalCodes.NotExtendable, "An extension needs the agreement that the request itself needed."));
    }

    // Signed before the save: every later answer has the same bytes, until its time is extended.
    private RequestDocument Complete(RequestDocument document) => document.NeedsGrant ? document with { Grant = _parts.Signer.Sign(document) } : document;

    /// <summary>Tells the others, then the request that was extended.</summary>
    private sealed class Extending(RequestParts parts) : IEffects<RequestDocument, RequestEffect>
    {
        public async ValueTask<bool> RunAsync(RequestDocument document, IReadOnlyList<RequestEffect> effects, CancellationToken cancellation)
        {
            if (!await parts.Effects.RunAsync(document, effects, cancellation))
            {
                return false;
            }

            if (document.Spec.Extends is not { } other || !effects.Any(effect => effect.Action == Transitions.ExtensionApproved))
            {
                return true;
            }

            try
            {
                var answer = await parts.Workflows.AskAsync(other, new ExtendMessage(document.Grant!), cancellation);
                if (answer.Refusal is { Code: not RefusalCodes.Unavailable } refusal)
                {
                    // It ended, or was taken back, in between: there is nothing left to extend.
                    await parts.Reports.ReportAsync("request.extension-refused", document, refusal);
                }

                return answer.Refusal?.Code != RefusalCodes.Unavailable;
            }
            catch (PortUnavailableException)
            {
                return false;
            }
        }
    }
}

/// <summary>Messages to requests as objects.</summary>
internal static class WorkflowMessages
{
    /// <exception cref="PortUnavailableException">The request can't be reached.</exception>
    public static async ValueTask<ActorAnswer> AskAsync(this IWorkflowHost workflows, string request, RequestMessage message, CancellationToken cancellation)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(message, WorkflowJson.Options);
        var answer = await workflows.SendAsync(WorkflowTypes.Request, request, json, cancellation);
        return JsonSerializer.Deserialize<ActorAnswer>(answer.Span, WorkflowJson.Options) ?? throw new PortUnavailableException("a request gave no answer");
    }
}
