using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Approval.Actors;
using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host;

/// <summary>What the REST API and the page do, behind both: sends the caller's evidence to the workflow, and reports what was refused.</summary>
internal sealed class RequestService(
    IWorkflowHost workflows, RequestViews views, RequestEvents events, TokenEvidence evidence, Directory directory, RequestLists lists)
{
    private const string IdPrefix = "apr_";
    private const int IdLength = 26;
    private const string Base32 = "abcdefghijklmnopqrstuvwxyz234567";
    private static readonly SearchValues<char> Base32Values = SearchValues.Create(Base32);
    private const int MaxComment = 4000;

    /// <summary>Whether this can be the id of a request at all.</summary>
    public static bool IsId(string id) =>
        id.Length == IdPrefix.Length + IdLength && id.StartsWith(IdPrefix, StringComparison.Ordinal) && id.AsSpan(IdPrefix.Length).IndexOfAnyExcept(Base32Values) < 0;

    public async Task<CreateRequestResult> CreateAsync(Caller caller, CreateRequest request, CancellationToken cancellation)
    {
        const string Action = "request.refused";
        var service = caller.Service!;
        var person = "";
        try
        {
            CreateRequestCheck.Check(request, service);
            var spec = CreateRequestCheck.Spec(request, service, IdPrefix + RandomNumberGenerator.GetString(Base32, IdLength));
            // Says only which actor to ask: that one verifies the assertion itself.
            person = await evidence.AskerPersonAsync(spec, request.Assertion, cancellation);
            var answer = await SendAsync(WorkflowTypes.Requester, person, new AskMessage(spec, request.Assertion) as RequesterMessage, cancellation);
            return answer is { Refusal: null, Document: { } document }
                ? new CreateRequestResult(views.Of(document, answer.At, service), !answer.Fresh, answer.Index)
                : throw new RefusalException(answer.Refusal!);
        }
        catch (EvidenceRejectedException error)
        {
            await events.RefusedAsync(Action, person, "", request.Connection, RefusalCodes.TokenRejected);
            throw new ProblemException(401, RefusalCodes.TokenRejected, error.Message);
        }
        catch (ProblemException problem)
        {
            await events.RefusedAsync(Action, person, "", request.Connection, problem.Code);
            throw;
        }
        catch (RefusalException refused) when (refused.Refusal.Code != RefusalCodes.Unavailable)
        {
            await events.RefusedAsync(Action, person, "", request.Connection, refused.Refusal.Code);
            throw;
        }
    }

    public Task<RequestView> DecideAsync(Caller caller, string id, bool approve, DecideRequest decide, CancellationToken cancellation) => CommandAsync(
        "request.decision-refused", caller, id, () => new DecideMessage(approve, decide.Digest ?? "", Comment(decide.Comment), caller.Token), cancellation);

    public Task<RequestView> ExplainAsync(Caller caller, string id, ExplainRequest explain, CancellationToken cancellation) =>
        CommandAsync("request.reason-refused", caller, id, () => new ExplainMessage(Comment(explain.Reason), caller.Token), cancellation);

    public Task<RequestView> WithdrawAsync(Caller caller, string id, WithdrawRequest? withdraw, CancellationToken cancellation) => CommandAsync(
        "request.withdrawal-refused", caller, id,
        () => caller.Service is null ? new WithdrawMessage(caller.Token, null) : new WithdrawMessage(null, withdraw?.Assertion ?? ""), cancellation);

    public Task<RequestView> RevokeAsync(Caller caller, string id, RevokeRequest? revoke, CancellationToken cancellation) =>
        CommandAsync("request.revocation-refused", caller, id, () => new RevokeMessage(Comment(revoke?.Comment), caller.Token), cancellation);

    public Task<RequestView> BreakGlassAsync(Caller caller, string id, BreakGlassRequest alone, CancellationToken cancellation) =>
        CommandAsync("request.break-glass-refused", caller, id, () => new BreakGlassMessage(alone.Digest ?? "", Comment(alone.Reason), caller.Token), cancellation);

    public Task<RequestView> ReviewAsync(Caller caller, string id, ReviewRequest review, CancellationToken cancellation) => CommandAsync(
        "request.review-refused", caller, id, () => new ReviewMessage(review.Digest ?? "", review.Justified, Comment(review.Comment), caller.Token), cancellation);

    public async Task<RedeemResult> RedeemAsync(Caller caller, string id, RedeemRequest redeem, CancellationToken cancellation)
    {
        var answer = await SendAsync(
            "request.redemption-refused", caller, id,
            () => redeem.RedemptionId is { Length: > 0 and <= 200 }
                ? new RedeemMessage(redeem.Index, redeem.Digest ?? "", redeem.RedemptionId, redeem.Assertion ?? "", caller.Token)
                : throw new ProblemException(400, RefusalCodes.Invalid, "redemptionId: 1 to 200 characters"),
            cancellation);
        return new RedeemResult(answer.Document!.Grant ?? throw new ProblemException("The request has no grant."));
    }

    public async Task<IReadOnlyList<RequestView>> UsableAsync(Caller caller, UsableRequests usable, CancellationToken cancellation)
    {
        try
        {
            return await lists.UsableAsync(usable.Assertion ?? "", caller.Service!, cancellation);
        }
        catch (EvidenceRejectedException error)
        {
            await events.RefusedAsync("request.read-refused", "", "", "", RefusalCodes.TokenRejected);
            throw new ProblemException(401, RefusalCodes.TokenRejected, error.Message);
        }
    }

    public async Task<RequestView> GetAsync(Caller caller, string id, CancellationToken cancellation)
    {
        var (document, at, sight) = await SeeAsync(caller, id, cancellation);
        return await ViewAsync(caller, document, at, sight, cancellation);
    }

    /// <summary>The request as this person sees it, its document, and why they may not decide it (null where they may).</summary>
    public async Task<(RequestView View, RequestDocument Document, Refusal? Refusal)> LookAsync(Caller caller, string id, CancellationToken cancellation)
    {
        var (document, at, sight) = await SeeAsync(caller, id, cancellation);
        var view = await ViewAsync(caller, document, at, sight, cancellation);
        try
        {
            var by = await evidence.DeciderAsync(document.Spec, caller.Token, groups: true, cancellation);
            return (view, document, Eligibility.Check(document, by, at));
        }
        catch (EvidenceRejectedException error)
        {
            return (view, document, new Refusal(RefusalCodes.TokenRejected, error.Message));
        }
    }

    public async ValueTask<ActorAnswer> ReadAsync(string id, CancellationToken cancellation) => IsId(id)
        ? await SendAsync(WorkflowTypes.Request, id, new ReadMessage() as RequestMessage, cancellation) is { } answer && answer.Refusal?.Code != RefusalCodes.Unavailable
            ? answer
            : throw new PortUnavailableException("the request can't be read now")
        : new ActorAnswer(null, new Refusal(RefusalCodes.Unknown, "There is no such request."), false, default);

    /// <summary>How much of a request somebody sees.</summary>
    private enum Sight
    {
        /// <summary>Not that it is there.</summary>
        None,
        /// <summary>All but what was found out about the target's data: whose request it is, in any guise, and services.</summary>
        Own,
        /// <summary>All of it.</summary>
        Judges,
    }

    private async Task<RequestView> ViewAsync(Caller caller, RequestDocument document, DateTimeOffset at, Sight sight, CancellationToken cancellation) => views.Of(
        document, at, caller.Service, caller.Service is null ? await lists.EarlierAsync(document, cancellation) : null, judges: sight == Sight.Judges);

    private async Task<(RequestDocument Document, DateTimeOffset At, Sight Sight)> SeeAsync(Caller caller, string id, CancellationToken cancellation)
    {
        var answer = await ReadAsync(id, cancellation);
        if (answer.Document is { } document && await SightAsync(caller, document, cancellation) is var sight and not Sight.None)
        {
            return (document, answer.At, sight);
        }

        // The same answer for both: an id can't be probed.
        await events.RefusedAsync("request.read-refused", caller.Person?.Person ?? "", caller.Person?.Name ?? "", id, RefusalCodes.Unknown);
        throw new RefusalException(new Refusal(RefusalCodes.Unknown, "There is no such request."));
    }

    private async Task<Sight> SightAsync(Caller caller, RequestDocument document, CancellationToken cancellation)
    {
        var spec = document.Spec;
        if (caller.Service is { } service)
        {
            return service == spec.AskedBy ? Sight.Own : Sight.None;
        }

        var person = caller.Person!;
        if (person.Person == spec.Requester.Person)
        {
            return Sight.Own;
        }

        if (await directory.StandingAsync(person.Person, cancellation) is not { Disabled: false } standing)
        {
            return Sight.None;
        }

        var by = TokenEvidence.Describe(spec, standing, person, await evidence.RequesterStandingAsync(spec, cancellation), []);
        return Eligibility.CheckOther(document, by) is null ? Sight.Judges
            : standing.Enrolled || standing.SameAs.Contains(spec.Requester.Person, StringComparer.Ordinal) ? Sight.Own
            : Sight.None;
    }

    private async Task<RequestView> CommandAsync(string action, Caller caller, string id, Func<RequestMessage> message, CancellationToken cancellation)
    {
        var answer = await SendAsync(action, caller, id, message, cancellation);
        return views.Of(answer.Document!, answer.At, caller.Service);
    }

    private async Task<ActorAnswer> SendAsync(string action, Caller caller, string id, Func<RequestMessage> make, CancellationToken cancellation)
    {
        RequestMessage? message = null;
        ActorAnswer answer;
        try
        {
            message = make();
            answer = IsId(id)
                ? await SendAsync(WorkflowTypes.Request, id, message, cancellation)
                : new ActorAnswer(null, new Refusal(RefusalCodes.Unknown, "There is no such request."), false, default);
        }
        catch (ProblemException problem)
        {
            await RefusedAsync(action, caller, id, problem.Code, message);
            throw;
        }

        if (answer.Refusal is not { } refusal)
        {
            return answer;
        }

        if (refusal.Code != RefusalCodes.Unavailable)
        {
            await RefusedAsync(action, caller, id, refusal.Code, message);
        }

        throw new RefusalException(refusal);
    }

    private async ValueTask RefusedAsync(string action, Caller caller, string id, string code, RequestMessage? message)
    {
        var (person, name) = (caller.Person?.Person ?? "", caller.Person?.Name ?? "");
        var assertion = message switch
        {
            RedeemMessage redeem => redeem.Assertion,
            WithdrawMessage withdraw => withdraw.Assertion,
            _ => null,
        };
        if (assertion is { Length: > 0 })
        {
            try
            {
                // A service asked, but for somebody: where that is known it is said.
                var session = await evidence.SessionAsync(assertion, CancellationToken.None);
                (person, name) = (session.Person, session.Name);
            }
            catch (EvidenceRejectedException)
            {
                // Then nobody knows who it was.
            }
        }

        var attempt = message is DecideMessage decide ? (decide.Approve ? "approve" : "deny") : "";
        await events.RefusedAsync(
            action, person, name, id.Length <= 64 ? id : "", code,
            new Dictionary<string, string> { ["caller"] = caller.Service ?? "person", ["attempt"] = attempt });
    }

    private async ValueTask<ActorAnswer> SendAsync<TMessage>(string type, string id, TMessage message, CancellationToken cancellation)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(message, WorkflowJson.Options);
        var answer = await workflows.SendAsync(type, id, json, cancellation);
        return JsonSerializer.Deserialize<ActorAnswer>(answer.Span, WorkflowJson.Options) ?? throw new PortUnavailableException("a workflow gave no answer");
    }

    private static string Comment(string? comment) => comment is null
        ? ""
        : comment.Length <= MaxComment ? comment.Trim() : throw new ProblemException(400, RefusalCodes.Invalid, $"comment: more than {MaxComment} characters");
}
