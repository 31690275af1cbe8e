using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Path.Decide;

/// <summary>Decides with the policy engine, in process, and makes the answer stricter where the masking could be got around.</summary>
public sealed class Decider(IBundleSource bundles) : IDecider
{
    /// <inheritdoc/>
    public (Decision Decision, MaskPlan Masking) Decide(PathSession session, UnderstoodOperation understood, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(session);
        ArgumentNullException.ThrowIfNull(understood);
        if (bundles.Current is not { } bundle)
        {
            return (Denied(0, "The gateway has no policy yet.", "Try again in a moment."), MaskPlan.None);
        }

        if (!session.Decisions.TryGet(bundle, understood.Facts, out var decision))
        {
            var result = bundle.Engine.Evaluate(new DecisionInput
            {
                Principal = session.Principal,
                Connection = session.Connection,
                Database = session.Database,
                Facts = understood.Facts,
                ClientAddress = session.ClientAddress,
                Now = now,
            });
            decision = result.Decision;
            if (result.Cacheable)
            {
                session.Decisions.Add(understood.Facts, decision);
            }
        }

        if (decision.Outcome == Outcome.Deny)
        {
            return (decision, MaskPlan.None);
        }

        try
        {
            var plan = understood.Masking.Plan(decision.Obligations);
            return (WithMasking(decision, plan), plan);
        }
#pragma warning disable CA1031 // I4: an error while deciding is a deny, whatever the error.
        catch (Exception error)
#pragma warning restore CA1031
        {
            return (Denied(bundle.Version, $"The masking can't be planned and so the operation is denied ({error.GetType().Name}).", "Tell the owners of the policies."), MaskPlan.None);
        }
    }

    private static Decision WithMasking(Decision decision, MaskPlan plan)
    {
        if (plan.IsNone)
        {
            return decision;
        }

        if (plan.Unmaskable is { } unmaskable)
        {
            return Stricter(decision, Outcome.Deny, "masking", $"This can't be shown with its masks: {unmaskable}.", "Ask for less, without what is named.");
        }

        if (plan.Launders is { } launders)
        {
            decision = Stricter(
                decision, decision.Obligations.Laundering, "masking", $"This would carry a masked value to where no mask applies: {launders}.",
                "Leave the masked columns out.");
        }

        if (plan.FiltersOn is { } filters)
        {
            var answer = decision.Obligations.FilterOnMasked switch
            {
                FilterOnMasked.Allow => Outcome.Allow,
                FilterOnMasked.RequireApproval => Outcome.RequireApproval,
                _ => Outcome.Deny,
            };
            decision = Stricter(
                decision, answer, "filter-on-masked", $"This filters, sorts or joins on a masked column, which would tell its values: {filters}.",
                "Leave the masked columns out of WHERE, JOIN, GROUP BY and ORDER BY.");
        }

        return decision;
    }

    private static Decision Stricter(Decision decision, Outcome answer, string rule, string message, string hint)
    {
        // A hold needs somebody to ask: without terms there is nobody, so it is refused.
        var terms = decision.Terms ?? decision.Obligations.MaskingTerms;
        var outcome = answer == Outcome.RequireApproval && terms is null ? Outcome.Deny : answer;
        return outcome <= decision.Outcome
            ? decision
            : decision with
            {
                Outcome = outcome,
                Message = message,
                Hint = hint,
                Rules = [new RuleHit("masking", rule, outcome, -1, message), .. decision.Rules],
                Terms = outcome == Outcome.RequireApproval ? terms : null,
            };
    }

    private static Decision Denied(long version, string message, string hint) => new()
    {
        Outcome = Outcome.Deny,
        BundleVersion = version,
        Message = message,
        Hint = hint,
    };
}
