using System.Text.Json;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Actors;

/// <summary>
/// One person as requester behind one envelope method. It asks the requests of the person how they stand and never the other way round, so
/// that two actors can't wait for each other.
/// </summary>
public sealed class RequesterShell
{
    private readonly string _person;
    private readonly IWorkflowHost _workflows;
    private readonly IEvidence _evidence;
    private readonly TimeProvider _clock;
    private readonly IOpenRequests? _open;
    private readonly int _most;
    private readonly WorkflowRunner<RequesterDocument, RequesterCommand, OpenEffect> _runner;

    /// <summary>A shell over a host.</summary>
    public RequesterShell(string person, IRunnerHost<RequesterDocument> host, RequestParts parts, RequesterLimits limits)
    {
        ArgumentNullException.ThrowIfNull(parts);
        ArgumentNullException.ThrowIfNull(limits);
        _person = person;
        _workflows = parts.Workflows;
        _evidence = parts.Evidence;
        _clock = parts.Clock;
        _open = parts.Open;
        _most = limits.MaxPending;
        _runner = new(new RequesterWorkflow(limits), new SealedHost<RequesterDocument>(WorkflowTypes.Requester, person, host, parts), new Opening(parts), new Nudge(), parts.Clock);
    }

    /// <summary>Whether <see cref="TidyAsync"/> has something to do.</summary>
    public bool Untidy => _runner.Untidy;

    /// <summary>Handles one message.</summary>
    /// <param name="message">JSON of a <see cref="RequesterMessage"/>; empty for a wake-up.</param>
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
        try
        {
            if (message.IsEmpty)
            {
                await _runner.WakeAsync(cancellation);
                return new ActorAnswer(null, null, false, _clock.GetUtcNow());
            }

            return JsonSerializer.Deserialize<RequesterMessage>(message.Span, WorkflowJson.Options) is AskMessage ask
                ? await AskAsync(ask, cancellation)
                : Refuse(RefusalCodes.Invalid, "The message is malformed.");
        }
        catch (EvidenceRejectedException error)
        {
            return Refuse(RefusalCodes.TokenRejected, error.Message);
        }
        catch (JsonException)
        {
            return Refuse(RefusalCodes.Invalid, "The message is malformed.");
        }
        catch (Exception error) when (error is PortUnavailableException or WorkflowConflictException)
        {
            return Refuse(RefusalCodes.Unavailable, $"Nothing can be asked for now: {error.Message}.");
        }
    }

    private async ValueTask<ActorAnswer> AskAsync(AskMessage ask, CancellationToken cancellation)
    {
        var requester = await _evidence.RequesterAsync(ask.Spec, ask.Assertion, cancellation);
        if (requester.Person != _person)
        {
            return Refuse(RefusalCodes.TokenRejected, "The assertion is somebody else's.");
        }

        var spec = ask.Spec with { Requester = requester };
        // Opens what a crash left unopened, before it is looked at.
        var document = await _runner.ReadAsync(cancellation);
        if (document is not null && !_runner.IsDone(document))
        {
            throw new PortUnavailableException("an earlier request could not be opened yet");
        }

        var observed = await ObserveAsync(document?.Entries ?? [], cancellation);
        var refused = await RequestShell.ExtensionRefusedAsync(_workflows, spec, cancellation);
        var step = await _runner.ExecuteAsync(new Ask(spec, observed) { ExtensionRefused = refused, PendingElsewhere = await ElsewhereAsync(requester, cancellation) }, cancellation);
        if (step.Refusal is { } refusal)
        {
            return new ActorAnswer(null, refusal, false, _clock.GetUtcNow());
        }

        if (!_runner.IsDone(step.Document!))
        {
            throw new PortUnavailableException("the request could not be opened yet");
        }

        var found = step.Fresh ? new Attachment(spec.Id, 0) : RequesterWorkflow.Find(step.Document!, spec, observed)!;
        var answer = await _workflows.AskAsync(found.Request, new ReadMessage(), cancellation);
        return answer with { Fresh = step.Fresh, Index = found.Index };
    }

    // Linked accounts, accounts that one owns, owners of an account: all of them wear out the same approvers for the same human. Two that ask in the same instant may not
    // see one another; each of them still has its own limit.
    private async ValueTask<int> ElsewhereAsync(SpecRequester requester, CancellationToken cancellation)
    {
        var pending = 0;
        foreach (var request in _open?.Pending(requester.SameAs.Where(person => person != requester.Person), _most) ?? [])
        {
            // The list may be late; the request itself is not.
            pending += (await _workflows.AskAsync(request, new ObserveMessage(), cancellation)).Observation is { State: WorkflowState.Pending } ? 1 : 0;
        }

        return pending;
    }

    private async ValueTask<List<Observation>> ObserveAsync(IReadOnlyList<RequesterEntry> entries, CancellationToken cancellation)
    {
        var observed = new List<Observation>(entries.Count);
        foreach (var entry in entries)
        {
            var answer = await _workflows.AskAsync(entry.Request, new ObserveMessage(), cancellation);
            if (answer.Observation is { } observation)
            {
                observed.Add(observation);
            }
            else if (answer.Refusal?.Code != RefusalCodes.Unknown)
            {
                // Not knowing is not the same as gone: forgetting it would open the same request twice.
                throw new PortUnavailableException("an earlier request can't be looked at");
            }
        }

        return observed;
    }

    private ActorAnswer Refuse(string code, string message) => new(null, new Refusal(code, message), false, _clock.GetUtcNow());

    private sealed class Opening(RequestParts parts) : IEffects<RequesterDocument, OpenEffect>
    {
        public async ValueTask<bool> RunAsync(RequesterDocument document, IReadOnlyList<OpenEffect> effects, CancellationToken cancellation)
        {
            try
            {
                foreach (var effect in effects)
                {
                    var answer = await parts.Workflows.AskAsync(effect.Spec.Id, new OpenMessage(effect.Spec, parts.Signer.Seal(effect.Spec)), cancellation);
                    if (answer.Refusal is not null)
                    {
                        return false;
                    }
                }

                return true;
            }
            catch (PortUnavailableException)
            {
                return false;
            }
        }
    }
}
