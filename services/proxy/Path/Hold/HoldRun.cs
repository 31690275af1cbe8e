using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Decide;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Path.Hold;

/// <summary>Steps 4 and 5 for one operation: ask, tell the client, wait, redeem. Holds no state beyond the operation's own.</summary>
internal sealed class HoldRun(PathSession session, IApprovals approvals, IDecider decider, TimeProvider clock)
{
    /// <summary>Longest list of operations in one request; a longer pipeline is asked for in several.</summary>
    internal const int MaxOperations = 100;

    /// <summary>Asks for approval, or attaches, and waits until somebody decided.</summary>
    /// <exception cref="OperationCanceledException">The client went away or the session ends; the request stays.</exception>
    public async ValueTask<HeldOperation> WaitAsync(
        Operation operation, UnderstoodOperation understood, Decision decision, IOperationPeer peer, CancellationToken cancellation)
    {
        var terms = decision.Terms ?? throw new InvalidOperationException("A decision that requires approval has terms.");
        var transaction = peer.Transaction;
        RequestView request;
        var attached = false;
        var first = 0;
        try
        {
            if (operation.Pending is null)
            {
                var batch = await GatherAsync(operation, understood, peer, cancellation).ConfigureAwait(false);
                if (transaction.Open && terms.RefuseInTransaction)
                {
                    // Nobody is asked while locks are held; what was approved ahead of time passes.
                    if (await AheadAsync(batch, cancellation).ConfigureAwait(false) is not { } ahead)
                    {
                        return HeldOperation.Refused(Refusals.InTransaction(decision));
                    }

                    request = ahead;
                    attached = true;
                    first = ahead.Redeemed;
                }
                else
                {
                    var created = await approvals.RequestAsync(await AskAsync(batch, decision, terms, transaction, peer, cancellation).ConfigureAwait(false), cancellation)
                        .ConfigureAwait(false);
                    request = created.Request;
                    attached = created.Attached;
                    first = created.Index;
                }

                // An attached one may be a list of which these are the next.
                if (!IsNext(request, first, batch))
                {
                    return HeldOperation.Refused(new Refusal(RefusalReason.Unavailable, $"{request.Id} is not for this.", Refusals.TryAgain));
                }

                for (var index = 0; index < batch.Count; index++)
                {
                    batch[index].Operation.Pending = new PendingApproval(request.Id, first + index, batch[index].Requested.Digest);
                }
            }
            else
            {
                // Asked for together with an earlier Bind of its pipeline, whose hold has ended.
                request = await approvals.WaitAsync(operation.Pending.Request, cancellation).ConfigureAwait(false);
            }
        }
        catch (ApprovalUnavailableException error)
        {
            return HeldOperation.Refused(new Refusal(RefusalReason.Unavailable, error.Message, Refusals.TryAgain));
        }

        if (request.State == RequestState.Pending)
        {
            await RecordAsync(operation, understood, attached ? "attached" : "began", cancellation).ConfigureAwait(false);
            var limit = transaction.Open ? terms.HoldInTransaction : (TimeSpan?)null;
            var waited = await MeasureAsync(WaitHeldAsync(operation, request, attached, limit, decision, peer, cancellation)).ConfigureAwait(false);
            await RecordAsync(operation, understood, waited.Phase, cancellation).ConfigureAwait(false);
            if (waited.Refusal is not null)
            {
                return HeldOperation.Refused(waited.Refusal);
            }

            request = waited.Request!;
        }

        return request.State == RequestState.Approved ? HeldOperation.Approved(request) : HeldOperation.Refused(Refusals.ByState(request));
    }

    /// <summary>Redeems what was approved, if the decision of now still lets it.</summary>
    public async ValueTask<RedeemedOperation> RedeemAsync(
        Operation operation, HeldOperation held, Decision now, IOperationPeer peer, CancellationToken cancellation)
    {
        if (now.Outcome == Outcome.Deny)
        {
            return RedeemedOperation.Refused(Refusals.ByPolicy(now));
        }

        // What approval shows spares a redemption that must fail; what counts is compared with the signed claims afterwards.
        if (held.Request!.BreakGlass ? now is { Outcome: Outcome.RequireApproval, Terms.BreakGlass: false } : !Terms.NoStricterThan(now, GrantTerms.Requirements(held.Request.AllOf)))
        {
            return RedeemedOperation.Refused(Refusals.StricterNow);
        }

        // What was approved is what runs: the context is read again, since an earlier operation of the same pipeline may have changed it.
        var identity = await peer.IdentifyAsync(operation, cancellation).ConfigureAwait(false);
        var pending = operation.Pending!;
        if (!string.Equals(OperationDigest.Compute(identity), pending.Digest, StringComparison.Ordinal))
        {
            return RedeemedOperation.Refused(Refusals.Changed);
        }

        var redeem = new RedeemRequest(pending.Index, pending.Digest, $"{session.Id}:{operation.Number}", session.Assertion);
        try
        {
            var expected = new RedemptionExpectation(session.Claims.Person, session.Connection, session.Database, now);
            return RedeemedOperation.Of(await approvals.RedeemAsync(pending.Request, redeem, expected, cancellation).ConfigureAwait(false));
        }
        catch (RedemptionRefusedException error)
        {
            return RedeemedOperation.Refused(new Refusal(RefusalReason.Approval, error.Message, Refusals.AskAgain));
        }
        catch (ApprovalUnavailableException error)
        {
            return RedeemedOperation.Refused(new Refusal(RefusalReason.Unavailable, error.Message, Refusals.TryAgain));
        }
    }

    /// <summary>
    /// The grant of an access window that the operation lies in: one that this session has opened, or one that the person has been granted and that is opened
    /// now, which starts its clock. Null where there is none, or where the session has another role or other settings than a fresh one, which nobody has
    /// approved: then it is held as usual.
    /// </summary>
    public async ValueTask<RedeemedGrant?> InWindowAsync(
        Operation operation, UnderstoodOperation understood, Decision decision, IOperationPeer peer, CancellationToken cancellation)
    {
        if (decision.Terms is not { LongestWindow: not null } || operation.Pending is not null || !understood.Facts.Complete)
        {
            return null;
        }

        if (session.Grants.Within(understood.Facts, decision, clock.GetUtcNow()) is { } open)
        {
            return await peer.IsInOwnContextAsync(operation, cancellation).ConfigureAwait(false) ? open : null;
        }

        var own = (bool?)null;
        try
        {
            foreach (var request in await approvals.ApprovedAsync(session.Assertion, cancellation).ConfigureAwait(false))
            {
                if (request is not { Kind: RequestKind.AccessWindow, Window: { } window, Operations: [_] } || request.Database != session.Database || !OpenWindow.Covers(window, understood.Facts)
                    || !Terms.NoStricterThan(decision, GrantTerms.Requirements(request.AllOf)))
                {
                    continue;
                }

                if (!(own ??= await peer.IsInOwnContextAsync(operation, cancellation).ConfigureAwait(false)))
                {
                    return null;
                }

                // Computed here, from where and who this session is: a window of another database is another window.
                var digest = AccessWindowDigest.Compute(session.Claims.Person, session.Connection, session.Database, window);
                var redeem = new RedeemRequest(0, digest, $"{session.Id}:window:{request.Id}", session.Assertion);
                var expected = new RedemptionExpectation(session.Claims.Person, session.Connection, session.Database, decision);
                try
                {
                    var opened = await approvals.OpenWindowAsync(request.Id, redeem, expected, cancellation).ConfigureAwait(false);
                    if (GrantVerifier.Within(opened, understood.Facts, decision, clock.GetUtcNow()) is { } grant)
                    {
                        session.Grants.Open(opened);
                        return grant;
                    }
                }
                catch (RedemptionRefusedException)
                {
                    // Over or revoked in this very moment: the next one, or it is held.
                }
            }
        }
        catch (ApprovalUnavailableException)
        {
            // Asking for an approval will say so.
        }

        return null;
    }

    /// <summary>Notes what is about to run, so that a revocation ends it.</summary>
    /// <returns>Why it may not run any more; null where it may.</returns>
    public Refusal? Begin(Operation operation, UnderstoodOperation understood, RedeemedGrant grant)
    {
        try
        {
            session.Grants.Begin(new GrantUse(session, operation, understood.Facts, grant));
            return null;
        }
        catch (RedemptionRefusedException error)
        {
            return new Refusal(RefusalReason.Approval, error.Message, Refusals.AskAgain);
        }
    }

    private async ValueTask<RequestView?> AheadAsync(List<AskedOperation> batch, CancellationToken cancellation) =>
        (await approvals.ApprovedAsync(session.Assertion, cancellation).ConfigureAwait(false))
            .FirstOrDefault(request => request is { Kind: RequestKind.Operation, State: RequestState.Approved } && IsNext(request, request.Redeemed, batch));

    private static bool IsNext(RequestView request, int first, List<AskedOperation> batch)
    {
        if (request.Kind != RequestKind.Operation || first < 0 || first + batch.Count > request.Operations.Count)
        {
            return false;
        }

        for (var index = 0; index < batch.Count; index++)
        {
            if (!string.Equals(request.Operations[first + index].Digest, batch[index].Requested.Digest, StringComparison.Ordinal))
            {
                return false;
            }
        }

        return true;
    }

    private async ValueTask<(RequestView? Request, Refusal? Refusal, string Phase)> MeasureAsync(
        ValueTask<(RequestView? Request, Refusal? Refusal, string Phase)> waiting)
    {
        var began = clock.GetTimestamp();
        var phase = "disconnected";
        PathTelemetry.HoldBegan();
        try
        {
            var waited = await waiting.ConfigureAwait(false);
            phase = waited.Phase;
            return waited;
        }
        finally
        {
            PathTelemetry.HoldEnded(clock.GetElapsedTime(began), phase);
        }
    }

    private async ValueTask<(RequestView? Request, Refusal? Refusal, string Phase)> WaitHeldAsync(
        Operation operation, RequestView request, bool attached, TimeSpan? limit, Decision decision, IOperationPeer peer, CancellationToken cancellation)
    {
        // The time counts from before the client is told: what it is told can't be later than what ends it.
        using var tooLong = limit is { } span ? new CancellationTokenSource(span, clock) : new CancellationTokenSource();
        var scope = await peer.HeldAsync(operation, request, attached, cancellation).ConfigureAwait(false);
        await using (scope.ConfigureAwait(false))
        {
            using var any = CancellationTokenSource.CreateLinkedTokenSource(cancellation, scope.Cancelled, scope.Disconnected, tooLong.Token);
            try
            {
                var decided = await approvals.WaitAsync(request.Id, scope.Progress, any.Token).ConfigureAwait(false);
                return (decided, null, Phases.Of(decided.State));
            }
            catch (OperationCanceledException) when (any.IsCancellationRequested)
            {
                if (scope.Cancelled.IsCancellationRequested)
                {
                    await approvals.WithdrawAsync(request.Id, session.Assertion, cancellation).ConfigureAwait(false);
                    return (null, Refusals.Cancelled(request), "cancelled");
                }

                if (scope.Disconnected.IsCancellationRequested || cancellation.IsCancellationRequested)
                {
                    await session.Recording.RecordHoldAsync(
                        new HoldEntry(operation.Number, request.Id, operation.Pending!.Digest, "", "disconnected"), CancellationToken.None).ConfigureAwait(false);
                    throw;
                }

                return (null, Refusals.InTransactionTooLong(decision, request), "refused");
            }
        }
    }

    private async ValueTask<List<AskedOperation>> GatherAsync(
        Operation first, UnderstoodOperation understood, IOperationPeer peer, CancellationToken cancellation)
    {
        var batch = new List<AskedOperation> { await AskForAsync(first, understood, peer, cancellation).ConfigureAwait(false) };
        foreach (var further in await peer.GatherAsync(cancellation).ConfigureAwait(false))
        {
            if (batch.Count == MaxOperations)
            {
                break;
            }

            var facts = await peer.UnderstandAsync(further, cancellation).ConfigureAwait(false);
            var (decision, _) = decider.Decide(session, facts, clock.GetUtcNow());
            if (decision.Outcome == Outcome.Deny)
            {
                // The server skips to the end of the pipeline after a refusal: nothing behind it will run.
                break;
            }

            if (decision.Outcome == Outcome.RequireApproval)
            {
                batch.Add(await AskForAsync(further, facts, peer, cancellation).ConfigureAwait(false) with { Decision = decision });
            }
        }

        return batch;
    }

    private static async ValueTask<AskedOperation> AskForAsync(
        Operation operation, UnderstoodOperation understood, IOperationPeer peer, CancellationToken cancellation)
    {
        var identity = await peer.IdentifyAsync(operation, cancellation).ConfigureAwait(false);
        var requested = new RequestedOperation(OperationDigest.Compute(identity), identity.Text, understood.RecordedParameters);
        return new AskedOperation(operation, requested, identity.Context, null);
    }

    private async ValueTask<CreateRequest> AskAsync(
        List<AskedOperation> batch, Decision decision, ApprovalTerms terms, TransactionView transaction, IOperationPeer peer, CancellationToken cancellation)
    {
        var decisions = batch.Select(asked => asked.Decision ?? decision).ToList();
        var all = decisions.Select(each => each.Terms ?? terms).ToList();
        return AskedTerms.Of(all) with
        {
            Kind = RequestKind.Operation,
            Assertion = session.Assertion,
            Connection = session.Connection,
            Database = session.Database,
            Operations = [.. batch.Select(asked => asked.Requested)],
            Rules = [.. decisions.SelectMany(RuleNames.Of).Distinct()],
            Message = decision.Message,
            BundleVersion = decision.BundleVersion,
            Context = batch[0].Context,
            Transaction = transaction.Statements,
            Impact = await peer.ForeseeAsync([.. batch.Select((asked, index) => new ForeseenOperation(asked.Operation, decisions[index]))], cancellation).ConfigureAwait(false),
        };
    }

    private ValueTask RecordAsync(Operation operation, UnderstoodOperation understood, string phase, CancellationToken cancellation) =>
        session.Recording.RecordHoldAsync(
            new HoldEntry(operation.Number, operation.Pending!.Request, operation.Pending.Digest, understood.RecordedText, phase), cancellation);

    private sealed record AskedOperation(
        Operation Operation, RequestedOperation Requested, IReadOnlyDictionary<string, string> Context, Decision? Decision);
}

/// <summary>Outcome of step 4: an approved request or a refusal.</summary>
internal sealed record HeldOperation(RequestView? Request, Refusal? Refusal)
{
    public static HeldOperation Approved(RequestView request) => new(request, null);

    public static HeldOperation Refused(Refusal refusal) => new(null, refusal);
}

/// <summary>Outcome of step 5: a redeemed grant or a refusal.</summary>
internal sealed record RedeemedOperation(RedeemedGrant? Grant, Refusal? Refusal)
{
    public static RedeemedOperation Of(RedeemedGrant grant) => new(grant, null);

    public static RedeemedOperation Refused(Refusal refusal) => new(null, refusal);
}
