using System.Diagnostics;
using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Path;

/// <summary>
/// The path of one operation, top to bottom: the order of steps is the product (docs/path.md). Pure of sockets: a protocol adapter is an
/// <see cref="IOperationPeer"/>. Anything that throws here ends the session; nothing is forwarded on an error.
/// </summary>
public sealed class OperationPath(IDecider decider, IApprovals approvals, TimeProvider clock)
{
    /// <summary>Takes one whole operation from its arrival to the target, or refuses it.</summary>
    /// <param name="session">The session it belongs to.</param>
    /// <param name="operation">1 Arrive: the adapter made it from a whole protocol message in a buffer of its own.</param>
    /// <param name="peer">The protocol adapter.</param>
    /// <param name="cancellation">Ends the session.</param>
    /// <returns>True where it was forwarded; then the adapter masks (8) and completes (9) when the target answers.</returns>
    public async ValueTask<bool> RunAsync(PathSession session, Operation operation, IOperationPeer peer, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(session);
        ArgumentNullException.ThrowIfNull(operation);
        ArgumentNullException.ThrowIfNull(peer);

        // 2 Understand: facts from a real grammar; what is not understood is incomplete, never harmless.
        var understood = await peer.UnderstandAsync(operation, cancellation).ConfigureAwait(false);

        // 3 Decide: here, against the current bundle. An error while deciding is a deny.
        var (decision, masking) = decider.Decide(session, understood, clock.GetUtcNow());
        using var span = decision.Outcome == Outcome.Allow ? null : PathTelemetry.Operation(session, operation, understood, decision);
        if (decision.Outcome == Outcome.Deny)
        {
            return await RefuseAsync(session, operation, understood, decision, Refusals.ByPolicy(decision), peer, span, cancellation).ConfigureAwait(false);
        }

        RedeemedGrant? grant = null;
        if (decision.Outcome == Outcome.RequireApproval)
        {
            var hold = new HoldRun(session, approvals, decider, clock);
            grant = await hold.InWindowAsync(operation, understood, decision, peer, cancellation).ConfigureAwait(false);
            if (grant is null)
            {
                // 4 Hold: the client is told and kept alive; the request outlives the wait.
                var held = await hold.WaitAsync(operation, understood, decision, peer, cancellation).ConfigureAwait(false);
                if (held.Refusal is { } refused)
                {
                    return await RefuseAsync(session, operation, understood, decision, refused, peer, span, cancellation).ConfigureAwait(false);
                }

                // 5 Redeem: decided again under the bundle of now, then once, at the workflow.
                (decision, masking) = decider.Decide(session, understood, clock.GetUtcNow());
                var redeemed = await hold.RedeemAsync(operation, held, decision, peer, cancellation).ConfigureAwait(false);
                if (redeemed.Refusal is { } late)
                {
                    return await RefuseAsync(session, operation, understood, decision, late, peer, span, cancellation).ConfigureAwait(false);
                }

                grant = redeemed.Grant;
            }

            // From here on a revocation ends it (I8), whatever it is doing.
            if (hold.Begin(operation, understood, grant!) is { } revoked)
            {
                return await RefuseAsync(session, operation, understood, decision, revoked, peer, span, cancellation).ConfigureAwait(false);
            }
        }

        // 6 Record: durable before any effect. Only what is certain to do nothing but read may overlap its execution with the write.
        var level = RecordLevels.For(decision, grant, understood.Facts);
        var receipt = session.Recording.Append(Entry(operation, understood, decision, grant, null), level);
        if (!receipt.IsDurable && (grant is not null || !RecordLevels.OnlyReads(understood.Facts)))
        {
            var began = PathTelemetry.RecordWaitBegins();
            await receipt.WaitAsync(cancellation).ConfigureAwait(false);
            PathTelemetry.RecordWaited(began);
        }

        // 7 Forward: the only place where a permit is made.
        session.Grants.ThrowIfEnding();
        var permit = new Permit(operation, decision, grant, receipt, masking);
        await peer.ForwardAsync(operation, permit, cancellation).ConfigureAwait(false);
        PathTelemetry.Forwarded(span, operation, understood, grant);

        // 8 Mask and 9 Complete follow in the adapter as results arrive: the permit carries the plan, the receipt guards the first byte.
        return true;
    }

    private static async ValueTask<bool> RefuseAsync(
        PathSession session, Operation operation, UnderstoodOperation understood, Decision decision, Refusal refusal, IOperationPeer peer,
        Activity? span, CancellationToken cancellation)
    {
        // A refusal is evidence too: the person is told only once it is recorded.
        var receipt = session.Recording.Append(Entry(operation, understood, decision, null, refusal), RecordLevel.Durable);
        await receipt.WaitAsync(cancellation).ConfigureAwait(false);
        await peer.RefuseAsync(operation, refusal, cancellation).ConfigureAwait(false);
        PathTelemetry.Refused(span, operation, understood, refusal);
        return false;
    }

    private static OperationEntry Entry(
        Operation operation, UnderstoodOperation understood, Decision decision, RedeemedGrant? grant, Refusal? refusal) => new()
        {
            Operation = operation.Number,
            Kind = operation.Kind,
            Text = understood.RecordedText,
            Parameters = understood.RecordedParameters,
            Decision = refusal is not null ? "deny" : grant is not null ? "approved" : "allow",
            BreakGlass = refusal is null && grant is { Claims.BreakGlass: true },
            Rules = RuleNames.Of(decision),
            BundleVersion = decision.BundleVersion,
            Message = refusal?.Message,
            Digest = grant?.Digest ?? operation.Pending?.Digest,
            Request = grant?.Claims.Request ?? operation.Pending?.Request,
            Grant = grant?.Claims.Id,
            Approvers = grant is null ? [] : [.. grant.Claims.Approvers.Select(approver => new RecordedApprover(approver.Person, approver.Name, DateTimeOffset.FromUnixTimeSeconds(approver.At)))],
        };
}
