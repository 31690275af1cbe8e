using System.Runtime.CompilerServices;
using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Path;

/// <summary>What people read when an operation does not pass. One place, so that every protocol says the same.</summary>
internal static class Refusals
{
    public const string TryAgain = "Nothing was run. Try again in a moment.";
    public const string AskAgain = "Nothing was run. Run it again to ask anew.";

    public static readonly Refusal StricterNow = new(
        RefusalReason.Approval, "The policy became stricter after this was approved.", "Nothing was run. Run it again to ask under the current policy.");

    public static readonly Refusal Changed = new(
        RefusalReason.Approval, "What would run now is not what was approved: its context changed.", AskAgain);

    public static Refusal ByPolicy(Decision decision) => new(
        RefusalReason.Policy,
        decision.Message.Length > 0 ? decision.Message : "Refused by policy.",
        decision.Hint.Length > 0 ? decision.Hint : "'countersign why' tells the rule and what would pass.");

    public static Refusal InTransaction(Decision decision) => new(
        RefusalReason.InTransaction,
        $"{Text(decision)} It needs approval, and the policy holds nothing within a transaction.",
        "Roll back and run it outside of a transaction, or have it approved ahead of time.");

    public static Refusal InTransactionTooLong(Decision decision, RequestView request) => new(
        RefusalReason.InTransaction,
        $"{Text(decision)} Nobody approved {request.Id} in the time that a transaction may wait.",
        "The request stays open: once it is approved, run the same again.");

    public static Refusal Cancelled(RequestView request) => new(
        RefusalReason.Cancelled, $"Cancelled while waiting for approval; {request.Id} was withdrawn.", "Nothing was run.");

    public static Refusal ByState(RequestView request)
    {
        var denial = request.Decisions.LastOrDefault(decision => !decision.Approved);
        return request.State switch
        {
            RequestState.Denied when denial is not null => new(
                RefusalReason.Approval,
                denial.Comment.Length > 0 ? $"{denial.Name} denied {request.Id}: {Within(denial.Comment)}" : $"{denial.Name} denied {request.Id}.",
                "Nothing was run."),
            RequestState.Expired => new(RefusalReason.Approval, $"{request.Id} expired before it was used.", AskAgain),
            RequestState.Cancelled => new(RefusalReason.Cancelled, $"{request.Id} was withdrawn.", "Nothing was run."),
            RequestState.Revoked => new(RefusalReason.Approval, $"The approval of {request.Id} was revoked.", AskAgain),
            RequestState.Consumed => new(RefusalReason.Approval, $"{request.Id} was already used.", AskAgain),
            _ => new(RefusalReason.Approval, $"{request.Id} was not approved.", AskAgain),
        };
    }

    // Indented, so that no line of a comment looks like one of ours.
    private static string Within(string text) => text.Replace("\n", "\n    ", StringComparison.Ordinal);

    private static string Text(Decision decision) => decision.Message.Length > 0 ? decision.Message : "Held by policy.";
}

/// <summary>Phases of a hold as they are recorded.</summary>
internal static class Phases
{
    public static string Of(RequestState state) => state switch
    {
        RequestState.Approved => "approved",
        RequestState.Denied => "denied",
        RequestState.Expired => "expired",
        RequestState.Cancelled => "cancelled",
        _ => "refused",
    };
}

/// <summary>Rules as they are recorded and shown: <c>policy/rule</c>, without those that only shadow.</summary>
internal static class RuleNames
{
    // Decisions are kept and shared by all operations of one kind in a session.
    private static readonly ConditionalWeakTable<Decision, IReadOnlyList<string>> Known = [];

    public static IReadOnlyList<string> Of(Decision decision) => decision.Rules.Count == 0 ? [] : Known.GetValue(decision, Make);

    private static string[] Make(Decision decision) =>
        [.. decision.Rules.Where(rule => !rule.Shadow).Select(rule => $"{rule.Policy}/{rule.Rule}").Distinct()];
}
