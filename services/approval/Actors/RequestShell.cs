using System.Text.Json;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Actors;

/// <summary>What the shells of requests need beside their host.</summary>
public sealed record RequestParts(
    IEvidence Evidence, IGrantSigner Signer, IEffects<RequestDocument, RequestEffect> Effects, TimeProvider Clock);

/// <summary>One request behind one envelope method: verifies the evidence of a message, makes a command of it, runs it. A grain or actor only hosts it.</summary>
public sealed class RequestShell
{
    private readonly RequestParts _parts;
    private readonly WorkflowRunner<RequestDocument, RequestCommand, RequestEffect> _runner;

    /// <summary>A shell over a host.</summary>
    public RequestShell(IRunnerHost<RequestDocument> host, RequestParts parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        _parts = parts;
        _runner = new(new RequestWorkflow(), host, parts.Effects, new Wake(), parts.Clock, Complete);
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
            return new ActorAnswer(step.Document, step.Refusal, step.Fresh, Now);
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
                return new Open(open.Spec.Id, open.Spec);
            case DecideMessage decide:
                var by = await _parts.Evidence.DeciderAsync(document!.Spec, decide.Token, cancellation);
                return decide.Approve
                    ? new Approve("", by with { Gone = await GoneAsync(document, cancellation) }, decide.Digest, decide.Comment)
                    : new Deny("", by, decide.Digest, decide.Comment);
            case ExplainMessage explain:
                return new Explain("", await _parts.Evidence.PersonAsync(explain.Token, cancellation), explain.Reason);
            case WithdrawMessage { Token: { } token }:
                return new Withdraw("", await _parts.Evidence.PersonAsync(token, cancellation));
            case WithdrawMessage { Assertion: { } assertion }:
                return new Withdraw("", (await _parts.Evidence.SessionAsync(assertion, cancellation)).Person);
            case RedeemMessage redeem when document!.Spec.IsControl:
                return new Redeem(redeem.RedemptionId, redeem.Service, "", "", redeem.Index, redeem.Digest) { Gone = await GoneAsync(document, cancellation) };
            case RedeemMessage redeem:
                var session = await _parts.Evidence.SessionAsync(redeem.Assertion, cancellation);
                return new Redeem(redeem.RedemptionId, redeem.Service, session.Person, session.Connection, redeem.Index, redeem.Digest)
                {
                    Gone = await GoneAsync(document, cancellation),
                };
            case RevokeMessage revoke:
                return new Revoke("", await _parts.Evidence.DeciderAsync(document!.Spec, revoke.Token, cancellation), revoke.Comment);
            case ReadMessage:
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

    // Signed before the save, once: every later answer has the same bytes.
    private RequestDocument Complete(RequestDocument document) =>
        document is { State: WorkflowState.Approved, Grant: null } ? document with { Grant = _parts.Signer.Sign(document) } : document;
}
