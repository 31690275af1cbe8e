using System.Text.Json.Serialization;
using Countersign.Approval.Workflow;

namespace Countersign.Approval.Actors;

/// <summary>Types of workflows, as <see cref="IWorkflowHost"/> addresses them.</summary>
public static class WorkflowTypes
{
    /// <summary>One approval request; its id is the request's.</summary>
    public const string Request = "request";
    /// <summary>One person as requester; its id is the person's.</summary>
    public const string Requester = "requester";
}

/// <summary>Reaches a workflow, wherever it lives. Orleans in one process, Dapr actors in several.</summary>
public interface IWorkflowHost
{
    /// <summary>Sends one message and waits for the answer. Turns of one workflow don't overlap.</summary>
    /// <param name="type">One of <see cref="WorkflowTypes"/>.</param>
    /// <param name="id">Id of the workflow.</param>
    /// <param name="message">JSON of a <see cref="RequestMessage"/> or <see cref="RequesterMessage"/>; the empty message only wakes it.</param>
    /// <param name="cancellation">Ends the wait, not the turn.</param>
    /// <returns>JSON of an <see cref="ActorAnswer"/>.</returns>
    /// <exception cref="Platform.Ports.PortUnavailableException">It can't be reached, or did not answer in time.</exception>
    ValueTask<ReadOnlyMemory<byte>> SendAsync(string type, string id, ReadOnlyMemory<byte> message, CancellationToken cancellation);
}

/// <summary>A message to a request. It carries its own evidence, since whoever can reach an actor can send it anything.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "type")]
[JsonDerivedType(typeof(OpenMessage), "open")]
[JsonDerivedType(typeof(DecideMessage), "decide")]
[JsonDerivedType(typeof(ExplainMessage), "explain")]
[JsonDerivedType(typeof(WithdrawMessage), "withdraw")]
[JsonDerivedType(typeof(RedeemMessage), "redeem")]
[JsonDerivedType(typeof(RevokeMessage), "revoke")]
[JsonDerivedType(typeof(ReadMessage), "read")]
[JsonDerivedType(typeof(ObserveMessage), "observe")]
[JsonDerivedType(typeof(BreakGlassMessage), "break-glass")]
[JsonDerivedType(typeof(ReviewMessage), "review")]
[JsonDerivedType(typeof(ExtendMessage), "extend")]
public abstract record RequestMessage
{
    /// <summary>Never prints tokens.</summary>
    public sealed override string ToString() => GetType().Name;
}

/// <summary>Opens it; sent by the requester's actor, which has verified who asks.</summary>
/// <param name="Spec">What is asked for.</param>
/// <param name="Seal">Approval's own signature over it: nobody else opens requests, in whoever's name.</param>
public sealed record OpenMessage(RequestSpec Spec, string Seal) : RequestMessage;

/// <summary>Approves or denies it.</summary>
/// <param name="Approve">False to deny.</param>
/// <param name="Digest">What the person was shown.</param>
/// <param name="Comment">May be empty.</param>
/// <param name="Token">The person's own access token for approval.</param>
public sealed record DecideMessage(bool Approve, string Digest, string Comment, string Token) : RequestMessage;

/// <summary>Supplies the reason.</summary>
public sealed record ExplainMessage(string Reason, string Token) : RequestMessage;

/// <summary>Withdraws it.</summary>
/// <param name="Token">The requester's access token, or null.</param>
/// <param name="Assertion">A session assertion of the requester, or null.</param>
public sealed record WithdrawMessage(string? Token, string? Assertion) : RequestMessage;

/// <summary>Redeems one operation.</summary>
/// <param name="Index">Which.</param>
/// <param name="Digest">Its digest.</param>
/// <param name="RedemptionId">Id of the attempt.</param>
/// <param name="Assertion">Session assertion of the executor; nothing for a control request.</param>
/// <param name="ServiceToken">The calling service's own token for approval.</param>
public sealed record RedeemMessage(int Index, string Digest, string RedemptionId, string Assertion, string ServiceToken) : RequestMessage;

/// <summary>Takes an approval back.</summary>
public sealed record RevokeMessage(string Comment, string Token) : RequestMessage;

/// <summary>Goes ahead alone.</summary>
/// <param name="Digest">What the person was shown.</param>
/// <param name="Reason">Why.</param>
/// <param name="Token">The requester's own access token for approval.</param>
public sealed record BreakGlassMessage(string Digest, string Reason, string Token) : RequestMessage;

/// <summary>Closes the review.</summary>
/// <param name="Digest">What the person was shown.</param>
/// <param name="Justified">What they found.</param>
/// <param name="Comment">What they say to it.</param>
/// <param name="Token">The person's own access token for approval.</param>
public sealed record ReviewMessage(string Digest, bool Justified, string Comment, string Token) : RequestMessage;

/// <summary>Gives more time.</summary>
/// <param name="Grant">Grant of the extension, which proves that it was approved.</param>
public sealed record ExtendMessage(string Grant) : RequestMessage;

/// <summary>Only looks.</summary>
public sealed record ReadMessage : RequestMessage;

/// <summary>Looks at what a requester's actor needs: the answer has an <see cref="Observation"/> instead of the whole document.</summary>
public sealed record ObserveMessage : RequestMessage;

/// <summary>A message to a requester.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "type")]
[JsonDerivedType(typeof(AskMessage), "ask")]
public abstract record RequesterMessage
{
    /// <summary>Never prints tokens.</summary>
    public sealed override string ToString() => GetType().Name;
}

/// <summary>Asks for an approval.</summary>
/// <param name="Spec">What is asked for; its requester is replaced by what the assertion says.</param>
/// <param name="Assertion">Session assertion, or the requester's own token for a control request.</param>
public sealed record AskMessage(RequestSpec Spec, string Assertion) : RequesterMessage;

/// <summary>Answer of an actor.</summary>
/// <param name="Document">The request; null where there is none.</param>
/// <param name="Refusal">Why nothing was done; null where it was.</param>
/// <param name="Fresh">True where this message did it, false where it repeated an earlier one or attached.</param>
/// <param name="At">The workflow's clock.</param>
public sealed record ActorAnswer(RequestDocument? Document, Refusal? Refusal, bool Fresh, DateTimeOffset At)
{
    /// <summary>Which of the request's operations comes first of those that were asked for.</summary>
    public int Index { get; init; }

    /// <summary>Answer to <see cref="ObserveMessage"/>.</summary>
    public Observation? Observation { get; init; }
}
