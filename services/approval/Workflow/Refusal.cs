namespace Countersign.Approval.Workflow;

/// <summary>Why a command was refused. Nothing was changed.</summary>
/// <param name="Code">One of <see cref="RefusalCodes"/>; stable, programs branch on it.</param>
/// <param name="Message">For the person.</param>
/// <param name="RetryAfter">When trying again makes sense; null where it doesn't.</param>
public sealed record Refusal(string Code, string Message, TimeSpan? RetryAfter = null)
{
    /// <summary>The assurance that a new login must have; null where that isn't the reason.</summary>
    public SpecAssurance? Assurance { get; init; }
}

/// <summary>Codes of refusals.</summary>
public static class RefusalCodes
{
    /// <summary>The approver is the requester or executor in some guise (invariant I2).</summary>
    public const string SelfApproval = "self-approval";
    /// <summary>The approver is not enrolled.</summary>
    public const string NotEnrolled = "not-enrolled";
    /// <summary>The person was disabled.</summary>
    public const string PersonDisabled = "person-disabled";
    /// <summary>The approver is in none of the groups that are asked.</summary>
    public const string NotInGroup = "not-in-group";
    /// <summary>The person has approved it already under another account, and counts once.</summary>
    public const string AlreadyCounted = "already-counted";
    /// <summary>The digest is not the one of the request.</summary>
    public const string DigestMismatch = "digest-mismatch";
    /// <summary>The request is not in a state for that.</summary>
    public const string WrongState = "wrong-state";
    /// <summary>Its time is over.</summary>
    public const string Expired = "expired";
    /// <summary>There is no such request.</summary>
    public const string Unknown = "unknown-request";
    /// <summary>The requester's reason is missing.</summary>
    public const string ReasonRequired = "reason-required";
    /// <summary>A denial needs a comment.</summary>
    public const string CommentRequired = "comment-required";
    /// <summary>Only the requester may do that.</summary>
    public const string NotRequester = "not-requester";
    /// <summary>The caller is not the one who may redeem it.</summary>
    public const string NotExecutor = "not-executor";
    /// <summary>It was approved for another connection.</summary>
    public const string WrongConnection = "wrong-connection";
    /// <summary>The operation was redeemed before.</summary>
    public const string AlreadyRedeemed = "already-redeemed";
    /// <summary>Operations are redeemed in order.</summary>
    public const string OutOfOrder = "out-of-order";
    /// <summary>The redemption id was used for something else.</summary>
    public const string RedemptionReused = "redemption-reused";
    /// <summary>The id belongs to another request already.</summary>
    public const string IdTaken = "id-taken";
    /// <summary>The person has too many pending requests.</summary>
    public const string TooManyPending = "too-many-pending";
    /// <summary>The same was denied a moment ago.</summary>
    public const string RecentlyDenied = "recently-denied";
    /// <summary>The approver's login is too old, or lacks a method: log in again.</summary>
    public const string AssuranceTooLow = "assurance-too-low";
    /// <summary>The policy doesn't let the requester go ahead alone.</summary>
    public const string BreakGlassNotAllowed = "break-glass-not-allowed";
    /// <summary>There is nothing to review, or it was reviewed.</summary>
    public const string NoReview = "no-open-review";
    /// <summary>The request whose time is to be extended is another one, or over.</summary>
    public const string NotExtendable = "not-extendable";
    /// <summary>The evidence (token, assertion) does not verify.</summary>
    public const string TokenRejected = "token-rejected";
    /// <summary>Something that is needed can't be reached; nothing was changed.</summary>
    public const string Unavailable = "unavailable";
    /// <summary>The request is malformed.</summary>
    public const string Invalid = "invalid-request";
}
