namespace Countersign.Approval.Workflow;

/// <summary>
/// The life of one approval request, as a pure function: a document and a command in, the next document and what became of the command
/// out. It knows no clock, store, token or network; <see cref="WorkflowRunner{TDocument,TCommand,TEffect}"/> gives it those.
/// </summary>
/// <param name="reviewWithin">How soon what one person did alone must be reviewed; null for a day.</param>
public sealed partial class RequestWorkflow(TimeSpan? reviewWithin = null) : IWorkflow<RequestDocument, RequestCommand>
{
    private readonly TimeSpan _reviewWithin = reviewWithin ?? TimeSpan.FromDays(1);

    /// <inheritdoc/>
    public Step<RequestDocument> Apply(RequestDocument? document, RequestCommand command, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(command);
        if (document is null)
        {
            return command is Open open ? OpenNew(open, now) : Refuse(null, RefusalCodes.Unknown, "There is no such request.");
        }

        // The persisted deadlines decide, before anything else looks at the state: a wake-up that came late changes nothing.
        var before = document.WithOutbox([]);
        var current = before.StateAt(now) == before.State
            ? before
            : Move(before, "", "deadline", WorkflowState.Expired, "", "", now, "") with { Deadline = before.Deadline };
        if (current.Review is { IsOpen: true, Overdue: false } review && now >= review.DueAt)
        {
            current = Move(current, "", "overdue", current.State, "", "", now, "") with { Deadline = current.Deadline, Review = review with { Overdue = true } };
        }

        var step = Decide(current, command, now);
        return step.Changed
            ? step
            : ReferenceEquals(current, before) ? step with { Document = document } : step with { Document = current, Changed = true };
    }

    private Step<RequestDocument> Decide(RequestDocument document, RequestCommand command, DateTimeOffset now)
    {
        if (command is Redeem redeem)
        {
            // Before the check for repeated commands: a redemption id that is used for something else must be refused.
            return OnRedeem(document, redeem, now);
        }

        if (command is Open again)
        {
            // Its id is the request's: known or not, what it opens must be the same.
            return again.Spec.Id == document.Spec.Id && again.Spec.Digest == document.Spec.Digest && again.Spec.Requester.Person == document.Spec.Requester.Person
                ? Unchanged(document)
                : Refuse(document, RefusalCodes.IdTaken, "The id belongs to another request.");
        }

        if (command.Id.Length > 0 && document.Seen.Contains(command.Id, StringComparer.Ordinal))
        {
            return Unchanged(document);
        }

        return command switch
        {
            Approve approve => OnApprove(document, approve, now),
            Deny deny => OnDeny(document, deny, now),
            Explain explain => OnExplain(document, explain, now),
            Withdraw withdraw => OnWithdraw(document, withdraw, now),
            Revoke revoke => OnRevoke(document, revoke, now),
            BreakGlass alone => OnBreakGlass(document, alone, now),
            CloseReview review => OnReview(document, review, now),
            Extend extend => OnExtend(document, extend, now),
            Wake => Unchanged(document),
            _ => throw new ArgumentOutOfRangeException(nameof(command), command.GetType().Name, "not a command of a request"),
        };
    }

    private Step<RequestDocument> OpenNew(Open open, DateTimeOffset now)
    {
        // What only takes access away has happened: it is born with its review, and nothing waits for it.
        var spec = open.Spec;
        var to = spec.InEffect ? WorkflowState.Consumed : WorkflowState.Pending;
        var transition = Transitions.Find(null, spec.InEffect ? "report" : "open", to);
        var document = new RequestDocument
        {
            Version = 1,
            Spec = spec,
            State = to,
            CreatedAt = now,
            Deadline = spec.InEffect ? now : now + spec.Timeout,
            Review = spec.InEffect ? new Review(now + _reviewWithin) : null,
            Seen = open.Id.Length > 0 ? [open.Id] : [],
            Outbox = [new RequestEffect(1, to, transition.Action, spec.Requester.Person, spec.Requester.Name, now, spec.Reason)],
        };
        return new Step<RequestDocument>(document, Changed: true, null, Fresh: true);
    }

    private static Step<RequestDocument> OnApprove(RequestDocument document, Approve command, DateTimeOffset now)
    {
        var by = command.By;
        if (document.Votes.Any(vote => vote.Approved && vote.Person == by.Person) && command.Digest == document.Spec.Digest)
        {
            // Said before. Whatever has become of the request since, saying it again changes nothing.
            return document.State is WorkflowState.Pending or WorkflowState.Approved or WorkflowState.Consumed
                ? Unchanged(document)
                : NotPending(document);
        }

        if (document.State != WorkflowState.Pending)
        {
            return NotPending(document);
        }

        var bootstrap = document.Spec.IsControl && by.BootstrapOpen && !by.Disabled && by.Person == document.Spec.Requester.Person;
        if (!bootstrap && Eligibility.Check(document, by, now) is { } refusal)
        {
            return new Step<RequestDocument>(document, false, refusal, false);
        }

        if (command.Digest != document.Spec.Digest)
        {
            return Mismatch(document);
        }

        if (document.Spec is { ReasonRequired: true, Reason.Length: 0 })
        {
            return Refuse(document, RefusalCodes.ReasonRequired, "The requester must give a reason before anybody may approve this.");
        }

        var vote = new Vote(by.Person, by.Name, by.SameAs, by.Groups, Approved: true, now, command.Comment);
        if (document.Votes.FirstOrDefault(other => other.Approved && Quorum.Same(other, vote)) is { } same)
        {
            return Refuse(document, RefusalCodes.AlreadyCounted, $"You have approved this already as {same.Name}; a person counts once.");
        }

        // Who was disabled or turned out to be the requester since they agreed counts no longer; that they did is in the audit events.
        IReadOnlyList<Vote> votes = [.. document.Votes.Where(earlier => !by.Gone.Contains(earlier.Person) && !by.RequesterSameAs.Contains(earlier.Person)), vote];
        if (!bootstrap && Quorum.Missing(document.Spec.AllOf, votes) > 0)
        {
            return Done(Move(document, command.Id, "approve", WorkflowState.Pending, by.Person, by.Name, now, command.Comment) with { Votes = votes });
        }

        if (document.Spec.Extends is not null)
        {
            // Nothing is redeemed under an extension itself: all it gives is time for the other request, which the shell tells after the save.
            return command.ExtensionRefused is { } over
                ? new Step<RequestDocument>(document, false, over, false)
                : Done(Move(document, command.Id, "approve", WorkflowState.Consumed, by.Person, by.Name, now, command.Comment) with { Votes = votes, ApprovedAt = now });
        }

        var approved = Move(document, command.Id, "approve", WorkflowState.Approved, by.Person, by.Name, now, command.Comment);
        return Done(approved with { Votes = votes, ApprovedAt = now, Deadline = now + document.Spec.GrantLifetime, Bootstrap = bootstrap });
    }

    private static Step<RequestDocument> OnDeny(RequestDocument document, Deny command, DateTimeOffset now)
    {
        var by = command.By;
        if (document.State == WorkflowState.Denied && document.Votes.Any(vote => !vote.Approved && vote.Person == by.Person))
        {
            return command.Digest == document.Spec.Digest ? Unchanged(document) : Mismatch(document);
        }

        if (document.State != WorkflowState.Pending)
        {
            return NotPending(document);
        }

        if (Eligibility.Check(document, by, now) is { } refusal)
        {
            return new Step<RequestDocument>(document, false, refusal, false);
        }

        if (command.Digest != document.Spec.Digest)
        {
            return Mismatch(document);
        }

        if (string.IsNullOrWhiteSpace(command.Comment))
        {
            return Refuse(document, RefusalCodes.CommentRequired, "Say why you deny it: the requester is shown your comment.");
        }

        var vote = new Vote(by.Person, by.Name, by.SameAs, by.Groups, Approved: false, now, command.Comment);
        return Done(Move(document, command.Id, "deny", WorkflowState.Denied, by.Person, by.Name, now, command.Comment) with { Votes = [.. document.Votes, vote] });
    }

    private static Step<RequestDocument> OnExplain(RequestDocument document, Explain command, DateTimeOffset now)
    {
        var requester = document.Spec.Requester;
        if (command.Person != requester.Person)
        {
            return Refuse(document, RefusalCodes.NotRequester, "Only the requester can give the reason.");
        }

        if (document.State != WorkflowState.Pending)
        {
            return NotPending(document);
        }

        if (string.IsNullOrWhiteSpace(command.Reason))
        {
            return Refuse(document, RefusalCodes.ReasonRequired, "The reason is empty.");
        }

        if (document.Spec.Reason.Length > 0)
        {
            // What approvers have read must not change under them.
            return document.Spec.Reason == command.Reason
                ? Unchanged(document)
                : Refuse(document, RefusalCodes.WrongState, "The request has a reason already.");
        }

        var explained = Move(document, command.Id, "explain", WorkflowState.Pending, requester.Person, requester.Name, now, command.Reason);
        return Done(explained with { Spec = document.Spec with { Reason = command.Reason } });
    }

    private static Step<RequestDocument> OnWithdraw(RequestDocument document, Withdraw command, DateTimeOffset now)
    {
        var requester = document.Spec.Requester;
        if (command.Person != requester.Person)
        {
            return Refuse(document, RefusalCodes.NotRequester, "Only the requester can withdraw a request.");
        }

        return document.State switch
        {
            WorkflowState.Cancelled => Unchanged(document),
            WorkflowState.Pending or WorkflowState.Approved =>
                Done(Move(document, command.Id, "withdraw", WorkflowState.Cancelled, requester.Person, requester.Name, now, "")),
            _ => NotPending(document),
        };
    }

    private static Step<RequestDocument> OnRevoke(RequestDocument document, Revoke command, DateTimeOffset now)
    {
        var by = command.By;
        if (by.Disabled)
        {
            return Refuse(document, RefusalCodes.PersonDisabled, "Your account is disabled.");
        }

        if (!by.Enrolled && by.Person != document.Spec.Requester.Person)
        {
            return Refuse(document, RefusalCodes.NotEnrolled, "Only the requester or an enrolled person can revoke an approval.");
        }

        if (document.State == WorkflowState.Revoked)
        {
            return Unchanged(document);
        }

        // What was redeemed is running perhaps, whatever became of the request since: a revocation is what ends it.
        if (document.State == WorkflowState.Approved || (document.State != WorkflowState.Pending && document.MayRun(now)))
        {
            return Done(Move(document, command.Id, "revoke", WorkflowState.Revoked, by.Person, by.Name, now, command.Comment) with
            {
                Revocation = new Revocation(by.Person, by.Name, now, command.Comment),
            });
        }

        return document.State == WorkflowState.Expired
            ? NotPending(document)
            : Refuse(document, RefusalCodes.WrongState, $"The request is {Name(document.State)}, and nothing can run under it any more.");
    }

    private static Step<RequestDocument> OnRedeem(RequestDocument document, Redeem command, DateTimeOffset now)
    {
        var spec = document.Spec;
        // A control request is redeemed by the service that asked, whose own token was checked; an operation by whoever executes it.
        if (spec.IsControl ? command.Service != spec.AskedBy : command.Person != spec.Requester.Person || command.Service != spec.AskedBy)
        {
            return Refuse(document, RefusalCodes.NotExecutor, "The request was approved for another person or service.");
        }

        if (!spec.IsControl && command.Connection != spec.Connection)
        {
            return Refuse(document, RefusalCodes.WrongConnection, "The request was approved for another connection.");
        }

        if (command.Id.Length == 0)
        {
            return Refuse(document, RefusalCodes.Invalid, "A redemption needs an id.");
        }

        if (spec.Window is not null)
        {
            return OnRedeemWindow(document, command, now);
        }

        if (document.Redemptions.FirstOrDefault(redemption => redemption.Id == command.Id) is { } earlier)
        {
            if (earlier.Index != command.Index || earlier.Digest != command.Digest)
            {
                return Refuse(document, RefusalCodes.RedemptionReused, "The redemption id was used for another operation.");
            }

            // Same answer as before, unless it was taken back since.
            return document.State is WorkflowState.Revoked or WorkflowState.Cancelled ? NotApproved(document) : Unchanged(document);
        }

        if (document.State != WorkflowState.Approved)
        {
            return document.State == WorkflowState.Consumed && command.Index >= 0 && command.Index < spec.Operations.Count
                ? Refuse(document, RefusalCodes.AlreadyRedeemed, "The operation was redeemed before.")
                : NotApproved(document);
        }

        var next = document.Redemptions.Count;
        if (command.Index < next && command.Index >= 0)
        {
            return Refuse(document, RefusalCodes.AlreadyRedeemed, "The operation was redeemed before.");
        }

        if (command.Index != next)
        {
            return Refuse(document, RefusalCodes.OutOfOrder, $"Operations are redeemed in order; the next one is number {next}.");
        }

        if (Lapsed(document, command) is { } lapsed)
        {
            return lapsed;
        }

        if (command.Digest != spec.Operations[next].Digest)
        {
            return Refuse(document, RefusalCodes.DigestMismatch, "What is about to run is not what was approved.");
        }

        var to = next + 1 == spec.Operations.Count ? WorkflowState.Consumed : WorkflowState.Approved;
        var redeemed = Move(document, "", "redeem", to, spec.Requester.Person, spec.Requester.Name, now, "");
        return Done(redeemed with { Redemptions = [.. document.Redemptions, new Redemption(command.Id, next, command.Digest, now)] });
    }

    /// <summary>The one place that makes a next document.</summary>
    private static RequestDocument Move(
        RequestDocument document, string commandId, string command, WorkflowState to, string person, string name, DateTimeOffset now, string comment)
    {
        var transition = Transitions.Find(document.State, command, to);
        var version = document.Version + 1;
        IReadOnlyList<string> seen = commandId.Length == 0 ? document.Seen : [.. document.Seen.TakeLast(RequestDocument.MaxSeen - 1), commandId];
        return document with
        {
            Version = version,
            State = to,
            Deadline = Transitions.IsTerminal(to) ? now : document.Deadline,
            Seen = seen,
            // One command may bring about several changes: a deadline that had passed, then its own.
            Outbox = [.. document.Outbox, new RequestEffect(version, to, transition.Action, person, name, now, comment)],
        };
    }

    private static Step<RequestDocument> Done(RequestDocument document) => new(document, Changed: true, null, Fresh: true);

    private static Step<RequestDocument> Unchanged(RequestDocument document) => new(document, Changed: false, null, Fresh: false);

    private static Step<RequestDocument> Refuse(RequestDocument? document, string code, string message) =>
        new(document, Changed: false, new Refusal(code, message), Fresh: false);

    private static Step<RequestDocument> Mismatch(RequestDocument document) => Refuse(
        document, RefusalCodes.DigestMismatch, "The digest is not the one of this request: look at it again before you decide.");

    private static Step<RequestDocument> NotPending(RequestDocument document) => document.State == WorkflowState.Expired
        ? Refuse(document, RefusalCodes.Expired, "The request has expired.")
        : Refuse(document, RefusalCodes.WrongState, $"The request is {Name(document.State)}.");

    private static Step<RequestDocument> NotApproved(RequestDocument document) => document.State == WorkflowState.Expired
        ? Refuse(document, RefusalCodes.Expired, "The approval has expired, or was never given.")
        : Refuse(document, RefusalCodes.WrongState, $"The request is {Name(document.State)}, not approved.");

    private static string Name(WorkflowState state) => state switch
    {
        WorkflowState.Pending => "pending",
        WorkflowState.Approved => "approved",
        WorkflowState.Denied => "denied",
        WorkflowState.Expired => "expired",
        WorkflowState.Cancelled => "cancelled",
        WorkflowState.Consumed => "consumed",
        _ => "revoked",
    };
}
