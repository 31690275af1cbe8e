namespace Countersign.Approval.Workflow;

/// <content>What one person does alone and others look at afterwards; windows and extensions.</content>
public sealed partial class RequestWorkflow
{
    private Step<RequestDocument> OnBreakGlass(RequestDocument document, BreakGlass command, DateTimeOffset now)
    {
        var by = command.By;
        if (by.Person != document.Spec.Requester.Person)
        {
            return Refuse(document, RefusalCodes.NotRequester, "Only the requester can go ahead alone.");
        }

        if (by.Disabled)
        {
            return Refuse(document, RefusalCodes.PersonDisabled, "Your account is disabled.");
        }

        if (!document.Spec.BreakGlassAllowed || !by.Human)
        {
            return Refuse(
                document, RefusalCodes.BreakGlassNotAllowed,
                by.Human ? "The policy doesn't let anybody go ahead alone with this: wait for an approval." : "A service account can't go ahead alone.");
        }

        if (command.Digest != document.Spec.Digest)
        {
            return Mismatch(document);
        }

        if (string.IsNullOrWhiteSpace(command.Reason))
        {
            return Refuse(document, RefusalCodes.ReasonRequired, "Say why you go ahead alone: somebody else will review it.");
        }

        if (document.BreakGlass is not null && document.State is WorkflowState.Approved or WorkflowState.Consumed)
        {
            return Unchanged(document);
        }

        if (document.State != WorkflowState.Pending)
        {
            return NotPending(document);
        }

        // One word instead of several: the login behind it must be as sure as theirs would have to be.
        if (Eligibility.Assure(document.Spec.Assurance, by, now) is { } refusal)
        {
            return new Step<RequestDocument>(document, false, refusal, false);
        }

        var alone = Move(document, command.Id, "break-glass", WorkflowState.Approved, by.Person, by.Name, now, command.Reason);
        return Done(alone with
        {
            ApprovedAt = now,
            Deadline = now + document.Spec.GrantLifetime,
            BreakGlass = new BreakGlassUse(command.Reason, now),
            Review = new Review(now + _reviewWithin),
        });
    }

    private static Step<RequestDocument> OnReview(RequestDocument document, CloseReview command, DateTimeOffset now)
    {
        var by = command.By;
        if (Eligibility.CheckOther(document, by) is { } refusal)
        {
            return new Step<RequestDocument>(document, false, refusal, false);
        }

        if (command.Digest != document.Spec.Digest)
        {
            return Mismatch(document);
        }

        if (document.Review is not { } review)
        {
            return Refuse(document, RefusalCodes.NoReview, "There is nothing to review: nobody went ahead alone.");
        }

        if (!review.IsOpen)
        {
            return review.ClosedBy == by.Person && review.Justified == command.Justified
                ? Unchanged(document)
                : Refuse(document, RefusalCodes.NoReview, $"{review.ClosedByName} has reviewed it already.");
        }

        if (string.IsNullOrWhiteSpace(command.Comment))
        {
            return Refuse(document, RefusalCodes.CommentRequired, "Say what you found.");
        }

        var closed = Move(document, command.Id, "review", document.State, by.Person, by.Name, now, command.Comment);
        return Done(closed with
        {
            Deadline = document.Deadline,
            Review = review with { ClosedBy = by.Person, ClosedByName = by.Name, ClosedAt = now, Justified = command.Justified, Comment = command.Comment },
        });
    }

    /// <summary>The first redemption starts the clock; any other one while it runs gets the same answer and changes nothing.</summary>
    private static Step<RequestDocument> OnRedeemWindow(RequestDocument document, Redeem command, DateTimeOffset now)
    {
        var spec = document.Spec;
        if (document.State != WorkflowState.Approved)
        {
            return NotApproved(document);
        }

        if (command.Index != 0)
        {
            return Refuse(document, RefusalCodes.OutOfOrder, "An access window is redeemed as number 0.");
        }

        if (command.Digest != spec.Operations[0].Digest)
        {
            return Refuse(document, RefusalCodes.DigestMismatch, "The access window is not the one that was approved.");
        }

        if (document.WindowBeganAt is not null)
        {
            return Unchanged(document);
        }

        if (Lapsed(document, command) is { } lapsed)
        {
            return lapsed;
        }

        var began = Move(document, "", "begin", WorkflowState.Approved, spec.Requester.Person, spec.Requester.Name, now, "");
        return Done(began with
        {
            WindowBeganAt = now,
            Deadline = now + spec.Window!.Length,
            Redemptions = [new Redemption(command.Id, 0, command.Digest, now)],
        });
    }

    /// <summary>Why an extension can't be given to a request; null where it can.</summary>
    /// <param name="document">The request whose time is to be extended.</param>
    /// <param name="requester">Person who asks.</param>
    /// <param name="connection">Connection of the extension.</param>
    /// <param name="digest">Digest of the extension: the same thing, so that who approves it sees what goes on.</param>
    public static Refusal? CheckExtension(RequestDocument document, string requester, string connection, string digest)
    {
        ArgumentNullException.ThrowIfNull(document);
        var spec = document.Spec;
        return spec.Requester.Person != requester || spec.Connection != connection || spec.Digest != digest || spec.Extends is not null || spec.IsControl
                ? new Refusal(RefusalCodes.NotExtendable, "An extension is asked for by the same person, for exactly the same on the same connection.")
            : document.State != WorkflowState.Approved
                ? new Refusal(RefusalCodes.NotExtendable, $"The request is {Name(document.State)}: there is no time left to extend.")
            : document.BreakGlass is not null
                ? new Refusal(RefusalCodes.NotExtendable, "What the requester took alone can't be extended: ask for it anew.")
            : document.Extensions?.Count >= RequestDocument.MaxExtensions
                ? new Refusal(RefusalCodes.NotExtendable, "The request was extended too often: ask for it anew.")
            : null;
    }

    private static Step<RequestDocument> OnExtend(RequestDocument document, Extend command, DateTimeOffset now)
    {
        var extension = command.Extension;
        if (document.Extensions?.Any(known => known.Request == extension.Request) == true)
        {
            return Unchanged(document);
        }

        if (extension.Extends != document.Spec.Id)
        {
            return Refuse(document, RefusalCodes.NotExtendable, "The extension is for another request.");
        }

        if (CheckExtension(document, extension.Person, extension.Connection, extension.Digest) is { } refusal)
        {
            return new Step<RequestDocument>(document, false, refusal, false);
        }

        // From the approval on, never added to what is left: nobody gets more time at once than was looked at.
        var until = document.WindowBeganAt is null ? extension.Until : extension.ApprovedAt + document.Spec.Window!.Length;
        if (until <= now)
        {
            return Refuse(document, RefusalCodes.NotExtendable, "The time that the extension gave is over.");
        }

        var requester = document.Spec.Requester;
        var extended = Move(document, command.Id, "extend", WorkflowState.Approved, requester.Person, requester.Name, now, extension.Request);
        return Done(extended with
        {
            Deadline = until > document.Deadline ? until : document.Deadline,
            Extensions = [.. document.Extensions ?? [], new Extension(extension.Request, until, now)],
            // Signed anew, with the new end.
            Grant = null,
        });
    }

    /// <summary>Whether those who approved it, or its requester, may do so no longer.</summary>
    private static Step<RequestDocument>? Lapsed(RequestDocument document, Redeem command)
    {
        if (command.Gone.Count == 0)
        {
            return null;
        }

        if (!document.Spec.IsControl && command.Gone.Contains(document.Spec.Requester.Person, StringComparer.Ordinal))
        {
            return Refuse(document, RefusalCodes.PersonDisabled, "Who asked for it is disabled.");
        }

        return !document.Bootstrap && document.BreakGlass is null && document.Votes.Any(vote => command.Gone.Contains(vote.Person, StringComparer.Ordinal))
            && Quorum.Missing(document.Spec.AllOf, [.. document.Votes.Where(vote => !command.Gone.Contains(vote.Person, StringComparer.Ordinal))]) > 0
            ? Refuse(document, RefusalCodes.WrongState, "Somebody who approved it may approve no longer: ask again.")
            : null;
    }
}
